"""Pictures in files or tables, decoded and brought to the one form that a dataset has.

Radiographs have a module of their own, which reads what is grey here too.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Literal

import numpy as np

from synthtrial.errors import ConfigError, UnreadableImageError

if TYPE_CHECKING:
    from PIL.Image import Image as PillowImage

    from synthtrial.store.shards import UInt8Array

#: What Pillow may take the bytes for: formats of pictures alone, and none that runs a program.
_FORMATS = ("PNG", "JPEG", "TIFF", "WEBP", "BMP", "PPM")
#: Grey of 16 bits a pixel, as Pillow names its modes.
_SIXTEEN_BITS = ("I;16", "I;16B", "I;16L", "I")
_GREY = ("1", "L", *_SIXTEEN_BITS)
_DICOM_MARK = slice(128, 132)
_SMALLEST = 8  # pixels


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


@contextmanager
def open_picture(content: bytes) -> Iterator[PillowImage]:
    """Decode a PNG, JPEG, TIFF, WebP, BMP or PPM with Pillow.

    Raises:
        ValueError: it cannot be decoded; the message continues a sentence that starts with the
            image's name.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(io.BytesIO(content), formats=_FORMATS) as opened:
            opened.load()
            yield opened
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


@dataclass(frozen=True)
class Form:
    """What every image of a dataset becomes.

    Attributes:
        channels: 1 or 3; None leaves the image's own.
        size: height and width in pixels; None leaves the image's own.
        fit: how an image becomes square (:func:`synthtrial.data.radiographs.fit_square`).
        resampling: as there.
        window: grey values that become black and white; None takes the whole range.
    """

    channels: int | None = None
    size: int | None = None
    fit: Literal["crop_then_resize", "resize_then_crop", "squash"] = "crop_then_resize"
    resampling: Literal["torchxrayvision", "antialias"] = "antialias"
    window: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        if self.channels not in (None, 1, 3):
            raise ConfigError(
                f"dataset.channels is {self.channels}; allowed: 1, 3, or null for the images' own"
            )
        if self.size is not None and self.size < _SMALLEST:
            raise ConfigError(
                f"dataset.size is {self.size}; allowed: {_SMALLEST} pixels or more, or null for "
                "the images' own size"
            )
        if self.window is not None and not self.window[0] < self.window[1]:
            raise ConfigError(
                f"dataset.window is {list(self.window)}; give the grey values that become black "
                "and white, the smaller first"
            )


def read_picture(content: bytes, form: Form) -> UInt8Array:
    """Decode an image and bring it to a form.

    Colours become grey by ITU-R 601 luma, grey becomes three equal channels, transparency is
    dropped. Grey of 16 bits is scaled to 8 from the form's window, by default from all 16.

    Returns:
        image_HWC, uint8.

    Raises:
        UnreadableImageError: it is empty or no image, or has colours where there is a window.
    """
    from synthtrial.data.radiographs import fit_square

    if not content:
        raise UnreadableImageError("the file is empty")
    image_HWC = _decode(content, form)
    if form.size is None:
        return image_HWC
    channels = [
        fit_square(image_HW, form.size, form.fit, form.resampling)
        for image_HW in np.moveaxis(image_HWC, 2, 0)
    ]
    return np.stack(channels, axis=2)


def _decode(content: bytes, form: Form) -> UInt8Array:
    if content[_DICOM_MARK] == b"DICM":
        return _decode_dicom(content, form)
    try:
        with open_picture(content) as image:
            if image.mode not in _GREY:
                if form.window is not None:
                    raise ValueError(
                        f"is of Pillow's mode {image.mode}, and dataset.window is for grey images"
                    )
                colour = form.channels == 3 or (form.channels is None and image.mode != "LA")
                pixels = np.asarray(image.convert("RGB" if colour else "L"))
                return pixels if colour else pixels[:, :, None]
            if image.mode in _SIXTEEN_BITS:
                grey_HW = _scaled(np.asarray(image), form.window or (0, 65535))
            else:
                grey_HW = np.asarray(image.convert("L"))
                grey_HW = _scaled(grey_HW, form.window) if form.window else grey_HW
    except ValueError as error:
        raise UnreadableImageError(f"it {error}") from error
    return np.repeat(grey_HW[:, :, None], form.channels or 1, axis=2)


def _decode_dicom(content: bytes, form: Form) -> UInt8Array:
    from synthtrial.data.radiographs import read_grey

    if form.window is not None:
        raise UnreadableImageError(
            "it is DICOM, which brings a window of its own; leave out dataset.window"
        )
    return np.repeat(read_grey(content)[:, :, None], form.channels or 1, axis=2)


def _scaled(grey_HW: np.ndarray, window: tuple[float, float]) -> UInt8Array:
    """Return uint8 of grey values, black and white at the ends of the window and beyond them."""
    low, high = window
    share_HW = (grey_HW.astype(np.float64) - low) / (high - low)
    return np.rint(255 * np.clip(share_HW, 0, 1)).astype(np.uint8)
