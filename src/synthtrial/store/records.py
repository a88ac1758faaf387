"""Records: one row about every trial and every failed task, safe from the moment it is appended.

A writer appends to a journal of its own and seals it into a Parquet segment when its pack ends;
readers see both. Killed writers leave journals, which :func:`seal_abandoned` seals. Many segments
are compacted into one that is sorted by trial, now and then while a study runs and at its end: a
million trials stay a few dozen files, and readers find them in order.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pyarrow as pa

from synthtrial.errors import StoreError
from synthtrial.store.deduplication import KEYS, Rows, counting_rows, select_rows
from synthtrial.store.files import flush_folder, idle_seconds, storage_errors
from synthtrial.store.journal import Journal, encode, journal_key, journals, read_journal
from synthtrial.store.locks import lock_path, unlock
from synthtrial.store.records_schema import (
    COLUMNS,
    METRIC_COLUMNS,
    merge,
    strings,
    to_table,
    top_names,
)
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


def read_records(
    store: Store,
    *,
    every_attempt: bool = False,
    columns: Sequence[str] | None = None,
    trial_ids: Collection[str] | None = None,
) -> pa.Table:
    """Return the records of journals and segments, those being written included.

    Args:
        store: where.
        every_attempt: keep all rows; else one for each ``trial_id``, the one with the best status
            (done, diverged, stopped, failed), then the lowest attempt.
        columns: those that are wanted, which is much faster than all; ``test.recall`` is the column
            ``test`` with no metric but recall. By default all, with all metrics.
        trial_ids: trials that are wanted; a few are found without reading all. By default all.

    Returns:
        The columns of ``records_schema.COLUMNS``, or those asked for, in that order; rows sorted by
        trial_id and attempt. ``validation``, ``test`` and ``made`` hold the fields of all metrics
        that occur.

    Raises:
        StoreSchemaError: a newer synthtrial wrote some of them.
        DamagedArtifactError: a segment is truncated or altered.
        StoreError: they keep changing.
    """
    table = _read(store, columns, trial_ids)
    table = select_rows(table, counting_rows(table, every_attempt=every_attempt))
    return table if columns is None else table.select(top_names(columns))


def read_counting(store: Store, columns: Sequence[str]) -> tuple[pa.Table, Rows | None]:
    """Do as :func:`read_records` does, and leave it to the caller to take the rows that count.

    Returns:
        Rows of all attempts with these columns, and the numbers of those that count, sorted by
        trial_id; None where these are all.
    """
    table = _read(store, columns, None)
    return table.select(top_names(columns)), counting_rows(table, every_attempt=False)


def _read(
    store: Store, columns: Sequence[str] | None, trial_ids: Collection[str] | None
) -> pa.Table:
    needed = None if columns is None else [*dict.fromkeys([*KEYS, *columns])]
    for _ in range(LIST_ATTEMPTS):
        try:
            return merge(_tables(store, needed, trial_ids), needed).combine_chunks()
        except FileNotFoundError:  # compacted and collected while we read
            continue
    raise StoreError(f"the records of {store.root} keep changing while they are read")


def _tables(
    store: Store, columns: Sequence[str] | None, trial_ids: Collection[str] | None
) -> list[pa.Table]:
    # Journals first: what is sealed between the two steps then shows up twice, not never.
    rows_of = {}
    for path in journals(store):
        try:
            rows_of[journal_key(path)] = read_journal(path).rows
        except FileNotFoundError:
            continue
    segments = list_segments(store)
    wanted = None if trial_ids is None else set(trial_ids)
    among = None if wanted is None else sorted(wanted)
    tables = [read_segment(segment.path, columns, among) for segment in segments.live]
    if among is not None:
        tables = [_only(table, among) for table in tables]
    rows = [
        row
        for key, some in rows_of.items()
        if key not in segments.covered
        for row in some
        if wanted is None or row["trial_id"] in wanted
    ]
    return [*tables, to_table(rows)] if rows else tables


def _only(table: pa.Table, trial_ids: Sequence[str]) -> pa.Table:
    import pyarrow.compute as pc

    return table.filter(pc.is_in(table["trial_id"], strings(trial_ids)))


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
        table = _sorted_whole([segment.path for segment in segments.live])
        write_segment(store, uuid.uuid4().hex, table, supersedes=_still_named(store, segments))
        del table
        with storage_errors(store.root):
            for path, by in segments.superseded:
                if idle_seconds(by.path) > GRACE_SECONDS:
                    path.unlink(missing_ok=True)
    finally:
        unlock(descriptor)
    return True


def _sorted_whole(paths: Sequence[Path]) -> pa.Table:
    """Return the rows of all segments, sorted, repeated ones left out.

    Readers then need not sort, and find a few trials without reading all. A part of the columns is
    read at a time, so that memory never holds all rows twice.
    """

    def read(*columns: str) -> pa.Table:
        return merge([read_segment(path, columns) for path in paths], columns).combine_chunks()

    rows = counting_rows(read(*KEYS), every_attempt=True)
    large = (*METRIC_COLUMNS, "curves")
    parts = [[name for name in COLUMNS if name not in large], *([name] for name in large)]
    tables = [select_rows(read(*part), rows) for part in parts]
    columns = {name: table.column(name) for table in tables for name in table.column_names}
    return pa.table({name: columns[name] for name in COLUMNS})


def _still_named(store: Store, segments: Segments) -> set[str]:
    """Return the names a compacted segment must cover: what exists, or could still be sealed."""
    live = {segment.path.stem for segment in segments.live}
    present = {path.stem for path, _ in segments.superseded}
    unsealed = {journal_key(path) for path in journals(store)}
    return live | present | (unsealed & segments.covered)
