"""Tables that list images: CSV or Parquet, read column by column.

Both kinds look alike from outside. Images are files that the table names, or lie inside a Parquet
table: a column of their bytes, or ``struct<bytes, path>`` as Hugging Face ``datasets`` writes it.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from synthtrial.data.pictures import inside
from synthtrial.errors import DataError, suggest


@dataclass(frozen=True)
class Picture:
    """Where one image is: its own encoded bytes, or a file.

    Attributes:
        row: of the table, from 0.
        content: an encoded image, if it lies in the table.
        path: as the table has it; without ``content`` this is the image's file.
    """

    row: int
    content: bytes | None
    path: str | None

    @property
    def name(self) -> str:
        """What messages and records call it."""
        return self.path or row_name(self.row)


class TableFile(Protocol):
    """An opened table."""

    @property
    def path(self) -> Path: ...  # noqa: D102 - of the file

    @property
    def columns(self) -> tuple[str, ...]: ...  # noqa: D102 - names, in the order of the file

    def __len__(self) -> int: ...

    def values(self, column: str) -> list[Any]:
        """Return a column."""
        ...

    def value_names(self, column: str) -> Sequence[str] | None:
        """Return what a column's numbers stand for, where the file says so."""
        ...

    def are_files(self, column: str) -> bool:
        """Say whether all images of a column are files, and none lies in the table."""
        ...

    def names(self, column: str) -> list[str | None]:
        """Return the paths of a column of images, None where it has none; reads no image."""
        ...

    def pictures(self, column: str, rows: np.ndarray | None = None) -> Iterator[Picture]:
        """Yield these rows (by default all) of a column of images, ascending, each once."""
        ...


def row_name(row: int) -> str:
    """Return how messages call a row: the first one below the header is row 1."""
    return f"row {row + 1}"


def listed(problems: Sequence[str]) -> str:
    """Join the first few of many problems and say how many more there are."""
    more = f" (and {len(problems) - 3:,} more)" if len(problems) > 3 else ""
    return "; ".join(problems[:3]) + more


def in_words(value: Any, names: Sequence[str] | None) -> str:
    """Return the class that a value of a column means; numbers stand for ``names``, if given."""
    if names is None or not isinstance(value, int):
        return "" if value is None else str(value)
    return str(names[value]) if 0 <= value < len(names) else str(value)


def open_table(path: Path, section: str) -> TableFile:
    """Open a table by its suffix, ``.csv`` or ``.parquet``.

    Args:
        path: of the table.
        section: of the study that names it, for messages.

    Raises:
        DataError: there is no such file, it cannot be read, or a column's name occurs twice.
    """
    if path.suffix not in (".csv", ".parquet"):
        raise DataError(
            f"{section}.table is {path}; allowed: a file whose name ends in .csv or .parquet"
        )
    if not path.is_file():
        raise DataError(f"{section}.table: there is no file {path}; correct the path")
    table: TableFile = _read_csv(path) if path.suffix == ".csv" else ParquetTable(path, section)
    twice = sorted({name for name in table.columns if table.columns.count(name) > 1})
    if twice:
        raise DataError(f"{path} has the column '{twice[0]}' twice; rename one of them")
    return table


def check_column(table: TableFile, column: str, setting: str) -> None:
    """Refuse a column that the table lacks.

    Args:
        table: the table.
        column: its name.
        setting: of the study, which chose it.

    Raises:
        DataError: says what columns there are and which setting chooses another.
    """
    if column not in table.columns:
        raise DataError(
            f"{table.path} has no column '{column}': {suggest(column, table.columns)} "
            f"Set {setting} to the right one."
        )


def check_paths(table: TableFile, column: str, folder: Path) -> None:
    """Refuse paths of images that lead out of the folder, and an image that is listed twice.

    Raises:
        DataError: one error for all of them.
    """
    first, problems = dict[Path, int](), []
    for row, name in enumerate(table.names(column)):
        try:
            path = inside(folder, name)
        except ValueError as error:
            problems.append(f"{row_name(row)} ('{name or ''}') {error}")
            continue
        if first.setdefault(path, row) != row:
            problems.append(f"{row_name(row)} has the image '{name}' of {row_name(first[path])}")
    if problems:
        raise DataError(
            f"{table.path}: list each image once, by a path inside the folder: {listed(problems)}"
        )


@dataclass(frozen=True, eq=False)
class CsvTable:
    """A CSV file, in memory as text; its images are files."""

    path: Path
    columns: tuple[str, ...]
    rows: list[list[str]]

    def __len__(self) -> int:
        return len(self.rows)

    def values(self, column: str) -> list[Any]:
        """Return a column."""
        place = self.columns.index(column)
        return [row[place] for row in self.rows]

    def value_names(self, column: str) -> None:  # noqa: ARG002 - CSV has no place for them
        """Return None: values are names themselves."""
        return

    def are_files(self, column: str) -> bool:  # noqa: ARG002
        """Say that all images are files."""
        return True

    def names(self, column: str) -> list[str | None]:
        """Return the paths of a column of images."""
        return [value or None for value in self.values(column)]

    def pictures(self, column: str, rows: np.ndarray | None = None) -> Iterator[Picture]:
        """Yield these rows of a column of images, ascending."""
        names = self.names(column)
        for row in range(len(names)) if rows is None else np.unique(rows).tolist():
            yield Picture(row, None, names[row])


def _read_csv(path: Path) -> CsvTable:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            header = tuple(next(reader, ()))
            _check_separator(path, header)
            rows = []
            for row in reader:
                if len(row) != len(header) and row:
                    raise DataError(
                        f"{path} has {len(row)} cells in line {reader.line_num} where its header "
                        f"has {len(header)}; the separator is a comma, and text that holds one "
                        "needs double quotes"
                    )
                rows += [row] if row else []
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"cannot read {path} as CSV in UTF-8: {error}") from error
    return CsvTable(path, header, rows)


def _check_separator(path: Path, header: tuple[str, ...]) -> None:
    for separator, name in ((";", "semicolons"), ("\t", "tabs")):
        if len(header) == 1 and separator in header[0]:
            raise DataError(
                f"{path} seems to be separated by {name}: its header is the one cell "
                f"'{header[0]}'. Save it with commas, or as Parquet"
            )


@dataclass(frozen=True)
class ParquetTable:
    """A Parquet file, read a column or a row group at a time."""

    path: Path
    section: str

    @cached_property
    def _file(self) -> Any:
        import pyarrow.parquet as pq

        with self._errors():
            return pq.ParquetFile(self.path)

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns."""
        return tuple(self._file.schema_arrow.names)

    def __len__(self) -> int:
        return int(self._file.metadata.num_rows)

    def values(self, column: str) -> list[Any]:
        """Return a column."""
        with self._errors():  # "a" also reads a column "a.b": take the one that is meant
            values: list[Any] = self._file.read(columns=[column]).column(column).to_pylist()
        return values

    @property
    def group_rows(self) -> list[int]:
        """Number of rows of every row group."""
        metadata = self._file.metadata
        return [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)]

    def read_group(self, group: int, column: str) -> Any:
        """Return a column of one row group; called by several threads at once."""
        import pyarrow.parquet as pq

        with self._errors(), pq.ParquetFile(self.path, metadata=self._file.metadata) as file:
            return file.read_row_group(group, columns=[column], use_threads=False).column(column)

    def value_names(self, column: str) -> Sequence[str] | None:
        """Return the names of a Hugging Face ``ClassLabel``."""
        text = (self._file.schema_arrow.metadata or {}).get(b"huggingface", b"{}")
        try:
            names = json.loads(text)["info"]["features"][column]["names"]
        except (KeyError, TypeError, ValueError):
            return None
        return names if isinstance(names, list) else None

    def are_files(self, column: str) -> bool:
        """Say whether a column holds paths alone."""
        return bool(self.kind(column) == "path")

    def names(self, column: str) -> list[str | None]:
        """Return the paths of a column of images."""
        import pyarrow.compute as pc

        kind = self.kind(column)
        if kind == "bytes":
            return [None] * len(self)
        if kind == "path":
            return self.values(column)
        if kind.get_field_index("path") < 0:
            return [None] * len(self)
        with self._errors():
            read = self._file.read(columns=[f"{column}.path"]).column(column)
            paths = pc.struct_field(read, "path")
        return [value or None for value in paths.to_pylist()]

    def pictures(self, column: str, rows: np.ndarray | None = None) -> Iterator[Picture]:
        """Yield these rows of a column of images, ascending; one row group is in memory."""
        kind = self.kind(column)
        wanted = np.arange(len(self)) if rows is None else np.unique(rows)
        start = 0
        for group in range(self._file.num_row_groups):
            end = start + self._file.metadata.row_group(group).num_rows
            mine = wanted[(wanted >= start) & (wanted < end)]
            if len(mine):
                with self._errors():
                    values = self._file.read_row_group(group, columns=[column]).column(column)
                    chosen = values.take(mine - start).to_pylist()
                for row, value in zip(mine.tolist(), chosen, strict=True):
                    yield picture(row, value, kind)
            start = end

    def kind(self, column: str) -> Any:
        """Return ``path``, ``bytes`` or the struct type of a column of images."""
        from pyarrow import types

        kind = self._file.schema_arrow.field(column).type
        value = kind.value_type if types.is_dictionary(kind) else kind
        if types.is_string(value) or types.is_large_string(value):
            return "path"
        if types.is_binary(value) or types.is_large_binary(value):
            return "bytes"
        if types.is_struct(kind) and kind.get_field_index("bytes") >= 0:
            return kind
        raise DataError(
            f"{self.path}: the column '{column}' is of type {kind}; images are paths (string), "
            "encoded images (binary) or struct<bytes, path>. Set "
            f"{self.section}.image_column to such a column"
        )

    @contextmanager
    def _errors(self) -> Iterator[None]:
        import pyarrow as pa

        try:
            yield
        except (OSError, pa.ArrowException) as error:
            raise DataError(
                f"cannot read {self.path} as Parquet: {error}. Copy or make it anew"
            ) from error


def picture(row: int, value: Any, kind: Any) -> Picture:
    """Return what a value of a Parquet column of images of this kind holds."""
    if kind == "path":
        return Picture(row, None, value or None)
    if kind == "bytes":
        return Picture(row, value, None)
    fields: Mapping[str, Any] = value or {}
    return Picture(row, fields.get("bytes"), fields.get("path") or None)
