"""One classifier training, from the store's images to a record."""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

import numpy as np

from synthtrial.classify.augment import compose
from synthtrial.classify.evaluation import predict
from synthtrial.classify.metrics import evaluate
from synthtrial.classify.rows import Rows
from synthtrial.classify.training import FitResult, build_model, fit
from synthtrial.config import TrainingConfig
from synthtrial.data.labels import locate
from synthtrial.data.lineage import check_lineage
from synthtrial.identity import canonical_json, code_digest
from synthtrial.store.artifacts import Descent, draft
from synthtrial.study import Study
from synthtrial.synthesis.balance import read_allocation
from synthtrial.tasks import Task, metric_name
from synthtrial.work.context import Context
from synthtrial.work.fitting import checkpoints_of
from synthtrial.work.images import lineage_of_images, made_images
from synthtrial.work.judge import check_quality
from synthtrial.work.signals import noticed


@dataclass(frozen=True)
class _Added:
    """Rows that an arm adds to the regimen's own."""

    images_NCHW: np.ndarray
    index: np.ndarray
    targets_MK: np.ndarray


def run_trial(task: Task, context: Context) -> str | None:
    """Train and evaluate one classifier and append its record.

    A loss that is not finite is a result too: the record says ``diverged``. A training that lasts
    leaves checkpoints, and goes on from them, until the record is durable.

    Returns:
        Of a trial that diverged, how; else None.

    Raises:
        LeakageError: added images descend from the trial's test or validation groups, and the
            study does not allow that.
        InterruptedTrainingError: it was asked to stop, and goes on when it is run again.
    """
    assert task.trial is not None
    study, payload = context.study(task.study), task.payload
    started_at, started = datetime.now(UTC), time.perf_counter()
    dataset = context.artifact("dataset", payload["dataset"])
    arrays = context.images("dataset", dataset.id, study)
    multi_label: bool = dataset.info["multi_label"]
    config = TrainingConfig(**payload["training"])
    place = (dataset.id, payload["split"], payload["regimen"])
    real = context.rows(*place, study)
    validation = context.held_out("validation", *place, study)
    targets_NK = context.targets("dataset", dataset.id, config.label_policy, study)
    added = _added_rows(task, context, study, config)
    stamps = _stamps(task, context, study)
    device = context.device
    model = build_model(
        study.classifier.component,
        study.classifier.options,
        channels=arrays.images_NCHW.shape[1],
        size=arrays.images_NCHW.shape[2],
        outputs=len(arrays.labels.classes),
        seed=payload["seed"],
        replicate=payload["replicate"],
    ).to(device)
    treatment = payload["treatment"]
    arm = study.arms[task.trial.arm]

    def held(rows: np.ndarray) -> Rows:
        return Rows([(arrays.images_NCHW, rows)], targets_NK[rows]).to(device)

    parts = [(arrays.images_NCHW, real), *((a.images_NCHW, a.index) for a in added)]
    train_targets = np.concatenate([targets_NK[real], *(a.targets_MK for a in added)])
    is_real = np.arange(len(train_targets)) < len(real)
    with noticed() as interrupted:
        result = fit(
            model,
            Rows(parts, train_targets, is_real).to(device),
            held(validation),
            config,
            multi_label=multi_label,
            classes=arrays.labels.classes,
            metrics=[metric_name(m) for m in payload["metrics"]],
            select_by=_score_of_epochs(payload),
            sampler=treatment["sampler"],
            class_weights=treatment["class_weights"],
            augment=compose([item.load() for item in arm.augment]),
            steps=_matched_steps(task, context, config, len(real)),
            seed=payload["seed"],
            replicate=payload["replicate"],
            device=device,
            report=lambda epoch, figures: context.report(task, epoch, figures),
            checkpoints=checkpoints_of(task, context, study),
            interrupted=interrupted,
        )
    test = None
    if payload["evaluate_test"] and result.status == "done":
        kept = {"test": context.held_out("test", *place, study)}
        if study.settings.store.keep_logits:
            kept["validation"] = validation
        logits = {
            role: predict(model, held(rows), precision=config.precision)
            for role, rows in kept.items()
        }
        classes, names = arrays.labels.classes, [metric_name(m) for m in payload["metrics"]]
        test = evaluate(names, logits["test"], targets_NK[kept["test"]], classes, multi_label)
        if study.settings.store.keep_logits:
            ids = {role: arrays.labels.sample_ids[rows] for role, rows in kept.items()}
            _keep_logits(task, context, ids, logits, classes)
    context.writer.append(
        {
            **_about(task, study, context),
            **_outcome(result),
            "n_real": len(real),
            "n_added": len(train_targets) - len(real),
            "parameters": sum(p.numel() for p in model.parameters()),
            "test": test,
            "stamps": list(stamps),
            "device": device,
            "threads": context.threads,
            "seconds": result.earlier_seconds + time.perf_counter() - started,
            "started_at": started_at.isoformat(timespec="seconds"),
        }
    )
    shutil.rmtree(context.unfinished(task), ignore_errors=True)
    return result.message if result.status == "diverged" else None


def _score_of_epochs(payload: Mapping[str, Any]) -> str:
    """Return the metric that every epoch is scored by: part of the id, whatever it decides."""
    return metric_name(payload.get("checkpoint_by", payload["metrics"][0]))


def _added_rows(task: Task, context: Context, study: Study, config: TrainingConfig) -> list[_Added]:
    treatment = task.payload["treatment"]
    if "synthetic" in treatment:
        check_quality(task, context, study)
        made = made_images(treatment, context, study)
        policy = config.label_policy
        targets_MK = context.targets("synthetic", treatment["synthetic"], policy, study)
        return [_Added(made.arrays.images_NCHW, made.rows, targets_MK[made.rows])]
    if "repeat" in treatment:
        allocation = read_allocation(context.artifact("allocation", treatment["repeat"]))
        dataset = task.payload["dataset"]
        real = context.images("dataset", dataset, study)
        rows = locate(real.labels, allocation.source_ids)
        targets_NK = context.targets("dataset", dataset, config.label_policy, study)
        return [_Added(real.images_NCHW, rows, targets_NK[rows])]
    return []


def _matched_steps(task: Task, context: Context, config: TrainingConfig, n_real: int) -> int | None:
    """Return the steps that the arm named by ``steps_of`` takes with this configuration."""
    other = task.payload["treatment"].get("steps_of")
    if other is None:
        return None
    n_added: int = context.artifact("allocation", other).info["images"]
    return config.epochs * -(-(n_real + n_added) // config.batch_size)


def _stamps(task: Task, context: Context, study: Study) -> tuple[str, ...]:
    assert task.trial is not None
    payload, treatment = task.payload, task.payload["treatment"]
    place = (payload["dataset"], payload["split"], payload["regimen"])
    added = tuple(
        (key, treatment[key]) for key in ("synthetic", "kept", "repeat") if key in treatment
    )
    return _check_lineage(context, study, place, added, task.trial.arm)


@lru_cache(maxsize=64)  # the same for a whole grid
def _check_lineage(
    context: Context,
    study: Study,
    place: tuple[str, str, float],
    added: tuple[tuple[str, str], ...],
    arm: str,
) -> tuple[str, ...]:
    treatment = dict(added)
    descents: list[Descent] = []
    if "synthetic" in treatment:
        descents += lineage_of_images(treatment, context)
    if "repeat" in treatment:
        descents += context.artifact("allocation", treatment["repeat"]).lineage
    dataset, split, _ = place
    artifact = context.artifact("dataset", dataset)
    sample_ids = context.images("dataset", dataset, study).labels.sample_ids
    return check_lineage(
        context.store,
        descents,
        context.split(split),
        training_ids=frozenset(sample_ids[context.rows(*place, study)]),
        groups_known=artifact.info["groups_known"],
        allow=study.settings.allow_leakage,
        source=f"the images that arm '{arm}' adds",
    )


def _keep_logits(
    task: Task,
    context: Context,
    sample_ids: Mapping[str, np.ndarray],
    logits_NK: Mapping[str, np.ndarray],
    classes: tuple[str, ...],
) -> None:
    """Commit the logits of a trial on validation and test, named by sample and class."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    inputs = {"dataset": task.payload["dataset"], "split": task.payload["split"]}
    with draft(context.store, "predictions", task.id, inputs=inputs) as made:
        for role, logits in logits_NK.items():
            columns: dict[str, Any] = {"sample_id": sample_ids[role].tolist()}
            columns |= {f"logit.{name}": logits[:, k] for k, name in enumerate(classes)}
            path = made.path / f"{role}.parquet"
            pq.write_table(pa.table(columns), path, write_page_checksum=True)


def _about(task: Task, study: Study, context: Context) -> dict[str, Any]:
    trial = task.trial
    assert trial is not None
    return {
        "trial_id": task.id,
        "kind": "trial",
        "attempt": 1,
        "study": study.name,
        "stage": trial.stage,
        "arm": trial.arm,
        "regimen": trial.regimen,
        "draw": trial.draw,
        "replicate": trial.replicate,
        "configuration": canonical_json(trial.configuration),
        "code_digest": code_digest(),
        "engine": context.engine,
        "host": context.host,
    }


def _outcome(result: FitResult) -> dict[str, Any]:
    return {
        "status": result.status,
        "message": result.message,
        "steps": result.steps,
        "epochs": result.epochs,
        "best_epoch": result.best_epoch,
        "validation": result.validation,
        "curves": result.curves,
    }
