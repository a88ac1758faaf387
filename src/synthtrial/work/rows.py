"""The rows of one trial: what its classifier is trained on, and what it is judged on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from synthtrial.classify.rows import Rows
from synthtrial.config import TrainingConfig
from synthtrial.data.imbalance import share
from synthtrial.data.labels import class_index, locate, smooth
from synthtrial.identity import stream
from synthtrial.study import Study
from synthtrial.synthesis.balance import read_allocation
from synthtrial.tasks import Task
from synthtrial.work.context import Context
from synthtrial.work.fitting import trained_rows
from synthtrial.work.images import made_images

_HALF = 0.5  # a smoothed label counts as what it leans to


@dataclass(frozen=True, eq=False)
class TrialRows:
    """Rows of one trial, their pixels not on a device yet.

    Attributes:
        train: real rows first.
        validation: real rows; after them made ones, where the study wants them there.
        n_real: real rows of ``train``.
        held_out: the dataset's rows of real validation images.
        made: the made images among ``train``, as they are judged; None where there are none.
    """

    train: Rows
    validation: Rows
    n_real: int
    held_out: np.ndarray
    made: Rows | None = None


@dataclass(frozen=True, eq=False)
class _Added:
    """Rows that an arm adds to the regimen's own, with targets to train on and to be judged by."""

    images_NCHW: np.ndarray
    index: np.ndarray
    targets_MK: np.ndarray
    judged_MK: np.ndarray

    def part(self, chosen: np.ndarray) -> _Added:
        return _Added(
            self.images_NCHW, self.index[chosen], self.targets_MK[chosen], self.judged_MK[chosen]
        )


def trial_rows(task: Task, context: Context, study: Study, config: TrainingConfig) -> TrialRows:
    """Return the rows of a trial.

    Raises:
        DataError: the regimen lacks a class, or a dose asks for more images than there are.
    """
    payload = task.payload
    place = (payload["dataset"], payload["split"], payload["regimen"])
    arrays = context.images("dataset", payload["dataset"], study)
    fit_on = payload["treatment"].get("fit_on", "subset")
    real = trained_rows(place, fit_on, context, study)
    held_out = context.held_out("validation", *place, study)
    added = _added_rows(task, context, study, config)
    moved = None
    if added is not None and "validation_made" in payload:
        moved, added = _to_validation(added, payload)
    learned_NK = learned_targets(payload, context, study, config)
    parts, targets = [(arrays.images_NCHW, real)], [learned_NK[real]]
    if added is not None:
        parts.append((added.images_NCHW, added.index))
        targets.append(added.targets_MK)
    targets_NK = np.concatenate(targets)
    train = Rows(
        parts,
        targets_NK,
        np.arange(len(targets_NK)) < len(real),
        augmented_N=augmented_rows(
            payload["treatment"].get("augment_only"), targets_NK, arrays.labels.classes
        ),
    )
    validation = judged_rows(held_out, payload, context, study, config, moved)
    made = None
    if added is not None and len(added.index) and "synthetic" in payload["treatment"]:
        made = Rows([(added.images_NCHW, added.index)], added.judged_MK)
    return TrialRows(train, validation, len(real), held_out, made)


def learned_targets(
    payload: Mapping[str, Any], context: Context, study: Study, config: TrainingConfig
) -> np.ndarray:
    """Return targets_NK of the whole dataset as training has them."""
    hard_NK = context.targets("dataset", payload["dataset"], config.label_policy, study)
    if config.label_policy != "smooth":
        return hard_NK
    labels = context.images("dataset", payload["dataset"], study).labels
    return smooth(hard_NK, labels, config.smoothing, payload["seed"])


def judged_rows(
    rows: np.ndarray,
    payload: Mapping[str, Any],
    context: Context,
    study: Study,
    config: TrainingConfig,
    moved: _Added | None = None,
) -> Rows:
    """Return real rows, and made ones behind them, as classifiers are judged on them."""
    arrays = context.images("dataset", payload["dataset"], study)
    targets = context.targets("dataset", payload["dataset"], config.label_policy, study)[rows]
    uncertain = arrays.labels.labels_NK[rows] == -1
    parts = [(arrays.images_NCHW, rows)]
    if moved is not None:
        parts.append((moved.images_NCHW, moved.index))
        targets = np.concatenate([targets, moved.judged_MK])
        uncertain = np.concatenate([uncertain, np.zeros(moved.judged_MK.shape, dtype=bool)])
    return Rows(parts, targets, uncertain_NK=uncertain)


def _added_rows(
    task: Task, context: Context, study: Study, config: TrainingConfig
) -> _Added | None:
    treatment, payload = task.payload["treatment"], task.payload
    if "synthetic" in treatment:
        made = made_images(treatment, context, study)
        policy = config.label_policy
        targets_MK = context.targets("synthetic", treatment["synthetic"], policy, study)[made.rows]
        if "shuffle_labels" in treatment:
            order = stream(payload["seed"], "shuffled-labels", payload["draw"])
            targets_MK = targets_MK[order.permutation(len(targets_MK))]
        return _Added(made.arrays.images_NCHW, made.rows, targets_MK, targets_MK)
    if "repeat" in treatment:
        allocation = read_allocation(context.artifact("allocation", treatment["repeat"]))
        arrays = context.images("dataset", payload["dataset"], study)
        rows = locate(arrays.labels, allocation.source_ids)
        hard_NK = context.targets("dataset", payload["dataset"], config.label_policy, study)
        learned_NK = learned_targets(payload, context, study, config)
        return _Added(arrays.images_NCHW, rows, learned_NK[rows], hard_NK[rows])
    return None


def _to_validation(added: _Added, payload: Mapping[str, Any]) -> tuple[_Added, _Added]:
    """Return the made images that are validated on, and those that are left to train on."""
    count = len(added.index)
    order = stream(payload["seed"], "validation-made", payload["draw"]).permutation(count)
    moved = share(payload["validation_made"], count)
    return added.part(np.sort(order[:moved])), added.part(np.sort(order[moved:]))


def augmented_rows(
    only: Sequence[str] | None, targets_NK: np.ndarray, classes: tuple[str, ...]
) -> np.ndarray | None:
    """Return which rows are transformed: those of these classes; None for all."""
    if only is None:
        return None
    columns = [class_index(classes, name) for name in only]
    return np.asarray((targets_NK[:, columns] > _HALF).any(axis=1))
