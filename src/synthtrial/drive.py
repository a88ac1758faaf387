"""One pass over a plan with one engine: hand out what is ready, take what has ended."""

from __future__ import annotations

import heapq
import itertools
from collections import Counter, defaultdict
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Protocol, get_args

from synthtrial.engines import uses_gpus
from synthtrial.engines.base import Cause, Engine, Outcome
from synthtrial.errors import StoreError
from synthtrial.estimates import Clock
from synthtrial.identity import canonical_json, code_digest
from synthtrial.plan import Failure, Plan, has_result
from synthtrial.store.artifacts import Store, read_artifact
from synthtrial.store.records import LIVE_SEGMENTS, ROWS_PER_JOURNAL, RecordWriter, compact
from synthtrial.study import Study
from synthtrial.tasks import Task, TaskKind

_WAIT_SECONDS = 0.5
_ORDER = get_args(TaskKind)
#: Says nothing about the task, so that it is tried again many times; a limit there must be.
_NOT_ITS_FAULT: frozenset[Cause] = frozenset({"node", "preempted", "stopped"})
_PATIENCE = 50
#: After so many tasks records may be compacted, lest a long run leave a file for each pack.
TASKS_BETWEEN = LIVE_SEGMENTS * ROWS_PER_JOURNAL


class Listener(Protocol):
    """Is told what happens, to show it."""

    def started(self, plan: Plan, engine: Engine, clock: Clock) -> None:
        """Work begins."""

    def ended(self, task: Task, outcome: Outcome, plan: Plan) -> None:
        """A task has ended."""

    def waiting(self, plan: Plan) -> None:
        """Nothing ended for a moment."""


class Drive:
    """One pass over a plan with one engine."""

    def __init__(
        self, plan: Plan, store: Store, engine: Engine, writer: RecordWriter, listener: Listener
    ) -> None:
        self._plan = plan
        self._store = store
        self._engine = engine
        self._writer = writer
        self._listener = listener
        self.clock = Clock(plan, store, gpu=uses_gpus(plan.study.settings.engine))
        self._dependents: dict[str, list[Task]] = defaultdict(list)
        self._queue: list[tuple[int, float, int, Task]] = []
        self._queued: set[str] = set()
        self._order = itertools.count()
        self._flying: dict[str, Task] = {}
        self._losses: Counter[str] = Counter()
        for id_, troubles in engine.adopt(plan, self.clock).items():
            if id_ in plan.tasks and not plan.is_settled(id_):
                tries = sum(trouble.cause not in _NOT_ITS_FAULT for trouble in troubles)
                plan.failures[id_] = Failure(tries, troubles[-1].message, final=False)

    def loop(self) -> None:
        """Go on until nothing is left."""
        self._listener.started(self._plan, self._engine, self.clock)
        self._add(self._plan.tasks.values())
        since = 0
        while self._queue or self._flying:
            self._hand_out()
            outcomes = self._engine.wait(_WAIT_SECONDS)
            ended = [(self._flying.pop(outcome.task_id), outcome) for outcome in outcomes]
            self._hand_out()  # before the bookkeeping, so that no worker waits for it
            for task, outcome in ended:
                self._take(task, outcome)
            since += len(ended)
            if since >= TASKS_BETWEEN:
                since = 0
                compact(self._store)
            if not outcomes:
                self._listener.waiting(self._plan)

    def once(self) -> None:
        """Hand out what is ready and take what has ended, waiting for nothing."""
        self._add(self._plan.tasks.values())
        while True:
            self._hand_out()
            outcomes = self._engine.wait(0.0)
            if not outcomes:
                return
            for outcome in outcomes:
                self._take(self._flying.pop(outcome.task_id), outcome)

    @property
    def idle(self) -> bool:
        """Whether nothing is on its way."""
        return not self._flying

    def _hand_out(self) -> None:
        room = self._engine.slots if self._queue else 0
        tasks = [heapq.heappop(self._queue)[-1] for _ in range(min(room, len(self._queue)))]
        if tasks:
            self._flying |= {task.id: task for task in tasks}
            self._engine.submit(tasks)

    def _add(self, tasks: Iterable[Task]) -> None:
        for task in tasks:
            for need in task.needs:
                self._dependents[need].append(task)
            self._enqueue(task)

    def _enqueue(self, task: Task) -> None:
        if task.id not in self._queued and self._plan.is_ready(task):
            self._queued.add(task.id)
            # Longest first, so that no long task is left alone at the end.
            rank = (_ORDER.index(task.kind), -self.clock.seconds(task), next(self._order))
            heapq.heappush(self._queue, (*rank, task))

    def _take(self, task: Task, outcome: Outcome) -> None:
        # A worker that dies after its result was durable loses the word and not the result.
        if outcome.state == "done" or (
            outcome.state == "lost" and has_result(self._store, self._plan.study, task)
        ):
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
        attempts = before.attempts if before else 0
        self._losses[task.id] += 1
        if outcome.cause not in _NOT_ITS_FAULT:
            attempts += 1
        limit = self._plan.study.settings.engine.max_attempts
        final = not outcome.retry or attempts >= limit or self._losses[task.id] >= _PATIENCE
        self._plan.failures[task.id] = Failure(attempts, outcome.message, final)
        self._queued.discard(task.id)
        if not final:
            self._enqueue(task)
        elif outcome.state == "failed" or self._engine.explains:
            # Where nothing is known of why a task was lost, that says nothing about it.
            self._writer.append(failure_record(self._plan.study, task, outcome, attempts))


def failure_record(study: Study, task: Task, outcome: Outcome, attempts: int) -> dict[str, object]:
    """Return the record of a task that failed for good."""
    trial = task.trial
    record: dict[str, object] = {
        "host": outcome.host or None,
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
