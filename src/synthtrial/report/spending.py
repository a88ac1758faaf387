"""What the store knows of the time that a study took: of trials, and of what they are made from.

A part of :mod:`synthtrial.report.sources`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from synthtrial.engines.slurm.sites import load_site
from synthtrial.errors import ConfigError
from synthtrial.plan import Plan
from synthtrial.report.columns import WORK_COLUMNS, filled
from synthtrial.report.facts import Tariff
from synthtrial.store.artifacts import Store, read_artifact
from synthtrial.study import Arm, Study
from synthtrial.tasks import ARTIFACT_KINDS, Task
from synthtrial.upstream import assess_task, image_set

#: Kinds of tasks that compute; what the others take is of no account.
COMPUTED = ("reference", "train_gan", "synthesize", "filter", "assess")

#: Columns of records that are read here.
TRIED = ("trial_id", "seconds", "kind", "study", "engine")


def seconds_by_task(tries: pa.Table) -> dict[str, float]:
    """Return the wall time of all tries together, of tasks that were tried several times.

    Of tasks other than trials a record is left by failures only, and one is enough.

    Args:
        tries: records of every attempt.
    """
    # Of what was lost with its process nobody knows the time, and its record says 0.
    known = tries.select(["trial_id", "seconds", "kind"]).filter(pc.greater(tries["seconds"], 0))
    sums = known.group_by("trial_id").aggregate(
        [("seconds", "sum"), ("seconds", "count"), ("kind", "min")]
    )
    again = pc.or_(pc.greater(sums["seconds_count"], 1), pc.not_equal(sums["kind_min"], "trial"))
    sums = sums.filter(again)
    return dict(zip(sums["trial_id"].to_pylist(), sums["seconds_sum"].to_pylist(), strict=True))


def work_done(study: Study, store: Store, plan: Plan, spent: Mapping[str, float]) -> pd.DataFrame:
    """Return what each cell needs beside its trials, and what that took.

    Args:
        study: the study.
        store: where its artifacts are.
        plan: what is done.
        spent: of :func:`seconds_by_task`, where failed tries are.

    Returns:
        ``WORK_COLUMNS``; a task that several cells need has a row for each.
    """
    taken: dict[str, tuple[Any, ...]] = {}
    rows = []
    for arm in study.arms.values():
        for regimen in study.settings.regimens if arm.settings.synthetic else ():
            for draw in range(study.draws):
                for task in _needs(study, arm, regimen, draw):
                    if task.id not in plan.tasks:
                        continue
                    if task.id not in taken:
                        taken[task.id] = _taken(store, plan, task, spent)
                    place = (task.id, task.kind, arm.name, regimen, draw)
                    rows.append((*place, *taken[task.id]))
    return filled(WORK_COLUMNS, rows)


def _needs(study: Study, arm: Arm, regimen: float, draw: int) -> Iterator[Task]:
    tasks = list(image_set(study, arm, regimen, draw).tasks)
    if study.settings.quality.features != "none":
        tasks.append(assess_task(study, arm, regimen, draw))
    return (task for task in tasks if task.kind in COMPUTED)


def _taken(store: Store, plan: Plan, task: Task, spent: Mapping[str, float]) -> tuple[Any, ...]:
    """Return state, seconds, processes, threads and device of a task."""
    failed = spent.get(task.id, math.nan)
    if task.id not in plan.done:
        state = "waiting" if math.isnan(failed) else "failed"
        return state, failed, math.nan, math.nan, ""
    info = read_artifact(store, ARTIFACT_KINDS[task.kind], task.id).info
    seconds = info.get("seconds", math.nan)
    if task.kind in ("synthesize", "filter", "assess") and not math.isnan(failed):
        seconds += failed  # trainings go on where they failed, and count that themselves
    processes, threads = (info.get(name, math.nan) for name in ("processes", "threads"))
    return "done", seconds, processes, threads, info.get("device", "")


def tariff_of(study: Study, tries: pa.Table) -> Tariff:
    """Return the prices that the study's site profile names, where it ran, or is to run, on SLURM.

    Args:
        study: the study.
        tries: records.
    """
    settings = study.settings.engine
    mine = pc.and_(pc.equal(tries["study"], study.name), pc.equal(tries["engine"], "slurm"))
    if settings.name != "slurm" and not pc.any(mine).as_py():
        return Tariff(trials_per_gpu=settings.trials_per_gpu)
    try:
        site = load_site(settings)
    except ConfigError:  # a profile of the machine that ran it; no report fails for a price
        return Tariff(trials_per_gpu=settings.trials_per_gpu)
    return Tariff(site.gpu_hour_price, site.cpu_hour_price, settings.trials_per_gpu)
