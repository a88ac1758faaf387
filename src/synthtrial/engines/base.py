"""The interface that every engine keeps.

An engine runs tasks and says what became of them. It holds no state that a later run would need:
the store is the truth, and an engine that dies costs at most the tasks in flight.
"""

from __future__ import annotations

import dataclasses
import time
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Literal, Protocol, Self

from synthtrial.errors import InterruptedTrainingError, StoreError, SynthtrialError
from synthtrial.store.artifacts import Store
from synthtrial.tasks import Task
from synthtrial.work import Context, run_task

JobState = Literal["queued", "running", "done", "failed", "lost"]


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
    """

    task_id: str
    state: Literal["done", "failed", "lost"]
    message: str = ""
    retry: bool = False
    fatal: bool = False
    diverged: bool = False
    seconds: float = 0.0


class Engine(Protocol):
    """Runs tasks. Jobs are named by the engine; here a job is one task or a pack of them."""

    name: str

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


def attempt(store: Store, task: Task, context: Context) -> Outcome:
    """Run one task and turn whatever happens into an outcome; every engine's workers call this."""
    started = time.monotonic()
    try:
        message = run_task(store, task, context)
    except InterruptedTrainingError as error:  # as good as lost, but for its checkpoint
        outcome = Outcome(task.id, "lost", str(error), retry=True)
    except SynthtrialError as error:
        # A deliberate error would come again; a broken store would break every other task too.
        outcome = Outcome(task.id, "failed", str(error), fatal=isinstance(error, StoreError))
    except Exception:  # noqa: BLE001 - a plug-in may raise anything, and the study goes on
        outcome = Outcome(task.id, "failed", traceback.format_exc(), retry=True)
    else:
        outcome = Outcome(task.id, "done", message or "", diverged=message is not None)
    return dataclasses.replace(outcome, seconds=time.monotonic() - started)
