"""From a study, its store and its plan to plain :class:`~synthtrial.report.facts.Facts`.

The only place of the report that knows about tasks, artifacts and records. What a trial is (its
arm, regimen, stage) is taken from the plan; a record is only asked what came out, so that studies
which share trials in one store do not mislabel each other's.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from synthtrial.classify.metrics import score
from synthtrial.data.base import restrictions_of
from synthtrial.errors import ConfigError
from synthtrial.plan import Plan
from synthtrial.published import published_of
from synthtrial.report.cams import find_maps
from synthtrial.report.columns import (
    CHOSEN_COLUMNS,
    COUNT_COLUMNS,
    CURVE_COLUMNS,
    SYNTHETIC_COLUMNS,
    TRIAL_COLUMNS,
    filled,
)
from synthtrial.report.composite import compose, compose_curves
from synthtrial.report.description import describe
from synthtrial.report.facts import Design, Facts, listing
from synthtrial.report.held_out_errors import find_errors
from synthtrial.report.made import count_tasks, find_pictures, judged, lost, trained, unreadable
from synthtrial.report.planned import planned_trials
from synthtrial.report.spending import seconds_by_task, tariff_of, work_done
from synthtrial.store.artifacts import Store, read_artifact
from synthtrial.store.records import best_records, read_records
from synthtrial.store.records_schema import METRIC_COLUMNS, OVERALL
from synthtrial.study import Study
from synthtrial.targets import Target, read_target
from synthtrial.tasks import Task
from synthtrial.upstream import allocate_task

if TYPE_CHECKING:
    from numpy.typing import NDArray

_NUMBERS = ("epochs", "best_epoch", "steps", "n_real", "n_added", "seconds", "threads")


def gather(study: Study, store: Store, plan: Plan) -> Facts:
    """Collect everything a report shows.

    Raises:
        ConfigError: ``statistics.per_class`` names a metric that has one value for all classes.
        DamagedArtifactError: a manifest, the records or a picture is damaged.
    """
    design = _with_looks(describe(study), read_target(study, store))
    named = study.settings.statistics.published
    planned = planned_trials(plan, store)
    tries = read_records(store, every_attempt=True)
    spent = seconds_by_task(tries)
    records = best_records(_matching(tries, planned.trial_id))
    _check_class_metric(records, design)
    trials, class_scores, parts = _outcomes(planned, records, design, spent)
    others: dict[str, Any] = {} if parts else _other_scores(trials, records, design)
    if study.settings.split.validation_made:  # arms are validated on unlike images
        others.pop("validation_scores", None)
    pictures, sheets, notes = find_pictures(study, store, plan)
    synthetic, regimen_images = _allocations(study, store, plan)
    own = [name for name, arm in study.arms.items() if arm.settings.fit_on == "subset"]
    mine = trials[(trials.draw == 0) & trials.n_real.notna() & trials.arm.isin(own)]
    measured = mine.groupby("regimen").n_real.first()
    facts = Facts(
        design=design,
        trials=trials,
        class_scores=class_scores,
        **others,
        counts=_counts(store, plan),
        regimen_images={float(str(k)): int(v) for k, v in measured.to_dict().items()}
        | regimen_images,
        synthetic=synthetic,
        curves=_curves(trials, records, parts),
        pictures=pictures,
        chosen=_chosen(planned, study),
        notes=(*unreadable(store, plan, design.dataset), *notes),
        published=published_of(named),
        sheets=sheets,
        planned=count_tasks(plan),
        lost=lost(plan),
        maps=find_maps(
            store,
            plan,
            shown=study.settings.store.show_restricted,
            restricted=bool(restrictions_of(study.dataset.load())),
        ),
        work=work_done(study, store, plan, spent),
        tariff=tariff_of(study, tries),
        **judged(study, store, plan),
        **trained(study, store, plan),
    )
    return dataclasses.replace(facts, **find_errors(store, plan, planned, facts))


def _with_looks(design: Design, target: Target | None) -> Design:
    """Say by what rule, and after which looks, there are so many replicates."""
    if target is None:
        return design
    rule, sentences = target.rule, []
    looks = [look for look in target.looks if look.seen]
    if rule is not None:
        sentences.append(
            f"The number of replicates follows a rule about the width of the primary interval "
            f"({rule.width:g}): it is found from the spread of the first {rule.first}, which is "
            "also that of the interval, so that its coverage is kept (Stein 1945)."
        )
    raised = [look for look in looks if "--until" not in look.by]
    if raised:
        steps = listing([f"{look.before} to {look.after}" for look in raised])
        sentences.append(
            f"The number of replicates was raised from {steps} after results could be seen. Who "
            "goes on until an interval clears zero finds it clear too often: no interval here is "
            "corrected for that."
        )
    pilot = None if rule is None else rule.first
    return dataclasses.replace(design, pilot=pilot, looks=tuple(sentences))


def _matching(records: pa.Table, trial_ids: pd.Series) -> pa.Table:
    return records.filter(pc.is_in(records["trial_id"], pa.array(trial_ids, pa.string())))


def _outcomes(
    planned: pd.DataFrame, records: pa.Table, design: Design, spent: Mapping[str, float]
) -> tuple[pd.DataFrame, pd.DataFrame, dict[str, tuple[str, ...]]]:
    """Join what was planned with what came out.

    Returns:
        Trials, their scores by class, and the trainings of those that are several.
    """
    by_class = design.select_over == "per_class"
    texts = ["trial_id", "status", "message", "code_digest", "device"]
    plain = records.select([*texts, *_NUMBERS])
    found: pd.DataFrame = plain.to_pandas().rename(columns={"status": "recorded"})
    found["spent_seconds"] = found.trial_id.map(spent)
    found["stamps"] = [",".join(stamps or []) for stamps in records["stamps"].to_pylist()]
    chosen = design.minority if design.select_over != "macro_all" else ()
    found["overall"] = _scores(records, "test", design.overall_metric, design.overall_classes)
    found["validation"] = _scores(records, "validation", design.selector, chosen)
    scores = _class_metric(records, "test", design.class_metric, design.classes)
    found["row"] = np.arange(len(found))
    trials = planned.merge(found, on="trial_id", how="left")
    for target in design.minority if by_class else ():
        mine = (trials.target == target) & trials.row.notna()
        places = trials.row[mine].to_numpy(dtype=int)
        for column, split, metric in (
            ("overall", "test", design.overall_metric),
            ("validation", "validation", design.selector),
        ):
            trials.loc[mine, column] = _scores(records, split, metric, (target,))[places]
    # A failure that will be tried again is still to do, whatever its record says.
    settled = trials.status == "settled"
    trials["status"] = trials.recorded.where(settled & trials.recorded.notna(), trials.status)
    trials.loc[trials.status == "settled", "status"] = "failed"
    rows = trials.row.to_numpy(dtype=float)
    values = np.full((len(trials), len(design.classes)), np.nan)
    values[~np.isnan(rows)] = scores[rows[~np.isnan(rows)].astype(int)]
    for column in ("message", "code_digest", "device", "stamps"):
        trials[column] = trials[column].astype(object).fillna("").astype("str")
    trials["message"] = trials.message.where(trials.status != "blocked", trials.cause)
    frame = pd.DataFrame(values, columns=list(design.classes), index=trials.index)
    columns = [*TRIAL_COLUMNS, "target"]
    trials = trials[columns].astype({**TRIAL_COLUMNS, "target": "str"})
    if by_class:
        return compose(trials, frame, design.minority)
    return trials[list(TRIAL_COLUMNS)], frame, {}


def _other_scores(trials: pd.DataFrame, records: pa.Table, design: Design) -> dict[str, Any]:
    """Return the fields ``validation_scores`` and ``made_scores`` of the facts."""
    row_of = {id_: row for row, id_ in enumerate(records["trial_id"].to_pylist())}
    rows = [row_of.get(id_) for id_ in trials.trial_id]
    known = np.array([row is not None for row in rows], dtype=bool)
    places = np.array([row for row in rows if row is not None], dtype=int)
    found = {}
    for split in ("validation", "made"):
        values = np.full((len(trials), len(design.classes)), np.nan)
        values[known] = _class_metric(records, split, design.class_metric, design.classes)[places]
        found[f"{split}_scores"] = pd.DataFrame(
            values, columns=list(design.classes), index=trials.index
        )
    return found


def _field(records: pa.Table, split: str, metric: str) -> Any:
    column = records[split].combine_chunks()
    kind = column.type
    if not pa.types.is_struct(kind) or kind.get_field_index(metric) < 0:
        return None
    return pc.struct_field(column, [metric])  # null where the whole struct is


def _floats(values: Any) -> NDArray[np.float64]:
    array: NDArray[np.float64] = values.cast(pa.float64()).to_numpy(zero_copy_only=False)
    return array


def _class_metric(
    records: pa.Table, split: str, metric: str, classes: tuple[str, ...]
) -> np.ndarray:
    """Return the scores of each class, shape (records, classes); NaN where undefined."""
    values_NK = np.full((records.num_rows, len(classes)), np.nan)
    column = _field(records, split, metric)
    if column is None or not pa.types.is_struct(column.type):
        return values_NK
    for place, name in enumerate(classes):
        if column.type.get_field_index(name) >= 0:
            values_NK[:, place] = _floats(pc.struct_field(column, [name]))
    return values_NK


def _scores(records: pa.Table, split: str, metric: str, over: Sequence[str]) -> np.ndarray:
    """Return one score a record: the metric, or its mean over classes (all where none is named)."""
    found = [
        score(metrics, metric, over or None) if metrics and metric in metrics else None
        for metrics in records[split].to_pylist()
    ]
    return np.array(found, dtype=float)


def _check_class_metric(records: pa.Table, design: Design) -> None:
    """Refuse a metric of single classes that has one value for all of them."""
    single: set[str] = set()
    by_class: set[str] = set()
    for split in METRIC_COLUMNS:
        for field in records[split].type:
            values = _field(records, split, field.name)
            if not pa.types.is_struct(values.type):
                single |= {field.name} if values.null_count < len(values) else set()
                continue
            names = {part.name for part in values.type if part.name in design.classes}
            by_class |= {field.name} if names else set()
            # Where another study's records have the metric by class, a number is filed apart.
            if OVERALL not in names and values.type.get_field_index(OVERALL) >= 0:
                numbers = pc.struct_field(values, [OVERALL])
                single |= {field.name} if numbers.null_count < len(numbers) else set()
    if design.class_metric in single:
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


def _curves(
    trials: pd.DataFrame, records: pa.Table, parts: Mapping[str, tuple[str, ...]]
) -> pd.DataFrame:
    wanted = trials[(trials.stage == "replicate") & (trials.status == "done")]
    ids = [id_ for whole in wanted.trial_id for id_ in parts.get(whole, (whole,))]
    mine = _matching(records, pd.Series(ids, dtype="str"))
    rows = []
    for trial_id, curves in zip(
        mine["trial_id"].to_pylist(), mine["curves"].to_pylist(), strict=True
    ):
        if not curves or not curves["epoch"]:
            continue
        columns = (curves["epoch"], curves["train_loss"], curves["validation_loss"])
        rows += [(trial_id, *values) for values in zip(*columns, strict=True)]
    found = filled(CURVE_COLUMNS, rows)
    return compose_curves(found, dict(parts)) if parts else found


def _done(plan: Plan, kind: str) -> Iterator[Task]:
    return (task for task in plan.tasks.values() if task.kind == kind and task.id in plan.done)


def _counts(store: Store, plan: Plan) -> pd.DataFrame:
    """Read the counts that each split's manifest holds; older ones have no uncertain labels."""
    rows: list[tuple[Any, ...]] = []
    for task in _done(plan, "split"):
        info = read_artifact(store, "split", task.id).info
        unsure = info.get("uncertain_counts", {})
        for role, counts in info["class_counts"].items():
            mine = unsure.get(role, {})
            rows += [
                (info["draw"], role, name, images, mine.get(name, np.nan))
                for name, images in counts.items()
            ]
        rows += [(info["draw"], role, "", images, np.nan) for role, images in info["rows"].items()]
    return filled(COUNT_COLUMNS, rows)


def _allocations(study: Study, store: Store, plan: Plan) -> tuple[pd.DataFrame, dict[float, int]]:
    """Read the counts that each allocation's manifest holds; also the regimens' sizes in draw 0."""
    users: dict[str, list[str]] = {}
    for arm in study.arms.values():
        for regimen in study.settings.regimens if arm.adds_images else ():
            for draw in range(study.draws):
                used = allocate_task(study, arm, regimen, draw).id
                users.setdefault(used, []).append(arm.name)
    rows: list[tuple[Any, ...]] = []
    sizes: dict[float, int] = {}
    for task in _done(plan, "allocate"):
        info = read_artifact(store, "allocation", task.id).info
        regimen, draw = float(task.payload["regimen"]), int(task.payload["draw"])
        if draw == 0:
            sizes[regimen] = info["n_rows"]
        arms = ", ".join(users.get(task.id, []))
        rows += [(arms, regimen, draw, *values) for values in _allocated(info)]
    return filled(SYNTHETIC_COLUMNS, rows), sizes


def _allocated(info: Mapping[str, Any]) -> Iterator[tuple[Any, ...]]:
    """Yield class, whether it is to be raised, and its counts and prevalences."""
    total = info["n_rows"] + info["images"]
    for name, real in info["counts_before"].items():
        intended = info["required"].get(name, 0) + info["topped_up"].get(name, 0)
        after = round(info["realised"][name] * total)
        expected, realised = info["expected"][name], info["realised"][name]
        yield name, name in info["targets"], real, intended, after - real, expected, realised


def _chosen(planned: pd.DataFrame, study: Study) -> pd.DataFrame:
    fresh = planned[(planned.stage == "replicate") & (planned.configuration != "")]
    chosen = fresh[list(CHOSEN_COLUMNS)]
    if study.settings.protocol.kind != "retune":
        chosen = chosen.assign(replicate=-1).drop_duplicates()
    return chosen.reset_index(drop=True)
