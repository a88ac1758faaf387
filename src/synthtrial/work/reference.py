"""The classifier that judges made images: trained on real rows, like a trial, and kept."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Mapping
from typing import Any

from synthtrial.classify.augment import compose
from synthtrial.classify.rows import Rows
from synthtrial.classify.saving import CLASSIFIER, write_network
from synthtrial.classify.training import build_model, fit
from synthtrial.config import TrainingConfig
from synthtrial.errors import TrainingError
from synthtrial.store.artifacts import draft
from synthtrial.tasks import Task
from synthtrial.work.context import Context
from synthtrial.work.fitting import checkpoints_of, fitted_rows, lineage_of_fit
from synthtrial.work.rows import augmented_rows, judged_rows, learned_targets
from synthtrial.work.signals import noticed

#: Replicate numbers of reference classifiers, below those of trials and of the grid.
_FIRST_REPLICATE = -2


def train_reference(task: Task, context: Context) -> None:
    """Train the reference classifier and keep its weights.

    Its checkpoints are in a folder of their own until the result is committed.

    Raises:
        InterruptedTrainingError: it was asked to stop, and goes on when it is run again.
        TrainingError: its loss became NaN or infinite.
    """
    started = time.perf_counter()
    study, payload = context.study(task.study), task.payload
    dataset = context.artifact("dataset", payload["dataset"])
    arrays = context.images("dataset", dataset.id, study)
    config = TrainingConfig(**payload["training"])
    multi_label: bool = dataset.info["multi_label"]
    rows = fitted_rows(payload, context, study)
    targets_NK = learned_targets(payload, context, study, config)
    regimen = payload.get("regimen", max(study.settings.regimens))
    validation = context.held_out("validation", dataset.id, payload["split"], regimen, study)
    _, channels, size, _ = arrays.images_NCHW.shape
    place: dict[str, Any] = {
        "seed": payload["seed"],
        "replicate": _FIRST_REPLICATE - payload["draw"],
    }
    model = build_model(
        study.classifier.component,
        study.classifier.options,
        channels=channels,
        size=size,
        outputs=len(arrays.labels.classes),
        **place,
    )
    arm = study.settings.reference.arm

    with noticed() as interrupted:
        result = fit(
            model,
            Rows(
                [(arrays.images_NCHW, rows)],
                targets_NK[rows],
                augmented_N=augmented_rows(
                    payload.get("augment_only"), targets_NK[rows], arrays.labels.classes
                ),
            ),
            judged_rows(validation, payload, context, study, config),
            config,
            multi_label=multi_label,
            classes=arrays.labels.classes,
            metrics=study.settings.metrics,
            select_by=study.settings.protocol.select_by,
            sampler=payload["sampler"],
            class_weights=payload["class_weights"],
            augment=compose([item.load() for item in study.arms[arm].augment] if arm else []),
            device=context.device,
            checkpoints=checkpoints_of(task, context, study),
            interrupted=interrupted,
            **place,
        )
    if result.status == "diverged":
        shutil.rmtree(context.unfinished(task), ignore_errors=True)  # it would diverge again
        raise TrainingError(
            f"the reference classifier diverged ({result.message}); give it a smaller learning "
            "rate with reference.training.learning_rate"
        )
    inputs = {"dataset": dataset.id, "split": payload["split"]}
    lineage = lineage_of_fit(payload)
    with draft(context.store, "classifier", task.id, inputs=inputs, lineage=lineage) as made:
        write_network(
            made.path,
            CLASSIFIER,
            study.classifier.component,
            study.classifier.options,
            {name: value.cpu() for name, value in model.state_dict().items()},
            channels=channels,
            size=size,
            classes=arrays.labels.classes,
            multi_label=multi_label,
        )
        made.info.update(
            context.effort(started),
            fit_on=payload["fit_on"],
            images=len(rows),
            validation=_plain(result.validation),
        )
        made.info["seconds"] += result.earlier_seconds
    shutil.rmtree(context.unfinished(task), ignore_errors=True)


def _plain(values: Mapping[str, Any] | None) -> Any:
    """Return metrics as plain data for a manifest."""
    return json.loads(json.dumps(values, default=float)) if values is not None else None
