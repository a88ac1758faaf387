import pytest
import torch

from synthtrial.classify import catalog
from synthtrial.classify.augment import compose, make_flip, make_shift
from synthtrial.classify.catalog import FlipConfig, ShiftConfig
from synthtrial.errors import ConfigError
from synthtrial.testing.classifiers import AugmentationContract


class TestFlip(AugmentationContract):
    component = catalog.FLIP


class TestShift(AugmentationContract):
    component = catalog.SHIFT


class TestShiftOfEdges(AugmentationContract):
    component = catalog.SHIFT
    options = ShiftConfig(pixels=2, padding_mode="edge")


IMAGE = torch.arange(9, dtype=torch.uint8).reshape(1, 1, 3, 3)


def test_flips_follow_their_own_number():
    flip = make_flip(FlipConfig())
    x = IMAGE.repeat(4, 1, 1, 1)
    u = torch.tensor([[0.9, 0.9], [0.1, 0.9], [0.9, 0.1], [0.1, 0.1]])
    y = flip.apply(x, u)
    assert torch.equal(y[0], IMAGE[0])
    assert torch.equal(y[1], IMAGE[0].flip(2))
    assert torch.equal(y[2], IMAGE[0].flip(1))
    assert torch.equal(y[3], IMAGE[0].flip(1, 2))


def test_flips_occur_with_their_probabilities():
    flip = make_flip(FlipConfig(horizontal=0.25, vertical=0.0))
    x = IMAGE.repeat(4000, 1, 1, 1)
    y = flip.apply(x, torch.rand(4000, 2, generator=torch.Generator().manual_seed(0)))
    assert (y != x).flatten(1).any(1).float().mean() == pytest.approx(0.25, abs=0.03)


def test_shifts_take_every_offset_and_fill_with_black():
    shift = make_shift(ShiftConfig(pixels=1))
    u = torch.cartesian_prod(torch.tensor([0.1, 0.5, 0.9]), torch.tensor([0.1, 0.5, 0.9]))
    y = shift.apply(IMAGE.repeat(9, 1, 1, 1), u)
    assert torch.equal(y[4], IMAGE[0])
    assert y[0, 0].tolist() == [[0, 0, 0], [0, 0, 1], [0, 3, 4]]
    assert y[8, 0].tolist() == [[4, 5, 0], [7, 8, 0], [0, 0, 0]]
    assert len({tuple(image.flatten().tolist()) for image in y}) == 9


def test_shifts_can_repeat_the_edge():
    shift = make_shift(ShiftConfig(pixels=1, padding_mode="edge"))
    assert shift.apply(IMAGE, torch.tensor([[0.1, 0.5]]))[0, 0].tolist() == [
        [0, 1, 2],
        [0, 1, 2],
        [3, 4, 5],
    ]


def test_composed_transforms_have_numbers_of_their_own():
    both = compose([make_flip(FlipConfig(1.0, 0.0)), make_shift(ShiftConfig())])
    assert both.draws == 4
    y = both.apply(IMAGE, torch.tensor([[0.0, 0.0, 0.5, 0.5]]))
    assert torch.equal(y, IMAGE.flip(3))
    assert compose([]) is None


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: make_flip(FlipConfig(horizontal=1.5)), "between 0 and 1"),
        (lambda: make_shift(ShiftConfig(pixels=-1)), "0 or more"),
        (
            lambda: make_shift(ShiftConfig(3, "reflect")).apply(IMAGE, torch.zeros(1, 2)),
            "padding_mode=edge",
        ),
    ],
)
def test_impossible_options_are_refused(make, message):
    with pytest.raises(ConfigError, match=message):
        make()
