"""How sure the test set is of every mean and difference of the tables: a part of :mod:`.sources`.

Of every reported trial whose logits were kept, the influence of each group of test images on each
target is computed (:mod:`.kept_logits`); the errors of means over replicates and of differences
between arms follow from these (:mod:`synthtrial.stats.held_out`).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from synthtrial.data.predictions import KIND
from synthtrial.report.columns import TEST_ERROR_COLUMNS, empty, filled
from synthtrial.report.facts import listing
from synthtrial.report.kept_logits import (
    HeldOut,
    influence_on,
    policy_of,
    read_held_out,
    read_scores,
)
from synthtrial.report.same import Target
from synthtrial.report.tables import reported_trials
from synthtrial.stats.held_out import held_out_error
from synthtrial.stats.influence import Influence, join
from synthtrial.store.artifacts import Store, list_artifacts, read_artifact

if TYPE_CHECKING:
    from synthtrial.data.labels import LabelPolicy
    from synthtrial.plan import Plan
    from synthtrial.report.facts import Design, Facts

Place = tuple[str, float, int]  # arm, regimen, replicate
#: Influences of groups, by target, arm and block (a draw, or a replicate: ``Design.unit``).
Vectors = dict[Target, dict[str, dict[int, np.ndarray]]]

_ELSEWHERE = "The labels of the test images did not travel with this store."


def find_errors(store: Store, plan: Plan, planned: pd.DataFrame, facts: Facts) -> dict[str, Any]:
    """Return the fields ``test_errors`` and ``test_errors_missing`` of the facts.

    Args:
        store: where logits may be.
        plan: of the study.
        planned: of :func:`synthtrial.report.planned.planned_trials`: which training of a replicate
            is for which class, where each class has its own.
        facts: everything else.

    Raises:
        DamagedArtifactError: kept logits or labels are damaged.
    """
    trials, design = reported_trials(facts), facts.design
    parts = _trainings(trials, planned)
    known = frozenset(list_artifacts(store, KIND))
    kept = {place: ids for place, ids in parts.items() if known.issuperset(ids.values())}
    if not kept:
        return {"test_errors": empty(TEST_ERROR_COLUMNS), "test_errors_missing": _why_none(parts)}
    trainings = {id_ for ids in kept.values() for id_ in ids.values()}
    first = min(trainings)
    payloads = {id_: plan.tasks[id_].payload for id_ in trainings}
    seed = plan.study.settings.seed
    if read_artifact(store, "dataset", payloads[first]["dataset"]).left_out:
        return {"test_errors": empty(TEST_ERROR_COLUMNS), "test_errors_missing": _ELSEWHERE}
    test = read_held_out(store, payloads[first]["dataset"], first, seed)
    metrics = dict.fromkeys((design.class_metric, design.overall_metric))
    slow = [name for name in metrics if test.too_long(name, len(trainings))]
    policies = {id_: policy_of(payload) for id_, payload in payloads.items()}

    def judge(id_: str) -> dict[str, Influence]:
        scores_NK = read_scores(store, id_, test)
        policy = policies[id_]
        return {n: influence_on(n, scores_NK, policy, test) for n in metrics if n not in slow}

    rows: list[tuple[Any, ...]] = []
    for regimen in design.regimens:
        mine = trials[trials.regimen == regimen]
        vectors: Vectors = {}
        for (arm, number), block in mine.groupby(["arm", design.unit], sort=False):
            judged = [
                _targets(design, test, {name: judge(id_) for name, id_ in kept[place].items()})
                for place in _places(block)
                if place in kept
            ]
            for target, vector in _means(judged).items():
                vectors.setdefault(target, {}).setdefault(str(arm), {})[int(str(number))] = vector
        place_of = (design, test, policies[first])
        rows += [(regimen, *row) for row in _errors(*place_of, vectors)]
    return {
        "test_errors": filled(TEST_ERROR_COLUMNS, rows),
        "test_errors_missing": _what_is_missing(design, slow, len(kept), len(parts), rows),
    }


def _places(trials: pd.DataFrame) -> Iterator[Place]:
    columns = (trials.arm, trials.regimen, trials.replicate)
    for arm, regimen, replicate in zip(*columns, strict=True):
        yield str(arm), float(regimen), int(replicate)


def _trainings(trials: pd.DataFrame, planned: pd.DataFrame) -> dict[Place, dict[str, str]]:
    """Return the trainings of each reported replicate, by the class that each is for."""
    reported = set(_places(trials))
    found: dict[Place, dict[str, str]] = {}
    fresh = planned[planned.stage == "replicate"]
    for place, target, id_ in zip(_places(fresh), fresh.target, fresh.trial_id, strict=True):
        if place in reported:
            found.setdefault(place, {})[str(target)] = str(id_)
    return found


def _targets(
    design: Design, test: HeldOut, judged: Mapping[str, Mapping[str, Influence]]
) -> dict[Target, np.ndarray]:
    """Return the influences on each target of the tables, as the tables define them.

    Args:
        design: of the study.
        test: the test images.
        judged: by the class that a training is for (``""`` for all), influences by metric.
    """
    place = {name: k for k, name in enumerate(test.classes)}
    metric, overall = design.class_metric, design.overall_metric
    found: dict[Target, Influence] = {}
    whole: list[Influence] = []
    for target, by_metric in judged.items():
        own = [target] if target else list(design.classes)
        if metric in by_metric:
            classes = by_metric[metric].columns([place[name] for name in own])
            found |= {("class", name): classes.columns([k]) for k, name in enumerate(own)}
        if overall in by_metric:
            over = [target] if target else list(design.overall_classes or design.classes)
            each = by_metric[overall]
            if len(each.estimates_R) > 1:
                each = each.columns([place[name] for name in over]).mean()
            whole.append(each)
    rare = [found["class", name] for name in design.minority if ("class", name) in found]
    if rare:
        found["minority", ""] = join(rare).mean()
    if whole:
        found["overall", ""] = join(whole).mean()
    # An undefined score has no error, nor has one that rests on a single group.
    vectors = {target: item.sums_GR[:, 0] for target, item in found.items()}
    return {target: vector for target, vector in vectors.items() if not np.isnan(vector).any()}


def _means(judged: list[dict[Target, np.ndarray]]) -> dict[Target, np.ndarray]:
    """Return the means over the trials of a unit, of targets that all have."""
    if not judged:
        return {}
    both = set.intersection(*(set(each) for each in judged))
    # A regimen's vectors are held together: half the memory, and errors need no more digits.
    return {t: np.mean([each[t] for each in judged], axis=0).astype(np.float32) for t in both}


def _errors(
    design: Design, test: HeldOut, policy: LabelPolicy, vectors: Vectors
) -> Iterator[tuple[Any, ...]]:
    """Yield the rows of one regimen: of each arm's own mean, and of each pair in both orders."""
    for target in _ordered(design, vectors):
        scope, name = target
        metric = design.overall_metric if scope == "overall" else design.class_metric
        images, groups = test.counts(metric, policy, _classes(design, target))
        by_arm = vectors[target]
        arms = [arm for arm in design.arm_names if arm in by_arm]
        pairs: list[tuple[str, str]] = [(arm, "") for arm in arms]
        pairs += list(itertools.combinations(arms, 2))
        for arm, other in pairs:
            units = [u for u in by_arm[arm] if not other or u in by_arm[other]]
            if not units:
                continue
            sums_UG = np.stack([by_arm[arm][u] for u in units]).astype(np.float64)
            if other:
                sums_UG -= np.stack([by_arm[other][u] for u in units])
            error = held_out_error(sums_UG.T, groups)
            numbers = (error.standard_error, error.shared, error.df, groups, images, error.n)
            about = (scope, name, metric, *numbers, design.unit, test.method(metric))
            yield (arm, other, *about)
            if other:
                yield (other, arm, *about)


def _ordered(design: Design, vectors: Vectors) -> list[Target]:
    order = [("overall", ""), ("minority", ""), *(("class", name) for name in design.classes)]
    return [target for target in order if target in vectors]


def _classes(design: Design, target: Target) -> tuple[str, ...]:
    """Return the classes that a target is about."""
    scope, name = target
    if scope == "class":
        return (name,)
    if scope == "minority" or design.select_over == "per_class":
        return design.minority
    return design.overall_classes or design.classes


def _why_none(parts: Mapping[Place, Any]) -> str:
    if not parts:
        return "No replicate is finished in all arms yet."
    return (
        "Of the reported replicates no logits were kept: with store.keep_logits=true they are, of "
        "every replicate that is trained from then on."
    )


def _what_is_missing(
    design: Design, slow: list[str], kept: int, reported: int, rows: list[tuple[Any, ...]]
) -> str:
    said = []
    if kept < reported:
        said.append(f"Logits were kept of {kept:,} of the {reported:,} reported replicates only.")
    said += [
        f"The test set's error of {name} would take too long: it is no metric of synthtrial's own, "
        "and would have to be computed anew on hundreds of resampled test sets for every trial."
        for name in slow
    ]
    told = {(row[3], row[4]) for row in rows}
    lost = [n for n in design.classes if ("class", n) not in told]
    if lost and design.class_metric not in slow and design.select_over != "per_class":
        said.append(
            f"Of {listing(lost)} it is unknown: {design.class_metric} is undefined, or rests on "
            "test images of one group."
        )
    return " ".join(said)
