import pytest
import torch
from torchvision.transforms.v2 import functional as transforms

from synthtrial.classify import catalog
from synthtrial.classify.augment import (
    adjust_brightness,
    adjust_contrast,
    compose,
    gaussian_blur,
    make_blur,
    make_flip,
    make_intensity,
    make_shift,
)
from synthtrial.classify.catalog import BlurConfig, FlipConfig, IntensityConfig, ShiftConfig
from synthtrial.errors import ConfigError
from synthtrial.testing.classifiers import AugmentationContract


class TestFlip(AugmentationContract):
    component = catalog.FLIP


class TestShift(AugmentationContract):
    component = catalog.SHIFT


class TestShiftOfEdges(AugmentationContract):
    component = catalog.SHIFT
    options = ShiftConfig(pixels=2, padding_mode="edge")


class TestBlur(AugmentationContract):
    component = catalog.BLUR
    options = BlurConfig(probability=0.7, low=0.5, high=3.0)


class TestIntensity(AugmentationContract):
    component = catalog.INTENSITY
    options = IntensityConfig(brightness=0.5, contrast=0.5)


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


def pixels(*shape):
    generator = torch.Generator().manual_seed(0)
    return torch.randint(256, shape, generator=generator, dtype=torch.uint8)


@pytest.mark.parametrize("channels", [1, 3])
def test_each_image_is_blurred_as_torchvision_does_by_its_own_deviation(channels):
    x, sigma = pixels(6, channels, 20, 25), torch.tensor([0.1, 0.4, 0.8, 1.2, 2.0, 3.0])
    blurred = gaussian_blur(x, sigma, reach=9)
    assert blurred.dtype == torch.uint8
    for image, got, s in zip(x, blurred, sigma.tolist(), strict=True):
        expected = transforms.gaussian_blur(image, [19, 19], [s, s])
        difference = (got.int() - expected.int()).abs()
        assert difference.max() <= 1
        assert (difference > 0).float().mean() < 0.001  # halves, rounded the other way


def test_a_blur_keeps_what_is_even_and_reaches_no_further_than_it_can_reflect():
    x = torch.full((2, 1, 3, 5), 200, dtype=torch.uint8)
    assert torch.equal(gaussian_blur(x, torch.tensor([0.3, 5.0]), reach=15), x)


def test_blurs_occur_with_their_probability_and_within_their_range():
    u = torch.tensor([[0.24, 0.0], [0.26, 0.0], [0.0, 0.999999]])
    x = pixels(1, 1, 16, 16).repeat(3, 1, 1, 1)
    y = make_blur(BlurConfig(probability=0.25, low=0.5, high=1.5)).apply(x, u)
    assert torch.equal(y[0], transforms.gaussian_blur(x[0], [11, 11], [0.5, 0.5]))
    assert torch.equal(y[1], x[1])
    assert (y[2].int() - transforms.gaussian_blur(x[2], [11, 11], [1.5, 1.5]).int()).abs().max() < 2


@pytest.mark.parametrize("channels", [1, 3])
def test_each_image_gets_the_brightness_of_torchvision_by_its_own_factor(channels):
    x, factor = pixels(5, channels, 12, 9), torch.tensor([0.0, 0.63, 1.0, 1.17, 2.0])
    got = adjust_brightness(x, factor)
    for image, result, f in zip(x, got, factor.tolist(), strict=True):
        assert torch.equal(result, transforms.adjust_brightness(image, f))


@pytest.mark.parametrize("channels", [1, 3])
def test_each_image_gets_the_contrast_of_torchvision_by_its_own_factor(channels):
    x, factor = pixels(5, channels, 40, 31), torch.tensor([0.0, 0.63, 1.0, 1.17, 2.0])
    got = adjust_contrast(x, factor)
    assert got.dtype == torch.uint8
    for image, result, f in zip(x, got, factor.tolist(), strict=True):
        difference = (result.int() - transforms.adjust_contrast(image, f).int()).abs()
        assert difference.max() <= 1
        assert (difference > 0).float().mean() < 0.001  # whole numbers, cut off below or above


def test_intensity_draws_both_factors_evenly_around_one():
    jitter = make_intensity(IntensityConfig(brightness=0.2, contrast=0.4))
    x = pixels(1, 1, 10, 10).repeat(3, 1, 1, 1)
    y = jitter.apply(x, torch.tensor([[0.0, 0.75], [0.5, 0.5], [0.5, 0.0]]))
    dark = adjust_brightness(x[:1], torch.tensor([0.8]))
    assert torch.equal(y[:1], adjust_contrast(dark, torch.tensor([1.2])))
    assert torch.equal(y[1], x[1])
    assert torch.equal(y[2:], adjust_contrast(x[2:], torch.tensor([0.6])))
    alone = make_intensity(IntensityConfig(brightness=0.0, contrast=0.4))
    assert torch.equal(alone.apply(x, torch.tensor([[0.0, 0.5]] * 3)), x)


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
        (lambda: make_blur(BlurConfig(probability=2.0)), "between 0 and 1"),
        (lambda: make_blur(BlurConfig(low=0.0)), "low must be above 0"),
        (lambda: make_blur(BlurConfig(low=2.0, high=1.0)), "are no range"),
        (lambda: make_intensity(IntensityConfig(contrast=-0.1)), "contrast is -0.1"),
        (lambda: make_intensity(IntensityConfig(brightness=1.1)), "brightness is 1.1"),
        (
            lambda: make_shift(ShiftConfig(3, "reflect")).apply(IMAGE, torch.zeros(1, 2)),
            "padding_mode=edge",
        ),
    ],
)
def test_impossible_options_are_refused(make, message):
    with pytest.raises(ConfigError, match=message):
        make()
