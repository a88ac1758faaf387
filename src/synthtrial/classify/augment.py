"""Random transforms of training images, batched, every image with a decision of its own.

A transform gets its random numbers from outside: row i of ``u_BD`` decides about image i and
nothing else does, so the result does not depend on the batch an image is in. Images that share a
decision are transformed together with torchvision's v2 functions. Where every image has a number of
its own, such as the width of its blur, torchvision's formula is written out here for all of them at
once, element by element: sums and convolutions whose order depended on the batch could round a
pixel up in one and down in another.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from synthtrial.classify.catalog import BlurConfig, FlipConfig, IntensityConfig, ShiftConfig
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


def make_blur(config: BlurConfig) -> Augmentation:
    """Blur with a Gaussian, with a probability; its deviation is drawn evenly for each image.

    The kernel reaches three of the largest deviations to each side, or as far as the image can be
    reflected, and sums to 1.

    Raises:
        ConfigError: the probability is outside [0, 1], or the deviations are no range above 0.
    """
    if not 0 <= config.probability <= 1:
        raise ConfigError(f"blur: probability is {config.probability}; it must lie between 0 and 1")
    if not 0 < config.low <= config.high < math.inf:
        raise ConfigError(
            f"blur: deviations from low={config.low} to high={config.high} pixels are no range; "
            "low must be above 0, and high no less than low"
        )
    reach = math.ceil(3 * config.high)

    def apply(x_BCHW: torch.Tensor, u_BD: torch.Tensor) -> torch.Tensor:
        chosen_R = (u_BD[:, 0] < config.probability).nonzero().flatten()
        blurred = x_BCHW.clone()
        if len(chosen_R):
            sigma_R = config.low + (config.high - config.low) * u_BD[chosen_R, 1].double()
            blurred[chosen_R] = gaussian_blur(x_BCHW[chosen_R], sigma_R, reach)
        return blurred

    return Augmentation(2, apply)


def make_intensity(config: IntensityConfig) -> Augmentation:
    """Change brightness, then contrast, each by a factor of the image's own.

    Raises:
        ConfigError: a deviation is outside [0, 1].
    """
    for name, value in (("brightness", config.brightness), ("contrast", config.contrast)):
        if not 0 <= value <= 1:
            raise ConfigError(f"intensity: {name} is {value}; it must lie between 0 and 1")

    def apply(x_BCHW: torch.Tensor, u_BD: torch.Tensor) -> torch.Tensor:
        if config.brightness:
            x_BCHW = adjust_brightness(x_BCHW, 1 + config.brightness * (2 * u_BD[:, 0] - 1))
        if config.contrast:
            x_BCHW = adjust_contrast(x_BCHW, 1 + config.contrast * (2 * u_BD[:, 1] - 1))
        return x_BCHW

    return Augmentation(2, apply)


def gaussian_blur(x_BCHW: torch.Tensor, sigma_B: torch.Tensor, reach: int) -> torch.Tensor:
    """Blur uint8 images, each by a Gaussian of its own deviation, along both axes in turn.

    Args:
        x_BCHW: uint8.
        sigma_B: standard deviations in pixels, above 0.
        reach: pixels of the kernel to each side, cut to what the image allows.
    """
    y_BCHW = x_BCHW.float()
    for axis in (2, 3):
        side = y_BCHW.shape[axis]
        limit = min(reach, side - 1)
        distance_T = torch.arange(-limit, limit + 1, device=x_BCHW.device, dtype=torch.float64)
        kernel_BT = (-0.5 * (distance_T / sigma_B.double()[:, None]) ** 2).exp()
        kernel_BT = (kernel_BT / kernel_BT.sum(1, keepdim=True)).float()
        padding = (0, 0, limit, limit) if axis == 2 else (limit, limit, 0, 0)
        padded = torch.nn.functional.pad(y_BCHW, padding, mode="reflect")
        y_BCHW = torch.zeros_like(y_BCHW)
        for t in range(2 * limit + 1):
            y_BCHW += padded.narrow(axis, t, side) * kernel_BT[:, t].view(-1, 1, 1, 1)
    return y_BCHW.round_().clamp_(0, 255).to(torch.uint8)


def adjust_brightness(x_BCHW: torch.Tensor, factor_B: torch.Tensor) -> torch.Tensor:
    """Multiply uint8 images, each by its own factor, as torchvision does by one for all."""
    return (x_BCHW * factor_B.float().view(-1, 1, 1, 1)).clamp_(0, 255).to(torch.uint8)


def adjust_contrast(x_BCHW: torch.Tensor, factor_B: torch.Tensor) -> torch.Tensor:
    """Blend uint8 images with their mean grey, each by its own factor, as torchvision does."""
    from torchvision.transforms.v2 import functional as transforms

    grey = x_BCHW
    if x_BCHW.shape[1] == 3:
        grey = transforms.rgb_to_grayscale(x_BCHW)  # whole numbers: their sum has no rounding
    mean_B111 = grey.double().mean((1, 2, 3), keepdim=True).float()
    factor_B111 = factor_B.float().view(-1, 1, 1, 1)
    blended = x_BCHW * factor_B111 + mean_B111 * (1 - factor_B111)
    return blended.clamp_(0, 255).to(torch.uint8)
