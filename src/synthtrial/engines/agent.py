"""The agent on one node of an allocation: a local engine that takes its tasks from the driver.

    srun --ntasks-per-node=1 python -m synthtrial.engines.agent

is what :class:`~synthtrial.engines.allocation.AllocationEngine` runs; nobody else needs to. An
agent ends when its driver says so, when a signal asks it to (a time limit, preemption) or when the
line to the driver breaks; each time what runs may save its state first.
"""

from __future__ import annotations

import os
import sys
from collections import deque
from collections.abc import Callable
from multiprocessing.connection import Connection, wait

from synthtrial.engines.base import Outcome
from synthtrial.engines.channel import (
    ADDRESSES,
    KEY,
    Cancel,
    Hello,
    Refused,
    Report,
    Setup,
    Stop,
    knock,
)
from synthtrial.engines.local import LocalEngine
from synthtrial.engines.placement import host_name
from synthtrial.errors import EngineError, SynthtrialError
from synthtrial.store.artifacts import open_store
from synthtrial.tasks import Task
from synthtrial.work.signals import noticed

_PATIENCE_SECONDS = 60.0
_LOOK_SECONDS = 0.5  # between looks at whether a signal has come


def main() -> int:
    """Serve the driver named by the environment; the exit status."""
    addresses, key = os.environ.get(ADDRESSES), os.environ.pop(KEY, None)
    try:
        if not addresses or not key:
            raise EngineError(
                f"{ADDRESSES} and {KEY} are not set: agents are started by a run with "
                "engine.name=allocation, and not by hand"
            )
        # Noticed from the start: a signal before the first task would else kill without a word.
        with noticed() as asked, knock(addresses.split(","), key, _PATIENCE_SECONDS) as line:
            serve(line, asked)
    except SynthtrialError as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        return error.exit_code
    return 0


def serve(line: Connection, asked_to_stop: Callable[[], bool]) -> None:
    """Run what comes down the line until it closes or somebody asks to stop.

    Args:
        line: to the driver.
        asked_to_stop: says whether a signal has come.

    Raises:
        SynthtrialError: this node cannot work, as when it does not see the store; the driver knows.
    """
    try:
        setup = line.recv()
        assert isinstance(setup, Setup)
        try:
            store = open_store(setup.store, create=False)
            engine = LocalEngine(
                store, setup.settings, stop_seconds=setup.stop_seconds, label=setup.label
            )
        except SynthtrialError as error:
            line.send(Refused(host_name(), str(error)))
            raise
        print(engine.placement, file=sys.stderr, flush=True)
        with engine:
            line.send(Hello(host_name(), engine.slots))
            agent = _Agent(line, engine)
            while not asked_to_stop() and agent.turn():
                pass
            unreported = engine.stop()
        line.send(Report(tuple(unreported), 0, leaving=True))
    except (EOFError, OSError):  # the driver has gone, and with it whoever would read this
        print(f"{host_name()}: the run's driver has gone", file=sys.stderr, flush=True)


class _Agent:
    """Passes tasks on to the engine, and outcomes back."""

    def __init__(self, line: Connection, engine: LocalEngine) -> None:
        self._line = line
        self._engine = engine
        self._jobs: dict[str, str] = {}
        self._waiting: deque[Task] = deque()  # there was room when the driver sent them
        self._capacity = engine.slots

    def turn(self) -> bool:
        """Wait a moment for something to happen and deal with it; False when asked to stop."""
        ready = wait([self._line, *self._engine.pipes], _LOOK_SECONDS)
        if self._line in ready and not self._heed(self._line.recv()):
            return False
        outcomes = self._engine.wait(0.0)
        for outcome in outcomes:
            self._jobs.pop(outcome.task_id, None)
        while self._waiting and self._engine.slots:
            task = self._waiting.popleft()
            (self._jobs[task.id],) = self._engine.submit([task])
        self._report(outcomes)
        return True

    def _heed(self, message: object) -> bool:
        match message:
            case Task():
                self._waiting.append(message)
            case Cancel(task_id):
                self._waiting = deque(task for task in self._waiting if task.id != task_id)
                self._engine.cancel([self._jobs.pop(task_id, "")])
            case Stop():
                return False
        return True

    def _report(self, outcomes: list[Outcome]) -> None:
        capacity = self._engine.slots + len(self._jobs)
        if outcomes or capacity != self._capacity:
            self._line.send(Report(tuple(outcomes), capacity))
            self._capacity = capacity


if __name__ == "__main__":
    sys.exit(main())
