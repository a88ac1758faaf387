"""Records: one row about every trial and every failed task, safe from the moment it is appended.

A writer appends to a journal of its own and seals it into a Parquet segment when its pack ends;
readers see both. Killed writers leave journals, which :func:`seal_abandoned` seals. Many segments
are compacted into one, so a hundred thousand trials stay a few hundred files.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import pyarrow as pa

from synthtrial.errors import StoreError
from synthtrial.store.files import flush_folder, idle_seconds, storage_errors
from synthtrial.store.journal import Journal, encode, journal_key, journals, read_journal
from synthtrial.store.locks import lock_path, unlock
from synthtrial.store.records_schema import STATUSES, merge, to_table
from synthtrial.store.root import Store
from synthtrial.store.segments import (
    LIST_ATTEMPTS,
    Segments,
    list_segments,
    read_segment,
    write_segment,
)

ROWS_PER_JOURNAL = 1000  # a longer one is sealed early: segments read a hundred times faster
LIVE_SEGMENTS = 16  # more are compacted into one
GRACE_SECONDS = 3600.0  # how long superseded segments stay for readers that have listed them
_READ_WRITE = os.O_RDWR
_Ranks = np.ndarray[Any, np.dtype[np.uint64]]


class RecordWriter:
    """Appends records; use it as a context manager, in the process that opened it.

    Args:
        store: where.

    Raises:
        StoreError: the store is read-only or its disk is full.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._journal: Journal | None = Journal(store)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.seal()

    def append(self, row: Mapping[str, Any]) -> None:
        """Add a record; when this returns, no crash can lose it.

        Args:
            row: plain values by the names in ``records_schema.COLUMNS``; absent ones are null.

        Raises:
            StoreError: a column is unknown, missing or of the wrong type, or the disk is full. The
                journal is then as it was before.
        """
        line = encode(row)
        if self._journal is None:
            self._journal = Journal(self._store)
        self._journal.append(line)
        if self._journal.count >= ROWS_PER_JOURNAL:
            self.seal()

    def seal(self) -> None:
        """Turn what was appended so far into a segment; a later append starts a new journal.

        Raises:
            StoreError: the disk is full or the store read-only; the journal then stays, and a
                later :func:`seal_abandoned` seals it.
        """
        journal, self._journal = self._journal, None
        if journal is not None:
            try:
                _seal(self._store, journal.path, covered=frozenset())
            finally:
                journal.close()


def _seal(store: Store, path: Path, covered: frozenset[str]) -> None:
    """Turn a journal whose lock is ours into a segment, unless it is one already; remove it."""
    lines = read_journal(path)
    key = journal_key(path)
    if lines.rows and key not in covered:
        write_segment(store, key, to_table(lines.rows))
    with storage_errors(store.root):
        if lines.damaged:  # kept for whoever wants to know what happened; `verify` lists it
            path.rename(path.with_name(f"{path.name}.damaged"))
        else:
            path.unlink()
        flush_folder(path.parent)


def seal_abandoned(store: Store) -> int:
    """Seal the journals of writers that have died.

    Returns:
        How many journals were sealed.

    Raises:
        StoreError: the disk is full or the store is read-only.
    """
    sealed = 0
    for path in journals(store):
        try:
            with storage_errors(store.root):
                descriptor = lock_path(path, _READ_WRITE, wait=False)
        except FileNotFoundError:  # sealed by its writer, or by another sealer
            continue
        if descriptor is None:
            continue
        try:
            _seal(store, path, list_segments(store).covered)
            sealed += 1
        finally:
            unlock(descriptor)
    return sealed


def read_records(store: Store, *, every_attempt: bool = False) -> pa.Table:
    """Return the records of journals and segments, those being written included.

    Args:
        store: where.
        every_attempt: keep all rows; else one for each ``trial_id``, the one with the best status
            (done, diverged, stopped, failed), then the lowest attempt.

    Returns:
        The columns of ``records_schema.COLUMNS``, sorted by trial_id and attempt. ``validation``
        and ``test`` hold the fields of all metrics that occur.

    Raises:
        StoreSchemaError: a newer synthtrial wrote some of them.
        DamagedArtifactError: a segment is truncated or altered.
    """
    for _ in range(LIST_ATTEMPTS):
        try:
            table = merge(_tables(store))
            break
        except FileNotFoundError:  # compacted and collected while we read
            continue
    else:
        raise StoreError(f"the records of {store.root} keep changing while they are read")
    return _one_row_each(table.combine_chunks(), every_attempt)


def best_records(table: pa.Table) -> pa.Table:
    """Return one row a ``trial_id`` of a table of every attempt, as :func:`read_records` would."""
    return _one_row_each(table.combine_chunks(), every_attempt=False)


def _tables(store: Store) -> list[pa.Table]:
    # Journals first: what is sealed between the two steps then shows up twice, not never.
    rows_of = {}
    for path in journals(store):
        try:
            rows_of[journal_key(path)] = read_journal(path).rows
        except FileNotFoundError:
            continue
    segments = list_segments(store)
    tables = [read_segment(segment.path) for segment in segments.live]
    rows = [row for key, some in rows_of.items() if key not in segments.covered for row in some]
    return [*tables, to_table(rows)] if rows else tables


def _one_row_each(table: pa.Table, every_attempt: bool) -> pa.Table:
    if not table.num_rows:
        return table
    trial, attempt, started = (
        _ranks(table.column(name)) for name in ("trial_id", "attempt", "started_at")
    )
    status = _status_ranks(table.column("status"))
    keys = [started, status, attempt] if every_attempt else [started, attempt, status]
    order = np.lexsort([*keys, trial])
    names = [trial, attempt, started, status] if every_attempt else [trial]
    first = np.zeros(len(order), dtype=bool)
    first[0] = True
    for values in names:
        ordered = values[order]
        first[1:] |= ordered[1:] != ordered[:-1]
    return table.take(_indices(order[first]))


# NumPy and Arrow exchange buffers here; `pa.array` and `to_numpy` would import pandas.
def _ranks(column: pa.ChunkedArray) -> _Ranks:
    import pyarrow.compute as pc  # a tenth of a second, which an empty store need not cost

    return np.from_dlpack(pc.rank(column, tiebreaker="dense")).astype(np.uint64, copy=False)


def _status_ranks(column: pa.ChunkedArray) -> _Ranks:
    ranks = _ranks(column)
    _, rows, inverse = np.unique(ranks, return_index=True, return_inverse=True)
    names = [column[int(row)].as_py() for row in rows]
    return np.array([STATUSES.index(name) for name in names], dtype=np.uint64)[inverse]


def _indices(values: np.ndarray[Any, np.dtype[np.int64]]) -> pa.Array:
    contiguous = np.ascontiguousarray(values, dtype=np.int64)
    return pa.Array.from_buffers(pa.int64(), len(values), [None, pa.py_buffer(contiguous)])


def compact(store: Store, *, force: bool = False) -> bool:
    """Write one segment in place of many, and delete segments superseded an hour ago.

    Does nothing while there are at most :data:`LIVE_SEGMENTS` (unless ``force``), or while another
    process is at it.

    Returns:
        Whether a segment was written.

    Raises:
        StoreError: the disk is full, the store is read-only, or a segment is damaged.
    """
    if len(list_segments(store).live) <= (1 if force else LIVE_SEGMENTS):
        return False
    with storage_errors(store.root):
        descriptor = lock_path(store.root / "records" / "compact.lock", wait=False)
    if descriptor is None:
        return False
    try:
        segments = list_segments(store)
        if len(segments.live) < 2:
            return False
        table = merge([read_segment(segment.path) for segment in segments.live])
        write_segment(store, uuid.uuid4().hex, table, supersedes=_still_named(store, segments))
        with storage_errors(store.root):
            for path, by in segments.superseded:
                if idle_seconds(by.path) > GRACE_SECONDS:
                    path.unlink(missing_ok=True)
    finally:
        unlock(descriptor)
    return True


def _still_named(store: Store, segments: Segments) -> set[str]:
    """Return the names a compacted segment must cover: what exists, or could still be sealed."""
    live = {segment.path.stem for segment in segments.live}
    present = {path.stem for path, _ in segments.superseded}
    unsealed = {journal_key(path) for path in journals(store)}
    return live | present | (unsealed & segments.covered)
