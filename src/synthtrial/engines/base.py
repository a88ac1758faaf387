"""The interface that every engine keeps.

An engine runs tasks and says what became of them. It holds no state that a later run would need:
the store is the truth, and an engine that dies costs at most the tasks in flight.
"""

from __future__ import annotations

import dataclasses
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Literal, Protocol, Self, runtime_checkable

from synthtrial.errors import InterruptedTrainingError, StoreError, SynthtrialError
from synthtrial.estimates import Clock
from synthtrial.plan import Plan
from synthtrial.store.artifacts import Store
from synthtrial.tasks import Task, TaskKind
from synthtrial.work import Context, run_task

JobState = Literal["queued", "running", "done", "failed", "lost"]
#: Why a task did not succeed; it decides whether, where and how it is tried again.
Cause = Literal["error", "memory", "time", "node", "preempted", "stopped", "cancelled", "killed"]

#: Arithmetic on labels, a second each at most: worth neither a job nor a place of their own.
LIGHT: frozenset[TaskKind] = frozenset({"split", "allocate", "select"})


@dataclass(frozen=True)
class Outcome:
    """What became of one task.

    Attributes:
        task_id: the task.
        state: ``done``; ``failed``, by an error of its own; ``lost``, its process or node died.
        message: the error, with its traceback unless it was a deliberate one.
        retry: whether another try could end differently.
        fatal: whether the whole run should stop, as when the disk is full.
        diverged: whether it is done, but as a trial whose loss became NaN or infinite.
        seconds: time that the task took.
        cause: of a failure or loss. ``memory`` may end better with fewer neighbours, ``node`` on
            another machine; ``stopped`` has left a checkpoint; ``cancelled`` was a person's wish.
        host: where it ran, if that is known.
    """

    task_id: str
    state: Literal["done", "failed", "lost"]
    message: str = ""
    retry: bool = False
    fatal: bool = False
    diverged: bool = False
    seconds: float = 0.0
    cause: Cause | None = None
    host: str = ""


@dataclass(frozen=True)
class Trouble:
    """One try of a task that did not succeed.

    Attributes:
        task_id: the task.
        cause: why.
        message: what is known of it.
        host: where it ran, if that is known.
        job: that ran it.
    """

    task_id: str
    cause: Cause
    message: str
    host: str = ""
    job: str = ""


class Engine(Protocol):
    """Runs tasks. Jobs are named by the engine; here a job is one task or a pack of them.

    Attributes:
        name: of the engine.
        explains: whether it can say why a task was lost.
    """

    name: str
    explains: bool

    def adopt(self, plan: Plan, clock: Clock) -> Mapping[str, Sequence[Trouble]]:
        """Take over what an earlier run of the plan's study has left with the engine.

        Returns:
            What has gone wrong so far, by task.
        """

    @property
    def slots(self) -> int:
        """How many tasks it can take now without making them wait."""

    def preview(self, tasks: Sequence[Task]) -> str:
        """Say exactly what :meth:`submit` would start, and start nothing."""

    def submit(self, tasks: Sequence[Task]) -> list[str]:
        """Start the tasks and return the names of their jobs."""

    def states(self, jobs: Sequence[str]) -> Mapping[str, JobState]:
        """Return the state of each job."""

    def wait(self, timeout_seconds: float) -> list[Outcome]:
        """Return what has ended since the last call, waiting at most so long for something to."""

    def cancel(self, jobs: Sequence[str]) -> None:
        """Stop these jobs; their tasks are as if they had never started."""

    def __enter__(self) -> Self:
        """Start what the engine needs."""

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop everything that the engine started."""


@runtime_checkable
class DurableEngine(Engine, Protocol):
    """An engine whose jobs go on without the process that submitted them."""

    def continue_with(self, function: Callable[..., object], *arguments: Any) -> str:
        """Call a function in a job when all jobs of the study have ended; return that job's id."""


def attempt(store: Store, task: Task, context: Context) -> Outcome:
    """Run one task and turn whatever happens into an outcome; every engine's workers call this."""
    started = time.monotonic()
    try:
        message = run_task(store, task, context)
    except InterruptedTrainingError as error:  # as good as lost, but for its checkpoint
        outcome = Outcome(task.id, "lost", str(error), retry=True, cause="stopped")
    except SynthtrialError as error:
        # A deliberate error would come again; a broken store would break every other task too.
        fatal = isinstance(error, StoreError)
        outcome = Outcome(task.id, "failed", str(error), fatal=fatal, cause="error")
    except Exception as error:  # noqa: BLE001 - a plug-in may raise anything, and the study goes on
        cause: Cause = "memory" if _is_memory(error) else "error"
        outcome = Outcome(task.id, "failed", traceback.format_exc(), retry=True, cause=cause)
    else:
        outcome = Outcome(task.id, "done", message or "", diverged=message is not None)
    seconds = time.monotonic() - started
    return dataclasses.replace(outcome, seconds=seconds, host=context.host)


def _is_memory(error: Exception) -> bool:
    """Whether the machine or its GPU ran out of memory; names nothing that would import torch."""
    return isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"
