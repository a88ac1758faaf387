"""What runs inside a job: a pack of tasks over a warm pool of processes.

The job reads the pack and the plan anew, so it runs only what the store does not have yet: a job
that SLURM starts again, or starts twice, goes on where the last start came to. It begins nothing
that would not end before the job does, and what it leaves is handed out again.
"""

from __future__ import annotations

import dataclasses
import os
import re
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from synthtrial.engines.base import Outcome
from synthtrial.engines.commands import ask
from synthtrial.engines.local import LocalEngine
from synthtrial.engines.slurm.sites import load_site
from synthtrial.engines.submissions import EventLog, Submission, read_submission
from synthtrial.plan import Plan, build
from synthtrial.store.artifacts import Store, open_store
from synthtrial.store.locks import lock_within, unlock
from synthtrial.store.root import snapshot_file
from synthtrial.study import load
from synthtrial.tasks import Task
from synthtrial.work.signals import noticed

_POLL_SECONDS = 0.5
_DOUBLE_SECONDS = 120.0
_SAFETY = 1.3  # a task is begun if so many times its expected time is left
_FRESH_SHARE = 0.1  # of its time, in which a job may begin what can never fit
_SIGNALLED = re.compile(r"killed by SIG(USR2|TERM)\b")
_TIME_LEFT = re.compile(r"(?:(\d+)-)?(?:(\d+):)?(\d+):(\d+)")


def run_pack(folder: str, index: int) -> None:
    """Run one pack of a submission; SLURM starts this through submitit.

    Args:
        folder: of the submission.
        index: of the pack.
    """
    submission = read_submission(Path(folder))
    with noticed() as asked_to_stop, _only_one(submission, index):
        log = EventLog(submission, index)
        try:
            _Run(submission, index, log, asked_to_stop).run()
        finally:
            log.close()


@contextmanager
def _only_one(submission: Submission, index: int) -> Iterator[None]:
    """Wait while another start of the same job is alive, as after a node was taken for dead.

    Not for ever: a file system may keep the lock of a machine that is really gone, and running a
    task twice does no harm beyond its time.
    """
    path = submission.folder / "events" / f"{index:05d}.lock"
    descriptor = lock_within(path, 0.0)
    if descriptor is None:
        print("another start of this job is alive; waiting for its end", flush=True)
        descriptor = lock_within(path, _DOUBLE_SECONDS)
    try:
        yield
    finally:
        if descriptor is not None:
            unlock(descriptor)


class _Run:
    def __init__(
        self, submission: Submission, index: int, log: EventLog, stop: Callable[[], bool]
    ) -> None:
        self._log, self._asked_to_stop = log, stop
        self._pack = submission.packs[index]
        self._store: Store = open_store(submission.folder.parents[2], create=False)
        study = load(snapshot_file(self._store, submission.digest))
        self._plan: Plan = build(study, self._store)
        self._plan.forgive()  # whether a task is tried again was decided by whoever submitted it
        self._site = load_site(study.settings.engine)
        workers = self._pack.workers or self._site.workers(study.settings.engine)
        self._settings = dataclasses.replace(study.settings.engine, workers=workers)
        self._began = time.time()
        self._deadline = _end_of_job(self._began, self._site.minutes)
        self._waiting: list[Task] = []
        self._flying: set[str] = set()
        self._expected = self._taken = 0.0  # seconds over all tasks that ended

    def run(self) -> None:
        tasks = self._plan.tasks
        known = [tasks[id_] for id_ in self._pack.seconds if id_ in tasks]
        self._waiting = [task for task in known if task.id not in self._plan.done]
        engine = LocalEngine(
            self._store,
            self._settings,
            label="slurm",
            stop_seconds=max(5.0, self._site.warning_seconds - 30.0),
        )
        self._log.say("begin", **_place())
        print(
            f"{len(self._waiting)} of {len(self._pack.seconds)} tasks are to do; "
            f"{engine.placement}; "
            + (f"{self._left() / 60:.0f} min left" if self._deadline else "no time limit"),
            flush=True,
        )
        with engine:
            reason = self._loop(engine)
            for outcome in engine.stop():
                self._note(outcome)
        self._log.say("end", reason=reason)
        print(f"ended: {reason}", flush=True)

    def _loop(self, engine: LocalEngine) -> str:
        """Run until nothing is left that could be begun; return why that is."""
        while True:
            if self._asked_to_stop():
                return "signal"
            if self._left() < self._site.warning_seconds / 2:
                return "time"
            self._begin(engine)
            if not self._flying:
                return "time" if any(map(self._plan.is_ready, self._waiting)) else "done"
            for outcome in engine.wait(_POLL_SECONDS):
                self._note(outcome)
                if outcome.fatal:
                    return "fatal"

    def _begin(self, engine: LocalEngine) -> None:
        """Hand out what is ready and fits, in the order of the pack."""
        left = self._left()
        for task in [task for task in self._waiting if self._plan.is_ready(task)]:
            if not engine.slots:
                return
            if self._fits(task, left):
                self._waiting.remove(task)
                self._flying.add(task.id)
                self._log.say("start", task=task.id)
                engine.submit([task])

    def _fits(self, task: Task, left: float) -> bool:
        slower = max(1.0, self._taken / self._expected) if self._expected else 1.0
        need = self._pack.seconds[task.id] * slower * _SAFETY
        if left > need + self._site.warning_seconds:
            return True
        # What would never fit is begun in a fresh job, and goes on from its checkpoint in the next.
        return time.time() - self._began < _FRESH_SHARE * left

    def _left(self) -> float:
        return self._deadline - time.time() if self._deadline else float("inf")

    def _note(self, outcome: Outcome) -> None:
        if outcome.state == "lost" and (
            self._asked_to_stop() or _SIGNALLED.search(outcome.message)
        ):
            # SLURM signals every process of the job, and a worker may die of it before this one
            # has noticed.
            outcome = dataclasses.replace(outcome, cause="stopped")
        self._log.outcome(dataclasses.replace(outcome, host=_place()["node"]))
        self._flying.discard(outcome.task_id)
        if outcome.state == "done":
            self._plan.done.add(outcome.task_id)
            self._taken += outcome.seconds
            self._expected += self._pack.seconds[outcome.task_id]
        else:
            label = self._plan.tasks[outcome.task_id].label
            print(f"{label}: {outcome.state}: {outcome.message}", file=sys.stderr, flush=True)


def _place() -> dict[str, str]:
    """Return where this is, in SLURM's words where it has some."""
    array, index = (os.environ.get(f"SLURM_ARRAY_{name}") for name in ("JOB_ID", "TASK_ID"))
    job = f"{array}_{index}" if array else os.environ.get("SLURM_JOB_ID", "")
    return {"node": os.environ.get("SLURMD_NODENAME", socket.gethostname()), "job": job}


def _end_of_job(now: float, minutes: int | None) -> float | None:
    """Return when SLURM will end this job, in seconds since the epoch; None if it will not."""
    stated = os.environ.get("SLURM_JOB_END_TIME")
    if stated:
        return float(stated)
    answer, _ = ask("squeue", "-h", "-j", os.environ.get("SLURM_JOB_ID", ""), "-o", "%L")
    match = _TIME_LEFT.fullmatch((answer or "").strip())
    if match is not None:
        days, hours, mins, seconds = (int(part or 0) for part in match.groups())
        return now + ((days * 24 + hours) * 60 + mins) * 60 + seconds
    return None if minutes is None else now + 60 * minutes
