"""What a store holds on disk, and what of it can go."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from synthtrial.errors import StoreBusyError
from synthtrial.store.artifacts import list_artifacts, read_artifact
from synthtrial.store.attempts import live
from synthtrial.store.files import (
    TEMPORARY,
    entries,
    files_under,
    flush_folder,
    idle_seconds,
    size_of,
    storage_errors,
    temporary_name,
)
from synthtrial.store.locks import is_held
from synthtrial.store.records import GRACE_SECONDS
from synthtrial.store.root import RESERVED, UNFINISHED, Store
from synthtrial.store.segments import list_segments
from synthtrial.store.verification import artifact_kinds

STALE_SECONDS = 24 * 3600.0  # a maker may write nothing for hours where locks do not work


@dataclass(frozen=True)
class Usage:
    """What one kind of thing takes on disk."""

    kind: str
    files: int
    bytes: int


@dataclass(frozen=True)
class Garbage:
    """Something that can be deleted, what that frees, and why it can go."""

    path: Path
    bytes: int
    reason: str


def usage(store: Store) -> list[Usage]:
    """Return files and bytes of every kind of artifact, of records, and of what is unfinished."""
    totals: dict[str, tuple[int, int]] = {}
    kinds = {*artifact_kinds(store), *RESERVED}
    for path in files_under(store.root):
        parts = path.relative_to(store.root).parts
        kind = parts[0] if parts[0] in kinds else "other"
        if any(TEMPORARY in part for part in parts):
            kind = "unfinished"
        files, size = totals.get(kind, (0, 0))
        totals[kind] = (files + 1, size + size_of(path))
    return [Usage(kind, *totals[kind]) for kind in sorted(totals)]


def garbage(store: Store, keep: Iterable[tuple[str, str]] | None = None) -> list[Garbage]:
    """Return what can be deleted.

    That is: what killed processes left unfinished, segments superseded long enough ago, and, where
    ``keep`` is given, all artifacts that are neither in it nor made use of by those in it, and what
    was begun of such and not touched for a day.

    Args:
        store: where.
        keep: (kind, id) of artifacts; None keeps all.

    Raises:
        StoreError: the records cannot be read.
    """
    found = [_item(path, "left unfinished") for path in _unfinished(store)]
    for path, by in list_segments(store).superseded:
        if path.exists() and idle_seconds(by.path) > GRACE_SECONDS:
            found.append(_item(path, f"superseded by {by.path.name}"))
    if keep is not None:
        kept = with_inputs(store, keep)
        for kind in artifact_kinds(store):
            unused = [name for name in list_artifacts(store, kind) if (kind, name) not in kept]
            found += [_item(store.folder(kind, name), "no kept study needs it") for name in unused]
        ids = {name for _, name in kept}
        found += [
            _item(path, "begun for no kept study")
            for path in entries(store.root / UNFINISHED)
            if path.name not in ids and idle_seconds(path) > STALE_SECONDS and not is_held(path)
        ]
    return found


def _unfinished(store: Store) -> list[Path]:
    folders = [store.root, *(store.root / kind for kind in artifact_kinds(store))]
    folders += [store.root / "attempts", *entries(store.root / "records")]
    return [
        path
        for folder in folders
        if folder.is_dir()
        for path in entries(folder)
        if TEMPORARY in path.name and idle_seconds(path) > STALE_SECONDS and not is_held(path)
    ]


def _item(path: Path, reason: str) -> Garbage:
    return Garbage(path, size_of(path), reason)


def with_inputs(store: Store, keep: Iterable[tuple[str, str]]) -> set[tuple[str, str]]:
    """Add what the kept artifacts were made from: `verify` and lineage checks need it."""
    waiting = list(keep)
    kept: set[tuple[str, str]] = set()
    while waiting:
        item = waiting.pop()
        if item in kept:
            continue
        kept.add(item)
        if store.folder(*item).exists():
            sources = read_artifact(store, *item).manifest["inputs"].values()
            waiting += [(source["kind"], source["id"]) for source in sources]
    return kept


def delete(item: Garbage) -> None:
    """Delete something; a committed artifact disappears at once and never half.

    Raises:
        StoreError: the store is read-only.
    """
    path = item.path
    with storage_errors(path.parent):
        if path.is_dir() and TEMPORARY not in path.name:
            doomed = temporary_name(path)
            path.rename(doomed)
            path = doomed
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
        flush_folder(path.parent)


def collect_garbage(
    store: Store, keep: Iterable[tuple[str, str]] | None = None, *, dry_run: bool
) -> list[Garbage]:
    """Delete what :func:`garbage` finds, or only say what it is.

    Raises:
        StoreBusyError: artifacts are to go while a run is alive that may be using them.
        StoreError: the store is read-only, or the records cannot be read.
    """
    found = garbage(store, keep)
    if not dry_run:
        running = live(store)
        if keep is not None and running:
            names = ", ".join(f"{run.study} (process {run.pid} on {run.host})" for run in running)
            raise StoreBusyError(
                f"artifacts may be in use by {names}. Wait for the end of that run or stop it, "
                "then collect garbage again; `--dry-run` is possible at any time."
            )
        for item in found:
            delete(item)
    return found
