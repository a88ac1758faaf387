"""Run small studies in this process: no engine, no other process, nothing hidden."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from synthtrial.driver import keep_snapshot, smoke
from synthtrial.plan import Plan, build
from synthtrial.store.artifacts import Store
from synthtrial.store.records import read_records
from synthtrial.study import Study, load
from synthtrial.tasks import Task
from synthtrial.work import Context, run_task

_MEASURED = (
    *("trial_id", "status", "steps", "best_epoch", "n_real", "n_added"),
    *("validation", "test", "curves", "stamps"),
)


def measured(store: Store) -> dict[str, dict[str, Any]]:
    """Return what each trial has measured, by its id: equal bits, whoever ran the trial."""
    rows = read_records(store).select(list(_MEASURED)).to_pylist()
    return {row["trial_id"]: row for row in rows}


def _any(_: Task) -> bool:
    return True


def smallest(study: str = "digits", *overrides: str) -> Study:
    """Return a study cut down to two steps of each distinct task."""
    return smoke(load(study, overrides))


def run_here(study: Study, store: Store, *, only: Callable[[Task], bool] = _any) -> Plan:
    """Run what is to do of a study, one task after another.

    Args:
        study: the study.
        store: its store.
        only: says of a task whether to run it; by default all are.

    Returns:
        The plan as it then stands.

    Raises:
        SynthtrialError: of the first task that fails.
    """
    keep_snapshot(study, store)
    with Context(store, engine="none", device="cpu") as context:
        while True:
            plan = build(study, store)
            ready = [task for task in plan.ready() if only(task)]
            if not ready:
                return plan
            for task in ready:
                run_task(store, task, context)
