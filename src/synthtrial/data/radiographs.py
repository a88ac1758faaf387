"""Reading grey radiographs as hospitals and datasets leave them, and bringing them to one size.

JPEG, PNG (8 or 16 bits) and, with pydicom, DICOM are told apart by their content. Two ways to
resample: Pillow's, and that of TorchXRayVision, whose ``XRayCenterCrop`` and ``XRayResizer`` this
reproduces to half a grey level without scikit-image (Cohen et al. 2022, arXiv 2111.00595).
"""

from __future__ import annotations

import io
from typing import Any, Literal

import numpy as np
from PIL import Image

from synthtrial.errors import SynthtrialError, UnreadableImageError

Fit = Literal["crop_then_resize", "resize_then_crop", "squash"]
Resampling = Literal["torchxrayvision", "antialias"]

_DICOM_MARK = slice(128, 132)
_SIXTEEN_BITS = ("I;16", "I;16B", "I;16L", "I")
_MIDDLE = 127.5  # what TorchXRayVision pads with: 0 on its scale from -1024 to 1024


def read_grey(content: bytes) -> np.ndarray:
    """Decode an image of any size.

    Colours are turned into grey by ITU-R 601 luma; 16-bit values are scaled from their whole range
    to 8 bits; those of DICOM through the file's own rescaling and window, if it has any, from the
    range of its stored bits, and inverted where low values are white.

    Args:
        content: of a JPEG, PNG, ... or DICOM file.

    Returns:
        image_HW, uint8.

    Raises:
        UnreadableImageError: it is empty, truncated or no image.
        SynthtrialError: it is DICOM and pydicom is not installed.
    """
    if not content:
        raise UnreadableImageError("the file is empty")
    if content[_DICOM_MARK] == b"DICM":
        return _read_dicom(content)
    try:
        with Image.open(io.BytesIO(content)) as image:
            if image.mode in _SIXTEEN_BITS:
                return _to_bytes(np.asarray(image).astype(np.float64) / 65535)
            return np.asarray(image if image.mode == "L" else image.convert("L"))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise UnreadableImageError(f"it cannot be decoded ({error})") from error


def fit_square(image_HW: np.ndarray, size: int, fit: Fit, resampling: Resampling) -> np.ndarray:
    """Bring an image to ``size`` x ``size`` pixels.

    Args:
        image_HW: uint8.
        size: of the result, in pixels.
        fit: ``crop_then_resize`` takes the largest square in the middle, and resizes it;
            ``resize_then_crop`` brings the shorter side to ``size`` and cuts off what is too long
            at both ends; ``squash`` resizes both sides and changes the aspect ratio.
        resampling: ``antialias``, Pillow's bilinear filter over the source pixels of each target
            pixel; ``torchxrayvision``, a Gaussian filter and linear interpolation.

    Returns:
        image_SS, uint8.
    """
    resize = _resize_as_torchxrayvision if resampling == "torchxrayvision" else _resize
    height, width = image_HW.shape
    if fit == "squash":
        return resize(image_HW, (size, size))
    if fit == "crop_then_resize":
        return resize(_crop_middle(image_HW, min(height, width)), (size, size))
    shorter = min(height, width)
    whole = resize(image_HW, (size * height // shorter, size * width // shorter))
    return _crop_middle(whole, size)


def _crop_middle(image_HW: np.ndarray, side: int) -> np.ndarray:
    height, width = image_HW.shape
    top, left = height // 2 - side // 2, width // 2 - side // 2
    return image_HW[top : top + side, left : left + side]


def _resize(image_HW: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    if image_HW.shape == shape:
        return image_HW
    picture = Image.fromarray(np.ascontiguousarray(image_HW))
    return np.asarray(picture.resize(shape[::-1], Image.Resampling.BILINEAR))


def _resize_as_torchxrayvision(image_HW: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Do what ``skimage.transform.resize(..., mode="constant", preserve_range=True)`` does.

    Where an axis shrinks by a factor f, a Gaussian filter of deviation (f - 1) / 2 goes before the
    linear interpolation; beyond the border everything has TorchXRayVision's value 0.
    """
    from scipy import ndimage

    if image_HW.shape == shape:
        return image_HW
    factors = np.divide(image_HW.shape, shape)
    mode: Literal["grid-constant"] = "grid-constant"
    x_HW = image_HW.astype(np.float32)
    if (factors > 1).any():
        sigmas = np.maximum(0, (factors - 1) / 2)
        x_HW = ndimage.gaussian_filter(x_HW, sigmas, mode=mode, cval=_MIDDLE)
    x_HW = ndimage.zoom(x_HW, 1 / factors, order=1, mode=mode, cval=_MIDDLE, grid_mode=True)
    resized: np.ndarray = np.clip(np.rint(x_HW), 0, 255).astype(np.uint8)
    return resized


def _read_dicom(content: bytes) -> np.ndarray:
    try:
        from pydicom import dcmread
        from pydicom.pixels.processing import apply_modality_lut, apply_voi_lut
    except ImportError:
        raise SynthtrialError(
            "these are DICOM files, which pydicom reads; run: pip install 'synthtrial[dicom]'"
        ) from None
    try:
        file = dcmread(io.BytesIO(content))
        pixels = file.pixel_array
        if pixels.ndim != 2:
            raise ValueError(f"it holds an array of shape {pixels.shape}, and not one grey image")
        ends = np.array([_stored_range(file)])
        low, high = apply_modality_lut(ends, file)[0].tolist()
        x_HW = apply_voi_lut(apply_modality_lut(pixels, file), file).astype(np.float64)
        x_HW = (x_HW - low) / (high - low)
        inverted = file.PhotometricInterpretation == "MONOCHROME1"
    except Exception as error:  # pydicom raises what it likes on damaged files
        raise UnreadableImageError(f"it cannot be decoded ({error})") from error
    return _to_bytes(1 - x_HW if inverted else x_HW)


def _stored_range(file: Any) -> tuple[int, int]:
    bits, signed = int(file.BitsStored), bool(file.PixelRepresentation)
    return (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)


def _to_bytes(share_HW: np.ndarray) -> np.ndarray:
    """Return uint8 of values from 0 to 1."""
    scaled: np.ndarray = np.rint(255 * np.clip(share_HW, 0, 1)).astype(np.uint8)
    return scaled
