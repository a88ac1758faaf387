"""Which trials a study has, and how far each is: one row a trial, from its plan.

A part of :mod:`synthtrial.report.sources`. Where each class of interest has a configuration of its
own, a replicate has one row for each of these classes; classes that chose the same share a trial.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd

from synthtrial.graph import trial_task
from synthtrial.identity import canonical_json
from synthtrial.plan import Plan, uncollected
from synthtrial.store.artifacts import Store, read_artifact
from synthtrial.study import Study
from synthtrial.tasks import Cell

COLUMNS = ("trial_id", "stage", "arm", "regimen", "configuration", "draw", "replicate", "target")


@uncollected()
def planned_trials(plan: Plan, store: Store) -> pd.DataFrame:
    """Return one row a trial, those whose configuration is still to be chosen included.

    Returns:
        ``COLUMNS`` (target is the class that a trial was chosen for, empty where it is for all),
        planned_epochs, status (``settled``, ``waiting`` or ``blocked``) and cause.
    """
    blocked = plan.blocked()
    causes = {id_: _cause(plan, cause) for id_, cause in blocked.items()}

    def state(task_id: str) -> tuple[str, str]:
        if plan.is_settled(task_id):
            return "settled", ""
        return "blocked" if task_id in blocked else "waiting", causes.get(task_id, "")

    by_class = plan.study.settings.protocol.select_over == "per_class"
    rows: list[tuple[Any, ...]] = []
    seen: set[tuple[Any, ...]] = set()
    # Few points, thousands of trials.
    points: dict[tuple[tuple[str, Any], ...], tuple[str, int]] = {}

    def described(configuration: Mapping[str, Any]) -> tuple[str, int]:
        point = tuple(configuration.items())
        if point not in points:
            points[point] = canonical_json(configuration), _epochs(plan.study, configuration)
        return points[point]

    for task in plan.tasks.values():
        trial = task.trial
        if trial is None or (by_class and trial.stage == "replicate"):
            continue
        text, epochs = described(trial.configuration)
        place = (trial.stage, trial.arm, trial.regimen, text, trial.draw, trial.replicate, "")
        rows.append((task.id, *place, epochs, *state(task.id)))
        if trial.stage == "replicate":
            seen.add((trial.arm, trial.regimen, trial.replicate, ""))
    chosen = _chosen(plan, store) if by_class else {}
    within = plan.study.settings.protocol.kind == "retune"
    for arm, regimen, replicate, target in _replicates(plan.study):
        if (arm, regimen, replicate, target) in seen:
            continue
        cell = Cell(arm, regimen, replicate if within else None, target or None)
        draw, select = replicate % plan.study.draws, plan.selections.get(cell)
        if cell in chosen:
            task = trial_task(plan.study, cell, "replicate", replicate, chosen[cell])
            text, epochs = described(chosen[cell])
            place = ("replicate", cell.arm, cell.regimen, text, draw, replicate, target)
            rows.append((task.id, *place, epochs, *state(task.id)))
            continue
        status, cause = "waiting", ""
        if select in blocked:
            status, cause = "blocked", causes[select]
        elif select in plan.failures and plan.failures[select].final:
            status, cause = "blocked", _cause(plan, select)
        place = ("replicate", cell.arm, cell.regimen, "", draw, replicate, target)
        rows.append(("", *place, np.nan, status, cause))
    return pd.DataFrame(rows, columns=[*COLUMNS, "planned_epochs", "status", "cause"])


def _replicates(study: Study) -> Iterator[tuple[str, float, int, str]]:
    """Yield arm, regimen, number and target of every replicate that is to be."""
    settings = study.settings
    by_class = settings.protocol.select_over == "per_class"
    targets = sorted(study.minority) if by_class else [""]
    numbers = range(settings.protocol.replicates)
    return itertools.product(study.arms, settings.regimens, numbers, targets)


def _chosen(plan: Plan, store: Store) -> dict[Cell, Mapping[str, Any]]:
    """Return the configurations that have been chosen."""
    return {
        cell: read_artifact(store, "selection", select).info["configuration"]
        for cell, select in plan.selections.items()
        if select in plan.done
    }


def _epochs(study: Study, configuration: Mapping[str, Any]) -> int:
    """Return how many epochs a trial is trained if nothing ends it."""
    training = study.training(configuration)
    return min(training.epochs, training.max_steps or training.epochs)


def _cause(plan: Plan, task_id: str) -> str:
    failure = plan.failures[task_id]
    what = "diverged" if failure.diverged else "failed"
    return f"never started: {plan.tasks[task_id].label} {what}: {failure.message}"
