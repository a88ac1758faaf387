"""Several images as one PNG."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image


def write_sheet(path: Path, images_NCHW: np.ndarray, columns: int) -> np.ndarray:
    """Write images in rows, without gaps, as one PNG.

    Args:
        path: of the file.
        images_NCHW: uint8, with 1 or 3 channels; a multiple of ``columns``.
        columns: images a row.

    Returns:
        sheet_HWC, as written.
    """
    channels, height, width = images_NCHW.shape[1:]
    rows_RCHWD = images_NCHW.transpose(0, 2, 3, 1).reshape(-1, columns, height, width, channels)
    sheet_HWC = rows_RCHWD.swapaxes(1, 2).reshape(-1, columns * width, channels)
    Image.fromarray(sheet_HWC[..., 0] if channels == 1 else sheet_HWC).save(path, format="PNG")
    return np.asarray(sheet_HWC)
