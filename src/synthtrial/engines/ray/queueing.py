"""Tasks that were given to the engine and wait for their turn."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, get_args

from synthtrial.tasks import Task, TaskKind

if TYPE_CHECKING:
    from ray import ObjectRef

    from synthtrial.engines.base import Outcome

_ORDER = get_args(TaskKind)


@dataclass(eq=False)
class Given:
    """A task of the driver's that has not been reported back.

    Attributes:
        task: the task.
        job: its name in this engine.
        seconds: that it should take.
        alone: whether it is to have the GPU, or the machine, to itself.
        pack: number of the pack that it is in; None if it waits or is no trial.
        handle: what Ray calls it, if it is no trial and runs.
        started: when it was handed to Ray (monotonic).
    """

    task: Task
    job: str
    seconds: float
    alone: bool = False
    pack: int | None = None
    handle: ObjectRef[Outcome] | None = None
    started: float = 0.0


class Queue:
    """Tasks in the order of urgency: by kind as the driver has it, then the longest first."""

    def __init__(self) -> None:
        self._heap: list[tuple[int, float, int, Given]] = []
        self._numbers = itertools.count()

    def push(self, given: Given) -> None:
        """Add a task."""
        rank = (_ORDER.index(given.task.kind), -given.seconds, next(self._numbers))
        heapq.heappush(self._heap, (*rank, given))

    def pop(self) -> Given:
        """Take the most urgent task."""
        return heapq.heappop(self._heap)[-1]

    @property
    def first(self) -> Given:
        """The most urgent task."""
        return self._heap[0][-1]

    def remove(self, given: Given) -> None:
        """Take out a task, if it is there."""
        self._heap = [item for item in self._heap if item[-1] is not given]
        heapq.heapify(self._heap)

    @property
    def seconds(self) -> float:
        """What all of them should take."""
        return sum(given.seconds for given in self)

    def __iter__(self) -> Iterator[Given]:
        return (item[-1] for item in self._heap)

    def __len__(self) -> int:
        return len(self._heap)
