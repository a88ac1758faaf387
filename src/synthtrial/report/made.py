"""What the store knows of made images: pictures, generators, filters, and how good they are.

A part of :mod:`synthtrial.report.sources`. Arms that add the very same images share one row.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Iterator
from typing import Any

from synthtrial.config import GanTrainingConfig
from synthtrial.data.base import restrictions_of
from synthtrial.errors import DamagedArtifactError
from synthtrial.plan import Plan
from synthtrial.report.columns import (
    ACCEPTANCE_COLUMNS,
    FIGURES,
    GENERATOR_COLUMNS,
    LOSS_COLUMNS,
    QUALITY_COLUMNS,
    SHORTFALL_COLUMNS,
    filled,
)
from synthtrial.report.facts import count_text, listing
from synthtrial.report.generators import place_text
from synthtrial.report.pictures import External, Picture, Sheet
from synthtrial.store.artifacts import Artifact, Store, mend, read_artifact
from synthtrial.study import Arm, Study
from synthtrial.synthesis.quality import ClassQuality, QualityThresholds, shortfalls
from synthtrial.tasks import Task, in_words
from synthtrial.upstream import assess_task, filter_task

#: Of each threshold, the figure that it is about.
JUDGED = {
    "min_recognisability": "recognisability_relative",
    "min_coverage": "coverage_relative",
    "max_kernel_distance": "kernel_distance",
    "max_memorised": "memorised",
}


def thresholds_of(study: Study) -> dict[str, float]:
    """Return the thresholds of quality that a study sets."""
    quality = study.settings.quality
    limits = {name: getattr(quality, name) for name in JUDGED}
    return {name: limit for name, limit in limits.items() if limit is not None}


def judged(study: Study, store: Store, plan: Plan) -> dict[str, Any]:
    """Return the fields ``quality``, ``shortfalls`` and ``acceptance`` of the facts."""
    arms = list(study.arms.values())
    making = [arm for arm in arms if arm.settings.synthetic]
    limits, measures = thresholds_of(study), study.settings.quality.features != "none"
    rows: list[tuple[Any, ...]] = []
    missed: list[tuple[Any, ...]] = []
    for task, place in _by_arms(study, plan, making if measures else [], assess_task):
        info = read_artifact(store, "quality", task.id).info
        for name, values in info["classes"].items():
            known = [_float(values[figure]) for figure in FIGURES]
            counts = (values["n_made"], values["n_heldout"], values["n_training"])
            reasons = json.dumps(values["undefined"], ensure_ascii=False)
            rows.append((*place, name, values["features"], *counts, *known, reasons))
            for limit, text in _shortfalls(ClassQuality(**values), limits):
                missed.append((*place, name, limit, _float(values[JUDGED[limit]]), text))
    accepted: list[tuple[Any, ...]] = []
    filtering = [arm for arm in arms if study.maker(arm).settings.filter is not None]

    def task_of(study: Study, arm: Arm, regimen: float, draw: int) -> Task:
        return filter_task(study, study.maker(arm), regimen, draw)

    for task, place in _by_arms(study, plan, filtering, task_of):
        info = read_artifact(store, "filtered", task.id).info
        numbers = ("candidates", "accepted", "wanted", "kept", "filled")
        for name, values in info["classes"].items():
            accepted.append((*place, name, *(values[number] for number in numbers)))
    return {
        "quality": filled(QUALITY_COLUMNS, rows),
        "shortfalls": filled(SHORTFALL_COLUMNS, missed),
        "acceptance": filled(ACCEPTANCE_COLUMNS, accepted),
    }


def _by_arms(
    study: Study, plan: Plan, arms: list[Arm], task_of: Callable[[Study, Arm, float, int], Task]
) -> Iterator[tuple[Task, tuple[str, float, int]]]:
    """Yield the finished ones of these tasks, each with its arms, regimen and draw."""
    for regimen in study.settings.regimens:
        for draw in range(study.draws):
            users: dict[str, list[str]] = {}
            for arm in arms:
                users.setdefault(task_of(study, arm, regimen, draw).id, []).append(arm.name)
            for id_, names in users.items():
                if id_ in plan.tasks and id_ in plan.done:
                    yield plan.tasks[id_], (", ".join(names), float(regimen), draw)


def _shortfalls(quality: ClassQuality, limits: dict[str, float]) -> Iterator[tuple[str, str]]:
    for name, limit in limits.items():
        for text in shortfalls(quality, QualityThresholds(**{name: limit})):
            yield name, text


def _float(value: float | None) -> float:
    return math.nan if value is None else float(value)


def trained(study: Study, store: Store, plan: Plan) -> dict[str, Any]:
    """Return the fields ``generators``, ``losses`` and ``external`` of the facts."""
    rows: list[tuple[Any, ...]] = []
    losses: list[tuple[Any, ...]] = []
    places = _places(plan)
    for task, artifact in _done(store, plan, "train_gan", "generator"):
        info, history = artifact.info, artifact.info["history"]
        numbers = ("images", "steps", "skipped", "images_seen", "seconds")
        regimen = task.payload.get("regimen", math.nan)
        place = (task.id, places[task.id], regimen, task.payload["draw"])
        rows.append((*place, *(info[number] for number in numbers), info.get("processes", 1)))
        columns = [history[name] for name in LOSS_COLUMNS if name in history]
        losses += [(task.id, *values) for values in zip(*columns, strict=True)]
    return {
        "generators": filled(GENERATOR_COLUMNS, rows),
        "losses": filled(LOSS_COLUMNS, losses),
        "external": _external(study, store, plan),
    }


def _places(plan: Plan) -> dict[str, str]:
    """Name what each generator was fitted on and, where their settings differ, by which."""
    tasks = [task for task in plan.tasks.values() if task.kind == "train_gan"]
    trainings = [GanTrainingConfig(**task.payload["training"]) for task in tasks]
    varied = [
        field.name
        for field in dataclasses.fields(GanTrainingConfig)
        if field.name != "fit_on" and len({repr(getattr(t, field.name)) for t in trainings}) > 1
    ]
    found = {}
    for task, training in zip(tasks, trainings, strict=True):
        parts = [place_text(task.payload.get("regimen"), training.fit_on)]
        parts += [f"{in_words(getattr(training, n))} {n.replace('_', ' ')}" for n in varied]
        found[task.id] = ", ".join(parts)
    return found


def _external(study: Study, store: Store, plan: Plan) -> External | None:
    """Say where images made elsewhere come from: as it was stated when they were taken over."""
    making = any(arm.settings.synthetic for arm in study.arms.values())
    if study.generator is None or study.generator.component.trained or not making:
        return None
    options = study.generator.options
    independent = options.lineage == "independent"
    for _, artifact in _done(store, plan, "synthesize", "synthetic"):
        return External(artifact.info["table"], artifact.info["declared"].strip(), independent)
    return External(str(options.table), options.declared.strip(), independent)


def count_tasks(plan: Plan) -> dict[str, tuple[int, int]]:
    """Return the field ``planned`` of the facts."""
    gone = {id_ for id_, failure in plan.failures.items() if failure.final} | {*plan.blocked()}
    found = {}
    for name, kind in (("generator", "train_gan"), ("quality", "assess")):
        mine = [task.id for task in plan.tasks.values() if task.kind == kind]
        found[name] = (len(mine), sum(id_ in gone for id_ in mine))
    return found


def lost(plan: Plan) -> tuple[tuple[str, str], ...]:
    """Return label and message of what failed for good without keeping any trial from running."""
    blocked = plan.blocked()
    causes = {cause for id_, cause in blocked.items() if plan.tasks[id_].kind in _LAST}
    return tuple(
        (plan.tasks[id_].label, failure.message)
        for id_, failure in plan.failures.items()
        if failure.final and id_ not in causes and plan.tasks[id_].kind not in _LAST
    )


_LAST = ("trial", "select")


def find_pictures(
    study: Study, store: Store, plan: Plan
) -> tuple[tuple[Picture, ...], tuple[Sheet, ...], tuple[str, ...]]:
    """Return the strips of the exhibits, samples of generators of draw 0, and notes on them.

    Restricted images stay where they are unless the user asks for them.
    """
    exhibits = list(_done(store, plan, "exhibits", "exhibits"))
    generators = [
        (task, artifact)
        for task, artifact in _done(store, plan, "train_gan", "generator")
        if task.payload["draw"] == 0
    ]
    restrictions = set(restrictions_of(study.dataset.load()))
    for task, artifact in (*exhibits, *generators):
        source = read_artifact(store, "dataset", task.payload["dataset"])
        restrictions |= {*artifact.restrictions, *source.restrictions}
    notes: tuple[str, ...] = ()
    if restrictions:
        text = f"The data of {study.dataset.name} are restricted ({listing(sorted(restrictions))})"
        if not study.settings.store.show_restricted:
            return (), (), (f"{text}: none is shown.",)
        shown = "and yet shown, as store.show_restricted asks: whoever gets this page gets them"
        notes = (f"{text} {shown}.",)
    whole = [artifact for _, artifact in exhibits if not artifact.left_out]
    if len(whole) < len(exhibits):
        left = f"Pictures of {study.dataset.name} were left out of the archive that it came with."
        notes = (*notes, left)
    pictures = [picture for artifact in whole for picture in _strips(artifact)]
    ends = {min(study.settings.regimens), max(study.settings.regimens), None}
    places = _places(plan)
    sheets = [
        sheet
        for task, artifact in generators
        if task.payload.get("regimen") in ends
        for sheet in _sheets(artifact, places[task.id])
    ]
    return tuple(pictures), tuple(sheets), notes


def unreadable(store: Store, plan: Plan, name: str) -> tuple[str, ...]:
    """Say how many images of the dataset were left out because they could not be read."""
    for _, artifact in _done(store, plan, "prepare", "dataset"):
        bad = int(artifact.info.get("unreadable", 0))
        if bad:
            were = "could not be read and is" if bad == 1 else "could not be read and are"
            return (f"{count_text(bad, 'image')} of {name} {were} in no part of the study.",)
    return ()


def _strips(artifact: Artifact) -> list[Picture]:
    try:
        listed = json.loads(artifact.file("exhibits.json").read_bytes())["pictures"]
        return [
            Picture(
                path=artifact.file(item["file"]),
                role=item["role"],
                class_name=item["class"],
                arms=item["arm"] or "",
                regimen=item["regimen"],
                tiles=item["tiles"],
            )
            for item in listed
        ]
    except (ValueError, KeyError, TypeError) as error:
        raise DamagedArtifactError(
            f"{artifact.path}/exhibits.json is not a list of pictures. {mend(artifact.path)}"
        ) from error


def _sheets(artifact: Artifact, place: str) -> Iterator[Sheet]:
    """Yield the sheets of a generator in the order of steps."""
    shown = tuple(artifact.info.get("shown", ()))
    for name in artifact.files:
        if name.startswith("step-") and name.endswith(".png"):
            step = int(name.removeprefix("step-").removesuffix(".png"))
            yield Sheet(artifact.file(name), place, step, shown)


def _done(store: Store, plan: Plan, kind: str, artifact: str) -> Iterator[tuple[Task, Artifact]]:
    for task in plan.tasks.values():
        if task.kind == kind and task.id in plan.done:
            yield task, read_artifact(store, artifact, task.id)
