"""Jobs that are not over: read what they write, and ask SLURM about those that fall silent.

What a job says of itself comes first. SLURM is asked now and then, about all jobs at once, and its
answer matters only for a job that ended without a last word. Not to know a job is no verdict.
"""

from __future__ import annotations

import dataclasses
import re
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from synthtrial.engines import submissions as subs
from synthtrial.engines.base import Cause, Outcome, Trouble
from synthtrial.engines.slurm.queue import JobInfo, Queue, last_lines
from synthtrial.engines.submissions import Pack, Submission

PATIENCE_SECONDS = 120.0  # until a job that accounting does not know is looked for in the queue
_LOG_LINES = 15
_MEMORY = re.compile(r"exceeded (?:job |step )?memory limit|oom[_-]kill|out[ -]of[ -]memory", re.I)
_CAUSES: Mapping[str, Cause] = {
    "TIMEOUT": "time",
    "DEADLINE": "time",
    "OUT_OF_MEMORY": "memory",
    "NODE_FAIL": "node",
    "BOOT_FAIL": "node",
    "PREEMPTED": "preempted",
    "CANCELLED": "cancelled",
}


@dataclass(eq=False)
class Job:
    """The job of one pack, as far as it is known.

    Attributes:
        submission: that it belongs to.
        index: of its pack.
        left: tasks that nothing has become of yet.
        started: those of them that were begun, with the node.
        begun: whether it came to run tasks at all.
        ended: the reason that it gave in its last word.
        info: what SLURM said of it last.
    """

    submission: Submission
    index: int
    left: set[str]
    started: dict[str, str] = field(default_factory=dict)
    begun: bool = False
    ended: str | None = None
    info: JobInfo | None = None
    _node: str = ""
    _offsets: dict[Path, int] = field(default_factory=dict)
    _missed_at: float | None = None

    @property
    def id(self) -> str:
        """SLURM's id of it."""
        return self.submission.job(self.index)

    @property
    def pack(self) -> Pack:
        """What it runs."""
        return self.submission.packs[self.index]

    @property
    def log(self) -> Path:
        """Its log."""
        return log_file(self.submission, self.index)

    def read(self) -> list[Outcome]:
        """Read its news and return what became of tasks."""
        outcomes = []
        for path in subs.event_files(self.submission, self.index):
            events, self._offsets[path] = subs.read_events(path, self._offsets.get(path, 0))
            outcomes += [outcome for event in events if (outcome := self._take(event))]
        return outcomes

    def _take(self, event: Mapping[str, Any]) -> Outcome | None:
        if event["event"] == "begin":  # again, if SLURM has started it again
            self.begun, self.ended, self._node = True, None, event["node"]
            self.started.clear()
        elif event["event"] == "start":
            self.started[event["task"]] = self._node
        elif event["event"] == "end":
            self.ended = event["reason"]
        elif event["event"] == "outcome":
            outcome = subs.outcome_of(event)
            self.started.pop(outcome.task_id, None)
            self.left.discard(outcome.task_id)
            return outcome
        return None

    def is_missed(self) -> bool:
        """Note that SLURM does not know it, and say whether that has been so for long."""
        self._missed_at = self._missed_at or time.monotonic()
        return time.monotonic() - self._missed_at > PATIENCE_SECONDS

    def is_found(self) -> None:
        """Note that SLURM knows it."""
        self._missed_at = None


class Watch:
    """All jobs of a study that are not over.

    Args:
        poll_seconds: time between two questions to SLURM.
        could_run: whether a task waits for nothing but its turn; a job that ends without having
            begun it is to blame for those, and not for what still waited for another task.
    """

    def __init__(self, poll_seconds: float, could_run: Callable[[str], bool]) -> None:
        self.jobs: list[Job] = []
        self._queue = Queue()
        self._poll_seconds = poll_seconds
        self._could_run = could_run
        self._asked_at = 0.0
        self._troubles: dict[Path, list[Trouble]] = defaultdict(list)

    def add(self, submission: Submission) -> None:
        """Watch the jobs of a submission."""
        self.jobs += [
            Job(submission, index, set(pack.seconds)) for index, pack in enumerate(submission.packs)
        ]

    @property
    def ids(self) -> list[str]:
        """SLURM's ids of the jobs and arrays."""
        return sorted({str(job.submission.job_id) for job in self.jobs})

    def look(self) -> tuple[list[Outcome], list[Trouble], list[Job]]:
        """Look at all jobs.

        Returns:
            What became of tasks, what of that was trouble, and the jobs that are over now; what
            these have left undone is to be done by others.
        """
        outcomes, troubles, over = [], [], []
        for job in list(self.jobs):
            found = job.read()
            outcomes += found
            troubles += [self._note(job, outcome) for outcome in found if outcome.state != "done"]
            if job.ended in ("done", "time", "fatal"):
                if job.ended == "done":
                    outcomes += self._unexplained(job)
                over.append(job)
                self.drop(job)
        if self.jobs and time.monotonic() - self._asked_at >= self._poll_seconds:
            self._asked_at = time.monotonic()
            for job, info in self._over():
                found = [*job.read(), *self._blame(job, info)]
                outcomes += found
                troubles += [self._note(job, item) for item in found if item.state != "done"]
                over.append(job)
                self.drop(job)
        return outcomes, troubles, over

    def drop(self, job: Job) -> None:
        """Watch a job no more; its submission is ended with the last of its jobs."""
        self.jobs.remove(job)
        folder = job.submission.folder
        if all(other.submission.folder != folder for other in self.jobs):
            subs.end(job.submission, self._troubles.pop(folder, []))

    def _over(self) -> list[tuple[Job, JobInfo]]:
        """Ask SLURM, and return the jobs that are over."""
        since = min(job.submission.submitted_at for job in self.jobs)
        known = self._queue.ask(self.ids, since)
        if known is None:
            return []
        listed = known if self._queue.lists_all else None
        over = []
        for job in self.jobs:
            info = known.get(job.id)
            if info is not None:
                job.is_found()
            job.info = info or job.info
            missed = info is None and (self._is_old(job) if listed is known else job.is_missed())
            if not missed and (info is None or info.alive):
                continue
            # Accounting may have lost a job that is alive, and it takes one that SLURM has put back
            # into the queue, after its node failed, for over. The queue lists all that is alive.
            if listed is None:
                listed = Queue(accounting=False).ask(self.ids, since)
            if listed is None or (job.id in listed and listed[job.id].alive):
                continue
            over.append((job, info or JobInfo("UNKNOWN", "gone: SLURM does not know it any more")))
        return over

    def _is_old(self, job: Job) -> bool:
        return time.time() - job.submission.submitted_at > 2 * self._poll_seconds

    def _blame(self, job: Job, info: JobInfo) -> list[Outcome]:
        """Return the outcomes of tasks that went down with their job."""
        if job.ended is not None:
            return []
        cause = _CAUSES.get(info.state, "killed")
        told = last_lines(job.log, _LOG_LINES)
        if cause == "killed" and any(_MEMORY.search(line) for line in told):
            cause = "memory"  # not every SLURM says so in the state of the job
        hit = set(job.started)
        if cause == "cancelled" or (cause == "killed" and not job.begun):
            # A person's wish is for all of them; and what never came to run Python will fail the
            # same way again.
            hit = {id_ for id_ in job.left if self._could_run(id_)}
        lost = Outcome(
            "", "lost", _obituary(job, info, told), retry=cause != "cancelled", cause=cause
        )
        return [
            dataclasses.replace(lost, task_id=id_, host=job.started.get(id_, info.nodes))
            for id_ in sorted(hit)
        ]

    def _unexplained(self, job: Job) -> list[Outcome]:
        """Return the outcomes of wanted tasks that a job has passed over: never for ever."""
        message = f"job {job.id} was to run this task and has not begun it ({job.log})"
        passed = [id_ for id_ in sorted(job.left) if self._could_run(id_)]
        return [Outcome(id_, "lost", message, retry=True, cause="error") for id_ in passed]

    def _note(self, job: Job, outcome: Outcome) -> Trouble:
        cause = outcome.cause or "killed"
        message = outcome.message[-2000:]
        trouble = Trouble(outcome.task_id, cause, message, outcome.host, job.id)
        self._troubles[job.submission.folder].append(trouble)
        return trouble


def log_file(submission: Submission, index: int) -> Path:
    """Return the log of the job that runs a pack."""
    return submission.folder / "slurm" / f"{submission.job(index)}_0_log.out"


def _obituary(job: Job, info: JobInfo, told: Sequence[str]) -> str:
    code = f", exit code {info.exit_code}" if info.exit_code not in ("", "0:0") else ""
    where = f" on {info.nodes}" if info.nodes else ""
    lines = "\n".join(f"  | {line}" for line in told)
    log = f"the end of its log:\n{lines}\n" if lines else ""
    return f"{log}job {job.id}{where} ended as {info.detail or info.state}{code} ({job.log})"
