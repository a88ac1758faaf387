"""How far a classifier training is: learning curves, the kept epoch, the epoch under way."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch
from torch import nn


@dataclass
class Progress:
    """The loop's notes, all of which can be saved and loaded.

    Attributes:
        steps: gradient steps taken.
        losses: loss_B of each step since the last evaluation; after :meth:`load`, of all of them
            in one piece.
        visited: the rows of these losses, alike.
        curves: one entry for each evaluation.
        kept: of the kept epoch, whether its score is defined, and how good it was.
        epoch: its number.
        weights: its state; empty where the last epoch is kept.
        logits_NK: what it says of validation.
    """

    steps: int = 0
    losses: list[torch.Tensor] = field(default_factory=list)
    visited: list[np.ndarray] = field(default_factory=list)
    curves: dict[str, list[Any]] = field(
        default_factory=lambda: {
            "epoch": [],
            "train_loss": [],
            "validation_loss": [],
            "validation_score": [],
        }
    )
    kept: tuple[bool, float] | None = None
    epoch: int | None = None
    weights: dict[str, torch.Tensor] = field(default_factory=dict)
    logits_NK: np.ndarray | None = None

    @property
    def epochs(self) -> int:
        """Number of evaluations so far."""
        return len(self.curves["epoch"])

    def take_losses(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the losses since the last evaluation and the rows they are of; forget them."""
        losses_N = torch.cat(self.losses).cpu().double().numpy()
        index_N = np.concatenate(self.visited)
        self.losses, self.visited = [], []
        return losses_N, index_N

    def note(
        self,
        model: nn.Module,
        keep: Literal["best", "last"],
        train_loss: float | None,
        validation_loss: float,
        score: float | None,
        logits_NK: np.ndarray,
    ) -> None:
        """Extend the curves, and keep the epoch's weights if it is the best so far."""
        epoch = self.epochs + 1
        values = (epoch, train_loss, validation_loss, score)
        for curve, value in zip(self.curves.values(), values, strict=True):
            curve.append(value)
        merit = (score is not None, -validation_loss if score is None else score)
        if keep == "last":
            self.kept, self.epoch, self.logits_NK = merit, epoch, logits_NK
        elif self.kept is None or merit > self.kept:
            self.kept, self.epoch, self.logits_NK = merit, epoch, logits_NK
            self.weights = {k: v.detach().clone() for k, v in model.state_dict().items()}

    def latest(self) -> dict[str, float]:
        """Return the defined values of the last epoch."""
        last = {name: curve[-1] for name, curve in self.curves.items() if name != "epoch"}
        return {name: value for name, value in last.items() if value is not None}

    def state(self) -> dict[str, Any]:
        """Return everything as tensors and plain data."""
        logits_NK = self.logits_NK
        return {
            "steps": self.steps,
            "losses": torch.cat(self.losses),
            "visited": torch.from_numpy(np.concatenate(self.visited)),
            "curves": self.curves,
            "kept": self.kept,
            "epoch": self.epoch,
            "weights": self.weights,
            "logits": None if logits_NK is None else torch.from_numpy(logits_NK),
        }

    def load(self, state: Mapping[str, Any], device: torch.device) -> None:
        """Become what :meth:`state` described."""
        self.steps, self.curves, self.epoch = state["steps"], state["curves"], state["epoch"]
        self.losses = [state["losses"].to(device)]
        self.visited = [state["visited"].numpy()]
        self.kept = None if state["kept"] is None else tuple(state["kept"])
        self.weights = {name: value.to(device) for name, value in state["weights"].items()}
        self.logits_NK = None if state["logits"] is None else state["logits"].numpy()
