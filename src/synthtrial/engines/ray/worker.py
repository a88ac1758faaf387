"""What runs in a process of the cluster: tasks, one after another, in the study's own store."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import ray
from ray import tune

from synthtrial.engine_config import EngineConfig
from synthtrial.engines.base import Outcome, attempt
from synthtrial.engines.placement import host_name
from synthtrial.engines.ray import meters, stopping
from synthtrial.engines.ray.seats import Request
from synthtrial.errors import StoreError
from synthtrial.plan import has_result
from synthtrial.store.artifacts import open_store
from synthtrial.tasks import Cell, Task
from synthtrial.work.context import Context, Report
from synthtrial.work.signals import asked

LABEL = "ray"  # name of the engine in records
PACK, AGAIN = "pack", "again"  # in the configuration of Tune's trials
OUTCOMES, EPOCH, SCORE = "outcomes", "epoch", "score"  # in their results
_REPORT_SECONDS = 1.0  # of work in a pack, between two reports of what has ended


@dataclass(frozen=True)
class Place:
    """What every process of a run needs to know.

    Attributes:
        store: folder of the store; all nodes must see it at the same path.
        study: name of the study, for metrics.
        settings: of the engine.
    """

    store: Path
    study: str
    settings: EngineConfig


@dataclass(frozen=True)
class Pack:
    """What one trial of Tune is: trials that a process trains one after another.

    Attributes:
        number: of the pack within the run.
        tasks: trials, in order.
        place: where they are.
        request: what the process is given.
        cell: of the only trial, where it may be stopped early.
        milestones: epochs at which that is decided.
    """

    number: int
    tasks: tuple[Task, ...]
    place: Place
    request: Request
    cell: Cell | None = None
    milestones: frozenset[int] = field(default_factory=frozenset)

    def __str__(self) -> str:
        more = f" and {len(self.tasks) - 1} more" if len(self.tasks) > 1 else ""
        return f"{self.tasks[0].label}{more}" if self.tasks else "done"

    def without(self, ids: Sequence[str]) -> Pack:
        """Return the pack of what is left."""
        return replace(self, tasks=tuple(task for task in self.tasks if task.id not in ids))


@ray.remote(max_retries=0)
def run_task(place: Place, task: Task, request: Request) -> Outcome:
    """Run one task as a task of Ray."""
    return _run(place, task, request, None)


class Packs(tune.Trainable):
    """A process that Tune gives one pack after another.

    Each step runs trials for about a second and returns what became of them. A trial that may be
    stopped early has a thread of its own: then a step lasts until its next milestone.
    """

    @classmethod
    def default_resource_request(cls, config: dict[str, Any]) -> tune.PlacementGroupFactory:
        """Return what a pack is given."""
        return tune.PlacementGroupFactory([config[PACK].request.resources])

    def setup(self, config: dict[str, Any]) -> None:
        """Take the first pack."""
        import synthtrial.work.preload  # noqa: F401 - else its first trial would pay for it

        stopping.heed()
        self._rungs: _Rungs | None = None
        self._take(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Take another pack."""
        self._take(new_config)
        return True

    def step(self) -> dict[str, Any]:
        """Go on with the pack."""
        if self._pack.milestones:
            return self._to_next_milestone()
        began, outcomes = time.monotonic(), []
        while self._waiting and time.monotonic() - began < _REPORT_SECONDS:
            outcomes.append(self._next(None))
        return {OUTCOMES: outcomes, "done": not self._waiting}

    def halt(self) -> None:
        """Have the trial end with the epoch that it has reported; the next step says how."""
        assert self._rungs is not None
        self._rungs.halt = True
        meters.count_stopped(self._pack.place.study)

    def cleanup(self) -> None:
        """Leave the journal in order."""
        with suppress(StoreError):  # it stays as it is then, and the next run seals it
            _context(self._pack.place.store, self._pack.place.settings.device).writer.seal()

    def __repr__(self) -> str:
        return f"trials of {self._pack.place.study}"

    def _take(self, config: dict[str, Any]) -> None:
        self._pack: Pack = config[PACK]
        self._again: bool = config.get(AGAIN, False)
        self._waiting = list(self._pack.tasks)
        self._rungs = None

    def _next(self, report: Report | None) -> Outcome:
        task, place = self._waiting.pop(0), self._pack.place
        if asked():
            return Outcome(task.id, "lost", "asked to stop", retry=True, cause="stopped")
        if self._again:  # its last process may have finished it and died before it could say so
            found = _finished_before(place, task)
            if found is not None:
                return found
        return _run(place, task, self._pack.request, report)

    def _to_next_milestone(self) -> dict[str, Any]:
        if self._rungs is None:
            self._rungs = _Rungs(self._pack.milestones)
            self._rungs.start(self._next)
        return self._rungs.climb()


class _Rungs:
    """A training in a thread, which waits at each milestone for a word to go on or to end."""

    def __init__(self, milestones: frozenset[int]) -> None:
        self.halt = False
        self._milestones = milestones
        self._results: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        self._verdicts: queue.SimpleQueue[bool] = queue.SimpleQueue()
        self._waits = False

    def start(self, run: Callable[[Report], Outcome]) -> None:
        def work() -> None:
            self._results.put({OUTCOMES: [run(self._report)], "done": True})

        threading.Thread(target=work, daemon=True).start()

    def climb(self) -> dict[str, Any]:
        """Return what happens next: a milestone, or the end."""
        if self._waits:
            self._verdicts.put(self.halt)
        result = self._results.get()
        self._waits = not result["done"]
        return result

    def _report(self, task: Task, epoch: int, figures: Mapping[str, float]) -> bool:
        del task
        if epoch not in self._milestones or "validation_score" not in figures:
            return False
        score = figures["validation_score"]
        self._results.put({OUTCOMES: [], EPOCH: epoch, SCORE: score, "done": False})
        return self._verdicts.get()


def _run(place: Place, task: Task, request: Request, also: Report | None) -> Outcome:
    stopping.heed()
    try:
        context = _context(place.store, place.settings.device)
    except StoreError as error:  # said to the driver, which has a person to tell
        return Outcome(task.id, "failed", str(error), fatal=True, cause="error", host=host_name())
    if 0 < request.gpus <= 1 and context.device == "cuda":
        import torch

        torch.cuda.set_per_process_memory_fraction(request.gpus)

    def report(task: Task, step: int, figures: Mapping[str, float]) -> bool:
        meters.measure(place.study, task, figures)
        return also is not None and also(task, step, figures)

    with context.reporting(report):
        return attempt(context.store, task, context)


@lru_cache(maxsize=1)
def _context(root: Path, device: Literal["auto", "cpu", "cuda"]) -> Context:
    """Return what the tasks of this process share."""
    return Context(open_store(root, create=False), engine=LABEL, device=device)


def _finished_before(place: Place, task: Task) -> Outcome | None:
    context = _context(place.store, place.settings.device)
    found = has_result(context.store, context.study(task.study), task)
    return Outcome(task.id, "done", host=context.host) if found else None
