"""DiffAugment: the same differentiable transforms of real and made images, for GANs on few images.

Zhao, Liu, Lin, Zhu & Han, "Differentiable Augmentation for Data-Efficient GAN Training" (NeurIPS
2020). Every image has its own random numbers, handed in from outside, so that what happens to an
image depends on where it stands in the *global* batch and not on the process that holds it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from synthtrial.errors import ConfigError, suggest

TRANSLATION_RATIO = 1 / 8  # of the side, either way
CUTOUT_RATIO = 1 / 2  # of the side

_Transform = Callable[[Tensor, Tensor], Tensor]


def check_names(names: Sequence[str]) -> None:
    """Refuse names that are no transforms.

    Raises:
        ConfigError: a name is unknown or given twice.
    """
    for name in names:
        if name not in _TRANSFORMS:
            raise ConfigError(
                f"gan_training.diffaugment holds '{name}', which is no transform: "
                f"{suggest(name, _TRANSFORMS)}"
            )
    if len(set(names)) != len(names):
        raise ConfigError(f"gan_training.diffaugment names a transform twice: {list(names)}")


def numbers_needed(names: Sequence[str]) -> int:
    """Return how many uniform random numbers one image needs."""
    return sum(_TRANSFORMS[name][0] for name in names)


def diffaugment(x_BCHW: Tensor, u_BD: Tensor, names: Sequence[str]) -> Tensor:
    """Transform every image by its own random numbers, differentiably.

    Args:
        x_BCHW: images in [-1, 1].
        u_BD: uniform numbers in [0, 1), ``numbers_needed(names)`` an image.
        names: any of ``translation``, ``cutout`` and ``color``, applied in this order.
    """
    start = 0
    for name in names:
        count, transform = _TRANSFORMS[name]
        x_BCHW = transform(x_BCHW, u_BD[:, start : start + count])
        start += count
    return x_BCHW


def _translation(x_BCHW: Tensor, u_B2: Tensor) -> Tensor:
    """Shift by up to an eighth of the side in whole pixels; zeros come in at the border."""
    height, width = x_BCHW.shape[2:]
    down_BHH = _shift_matrix(u_B2[:, 0], height).to(x_BCHW.dtype)
    right_BWW = _shift_matrix(u_B2[:, 1], width).to(x_BCHW.dtype)
    # A gather would need a scatter in its backward pass; two products of small matrices do not.
    return down_BHH[:, None] @ x_BCHW @ right_BWW[:, None].transpose(2, 3)


def _shift_matrix(u_B: Tensor, side: int) -> Tensor:
    reach = int(side * TRANSLATION_RATIO + 0.5)
    offset_B = (u_B * (2 * reach + 1)).floor() - reach
    index_S = torch.arange(side, device=u_B.device)
    return index_S[None, :, None] - offset_B[:, None, None] == index_S[None, None, :]


def _cutout(x_BCHW: Tensor, u_B2: Tensor) -> Tensor:
    """Blank a square of half the side, centred anywhere in the image."""
    height, width = x_BCHW.shape[2:]
    rows_BH = _hidden(u_B2[:, 0], height)
    columns_BW = _hidden(u_B2[:, 1], width)
    seen_BHW = ~(rows_BH[:, :, None] & columns_BW[:, None, :])
    return x_BCHW * seen_BHW[:, None].to(x_BCHW.dtype)


def _hidden(u_B: Tensor, side: int) -> Tensor:
    length = int(side * CUTOUT_RATIO + 0.5)
    first_B = (u_B * (side + 1 - length % 2)).floor() - length // 2
    distance_BS = torch.arange(side, device=u_B.device)[None, :] - first_B[:, None]
    return (distance_BS >= 0) & (distance_BS < length)


def _color(x_BCHW: Tensor, u_B3: Tensor) -> Tensor:
    """Change brightness (by up to .5), saturation (0 to 2 fold) and contrast (.5 to 1.5 fold)."""
    brightness, saturation, contrast = u_B3.to(x_BCHW.dtype)[:, :, None, None, None].unbind(1)
    x_BCHW = x_BCHW + (brightness - 0.5)
    grey_B1HW = x_BCHW.mean(dim=1, keepdim=True)
    x_BCHW = (x_BCHW - grey_B1HW) * (2 * saturation) + grey_B1HW
    mean_B111 = x_BCHW.mean(dim=(1, 2, 3), keepdim=True)
    return (x_BCHW - mean_B111) * (contrast + 0.5) + mean_B111


_TRANSFORMS: dict[str, tuple[int, _Transform]] = {
    "translation": (2, _translation),
    "cutout": (2, _cutout),
    "color": (3, _color),
}
