"""Printed results beside ours: synthetic images by class, and scores by class and arm.

Names decide what belongs together: arms, classes and regimens that only one side has keep their
place with a dash, and :func:`mismatches` says them in words.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from synthtrial.data.regimens import regimen_label
from synthtrial.published import Published, PublishedRegimen
from synthtrial.report.claim import regimen_sizes
from synthtrial.report.facts import DASH, Facts, listing, records
from synthtrial.report.inference import sign_of
from synthtrial.report.numbers import between, number
from synthtrial.report.questions import readable
from synthtrial.report.views import SYMBOLS


@dataclass(frozen=True)
class Pair:
    """One size of the training set on both sides; either may be missing."""

    label: str
    ours: float | None
    printed: PublishedRegimen | None


def pairs(facts: Facts, printed: Published) -> list[Pair]:
    """Return the regimens of both sides, smallest first."""
    found = [Pair(regimen_label(r), r, printed.regimen(r)) for r in facts.design.regimens]
    met = {pair.printed for pair in found}
    found += [Pair(r.label, None, r) for r in printed.regimens if r not in met]
    largest = printed.regimens[-1].rows

    def size(pair: Pair) -> float:
        if pair.printed is not None:
            return pair.printed.share or pair.printed.rows / largest
        assert pair.ours is not None
        return pair.ours if pair.ours <= 1 else pair.ours / largest

    return sorted(found, key=size)


def classes_of(facts: Facts, printed: Published) -> list[str]:
    """Return what is compared: the printed classes, and those of interest that are not printed."""
    return list(dict.fromkeys([*printed.classes, *facts.design.minority]))


def arms_of(facts: Facts, printed: Published) -> list[str]:
    """Return the arms of both sides, printed ones first."""
    return list(dict.fromkeys([*printed.arms, *facts.design.arm_names]))


def counts_table(facts: Facts, allocations: pd.DataFrame) -> pd.DataFrame:
    """Set synthetic images of each regimen and class side by side.

    Args:
        facts: a study with ``published``.
        allocations: of :func:`synthtrial.report.tables.synthetic_summary`.

    Returns:
        Columns training_set, regimen, arms (of ours; empty where there are none), what (``real``,
        ``made`` for the sake of a class, or ``total``), class_name, printed, ours (mean over draws,
        real images those of the first draw), printed_adds_up_to (of totals).
    """
    printed = facts.published
    assert printed is not None
    rows, sizes = [], regimen_sizes(facts)
    for pair in pairs(facts, printed):
        here = allocations[allocations.regimen == pair.ours]
        for arms in _compared(facts, printed, here) or [""]:
            mine = here[here.arms == arms].set_index("class_name")
            label = pair.printed.label if pair.printed else ""
            place = {"training_set": pair.label, "regimen": pair.ours, "arms": arms}
            real = sizes.get(pair.ours, math.nan) if pair.ours is not None else math.nan
            rows.append(
                {**place, "what": "real", "ours": real}
                | {"printed": pair.printed.rows if pair.printed else None}
            )
            rows += [
                {**place, "what": "made", "class_name": name}
                | {"printed": printed.synthetic(label, name)}
                | {"ours": mine.intended.get(name, math.nan)}
                for name in classes_of(facts, printed)
            ]
            rows.append(
                {**place, "what": "total", "printed": printed.printed_total(label)}
                | {"printed_adds_up_to": printed.total(label)}
                | {"ours": real + mine.intended.sum() if len(mine) else math.nan}
            )
    columns = "training_set regimen arms what class_name printed ours printed_adds_up_to"
    table = pd.DataFrame(rows, columns=columns.split())
    numbers = ["regimen", "printed", "ours", "printed_adds_up_to"]
    table[numbers] = table[numbers].astype(float)
    table["class_name"] = table.class_name.fillna("")
    return table


def _compared(facts: Facts, printed: Published, here: pd.DataFrame) -> list[str]:
    """Return whose images stand beside the printed ones: arms that are printed, else all."""
    every = list(dict.fromkeys(here.arms))
    synthetic = set(facts.design.synthetic_arms)
    named = [a for a in every if synthetic & set(printed.arms) & set(facts.design.named(a))]
    return named or every


def scores_table(facts: Facts, means: pd.DataFrame) -> pd.DataFrame:
    """Set scores of each regimen, class and arm side by side.

    Args:
        facts: a study with ``published``.
        means: of :func:`synthtrial.report.tables.results_table`.

    Returns:
        Columns training_set, regimen, class_name, arm, metric, printed, ours, low, high, n,
        difference (ours less printed), difference_low, difference_high: the interval of ours alone,
        as a printed score of one training has none. No differences where metrics differ.
    """
    printed, design = facts.published, facts.design
    assert printed is not None
    ours = means[means.scope == "class"]
    keyed = {(float(r["regimen"]), r["class_name"], r["arm"]): r for r in records(ours)}
    rows = []
    for pair in pairs(facts, printed):
        label = pair.printed.label if pair.printed else ""
        for name in classes_of(facts, printed):
            for arm in arms_of(facts, printed):
                theirs = printed.score(label, name, arm)
                theirs = math.nan if theirs is None else theirs
                mine = keyed.get((pair.ours if pair.ours is not None else -1.0, name, arm), {})
                found = {key: mine.get(key, math.nan) for key in ("mean", "low", "high", "n")}
                less = theirs if printed.metric == design.class_metric else math.nan
                rows.append(
                    (
                        *(pair.label, pair.ours, name, arm, design.class_metric, theirs),
                        *found.values(),
                        *(found[key] - less for key in ("mean", "low", "high")),
                    )
                )
    columns = (
        "training_set regimen class_name arm metric printed ours low high n "
        "difference difference_low difference_high"
    )
    table = pd.DataFrame(rows, columns=columns.split())
    table["regimen"] = table.regimen.astype(float)
    return table


def mismatches(facts: Facts) -> list[str]:
    """Say what of the two sides does not belong together."""
    printed, design = facts.published, facts.design
    assert printed is not None
    said = []
    if printed.dataset is not None and printed.dataset != design.dataset:
        said.append(
            f"The printed numbers are of {printed.dataset}, those of this study of "
            f"{design.dataset}: other images, so a difference between the two says nothing about "
            "either."
        )
    if printed.scores and printed.metric != design.class_metric:
        said.append(
            f"The printed scores are {readable(printed.metric)} and those of this study "
            f"{readable(design.class_metric)}: they stand side by side without a difference."
        )
    absent = [name for name in printed.classes if name not in design.classes]
    if len(absent) == len(printed.classes):
        said.append("No printed class is one of this study's: the two are about other classes.")
    elif absent:
        said.append(f"Classes that only the publication has: {listing(absent)}.")
    alone = [name for name in design.minority if name not in printed.classes]
    if alone:
        said.append(f"Classes of interest that only this study has: {listing(alone)}.")
    arms = [arm for arm in printed.arms if arm not in design.arm_names]
    if arms:
        said.append(
            f"Arms that only the publication has: {listing(arms)} (arms belong together by name)."
        )
    arms = [arm for arm in design.arm_names if arm not in printed.arms]
    if arms and printed.scores:
        said.append(f"Arms that only this study has: {listing(arms)}.")
    both = pairs(facts, printed)
    theirs = [pair.label for pair in both if pair.ours is None]
    mine = [pair.label for pair in both if pair.printed is None]
    if theirs:
        said.append(f"Training sets that only the publication has: {listing(theirs)}.")
    if mine:
        said.append(f"Training sets that only this study has: {listing(mine)}.")
    return said


@dataclass(frozen=True)
class CountCell:
    """A number of images: ours and the printed one, as ready texts."""

    ours: str
    printed: str
    wrong: str = ""


def counts_view(table: pd.DataFrame) -> list[tuple[str, str, list[CountCell]]]:
    """Return training set, arms and cells (real, made for each class, total) of each row."""
    lines = []
    for key, mine in table.groupby(["training_set", "arms"], sort=False):
        cells = []
        for row in records(mine):
            sum_ = row["printed_adds_up_to"]
            wrong = not math.isnan(sum_) and row["printed"] not in (sum_, math.nan)
            cells.append(
                CountCell(
                    _count(row["ours"]),
                    _count(row["printed"]),
                    f"adds up to {sum_:,.0f}" if wrong and row["printed"] > 0 else "",
                )
            )
        lines.append((str(key[0]), str(key[1]), cells))
    return lines


def _count(value: float) -> str:
    return DASH if math.isnan(value) else f"{value:,.1f}".removesuffix(".0")


@dataclass(frozen=True)
class ScoreCell:
    """A score: ours with its interval, the printed one, and their difference."""

    ours: str
    interval: str
    printed: str
    difference: str
    mark: str


def scores_view(
    table: pd.DataFrame, arms: Sequence[str]
) -> list[tuple[str, list[tuple[str, list[ScoreCell]]]]]:
    """Return for each training set its classes, and for each of these a cell for each arm."""
    groups = []
    for label, here in table.groupby("training_set", sort=False):
        lines = []
        known = here[here.printed.notna() | here.ours.notna()].class_name.unique()
        for name, mine in here[here.class_name.isin(known)].groupby("class_name", sort=False):
            keyed = {row["arm"]: row for row in records(mine)}
            lines.append((str(name), [_score_cell(keyed[arm]) for arm in arms]))
        groups.append((str(label), lines))
    return groups


def _score_cell(row: Mapping[str, Any]) -> ScoreCell:
    low, high, difference = row["low"], row["high"], row["difference"]
    compared = not np.isnan(difference)
    mark = sign_of(row["difference_low"], row["difference_high"]) if compared else ""
    return ScoreCell(
        number(row["ours"]),
        between(low, high, signed=False, unknown=""),
        number(row["printed"]),
        f"{SYMBOLS[mark]} {number(difference, signed=True)}" if compared else "",
        mark,
    )
