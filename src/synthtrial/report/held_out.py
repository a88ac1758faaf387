"""Intervals over seeds and test sets, and the width that no number of seeds goes below.

The tables' own intervals hold what differs from seed to seed, and from draw to draw, on this one
test set. From the test set's part (``test_errors`` of the facts) those of both sources follow
(:func:`synthtrial.stats.held_out.combine`), and are called so: ``seed and test set``.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from synthtrial.data.regimens import regimen_label
from synthtrial.report.facts import Facts, count_text, records
from synthtrial.report.numbers import number
from synthtrial.report.questions import target_name
from synthtrial.stats.held_out import combine, floor_width

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

_KEYS = ("regimen", "arm", "baseline", "scope", "class_name")
_SMALLEST = 0.00025  # error whose interval is written as ±0.000
#: Columns that :func:`with_test_set` adds.
ADDED = (
    "test_error",
    "shared_error",
    "both_error",
    "both_df",
    "both_low",
    "both_high",
    "both_holds",
    "floor",
    "test_images",
    "test_groups",
    "test_method",
)


def with_test_set(facts: Facts, differences: pd.DataFrame) -> pd.DataFrame:
    """Add the test set's part to a table of differences.

    Args:
        facts: the study.
        differences: of :func:`synthtrial.report.inference.differences_table`; its own columns stay.

    Returns:
        With columns test_error (over other test sets, of just these trained networks),
        shared_error (the part that more seeds do not average away), both_error, both_df, both_low,
        both_high (over seeds and test sets), both_holds (what that interval holds, such as
        ``seed and test set``), floor (full width that it cannot go below; unknown with one
        block), test_images and
        test_groups (that the score rests on), test_method. NaN, 0 or empty where the test set's
        part is unknown; ``facts.test_errors_missing`` says why.
    """
    known = {tuple(row[key] for key in _KEYS): row for row in records(facts.test_errors)}
    rows = [
        _added(row, known.get(tuple(row[key] for key in _KEYS)), facts.design.confidence)
        for row in records(differences)
    ]
    added = pd.DataFrame(rows, columns=list(ADDED), index=differences.index)
    return pd.concat([differences, added], axis=1)


def floor_sentence(facts: Facts, scope: str, class_name: str = "") -> str:
    """Say how narrow intervals of differences from the baseline can get, however many the seeds.

    Args:
        facts: the study.
        scope: ``overall``, ``minority`` or ``class``.
        class_name: of scope ``class``.

    Returns:
        A sentence with the highest and the lowest floor over all regimens and arms; empty where
        nothing is known.
    """
    design, table = facts.design, facts.test_errors
    mine = table[
        (table.baseline == design.baseline)
        & (table.scope == scope)
        & (table.class_name == class_name)
        & table.shared_error.notna()
        & (table.n > 1)  # of one replicate nobody knows what others would have in common with it
    ].sort_values("shared_error", kind="stable")
    if mine.empty:
        return ""
    what = target_name(design, scope, class_name)
    place = f"this test set ({_rests_on(mine)})"
    seen = mine[mine.shared_error > _SMALLEST]
    if seen.empty:
        return (
            f"For differences in {what}, {place} sets no floor that these replicates could show: "
            "where arms differ on it, they do so otherwise in every replicate."
        )
    ends = [_end(facts, row) for row in records(seen.iloc[[-1, 0][: len(seen)]])]
    hidden = len(mine) - len(seen)
    rest = f"; for {hidden} of {count_text(len(mine), 'difference')} no floor shows yet"
    return (
        f"However many seeds: with {place} an interval of a difference in {what} that holds for "
        f"other test sets too cannot be narrower than about {', and '.join(ends)}"
        f"{rest if hidden else ''}."
    )


def _rests_on(mine: pd.DataFrame) -> str:
    """Say how many images count, and in how many groups."""
    images, groups = int(mine["rows"].max()), int(mine.groups.max())
    text = f"{count_text(images, 'image')} that count here"
    if "by image" in str(mine.method.iloc[0]):
        return f"{text}, each by itself, as the data name no groups"
    return f"{text}, in {count_text(groups, 'group')}"


def _end(facts: Facts, row: Mapping[str, Any]) -> str:
    half = floor_width(row["shared_error"], facts.design.confidence) / 2
    several = len(facts.design.regimens) > 1
    where = f" at {regimen_label(row['regimen'])}" if several else ""
    return f"±{number(half)} for {row['arm']}{where}"


def _added(row: Mapping[str, Any], test: Mapping[str, Any] | None, confidence: float) -> list[Any]:
    nan = math.nan
    if test is None:
        return [nan, nan, nan, nan, nan, nan, "", nan, 0, 0, ""]
    df = float(row["df"]) if row["df"] is not None else nan
    seeds = (row["difference"], row["standard_error"], df)
    both = combine(*seeds, test["shared_error"], test["df"], confidence)
    held = "" if np.isnan(both.low) else f"{row['varies_with'].replace(' and ', ', ')} and test set"
    return [
        test["standard_error"],
        test["shared_error"],
        both.standard_error,
        both.df,
        both.low,
        both.high,
        held,
        floor_width(test["shared_error"], confidence) if test["n"] > 1 else nan,
        test["rows"],
        test["groups"],
        test["method"],
    ]
