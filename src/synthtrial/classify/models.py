"""Classifier networks: a small CNN that trains fast on one processor thread.

At 8x8 pixels and small batches the time of a convolution is mostly the library's own overhead and
its backward pass. Here only the first convolution has overlapping windows, and needs no gradient
for its input; the others have windows of 2x2 with stride 2, which a reshape and one matrix product
compute exactly. That is about twice as fast as three ordinary convolutions.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from synthtrial.classify.catalog import SmallCnnConfig
from synthtrial.errors import ConfigError

_FINAL_SIZE = 2  # stages are added until the map is no larger than this
_MAX_WIDENING = 4  # channels of the deepest stages, in widths


class _Stem(nn.Module):
    """Convolution of 3x3 windows with stride 2, from channels first to channels last."""

    def __init__(self, channels: int, outputs: int) -> None:
        super().__init__()
        self.linear = nn.Linear(9 * channels, outputs)

    def forward(self, x_BCHW: torch.Tensor) -> torch.Tensor:
        windows = F.pad(x_BCHW, (1, 1, 1, 1)).unfold(2, 3, 2).unfold(3, 3, 2)
        x_BHWC: torch.Tensor = self.linear(windows.permute(0, 2, 3, 1, 4, 5).flatten(3))
        return x_BHWC


class _Merge(nn.Module):
    """Convolution of 2x2 windows with stride 2; an odd side is padded with zeros."""

    def __init__(self, channels: int, outputs: int) -> None:
        super().__init__()
        self.linear = nn.Linear(4 * channels, outputs)

    def forward(self, x_BHWC: torch.Tensor) -> torch.Tensor:
        b, h, w, c = x_BHWC.shape
        if h % 2 or w % 2:
            x_BHWC = F.pad(x_BHWC, (0, 0, 0, w % 2, 0, h % 2))
            h, w = h + h % 2, w + w % 2
        blocks = x_BHWC.reshape(b, h // 2, 2, w // 2, 2, c).transpose(2, 3)
        merged_BHWC: torch.Tensor = self.linear(blocks.reshape(b, h // 2, w // 2, 4 * c))
        return merged_BHWC


def build_small_cnn(config: SmallCnnConfig, *, channels: int, size: int, outputs: int) -> nn.Module:
    """Build the small CNN.

    Each stage halves the map and ends in layer normalisation over the channels of one position,
    which does not look at other images and so works for a batch of any size.

    Args:
        config: its width.
        channels: 1 or 3.
        size: height and width of the images in pixels.
        outputs: number of classes.

    Returns:
        A module from images in [-1, 1], shape (B, channels, size, size), to logits (B, outputs).

    Raises:
        ConfigError: the width, the size or the number of outputs is not usable.
    """
    if config.width < 1:
        raise ConfigError(f"small_cnn: width is {config.width}; it must be at least 1")
    if size < 4 or outputs < 1 or channels < 1:
        raise ConfigError(
            f"small_cnn: cannot map {channels} channels of {size}x{size} pixels to {outputs} "
            "classes; it needs images of at least 4x4 pixels and one class"
        )
    width, side = config.width, (size + 1) // 2
    layers: list[nn.Module] = [_Stem(channels, width), nn.LayerNorm(width), nn.ReLU()]
    while side > _FINAL_SIZE:
        wider = min(2 * width, _MAX_WIDENING * config.width)
        layers += [_Merge(width, wider), nn.LayerNorm(wider), nn.ReLU()]
        width, side = wider, (side + 1) // 2
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(width * side * side, outputs))
