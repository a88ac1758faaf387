"""The jobs of a study as a person sees them: how they stand, and how to stop them."""

from __future__ import annotations

import dataclasses
import json
import time
from collections import Counter
from collections.abc import Mapping
from typing import Any

from synthtrial.engines import submissions as subs
from synthtrial.engines.slurm.failed_start import FailedStart, failed_start
from synthtrial.engines.slurm.queue import ALIVE, JobInfo, Queue, cancel
from synthtrial.engines.submissions import Submission
from synthtrial.errors import EngineError, StoreBusyError
from synthtrial.store.artifacts import Store
from synthtrial.store.attempts import live
from synthtrial.store.files import write_file

_CACHE = "queue.json"
_CACHE_SECONDS = 10.0
_GONE_SECONDS = 90.0
_NEW_SECONDS = 60.0


@dataclasses.dataclass(frozen=True)
class Standing:
    """The jobs of one submission.

    Attributes:
        job_id: SLURM's id of the job or array.
        kind: ``packs`` or ``advance``.
        tasks: how many they are to run.
        states: how many jobs are in which state, in SLURM's words; ``UNKNOWN`` is no verdict, and
            ``SUBMITTED`` is what accounting has not heard of yet.
        nodes: where they run.
        reason: why the first pending one is pending.
        failed_start: the first of those that ended before they did anything, if there are any.
    """

    job_id: str
    kind: str
    tasks: int
    states: Mapping[str, int]
    nodes: str = ""
    reason: str = ""
    failed_start: FailedStart | None = None

    @property
    def alive(self) -> bool:
        """Whether something of it is, or will be, queued or running."""
        return any(state in ALIVE or state == "SUBMITTED" for state in self.states)

    def lines(self) -> list[str]:
        """Return the same in words."""
        states = ", ".join(f"{count} {state.lower()}" for state, count in self.states.items())
        what = f"{self.tasks} tasks" if self.kind == "packs" else "looks what is next"
        more = [f"on {self.nodes}"] if self.nodes else []
        more += [f"waits: {self.reason}"] if self.reason else []
        start = self.failed_start.lines() if self.failed_start else []
        return [f"job {self.job_id}: {', '.join([what, states, *more])}", *start]


def standing(store: Store, study: str) -> list[Standing]:
    """Return how the jobs of a study stand, by one question to SLURM every few seconds at most."""
    submissions = _open(store, study)
    if not submissions:
        return []
    cache = subs.jobs_folder(store, study) / _CACHE
    ids = [submission.job_id for submission in submissions]
    known = _cached(cache, ids)
    if known is None:
        answer = Queue().ask([str(id_) for id_ in ids], min(s.submitted_at for s in submissions))
        known = {id_: dataclasses.asdict(info) for id_, info in (answer or {}).items()}
        write_file(cache, json.dumps({"ids": ids, "jobs": known}).encode())
    return [_stand(submission, known) for submission in submissions]


def cancel_study(store: Store, study: str) -> list[str]:
    """Cancel the jobs of a study, and wait until they are gone.

    Returns:
        SLURM's ids of what was cancelled.

    Raises:
        EngineError: SLURM does not answer, or the jobs do not end.
        StoreBusyError: a run that would submit more is alive.
    """
    for attempt in live(store):
        if attempt.study == study:
            raise StoreBusyError(
                f"process {attempt.pid} on {attempt.host} is submitting jobs of {study}, and would "
                f"submit more: end it first (`kill {attempt.pid}` there, or Ctrl-C), then cancel"
            )
    submissions = _open(store, study)
    if not submissions:
        return []
    # What submits others goes first.
    submissions.sort(key=lambda submission: submission.kind != "advance")
    names = {str(s.job_id): s.job_name for s in submissions}
    # Not accounting, which learns of a job seconds late.
    queue, since = Queue(accounting=False), min(s.submitted_at for s in submissions)
    mine = _alive(queue, names, since)
    cancel(mine)
    deadline = time.monotonic() + _GONE_SECONDS
    while left := _alive(queue, names, since):
        if time.monotonic() > deadline:
            raise EngineError(f"jobs {', '.join(left)} do not end; ask `squeue` what they wait for")
        time.sleep(1.0)
    for submission in submissions:
        subs.end(submission, [])
    return mine


def _open(store: Store, study: str) -> list[Submission]:
    found = [s for s in subs.read_submissions(store, study) if not subs.has_ended(s)]
    return [submission for submission in found if submission.job_id is not None]


def _alive(queue: Queue, names: Mapping[str, str], since: float) -> list[str]:
    """Return those of the jobs that are alive; a number that SLURM gave to another is not ours."""
    known = queue.ask(names.keys(), since)
    if known is None:
        raise EngineError("SLURM does not answer, so nothing was cancelled; try again later")
    found = {
        id_.partition("_")[0]
        for id_, info in known.items()
        if info.alive and info.name == names[id_.partition("_")[0]]
    }
    return [id_ for id_ in names if id_ in found]


def _stand(submission: Submission, known: Mapping[str, Mapping[str, Any]]) -> Standing:
    count = max(1, len(submission.packs))
    is_new = time.time() - submission.submitted_at < _NEW_SECONDS
    unheard = {"state": "SUBMITTED" if is_new else "UNKNOWN"}
    infos = [JobInfo(**known.get(submission.job(index), unheard)) for index in range(count)]
    starts = (failed_start(submission, index, info) for index, info in enumerate(infos))
    pending = [info.detail for info in infos if info.state == "PENDING"]
    return Standing(
        job_id=str(submission.job_id),
        kind=submission.kind,
        tasks=sum(len(pack.seconds) for pack in submission.packs),
        states=dict(Counter(info.state for info in infos)),
        nodes=",".join(
            sorted({info.nodes for info in infos if info.state == "RUNNING" and info.nodes})
        ),
        reason=next((detail for detail in pending if detail not in ("None", "PENDING")), ""),
        failed_start=next((start for start in starts if start is not None), None),
    )


def _cached(path: Any, ids: list[str | None]) -> dict[str, Any] | None:
    try:
        if time.time() - path.stat().st_mtime > _CACHE_SECONDS:
            return None
        known = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    return known["jobs"] if known.get("ids") == ids else None
