"""Which of the rows about one trial counts.

A trial has several rows where it was tried again, and a row shows up twice where its journal is
sealed while it is read. Sorting is what takes time, so nothing is sorted that is in order already,
as in a compacted segment, and what tells attempts apart is looked at for trials with several rows
only.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from synthtrial.store.records_schema import STATUSES

#: The columns that are looked at.
KEYS = ("trial_id", "attempt", "started_at", "status")
Rows = np.ndarray[Any, np.dtype[np.int64]]
_Numbers = np.ndarray[Any, np.dtype[np.uint64]]


def counting_rows(table: pa.Table, *, every_attempt: bool) -> Rows | None:
    """Return the numbers of the rows that count, sorted by trial; None where these are all.

    Args:
        table: with the columns ``KEYS`` and any others; of rows alike in all four, one is kept.
        every_attempt: keep all other rows, sorted by attempt, status and time within a trial; else
            keep one a trial: that with the best status, then the lowest attempt, then the first.
    """
    if table.num_rows < 2:
        return None
    import pyarrow.compute as pc  # a tenth of a second, which an empty store need not cost

    trials, rows = table.column("trial_id"), np.arange(table.num_rows)
    shuffled = pc.any(pc.greater(trials.slice(0, len(trials) - 1), trials.slice(1))).as_py()
    if shuffled:
        order = pc.sort_indices(trials)  # stable
        trials, rows = trials.take(order), _numbers(order).astype(np.int64)
    alike = pc.equal(trials.slice(0, len(trials) - 1), trials.slice(1))
    first_N = np.concatenate([[True], _numbers(alike.cast(pa.uint8())) == 0])
    if first_N.all():
        return rows if shuffled else None
    several_N = ~first_N | np.append(~first_N[1:], False)
    places = np.flatnonzero(several_N)
    unclear = table.select(KEYS).take(_indices(rows[places]))
    order, kept_N = _within(unclear, first_N.cumsum()[places], every_attempt)
    rows[places] = rows[places][order]
    keep_N = np.ones(len(rows), dtype=bool)
    keep_N[places] = kept_N
    return rows[keep_N]


def select_rows(table: pa.Table, rows: Rows | None) -> pa.Table:
    """Return these rows of a table in this order; all of them for None."""
    if rows is None:
        return table
    if (np.diff(rows) < 0).any():
        return table.take(_indices(rows))
    keep_N = np.zeros(table.num_rows, dtype=bool)
    keep_N[rows] = True
    return table.filter(_mask(keep_N))  # in half the time


def _within(
    table: pa.Table, trial_N: np.ndarray[Any, Any], every_attempt: bool
) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Sort the rows of trials that have several, and say which of the sorted ones are kept."""
    attempt, started = (_ranks(table.column(name)) for name in ("attempt", "started_at"))
    status = _status_ranks(table.column("status"))
    keys = [started, status, attempt] if every_attempt else [started, attempt, status]
    order = np.lexsort([*keys, trial_N])
    names = [trial_N, attempt, started, status] if every_attempt else [trial_N]
    kept = np.zeros(len(order), dtype=bool)
    kept[0] = True
    for values in names:
        ordered = values[order]
        kept[1:] |= ordered[1:] != ordered[:-1]
    return order, kept


# NumPy and Arrow exchange buffers here; `pa.array` and `to_numpy` would import pandas.
def _numbers(column: pa.ChunkedArray | pa.Array) -> np.ndarray[Any, Any]:
    whole = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    return np.from_dlpack(whole)


def _ranks(column: pa.ChunkedArray) -> _Numbers:
    import pyarrow.compute as pc

    return np.from_dlpack(pc.rank(column, tiebreaker="dense")).astype(np.uint64, copy=False)


def _status_ranks(column: pa.ChunkedArray) -> _Numbers:
    ranks = _ranks(column)
    _, rows, inverse = np.unique(ranks, return_index=True, return_inverse=True)
    names = [column[int(row)].as_py() for row in rows]
    return np.array([STATUSES.index(name) for name in names], dtype=np.uint64)[inverse]


def _mask(values: np.ndarray[Any, np.dtype[np.bool_]]) -> pa.Array:
    bits = pa.py_buffer(np.packbits(values, bitorder="little"))
    return pa.Array.from_buffers(pa.bool_(), len(values), [None, bits])


def _indices(values: Rows) -> pa.Array:
    """Return row numbers as Arrow takes them."""
    contiguous = np.ascontiguousarray(values, dtype=np.int64)
    return pa.Array.from_buffers(pa.int64(), len(values), [None, pa.py_buffer(contiguous)])
