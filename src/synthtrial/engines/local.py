"""The embedded engine: a pool of warm worker processes on this machine.

Workers import the training code once and then take one task after another over a pipe. They are
forked from a small server that has already imported it, so that a worker which died is back in
milliseconds. A worker ends itself when its driver disappears.

Where there are GPUs, each worker sees one. Its place, and how many share it, are tested with
declared GPUs; that CUDA starts in a worker, and the part of a GPU's memory that it is held to, no
run of ours has shown yet.
"""

from __future__ import annotations

import dataclasses
import itertools
import multiprocessing
import signal
import time
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from types import TracebackType
from typing import Self

from synthtrial.engine_config import EngineConfig
from synthtrial.engines.base import Cause, JobState, Outcome, Trouble
from synthtrial.engines.fork_server import start_fork_server
from synthtrial.engines.placement import Device, available_processors, describe, devices, host_name
from synthtrial.engines.worker import PRELOAD, Place, work
from synthtrial.errors import EngineError
from synthtrial.estimates import Clock
from synthtrial.plan import Plan
from synthtrial.store.artifacts import Store
from synthtrial.tasks import Task

__all__ = ["LocalEngine", "available_processors", "pack_text"]

_STOP_SECONDS = 5.0


def pack_text(tasks: int, settings: EngineConfig) -> str:
    """Say how many processes would share so many tasks."""
    found = devices(settings)
    workers = sum(device.seats for device in found)
    gpus = sum(device.gpu is not None for device in found)
    place = f" and {gpus} GPU{'s' * (gpus != 1)}" if gpus else ""
    return (
        f"{tasks} packs of one task, over {workers} processes of one thread each{place} on this "
        "machine"
    )


@dataclass(frozen=True)
class _Given:
    job: str
    task: Task
    started: float


@dataclass(eq=False)
class _Worker:
    process: BaseProcess
    pipe: Connection
    given: _Given | None = None
    alone: bool = False  # has the device to itself, for this one task


@dataclass(eq=False)
class _Seats:
    """The workers that share a device, and tasks that wait to have it to themselves."""

    device: Device
    workers: list[_Worker] = field(default_factory=list)
    waiting: deque[_Given] = field(default_factory=deque)

    @property
    def busy(self) -> list[_Worker]:
        return [worker for worker in self.workers if worker.given is not None]

    @property
    def free(self) -> int:
        if self.waiting or any(worker.alone for worker in self.workers):
            return 0
        return self.device.seats - len(self.busy)


class LocalEngine:
    """Runs tasks in worker processes of this machine, one task a worker.

    A task that ran out of memory beside others is tried again in a fresh process that has the
    device (the GPU, or the machine where there is none) to itself: from then on the device takes
    no task until those it has are done, and the others' processes are ended to free what they hold.
    Only what fails of memory then is reported as failed of it.

    Args:
        store: the store.
        settings: of the engine; workers stay within the affinity mask of this process.
        stop_seconds: how long busy workers may take to save their state when the engine stops.
        label: name of the engine, for records.
    """

    name = "local"
    explains = False

    def __init__(
        self,
        store: Store,
        settings: EngineConfig,
        *,
        stop_seconds: float = _STOP_SECONDS,
        label: str | None = None,
    ) -> None:
        self.name = label or LocalEngine.name
        self._store = store
        self._settings = settings
        self._stop_seconds = stop_seconds
        self._context = multiprocessing.get_context("forkserver")
        self._seats = [_Seats(device) for device in devices(settings)]
        self._states: dict[str, JobState] = {}
        self._numbers = itertools.count()
        self._stopped: list[Outcome] = []

    def adopt(self, plan: Plan, clock: Clock) -> Mapping[str, Sequence[Trouble]]:  # noqa: ARG002
        """Return nothing: its tasks end with it."""
        return {}

    @property
    def slots(self) -> int:
        """Number of idle workers, but for those kept idle for a task that needs the memory."""
        return sum(seats.free for seats in self._seats)

    @property
    def placement(self) -> str:
        """One line for logs: host, processors, workers and GPUs."""
        return describe([seats.device for seats in self._seats])

    @property
    def pipes(self) -> list[Connection]:
        """Readable when :meth:`wait` has something to do, for who waits for other things too."""
        return [worker.pipe for seats in self._seats for worker in seats.busy]

    @property
    def _workers(self) -> list[_Worker]:
        return [worker for seats in self._seats for worker in seats.workers]

    def preview(self, tasks: Sequence[Task]) -> str:
        """Say how many processes would share the tasks."""
        return pack_text(len(tasks), self._settings)

    def submit(self, tasks: Sequence[Task]) -> list[str]:
        """Hand each task to an idle worker, starting workers as needed.

        Raises:
            EngineError: more tasks than :attr:`slots`.
        """
        if len(tasks) > self.slots:
            raise EngineError(f"{len(tasks)} tasks for {self.slots} idle workers; wait first")
        return [self._give(task) for task in tasks]

    def states(self, jobs: Sequence[str]) -> Mapping[str, JobState]:
        """Return the state of each job."""
        return {job: self._states[job] for job in jobs}

    def wait(self, timeout_seconds: float) -> list[Outcome]:
        """Return what has ended, waiting at most ``timeout_seconds`` for the first."""
        deadline = time.monotonic() + timeout_seconds
        while True:
            for seats in self._seats:
                self._run_alone(seats)
            busy = {worker.pipe: (seats, worker) for seats in self._seats for worker in seats.busy}
            if not busy:
                return []
            ended = wait(list(busy), max(0.0, deadline - time.monotonic()))
            found = [self._collect(*busy[pipe]) for pipe in ended]  # type: ignore[index]
            outcomes = [outcome for outcome in found if outcome is not None]
            if outcomes or not ended:
                return outcomes

    def cancel(self, jobs: Sequence[str]) -> None:
        """Kill the workers of these jobs."""
        for seats in self._seats:
            for given in [given for given in seats.waiting if given.job in jobs]:
                seats.waiting.remove(given)
                self._states[given.job] = "lost"
            for worker in seats.busy:
                if worker.given is not None and worker.given.job in jobs:
                    self._states[worker.given.job] = "lost"
                    worker.process.kill()
                    _drop(seats, worker)

    def stop(self) -> list[Outcome]:
        """End all workers: idle ones at their own pace, busy ones when their state is saved.

        Returns:
            An outcome for each task that was given and not reported: what its worker said within
            ``stop_seconds``, or that it is lost. Called again, the same.
        """
        deadline = time.monotonic() + self._stop_seconds
        for worker in self._workers:
            if worker.given is None:
                worker.pipe.close()
            else:  # most die of it; a training that keeps checkpoints saves one first
                worker.process.terminate()
        for seats in self._seats:
            waiting = "was stopped before it ran alone"
            self._stopped += [self._lost(given, "stopped", waiting) for given in seats.waiting]
            seats.waiting.clear()
        while busy := {worker.pipe: worker for seats in self._seats for worker in seats.busy}:
            ended = wait(list(busy), max(0.0, deadline - time.monotonic()))
            for pipe in ended or list(busy):
                worker = busy[pipe]  # type: ignore[index]
                self._stopped.append(self._last_word(worker, late=not ended))
                worker.given = None
                worker.pipe.close()
        for worker in self._workers:
            worker.process.join(max(0.0, deadline - time.monotonic()))
            if worker.process.is_alive():
                worker.process.kill()
                worker.process.join()
        for seats in self._seats:
            seats.workers.clear()
        return list(self._stopped)

    def __enter__(self) -> Self:
        """Nothing is started before the first task."""
        self._context.set_forkserver_preload(PRELOAD)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop all workers; :meth:`stop` says then what became of their tasks."""
        self.stop()

    def _give(self, task: Task) -> str:
        seats = max(self._seats, key=lambda seats: seats.free)
        given = _Given(f"local-{next(self._numbers)}", task, time.monotonic())
        for worker in [item for item in seats.workers if item.given is None]:
            if _send(worker, given):
                break
            _drop(seats, worker)  # it died while idle: nothing is lost
        else:
            self._start(seats, given)
        self._states[given.job] = "running"
        return given.job

    def _start(self, seats: _Seats, given: _Given, *, alone: bool = False) -> None:
        share = 1.0 if alone else 1.0 / seats.device.seats
        ours, theirs = self._context.Pipe()
        arguments = (
            theirs,
            self._store.root,
            self._settings,
            self.name,
            Place(seats.device.gpu, share),
        )
        process = self._context.Process(target=work, args=arguments, daemon=True)
        start_fork_server()
        process.start()
        theirs.close()
        worker = _Worker(process, ours, alone=alone)
        seats.workers.append(worker)
        if not _send(worker, given):
            raise EngineError(
                "a new worker process ended at once; run with engine.workers=1 and look at "
                "its error output"
            )

    def _run_alone(self, seats: _Seats) -> None:
        """Start the next task that waits for a device of its own, once that has come to rest."""
        if seats.waiting and not seats.busy:
            for worker in list(seats.workers):
                _drop(seats, worker)
            given = seats.waiting.popleft()
            self._start(seats, given, alone=True)
            self._states[given.job] = "running"

    def _collect(self, seats: _Seats, worker: _Worker) -> Outcome | None:
        """Return what became of a worker's task; None when it is to be tried again alone."""
        given = worker.given
        assert given is not None
        try:
            outcome = _received(worker)
        except (EOFError, OSError):  # it died; perhaps half-way through its answer
            worker.process.join()
            code = worker.process.exitcode or 0
            how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"exited ({code})"
            outcome = self._lost(
                given, "killed", f"the worker process {how} while it ran this task"
            )
            _drop(seats, worker)
            return outcome
        worker.given = None
        crowded = seats.device.seats > 1 and not worker.alone
        if outcome.cause == "memory" and crowded:
            seats.waiting.append(given)
            self._states[given.job] = "queued"
            _drop(seats, worker)
            return None
        if worker.alone:  # it was promised all the memory; the next is not
            _drop(seats, worker)
        self._states[given.job] = outcome.state
        return outcome

    def _last_word(self, worker: _Worker, *, late: bool) -> Outcome:
        """Return what a worker that was asked to stop has to say of its task."""
        assert worker.given is not None
        if not late:
            with suppress(EOFError, OSError):
                outcome = _received(worker)
                self._states[worker.given.job] = outcome.state
                return outcome
            return self._lost(worker.given, "stopped", "was stopped; it had nothing to save")
        reason = f"did not stop within {self._stop_seconds:g} s and was killed"
        return self._lost(worker.given, "killed", reason)

    def _lost(self, given: _Given, cause: Cause, message: str) -> Outcome:
        self._states[given.job] = "lost"
        outcome = Outcome(given.task.id, "lost", message, True, cause=cause, host=host_name())
        return dataclasses.replace(outcome, seconds=time.monotonic() - given.started)


def _send(worker: _Worker, given: _Given) -> bool:
    try:
        worker.pipe.send(given.task)
    except (BrokenPipeError, ConnectionResetError):
        return False
    worker.given = given
    return True


def _received(worker: _Worker) -> Outcome:
    outcome = worker.pipe.recv()
    assert isinstance(outcome, Outcome)
    return outcome


def _drop(seats: _Seats, worker: _Worker) -> None:
    worker.pipe.close()
    worker.process.join(_STOP_SECONDS)
    seats.workers.remove(worker)
