"""Running a classifier over rows without training it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Literal

import numpy as np
import torch
from torch import nn

from synthtrial.classify import metrics as scoring
from synthtrial.classify.losses import make_labels, make_objective
from synthtrial.classify.rows import Rows, evaluation_batches, normalise
from synthtrial.errors import TrainingError

Forward = Callable[[torch.Tensor], torch.Tensor]
Judge = Callable[[], tuple[np.ndarray, float, float | None]]


def predict(
    model: nn.Module, rows: Rows, *, precision: Literal["fp32", "bf16"] = "fp32"
) -> np.ndarray:
    """Return the logits of all rows, logits_NK float32, computed where the model is."""
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    model.eval()
    batches = evaluation_batches(rows, device)
    return _logits(make_forward(model, precision, device), batches).cpu().numpy()


def make_forward(model: nn.Module, precision: str, device: torch.device) -> Forward:
    """Return the forward pass from x_BCHW to float32 logits; ``bf16`` runs it under autocast."""
    if precision == "fp32":
        return model

    def forward(x_BCHW: torch.Tensor) -> torch.Tensor:
        with torch.autocast(device.type, dtype=torch.bfloat16):
            logits_BK: torch.Tensor = model(x_BCHW)
        return logits_BK.float()

    return forward


def check_outputs(
    model: nn.Module, rows: Rows, classes: Sequence[str], device: torch.device
) -> None:
    """Try the model on one image before a whole training is spent on it.

    Raises:
        TrainingError: it does not return one logit for each class.
    """
    model.eval()
    with torch.inference_mode():
        got = model(normalise(rows.images(np.zeros(1, dtype=np.intp), device))).shape
    if got != (1, len(classes)) or rows.targets_NK.shape[1] != len(classes):
        raise TrainingError(
            f"for one image the classifier returned an output of shape {tuple(got)}, and targets "
            f"have {rows.targets_NK.shape[1]} columns; both must fit the {len(classes)} classes"
        )


def make_judge(
    rows: Rows,
    classes: Sequence[str],
    multi_label: bool,
    select_by: tuple[str, Sequence[str] | None],
    device: torch.device,
    forward: Forward,
) -> Judge:
    """Return a function that evaluates the model: logits, mean loss, score that selects.

    ``select_by`` is that score's metric with the classes it is the mean over (None for all).
    """
    metric, over = select_by
    labels = make_labels(rows.targets_NK, multi_label=multi_label, device=device)
    objective = make_objective(
        rows.targets_NK, multi_label=multi_label, balanced=False, device=device
    )

    def judge() -> tuple[np.ndarray, float, float | None]:
        logits = _logits(forward, evaluation_batches(rows, device))
        loss = float(objective.loss(logits, labels).mean())
        logits_NK = logits.cpu().numpy()
        if not math.isfinite(loss):
            return logits_NK, loss, None
        values = scoring.evaluate(
            [metric], logits_NK, rows.targets_NK, classes, multi_label, rows.uncertain_NK
        )
        return logits_NK, loss, scoring.score(values, metric, over)

    return judge


def _logits(forward: Forward, batches: Iterable[torch.Tensor]) -> torch.Tensor:
    with torch.inference_mode():
        return torch.cat([forward(x_BCHW) for x_BCHW in batches]).float()
