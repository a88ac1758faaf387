import pytest

from synthtrial.errors import ConfigError
from synthtrial.synthesis.generators.sizes import pyramid, pyramid_widths


@pytest.mark.parametrize(
    ("size", "expected"),
    [(8, (4, 1)), (10, (5, 1)), (28, (7, 2)), (96, (6, 4)), (224, (7, 5)), (256, (4, 6))],
)
def test_an_image_is_halved_down_to_four_to_seven_pixels(size, expected):
    assert pyramid("toy GAN", size, 1) == expected


@pytest.mark.parametrize("size", [0, 4, 7, 9, 22, 30, 512])
def test_what_cannot_be_halved_so_is_refused_by_name(size):
    with pytest.raises(ConfigError, match=rf"toy GAN cannot .* {size} pixels.*8, 28, 32"):
        pyramid("toy GAN", size, 1)


@pytest.mark.parametrize("channels", [0, 2, 4])
def test_images_are_grey_or_rgb(channels):
    with pytest.raises(ConfigError, match=f"toy GAN .* 1 or 3 channels, not {channels}"):
        pyramid("toy GAN", 8, channels)


def test_widths_double_down_to_the_limit():
    assert pyramid_widths("toy GAN", 8, 32, 4) == [8, 16, 32, 32, 32]
    assert pyramid_widths("toy GAN", 24, 56, 2) == [24, 48, 48]
