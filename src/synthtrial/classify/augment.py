"""Random transforms of training images, batched, every image with a decision of its own.

A transform gets its random numbers from outside: row i of ``u_BD`` decides about image i and
nothing else does, so the result does not depend on the batch an image is in. Images that share a
decision are transformed together with torchvision's v2 functions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from synthtrial.classify.catalog import FlipConfig, ShiftConfig
from synthtrial.errors import ConfigError


@dataclass(frozen=True)
class Augmentation:
    """A random transform of images.

    Attributes:
        draws: uniform random numbers that it uses for each image (D).
        apply: from ``x_BCHW`` (uint8) and ``u_BD`` (float32 in [0, 1), on the same device) to
            images of the same shape and type. ``x_BCHW`` itself must stay as it is.
    """

    draws: int
    apply: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def compose(parts: Sequence[Augmentation]) -> Augmentation | None:
    """Chain transforms in order, each with random numbers of its own; None for no transforms."""
    if not parts:
        return None
    if len(parts) == 1:
        return parts[0]
    widths = [part.draws for part in parts]

    def apply(x_BCHW: torch.Tensor, u_BD: torch.Tensor) -> torch.Tensor:
        for part, u in zip(parts, torch.split(u_BD, widths, dim=1), strict=True):
            x_BCHW = part.apply(x_BCHW, u)
        return x_BCHW

    return Augmentation(sum(widths), apply)


def make_flip(config: FlipConfig) -> Augmentation:
    """Flip left-right and top-bottom, independently, with the given probabilities.

    Raises:
        ConfigError: a probability is outside [0, 1].
    """
    from torchvision.transforms.v2 import functional as transforms

    for name, value in (("horizontal", config.horizontal), ("vertical", config.vertical)):
        if not 0 <= value <= 1:
            raise ConfigError(f"flip: {name} is {value}; a probability lies between 0 and 1")

    def apply(x_BCHW: torch.Tensor, u_BD: torch.Tensor) -> torch.Tensor:
        mirrored_B = (u_BD[:, 0] < config.horizontal).view(-1, 1, 1, 1)
        x_BCHW = torch.where(mirrored_B, transforms.horizontal_flip(x_BCHW), x_BCHW)
        upended_B = (u_BD[:, 1] < config.vertical).view(-1, 1, 1, 1)
        return torch.where(upended_B, transforms.vertical_flip(x_BCHW), x_BCHW)

    return Augmentation(2, apply)


def make_shift(config: ShiftConfig) -> Augmentation:
    """Move by up to ``pixels`` along each axis, every offset equally likely.

    Raises:
        ConfigError: ``pixels`` is negative.
    """
    from torchvision.transforms.v2 import functional as transforms

    reach = config.pixels
    if reach < 0:
        raise ConfigError(f"shift: pixels is {reach}; it must be 0 or more")
    offsets = 2 * reach + 1

    def apply(x_BCHW: torch.Tensor, u_BD: torch.Tensor) -> torch.Tensor:
        height, width = x_BCHW.shape[-2:]
        if config.padding_mode == "reflect" and reach >= min(height, width):
            raise ConfigError(
                f"shift: cannot reflect {reach} pixels of an image of {height}x{width}; "
                "use fewer pixels or padding_mode=edge"
            )
        padded = transforms.pad(x_BCHW, [reach], padding_mode=config.padding_mode)
        decisions_B2 = (u_BD * offsets).long().clamp_(max=offsets - 1)
        codes_B = decisions_B2[:, 0] * offsets + decisions_B2[:, 1]
        order_B = codes_B.argsort(stable=True)
        counts = torch.bincount(codes_B, minlength=offsets**2).tolist()
        moved = torch.empty_like(x_BCHW)
        for code, rows in enumerate(torch.split(order_B, counts)):
            if len(rows):
                top, left = divmod(code, offsets)
                moved[rows] = transforms.crop(padded[rows], top, left, height, width)
        return moved

    return Augmentation(2, apply)
