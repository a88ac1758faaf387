"""Drive a study: hand what is ready to an engine until nothing is left.

Everything starts from the store. Running a study again is resuming it, whatever ended it before.
"""

from __future__ import annotations

import heapq
import itertools
import os
from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Protocol, get_args

from synthtrial.engines.base import Engine, Outcome
from synthtrial.engines.local import LocalEngine
from synthtrial.errors import ConfigError, StoreError, TrainingError
from synthtrial.estimates import Clock
from synthtrial.identity import canonical_json, code_digest
from synthtrial.plan import Failure, Plan, build, has_result, narrow
from synthtrial.store.artifacts import Store, read_artifact
from synthtrial.store.attempts import hold
from synthtrial.store.files import storage_errors, write_file
from synthtrial.store.records import RecordWriter, compact, seal_abandoned
from synthtrial.study import Study
from synthtrial.tasks import Task, TaskKind
from synthtrial.work import Context, run_task

_WAIT_SECONDS = 0.5
_ORDER = get_args(TaskKind)


class Listener(Protocol):
    """Is told what happens, to show it."""

    def started(self, plan: Plan, engine: Engine, clock: Clock) -> None:
        """Work begins."""

    def ended(self, task: Task, outcome: Outcome, plan: Plan) -> None:
        """A task has ended."""

    def waiting(self, plan: Plan) -> None:
        """Nothing ended for a moment."""


def run(
    study: Study,
    store: Store,
    listener: Listener,
    where: Mapping[str, str] | None = None,
) -> Plan:
    """Run what is missing of a study and return the plan as it then stands.

    Args:
        study: the study.
        store: its store.
        listener: is told what happens.
        where: only trials that match, such as ``{"arm": "gan"}``, and what they need.

    Raises:
        StoreBusyError: another run of this study is alive.
        StoreError: the store cannot be written; nothing finished is lost.
    """
    settings = study.settings.engine
    build(study, None)  # what cannot be planned is refused before anything is touched
    with hold(store, study.name, settings.name, f"run of {study.name}"):
        seal_abandoned(store)
        keep_snapshot(study, store)
        try:
            plan = build(study, store)
            plan.forgive()
            if where:
                plan = narrow(plan, where)
            with LocalEngine(store, settings) as engine, RecordWriter(store) as writer:
                _Drive(plan, store, engine, writer, listener).loop()
        finally:
            seal_abandoned(store)
            compact(store)
    return plan


def run_one(study: Study, store: Store, id_: str) -> Task:
    """Run one task here, together with the other processes that a launcher started, if any.

    Args:
        study: the study.
        store: its store.
        id_: of the task, or the beginning of it.

    Returns:
        The task; its result is in the store.

    Raises:
        ConfigError: no such task, several, or one whose inputs are still to be made.
        SynthtrialError: of the task.
    """
    plan = build(study, store)
    task = _only(plan, id_)
    keep_snapshot(study, store)
    from synthtrial.synthesis.ranks import joined

    engine = study.settings.engine
    device = Context(store, engine="task", device=engine.device).device
    with (
        joined(device, engine.stuck_seconds) as ranks,
        Context(store, engine="task", device=engine.device, ranks=ranks) as context,
    ):
        message = run_task(store, task, context)
    if message:
        raise TrainingError(f"{task.label} diverged: {message}")
    return task


def _only(plan: Plan, id_: str) -> Task:
    found = [task for task in plan.tasks.values() if task.id.startswith(id_)]
    if len(found) != 1:
        raise ConfigError(
            f"--id {id_}: {len(found) or 'no'} tasks of {plan.study.name} have an id that begins "
            f"so; `synthtrial task {plan.study.name}` lists those that could run now"
        )
    missing = [plan.tasks[need] for need in found[0].needs if need not in plan.done]
    if missing:
        raise ConfigError(
            f"{found[0].label} needs {len(missing)} results that are not there yet, such as "
            f"{missing[0].label} ({missing[0].id}); run these first, or `synthtrial run`"
        )
    return found[0]


def keep_snapshot(study: Study, store: Store) -> None:
    """Keep the settings as they were run, for workers and for `plan --why`."""
    path = store.root / "studies" / f"{study.digest}.yaml"
    with storage_errors(store.root):
        if path.exists():
            os.utime(path)
        else:
            path.parent.mkdir(exist_ok=True)
            write_file(path, study.snapshot().encode())


class _Drive:
    """One pass over a plan with one engine."""

    def __init__(
        self, plan: Plan, store: Store, engine: Engine, writer: RecordWriter, listener: Listener
    ) -> None:
        self._plan = plan
        self._store = store
        self._engine = engine
        self._writer = writer
        self._listener = listener
        self._clock = Clock(plan, store)
        self._dependents: dict[str, list[Task]] = defaultdict(list)
        self._queue: list[tuple[int, float, int, Task]] = []
        self._queued: set[str] = set()
        self._order = itertools.count()
        self._flying: dict[str, Task] = {}

    def loop(self) -> None:
        self._listener.started(self._plan, self._engine, self._clock)
        self._add(self._plan.tasks.values())
        while self._queue or self._flying:
            self._hand_out()
            outcomes = self._engine.wait(_WAIT_SECONDS)
            ended = [(self._flying.pop(outcome.task_id), outcome) for outcome in outcomes]
            self._hand_out()  # before the bookkeeping, so that no worker waits for it
            for task, outcome in ended:
                self._take(task, outcome)
            if not outcomes:
                self._listener.waiting(self._plan)

    def _hand_out(self) -> None:
        while self._queue and self._engine.slots:
            task = heapq.heappop(self._queue)[-1]
            self._flying[task.id] = task
            self._engine.submit([task])

    def _add(self, tasks: Iterable[Task]) -> None:
        for task in tasks:
            for need in task.needs:
                self._dependents[need].append(task)
            self._enqueue(task)

    def _enqueue(self, task: Task) -> None:
        if task.id not in self._queued and self._plan.is_ready(task):
            self._queued.add(task.id)
            # Longest first, so that no long task is left alone at the end.
            rank = (_ORDER.index(task.kind), -self._clock.seconds(task), next(self._order))
            heapq.heappush(self._queue, (*rank, task))

    def _take(self, task: Task, outcome: Outcome) -> None:
        # A worker that dies after its result was durable loses the word and not the result.
        if outcome.state == "done" or (outcome.state == "lost" and has_result(self._store, task)):
            self._finish(task, outcome)
        else:
            self._fail(task, outcome)
        self._listener.ended(task, outcome, self._plan)
        if self._plan.is_settled(task.id):
            for dependent in self._dependents[task.id]:
                self._enqueue(dependent)

    def _finish(self, task: Task, outcome: Outcome) -> None:
        self._plan.failures.pop(task.id, None)
        if outcome.diverged:
            self._plan.failures[task.id] = Failure(1, outcome.message, True, diverged=True)
            return
        self._plan.done.add(task.id)
        if task.kind == "select":
            self._expand(task)

    def _expand(self, select: Task) -> None:
        chosen = read_artifact(self._store, "selection", select.id).info["configuration"]
        for cell, id_ in self._plan.selections.items():
            if id_ == select.id:
                self._add(self._plan.expand(cell, chosen))

    def _fail(self, task: Task, outcome: Outcome) -> None:
        if outcome.fatal:
            raise StoreError(outcome.message)
        before = self._plan.failures.get(task.id)
        attempts = (before.attempts if before else 0) + 1
        limit = self._plan.study.settings.engine.max_attempts
        final = not outcome.retry or attempts >= limit
        self._plan.failures[task.id] = Failure(attempts, outcome.message, final)
        self._queued.discard(task.id)
        if not final:
            self._enqueue(task)
        elif outcome.state == "failed":  # what was lost says nothing about the task: run again
            self._writer.append(failure_record(self._plan.study, task, outcome, attempts))


def failure_record(study: Study, task: Task, outcome: Outcome, attempts: int) -> dict[str, object]:
    """Return the record of a task that failed for good."""
    trial = task.trial
    record: dict[str, object] = {
        "trial_id": task.id,
        "kind": task.kind,
        "status": "failed",
        "attempt": attempts,
        "message": outcome.message[-4000:],
        "study": study.name,
        "seconds": outcome.seconds,
        "code_digest": code_digest(),
        "engine": study.settings.engine.name,
        "started_at": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    if trial is not None:
        record |= {
            "stage": trial.stage,
            "arm": trial.arm,
            "regimen": trial.regimen,
            "draw": trial.draw,
            "replicate": trial.replicate,
            "configuration": canonical_json(trial.configuration),
        }
    return record


def smoke(study: Study) -> Study:
    """Return the smallest study that runs each distinct task of this one for two steps."""
    settings = study.settings
    grid = [
        # Every optimiser is another path through the code; another number is not.
        f"grid.{axis}={canonical_json([v for v in values if isinstance(v, str)] or values[:1])}"
        for axis, values in settings.grid.items()
    ]
    # Images of a generator of two steps would pass no judge.
    lenient = [
        f"arms.{name}.filter.on_shortfall=fill"
        for name, arm in study.arms.items()
        if arm.settings.filter is not None
    ]
    return study.replace(
        [
            f"regimens=[{min(settings.regimens)}]",
            "protocol.draws=1",
            "protocol.replicates=1",
            "training.max_steps=2",
            "gan_training.steps=2",
            "quality.on_shortfall=warn",
            *lenient,
            *grid,
        ]
    )
