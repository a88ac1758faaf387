"""Attempts: which runs are alive, so that two runs of one study do not work on the same tasks.

A run holds a lock for as long as its process lives and describes itself beside it. A killed run
frees the lock at once; the description it leaves behind is overwritten by the next.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from synthtrial.errors import StoreBusyError, StoreError
from synthtrial.store.files import entries, storage_errors, write_file
from synthtrial.store.locks import is_held, lock_within, unlock
from synthtrial.store.root import NAME, Store

_PROBE_SECONDS = 1.0  # `live` takes a lock for an instant to see whether it is free


@dataclass(frozen=True)
class Attempt:
    """One run of a study: where it runs, by which engine, and since when (ISO, UTC)."""

    study: str
    host: str
    pid: int
    engine: str
    note: str
    started_at: str


@contextmanager
def hold(
    store: Store, study_name: str, engine: str, note: str = "", *, follow: str = "synthtrial status"
) -> Iterator[Attempt]:
    """Be the one live run of a study in this store while the block lasts.

    Args:
        store: where.
        study_name: of the study.
        engine: that runs it.
        note: for whoever finds the store busy.
        follow: command that whoever finds it busy can look with.

    Raises:
        StoreBusyError: another run of the study is alive.
        StoreError: the store is read-only or its disk is full.
    """
    lock, description = _paths(store, study_name)
    now = datetime.now(UTC).isoformat(timespec="seconds")
    attempt = Attempt(study_name, socket.gethostname(), os.getpid(), engine, note, now)
    with storage_errors(store.root):
        lock.parent.mkdir(exist_ok=True)
        descriptor = lock_within(lock, _PROBE_SECONDS)
    if descriptor is None:
        raise StoreBusyError(_busy(study_name, lock, _read(description), follow))
    try:
        write_file(description, json.dumps(asdict(attempt)).encode() + b"\n")
        yield attempt
    finally:
        try:
            description.unlink(missing_ok=True)
        finally:
            unlock(descriptor)


def live(store: Store) -> list[Attempt]:
    """Return the runs that are alive now, sorted by study."""
    found = []
    for lock in entries(store.root / "attempts", ".lock"):
        attempt = _read(lock.with_suffix(".json"))
        if is_held(lock):
            unknown = Attempt(lock.stem, "an unknown host", 0, "unknown", "", "a moment ago")
            found.append(attempt or unknown)
    return found


def _paths(store: Store, study_name: str) -> tuple[Path, Path]:
    if not NAME.fullmatch(study_name):
        raise StoreError(f"{study_name!r} cannot name a study: use letters, digits, - and _.")
    folder = store.root / "attempts"
    return folder / f"{study_name}.lock", folder / f"{study_name}.json"


def _read(description: Path) -> Attempt | None:
    try:
        return Attempt(**json.loads(description.read_bytes()))
    except (OSError, ValueError, TypeError):
        return None  # not written yet, or being removed: the lock alone decides


def _busy(study_name: str, lock: Path, other: Attempt | None, follow: str) -> str:
    who = (
        f"process {other.pid} on {other.host} (engine {other.engine}, since {other.started_at}"
        f"{', ' + other.note if other.note else ''})"
        if other
        else f"another process that holds {lock}"
    )
    stop = f" (`kill {other.pid}` on {other.host})" if other else ""
    return (
        f"the study {study_name!r} is already being run by {who}. Follow it with `{follow}`, "
        f"or stop it{stop} and run again: finished trials are kept."
    )
