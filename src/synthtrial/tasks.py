"""The tasks of a study: plain data, named by the digest of what their results depend on.

Each function here spells out one kind of task; its ``payload`` is the whole of its upstream
closure, by id where another task makes it. Settings of the generator therefore never touch a trial
that uses none of its images.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

from synthtrial.identity import canonical_json, digest, non_default
from synthtrial.registry import find
from synthtrial.study import Arm, Study

TaskKind = Literal[
    "prepare", "split", "allocate", "train_gan", "synthesize", "trial", "select", "exhibits"
]
Stage = Literal["grid", "replicate"]

#: The artifact that each kind of task commits; a trial leaves a record instead.
ARTIFACT_KINDS: Mapping[TaskKind, str] = {
    "prepare": "dataset",
    "split": "split",
    "allocate": "allocation",
    "train_gan": "generator",
    "synthesize": "synthetic",
    "select": "selection",
    "exhibits": "exhibits",
}
#: Replicate number of the grid's own seed: never one of the reported replicates 0, 1, 2, ...
GRID_REPLICATE = -1
_VERSIONS: Mapping[TaskKind, int] = {**dict.fromkeys(ARTIFACT_KINDS, 1), "trial": 1}


@dataclass(frozen=True)
class Trial:
    """One classifier training: cell x configuration x replicate."""

    trial_id: str
    stage: Stage
    arm: str
    regimen: float
    draw: int
    replicate: int
    configuration: Mapping[str, Any]


@dataclass(frozen=True)
class Task:
    """One unit of work, as plain data: any process can run it (:mod:`synthtrial.work`).

    Attributes:
        kind: what is done.
        id: digest of ``payload``; names the artifact or the record for ever.
        label: one line for people.
        needs: ids of the tasks whose results it reads.
        payload: everything that the result depends on.
        study: digest of the study's snapshot in the store, for settings that enter no id.
        trial: what the record says about itself, for trials.
    """

    kind: TaskKind
    id: str
    label: str
    needs: tuple[str, ...]
    payload: Mapping[str, Any]
    study: str
    trial: Trial | None = None


@dataclass(frozen=True)
class Cell:
    """Arm x regimen; ``replicate`` is set where the choice is made within each replicate."""

    arm: str
    regimen: float
    replicate: int | None = None


def _task(
    study: Study,
    kind: TaskKind,
    label: str,
    needs: Sequence[str],
    payload: Mapping[str, Any],
) -> Task:
    payload, id_ = _identified(kind, payload)
    return Task(kind, id_, label, tuple(needs), payload, study.digest)


def _identified(kind: TaskKind, payload: Mapping[str, Any]) -> tuple[Mapping[str, Any], str]:
    whole = {"kind": kind, "version": _VERSIONS[kind], **payload}
    return whole, digest(whole)


def _prepare(study: Study) -> Task:
    payload = {"dataset": study.dataset.identity}
    return _task(study, "prepare", f"prepare {study.dataset.name}", [], payload)


def cells(study: Study) -> list[Cell]:
    """Return the study's cells, arms within regimens."""
    return [Cell(arm, regimen) for regimen in study.settings.regimens for arm in study.arms]


@lru_cache(maxsize=4096)
def _split(study: Study, draw: int) -> Task:
    settings = study.settings
    dataset = _prepare(study).id
    payload = {
        "dataset": dataset,
        # Who uses how much of a validation set is each trial's affair and not the split's.
        "split": {"test": settings.split.test, "validation": settings.split.validation},
        "imbalance": non_default(settings.imbalance),
        "seed": settings.seed,
        "draw": draw,
    }
    return _task(study, "split", f"split, draw {draw}", [dataset], payload)


@lru_cache(maxsize=4096)
def _allocate(study: Study, arm: Arm, regimen: float, draw: int) -> Task:
    assert arm.balance is not None
    split = _split(study, draw)
    payload = {
        "dataset": split.payload["dataset"],
        "split": split.id,
        "regimen": regimen,
        "balance": non_default(arm.balance),
        "label_policy": study.settings.training.label_policy,
        "seed": study.settings.seed,
        "draw": draw,
    }
    label = f"allocate images, regimen {regimen:g}, draw {draw}"
    return _task(study, "allocate", label, [split.payload["dataset"], split.id], payload)


@lru_cache(maxsize=4096)
def _train_gan(study: Study, regimen: float, draw: int) -> Task:
    assert study.generator is not None
    settings = study.settings
    split = _split(study, draw)
    payload = {
        "dataset": split.payload["dataset"],
        "split": split.id,
        "generator": study.generator.identity,
        "training": non_default(settings.gan_training),
        "label_policy": settings.training.label_policy,
        "seed": settings.seed,
        "draw": draw,
    }
    rows = settings.gan_training.fit_on
    if rows == "subset":
        payload["regimen"] = regimen
    label = f"GAN on {f'regimen {regimen:g}' if rows == 'subset' else rows}, draw {draw}"
    return _task(study, "train_gan", label, [split.payload["dataset"], split.id], payload)


@lru_cache(maxsize=4096)
def _synthesize(study: Study, arm: Arm, regimen: float, draw: int) -> Task:
    generator = _train_gan(study, regimen, draw)
    allocation = _allocate(study, arm, regimen, draw)
    payload = {
        "generator": generator.id,
        "allocation": allocation.id,
        "seed": study.settings.seed,
        "draw": draw,
    }
    label = f"synthetic images, regimen {regimen:g}, draw {draw}"
    return _task(study, "synthesize", label, [generator.id, allocation.id], payload)


def trial_task(
    study: Study,
    cell: Cell,
    stage: Stage,
    replicate: int,
    configuration: Mapping[str, Any],
) -> Task:
    """Return the classifier training of one cell, replicate and configuration.

    Trials of stage ``replicate`` are judged on the test set; those of the grid never see it.
    """
    draw = 0 if replicate == GRID_REPLICATE else replicate % study.draws
    place = _place(study, cell.arm, cell.regimen, draw)
    point = _point(study, tuple(configuration.items()))
    payload, id_ = _identified(
        "trial",
        {
            **place.payload,
            **point.payload,
            "evaluate_test": stage == "replicate",
            "replicate": replicate,
        },
    )
    label = f"{place.label}, {point.label}"
    label += "" if replicate == GRID_REPLICATE else f", replicate {replicate}"
    trial = Trial(id_, stage, cell.arm, cell.regimen, draw, replicate, configuration)
    return Task("trial", id_, label, place.needs, payload, study.digest, trial)


@dataclass(frozen=True)
class _Part:
    """What many trials have in common, spelled out once."""

    payload: Mapping[str, Any]
    label: str
    needs: tuple[str, ...] = ()


@lru_cache(maxsize=4096)
def _place(study: Study, arm_name: str, regimen: float, draw: int) -> _Part:
    """Return the part of a trial that does not depend on its configuration."""
    settings, arm = study.settings, study.arms[arm_name]
    split = _split(study, draw)
    dataset: str = split.payload["dataset"]
    treatment: dict[str, Any] = {
        "augment": [item.identity for item in arm.augment],
        "sampler": arm.settings.sampler,
        "class_weights": arm.settings.class_weights,
    }
    if arm.settings.synthetic:
        treatment["synthetic"] = _synthesize(study, arm, regimen, draw).id
    if arm.settings.repeat is not None:
        treatment["repeat"] = _allocate(study, arm, regimen, draw).id
    if arm.settings.steps_of is not None:
        other = study.arms[arm.settings.steps_of]
        treatment["steps_of"] = _allocate(study, other, regimen, draw).id
    made = [treatment[key] for key in ("synthetic", "repeat", "steps_of") if key in treatment]
    payload: dict[str, Any] = {
        "dataset": dataset,
        "split": split.id,
        "regimen": regimen,
        "treatment": treatment,
        "classifier": study.classifier.identity,
        "metrics": [_metric(name) for name in sorted(settings.metrics)],
        "seed": settings.seed,
        "draw": draw,
    }
    if settings.split.validation_scope != "shared":
        payload["validation_scope"] = settings.split.validation_scope
    return _Part(payload, f"{arm_name}, regimen {regimen:g}", (dataset, split.id, *made))


@lru_cache(maxsize=4096)
def _point(study: Study, configuration: tuple[tuple[str, Any], ...]) -> _Part:
    """Return the part of a trial that depends on its configuration alone."""
    training = study.training(dict(configuration))
    payload: dict[str, Any] = {"training": non_default(training)}
    if training.checkpoint == "best":
        payload["checkpoint_by"] = _metric(study.settings.protocol.select_by)
    label = " ".join(f"{key}={in_words(value)}" for key, value in configuration)
    return _Part(payload, label)


def fixed_tasks(study: Study) -> Iterator[Task]:
    """Yield what does not depend on a selection, in topological order."""
    settings = study.settings
    adding = [arm for arm in study.arms.values() if arm.adds_images]
    making = [arm for arm in adding if arm.settings.synthetic]
    yield _prepare(study)
    for draw in range(study.draws):
        yield _split(study, draw)
    for regimen in settings.regimens:
        for draw in range(study.draws):
            for arm in adding:
                yield _allocate(study, arm, regimen, draw)
            for arm in making:
                yield _train_gan(study, regimen, draw)
                yield _synthesize(study, arm, regimen, draw)
    yield _exhibits(study, making)
    for cell in cells(study):
        for replicate in _grid_replicates(study):
            for configuration in study.configurations:
                yield trial_task(study, cell, "grid", replicate, configuration)


def _grid_replicates(study: Study) -> Sequence[int]:
    protocol = study.settings.protocol
    return [GRID_REPLICATE] if protocol.kind == "grid_once" else range(protocol.replicates)


def _exhibits(study: Study, making: Sequence[Arm]) -> Task:
    regimens = sorted({min(study.settings.regimens), max(study.settings.regimens)})
    split = _split(study, 0)
    synthetic = [
        {"arm": arm.name, "regimen": regimen, "id": _synthesize(study, arm, regimen, 0).id}
        for arm in making
        for regimen in regimens
    ]
    payload = {
        "dataset": split.payload["dataset"],
        "split": split.id,
        "classes": study.minority,
        "synthetic": synthetic,
    }
    needs = [split.payload["dataset"], split.id, *(str(item["id"]) for item in synthetic)]
    return _task(study, "exhibits", "pictures for the report", needs, payload)


def selections(study: Study, tasks: Iterable[Task]) -> dict[Cell, Task]:
    """Return the task that chooses each cell's configuration among its grid trials."""
    within = study.settings.protocol.kind == "retune"
    grid: dict[Cell, list[str]] = {}
    for task in tasks:
        if task.trial is not None and task.trial.stage == "grid":
            trial = task.trial
            cell = Cell(trial.arm, trial.regimen, trial.replicate if within else None)
            grid.setdefault(cell, []).append(task.id)
    chosen = {}
    for cell, trials in grid.items():
        payload = {
            "cell": dataclasses.asdict(cell),
            "trials": trials,
            "select_by": _metric(study.settings.protocol.select_by),
        }
        label = f"choose the configuration of {cell.arm}, regimen {cell.regimen:g}"
        label += "" if cell.replicate is None else f", replicate {cell.replicate}"
        chosen[cell] = _task(study, "select", label, trials, payload)
    return chosen


def same_task(task: Task) -> str:
    """Return what identifies a task across versions of a study: its kind and place, no settings."""
    if task.trial is not None:
        trial = task.trial
        place: Any = [trial.stage, trial.arm, trial.regimen, trial.replicate, trial.configuration]
    else:
        place = task.label
    return canonical_json([task.kind, place])


def _metric(name: str) -> Any:
    """Return what an id keeps of a metric: its name and, above version 1, its version."""
    version = find("metric", name).version
    return name if version == 1 else {"name": name, "version": version}


def metric_name(metric: Any) -> str:
    """Return the name in what a payload says of a metric."""
    return metric if isinstance(metric, str) else str(metric["name"])


def in_words(value: Any) -> str:
    """Write a setting so that equal values read alike: ``0.10`` and ``1e-1`` are ``0.1``."""
    try:
        return f"{float(value):g}"
    except (TypeError, ValueError):
        return str(value)
