"""The plain conditional GAN, for images from 8 to 256 pixels: labels are concatenated to inputs.

After Mirza & Osindero, "Conditional Generative Adversarial Nets" (2014), in the shape of Keras's
example "Conditional GAN" (Paul 2021): the label vector is appended to the latent vector in the
generator, and to the image as constant channels in the discriminator; strided convolutions, leaky
ReLUs. Departures: the generator is normalised by group norm, and the discriminator not at all.
Batch norm, usual in this family, would tie an image to its batch, and results to the number of
processes. The discriminator ends in a linear map of all its features, where Keras takes each
feature's maximum over the image: of an 8-pixel image that would see patches only.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from synthtrial.errors import ConfigError, suggest
from synthtrial.synthesis.generators import ConcatConfig, Networks
from synthtrial.synthesis.generators.sizes import (
    GROUP_CHANNELS,
    at_least_one,
    pyramid,
    pyramid_widths,
)

_FAMILY = "plain conditional GAN"
_SLOPE = 0.2  # of the leaky ReLU, for negative inputs
_Layer = TypeVar("_Layer", nn.Linear, nn.Conv2d, nn.ConvTranspose2d)
_UPSAMPLINGS = ("nearest", "bilinear", "transposed", "pixel_shuffle")


def build(
    config: ConcatConfig, *, channels: int, size: int, classes: int, multi_label: bool
) -> Networks:
    """Build a freshly initialised plain conditional GAN from torch's global random state.

    Args:
        config: widths, upsampling and loss.
        channels: image channels, 1 or 3.
        size: height and width in pixels.
        classes: length K of a label vector.
        multi_label: not needed: a label vector is concatenated whatever it holds.

    Raises:
        ConfigError: the size, a width, the upsampling or the number of channels is not possible.
    """
    del multi_label
    bottom, levels = pyramid(_FAMILY, size, channels)
    at_least_one("latent", config.latent)
    if config.upsampling not in _UPSAMPLINGS:
        raise ConfigError(
            f"generator.upsampling is '{config.upsampling}': "
            f"{suggest(config.upsampling, _UPSAMPLINGS)}"
        )
    widths = pyramid_widths(_FAMILY, config.width, config.max_width, levels)
    return Networks(
        generator=Generator(config.latent, classes, channels, bottom, widths, config.upsampling),
        discriminator=Discriminator(classes, channels, bottom, widths),
        latent=config.latent,
        loss=config.loss,
    )


class Generator(nn.Module):
    """``(z_BZ, y_BK) -> x_BCHW`` in [-1, 1].

    Args:
        latent: length Z of a latent vector.
        classes: length K of a label vector.
        channels: of the images.
        bottom: lowest resolution in pixels.
        widths: channels at full resolution and after each halving.
        upsampling: how the resolution is doubled, see :func:`doubling`.
    """

    def __init__(
        self,
        latent: int,
        classes: int,
        channels: int,
        bottom: int,
        widths: list[int],
        upsampling: str,
    ) -> None:
        super().__init__()
        self.bottom = bottom
        self.foot = _plain(nn.Linear(latent + classes, widths[-1] * bottom * bottom))
        self.norm = _norm(widths[-1])
        self.blocks = nn.ModuleList(
            nn.Sequential(doubling(upsampling, inputs, outputs), _norm(outputs))
            for inputs, outputs in pairwise(reversed(widths))
        )
        self.head = _plain(nn.Conv2d(widths[0], channels, 3, padding=1))

    def forward(self, z_BZ: Tensor, y_BK: Tensor) -> Tensor:
        """Make one image for each latent vector and label vector."""
        h: Tensor = self.foot(torch.cat([z_BZ, y_BK], dim=1))
        h = F.leaky_relu(self.norm(h.view(len(h), -1, self.bottom, self.bottom)), _SLOPE)
        for block in self.blocks:
            h = F.leaky_relu(block(h), _SLOPE)
        x_BCHW: Tensor = self.head(h)
        return torch.tanh(x_BCHW)


def doubling(upsampling: str, inputs: int, outputs: int) -> nn.Module:
    """Return a layer from ``inputs`` to ``outputs`` channels that doubles the resolution.

    Args:
        upsampling: ``nearest`` or ``bilinear``: resize, then a 3 x 3 convolution (Odena, Dumoulin &
            Olah 2016); ``transposed``: a 4 x 4 convolution of stride 2 transposed, as in Keras's
            example; ``pixel_shuffle``: a 3 x 3 convolution to four times the channels, which become
            pixels (Shi et al. 2016).
        inputs: channels of the maps.
        outputs: channels of the maps of twice the resolution.
    """
    if upsampling == "transposed":
        return _plain(nn.ConvTranspose2d(inputs, outputs, 4, stride=2, padding=1))
    if upsampling == "pixel_shuffle":
        conv = _plain(nn.Conv2d(inputs, 4 * outputs, 3, padding=1))
        # The four pixels start equal, or a chequerboard would be there to be unlearned (Aitken et
        # al. 2017).
        with torch.no_grad():
            conv.weight.copy_(conv.weight[::4].repeat_interleave(4, dim=0))
        return nn.Sequential(conv, nn.PixelShuffle(2))
    resize = (
        nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False)
        if upsampling == "bilinear"
        else nn.Upsample(scale_factor=2, mode="nearest")
    )
    return nn.Sequential(resize, _plain(nn.Conv2d(inputs, outputs, 3, padding=1)))


class Discriminator(nn.Module):
    """``(x_BCHW, y_BK) -> score_B``: the label vector is seen as K constant channels.

    Args:
        classes: length K of a label vector.
        channels: of the images.
        bottom: lowest resolution in pixels.
        widths: channels at full resolution (not used) and after each halving.
    """

    def __init__(self, classes: int, channels: int, bottom: int, widths: list[int]) -> None:
        super().__init__()
        self.convs = nn.ModuleList(
            _plain(nn.Conv2d(inputs, outputs, 3, stride=2, padding=1))
            for inputs, outputs in pairwise([channels + classes, *widths[1:]])
        )
        self.convs.append(_plain(nn.Conv2d(widths[-1], widths[-1], 3, padding=1)))
        self.score = _plain(nn.Linear(widths[-1] * bottom * bottom, 1))

    def forward(self, x_BCHW: Tensor, y_BK: Tensor) -> Tensor:
        """Score each image given its label vector."""
        height, width = x_BCHW.shape[2:]
        y_BKHW = y_BK.to(x_BCHW.dtype)[:, :, None, None].expand(-1, -1, height, width)
        h = torch.cat([x_BCHW, y_BKHW], dim=1)
        for conv in self.convs:
            h = F.leaky_relu(conv(h), _SLOPE)
        score_B1: Tensor = self.score(h.flatten(1))
        return score_B1.squeeze(1)


def _norm(channels: int) -> nn.GroupNorm:
    return nn.GroupNorm(channels // GROUP_CHANNELS, channels)


def _plain(layer: _Layer) -> _Layer:
    nn.init.xavier_uniform_(layer.weight)  # as Keras does by default
    assert layer.bias is not None
    nn.init.zeros_(layer.bias)
    return layer
