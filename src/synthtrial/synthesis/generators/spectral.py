"""Spectral normalisation that costs little: one power iteration and a closed-form gradient.

Miyato, Kataoka, Koyama & Yoshida, "Spectral Normalization for Generative Adversarial Networks"
(ICLR 2018). ``torch.nn.utils.parametrizations.spectral_norm`` computes the same in three times the
time; for 8-pixel images that would be a quarter of the whole training, so here it is written out.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_TINY = 1e-12


class SpectralConv2d(nn.Conv2d):
    """A convolution whose weight, seen as a matrix (outputs x rest), has spectral norm 1."""

    u_O: Tensor

    def __init__(self, inputs: int, outputs: int, kernel: int, *, stride: int = 1) -> None:
        super().__init__(inputs, outputs, kernel, stride, padding=(kernel - stride + 1) // 2)
        nn.init.xavier_uniform_(self.weight)
        assert self.bias is not None
        nn.init.zeros_(self.bias)
        self.register_buffer("u_O", F.normalize(torch.randn(outputs), dim=0))

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Convolve with the normalised weight."""
        weight = spectrally_normal(self.weight, self.u_O, improve=_improves(self))
        return F.conv2d(x_BCHW, weight, self.bias, self.stride, self.padding)


class SpectralLinear(nn.Linear):
    """A linear map whose weight has spectral norm 1."""

    u_O: Tensor

    def __init__(self, inputs: int, outputs: int, *, bias: bool) -> None:
        super().__init__(inputs, outputs, bias=bias)
        nn.init.xavier_uniform_(self.weight)
        if bias:
            nn.init.zeros_(self.bias)
        self.register_buffer("u_O", F.normalize(torch.randn(outputs), dim=0))

    def forward(self, x_BF: Tensor) -> Tensor:
        """Multiply by the normalised weight."""
        weight = spectrally_normal(self.weight, self.u_O, improve=_improves(self))
        return F.linear(x_BF, weight, self.bias)


def spectrally_normal(weight: Tensor, u_O: Tensor, *, improve: bool) -> Tensor:
    """Divide a weight by an estimate of its largest singular value, in float32 throughout.

    Args:
        weight: of any shape; its first axis counts the outputs.
        u_O: estimate of the first left singular vector.
        improve: replace ``u_O`` by the outcome of this call's power iteration.
    """
    normal: Tensor
    if not torch.is_autocast_enabled(weight.device.type):
        normal = _Normalise.apply(weight, u_O, improve)
        return normal
    with torch.autocast(weight.device.type, enabled=False):  # an iteration needs the precision
        normal = _Normalise.apply(weight, u_O, improve)
    return normal


def _improves(module: nn.Conv2d | nn.Linear) -> bool:
    # Once an update of the weights: the generator's update sees them fixed.
    return module.training and module.weight.requires_grad


class _Normalise(torch.autograd.Function):
    """``weight / sigma`` and its gradient, singular vectors held fixed (equation 12 there)."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, u_O: Tensor, improve: bool) -> Tensor:
        matrix_OI = weight.flatten(1)
        v_I = matrix_OI.t().mv(u_O)
        v_I = v_I / (v_I.norm() + _TINY)
        image_O = matrix_OI.mv(v_I)
        sigma = image_O.norm() + _TINY
        left_O = image_O / sigma
        if improve:
            u_O.copy_(left_O)
        normal: Tensor = weight / sigma
        ctx.save_for_backward(normal, left_O, v_I, sigma)
        return normal

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        normal, left_O, v_I, sigma = ctx.saved_tensors
        gradient = gradients[0]
        along = (gradient * normal).sum()
        fixed = gradient - torch.outer(left_O * along, v_I).view_as(gradient)
        return fixed / sigma, None, None
