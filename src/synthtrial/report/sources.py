"""From a study, its store and its plan to plain :class:`~synthtrial.report.facts.Facts`.

The only place of the report that knows about tasks, artifacts and records. What a trial is (its
arm, regimen, stage) is taken from the plan; a record is only asked what came out, so that studies
which share trials in one store do not mislabel each other's.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd

from synthtrial.data.base import restrictions_of
from synthtrial.history import changed_questions, read_history
from synthtrial.plan import Plan
from synthtrial.published import published_of
from synthtrial.report.cams import find_maps
from synthtrial.report.columns import (
    CHOSEN_COLUMNS,
    COUNT_COLUMNS,
    SYNTHETIC_COLUMNS,
    filled,
)
from synthtrial.report.description import describe
from synthtrial.report.facts import Facts
from synthtrial.report.held_out_errors import find_errors
from synthtrial.report.looks import with_looks
from synthtrial.report.made import count_tasks, find_pictures, judged, lost, trained, unreadable
from synthtrial.report.outcomes import read_curves, read_outcomes
from synthtrial.report.planned import planned_trials
from synthtrial.report.spending import TRIED, seconds_by_task, tariff_of, work_done
from synthtrial.store.artifacts import Store, read_artifact
from synthtrial.store.records import read_records
from synthtrial.study import Study
from synthtrial.tasks import Task
from synthtrial.upstream import allocate_task


def gather(study: Study, store: Store, plan: Plan) -> Facts:
    """Collect everything a report shows.

    Raises:
        ConfigError: ``statistics.per_class`` names a metric that has one value for all classes.
        DamagedArtifactError: a manifest, the records or a picture is damaged.
    """
    changed = changed_questions(study, store, plan)
    design = with_looks(describe(study), read_history(study, store), changed)
    named = study.settings.statistics.published
    planned = planned_trials(plan, store)
    tries = read_records(store, every_attempt=True, columns=list(TRIED))
    spent = seconds_by_task(tries)
    outcomes = read_outcomes(store, planned, design, spent)
    trials = outcomes.trials
    others: dict[str, Any] = dict(outcomes.others)
    if study.settings.split.validation_made:  # arms are validated on unlike images
        others.pop("validation_scores", None)
    pictures, sheets, notes = find_pictures(study, store, plan)
    synthetic, regimen_images = _allocations(study, store, plan)
    own = [name for name, arm in study.arms.items() if arm.settings.fit_on == "subset"]
    mine = trials[(trials.draw == 0) & trials.n_real.notna() & trials.arm.isin(own)]
    measured = mine.groupby("regimen").n_real.first()
    facts = Facts(
        design=design,
        trials=trials,
        class_scores=outcomes.class_scores,
        **others,
        counts=_counts(store, plan),
        regimen_images={float(str(k)): int(v) for k, v in measured.to_dict().items()}
        | regimen_images,
        synthetic=synthetic,
        curves=read_curves(store, outcomes),
        pictures=pictures,
        chosen=_chosen(planned, study),
        notes=(*unreadable(store, plan, design.dataset), *notes),
        published=published_of(named),
        sheets=sheets,
        planned=count_tasks(plan),
        lost=lost(plan),
        maps=find_maps(
            store,
            plan,
            shown=study.settings.store.show_restricted,
            restricted=bool(restrictions_of(study.dataset.load())),
        ),
        work=work_done(study, store, plan, spent),
        tariff=tariff_of(study, tries),
        **judged(study, store, plan),
        **trained(study, store, plan),
    )
    return dataclasses.replace(facts, **find_errors(store, plan, planned, facts))


def _done(plan: Plan, kind: str) -> Iterator[Task]:
    return (task for task in plan.tasks.values() if task.kind == kind and task.id in plan.done)


def _counts(store: Store, plan: Plan) -> pd.DataFrame:
    """Read the counts that each split's manifest holds; older ones have no uncertain labels."""
    rows: list[tuple[Any, ...]] = []
    for task in _done(plan, "split"):
        info = read_artifact(store, "split", task.id).info
        unsure = info.get("uncertain_counts", {})
        for role, counts in info["class_counts"].items():
            mine = unsure.get(role, {})
            rows += [
                (info["draw"], role, name, images, mine.get(name, np.nan))
                for name, images in counts.items()
            ]
        rows += [(info["draw"], role, "", images, np.nan) for role, images in info["rows"].items()]
    return filled(COUNT_COLUMNS, rows)


def _allocations(study: Study, store: Store, plan: Plan) -> tuple[pd.DataFrame, dict[float, int]]:
    """Read the counts that each allocation's manifest holds; also the regimens' sizes in draw 0."""
    users: dict[str, list[str]] = {}
    for arm in study.arms.values():
        for regimen in study.settings.regimens if arm.adds_images else ():
            for draw in range(study.draws):
                used = allocate_task(study, arm, regimen, draw).id
                users.setdefault(used, []).append(arm.name)
    rows: list[tuple[Any, ...]] = []
    sizes: dict[float, int] = {}
    for task in _done(plan, "allocate"):
        info = read_artifact(store, "allocation", task.id).info
        regimen, draw = float(task.payload["regimen"]), int(task.payload["draw"])
        if draw == 0:
            sizes[regimen] = info["n_rows"]
        arms = ", ".join(users.get(task.id, []))
        rows += [(arms, regimen, draw, *values) for values in _allocated(info)]
    return filled(SYNTHETIC_COLUMNS, rows), sizes


def _allocated(info: Mapping[str, Any]) -> Iterator[tuple[Any, ...]]:
    """Yield class, whether it is to be raised, and its counts and prevalences."""
    total = info["n_rows"] + info["images"]
    for name, real in info["counts_before"].items():
        intended = info["required"].get(name, 0) + info["topped_up"].get(name, 0)
        after = round(info["realised"][name] * total)
        expected, realised = info["expected"][name], info["realised"][name]
        yield name, name in info["targets"], real, intended, after - real, expected, realised


def _chosen(planned: pd.DataFrame, study: Study) -> pd.DataFrame:
    fresh = planned[(planned.stage == "replicate") & (planned.configuration != "")]
    chosen = fresh[list(CHOSEN_COLUMNS)]
    if study.settings.protocol.kind != "retune":
        chosen = chosen.assign(replicate=-1).drop_duplicates()
    return chosen.reset_index(drop=True)
