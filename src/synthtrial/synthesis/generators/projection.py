"""The projection GAN: a residual conditional GAN for images from 8 to 256 pixels.

After Miyato & Koyama, "cGANs with Projection Discriminator" (ICLR 2018), with two departures. The
generator is normalised by *group* norm whose scale and shift depend on the label vector: batch norm
would tie an image to its batch, and results to the number of processes. And for speed,
residual blocks change resolution by or before their second convolution, with a way past them that
has no weights; the discriminator halves the resolution in its first convolution already.

Labels enter as 0/1 vectors, never as indices: the embedding of a label vector is the sum of its
classes' embeddings, so single-label and multi-label data need no separate code.
"""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from synthtrial.synthesis.generators import Networks, ProjectionConfig
from synthtrial.synthesis.generators.sizes import (
    GROUP_CHANNELS,
    at_least_one,
    pyramid,
    pyramid_widths,
)
from synthtrial.synthesis.generators.spectral import SpectralConv2d, SpectralLinear

_FAMILY = "projection GAN"


def build(
    config: ProjectionConfig, *, channels: int, size: int, classes: int, multi_label: bool
) -> Networks:
    """Build a freshly initialised projection GAN from torch's global random state.

    Args:
        config: widths and loss.
        channels: image channels, 1 or 3.
        size: height and width in pixels.
        classes: length K of a label vector.
        multi_label: not needed: label vectors are summed embeddings either way.

    Raises:
        ConfigError: the size, a width or the number of channels is not possible.
    """
    del multi_label
    bottom, levels = pyramid(_FAMILY, size, channels)
    at_least_one("latent", config.latent)
    widths = pyramid_widths(_FAMILY, config.width, config.max_width, levels)
    spectral = config.loss != "wgan_gp"
    return Networks(
        generator=Generator(config.latent, classes, channels, bottom, widths),
        discriminator=Discriminator(classes, channels, widths, spectral=spectral),
        latent=config.latent,
        loss=config.loss,
    )


class ConditionalGroupNorm(nn.Module):
    """Group norm whose scale and shift are affine functions of the label vector."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.groups = channels // GROUP_CHANNELS
        self.affine = nn.Linear(classes, 2 * channels)
        nn.init.normal_(self.affine.weight, std=0.1)
        nn.init.zeros_(self.affine.bias)

    def forward(self, x_BCHW: Tensor, y_BK: Tensor) -> Tensor:
        """Normalise ``x`` and modulate it by ``y``."""
        batch, channels, height, width = x_BCHW.shape
        affine_BD: Tensor = self.affine(y_BK)
        scale_BC, shift_BC = affine_BD.chunk(2, dim=1)
        # One image of B x C channels: the library's fused affine then has a scale for each image.
        one_1NHW = x_BCHW.reshape(1, batch * channels, height, width)
        scale_N, shift_N = 1 + scale_BC.reshape(-1), shift_BC.reshape(-1)
        normal_1NHW: Tensor = F.group_norm(one_1NHW, batch * self.groups, scale_N, shift_N)
        return normal_1NHW.view(x_BCHW.shape)


class GeneratorBlock(nn.Module):
    """Pre-activation residual block that doubles the resolution."""

    def __init__(self, inputs: int, outputs: int, classes: int) -> None:
        super().__init__()
        self.norm1 = ConditionalGroupNorm(inputs, classes)
        self.conv1 = _conv(inputs, outputs, gain=2**0.5)
        self.norm2 = ConditionalGroupNorm(outputs, classes)
        self.conv2 = _conv(outputs, outputs, gain=2**0.5)
        self.copies = 4 * outputs // inputs

    def forward(self, x_BCHW: Tensor, y_BK: Tensor) -> Tensor:
        """Return maps of twice the height and width."""
        h: Tensor = self.conv1(F.relu(self.norm1(x_BCHW, y_BK)))
        h = F.interpolate(h, scale_factor=2.0, mode="nearest")
        h = self.conv2(F.relu(self.norm2(h, y_BK)))
        # Channels become pixels: a way past the block without weights (Chen et al. 2024, DC-AE).
        skip: Tensor = F.pixel_shuffle(x_BCHW, 2).repeat(1, self.copies, 1, 1)
        return skip + h


class Generator(nn.Module):
    """``(z_BZ, y_BK) -> x_BCHW`` in [-1, 1]."""

    def __init__(
        self, latent: int, classes: int, channels: int, bottom: int, widths: list[int]
    ) -> None:
        super().__init__()
        self.bottom = bottom
        self.foot = nn.Linear(latent + classes, widths[-1] * bottom * bottom)
        nn.init.xavier_uniform_(self.foot.weight)
        nn.init.zeros_(self.foot.bias)
        self.blocks = nn.ModuleList(
            GeneratorBlock(inputs, outputs, classes)
            for inputs, outputs in zip(widths[:0:-1], widths[-2::-1], strict=True)
        )
        self.norm = ConditionalGroupNorm(widths[0], classes)
        self.head = _conv(widths[0], channels, gain=1.0)

    def forward(self, z_BZ: Tensor, y_BK: Tensor) -> Tensor:
        """Make one image for each latent vector and label vector."""
        h: Tensor = self.foot(torch.cat([z_BZ, y_BK], dim=1))
        h = h.view(len(h), -1, self.bottom, self.bottom)
        for block in self.blocks:
            h = block(h, y_BK)
        x_BCHW: Tensor = self.head(F.relu(self.norm(h, y_BK)))
        return torch.tanh(x_BCHW)


class DiscriminatorBlock(nn.Module):
    """Pre-activation residual block that may halve the resolution."""

    def __init__(self, inputs: int, outputs: int, *, halve: bool, spectral: bool = True) -> None:
        super().__init__()
        self.halve = halve
        conv = SpectralConv2d if spectral else _conv
        self.conv1 = conv(inputs, inputs, 3)
        self.conv2 = conv(inputs, outputs, 4 if halve else 3, stride=2 if halve else 1)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Return maps of half, or of the same, height and width."""
        h: Tensor = self.conv2(F.relu(self.conv1(F.relu(x_BCHW))))
        skip = x_BCHW
        if self.halve:  # pixels become channels, and neighbouring channels their mean
            batch, channels, height, width = h.shape
            skip = F.pixel_unshuffle(x_BCHW, 2).view(batch, channels, -1, height, width).mean(dim=2)
        return skip + h


class Discriminator(nn.Module):
    """``(x_BCHW, y_BK) -> score_B``: a linear score plus the label vector projected on features.

    Under a gradient penalty it goes without spectral normalisation: two bounds on the same slope
    would work against each other.
    """

    def __init__(
        self, classes: int, channels: int, widths: list[int], *, spectral: bool = True
    ) -> None:
        super().__init__()
        conv = SpectralConv2d if spectral else _conv
        linear = SpectralLinear if spectral else _linear
        self.stem = conv(channels, widths[1], 4, stride=2)
        self.blocks = nn.ModuleList(
            DiscriminatorBlock(inputs, outputs, halve=True, spectral=spectral)
            for inputs, outputs in pairwise(widths[1:])
        )
        self.blocks.append(
            DiscriminatorBlock(widths[-1], widths[-1], halve=False, spectral=spectral)
        )
        self.score = linear(widths[-1], 1, bias=True)
        self.embedding = linear(classes, widths[-1], bias=False)

    def forward(self, x_BCHW: Tensor, y_BK: Tensor) -> Tensor:
        """Score each image given its label vector (Miyato & Koyama, equation 3)."""
        h: Tensor = self.stem(x_BCHW)
        for block in self.blocks:
            h = block(h)
        features_BF = F.relu(h).sum(dim=(2, 3))
        score_B: Tensor = self.score(features_BF).squeeze(1)
        embedded_BF: Tensor = self.embedding(y_BK)
        return score_B + (embedded_BF * features_BF).sum(dim=1)


def _conv(
    inputs: int, outputs: int, kernel: int = 3, *, stride: int = 1, gain: float = 1.0
) -> nn.Conv2d:
    conv = nn.Conv2d(inputs, outputs, kernel, stride, padding=(kernel - stride + 1) // 2)
    nn.init.xavier_uniform_(conv.weight, gain=gain)
    assert conv.bias is not None
    nn.init.zeros_(conv.bias)
    return conv


def _linear(inputs: int, outputs: int, *, bias: bool) -> nn.Linear:
    linear = nn.Linear(inputs, outputs, bias=bias)
    nn.init.xavier_uniform_(linear.weight)
    if bias:
        nn.init.zeros_(linear.bias)
    return linear
