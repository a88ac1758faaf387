"""The embedded engine: a pool of warm worker processes on this machine.

Workers import the training code once and then take one task after another over a pipe. They are
forked from a small server that has already imported it, so that a worker which died is back in
milliseconds. A worker ends itself when its driver disappears.
"""

from __future__ import annotations

import itertools
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import TracebackType
from typing import Self

from synthtrial.config import EngineConfig
from synthtrial.engines.base import JobState, Outcome, attempt
from synthtrial.errors import EngineError, StoreError
from synthtrial.store.artifacts import Store, open_store
from synthtrial.tasks import Task

_PRELOAD = "synthtrial.work.preload"
_STOP_SECONDS = 5.0


def available_processors() -> int:
    """Return the number of processors that this process may use, not those of the machine."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def pack_text(tasks: int, settings: EngineConfig) -> str:
    """Say how many processes would share so many tasks."""
    workers = settings.workers or available_processors()
    return f"{tasks} packs of one task, over {workers} processes of one thread each on this machine"


@dataclass
class _Worker:
    process: BaseProcess
    pipe: Connection
    job: str | None = None
    task_id: str = ""
    started: float = 0.0


class LocalEngine:
    """Runs tasks in worker processes of this machine, one task a worker."""

    name = "local"

    def __init__(self, store: Store, settings: EngineConfig) -> None:
        self._store = store
        self._settings = settings
        self._count = settings.workers or available_processors()
        self._context = multiprocessing.get_context("forkserver")
        self._workers: list[_Worker] = []
        self._states: dict[str, JobState] = {}
        self._numbers = itertools.count()

    @property
    def slots(self) -> int:
        """Number of idle workers."""
        return self._count - sum(worker.job is not None for worker in self._workers)

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
        busy = [worker for worker in self._workers if worker.job is not None]
        if not busy:
            return []
        pipes = {worker.pipe: worker for worker in busy}
        ended = wait(list(pipes), timeout_seconds)
        return [self._collect(pipes[pipe]) for pipe in ended]  # type: ignore[index]

    def cancel(self, jobs: Sequence[str]) -> None:
        """Kill the workers of these jobs."""
        for worker in [worker for worker in self._workers if worker.job in jobs]:
            self._states[str(worker.job)] = "lost"
            worker.process.kill()
            self._drop(worker)

    def __enter__(self) -> Self:
        """Nothing is started before the first task."""
        self._context.set_forkserver_preload([_PRELOAD])
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop all workers: idle ones at their own pace, busy ones when their state is saved."""
        for worker in self._workers:
            if worker.job is not None:  # most die of it; a GAN training saves a checkpoint first
                worker.process.terminate()
            worker.pipe.close()
        deadline = time.monotonic() + _STOP_SECONDS
        for worker in self._workers:
            worker.process.join(max(0.0, deadline - time.monotonic()))
            if worker.process.is_alive():
                worker.process.kill()
                worker.process.join()
        self._workers.clear()

    def _give(self, task: Task) -> str:
        for worker in [item for item in self._workers if item.job is None]:
            if self._send(worker, task):
                break
            self._drop(worker)  # it died while idle: nothing is lost
        else:
            worker = self._start()
            if not self._send(worker, task):
                raise EngineError(
                    "a new worker process ended at once; run with engine.workers=1 and look at "
                    "its error output"
                )
        worker.job = f"local-{next(self._numbers)}"
        worker.task_id = task.id
        worker.started = time.monotonic()
        self._states[worker.job] = "running"
        return worker.job

    def _send(self, worker: _Worker, task: Task) -> bool:
        try:
            worker.pipe.send(task)
        except (BrokenPipeError, ConnectionResetError):
            return False
        return True

    def _start(self) -> _Worker:
        ours, theirs = self._context.Pipe()
        process = self._context.Process(
            target=_work, args=(theirs, self._store.root, self._settings), daemon=True
        )
        process.start()
        theirs.close()
        worker = _Worker(process, ours)
        self._workers.append(worker)
        return worker

    def _collect(self, worker: _Worker) -> Outcome:
        job = str(worker.job)
        try:
            outcome = worker.pipe.recv()
            assert isinstance(outcome, Outcome)
            worker.job = None
        except (EOFError, OSError):  # it died; perhaps half-way through its answer
            worker.process.join()
            code = worker.process.exitcode or 0
            how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"exited ({code})"
            message = f"the worker process {how} while it ran this task"
            seconds = time.monotonic() - worker.started
            outcome = Outcome(worker.task_id, "lost", message, retry=True, seconds=seconds)
            self._drop(worker)
        self._states[job] = outcome.state
        return outcome

    def _drop(self, worker: _Worker) -> None:
        worker.pipe.close()
        worker.process.join(_STOP_SECONDS)
        self._workers.remove(worker)


def _work(pipe: Connection, store_root: Path, settings: EngineConfig) -> None:
    """Take tasks until the pipe closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the driver's to handle
    threading.Thread(target=_end_with_driver, daemon=True).start()

    from synthtrial.work import Context  # imports torch: not before the fork server did

    store = open_store(store_root, create=False)
    try:
        context = Context(store, engine=LocalEngine.name, device=settings.device)
    except StoreError as error:  # said to the driver, which has a person to tell
        reason = str(error)
        _answer(pipe, lambda task: Outcome(task.id, "failed", reason, fatal=True))
        return
    while _answer(pipe, lambda task: attempt(store, task, context)):
        pass
    with suppress(StoreError):  # the journal stays, and the next run seals it
        context.writer.seal()


def _answer(pipe: Connection, work: Callable[[Task], Outcome]) -> bool:
    """Take one task and send what became of it; False when the driver has closed the pipe."""
    try:
        pipe.send(work(pipe.recv()))
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return False
    return True


def _end_with_driver() -> None:
    """End this process when its driver has gone, so that a killed one leaves no orphans.

    The parent in the system's eyes is the fork server, which itself waits for its last child.
    """
    driver = multiprocessing.parent_process()
    if driver is not None:
        driver.join()
        os._exit(1)
