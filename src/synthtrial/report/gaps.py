"""The gap between validation and training loss after the last epoch: who overfits, and how surely.

Two curves of one training each cannot tell a smaller gap from a lucky seed, so the gap is taken in
every replicate and gets the intervals that scores get.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from synthtrial.data.regimens import regimen_label
from synthtrial.report.facts import Facts, listing, records
from synthtrial.report.inference import HIGHER, LOWER, UNCLEAR, differences_table
from synthtrial.report.numbers import between, number
from synthtrial.report.tables import reported_trials, results_table
from synthtrial.report.views import colour_of, symbol_of

_PLACE = {"scope": "gap", "class_name": "", "metric": "validation minus training loss"}


def gap_table(facts: Facts) -> pd.DataFrame:
    """Return the gap of every cell that has curves.

    Returns:
        Columns regimen, arm, gap (mean over replicates), low, high (as the intervals of scores), n,
        df, difference (from the baseline, blocked by draw), difference_low, difference_high
        (simultaneous over the arms), outcome, printed, printed_difference.
    """
    keys = reported_trials(facts)[["trial_id", "regimen", "arm", "draw", "replicate"]]
    curves = facts.curves.merge(keys, on="trial_id").sort_values("epoch", kind="stable")
    last = curves.drop_duplicates("trial_id", keep="last")
    value = (last.validation_loss - last.train_loss).astype(float)
    long = last.assign(value=value, **_PLACE)[np.isfinite(value)]
    means = results_table(facts, long).rename(columns={"mean": "gap"})
    names = ["regimen", "arm", "difference", "shown_low", "shown_high", "outcome"]
    apart = differences_table(facts, long)[names].rename(
        columns={"shown_low": "difference_low", "shown_high": "difference_high"}
    )
    table = means[["regimen", "arm", "gap", "low", "high", "n", "df"]]
    table = table.merge(apart, on=["regimen", "arm"], how="left")
    table = table.sort_values(
        "regimen",
        key=lambda r: r.map(facts.design.regimens.index),
        kind="stable",
        ignore_index=True,
    )
    printed, baseline = facts.published, facts.design.baseline
    for column, less in (("printed", None), ("printed_difference", baseline)):
        table[column] = [
            _printed(facts, row["regimen"], row["arm"], less) if printed else np.nan
            for row in records(table)
        ]
    return table


def _printed(facts: Facts, regimen: float, arm: str, less: str | None) -> float:
    assert facts.published is not None
    if less == arm:
        return math.nan
    found = facts.published.gap(regimen, arm)
    other = 0.0 if less is None else facts.published.gap(regimen, less)
    return math.nan if found is None or other is None else found - other


@dataclass(frozen=True)
class GapCell:
    """The gap of one cell as ready texts; ``difference`` is empty for arms without made images."""

    value: str
    interval: str
    difference: str
    mark: str
    printed: str


def gap_view(
    facts: Facts, table: pd.DataFrame, colours: Mapping[str, str]
) -> list[tuple[str, str, list[GapCell | None]]]:
    """Return a line for each arm: its name, its colour, and a cell for each regimen."""
    design, lines = facts.design, []
    keyed = {(row["arm"], float(row["regimen"])): row for row in records(table)}
    for arm in design.arm_names:
        cells: list[GapCell | None] = []
        for regimen in design.regimens:
            row = keyed.get((arm, regimen))
            cells.append(None if row is None else _cell(row, arm in design.synthetic_arms))
        if any(cells):
            lines.append((arm, colour_of(colours[arm]), cells))
    return lines


def _cell(row: Mapping[str, Any], compared: bool) -> GapCell:
    difference, mark = "", ""
    if compared and not math.isnan(row["difference"]):
        mark = row["outcome"]
        symbol = symbol_of(mark, row["difference_low"], row["difference_high"])
        difference = f"{symbol} {number(row['difference'], signed=True)}"
        if not math.isnan(row["difference_low"]):
            difference += f" ({between(row['difference_low'], row['difference_high'])})"
    return GapCell(
        number(row["gap"]),
        between(row["low"], row["high"], signed=False, unknown="no interval"),
        difference,
        mark,
        "" if math.isnan(row["printed"]) else f"printed {row['printed']:g}",
    )


def gap_sentences(facts: Facts, table: pd.DataFrame) -> list[str]:
    """Say where each arm with made images has another gap than the baseline."""
    sentences = []
    for arm in facts.design.synthetic_arms:
        mine = table[(table.arm == arm) & table.difference.notna()]
        places: dict[str, list[str]] = {}
        for row in records(mine):
            places.setdefault(row["outcome"], []).append(regimen_label(row["regimen"]))
        parts = [
            f"{words} at {listing(places[outcome])}"
            for outcome, words in (
                (LOWER, "smaller"),
                (HIGHER, "larger"),
                (UNCLEAR, "not clearly different"),
            )
            if outcome in places
        ]
        if parts:
            start = f"Against {facts.design.baseline}, the gap of {arm} is"
            sentences.append(f"{start} {listing(parts)}.")
    return sentences


def printed_gap_text(facts: Facts) -> str:
    """Say what is printed of gaps."""
    printed = facts.published
    if printed is None or not printed.gaps:
        return ""
    parts = [
        f"at {label} {', '.join(f'{arm} {gap:g}' for arm, gap in by_arm.items())}"
        for label, by_arm in printed.gaps.items()
    ]
    return f"Printed ({printed.title}): {'; '.join(parts)}. {_unset(facts)}".strip()


def _unset(facts: Facts) -> str:
    """Say which printed gaps stand beside none of ours."""
    printed = facts.published
    assert printed is not None
    ours = {printed.regimen(r) for r in facts.design.regimens}
    arms = set(facts.design.arm_names)
    lost = [
        f"{arm} at {label}"
        for label, by_arm in printed.gaps.items()
        for arm in by_arm
        if arm not in arms or printed.regimen(label) not in ours
    ]
    return f"Without a counterpart here: {listing(lost)}." if lost else ""
