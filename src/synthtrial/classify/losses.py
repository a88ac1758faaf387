"""Losses of single- and multi-label classifiers, and how rare classes are given weight."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional as F

from synthtrial.errors import DataError

_HALF = 0.5
LossFunction = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


@dataclass(frozen=True)
class Objective:
    """What is minimised: the mean over a batch of one loss a row.

    Attributes:
        loss: from logits_BK and the batch's labels to loss_B.
        weights_N: what each training row's loss was multiplied by, to undo it in learning curves;
            None where rows are not weighted.
    """

    loss: LossFunction
    weights_N: np.ndarray | None


def make_labels(targets_NK: np.ndarray, *, multi_label: bool, device: torch.device) -> torch.Tensor:
    """Return targets in the form the losses take: class numbers (N,), or targets (N, K).

    Raises:
        DataError: single-label rows that do not hold exactly one class.
    """
    if multi_label:
        return torch.from_numpy(targets_NK).to(device)
    bad = np.flatnonzero(~((targets_NK == 1).sum(1) == 1) | np.isnan(targets_NK).any(1))
    if len(bad):
        raise DataError(
            f"{len(bad)} rows of a single-label dataset do not hold exactly one class (the first "
            f"is row {bad[0]}); declare the dataset multi_label or mend its labels"
        )
    return torch.from_numpy(targets_NK.argmax(1)).to(device)


def make_objective(
    targets_NK: np.ndarray, *, multi_label: bool, balanced: bool, device: torch.device
) -> Objective:
    """Choose the loss: cross-entropy for one class a row, binary cross-entropy for several.

    Balanced weights are n / (K n_c) for one class a row, which are 1 on average over the rows, and
    n_negative / n_positive on the positives of each class for several. Ignored labels (NaN) count
    as a loss of 0.
    """
    if not multi_label:
        if not balanced:
            return Objective(_cross_entropy, None)
        counts_K = (targets_NK == 1).sum(0)
        weights_K = len(targets_NK) / (targets_NK.shape[1] * np.maximum(counts_K, 1))
        weight = torch.tensor(weights_K, dtype=torch.float32, device=device)
        return Objective(
            lambda z, y: F.cross_entropy(z, y, weight=weight, reduction="none"),
            weights_K[targets_NK.argmax(1)],
        )
    pos_weight = None
    if balanced:
        positives_K = (targets_NK > _HALF).sum(0)  # smoothed labels count as what they lean to
        ratio_K = (targets_NK <= _HALF).sum(0) / np.maximum(positives_K, 1)
        pos_weight = torch.tensor(
            np.where(positives_K > 0, ratio_K, 1.0), dtype=torch.float32, device=device
        )
    return Objective(masked_binary_loss(pos_weight, bool(np.isnan(targets_NK).any())), None)


def masked_binary_loss(pos_weight: torch.Tensor | None, has_ignored: bool) -> LossFunction:
    """Return the mean over the K labels of binary cross-entropy, 0 where a label is NaN."""

    def loss(z_BK: torch.Tensor, y_BK: torch.Tensor) -> torch.Tensor:
        weight = None
        if has_ignored:
            weight = (~y_BK.isnan()).float()
            y_BK = y_BK.nan_to_num(0.0)
        return F.binary_cross_entropy_with_logits(
            z_BK, y_BK, weight=weight, pos_weight=pos_weight, reduction="none"
        ).mean(1)

    return loss


def _cross_entropy(z_BK: torch.Tensor, y_B: torch.Tensor) -> torch.Tensor:
    return F.cross_entropy(z_BK, y_B, reduction="none")
