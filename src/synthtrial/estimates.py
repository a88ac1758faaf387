"""How long tasks will take and what they will leave on disk.

Times come from this store's own records where there are any like them; before that, from the rough
cost that plug-ins state for a training step. Estimates order the work and are printed; nothing
depends on them.
"""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from synthtrial.config import GanTrainingConfig, TrainingConfig
from synthtrial.plan import Plan
from synthtrial.registry import Component
from synthtrial.store.artifacts import Store
from synthtrial.store.records import read_records
from synthtrial.store.records_schema import strings
from synthtrial.tasks import Task, Trial

_OVERHEAD_SECONDS = 0.02
_ROUGH_STEP_MILLISECONDS = 50.0
_GPU_STEP_SECONDS = 0.01  # to launch the kernels of a step, however few the images
_LARGE_FEATURES_SECONDS = 10.0  # a thousand images or two through a network of ImageNet
_RECORD_BYTES = 1500
_EXTRA_SHARE = 0.15  # of added images, before the allocation is known


@dataclass(frozen=True)
class Estimate:
    """Totals of what is to do.

    Attributes:
        seconds: of one processor core (or one GPU) doing everything.
        bytes: added to the store.
        files: added to the store.
        measured: share of the time that rests on this store's own measurements.
    """

    seconds: float
    bytes: int
    files: int
    measured: float


class Clock:
    """Expected seconds of each task of a plan.

    Args:
        plan: of a study.
        store: whose records say what steps take; None for none.
        gpu: guess for a GPU of a data centre, and not for a processor core, where nothing has been
            measured and the component says what it takes there.
    """

    def __init__(self, plan: Plan, store: Store | None, *, gpu: bool = False) -> None:
        self._plan, self._gpu = plan, gpu
        source = plan.study.dataset.load()
        self._rows: int = source.expected_rows
        self._image_bytes = math.prod(source.image_shape)
        self._pixels: int = math.prod(source.image_shape[1:])
        self._measured = _measured_step_seconds(store, plan.study.name) if store else {}
        self._trainings: dict[tuple[Any, ...], TrainingConfig] = {}

    def seconds(self, task: Task) -> float:
        """Return the expected seconds of one task on one core."""
        if task.kind == "trial":
            return self._trial_seconds(task)
        study = self._plan.study
        if task.kind == "train_gan" and study.generator is not None:
            config = GanTrainingConfig(**task.payload["training"])
            images = config.global_batch * config.discriminator_steps
            return config.steps * self._step_seconds(study.generator.component, images)
        if task.kind == "reference":
            training = study.reference_training
            rows = self._training_rows(task.payload.get("regimen", 1.0))
            steps = training.epochs * math.ceil(rows / training.batch_size)
            step = self._step_seconds(study.classifier.component, training.batch_size)
            return _OVERHEAD_SECONDS + step * min(steps, training.max_steps or steps)
        if task.kind == "assess" and study.settings.quality.features != "reference":
            return _LARGE_FEATURES_SECONDS
        if task.kind == "prepare":
            return 0.5 + self._rows / 3000
        return 0.2

    def is_measured(self, task: Task) -> bool:
        """Whether the estimate rests on records of this store."""
        return task.trial is not None and self._key(task) in self._measured

    def total(self, tasks: Sequence[Task]) -> Estimate:
        """Return what the tasks need and leave, replicate trials yet to be chosen included."""
        seconds = [self.seconds(task) for task in tasks]
        measured = sum(s for s, task in zip(seconds, tasks, strict=True) if self.is_measured(task))
        replicates = self._plan.undecided
        grid = [
            s
            for s, task in zip(seconds, tasks, strict=True)
            if task.trial is not None and task.trial.stage == "grid"
        ]
        per_trial = sum(grid) / len(grid) if grid else 1.0
        total = sum(seconds) + replicates * per_trial
        kinds = [task.kind for task in tasks]
        artifacts = [kind for kind in kinds if kind != "trial"]
        trials = kinds.count("trial") + replicates
        size = trials * _RECORD_BYTES + len(artifacts) * 4096
        size += kinds.count("prepare") * self._rows * self._image_bytes
        size += kinds.count("train_gan") * 2 * 2**20
        size += int(kinds.count("synthesize") * self._rows * _EXTRA_SHARE) * self._image_bytes
        return Estimate(total, size, 2 * len(artifacts) + 4, measured / total if total else 1.0)

    def _steps(self, task: Task) -> float:
        assert task.trial is not None
        rows = self._training_rows(task.trial.regimen)
        if self._plan.study.arms[task.trial.arm].adds_images:
            rows *= 1 + _EXTRA_SHARE
        training = self._training(task.trial)
        steps = training.epochs * math.ceil(rows / training.batch_size)
        return min(steps, training.max_steps or steps)

    def _training_rows(self, regimen: float) -> float:
        split = self._plan.study.settings.split
        share = 1 - split.test - split.validation
        return self._rows * share * regimen if regimen <= 1 else regimen

    def _key(self, task: Task) -> tuple[str, int]:
        assert task.trial is not None
        return task.trial.arm, int(task.trial.configuration.get("batch_size", 0))

    def _training(self, trial: Trial) -> TrainingConfig:
        key = tuple(trial.configuration.items())
        if key not in self._trainings:  # few, while there may be thousands of trials
            self._trainings[key] = self._plan.study.training(trial.configuration)
        return self._trainings[key]

    def _trial_seconds(self, task: Task) -> float:
        assert task.trial is not None
        key = self._key(task)
        step = self._measured[key] if key in self._measured else self._rough(task.trial)
        return _OVERHEAD_SECONDS + self._steps(task) * step

    def _rough(self, trial: Trial) -> float:
        batch_size = self._training(trial).batch_size
        return self._step_seconds(self._plan.study.classifier.component, batch_size)

    def _step_seconds(self, component: Component, images: int) -> float:
        """Return what a training step of so many images takes, by a rough guess."""
        pixels: int = images * self._pixels
        if self._gpu and component.gpu_pixel_nanoseconds is not None:
            return _GPU_STEP_SECONDS + component.gpu_pixel_nanoseconds * pixels / 1e9
        step = component.step_milliseconds or _ROUGH_STEP_MILLISECONDS
        return step / 1e3 + component.pixel_nanoseconds * pixels / 1e9


@lru_cache(maxsize=4096)
def _batch_size(configuration: str) -> int:
    return int(json.loads(configuration).get("batch_size", 0))


def _measured_step_seconds(store: Store, study: str) -> dict[tuple[str, int], float]:
    """Return the mean seconds of a step by (arm, batch size) over this study's records.

    Other studies in the store may have other networks and images.
    """
    import pyarrow.compute as pc

    totals: dict[tuple[str, int], list[float]] = defaultdict(lambda: [0.0, 0.0])
    wanted = {"study": study, "kind": "trial", "status": "done"}
    measured = ("arm", "configuration", "seconds", "steps")
    table = read_records(store, columns=[*wanted, *measured])
    for name, value in wanted.items():
        table = table.filter(pc.is_in(table[name], strings([value])))
    columns = [table[name].to_pylist() for name in measured]
    for arm, configuration, seconds, steps in zip(*columns, strict=True):
        if steps:
            total = totals[arm, _batch_size(configuration)]
            total[0] += seconds
            total[1] += steps
    return {key: seconds / steps for key, (seconds, steps) in totals.items()}
