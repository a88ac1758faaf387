"""What fitting generators and classifiers shares: the rows they see, and where they are saved."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from synthtrial.data.labels import locate
from synthtrial.data.splits import select
from synthtrial.store.artifacts import Descent
from synthtrial.store.checkpoints import Checkpoints
from synthtrial.study import Study
from synthtrial.tasks import Task
from synthtrial.work.context import Context

_ROLES: Mapping[str, tuple[str, ...]] = {
    "subset": ("train",),
    "train": ("train",),
    "original": ("train", "removed"),
}


def fitted_rows(payload: Mapping[str, Any], context: Context, study: Study) -> np.ndarray:
    """Return the dataset's rows that a task with ``fit_on`` in its settings may see.

    Args:
        payload: of the task: ``dataset``, ``split``, ``fit_on`` or ``training.fit_on`` and, where
            that is ``subset``, ``regimen``.
        context: of the task.
        study: of the task.

    Raises:
        DataError: the regimen leaves a class without images.
    """
    dataset, split, regimen = payload["dataset"], payload["split"], _regimen(payload)
    if regimen is not None:  # refuse a regimen without some class before training for nothing
        context.rows(dataset, split, regimen, study)
    table = context.split(split)
    rows = select(table, role=_ROLES[_fit_on(payload)], regimen=regimen)
    return locate(context.images("dataset", dataset, study).labels, table.sample_ids[rows])


def trained_rows(
    place: tuple[str, str, float], fit_on: str, context: Context, study: Study
) -> np.ndarray:
    """Return the dataset's rows of real images that a trial's classifier is trained on.

    Args:
        place: ids of dataset and split, and the regimen.
        fit_on: of its arm.
        context: of the task.
        study: of the task.
    """
    if fit_on == "subset":
        return context.rows(*place, study)
    dataset, split, _ = place
    return fitted_rows({"dataset": dataset, "split": split, "fit_on": fit_on}, context, study)


def lineage_of_fit(payload: Mapping[str, Any]) -> list[Descent]:
    """Return what descends from such a task: its rows."""
    return [Descent(payload["split"], _ROLES[_fit_on(payload)], _regimen(payload))]


def checkpoints_of(task: Task, context: Context, study: Study) -> Checkpoints:
    """Return the checkpoints of a task's training, in the folder that its result removes."""
    engine = study.settings.engine
    folder = context.unfinished(task) / "checkpoints"
    return Checkpoints(folder, engine.checkpoints, engine.checkpoint_seconds)


def _regimen(payload: Mapping[str, Any]) -> float | None:
    """Return the regimen that thins the rows: it says nothing where they are not its subset."""
    return payload.get("regimen") if _fit_on(payload) == "subset" else None


def _fit_on(payload: Mapping[str, Any]) -> str:
    stated = payload["fit_on"] if "fit_on" in payload else payload["training"].get("fit_on")
    return stated or "subset"  # settings at their default stay out of payloads
