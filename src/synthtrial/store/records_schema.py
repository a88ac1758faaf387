"""The columns of trial records, and how tables with different metrics become one.

A row is a plain dict with the keys of :data:`COLUMNS`; absent keys are null. ``validation``,
``test`` and ``made`` (the made images that were trained on) are structs of metrics: a metric is one
number or a struct of numbers named by class. The structs of different studies differ, so
schemas are merged here, field by field, and never left to the reader's guess (``pyarrow.dataset``
drops fields that the first file lacks).
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from synthtrial.errors import StoreError

METRIC_COLUMNS = ("validation", "test", "made")
_NO_METRICS = pa.struct([])
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
    "validation": _NO_METRICS,
    "test": _NO_METRICS,
    "made": _NO_METRICS,
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
STATUSES = ("done", "diverged", "stopped", "failed")  # best first


def encode_row(row: Mapping[str, Any]) -> bytes:
    """Return a checked row as JSON, NumPy values made plain.

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
    text = _json(row)
    for name, value in json.loads(text).items():
        fits = _fits_metrics(value) if name in METRIC_COLUMNS else _fits(value, COLUMNS[name])
        if not fits:
            raise StoreError(f"a record's {name!r} has the wrong type: {row[name]!r}")
    return text


def _json(row: Mapping[str, Any]) -> bytes:
    try:
        text = json.dumps(row, default=_plain, ensure_ascii=False, separators=(",", ":"))
    except (TypeError, ValueError) as error:
        raise StoreError(f"a record has a value of the wrong type: {error}") from error
    return text.encode("utf-8", "replace")  # messages may quote file names that are no Unicode


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return value.tolist()
    raise TypeError(f"a record cannot hold a {type(value).__name__}: {value!r}")


def _fits(value: Any, kind: Any) -> bool:
    if value is None:
        return True
    if pa.types.is_string(kind):
        return isinstance(value, str)
    if pa.types.is_integer(kind):
        return type(value) is int and -(2 ** (kind.bit_width - 1)) <= value < 2 ** (
            kind.bit_width - 1
        )
    if pa.types.is_floating(kind):
        return type(value) in (int, float)
    if pa.types.is_list(kind):
        return isinstance(value, list) and all(_fits(item, kind.value_type) for item in value)
    types = {field.name: field.type for field in kind}
    return isinstance(value, dict) and all(
        name in types and _fits(item, types[name]) for name, item in value.items()
    )


def _fits_metrics(value: Any) -> bool:
    if value is None:
        return True
    if not isinstance(value, dict):
        return False
    number = pa.float64()
    return all(
        all(_fits(score, number) for score in scores.values())
        if isinstance(scores, dict)
        else _fits(scores, number)
        for scores in value.values()
    )


def to_table(rows: Sequence[Mapping[str, Any]]) -> pa.Table:
    """Return rows, each as :func:`encode_row` accepts it, as a table.

    Goes through Arrow's own JSON reader: ``pa.array`` would import pandas.

    Raises:
        StoreError: a value has the wrong type.
    """
    kinds = dict(COLUMNS)
    for name in METRIC_COLUMNS:
        kinds[name] = _metrics_type([row.get(name) for row in rows])
    empty = [name for name, kind in kinds.items() if kind == _NO_METRICS]
    fields = [(name, kind) for name, kind in kinds.items() if name not in empty]
    schema = pa.schema(fields)
    table = pa.Table.from_arrays([pa.nulls(0, kind) for _, kind in fields], schema=schema)
    if rows:
        import pyarrow.json as pj

        text = b"\n".join(_json(_conforming(row, kinds)) for row in rows)
        options = pj.ParseOptions(explicit_schema=schema, unexpected_field_behavior="ignore")
        whole = pj.ReadOptions(use_threads=False, block_size=len(text) + 1)
        try:
            table = pj.read_json(io.BytesIO(text), read_options=whole, parse_options=options)
        except pa.ArrowInvalid as error:
            raise StoreError(f"records have values of the wrong type: {error}") from error
    for name in empty:
        table = table.append_column(name, _nulls(table, _NO_METRICS))
    return table.select(list(COLUMNS))


def _metrics_type(values: Sequence[Mapping[str, Any] | None]) -> pa.DataType:
    """Return the struct type that holds the metrics of many rows."""
    classes: dict[str, set[str]] = {}
    numbers: set[str] = set()
    for value in values:
        for metric, score in (value or {}).items():
            names = classes.setdefault(metric, set())
            if isinstance(score, Mapping):
                names.update(score)
            elif score is not None:
                numbers.add(metric)
    fields = []
    for metric in sorted(classes):
        names = classes[metric] | ({OVERALL} if classes[metric] and metric in numbers else set())
        # A metric that is undefined in all rows has no type yet.
        single = pa.float64() if metric in numbers else pa.null()
        struct = pa.struct([(name, pa.float64()) for name in sorted(names)])
        fields.append((metric, struct if names else single))
    return pa.struct(fields)


def _conforming(row: Mapping[str, Any], kinds: Mapping[str, pa.DataType]) -> dict[str, Any]:
    """Put single numbers where the table's type has a struct; empty structs become null."""
    changed = dict(row)
    for name in METRIC_COLUMNS:
        kind, value = kinds[name], row.get(name)
        changed[name] = {
            metric: {OVERALL: score}
            if _is_struct(kind.field(metric).type) and not isinstance(score, Mapping | None)
            else score or None
            if isinstance(score, Mapping)
            else score
            for metric, score in (value or {}).items()
        } or None
    return changed


def merge(tables: Sequence[pa.Table], columns: Sequence[str] | None = None) -> pa.Table:
    """Concatenate tables of records whose metrics differ; absent fields become null.

    Args:
        tables: of records, each with some of the columns.
        columns: those of the result, ``test.recall`` for one metric of a struct; by default all.
    """
    if not tables:
        tables = [to_table([])]
    arrays = []
    for name in COLUMNS if columns is None else top_names(columns):
        present = [t.column(name) if name in t.column_names else _nulls(t) for t in tables]
        chunks = [chunk for column in present for chunk in column.chunks]
        target = COLUMNS[name]
        if name in METRIC_COLUMNS:
            for column in present:
                target = _merged_type(target, column.type)
            if columns is not None and name not in columns:
                target = pa.struct([f for f in target if f"{name}.{f.name}" in columns])
        arrays.append(pa.chunked_array([_conform(chunk, target) for chunk in chunks], target))
    return pa.table(arrays, names=list(COLUMNS) if columns is None else top_names(columns))


def top_names(columns: Sequence[str]) -> list[str]:
    """Return the columns of a table that holds these columns and metrics of structs."""
    tops = (name.partition(".")[0] if name not in COLUMNS else name for name in columns)
    return list(dict.fromkeys(tops))


def strings(values: Sequence[str]) -> pa.Array:
    """Return texts as Arrow holds them, without what ``pa.array`` would import."""
    encoded = [value.encode() for value in values]
    ends = np.cumsum([0, *map(len, encoded)], dtype=np.int32)
    buffers = [None, pa.py_buffer(ends), pa.py_buffer(b"".join(encoded))]
    return pa.Array.from_buffers(pa.string(), len(encoded), buffers)


def _nulls(table: pa.Table, kind: pa.DataType = None) -> pa.ChunkedArray:
    return pa.chunked_array([pa.nulls(table.num_rows, kind)])


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
    if pa.types.is_null(array.type) or target == _NO_METRICS:
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
