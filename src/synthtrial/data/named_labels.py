"""Classes and groups that a column of a table names, row by row."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from synthtrial.data.listings import TableFile, in_words, row_name
from synthtrial.errors import DataError


def class_names(
    tables: Sequence[TableFile], column: str, rows: Iterable[int] | None = None
) -> tuple[tuple[str, ...], bool]:
    """Return the classes that a column of some tables holds.

    Args:
        tables: with this column.
        column: its name.
        rows: those of each table that count; by default all.

    Returns:
        Their names in the order that reports show: that of a Hugging Face ``ClassLabel``, else
        ascending; and whether numbers stand for them.

    Raises:
        DataError: the tables name classes differently, or a row holds several.
    """
    given = [table.value_names(column) for table in tables]
    if given[0] is not None:
        for table, names in zip(tables, given, strict=True):
            if names is None or list(names) != list(given[0]):
                raise DataError(
                    f"{table.path} names the classes of '{column}' otherwise than "
                    f"{tables[0].path}; all files of a dataset need the same names in one order"
                )
        return tuple(map(str, given[0])), True
    found: set[Any] = set()
    for table in tables:
        for _, value in _values(table, column, rows):
            if isinstance(value, list | dict):
                raise DataError(
                    f"{table.path}: the column '{column}' holds lists; an image has one class here"
                )
            found.add(value)
    found -= {None, ""}
    order = sorted(found, key=lambda value: (isinstance(value, str), value))
    return tuple(map(str, order)), False


def named_labels(
    table: TableFile,
    column: str,
    classes: Sequence[str],
    *,
    numbers: bool,
    rows: Iterable[int] | None = None,
) -> list[str]:
    """Return the class of every row.

    Raises:
        DataError: a row has none, or one that is unknown.
    """
    values = _values(table, column, rows)
    meant = {value: in_words(value, classes if numbers else None) for _, value in values}
    known = set(classes)
    for row, value in values:
        outside = numbers and isinstance(value, int) and not 0 <= value < len(classes)
        if outside or meant[value] not in known:
            what = "no label" if value in (None, "", -1) else f"the unknown label '{value}'"
            raise DataError(
                f"{table.path}, {row_name(row)} has {what} in the column '{column}'; correct it, "
                "or leave the row out"
            )
    return [meant[value] for _, value in values]


def named_groups(table: TableFile, column: str, rows: Iterable[int] | None = None) -> list[str]:
    """Return the group of every row.

    Raises:
        DataError: a row names none.
    """
    values = _values(table, column, rows)
    for row, value in values:
        if value in (None, ""):
            raise DataError(
                f"{table.path}, {row_name(row)} has no group in the column '{column}'; correct it, "
                "or leave the row out"
            )
    return [str(value) for _, value in values]


def _values(table: TableFile, column: str, rows: Iterable[int] | None) -> list[tuple[int, Any]]:
    values = table.values(column)
    return list(enumerate(values)) if rows is None else [(row, values[row]) for row in rows]
