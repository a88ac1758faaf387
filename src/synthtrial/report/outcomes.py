"""What came out of each planned trial: its record, joined with what the plan says of it.

A part of :mod:`synthtrial.report.sources`. Works on whole columns and reads no others than the
tables need, since a study may have a million trials.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from synthtrial.errors import ConfigError
from synthtrial.report.columns import CURVE_COLUMNS, TRIAL_COLUMNS, empty
from synthtrial.report.composite import compose, compose_curves
from synthtrial.report.facts import Design
from synthtrial.store.artifacts import Store
from synthtrial.store.records import read_records
from synthtrial.store.records_schema import METRIC_COLUMNS, OVERALL

if TYPE_CHECKING:
    from numpy.typing import NDArray

_NUMBERS = ("epochs", "best_epoch", "steps", "n_real", "n_added", "seconds")
_TEXTS = ("message", "code_digest")


@dataclass(frozen=True)
class Outcomes:
    """Trials with what came of them.

    Attributes:
        trials: one row a trial (``TRIAL_COLUMNS``).
        class_scores: test score of each class, index as ``trials``.
        others: the fields ``validation_scores`` and ``made_scores`` of the facts, where known.
        parts: by id of a joined trial the ids of its trainings, where these are several.
    """

    trials: pd.DataFrame
    class_scores: pd.DataFrame
    others: Mapping[str, pd.DataFrame]
    parts: Mapping[str, tuple[str, ...]]


def read_outcomes(store: Store, planned: pd.DataFrame, design: Design) -> Outcomes:
    """Join what was planned with what the records say came out.

    Args:
        store: where.
        planned: of :func:`synthtrial.report.planned.planned_trials`.
        design: of the study.

    Raises:
        ConfigError: ``statistics.per_class`` names a metric that has one value for all classes.
        DamagedArtifactError: the records are damaged.
    """
    records = _matched(read_records(store, columns=_columns(design)), planned.trial_id)
    _check_class_metric(records, store, planned, design)
    by_class = design.select_over == "per_class"
    trials = planned.assign(**_plain(records))
    chosen = design.minority if design.select_over != "macro_all" else ()
    trials["overall"] = _scores(records, "test", design.overall_metric, design.overall_classes)
    trials["validation"] = _scores(records, "validation", design.selector, chosen)
    for target in design.minority if by_class else ():
        mine = ((trials.target == target) & trials.recorded.notna()).to_numpy()
        for column, split, metric in (
            ("overall", "test", design.overall_metric),
            ("validation", "validation", design.selector),
        ):
            trials.loc[mine, column] = _scores(records, split, metric, (target,))[mine]
    # A failure that will be tried again is still to do, whatever its record says.
    settled = trials.status == "settled"
    trials["status"] = trials.recorded.where(settled & trials.recorded.notna(), trials.status)
    trials.loc[trials.status == "settled", "status"] = "failed"
    trials["message"] = trials.message.where(trials.status != "blocked", trials.cause)
    trials = trials[[*TRIAL_COLUMNS, "target"]].astype({**TRIAL_COLUMNS, "target": "str"})
    scores = _class_scores(records, "test", design, trials.index)
    if by_class:
        trials, scores, parts = compose(trials, scores, design.minority)
        return Outcomes(trials, scores, {}, parts)
    others = {
        f"{split}_scores": _class_scores(records, split, design, trials.index)
        for split in ("validation", "made")
    }
    return Outcomes(trials[list(TRIAL_COLUMNS)], scores, others, {})


def _columns(design: Design) -> list[str]:
    """Return the columns of records that trials and their scores are made from."""
    metrics = {
        "test": (design.overall_metric, design.class_metric),
        "validation": (design.selector, design.class_metric),
        "made": (design.class_metric,),
    }
    nested = [f"{split}.{name}" for split in METRIC_COLUMNS for name in metrics[split]]
    return ["trial_id", "status", *_TEXTS, "stamps", *_NUMBERS, *nested]


def _matched(records: pa.Table, trial_ids: pd.Series) -> pa.Table:
    """Return a row for each of these trials, of nulls where there is no record."""
    wanted = pa.array(trial_ids, pa.string())
    rows = pc.index_in(wanted, records["trial_id"].combine_chunks())
    return records.combine_chunks().take(rows)


def _plain(records: pa.Table) -> dict[str, Any]:
    """Return what trials have beside scores; ``recorded`` is the record's status."""
    texts = {name: records[name] for name in _TEXTS}
    texts["stamps"] = pc.binary_join(records["stamps"], ",")
    return {
        "recorded": records["status"].to_pandas(),
        **{name: pc.fill_null(texts[name], "").to_pandas() for name in texts},
        **{name: _floats(records[name]) for name in _NUMBERS},
    }


def _field(records: pa.Table, split: str, metric: str) -> Any:
    column = records[split].combine_chunks()
    kind = column.type
    if not pa.types.is_struct(kind) or kind.get_field_index(metric) < 0:
        return None
    return pc.struct_field(column, [metric])  # null where the whole struct is


def _floats(values: Any) -> NDArray[np.float64]:
    array: NDArray[np.float64] = values.cast(pa.float64()).to_numpy(zero_copy_only=False)
    return array


def _by_class(values: Any, classes: Sequence[str]) -> NDArray[np.float64]:
    """Return a metric of each class, shape (records, classes); NaN where undefined."""
    values_NK = np.full((len(values), len(classes)), np.nan, order="F")
    for place, name in enumerate(classes):
        if values.type.get_field_index(name) >= 0:
            values_NK[:, place] = _floats(pc.struct_field(values, [name]))
    return values_NK


def _class_scores(
    records: pa.Table, split: str, design: Design, index: pd.Index[Any]
) -> pd.DataFrame:
    values = _field(records, split, design.class_metric)
    if values is None or not pa.types.is_struct(values.type):
        values = pa.nulls(records.num_rows, pa.struct([]))
    return pd.DataFrame(
        _by_class(values, design.classes), columns=list(design.classes), index=index, copy=False
    )


def _scores(records: pa.Table, split: str, metric: str, over: Sequence[str]) -> NDArray[np.float64]:
    """Return one score a record, as :func:`synthtrial.classify.metrics.score` does.

    The metric, or its mean over those classes (all where none is named) that it is defined for.
    """
    values = _field(records, split, metric)
    if values is None:
        return np.full(records.num_rows, np.nan)
    if not pa.types.is_struct(values.type):
        return _floats(values)
    names = [field.name for field in values.type if not over or field.name in over]
    values_NK = _by_class(values, names)
    known_N = (~np.isnan(values_NK)).sum(axis=1)
    mean_N = np.full(len(values_NK), np.nan)
    np.divide(np.nansum(values_NK, axis=1), known_N, out=mean_N, where=known_N > 0)
    return mean_N


def _check_class_metric(
    records: pa.Table, store: Store, planned: pd.DataFrame, design: Design
) -> None:
    """Refuse a metric of single classes that has one value for all of them."""
    if not _shapes(records, design.classes, [design.class_metric])[0]:
        return
    everything = _matched(read_records(store), planned.trial_id)
    single, by_class = _shapes(everything, design.classes)
    allowed = sorted(by_class - single)
    hint = (
        f"set it to one of {', '.join(allowed)}; no trial need run again for it"
        if allowed
        else "the records hold no metric of single classes: add one, such as recall, to "
        "`metrics` and run the study again"
    )
    raise ConfigError(
        f"statistics.per_class is '{design.class_metric}', which is one number for all "
        f"classes: {hint}"
    )


def _shapes(
    records: pa.Table, classes: Sequence[str], metrics: Sequence[str] | None = None
) -> tuple[set[str], set[str]]:
    """Return which metrics (of those named) are one number, and which have one for each class."""
    single: set[str] = set()
    by_class: set[str] = set()
    for split in METRIC_COLUMNS:
        for field in records[split].type:
            if metrics is not None and field.name not in metrics:
                continue
            values = _field(records, split, field.name)
            if not pa.types.is_struct(values.type):
                single |= {field.name} if values.null_count < len(values) else set()
                continue
            names = {part.name for part in values.type if part.name in classes}
            by_class |= {field.name} if names else set()
            # Where another study's records have the metric by class, a number is filed apart.
            if OVERALL not in names and values.type.get_field_index(OVERALL) >= 0:
                numbers = pc.struct_field(values, [OVERALL])
                single |= {field.name} if numbers.null_count < len(numbers) else set()
    return single, by_class


def read_curves(store: Store, found: Outcomes) -> pd.DataFrame:
    """Return the loss curves of the replicates that are done (``CURVE_COLUMNS``)."""
    trials, parts = found.trials, found.parts
    wanted = trials.trial_id[(trials.stage == "replicate") & (trials.status == "done")]
    ids = [id_ for whole in wanted for id_ in parts.get(whole, (whole,))] if parts else list(wanted)
    mine = read_records(store, columns=["trial_id", "curves"], trial_ids=ids)
    curves = mine["curves"].combine_chunks()
    epochs = pc.struct_field(curves, ["epoch"])
    if not pc.sum(pc.list_value_length(epochs)).as_py():
        return empty(CURVE_COLUMNS)
    columns = {"trial_id": mine["trial_id"].take(pc.list_parent_indices(epochs))}
    for name in ("epoch", "train_loss", "validation_loss"):
        columns[name] = pc.list_flatten(pc.struct_field(curves, [name]))
    frame = pa.table(columns).to_pandas().astype(CURVE_COLUMNS)
    return compose_curves(frame, dict(parts)) if parts else frame
