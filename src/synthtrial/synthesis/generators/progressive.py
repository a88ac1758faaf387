"""The progressive GAN: both networks grow from a few pixels to full size while they train.

Karras, Aila, Laine & Lehtinen, "Progressive Growing of GANs for Improved Quality, Stability, and
Variation" (ICLR 2018), layer for layer as in the authors' code, which by default doubles and halves
the resolution within a convolution. Han et al., "Breaking medical data sharing boundaries by using
synthesized radiographs" (Science Advances 2020, doi 10.1126/sciadv.abb7973), made chest X-rays of
256 pixels with it, conditioned as in an auxiliary-classifier GAN (Odena, Olah & Shlens 2017): the
generator is given the label vector, the discriminator has to find it.

Three things differ. The networks are called with images of full size all the time; only what they
compute inside has the present resolution. The minibatch standard deviation is that of *neighbours*
in the batch, for the groups to be the same on any number of processes. And the lowest resolution
need not be 4. As published, an image is linear in the last features: it may leave [-1, 1] a little,
and who stores it clamps it.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from synthtrial.errors import ConfigError
from synthtrial.synthesis.generators import Networks, ProgressiveConfig
from synthtrial.synthesis.generators.equalised import (
    EqualConv2d,
    EqualLinear,
    doubled,
    halved,
    pixel_norm,
    with_deviation,
)
from synthtrial.synthesis.generators.sizes import at_least_one, pyramid

_FAMILY = "progressive GAN"
_BASES = range(4, 16)
_SLOPE = 0.2  # of the leaky ReLU, for negative inputs


def build(
    config: ProgressiveConfig, *, channels: int, size: int, classes: int, multi_label: bool
) -> Networks:
    """Build a freshly initialised, fully grown progressive GAN from torch's global random state.

    Args:
        config: widths, growth and label loss.
        channels: image channels, 1 or 3.
        size: height and width in pixels.
        classes: length K of a label vector.
        multi_label: whether a label vector may hold any number of positives.

    Raises:
        ConfigError: the size, or an option for this size, is not possible.
    """
    levels = _levels(config.base, size, channels)
    for name in ("latent", "feature_max", "group"):
        at_least_one(name, getattr(config, name))
    if config.feature_base < 2 ** (levels + 1):
        raise ConfigError(
            f"generator.feature_base is {config.feature_base}; images of {size} pixels from a base "
            f"of {config.base} need at least {2 ** (levels + 1)}, for one channel at full size"
        )
    if not 0.0 <= config.grown_at <= 1.0:
        raise ConfigError(f"generator.grown_at is {config.grown_at}; it must be in [0, 1]")
    if multi_label and config.label_loss == "softmax":
        raise ConfigError(
            "generator.label_loss is 'softmax', which is for one class an image, but these images "
            "may have any number of classes; use 'auto' or 'sigmoid'"
        )
    fitting: Literal["sigmoid", "softmax"] = "sigmoid" if multi_label else "softmax"
    maps = [min(config.feature_base >> k + 1, config.feature_max) for k in range(levels + 1)]
    return Networks(
        generator=Generator(config, classes, channels, maps),
        discriminator=Discriminator(config, classes, channels, maps),
        latent=config.latent,
        loss="wgan_gp",
        label_loss=fitting if config.label_loss == "auto" else config.label_loss,
        label_loss_on=config.label_loss_on,
        group=config.group,
        growing=True,
    )


def _levels(base: int, size: int, channels: int) -> int:
    """Return how often ``base`` is doubled to reach ``size``."""
    pyramid(_FAMILY, size, channels)
    levels = {
        size >> doublings: doublings
        for doublings in range(size.bit_length(), 0, -1)
        if size % 2**doublings == 0 and size >> doublings in _BASES
    }
    if base not in levels:
        raise ConfigError(
            f"generator.base is {base}; images of {size} pixels can grow from "
            f"{' or '.join(map(str, levels))} pixels: set generator.base to that"
        )
    return levels[base]


def growth(progress: float, grown_at: float, levels: int) -> tuple[int, float]:
    """Return which resolution is the present one, and how far it is faded in.

    Args:
        progress: fraction of the training that is done.
        grown_at: see :class:`~synthtrial.synthesis.generators.ProgressiveConfig`.
        levels: number of doublings.

    Returns:
        The number of doublings so far, and the weight of the highest resolution in (0, 1].
    """
    if progress >= grown_at:
        return levels, 1.0
    halves = progress / grown_at * (2 * levels + 1)  # half shares that have passed
    stage = math.floor((halves + 1) / 2)
    faded = min(1.0, halves - (2 * stage - 1))
    # Of weight 0 a resolution is not there yet; so new layers have a gradient from the start.
    return (stage, faded) if faded > 0.0 else (stage - 1, 1.0)


class _Growing(nn.Module):
    """A network with a present resolution, which travels with copies and with state dicts.

    Attributes:
        stage: how often the base is doubled at present.
        alpha: weight of the present resolution beside the one before.
    """

    def __init__(self, grown_at: float, levels: int) -> None:
        super().__init__()
        self.grown_at, self.levels = grown_at, levels
        self.stage, self.alpha = levels, 1.0

    def grow(self, progress: float) -> None:
        """Take the form that it has after this fraction of the training, from 0 to 1."""
        self.stage, self.alpha = growth(progress, self.grown_at, self.levels)

    def get_extra_state(self) -> Tensor:
        """Return the form for ``state_dict``: layers above it may be untrained."""
        return torch.tensor([self.stage, self.alpha])

    def set_extra_state(self, state: Tensor) -> None:
        """Take the form of a ``state_dict``."""
        self.stage, self.alpha = int(state[0]), float(state[1])


class Generator(_Growing):
    """``(z_BZ, y_BK) -> x_BCHW`` of full size, about in [-1, 1].

    Args:
        config: knobs of the family.
        classes: length K of a label vector.
        channels: of the images.
        maps: number of channels at every resolution, from the base to full size.
    """

    def __init__(
        self, config: ProgressiveConfig, classes: int, channels: int, maps: list[int]
    ) -> None:
        super().__init__(config.grown_at, len(maps) - 1)
        self.base = base = config.base
        # A convolution from one pixel to base x base, whose gain is that of its whole kernel.
        self.foot = EqualLinear(
            config.latent + classes, maps[0] * base * base, gain=2**0.5 / base, bias=False
        )
        self.foot_bias = nn.Parameter(torch.zeros(maps[0], 1, 1))
        self.conv = EqualConv2d(maps[0], maps[0], 3)
        self.blocks = nn.ModuleList(
            GeneratorBlock(inputs, outputs) for inputs, outputs in pairwise(maps)
        )
        self.to_rgb = nn.ModuleList(EqualConv2d(each, channels, 1, gain=1.0) for each in maps)

    def forward(self, z_BZ: Tensor, y_BK: Tensor) -> Tensor:
        """Make one image for each latent vector and label vector."""
        h: Tensor = self.foot(pixel_norm(torch.cat([z_BZ, y_BK], dim=1)))
        h = h.view(len(h), -1, self.base, self.base) + self.foot_bias
        h = pixel_norm(F.leaky_relu(h, _SLOPE))
        h = before = pixel_norm(F.leaky_relu(self.conv(h), _SLOPE))
        for block in self.blocks[: self.stage]:
            h, before = block(h), h
        x_BCHW: Tensor = self.to_rgb[self.stage](h)
        if self.alpha < 1.0:
            coarse = doubled(self.to_rgb[self.stage - 1](before))
            x_BCHW = torch.lerp(coarse, x_BCHW, self.alpha)
        return doubled(x_BCHW, self.levels - self.stage)


class GeneratorBlock(nn.Module):
    """Two convolutions, the first of which doubles the resolution."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv1 = EqualConv2d(inputs, outputs, 3, resample="double")
        self.conv2 = EqualConv2d(outputs, outputs, 3)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Return maps of twice the height and width."""
        h = pixel_norm(F.leaky_relu(self.conv1(x_BCHW), _SLOPE))
        return pixel_norm(F.leaky_relu(self.conv2(h), _SLOPE))


class Discriminator(_Growing):
    """``(x_BCHW, y_BK) -> scores_BD`` of images of full size: the score, then K label logits.

    The label vector is not looked at: it is for the loss to compare the logits with.

    Args:
        config: knobs of the family.
        classes: length K of a label vector.
        channels: of the images.
        maps: number of channels at every resolution, from the base to full size.
    """

    def __init__(
        self, config: ProgressiveConfig, classes: int, channels: int, maps: list[int]
    ) -> None:
        super().__init__(config.grown_at, len(maps) - 1)
        self.group = config.group
        hidden = min(config.feature_base, config.feature_max)
        self.from_rgb = nn.ModuleList(EqualConv2d(channels, each, 1) for each in maps)
        self.blocks = nn.ModuleList(
            DiscriminatorBlock(inputs, outputs) for outputs, inputs in pairwise(maps)
        )
        self.conv = EqualConv2d(maps[0] + 1, maps[0], 3)
        self.dense = EqualLinear(maps[0] * config.base**2, hidden)
        self.head = EqualLinear(hidden, 1 + classes, gain=1.0)

    def forward(self, x_BCHW: Tensor, y_BK: Tensor) -> Tensor:
        """Score each image, and say which labels it shows."""
        del y_BK
        x_BCHW = halved(x_BCHW, self.levels - self.stage)
        h = F.leaky_relu(self.from_rgb[self.stage](x_BCHW), _SLOPE)
        for stage in range(self.stage, 0, -1):
            h = self.blocks[stage - 1](h)
            if stage == self.stage and self.alpha < 1.0:
                coarse = F.leaky_relu(self.from_rgb[stage - 1](halved(x_BCHW)), _SLOPE)
                h = torch.lerp(coarse, h, self.alpha)
        h = F.leaky_relu(self.conv(with_deviation(h, self.group)), _SLOPE)
        h = F.leaky_relu(self.dense(h.flatten(1)), _SLOPE)
        scores_BD: Tensor = self.head(h)
        return scores_BD

    def show(self, x_BCHW: Tensor) -> Tensor:
        """Return real images as coarse as the made images of the present form."""
        missing = self.levels - self.stage
        x_BCHW = halved(x_BCHW, missing)
        if self.alpha < 1.0:
            x_BCHW = torch.lerp(doubled(halved(x_BCHW)), x_BCHW, self.alpha)
        return doubled(x_BCHW, missing)


class DiscriminatorBlock(nn.Module):
    """Two convolutions, the second of which halves the resolution."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv1 = EqualConv2d(inputs, inputs, 3)
        self.conv2 = EqualConv2d(inputs, outputs, 3, resample="halve")

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Return maps of half the height and width."""
        h = F.leaky_relu(self.conv1(x_BCHW), _SLOPE)
        return F.leaky_relu(self.conv2(h), _SLOPE)
