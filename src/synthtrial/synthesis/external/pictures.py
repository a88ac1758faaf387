"""Images made elsewhere, decoded: nothing about them is changed unless that was asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from synthtrial.data.pictures import open_picture
from synthtrial.store.shards import UInt8Array

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

_MODES = {1: "L", 3: "RGB"}
#: 8 bits a channel, and what these convert to without loss of range.
_CONVERTIBLE = frozenset({"1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr"})


def decode(content: bytes, channels: int, size: int, *, resize: bool, convert: bool) -> UInt8Array:
    """Decode an image.

    Args:
        content: PNG, JPEG, TIFF, WebP, BMP or PPM.
        channels: that it must have, 1 or 3.
        size: height and width that it must have in pixels.
        resize: bring a square image of another size to ``size`` (bicubic with antialiasing, the
            choice of Parmar, Zhang & Zhu 2022, On aliased resizing and surprising subtleties in
            GAN evaluation).
        convert: bring an image of other channels to these: grey is ITU-R 601 luma, transparency
            is dropped.

    Returns:
        image_HWC, uint8.

    Raises:
        ValueError: it cannot be decoded, or is of another kind and may not be changed; the message
            continues a sentence that starts with the image's name.
    """
    from PIL.Image import Resampling

    mode = _MODES[channels]
    with open_picture(content) as opened:
        image: Picture = opened
        problem = _problem(image.mode, image.size, mode, size, resize=resize, convert=convert)
        if problem:
            raise ValueError(problem)
        if image.mode != mode:
            image = image.convert(mode)
        if image.size != (size, size):
            image = image.resize((size, size), Resampling.BICUBIC)
        pixels = np.asarray(image)
    return pixels.reshape(size, size, channels)


def _problem(
    mode: str, size: tuple[int, int], wanted: str, side: int, *, resize: bool, convert: bool
) -> str | None:
    if mode != wanted and mode not in _CONVERTIBLE:
        return f"is of Pillow's mode {mode}; save it with 8 bits a channel, as {wanted}"
    if mode != wanted and not convert:
        return (
            f"is of Pillow's mode {mode} where the dataset has {wanted}; save it so, or set "
            "generator.convert=true"
        )
    if size != (side, side) and size[0] != size[1]:
        return f"is {size[0]} x {size[1]} pixels; crop it to a square first"
    if size != (side, side) and not resize:
        return (
            f"is {size[0]} x {size[1]} pixels where the dataset has {side} x {side}; make it so, "
            "or set generator.resize=true"
        )
    return None
