"""Labels of images made elsewhere, matched with the dataset's classes by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from synthtrial.data.listings import TableFile, check_column, in_words, row_name
from synthtrial.errors import DataError, suggest
from synthtrial.store.shards import PREFIX

_MARKS: Mapping[str, int] = {"1": 1, "1.0": 1, "true": 1, "0": 0, "0.0": 0, "false": 0}


def labels_by_name(file: TableFile, column: str, classes: Sequence[str]) -> np.ndarray:
    """Read a column that names the class of each row.

    Numbers stand for names where the file says which (a Hugging Face ``ClassLabel``); otherwise
    they are names themselves, as those of the digits.

    Returns:
        labels_NK, int8: 1 or 0, columns as ``classes``.

    Raises:
        DataError: there is no such column, or a value is no class of the dataset.
    """
    check_column(file, column, "generator.label_column")
    values, names = file.values(column), file.value_names(column)
    place = {name: k for k, name in enumerate(classes)}
    meant: dict[Any, str] = {value: in_words(value, names) for value in set(values)}
    for row, value in enumerate(values):
        if meant[value] not in place:
            raise DataError(
                f"{file.path}, {row_name(row)}: '{meant[value]}' in the column '{column}' is no "
                f"class of the dataset: {suggest(meant[value], classes)}"
            )
    labels_NK = np.zeros((len(values), len(classes)), dtype=np.int8)
    labels_NK[np.arange(len(values)), [place[meant[value]] for value in values]] = 1
    return labels_NK


def labels_by_column(file: TableFile, classes: Sequence[str], image_column: str) -> np.ndarray:
    """Read a column ``label.<class>`` or ``<class>`` of 1 and 0 for every class.

    Returns:
        labels_NK, int8: 1 or 0, columns as ``classes``.

    Raises:
        DataError: a class has no column or two, ``label.<x>`` belongs to no class, or a value is
            neither 1 nor 0.
    """
    others = [name for name in file.columns if name != image_column]
    labels_NK = np.empty((len(file), len(classes)), dtype=np.int8)
    found = {c: [name for name in (PREFIX + c, c) if name in others] for c in classes}
    missing = [name for name, columns in found.items() if not columns]
    if missing:
        raise DataError(
            f"{file.path} has no column '{PREFIX}{missing[0]}' or '{missing[0]}' for the class "
            f"'{missing[0]}' ({len(missing)} of {len(classes)} classes have none): "
            f"{suggest(missing[0], others)} Where one column names the class of each row, set "
            "generator.label_column to it."
        )
    for name in others:
        if name.startswith(PREFIX) and name.removeprefix(PREFIX) not in found:
            raise DataError(
                f"{file.path} has the column '{name}', but the dataset has no such class: "
                f"{suggest(name.removeprefix(PREFIX), classes)} Remove or rename it."
            )
    for k, (name, columns) in enumerate(found.items()):
        if len(columns) > 1:
            raise DataError(f"{file.path} has two columns for the class '{name}': {columns}")
        values = file.values(columns[0])
        marks = {value: _MARKS.get(str(value).strip().lower()) for value in set(values)}
        for row, value in enumerate(values):
            mark = marks[value]
            if mark is None:
                raise DataError(
                    f"{file.path}, {row_name(row)}: {value!r} in the column '{columns[0]}'; "
                    "allowed: 1 and 0, as a made image shows a class or does not"
                )
            labels_NK[row, k] = mark
    return labels_NK
