"""Which images a family can make, and how many channels it has at every resolution.

Families halve the image down to a bottom of 4 to 7 pixels, so that 28, 96 and 224 pixels need no
padding. What they refuse, they refuse in the same words.
"""

from __future__ import annotations

from synthtrial.errors import ConfigError

GROUP_CHANNELS = 8  # channels that a group norm normalises together
_SIZES = "8..256 pixels, 4 to 7 times a power of two (8, 28, 32, 64, 96, 224, 256, ...)"


def pyramid(family: str, size: int, channels: int) -> tuple[int, int]:
    """Return the lowest resolution (4 to 7) and how often it is doubled to reach ``size``.

    Args:
        family: for the message, such as "projection GAN".
        size: height and width of the images in pixels.
        channels: of the images.

    Raises:
        ConfigError: there is no such resolution, or the images are neither grey nor RGB.
    """
    bottom, levels = size, 0
    while bottom % 2 == 0 and bottom >= 8:
        bottom, levels = bottom // 2, levels + 1
    if not 8 <= size <= 256 or not 4 <= bottom <= 7:
        raise ConfigError(f"the {family} cannot make images of {size} pixels; it can: {_SIZES}")
    if channels not in (1, 3):
        raise ConfigError(f"the {family} makes images of 1 or 3 channels, not {channels}")
    return bottom, levels


def pyramid_widths(family: str, width: int, max_width: int, levels: int) -> list[int]:
    """Return the channels at full resolution and after each of ``levels`` halvings.

    Args:
        family: for the message.
        width: channels at full resolution; doubled with every halving while within ``max_width``.
        max_width: channels at most.
        levels: number of halvings.

    Raises:
        ConfigError: a width cannot be normalised in groups, or the limit is below it.
    """
    if width < GROUP_CHANNELS or width % GROUP_CHANNELS:
        raise ConfigError(
            f"generator.width is {width}; the {family} needs a multiple of {GROUP_CHANNELS}, such "
            "as 16, 32 or 64"
        )
    if max_width < width or max_width % GROUP_CHANNELS:
        raise ConfigError(
            f"generator.max_width is {max_width}; it must be a multiple of {GROUP_CHANNELS} and at "
            f"least generator.width ({width})"
        )
    doublings = (max_width // width).bit_length() - 1
    return [width * 2 ** min(level, doublings) for level in range(levels + 1)]


def at_least_one(name: str, value: int) -> None:
    """Refuse a count below 1.

    Raises:
        ConfigError: it is.
    """
    if value < 1:
        raise ConfigError(f"generator.{name} is {value}; it must be at least 1")
