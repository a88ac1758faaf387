"""The columns of trial records, and how tables with different metrics become one.

A row is a plain dict with the keys of :data:`COLUMNS`; absent keys are null. ``validation`` and
``test`` are structs of metrics: a metric is one number or a struct of numbers named by class. The
structs of different studies differ, so schemas are merged here, field by field, and never left to
the reader's guess (``pyarrow.dataset`` drops fields that the first file lacks).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from synthtrial.errors import StoreError

METRIC_COLUMNS = ("validation", "test")
OVERALL = "overall"  # where a number goes when other records hold the same metric per class
COLUMNS: dict[str, Any] = {
    "trial_id": pa.string(),
    "kind": pa.string(),
    "status": pa.string(),
    "attempt": pa.int32(),
    "message": pa.string(),
    "study": pa.string(),
    "stage": pa.string(),
    "arm": pa.string(),
    "regimen": pa.float64(),
    "configuration": pa.string(),
    "draw": pa.int32(),
    "replicate": pa.int32(),
    "steps": pa.int64(),
    "epochs": pa.int32(),
    "best_epoch": pa.int32(),
    "n_real": pa.int64(),
    "n_added": pa.int64(),
    "parameters": pa.int64(),
    "validation": pa.struct([]),
    "test": pa.struct([]),
    "curves": pa.struct(
        [
            ("epoch", pa.list_(pa.int32())),
            ("train_loss", pa.list_(pa.float64())),
            ("validation_loss", pa.list_(pa.float64())),
            ("validation_score", pa.list_(pa.float64())),
        ]
    ),
    "seconds": pa.float64(),
    "host": pa.string(),
    "device": pa.string(),
    "threads": pa.int32(),
    "code_digest": pa.string(),
    "stamps": pa.list_(pa.string()),
    "engine": pa.string(),
    "started_at": pa.string(),
}
REQUIRED = ("trial_id", "kind", "status", "attempt")
STATUSES = ("done", "diverged", "failed")  # best first


def plain(value: Any) -> Any:
    """Turn NumPy scalars and arrays into plain data, for ``json.dumps(default=...)``."""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return value.tolist()
    raise TypeError(f"a record cannot hold a {type(value).__name__}: {value!r}")


def check_row(row: Mapping[str, Any]) -> None:
    """Refuse a row that could not become a record.

    Raises:
        StoreError: a column is unknown or missing, or a value has the wrong type.
    """
    unknown = sorted(set(row) - set(COLUMNS))
    missing = [name for name in REQUIRED if row.get(name) is None]
    if unknown or missing:
        raise StoreError(
            f"a record has unknown columns {unknown} and lacks {missing}. "
            f"Allowed: {', '.join(COLUMNS)}; needed: {', '.join(REQUIRED)}."
        )
    if row["status"] not in STATUSES:
        raise StoreError(f"a record's status is {row['status']!r}. Allowed: {', '.join(STATUSES)}.")
    for name, value in row.items():
        if value is not None:
            _column(name, [value])


def to_table(rows: Sequence[Mapping[str, Any]]) -> pa.Table:
    """Return rows as a table with the columns of :data:`COLUMNS`.

    Raises:
        StoreError: a value has the wrong type.
    """
    columns = [_column(name, [row.get(name) for row in rows]) for name in COLUMNS]
    return pa.table(columns, names=list(COLUMNS))


def _column(name: str, values: Sequence[Any]) -> pa.Array:
    try:
        return _metrics(values) if name in METRIC_COLUMNS else pa.array(values, COLUMNS[name])
    except (pa.ArrowException, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise StoreError(f"a record's {name!r} has the wrong type: {error}") from error


def _metrics(values: Sequence[Mapping[str, Any] | None]) -> pa.Array:
    """Turn metrics of many rows into one struct array; an empty mapping counts as null."""
    classes: dict[str, set[str]] = {}
    numbers: set[str] = set()
    for value in values:
        for metric, score in (value or {}).items():
            if isinstance(score, Mapping):
                classes.setdefault(metric, set()).update(score)
            else:
                classes.setdefault(metric, set())
                if score is not None:
                    numbers.add(metric)
    for metric in numbers:
        if classes[metric]:
            classes[metric].add(OVERALL)
    fields = []
    for metric in sorted(classes):  # a metric that is undefined in all rows has no type yet
        single = pa.float64() if metric in numbers else pa.null()
        fields.append((metric, _class_struct(classes[metric]) if classes[metric] else single))
    rows = [
        {m: _as_struct(score) if classes[m] else score for m, score in value.items()}
        if value
        else None
        for value in values
    ]
    return pa.array(rows, pa.struct(fields)) if fields else pa.nulls(len(rows), pa.struct([]))


def _class_struct(names: set[str]) -> pa.DataType:
    return pa.struct([(name, pa.float64()) for name in sorted(names)])


def _as_struct(score: Any) -> Any:
    return score if score is None or isinstance(score, Mapping) else {OVERALL: score}


def merge(tables: Sequence[pa.Table]) -> pa.Table:
    """Concatenate tables of records whose metrics differ; absent fields become null."""
    if not tables:
        return to_table([])
    columns = []
    for name, kind in COLUMNS.items():
        present = [t.column(name) if name in t.column_names else _nulls(t) for t in tables]
        chunks = [chunk for column in present for chunk in column.chunks]
        target = kind
        if name in METRIC_COLUMNS:
            for column in present:
                target = _merged_type(target, column.type)
        columns.append(pa.chunked_array([_conform(chunk, target) for chunk in chunks], target))
    return pa.table(columns, names=list(COLUMNS))


def _nulls(table: pa.Table) -> pa.ChunkedArray:
    return pa.chunked_array([pa.nulls(table.num_rows)])


def _merged_type(one: pa.DataType, other: pa.DataType) -> pa.DataType:
    """Return the smallest type that both fit, for metric columns, metrics and class values."""
    if pa.types.is_null(one):
        return other
    if one == other or pa.types.is_null(other) or (not _is_struct(other) and not _is_struct(one)):
        return one
    if not _is_struct(one):
        one = pa.struct([(OVERALL, pa.float64())])
    if not _is_struct(other):
        other = pa.struct([(OVERALL, pa.float64())])
    fields = {field.name: field.type for field in one}
    for field in other:
        known = fields.get(field.name)
        fields[field.name] = field.type if known is None else _merged_type(known, field.type)
    return pa.struct(sorted(fields.items()))


def _conform(array: pa.Array, target: pa.DataType) -> pa.Array:
    if array.type == target:
        return array
    if pa.types.is_null(array.type):
        return pa.nulls(len(array), target)
    if not _is_struct(target):
        return array.cast(target)
    if not _is_struct(array.type):  # one number where others hold one per class
        array = pa.StructArray.from_arrays([array], [OVERALL], mask=array.is_null())
    children = dict(zip((field.name for field in array.type), array.flatten(), strict=True))
    arrays = [
        _conform(children[field.name], field.type)
        if field.name in children
        else pa.nulls(len(array), field.type)
        for field in target
    ]
    return pa.StructArray.from_arrays(arrays, fields=list(target), mask=array.is_null())


def _is_struct(kind: pa.DataType) -> bool:
    return bool(pa.types.is_struct(kind))
