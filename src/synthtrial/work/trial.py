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
from torch import nn

from synthtrial.classify.augment import compose
from synthtrial.classify.evaluation import predict
from synthtrial.classify.metrics import Values, evaluate
from synthtrial.classify.saving import CLASSIFIER, write_network
from synthtrial.classify.training import FitResult, build_model, fit
from synthtrial.config import TrainingConfig
from synthtrial.data import predictions
from synthtrial.data.lineage import LEAKY, check_lineage
from synthtrial.graph import keeps_weights
from synthtrial.identity import canonical_json, code_digest
from synthtrial.store.artifacts import Artifact, Descent, draft
from synthtrial.study import Study
from synthtrial.tasks import REAL_ONLY, Task, metric_name
from synthtrial.work.context import Context
from synthtrial.work.fitting import checkpoints_of, trained_rows
from synthtrial.work.images import lineage_of_images
from synthtrial.work.judge import check_quality
from synthtrial.work.rows import TrialRows, judged_rows, trial_rows
from synthtrial.work.signals import noticed


@dataclass(frozen=True, eq=False)
class Trained:
    """A trial's classifier as its training left it.

    Attributes:
        model: with the kept epoch's weights, on the context's device.
        rows: that it was trained and validated on.
        result: of the training.
        config: its settings.
        dataset: artifact of its images.
        classes: names of its outputs.
    """

    model: nn.Module
    rows: TrialRows
    result: FitResult
    config: TrainingConfig
    dataset: Artifact
    classes: tuple[str, ...]

    @property
    def multi_label(self) -> bool:
        """Whether a row may hold several classes."""
        return bool(self.dataset.info["multi_label"])


def train(task: Task, context: Context, study: Study) -> Trained:
    """Train a trial's classifier, from its checkpoint if it was interrupted.

    Raises:
        InterruptedTrainingError: it was asked to stop, and goes on when it is run again.
    """
    assert task.trial is not None
    payload = task.payload
    dataset = context.artifact("dataset", payload["dataset"])
    arrays = context.images("dataset", dataset.id, study)
    config = TrainingConfig(**payload["training"])
    rows = trial_rows(task, context, study, config)
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
    with noticed() as interrupted:
        result = fit(
            model,
            rows.train.to(device),
            rows.validation.to(device),
            config,
            multi_label=dataset.info["multi_label"],
            classes=arrays.labels.classes,
            metrics=[metric_name(m) for m in payload["metrics"]],
            select_by=_score_of_epochs(payload),
            select_over=payload.get("checkpoint_over"),
            sampler=treatment["sampler"],
            class_weights=treatment["class_weights"],
            augment=compose([item.load() for item in arm.augment]),
            steps=_matched_steps(task, context, study, config),
            seed=payload["seed"],
            replicate=payload["replicate"],
            device=device,
            report=lambda epoch, figures: context.report(task, epoch, figures),
            checkpoints=checkpoints_of(task, context, study),
            interrupted=interrupted,
        )
    return Trained(model, rows, result, config, dataset, arrays.labels.classes)


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
    if "synthetic" in payload["treatment"]:
        check_quality(task, context, study)
    stamps = _stamps(task, context, study)
    trained = train(task, context, study)
    result, rows, model = trained.result, trained.rows, trained.model
    test = made = None
    if payload["evaluate_test"] and result.status == "done":
        test = _test(task, context, study, trained)
        made = _recalled(payload, context, trained)
        if keeps_weights(study, task.trial):
            keep_weights(task, context, study, trained)
    context.writer.append(
        {
            **_about(task, study, context),
            **_outcome(result),
            "n_real": rows.n_real,
            "n_added": len(rows.train) - rows.n_real,
            "parameters": sum(p.numel() for p in model.parameters()),
            "test": test,
            "made": made,
            "stamps": list(stamps),
            "device": context.device,
            "threads": context.threads,
            "seconds": result.earlier_seconds + time.perf_counter() - started,
            "started_at": started_at.isoformat(timespec="seconds"),
        }
    )
    shutil.rmtree(context.unfinished(task), ignore_errors=True)
    return result.message if result.status == "diverged" else None


def _test(task: Task, context: Context, study: Study, trained: Trained) -> dict[str, Values]:
    """Return the metrics on the test set; keep logits where the study asks for it."""
    payload, config = task.payload, trained.config
    place = (payload["dataset"], payload["split"], payload["regimen"])
    kept = {"test": context.held_out("test", *place, study)}
    if study.settings.store.keep_logits:
        kept["validation"] = trained.rows.held_out
    held = {role: judged_rows(mine, payload, context, study, config) for role, mine in kept.items()}
    logits = {
        role: predict(trained.model, mine.to(context.device), precision=config.precision)
        for role, mine in held.items()
    }
    if study.settings.store.keep_logits:
        ids = context.images("dataset", payload["dataset"], study).labels.sample_ids
        named = {role: ids[mine] for role, mine in kept.items()}
        _keep_logits(task, context, named, logits, trained.classes)
    return evaluate(
        [metric_name(m) for m in payload["metrics"]],
        logits["test"],
        held["test"].targets_NK,
        trained.classes,
        trained.multi_label,
        held["test"].uncertain_NK,
    )


def _recalled(
    payload: Mapping[str, Any], context: Context, trained: Trained
) -> dict[str, Values] | None:
    """Return the metrics on the made images that were trained on: how well they were learned."""
    made = trained.rows.made
    if made is None:
        return None
    logits = predict(trained.model, made.to(context.device), precision=trained.config.precision)
    metrics = [metric_name(m) for m in payload["metrics"]]
    return evaluate(metrics, logits, made.targets_NK, trained.classes, trained.multi_label, None)


def keep_weights(task: Task, context: Context, study: Study, trained: Trained) -> None:
    """Commit a trial's classifier."""
    inputs = {"dataset": task.payload["dataset"], "split": task.payload["split"]}
    _, channels, size, _ = context.images(
        "dataset", task.payload["dataset"], study
    ).images_NCHW.shape
    with draft(context.store, "weights", task.id, inputs=inputs) as made:
        write_network(
            made.path,
            CLASSIFIER,
            study.classifier.component,
            study.classifier.options,
            {name: value.cpu() for name, value in trained.model.state_dict().items()},
            channels=channels,
            size=size,
            classes=trained.classes,
            multi_label=trained.multi_label,
        )


def _score_of_epochs(payload: Mapping[str, Any]) -> str:
    """Return the metric that every epoch is scored by: part of the id, whatever it decides."""
    return metric_name(payload.get("checkpoint_by", payload["metrics"][0]))


def _matched_steps(
    task: Task, context: Context, study: Study, config: TrainingConfig
) -> int | None:
    """Return the steps that the arm named by ``steps_of`` takes with this configuration."""
    payload = task.payload
    other = payload["treatment"].get("steps_of")
    if other is None:
        return None
    n_real = len(context.rows(payload["dataset"], payload["split"], payload["regimen"], study))
    if other == REAL_ONLY:
        return config.epochs * -(-n_real // config.batch_size)
    n_added: int = context.artifact("allocation", other).info["images"]
    return config.epochs * -(-(n_real + n_added) // config.batch_size)


def _stamps(task: Task, context: Context, study: Study) -> tuple[str, ...]:
    assert task.trial is not None
    payload, treatment = task.payload, task.payload["treatment"]
    place = (payload["dataset"], payload["split"], payload["regimen"])
    added = tuple(
        (key, treatment[key]) for key in ("synthetic", "kept", "repeat") if key in treatment
    )
    fit_on = treatment.get("fit_on", "subset")
    stamps = _check_lineage(context, study, place, fit_on, added, task.trial.arm)
    if "validation_made" in payload and "synthetic" in treatment:
        return tuple(sorted({*stamps, LEAKY}))  # the study allows it, or would not have been loaded
    return stamps


@lru_cache(maxsize=64)  # the same for a whole grid
def _check_lineage(
    context: Context,
    study: Study,
    place: tuple[str, str, float],
    fit_on: str,
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
    rows = trained_rows(place, fit_on, context, study)
    artifact = context.artifact("dataset", dataset)
    sample_ids = context.images("dataset", dataset, study).labels.sample_ids
    return check_lineage(
        context.store,
        descents,
        context.split(split),
        training_ids=frozenset(sample_ids[rows]),
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
    inputs = {"dataset": task.payload["dataset"], "split": task.payload["split"]}
    with draft(context.store, predictions.KIND, task.id, inputs=inputs) as made:
        for role, logits in logits_NK.items():
            predictions.write_predictions(made.path, role, sample_ids[role], logits, classes)


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
