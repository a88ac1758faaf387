"""What a task is: plain data, named by the digest of what its result depends on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from synthtrial.identity import canonical_json, digest
from synthtrial.registry import find
from synthtrial.study import Study

#: In the order of urgency: short links of long chains first, generators, what waits for their
#: images, then the grid.
TaskKind = Literal[
    "prepare",
    "split",
    "allocate",
    "reference",
    "train_gan",
    "synthesize",
    "filter",
    "assess",
    "select",
    "trial",
    "cams",
    "exhibits",
]
Stage = Literal["grid", "replicate"]

#: The artifact that each kind of task commits; a trial leaves a record instead.
ARTIFACT_KINDS: Mapping[TaskKind, str] = {
    "prepare": "dataset",
    "split": "split",
    "allocate": "allocation",
    "reference": "classifier",
    "train_gan": "generator",
    "synthesize": "synthetic",
    "filter": "filtered",
    "assess": "quality",
    "select": "selection",
    "cams": "cams",
    "exhibits": "exhibits",
}
#: Replicate number of the grid's own seed: never one of the reported replicates 0, 1, 2, ...
GRID_REPLICATE = -1
#: In place of an allocation's id where an arm is given the steps of one that adds nothing.
REAL_ONLY = "real"
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
    """Arm x regimen, as far as one choice of a configuration goes.

    Attributes:
        replicate: set where each replicate chooses for itself.
        target: set where each class of interest has a configuration of its own.
    """

    arm: str
    regimen: float
    replicate: int | None = None
    target: str | None = None


def make_task(
    study: Study,
    kind: TaskKind,
    label: str,
    needs: Sequence[str],
    payload: Mapping[str, Any],
) -> Task:
    """Return the task of this kind whose result depends on ``payload`` alone."""
    payload = whole_payload(kind, payload)
    return Task(kind, digest(payload), label, tuple(needs), payload, study.digest)


def whole_payload(kind: TaskKind, payload: Mapping[str, Any]) -> dict[str, Any]:
    """Return a payload with its kind and that kind's version; its digest is the task's id."""
    return {"kind": kind, "version": _VERSIONS[kind], **payload}


def same_task(task: Task) -> str:
    """Return what identifies a task across versions of a study: its kind and place, no settings."""
    if task.trial is not None:
        trial = task.trial
        place: Any = [trial.stage, trial.arm, trial.regimen, trial.replicate, trial.configuration]
    else:
        place = task.label
    return canonical_json([task.kind, place])


def metric_identity(name: str) -> Any:
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
