import numpy as np
import pytest
import torch

from synthtrial.errors import ConfigError
from synthtrial.synthesis.augment import check_names, diffaugment, numbers_needed

ALL = ["translation", "cutout", "color"]


def numbers(count, names=ALL, seed=0):
    random = np.random.default_rng(seed)
    return torch.from_numpy(random.random((count, numbers_needed(names)), dtype=np.float32))


def test_translation_moves_whole_pixels_and_fills_with_zero():
    x_BCHW = torch.arange(1.0, 257.0).view(1, 1, 16, 16)
    down_two_left_one = torch.tensor([[4.5 / 5, 1.5 / 5]])  # offsets -2..2 from five equal parts
    y_BCHW = diffaugment(x_BCHW, down_two_left_one, ["translation"])
    expected = torch.zeros_like(x_BCHW)
    expected[:, :, 2:, :-1] = x_BCHW[:, :, :-2, 1:]
    assert torch.equal(y_BCHW, expected)


def test_every_translation_up_to_an_eighth_occurs():
    x_BCHW = torch.zeros(400, 1, 8, 8)
    x_BCHW[:, 0, 4, 4] = 1
    y_BCHW = diffaugment(x_BCHW, numbers(400, ["translation"]), ["translation"])
    places = {tuple(place) for place in y_BCHW[:, 0].nonzero()[:, 1:].tolist()}
    assert places == {(row, column) for row in (3, 4, 5) for column in (3, 4, 5)}


def test_cutout_hides_at_most_a_quarter_and_nothing_else():
    y_BCHW = diffaugment(torch.ones(300, 1, 8, 8), numbers(300, ["cutout"]), ["cutout"])
    hidden_B = (y_BCHW == 0).sum(dim=(1, 2, 3))
    assert int(hidden_B.max()) == 16
    assert int(hidden_B.min()) >= 4
    assert set(y_BCHW.unique().tolist()) == {0.0, 1.0}


def test_color_without_change_is_the_identity():
    x_BCHW = torch.rand(2, 3, 4, 4)
    torch.testing.assert_close(diffaugment(x_BCHW, torch.full((2, 3), 0.5), ["color"]), x_BCHW)


@pytest.mark.parametrize("channels", [1, 3])
def test_an_image_depends_on_its_own_numbers_alone(channels):
    x_BCHW, u_BD = torch.rand(6, channels, 8, 8), numbers(6)
    whole = diffaugment(x_BCHW, u_BD, ALL)
    torch.testing.assert_close(diffaugment(x_BCHW[2:4], u_BD[2:4], ALL), whole[2:4])


@pytest.mark.parametrize("name", ALL)
def test_gradients_are_those_of_the_transform(name):
    x_BCHW = torch.rand(2, 3, 8, 8, dtype=torch.double, requires_grad=True)
    u_BD = numbers(2, [name])
    assert torch.autograd.gradcheck(lambda x: diffaugment(x, u_BD, [name]), (x_BCHW,))


def test_no_transform_leaves_images_alone():
    x_BCHW = torch.rand(2, 1, 8, 8)
    assert diffaugment(x_BCHW, numbers(2, []), []) is x_BCHW


def test_an_unknown_transform_is_refused_with_the_nearest():
    with pytest.raises(ConfigError, match=r"'cutoff'.*did you mean 'cutout'"):
        check_names(["cutoff"])


def test_a_transform_given_twice_is_refused():
    with pytest.raises(ConfigError, match="twice"):
        check_names(["color", "color"])
