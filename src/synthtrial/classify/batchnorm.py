"""Batch normalisation that also trains where there are few values of each channel.

The last batch of a pass may hold one image or two, and deep layers may have shrunk them to one
pixel. A single value's deviation from its own mean is nothing, and torch refuses to train on it;
two equal ones divide by next to nothing, and gradients of 1e11 end the training.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

#: Values of a channel from which its variance is estimated.
FEWEST = 8


class SteadyBatchNorm2d(nn.BatchNorm2d):
    """Batch normalisation by running statistics where a channel has fewer than 8 values.

    Such a batch leaves the running statistics as they are; every other one is treated as by
    :class:`torch.nn.BatchNorm2d`, to the bit.
    """

    def forward(self, input: torch.Tensor) -> torch.Tensor:  # noqa: A002
        """Return the normalised batch."""
        few = input.numel() < FEWEST * input.shape[1]
        if self.training and few and self.running_mean is not None:
            return F.batch_norm(
                input, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps
            )
        return super().forward(input)


def steady(network: nn.Module, momentum: float | None = None) -> nn.Module:
    """Replace a network's batch normalisations in place, names and values kept, and return it.

    Args:
        network: to change.
        momentum: how far a step moves the running statistics; None leaves the network's own.
    """
    for module in list(network.modules()):
        for name, child in list(module.named_children()):
            if type(child) is nn.BatchNorm2d:
                twin = SteadyBatchNorm2d(
                    child.num_features,
                    eps=child.eps,
                    momentum=child.momentum if momentum is None else momentum,
                    affine=child.affine,
                    track_running_stats=child.track_running_stats,
                )
                twin.load_state_dict(child.state_dict())
                twin.train(child.training)
                setattr(module, name, twin)
    return network
