"""What came out of each planned trial: its record, joined with what the plan says of it.

A part of :mod:`synthtrial.report.sources`. Works on whole columns and reads no others than the
tables need, since a study may have a million trials.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
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
from synthtrial.store.deduplication import Rows
from synthtrial.store.records import read_counting, read_records
from synthtrial.store.records_schema import METRIC_COLUMNS, OVERALL

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Places = NDArray[np.intp]  # of each trial's record, -1 where it has none

_NUMBERS = ("epochs", "best_epoch", "steps", "n_real", "n_added", "seconds", "threads")
_TEXTS = ("message", "code_digest", "device")


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


def read_outcomes(
    store: Store, planned: pd.DataFrame, design: Design, spent: Mapping[str, float]
) -> Outcomes:
    """Join what was planned with what the records say came out.

    Args:
        store: where.
        planned: of :func:`synthtrial.report.planned.planned_trials`.
        design: of the study.
        spent: seconds that trials took which were tried several times, all tries together.

    Raises:
        ConfigError: ``statistics.per_class`` names a metric that has one value for all classes.
        DamagedArtifactError: the records are damaged.
    """
    records, counting = read_counting(store, _columns(design))
    _check_class_metric(records, store, planned, design)
    rows = _rows_of(planned.trial_id, records["trial_id"], counting)
    place_N = pc.fill_null(rows, -1).to_numpy().astype(np.intp)

    def class_scores_of(split: str) -> pd.DataFrame:
        values = _class_scores(records, split, design.class_metric, design.classes, place_N)
        return pd.DataFrame(values, columns=list(design.classes), index=planned.index, copy=False)

    joined = design.select_over == "per_class"
    splits = ["test"] if joined else ["test", *_known_splits(records, design.class_metric)]
    with ThreadPoolExecutor() as pool:  # looks up in a million rows while the rest is made
        looked_up = pool.map(class_scores_of, splits)
        trials = _with_records(planned, records, rows, place_N, design, spent)
        scores, *others = looked_up
    if joined:
        trials, scores, parts = compose(trials, scores, design.minority)
        return Outcomes(trials, scores, {}, parts)
    named = {f"{split}_scores": found for split, found in zip(splits[1:], others, strict=True)}
    return Outcomes(trials[list(TRIAL_COLUMNS)], scores, named, {})


def _with_records(
    planned: pd.DataFrame,
    records: pa.Table,
    rows: pa.Array,
    place_N: Places,
    design: Design,
    spent: Mapping[str, float],
) -> pd.DataFrame:
    """Return the trials with what their records say (``TRIAL_COLUMNS`` and target)."""

    def scores_of(split: str, metric: str, over: Sequence[str]) -> NDArray[np.float64]:
        return _spread(_scores(records, split, metric, over), place_N)

    trials = planned.assign(**_texts(records, rows))
    for name in _NUMBERS:
        trials[name] = _spread(_floats(records[name]), place_N)
    trials["spent_seconds"] = trials.seconds
    again = trials.trial_id.isin(spent)
    if again.any():
        trials.loc[again, "spent_seconds"] = trials.trial_id[again].map(spent).astype(float)
    chosen = design.minority if design.select_over != "macro_all" else ()
    trials["overall"] = scores_of("test", design.overall_metric, design.overall_classes)
    trials["validation"] = scores_of("validation", design.selector, chosen)
    for target in design.minority if design.select_over == "per_class" else ():
        mine = (trials.target == target).to_numpy()
        trials.loc[mine, "overall"] = scores_of("test", design.overall_metric, (target,))[mine]
        trials.loc[mine, "validation"] = scores_of("validation", design.selector, (target,))[mine]
    # A failure that will be tried again is still to do, whatever its record says.
    settled = trials.status == "settled"
    trials["status"] = trials.recorded.where(settled & trials.recorded.notna(), trials.status)
    trials.loc[trials.status == "settled", "status"] = "failed"
    trials["message"] = trials.message.where(trials.status != "blocked", trials.cause)
    return trials[[*TRIAL_COLUMNS, "target"]].astype({**TRIAL_COLUMNS, "target": "str"})


def _known_splits(records: pa.Table, metric: str) -> list[str]:
    """Return the splits beside the test set that the metric was measured on."""
    return [split for split in ("validation", "made") if _field(records, split, metric) is not None]


def _columns(design: Design) -> list[str]:
    """Return the columns of records that trials and their scores are made from."""
    metrics = {
        "test": (design.overall_metric, design.class_metric),
        "validation": (design.selector, design.class_metric),
        "made": (design.class_metric,),
    }
    nested = [f"{split}.{name}" for split in METRIC_COLUMNS for name in metrics[split]]
    return ["trial_id", "status", *_TEXTS, "stamps", *_NUMBERS, *nested]


def _rows_of(trial_ids: pd.Series, known: pa.ChunkedArray, counting: Rows | None) -> pa.Array:
    """Return the number of each trial's row that counts, null where there is none."""
    whole = known if counting is None else known.take(pa.array(counting))
    found = pc.index_in(pa.array(trial_ids, pa.string()), whole.combine_chunks())
    return found if counting is None else pa.array(counting).take(found)


def _texts(records: pa.Table, rows: pa.Array) -> dict[str, pd.Series]:
    """Return what trials have beside numbers; ``recorded`` is the record's status."""
    stamps = pc.binary_join(records["stamps"], ",")
    columns = {name: records[name] for name in _TEXTS}
    found = {
        name: pc.fill_null(column.take(rows), "").to_pandas()
        for name, column in (columns | {"stamps": stamps}).items()
    }
    return {"recorded": records["status"].take(rows).to_pandas(), **found}


def _spread(values: NDArray[np.float64], place_N: Places) -> NDArray[np.float64]:
    """Return the value of each trial's record, NaN where it has none."""
    return np.append(values, np.nan)[place_N]


def _field(records: pa.Table, split: str, metric: str) -> Any:
    column = records[split]
    if not pa.types.is_struct(column.type) or column.type.get_field_index(metric) < 0:
        return None
    return pc.struct_field(column, [metric])  # null where the whole struct is


def _floats(values: Any) -> NDArray[np.float64]:
    array: NDArray[np.float64] = values.cast(pa.float64()).to_numpy(zero_copy_only=False)
    return array


def _class_values(values: Any, name: str) -> NDArray[np.float64]:
    """Return a class's values of a metric, shape (records,); NaN where undefined."""
    return _floats(pc.struct_field(values, [name]))


def _class_scores(
    records: pa.Table,
    split: str,
    metric: str,
    classes: Sequence[str],
    place_N: Places,
) -> NDArray[np.float64]:
    """Return the scores of each class in each trial, shape (trials, classes)."""
    values_NK = np.empty((len(place_N), len(classes)), order="F")
    values = _field(records, split, metric)
    known = values is not None and pa.types.is_struct(values.type)
    for place, name in enumerate(classes):
        if known and values.type.get_field_index(name) >= 0:
            found = np.append(_class_values(values, name), np.nan)
            # -1 wraps round to the NaN. `raise` would copy once more.
            np.take(found, place_N, out=values_NK[:, place], mode="wrap")
        else:
            values_NK[:, place] = np.nan
    return values_NK


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
    values_KN = np.array([_class_values(values, name) for name in names])
    values_KN = values_KN.reshape(len(names), records.num_rows)  # there may be no such class
    known_N = (~np.isnan(values_KN)).sum(axis=0)
    mean_N = np.full(records.num_rows, np.nan)
    np.divide(np.nansum(values_KN, axis=0), known_N, out=mean_N, where=known_N > 0)
    return mean_N


def _check_class_metric(
    records: pa.Table, store: Store, planned: pd.DataFrame, design: Design
) -> None:
    """Refuse a metric of single classes that has one value for all of them."""
    if not _shapes(records, design.classes, [design.class_metric])[0]:
        return  # in no study's records
    everything = read_records(store, trial_ids=set(planned.trial_id))
    single, by_class = _shapes(everything, design.classes)
    if design.class_metric not in single:
        return
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
            if not pa.types.is_struct(field.type):
                values = _field(records, split, field.name)
                single |= {field.name} if values.null_count < len(values) else set()
                continue
            names = {part.name for part in field.type if part.name in classes}
            by_class |= {field.name} if names else set()
            # Where another study's records have the metric by class, a number is filed apart.
            if OVERALL not in names and field.type.get_field_index(OVERALL) >= 0:
                numbers = pc.struct_field(_field(records, split, field.name), [OVERALL])
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
