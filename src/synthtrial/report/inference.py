"""Differences between arms with everything that is inferred from them.

What is independent is a block (:func:`synthtrial.stats.blocks.block_table`). Of the declared
question nothing is asked but itself, at each of its regimens: its p values are corrected for those
(Holm). Everything else is exploratory: the arms of the family are compared with the baseline
together (Dunnett), and p values are corrected over regimens and classes of interest on top (Holm by
families). Arms with made images are compared with each arm without such as one family again, so
that the best of these may be picked by its scores.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from synthtrial.report.facts import Design, Facts, records
from synthtrial.report.groups import Group
from synthtrial.report.same import first_places, said_once
from synthtrial.report.tables import (
    Results,
    blocks_of,
    cell_stamps,
    groups_of,
    order_stamps,
)
from synthtrial.stats.blocks import BlockTable
from synthtrial.stats.contrasts import OWN_FROM, Comparison, compare
from synthtrial.stats.equivalence import effect_size, equivalence
from synthtrial.stats.multiplicity import holm
from synthtrial.stats.pooled import student_quantile
from synthtrial.stats.power import detectable_difference
from synthtrial.stats.sequential import stein_interval

if TYPE_CHECKING:
    from numpy.typing import NDArray

PRIMARY, EXPLORATORY = "primary", "exploratory"
HIGHER, LOWER, EQUAL, UNCLEAR = "higher", "lower", "equal", "unclear"
UNTESTED, MISSING = "untested", "missing"

COLUMNS = [
    "regimen",
    "arm",
    "baseline",
    "scope",
    "class_name",
    "metric",
    "role",
    "difference",
    "low",
    "high",
    "standard_error",
    "df",
    "p_value",
    "joint_low",
    "joint_high",
    "shown_low",
    "shown_high",
    "p_adjusted",
    "p_holm",
    "questions",
    "outcome",
    "not_worse",
    "p_not_worse",
    "p_equivalent",
    "effect_size",
    "effect_low",
    "effect_high",
    "detectable",
    "blocks",
    "unit",
    "higher_in",
    "n",
    "spread",
    "varies_with",
    "stamps",
]


def differences_table(
    facts: Facts, results: Results | None = None, *, rivals: bool = False
) -> pd.DataFrame:
    """Return the difference of each arm from the baseline.

    Args:
        facts: the study.
        results: of :func:`synthtrial.report.tables.long_results` or ``grouped_results``, or a frame
            of the same columns.
        rivals: whether each arm with made images is compared with each other arm that makes none
            as well in the summary, in rows whose ``baseline`` that is.

    Returns:
        Columns regimen, arm, baseline, scope, class_name, metric, role (``primary`` or
        ``exploratory``), difference, low, high (interval of this difference alone),
        standard_error, df, p_value (of this one alone), joint_low, joint_high, p_adjusted
        (simultaneous: over the regimens of the primary question, or over the arms of the family),
        shown_low, shown_high (what the page shows: of the primary question the interval alone,
        with a corrected p value, of everything else the simultaneous one),
        p_holm (corrected over regimens, targets and classes as well: what decides ``outcome``),
        questions (families that are corrected for), outcome
        (``higher``, ``lower``, ``equal``: surely smaller than the margin, ``unclear``,
        ``untested``; of classes that are of no interest, which only files have, by its own p value,
        as nothing of them is corrected), not_worse (whether it is surely not worse by the margin,
        all questions counted), p_not_worse, p_equivalent (one-sided tests against the margin),
        effect_size, effect_low, effect_high (in units of the spread of the difference between
        blocks), detectable (the smallest difference that so many blocks find four times in five),
        blocks, unit (``draw`` or ``replicate``), higher_in (blocks), n (replicates), spread,
        varies_with, stamps (of either arm).
    """
    design = facts.design
    stamps = cell_stamps(facts)
    rows = []
    for group in groups_of(facts, results):
        regimen, scope, class_name = group.regimen, group.scope, group.class_name
        table, sizes = blocks_of(group, design), group.sizes
        picked = rivals and (scope, class_name) == design.judged
        for found in _comparisons(table, design, _is_shown(design, scope, class_name), picked):
            pair = (found.arm, found.baseline)
            touched = [stamps.get((name, regimen), "").split(",") for name in pair]
            place = {
                **group.place,
                "stamps": ",".join(order_stamps({s for part in touched for s in part if s})),
                "role": EXPLORATORY,
                "unit": table.unit,
                "varies_with": "draw and seed" if table.unit == "draw" else "seed",
                "n": min(sizes[name] for name in pair),
            }
            primary = _is_primary(design, found, group)
            if primary:
                found = _primary(design, found, table)
                place["role"] = PRIMARY
            rows.append(place | _row(found, design.margin, joint=not primary))
    found_rows = pd.DataFrame(rows, columns=[c for c in COLUMNS if c not in _LATER])
    return _decided(found_rows, design)


_LATER = ("p_holm", "questions", "outcome", "not_worse")
#: Scopes whose differences are those of scores.
_SCORES = ("overall", "minority", "class", "all", "majority")


def _is_shown(design: Design, scope: str, class_name: str) -> bool:
    """Whether a target is one that the page shows: others are only in files, and not adjusted."""
    return scope != "class" or class_name in design.minority or (scope, class_name) == design.judged


def _comparisons(table: BlockTable, design: Design, joint: bool, rivals: bool) -> list[Comparison]:
    """Compare each arm with the baseline: those of the family together, and the rest together."""
    baseline = design.baseline
    others = [arm for arm in table.arms if arm != baseline]
    family = [arm for arm in others if _in_family(design, arm)]
    rest = [arm for arm in others if arm not in family]
    groups = [[(arm, baseline) for arm in part] for part in (family, rest)]
    if not joint:
        groups = [[(arm, baseline)] for arm in others]
    found = {c.arm: c for pairs in groups for c in _compare(table, design, pairs)}
    ordered = [found[arm] for arm in others if arm in found]
    if rivals:
        # The baseline may be picked as the best rival too, so its pairs count.
        pairs = [(arm, rival) for arm in design.synthetic_arms for rival in design.rivals]
        ordered += [c for c in _compare(table, design, pairs) if c.baseline != baseline]
    return ordered


def _compare(
    table: BlockTable, design: Design, pairs: Sequence[tuple[str, str]]
) -> list[Comparison]:
    """Compare pairs of arms as one family with the spread that the study's design calls for."""
    return compare(
        table.values_BA,
        table.arms,
        pairs,
        spread=design.spread,
        varying=design.varying_arms,
        confidence=design.confidence,
    )


def _in_family(design: Design, arm: str) -> bool:
    return not design.family or arm in design.family


def _is_primary(design: Design, found: Comparison, group: Group) -> bool:
    asked = design.primary
    return (
        asked is not None
        and (asked.arm, design.baseline) == (found.arm, found.baseline)
        and (asked.scope, asked.class_name) == (group.scope, group.class_name)
        and group.metric == design.metric_of(asked.scope)
        and group.regimen in asked.regimens
    )


def _primary(design: Design, found: Comparison, table: BlockTable) -> Comparison:
    """Return the comparison by itself, simultaneous over the regimens in which it is asked."""
    assert design.primary is not None
    if design.pilot is not None:
        found = _by_rule(found, table, design.pilot)
    regimens = len(design.primary.regimens)
    half = math.nan
    if found.df > 0:
        level = 1.0 - (1.0 - design.confidence) / regimens  # Bonferroni
        half = student_quantile(level, found.df) * found.standard_error
    return dataclasses.replace(
        found,
        joint_low=found.estimate - half,
        joint_high=found.estimate + half,
        p_adjusted=min(1.0, regimens * found.p_value),
    )


def _by_rule(found: Comparison, table: BlockTable, pilot: int) -> Comparison:
    """Judge by the spread of the first blocks where their number was chosen from these (Stein)."""
    number_B, delta_B = deltas_of(table, found.arm, found.baseline)
    first = int((number_B < pilot).sum())
    if first < 2:
        return found
    stein = stein_interval(delta_B, first, confidence=found.confidence)
    return dataclasses.replace(
        found,
        estimate=stein.estimate,
        standard_error=stein.standard_error,
        df=stein.df,
        low=stein.low,
        high=stein.high,
        p_value=stein.p_value,
        spread="own",
    )


def block_differences(
    facts: Facts,
) -> list[tuple[float, NDArray[np.int_], NDArray[np.float64]]]:
    """Return for each regimen of the primary question its blocks and their differences."""
    asked = facts.design.primary
    found = []
    for group in groups_of(facts, None):
        if asked is None or (group.scope, group.class_name) != (asked.scope, asked.class_name):
            continue
        if group.regimen in asked.regimens:
            table = blocks_of(group, facts.design)
            found.append((group.regimen, *deltas_of(table, asked.arm, facts.design.baseline)))
    return found


def deltas_of(
    table: BlockTable, arm: str, baseline: str
) -> tuple[NDArray[np.int_], NDArray[np.float64]]:
    """Return the numbers of the blocks that hold both arms, and the differences in them."""
    columns = [table.arms.index(name) for name in (arm, baseline)]
    delta_B = table.values_BA[:, columns[0]] - table.values_BA[:, columns[1]]
    known = ~np.isnan(delta_B)
    return table.blocks[known], delta_B[known]


def _row(found: Comparison, margin: float | None, *, joint: bool) -> dict[str, Any]:
    against = equivalence(found.estimate, found.standard_error, max(found.df, 0), margin)
    size = effect_size(found.estimate, found.standard_error, found.n, found.confidence, df=found.df)
    return {
        "arm": found.arm,
        "baseline": found.baseline,
        "difference": found.estimate,
        "low": found.low,
        "high": found.high,
        "standard_error": found.standard_error,
        "df": found.df,
        "p_value": found.p_value,
        "joint_low": found.joint_low,
        "joint_high": found.joint_high,
        "shown_low": found.joint_low if joint else found.low,
        "shown_high": found.joint_high if joint else found.high,
        "p_adjusted": found.p_adjusted,
        "p_not_worse": against.p_not_worse,
        "p_equivalent": against.p_value,
        "effect_size": size.d,
        "effect_low": size.low,
        "effect_high": size.high,
        "detectable": _detectable(found),
        "blocks": found.n,
        "higher_in": found.n_higher,
        "spread": found.spread,
    }


def _detectable(found: Comparison) -> float:
    deviation = found.standard_error * math.sqrt(found.n)
    if math.isnan(deviation):
        return math.nan
    return detectable_difference(deviation, found.n, alpha=1.0 - found.confidence, df=found.df)


def _decided(table: pd.DataFrame, design: Design) -> pd.DataFrame:
    """Correct p values over regimens and classes, and say what each row shows."""
    table = table.copy()
    for column in ("p_holm", "questions", *_AGAINST_MARGIN.values()):
        table[column] = np.nan
    inside = [_in_family(design, arm) for arm in table.arm]
    family = np.where(inside, EXPLORATORY, "other arms")
    family = np.where(table.baseline == design.baseline, family, "rivals")
    family = np.where(table.role == PRIMARY, PRIMARY, family)
    shown = [_is_shown(design, row["scope"], row["class_name"]) for row in records(table)]
    first_N = first_places(table, design)  # what goes by two names is one question
    once = np.array(shown, dtype=bool) & (first_N == np.arange(len(table)))
    for name in set(family):
        mine = (family == name) & once
        place = ("regimen", "scope", "class_name")
        asked = list(zip(*(table[column][mine] for column in place), strict=True))
        table.loc[mine, "questions"] = len(set(asked))
        single = name == PRIMARY  # one question a regimen, so nothing is adjusted within
        p = table.p_value[mine] if single else table.p_adjusted[mine]
        table.loc[mine, "p_holm"] = holm(p.to_numpy(dtype=float), asked)
        for alone, corrected in _AGAINST_MARGIN.items():
            p = table[alone][mine].to_numpy(dtype=float)
            if not single:
                sizes = pd.Series(asked).map(pd.Series(asked).value_counts()).to_numpy()
                p = np.minimum(p * sizes, 1.0)  # Bonferroni within the family
            table.loc[mine, corrected] = holm(p, asked)
    for corrected in _AGAINST_MARGIN.values():
        # The margin is one of scores, and of no other figures that are compared like them.
        table[corrected] = table[corrected].where(table.scope.isin(_SCORES), 1.0)
    alpha = 1.0 - design.confidence
    rows = records(table)
    table["outcome"] = [outcome_of(row, alpha, design.margin) for row in rows]
    table["not_worse"] = [_is_not_worse(row, alpha, design.margin) for row in rows]
    return said_once(table[COLUMNS], first_N)


#: One-sided tests against the margin, and the columns of what they are once corrected.
_AGAINST_MARGIN = {"p_equivalent": "equal_holm", "p_not_worse": "not_worse_holm"}


def _is_not_worse(row: dict[str, Any], alpha: float, margin: float | None) -> bool:
    """Whether a difference is surely no loss that matters; its shown interval says so as well."""
    p = row["p_not_worse"] if math.isnan(row["not_worse_holm"]) else row["not_worse_holm"]
    return margin is not None and p < alpha and row["shown_low"] > -margin


def outcome_of(row: dict[str, Any], alpha: float, margin: float | None) -> str:
    """Say what a difference shows, from its corrected p values where it has any.

    Args:
        row: scope, blocks, difference, low, high, shown_low, shown_high, p_value, p_holm,
            p_equivalent, equal_holm.
        alpha: probability of a false alarm.
        margin: differences below this do not matter; no difference is said only where the shown
            interval lies within it as well, and never without one.
    """
    if math.isnan(row["low"]):
        return UNTESTED
    p = row["p_value"] if math.isnan(row["p_holm"]) else row["p_holm"]
    if row["low"] == row["high"] and row["blocks"] < OWN_FROM:  # of two blocks it may be chance
        return UNTESTED
    if math.isnan(p):  # no block differs
        return EQUAL if row["scope"] in _SCORES else UNCLEAR
    if p < alpha:
        return HIGHER if row["difference"] > 0 else LOWER
    equal = row["p_equivalent"] if math.isnan(row["equal_holm"]) else row["equal_holm"]
    if margin is None or not equal < alpha:
        return UNCLEAR
    inside = max(abs(row["shown_low"]), abs(row["shown_high"])) < margin
    return EQUAL if inside else UNCLEAR


def sign_of(low: float, high: float) -> str:
    """Say on which side of zero an interval lies."""
    if math.isnan(low):
        return UNTESTED
    return HIGHER if low > 0 else LOWER if high < 0 else UNCLEAR
