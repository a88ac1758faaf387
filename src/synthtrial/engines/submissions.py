"""Submissions: what was handed to a queue, what its jobs say of themselves, how they ended.

    jobs/<study>/<number>/submission.json    written before SLURM is asked, again with the job's id
                          events/*.jsonl     one file a start of a job, written by the job alone
                          ended.json         written once nothing of it can happen any more

So any process can take over from a driver that has gone: it reads these folders and the store.
Readers see a line of events whole or not at all.
"""

from __future__ import annotations

import dataclasses
import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from synthtrial.engines.base import Outcome, Trouble
from synthtrial.errors import StoreError
from synthtrial.store.artifacts import Store
from synthtrial.store.files import entries, storage_errors, write_file
from synthtrial.store.root import JOBS

_FORGIVEN = "forgiven.json"


@dataclass(frozen=True)
class Pack:
    """Tasks that one job runs.

    Attributes:
        seconds: expected time of each task, by its id, in the order of their turn.
        workers: how many run at the same time; None for all that the job's resources allow.
    """

    seconds: Mapping[str, float]
    workers: int | None = None


@dataclass(frozen=True)
class Submission:
    """Some jobs that were submitted together.

    Attributes:
        folder: of the submission.
        study: name of the study.
        digest: of the study's snapshot.
        kind: ``packs``, or ``advance`` for the job that looks what is next.
        submitted_at: seconds since the epoch.
        job_id: SLURM's id of the job or array; None until SLURM has answered.
        packs: one a job; the index is that of the array.
        resources: what was asked for, for people.
    """

    folder: Path
    study: str
    digest: str
    kind: Literal["packs", "advance"]
    submitted_at: float
    job_id: str | None = None
    packs: tuple[Pack, ...] = ()
    resources: Mapping[str, Any] = field(default_factory=dict)

    @property
    def number(self) -> int:
        """Its number within the study."""
        return int(self.folder.name)

    @property
    def job_name(self) -> str:
        """Name of its jobs, by which they can be found before their id is known."""
        return job_name(self.study, self.number)

    def job(self, index: int) -> str:
        """Return SLURM's id of the job that runs a pack."""
        return f"{self.job_id}_{index}" if len(self.packs) > 1 else str(self.job_id)

    def write(self) -> None:
        """Write the description, replacing an older one."""
        known = {
            item.name: getattr(self, item.name)
            for item in dataclasses.fields(self)
            if item.name not in ("folder", "packs")
        }
        known["packs"] = [dataclasses.asdict(pack) for pack in self.packs]
        (self.folder / "events").mkdir(parents=True, exist_ok=True)
        write_file(self.folder / "submission.json", json.dumps(known).encode())


def job_name(study: str, number: int) -> str:
    """Return the name of a submission's jobs."""
    return f"{study}-{number:04d}"


def jobs_folder(store: Store, study: str) -> Path:
    """Return the folder of a study's submissions."""
    return store.root / JOBS / study


def new_folder(store: Store, study: str) -> Path:
    """Make the folder of the next submission; two processes never get the same."""
    parent = jobs_folder(store, study)
    with storage_errors(store.root):
        parent.mkdir(parents=True, exist_ok=True)
        number = 1 + max((int(p.name) for p in _folders(store, study)), default=0)
        while True:
            try:
                (parent / f"{number:04d}").mkdir()
                return parent / f"{number:04d}"
            except FileExistsError:
                number += 1


def read_submissions(store: Store, study: str) -> list[Submission]:
    """Return the submissions of a study, oldest first."""
    folders = _folders(store, study)
    return [read_submission(f) for f in folders if (f / "submission.json").exists()]


def read_submission(folder: Path) -> Submission:
    """Return one submission.

    Raises:
        StoreError: there is none.
    """
    known = _read(folder / "submission.json")
    if known is None:
        raise StoreError(f"{folder} holds no readable submission.json")
    packs = tuple(Pack(**pack) for pack in known.pop("packs"))
    return Submission(folder=folder, packs=packs, **known)


def end(submission: Submission, troubles: Sequence[Trouble]) -> None:
    """Note that nothing of a submission can happen any more, and what went wrong in it."""
    content = {"troubles": [dataclasses.asdict(trouble) for trouble in troubles]}
    write_file(submission.folder / "ended.json", json.dumps(content).encode())


def has_ended(submission: Submission) -> bool:
    """Whether :func:`end` has been said."""
    return (submission.folder / "ended.json").exists()


def troubles_of(submission: Submission) -> list[Trouble]:
    """Return what went wrong in an ended submission."""
    known = _read(submission.folder / "ended.json") or {"troubles": []}
    return [Trouble(**trouble) for trouble in known["troubles"]]


def open_submissions(
    store: Store, study: str, kind: Literal["packs", "advance"] = "packs"
) -> list[Submission]:
    """Return the submissions of a kind whose jobs may not be over."""
    found = read_submissions(store, study)
    return [item for item in found if item.kind == kind and not has_ended(item)]


@dataclass(frozen=True)
class Forgiven:
    """What counts no more: troubles up to a submission, failures recorded before a time."""

    up_to: int = 0
    before: str = ""


def forgive(store: Store, study: str) -> None:
    """Let what went wrong so far count no more, so that it is tried again."""
    number = max((int(p.name) for p in _folders(store, study)), default=0)
    folder = jobs_folder(store, study)
    with storage_errors(store.root):
        folder.mkdir(parents=True, exist_ok=True)
        now = datetime.now(UTC).isoformat(timespec="seconds")
        content = dataclasses.asdict(Forgiven(number, now))
        write_file(folder / _FORGIVEN, json.dumps(content).encode())


def forgiven(store: Store, study: str) -> Forgiven:
    """Return what has been forgiven."""
    return Forgiven(**(_read(jobs_folder(store, study) / _FORGIVEN) or {}))


class EventLog:
    """The news of one start of one job; for its writer."""

    def __init__(self, submission: Submission, index: int) -> None:
        starts = len(event_files(submission, index))
        path = submission.folder / "events" / f"{index:05d}-{starts:03d}.jsonl"
        # A file of its own for each start: a job that SLURM runs twice at the same time on two
        # nodes must not tear the lines of its double.
        while True:
            try:
                flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND
                self._descriptor = os.open(path, flags, 0o666)
                break
            except FileExistsError:
                starts += 1
                path = path.with_name(f"{index:05d}-{starts:03d}.jsonl")

    def say(self, event: str, **facts: Any) -> None:
        """Add one line and push it to where other machines see it."""
        line = json.dumps({"event": event, "at": time.time(), **facts}) + "\n"
        os.write(self._descriptor, line.encode())
        os.fsync(self._descriptor)

    def outcome(self, outcome: Outcome) -> None:
        """Say what became of a task."""
        self.say("outcome", **dataclasses.asdict(outcome))

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)


def event_files(submission: Submission, index: int) -> list[Path]:
    """Return the files of events of a pack, one a start, in order."""
    found = entries(submission.folder / "events", ".jsonl")
    return [path for path in found if path.name.startswith(f"{index:05d}-")]


def read_events(path: Path, offset: int = 0) -> tuple[list[dict[str, Any]], int]:
    """Return the events from a position on, and the position after the last whole line."""
    try:
        with path.open("rb") as file:
            file.seek(offset)
            text = file.read()
    except FileNotFoundError:
        return [], offset
    whole = text.rpartition(b"\n")[0]
    return list(_parsed(whole)), offset + len(whole) + bool(whole)


def _parsed(text: bytes) -> Iterator[dict[str, Any]]:
    for line in text.splitlines():
        try:
            yield json.loads(line)
        except ValueError:  # the disk was full for a moment: the store knows what is done
            continue


def outcome_of(event: Mapping[str, Any]) -> Outcome:
    """Return the outcome that an event reports."""
    return Outcome(**{key: value for key, value in event.items() if key not in ("event", "at")})


def _folders(store: Store, study: str) -> list[Path]:
    folder = jobs_folder(store, study)
    return [path for path in entries(folder) if path.name.isdigit()]


def _read(path: Path) -> dict[str, Any] | None:
    try:
        known = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    return known if isinstance(known, dict) else None
