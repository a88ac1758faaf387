"""How good made images are, worked out for the page: figures over draws, misses, acceptance."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from synthtrial.data.regimens import regimen_label
from synthtrial.report.columns import FIGURES
from synthtrial.report.facts import DASH, MINUS, Facts, listing, records
from synthtrial.report.made import JUDGED

_KEYS = ["regimen", "arms", "class_name"]


@dataclass(frozen=True)
class Figure:
    """A column of the table of quality.

    Attributes:
        name: of the figure in ``QUALITY_COLUMNS``.
        title, subtitle: heading.
        write: turns a value into text.
        beside: what stands below the value, from the means of the row.
    """

    name: str
    title: str
    subtitle: str
    write: Callable[[float], str]
    beside: Callable[[Mapping[str, Any]], str] = lambda _: ""


@dataclass(frozen=True)
class FigureView:
    """One entry of the table.

    Attributes:
        value: mean over draws, or a dash.
        beside: what it is to be compared with.
        span: range over draws; empty where all say the same.
        missed: in words, the threshold that it does not reach.
        reasons: numbers of the footnotes that say why it is undefined.
        title: these reasons themselves.
    """

    value: str
    beside: str
    span: str
    missed: str
    reasons: tuple[int, ...]
    title: str


@dataclass(frozen=True)
class QualityRow:
    """One class of the images that some arms add; ``cells`` align with :data:`SHOWN`."""

    arms: tuple[str, ...]
    class_name: str
    counts: str
    cells: tuple[FigureView, ...]


@dataclass(frozen=True)
class QualityView:
    """The table of quality.

    Attributes:
        groups: rows by regimen.
        reasons: footnotes, numbered from 1.
        shortfalls: sentences, each with where it holds.
    """

    groups: tuple[tuple[str, tuple[QualityRow, ...]], ...]
    reasons: tuple[str, ...]
    shortfalls: tuple[tuple[str, str], ...]


def _ratio(value: float) -> str:
    return _signed(f"{value:.2f}")


def _distance(value: float) -> str:
    return _signed(f"{value:#.3g}".removesuffix(".")) if value else "0"


def _percent(value: float) -> str:
    share = 100 * value
    return f"{share:.0f} %" if share >= 9.95 or share == 0 else f"{share:.1f} %"


def _signed(text: str) -> str:
    return text.replace("-", MINUS)


def _over(above: str, below: str, write: Callable[[float], str]) -> Callable[..., str]:
    def text(means: Mapping[str, Any]) -> str:
        both = (means[above], means[below])
        return "" if np.isnan(both).any() else f"{write(both[0])} ÷ {write(both[1])}"

    return text


def _worded(word: str, name: str, write: Callable[[float], str]) -> Callable[..., str]:
    def text(means: Mapping[str, Any]) -> str:
        return "" if math.isnan(means[name]) else f"{word} {write(means[name])}"

    return text


#: The figures that the page shows; the CSV has all.
SHOWN = (
    Figure(
        "recognisability_relative",
        "recognised",
        "made ÷ held-out real",
        _ratio,
        _over("recognisability", "recognisability_heldout", _percent),
    ),
    Figure(
        "coverage_relative",
        "covered",
        "by made ÷ by real",
        _ratio,
        _over("coverage_made", "coverage_real", _ratio),
    ),
    Figure(
        "kernel_distance",
        "kernel distance",
        "real to real below",
        _distance,
        _worded("real", "kernel_distance_real", _distance),
    ),
    Figure("precision", "precision", "", _ratio),
    Figure("recall", "recall", "", _ratio),
    Figure("diversity", "diversity", "relative to real", _ratio),
    Figure(
        "memorised",
        "memorised",
        "expected below",
        _percent,
        _worded("expected", "memorised_expected", _percent),
    ),
)


def summary(facts: Facts) -> pd.DataFrame:
    """Return the quality of each regimen, arm and class over draws.

    Returns:
        Columns regimen, arms, class_name, draws, and of each figure its mean and, as
        ``<figure>_low`` and ``<figure>_high``, its range over the draws where it is defined.
    """
    grouped = facts.quality.groupby(_KEYS, sort=False)
    ranges = {f"{f}_low": (f, "min") for f in FIGURES} | {f"{f}_high": (f, "max") for f in FIGURES}
    means = {figure: (figure, "mean") for figure in FIGURES}
    return grouped.agg(draws=("draw", "size"), **means, **ranges).reset_index()


def quality_view(facts: Facts, table: pd.DataFrame) -> QualityView:
    """Lay out :func:`summary` for people."""
    numbers: dict[str, int] = {}
    groups = []
    for regimen in facts.design.regimens:
        rows = [_row(facts, row, numbers) for row in records(table[table.regimen == regimen])]
        if rows:
            groups.append((regimen_label(regimen), tuple(rows)))
    return QualityView(tuple(groups), tuple(numbers), tuple(_shortfalls(facts)))


def _row(facts: Facts, row: Mapping[str, Any], numbers: dict[str, int]) -> QualityRow:
    draws, missed = _of(facts.quality, row), _of(facts.shortfalls, row)
    cells = []
    for figure in SHOWN:
        undefined = [json.loads(text).get(figure.name) for text in draws.undefined]
        reasons = list(dict.fromkeys(reason for reason in undefined if reason))
        for reason in reasons:
            numbers.setdefault(reason, len(numbers) + 1)
        known = not math.isnan(row[figure.name])
        ends = [figure.write(row[f"{figure.name}_{end}"]) for end in ("low", "high")]
        texts = [
            _missed(part, str(name), facts.design.thresholds[str(name)], len(draws))
            for name, part in missed.groupby("threshold", sort=False)
            if JUDGED[str(name)] == figure.name
        ]
        cells.append(
            FigureView(
                figure.write(row[figure.name]) if known else DASH,
                figure.beside(row),
                " to ".join(ends) if known and ends[0] != ends[1] else "",
                "".join(texts),
                tuple(numbers[reason] for reason in reasons),
                "; ".join(reasons),
            )
        )
    counts = f"{_range(draws.n_made)} / {_range(draws.n_heldout)}"
    return QualityRow(facts.design.named(row["arms"]), row["class_name"], counts, tuple(cells))


def _of(frame: pd.DataFrame, row: Mapping[str, Any]) -> pd.DataFrame:
    return frame[np.logical_and.reduce([frame[key] == row[key] for key in _KEYS])]


def _range(values: pd.Series) -> str:
    low, high = values.min(), values.max()
    return f"{low:,}" if low == high else f"{low:,}{DASH}{high:,}"


def _missed(rows: pd.DataFrame, threshold: str, limit: float, draws: int) -> str:
    side = "below" if threshold.startswith("min") else "above"
    word = f"unknown, {limit:g} asked" if rows.value.isna().all() else f"{side} {limit:g}"
    part = f"{len(rows)} of {draws} draws".replace(" ", "\N{NO-BREAK SPACE}")
    return word + (f" in {part}" if draws > 1 else "")


def _shortfalls(facts: Facts) -> list[tuple[str, str]]:
    """Return where and what, a sentence for each class and threshold: that of the worst draw."""
    found = []
    for regimen in facts.design.regimens:
        here = facts.shortfalls[facts.shortfalls.regimen == regimen]
        for _, rows in here.groupby([*_KEYS, "threshold"], sort=False):
            ordered = records(rows.sort_values("value"))  # unknown ones last
            known = [row for row in ordered if not math.isnan(row["value"])] or ordered
            worst = known[0 if known[0]["threshold"].startswith("min") else -1]
            draws = len(_of(facts.quality, worst))
            times = f", in {len(rows)} of {draws} draws" if draws > 1 else ""
            times += ", at worst" if len(rows) > 1 else ""
            found.append((f"{worst['arms']} at {regimen_label(regimen)}{times}", worst["text"]))
    return found


def shortfall_sentence(facts: Facts) -> str:
    """Say at once whose images are not as good as the study asks for; empty where all are."""
    if facts.shortfalls.empty:
        return ""
    short = {name for arms in facts.shortfalls.arms for name in facts.design.named(arms)}
    arms = listing(sorted(short, key=[*facts.design.arm_names, *short].index))
    verb = "are refused" if facts.design.refused else "are used all the same"
    return f"Made images of {arms} fall short of the study's own thresholds, and {verb}"


def acceptance_rows(facts: Facts) -> list[dict[str, str]]:
    """Return what filters accepted, over draws, as texts."""
    rows = []
    for regimen in facts.design.regimens:
        here = facts.acceptance[facts.acceptance.regimen == regimen]
        for key, mine in here.groupby(_KEYS, sort=False):
            _, arms, name = key
            shares = mine.accepted / mine.candidates.replace(0, np.nan)
            known = bool(shares.notna().any())
            ends = (_percent(float(shares.min())), _percent(float(shares.max())))
            rows.append(
                {
                    "arms": str(arms),
                    "regimen": regimen_label(regimen),
                    "class_name": str(name),
                    "candidates": _range(mine.candidates),
                    "accepted": _percent(float(shares.mean())) if known else DASH,
                    "span": " to ".join(ends) if known and ends[0] != ends[1] else "",
                    "kept": _range(mine.kept),
                    "filled": _range(mine.filled),
                }
            )
    return rows
