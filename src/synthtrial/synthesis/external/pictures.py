"""Images made elsewhere, decoded: nothing about them is changed unless that was asked for."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path, PurePosixPath

import numpy as np

from synthtrial.store.shards import UInt8Array

#: What Pillow may take the bytes for: formats of pictures alone, and none that runs a program.
_FORMATS = ("PNG", "JPEG", "TIFF", "WEBP", "BMP", "PPM")
_MODES = {1: "L", 3: "RGB"}
#: 8 bits a channel, and what these convert to without loss of range.
_CONVERTIBLE = frozenset({"1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr"})


def inside(folder: Path, name: str | None) -> Path:
    """Return the path of an image that a table names.

    The name alone is judged: what links inside the folder lead to is up to its owner.

    Raises:
        ValueError: there is no name, or it leads out of the folder.
    """
    if not name:
        raise ValueError("names no image")
    folder = folder.absolute()
    path = folder / name
    if ".." in PurePosixPath(name).parts or not path.is_relative_to(folder):
        raise ValueError(f"leads out of the folder {folder}")
    return path


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
    from PIL import Image, UnidentifiedImageError

    mode = _MODES[channels]
    try:
        with Image.open(io.BytesIO(content), formats=_FORMATS) as opened:
            opened.load()
            image: Image.Image = opened
            problem = _problem(image.mode, image.size, mode, size, resize=resize, convert=convert)
            if problem:
                raise ValueError(problem)
            if image.mode != mode:
                image = image.convert(mode)
            if image.size != (size, size):
                image = image.resize((size, size), Image.Resampling.BICUBIC)
            pixels = np.asarray(image)
    except UnidentifiedImageError:
        raise ValueError(f"is none of {', '.join(_FORMATS)}") from None
    except (
        OSError,
        SyntaxError,
        EOFError,
        IndexError,
        KeyError,
        struct.error,
        zlib.error,
        Image.DecompressionBombError,
    ) as error:
        raise ValueError(f"cannot be decoded ({error})") from error
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
