"""Run small studies in this process: no engine, no other process, nothing hidden."""

from __future__ import annotations

from collections.abc import Callable

from synthtrial.driver import keep_snapshot, smoke
from synthtrial.plan import Plan, build
from synthtrial.store.artifacts import Store
from synthtrial.study import Study, load
from synthtrial.tasks import Task
from synthtrial.work import Context, run_task


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
