"""The parts of a progressive GAN: equalised layers, pixel norm, minibatch standard deviation.

Karras, Aila, Laine & Lehtinen, "Progressive Growing of GANs for Improved Quality, Stability, and
Variation" (ICLR 2018), sections 3 and 4. All parts can be differentiated twice, and what needs the
precision is computed in float32 under autocast too.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_GAIN = 2**0.5  # keeps the variance through a rectifier (He et al. 2015)
_TINY = 1e-8


class EqualConv2d(nn.Conv2d):
    """A convolution with equalised learning rate that may change the resolution.

    Weights start as N(0, 1) and are multiplied by He's constant ``gain / sqrt(inputs * kernel**2)``
    in every pass: an update of Adam's then changes all layers at the same rate (section 4.1).

    Args:
        inputs: channels.
        outputs: channels.
        kernel: odd side of the kernel, in pixels.
        gain: see above.
        resample: ``double`` repeats each pixel in both directions before the convolution; ``halve``
            averages 2 x 2 pixels after it. Either is done as one strided convolution whose kernel
            is a pixel larger, in less than half the time.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int,
        *,
        gain: float = _GAIN,
        resample: Literal["double", "halve"] | None = None,
    ) -> None:
        self.margin = kernel // 2
        super().__init__(inputs, outputs, kernel, padding=self.margin)
        self.scale, self.resample = gain / (inputs * kernel**2) ** 0.5, resample
        nn.init.normal_(self.weight)
        assert self.bias is not None
        nn.init.zeros_(self.bias)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Convolve with the scaled weight."""
        weight = self.weight * self.scale
        if self.resample is None:
            return F.conv2d(x_BCHW, weight, self.bias, padding=self.margin)
        # The mean of the kernel's four places, half a pixel off in each direction.
        weight = F.avg_pool2d(weight, 2, stride=1, padding=1)
        if self.resample == "halve":
            return F.conv2d(x_BCHW, weight, self.bias, stride=2, padding=self.margin)
        weight = 4 * weight.flip(2, 3).transpose(0, 1)  # their sum; a transposed kernel is mirrored
        return F.conv_transpose2d(x_BCHW, weight, self.bias, stride=2, padding=self.margin)


class EqualLinear(nn.Linear):
    """A linear map with equalised learning rate, see :class:`EqualConv2d`."""

    def __init__(
        self, inputs: int, outputs: int, *, gain: float = _GAIN, bias: bool = True
    ) -> None:
        super().__init__(inputs, outputs, bias=bias)
        self.scale = gain / inputs**0.5
        nn.init.normal_(self.weight)
        if bias:
            nn.init.zeros_(self.bias)

    def forward(self, x_BF: Tensor) -> Tensor:
        """Multiply by the scaled weight."""
        return F.linear(x_BF, self.weight * self.scale, self.bias)


def pixel_norm(x: Tensor) -> Tensor:
    """Divide the vector of channels at every pixel by its root mean square (section 4.2).

    Args:
        x: of shape (B, C, ...), of any floating type.
    """
    full = _precise(x)
    square = full.square().mean(dim=1, keepdim=True)
    return (full * torch.rsqrt(square + _TINY)).to(x.dtype)


def with_deviation(x_BCHW: Tensor, group: int) -> Tensor:
    """Append a channel that says how much an image's group varies (section 3).

    It holds, for all pixels of all images of a group, the mean over channels and pixels of the
    standard deviation over the group's images.

    Args:
        x_BCHW: features of images.
        group: number of neighbours in a group; the last images of a batch that is no multiple are a
            smaller one.

    Returns:
        Maps of C + 1 channels.
    """
    batch, channels, height, width = x_BCHW.shape
    rest = batch % group
    parts = []
    for part_NCHW, size in ((x_BCHW[: batch - rest], group), (x_BCHW[batch - rest :], rest)):
        if len(part_NCHW):
            groups_MGCHW = _precise(part_NCHW).reshape(-1, size, channels, height, width)
            variance_MCHW = groups_MGCHW.var(dim=1, correction=0)
            deviation_M = (variance_MCHW + _TINY).sqrt().mean(dim=(1, 2, 3))
            parts.append(deviation_M.repeat_interleave(size))
    deviation_B = torch.cat(parts).to(x_BCHW.dtype)
    deviation_B1HW = deviation_B[:, None, None, None].expand(-1, 1, height, width)
    return torch.cat([x_BCHW, deviation_B1HW], dim=1)


def doubled(x_BCHW: Tensor, times: int = 1) -> Tensor:
    """Double the resolution a number of times by repeating pixels."""
    if times == 0:
        return x_BCHW
    return F.interpolate(x_BCHW, scale_factor=2.0**times, mode="nearest")


def halved(x_BCHW: Tensor, times: int = 1) -> Tensor:
    """Halve the resolution a number of times by averaging pixels."""
    return x_BCHW if times == 0 else F.avg_pool2d(x_BCHW, 2**times)


def _precise(x: Tensor) -> Tensor:
    return x.to(torch.promote_types(x.dtype, torch.float32))
