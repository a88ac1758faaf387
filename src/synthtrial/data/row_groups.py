"""Single encoded images out of Parquet files, for many threads, in bounded memory.

Parquet is read a row group at a time. Those read last are kept, encoded as they are, so that
threads which work on neighbouring rows read each group once between them.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path
from threading import Lock
from typing import Any

from synthtrial.data.listings import ParquetTable, Picture, picture
from synthtrial.errors import DataError

KEPT_BYTES = 256 * 2**20


class RowGroups:
    """Images of several Parquet files as one run of rows.

    Args:
        tables: the files, in the order of their rows.
        column: of images.
        kept_bytes: of encoded images that are kept; the group in use is, whatever its size.
    """

    def __init__(
        self, tables: Sequence[ParquetTable], column: str, *, kept_bytes: int = KEPT_BYTES
    ) -> None:
        self._tables, self._column, self._kept_bytes = list(tables), column, kept_bytes
        self._kinds = [table.kind(column) for table in tables]
        rows_TG = [table.group_rows for table in tables]
        self._places = [(t, g) for t, rows_G in enumerate(rows_TG) for g in range(len(rows_G))]
        self._starts = [0, *accumulate(rows for rows_G in rows_TG for rows in rows_G)]
        self._kept: OrderedDict[int, Any] = OrderedDict()
        self._locks = [Lock() for _ in self._places]
        self._lock = Lock()

    def __len__(self) -> int:
        return self._starts[-1]

    def path(self, row: int) -> Path:
        """Return the file that holds a row."""
        return self._tables[self._places[self._number(row)][0]].path

    def picture(self, row: int) -> Picture:
        """Return one row's image, encoded; called by several threads at once.

        Raises:
            DataError: the file has gone, is damaged or has been replaced.
        """
        number = self._number(row)
        values = self._values(number)
        place = row - self._starts[number]
        if place >= len(values):
            raise DataError(f"{self.path(row)} has changed while it was read; begin again")
        return picture(row, values[place].as_py(), self._kinds[self._places[number][0]])

    def _number(self, row: int) -> int:
        return bisect_right(self._starts, row) - 1

    def _values(self, number: int) -> Any:
        """Return the column of a row group: kept, or read by whoever comes first."""
        with self._locks[number]:
            with self._lock:
                if number in self._kept:
                    self._kept.move_to_end(number)
                    return self._kept[number]
            table, group = self._places[number]
            values = self._tables[table].read_group(group, self._column)
            with self._lock:
                self._kept[number] = values
                while len(self._kept) > 1 and self._held() > self._kept_bytes:
                    self._kept.popitem(last=False)
            return values

    def _held(self) -> int:
        return sum(values.nbytes for values in self._kept.values())
