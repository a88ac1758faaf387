"""Looking into a classifier while it runs, without changing it."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

_LATEST = 8


@contextmanager
def last_linear(model: nn.Module) -> Iterator[list[tuple[nn.Linear, torch.Tensor]]]:
    """Note the last linear layer to run while the context lasts, and what enters it.

    Yields:
        A list that is empty, or holds that layer and its input once the model has run.
    """
    seen: list[tuple[nn.Linear, torch.Tensor]] = []

    def note(layer: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any]) -> None:
        assert isinstance(layer, nn.Linear)
        seen[:] = [(layer, next(iter((*inputs, *named.values()))))]

    layers = [layer for layer in model.modules() if isinstance(layer, nn.Linear)]
    hooks = [layer.register_forward_pre_hook(note, with_kwargs=True) for layer in layers]
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()


@contextmanager
def noted_maps(model: nn.Module) -> Iterator[list[torch.Tensor]]:
    """Note the last feature maps that a linear layer could see while the context lasts.

    They are the tensors themselves: what a later layer changes in place is changed here.

    Yields:
        A list, filled when the context ends, of outputs of four dimensions that have as many
        channels, or numbers, as a linear layer has inputs; the latest few, in order.
    """
    widths = {layer.in_features for layer in model.modules() if isinstance(layer, nn.Linear)}
    latest: deque[torch.Tensor] = deque(maxlen=_LATEST)  # all of them would fill the memory
    seen: list[torch.Tensor] = []

    def note(_layer: nn.Module, _inputs: tuple[Any, ...], output: Any) -> None:
        if not isinstance(output, torch.Tensor) or output.ndim != 4 or not len(output):
            return
        if {output.shape[1], output[0].numel()} & widths:
            latest.append(output)

    hooks = [layer.register_forward_hook(note) for layer in model.modules()]
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()
        seen.extend(latest)
