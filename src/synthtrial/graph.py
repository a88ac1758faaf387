"""The whole graph of a study: what its trials are, in which order, and what chooses among them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from synthtrial.identity import canonical_json, digest_of
from synthtrial.study import Arm, Study
from synthtrial.tasks import (
    GRID_REPLICATE,
    REAL_ONLY,
    Cell,
    Stage,
    Task,
    Trial,
    in_words,
    make_task,
    metric_identity,
    whole_payload,
)
from synthtrial.upstream import (
    allocate_task,
    assess_task,
    image_set,
    prepare_task,
    split_task,
    training_identity,
)


def cells(study: Study) -> list[Cell]:
    """Return the study's cells, arms within regimens."""
    return [Cell(arm, regimen) for regimen in study.settings.regimens for arm in study.arms]


def trial_task(
    study: Study,
    cell: Cell,
    stage: Stage,
    replicate: int,
    configuration: Mapping[str, Any],
    after: Sequence[str] = (),
) -> Task:
    """Return the classifier training of one cell, replicate and configuration.

    Trials of stage ``replicate`` are judged on the test set; those of the grid never see it.

    Args:
        study: the study.
        cell: arm and regimen.
        stage: of the trial.
        replicate: number of the replicate.
        configuration: point of the grid.
        after: further tasks that it needs.
    """
    draw = 0 if replicate == GRID_REPLICATE else replicate % study.draws
    place = _place(study, cell.arm, cell.regimen, draw)
    settings = tuple(configuration.items())
    point = _point(study, settings)
    seedless = _seedless(study, cell.arm, cell.regimen, draw, settings, stage)
    payload = {**seedless.payload, "replicate": replicate}
    id_ = digest_of(f"{seedless.before}{replicate}{seedless.after}")
    label = f"{place.label}, {point.label}"
    label += "" if replicate == GRID_REPLICATE else f", replicate {replicate}"
    trial = Trial(id_, stage, cell.arm, cell.regimen, draw, replicate, configuration)
    return Task("trial", id_, label, (*place.needs, *after), payload, study.digest, trial)


def cam_task(study: Study, trial: Task) -> Task | None:
    """Return the task that draws the activation maps of a trial's classifier; None for most."""
    place = trial.trial
    assert place is not None
    if not keeps_weights(study, place):
        return None
    images = image_set(study, study.arms[place.arm], place.regimen, place.draw).treatment
    payload = {
        "dataset": trial.payload["dataset"],
        "split": trial.payload["split"],
        "images": dict(images),
        "trial": dict(trial.payload),  # its classifier can be trained anew where it was not kept
        "place": dataclasses.asdict(place),
        "classes": sorted(study.minority),
        "count": study.settings.cams.images,
    }
    label = f"activation maps of {place.arm}, regimen {place.regimen:g}"
    needs = [trial.payload["dataset"], trial.payload["split"], *images.values(), trial.id]
    return make_task(study, "cams", label, needs, payload)


def keeps_weights(study: Study, trial: Trial) -> bool:
    """Whether a trial's classifier is kept for class activation maps."""
    return (
        trial.stage == "replicate"
        and trial.arm == study.settings.cams.arm
        and trial.regimen == max(study.settings.regimens, key=_size)
        and trial.replicate == 0
    )


def _size(regimen: float) -> tuple[bool, float]:
    """Order regimens by size, as far as that is known: all of the training set is the largest."""
    return (regimen == 1, regimen)


_MADE = ("synthetic", "kept", "dose", "repeat", "steps_of")


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
    split = split_task(study, draw)
    dataset: str = split.payload["dataset"]
    treatment: dict[str, Any] = {
        "augment": [item.identity for item in arm.augment],
        "sampler": arm.settings.sampler,
        "class_weights": arm.settings.class_weights,
    }
    if arm.settings.fit_on != "subset":
        treatment["fit_on"] = arm.settings.fit_on
    if arm.settings.synthetic:
        treatment |= image_set(study, arm, regimen, draw).treatment
    if arm.settings.repeat is not None:
        treatment["repeat"] = allocate_task(study, arm, regimen, draw).id
    if arm.settings.shuffle_labels:
        treatment["shuffle_labels"] = True
    if arm.settings.augment_only:
        treatment["augment_only"] = sorted(arm.settings.augment_only)
    if arm.settings.steps_of is not None:
        other = study.arms[arm.settings.steps_of]
        treatment["steps_of"] = (
            allocate_task(study, other, regimen, draw).id if other.adds_images else REAL_ONLY
        )
    made = [treatment[key] for key in _MADE if treatment.get(key, REAL_ONLY) != REAL_ONLY]
    if arm.settings.synthetic and study.settings.quality.on_shortfall == "refuse":
        made.append(assess_task(study, arm, regimen, draw).id)  # no trial before it has passed
    payload: dict[str, Any] = {
        "dataset": dataset,
        "split": split.id,
        "regimen": regimen,
        "treatment": treatment,
        "classifier": study.classifier.identity,
        "metrics": [metric_identity(name) for name in sorted(settings.metrics)],
        "seed": settings.seed,
        "draw": draw,
    }
    if settings.split.validation_scope != "shared":
        payload["validation_scope"] = settings.split.validation_scope
    if settings.split.validation_made and arm.settings.synthetic:
        payload["validation_made"] = settings.split.validation / (1 - settings.split.test)
    return _Part(payload, f"{arm_name}, regimen {regimen:g}", (dataset, split.id, *made))


@lru_cache(maxsize=4096)
def _point(study: Study, configuration: tuple[tuple[str, Any], ...]) -> _Part:
    """Return the part of a trial that depends on its configuration alone."""
    training = study.training(dict(configuration))
    payload: dict[str, Any] = {"training": training_identity(training)}
    if training.checkpoint == "best":
        payload["checkpoint_by"] = metric_identity(study.settings.protocol.select_by)
        if study.settings.protocol.select_over != "macro_all":
            payload["checkpoint_over"] = sorted(study.minority)
    label = " ".join(f"{key}={in_words(value)}" for key, value in configuration)
    return _Part(payload, label)


@dataclass(frozen=True)
class _Seedless:
    """A trial's payload without its replicate, and its canonical text around that number."""

    payload: Mapping[str, Any]
    before: str
    after: str


@lru_cache(maxsize=4096)
def _seedless(
    study: Study,
    arm: str,
    regimen: float,
    draw: int,
    configuration: tuple[tuple[str, Any], ...],
    stage: Stage,
) -> _Seedless:
    """Return what replicates have in common: of many the text is written once, and not the id."""
    parts = {**_place(study, arm, regimen, draw).payload, **_point(study, configuration).payload}
    payload = whole_payload("trial", {**parts, "evaluate_test": stage == "replicate"})
    before = {key: value for key, value in payload.items() if key < "replicate"}
    rest = {key: value for key, value in payload.items() if key > "replicate"}
    # Keys are sorted in canonical JSON, and there are some on either side.
    start, end = canonical_json(before), canonical_json(rest)
    return _Seedless(payload, f'{start[:-1]},"replicate":', f",{end[1:]}")


def fixed_tasks(study: Study) -> Iterator[Task]:
    """Yield what does not depend on a selection, in topological order."""
    settings = study.settings
    adding = [arm for arm in study.arms.values() if arm.adds_images]
    making = [arm for arm in adding if arm.settings.synthetic]
    yield prepare_task(study)
    for draw in range(study.draws):
        yield split_task(study, draw)
    for regimen in settings.regimens:
        for draw in range(study.draws):
            for arm in adding:
                yield allocate_task(study, arm, regimen, draw)
            for arm in making:
                yield from image_set(study, arm, regimen, draw).tasks
                if study.settings.quality.features != "none":
                    yield assess_task(study, arm, regimen, draw)
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
    split = split_task(study, 0)
    needs = [split.payload["dataset"], split.id]
    strips: dict[tuple[tuple[str, str], ...], dict[str, Any]] = {}
    for arm in making:
        for regimen in regimens:
            # Of an arm with a filter also the list of what is kept, and of a dose how many.
            chosen = dict(image_set(study, arm, regimen, 0).treatment)
            needs += chosen.values()
            key = (("regimen", str(regimen)), *chosen.items())
            if key in strips:  # arms that add the very same images share their strips
                strips[key]["arm"] += f", {arm.name}"
                continue
            id_ = chosen.pop("synthetic")
            strips[key] = {"arm": arm.name, "regimen": regimen, "id": id_, **chosen}
    synthetic = list(strips.values())
    payload = {
        "dataset": split.payload["dataset"],
        "split": split.id,
        "classes": study.minority,
        "synthetic": synthetic,
    }
    return make_task(study, "exhibits", "pictures for the report", needs, payload)


def selections(study: Study, tasks: Iterable[Task]) -> dict[Cell, Task]:
    """Return the task that chooses each cell's configuration among its grid trials."""
    within = study.settings.protocol.kind == "retune"
    over = study.settings.protocol.select_over
    targets = sorted(study.minority) if over == "per_class" else [None]
    grid: dict[Cell, list[str]] = {}
    for task in tasks:
        if task.trial is not None and task.trial.stage == "grid":
            trial = task.trial
            for target in targets:
                cell = Cell(trial.arm, trial.regimen, trial.replicate if within else None, target)
                grid.setdefault(cell, []).append(task.id)
    chosen = {}
    for cell, trials in grid.items():
        place = dataclasses.asdict(cell)
        payload = {
            "cell": {key: place[key] for key in place if key != "target" or cell.target},
            "trials": trials,
            "select_by": metric_identity(study.settings.protocol.select_by),
        }
        if over != "macro_all":
            payload["select_over"] = [cell.target] if cell.target else sorted(study.minority)
        if study.settings.protocol.search != "grid":  # it chooses among those that were not stopped
            payload["search"] = dataclasses.asdict(study.settings.protocol.asha)
        label = f"choose the configuration of {cell.arm}, regimen {cell.regimen:g}"
        label += "" if cell.replicate is None else f", replicate {cell.replicate}"
        label += f", for {cell.target}" if cell.target else ""
        chosen[cell] = make_task(study, "select", label, trials, payload)
    return chosen
