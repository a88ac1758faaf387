"""What the template shows, worked out: tables as rows of ready texts.

The template only lays these out, so that what a reader sees can be tested without parsing a page.
"""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pandas as pd

from synthtrial.data.regimens import regimen_label
from synthtrial.report.facts import Design, Facts, records
from synthtrial.report.inference import (
    EQUAL,
    HIGHER,
    LOWER,
    MISSING,
    UNCLEAR,
    UNTESTED,
    sign_of,
)
from synthtrial.report.numbers import axis_reach, between, number, span
from synthtrial.report.pictures import Picture
from synthtrial.report.questions import readable
from synthtrial.report.style import VARIABLES
from synthtrial.report.verdict import Answer, Versus, shows_overall

if TYPE_CHECKING:  # it lays out its own with what is here
    from synthtrial.report.missing import Missing

WORDS = {
    HIGHER: "higher",
    LOWER: "lower",
    EQUAL: "no difference that matters",
    UNCLEAR: "no clear difference",
    UNTESTED: "untested",
}
SYMBOLS = {HIGHER: "▲", LOWER: "▼", EQUAL: "=", UNCLEAR: "?", UNTESTED: "?", MISSING: "?"}
_NO_INTERVAL = "no interval"
#: Spreads of arms are called unlike below this p value.
UNLIKE = 0.05
#: Of an interval that is clear of zero, but not once corrected for regimens and classes.
HINTS = {HIGHER: "△", LOWER: "▽"}
STAMP_TEXTS = {
    "LEAKY": "the generator, a filter or pretrained weights saw test or validation groups, or "
    "nobody knows: the numbers are no evidence",
    "PRIVILEGED": "the generator, or what filters its images, saw images that the trial's "
    "classifier was denied",
    "GROUPS UNKNOWN": "the dataset does not say which images belong together (such as one writer "
    "or patient), so training and test may share groups",
    "PROVISIONAL": "trials are still to come; only complete blocks are counted",
    "MIXED CODE": "trials were made by different versions of the code",
}


@dataclass(frozen=True)
class Column:
    """A column of the results: its key in the tables and its heading."""

    scope: str
    class_name: str
    title: str
    subtitle: str


@dataclass(frozen=True)
class CellView:
    """One entry of a table of results.

    Attributes:
        value, interval: ready texts.
        mark: ``best``, ``higher``, ``lower``, ``unclear`` or ``untested``.
        symbol: the mark for those who do not see colours.
        n, df: replicates and degrees of freedom.
        own: the interval of a mean from its arm's own spread, where the arms' spreads differ.
    """

    value: str
    interval: str
    mark: str
    symbol: str
    n: int
    df: int
    own: str = ""


@dataclass(frozen=True)
class RowView:
    """One arm at one regimen.

    Attributes:
        cells: aligned with the targets, None where there is no score.
        reasons: alike, why there is none.
        lost: what became of trials that gave no score at all; empty where all did.
    """

    arm: str
    colour: str
    cells: tuple[CellView | None, ...]
    n: str
    df: str
    stamps: tuple[str, ...]
    reasons: tuple[str, ...] = ()
    lost: str = ""

    @property
    def reason(self) -> str:
        """Why nothing is there, where one reason holds for all targets."""
        alike = len(set(self.reasons)) == 1 and not any(self.cells)
        return self.reasons[0] if alike else ""


@dataclass(frozen=True)
class GroupView:
    """The rows of one regimen."""

    regimen: str
    images: str
    rows: tuple[RowView, ...]


@dataclass(frozen=True)
class ForestView:
    """An interval as positions in percent of a common axis; ``than`` says what it is against."""

    word: str
    outcome: str
    symbol: str
    text: str
    low: float
    high: float
    point: float
    zero: float
    than: str


@dataclass(frozen=True)
class AnswerView:
    """One line of the answer."""

    regimen: str
    arm: str
    colour: str
    forests: tuple[ForestView | None, ...]


@dataclass(frozen=True)
class StripView:
    """Images side by side, as data URIs."""

    label: str
    role: str
    tiles: tuple[str, ...]
    pixelated: bool


def columns_of(design: Design) -> list[Column]:
    """Return the columns of the results: minority classes, their mean, and overall."""
    found = [Column("class", name, name, readable(design.class_metric)) for name in design.minority]
    if len(design.minority) > 1 and not design.overall_is_minority:
        found.append(Column("minority", "", "minority mean", readable(design.class_metric)))
    over = "minority mean" if design.overall_is_minority else design.overall_scope
    if not (design.overall_is_minority and len(design.minority) == 1):
        found.append(Column("overall", "", over, readable(design.overall_metric)))
    return found


def colour_of(colour: str) -> str:
    """Return the page's variable for a colour of the figures."""
    return f"var({VARIABLES[colour]})"


def symbol_of(outcome: str, low: float, high: float) -> str:
    """Return the mark of a difference with its simultaneous interval."""
    hint = HINTS.get(sign_of(low, high), "") if outcome == UNCLEAR else ""
    return hint or SYMBOLS[outcome]


def results_view(
    facts: Facts,
    table: pd.DataFrame,
    colours: Mapping[str, str],
    *,
    differences: bool = False,
    missing: Missing | None = None,
) -> list[GroupView]:
    """Lay out :func:`tables.results_table` or :func:`inference.differences_table` for people.

    Args:
        facts: the study.
        table: either table.
        colours: by arm.
        differences: whether it is the second.
        missing: says why an arm has no score; without it, such an arm has no row.
    """
    columns, against = columns_of(facts.design), facts.design.baseline if differences else ""
    keyed = {
        (float(row["regimen"]), row["arm"], row["scope"], row["class_name"]): row
        for row in records(table)
    }
    groups = []
    for regimen in facts.design.regimens:
        rows = []
        for arm in facts.design.arm_names:
            found = [keyed.get((regimen, arm, t.scope, t.class_name)) for t in columns]
            present = [row for row in found if row is not None]
            told = missing is not None and regimen in missing.complete and arm != against
            if not present and not told:
                continue
            lost, reasons = missing.of_row(regimen, arm, against) if missing else ("", ())
            make = _difference_cell if differences else _mean_cell
            cells = tuple(None if row is None else make(row) for row in found)
            marks = str(present[-1].get("stamps", "")) if present else ""
            stamps = tuple(s for s in marks.split(",") if s)
            rows.append(
                RowView(
                    arm,
                    colour_of(colours[arm]),
                    cells,
                    span([cell.n for cell in cells if cell] or [0]),
                    span([cell.df for cell in cells if cell]),
                    stamps,
                    reasons,
                    lost if present else "",
                )
            )
        images = facts.regimen_images.get(regimen)
        text = f"{images:,} images" if images is not None and regimen <= 1 else ""
        groups.append(GroupView(regimen_label(regimen), text, tuple(rows)))
    return groups


def _mean_cell(row: Mapping[str, object]) -> CellView:
    low, high, n, df = _floats(row, "low", "high", "n", "df")
    best = bool(row["best"])
    interval = between(low, high, signed=False, unknown=_NO_INTERVAL)
    spread_p, own_low, own_high = _floats(row, "spread_p", "own_low", "own_high")
    unlike = spread_p < UNLIKE and not math.isnan(own_low)
    return CellView(
        number(_floats(row, "mean")[0]),
        interval,
        "best" if best else "",
        "★" if best else "",
        int(n),
        int(df),
        f"† {between(own_low, own_high, signed=False)}" if unlike else "",
    )


def _difference_cell(row: Mapping[str, object]) -> CellView:
    difference, low, high, n, df = _floats(row, "difference", "shown_low", "shown_high", "n", "df")
    outcome = str(row["outcome"])
    return CellView(
        number(difference, signed=True),
        between(low, high, unknown=_NO_INTERVAL),
        outcome,
        symbol_of(outcome, low, high),
        int(n),
        int(df),
    )


def _floats(row: Mapping[str, object], *names: str) -> list[float]:
    return [float(str(row[name])) for name in names]


def answer_view(
    facts: Facts, found: Sequence[Answer], colours: Mapping[str, str]
) -> tuple[list[AnswerView], str]:
    """Place the answers' intervals on one axis for all of them.

    Returns:
        One line an answer, and a text that says how far the axis reaches.
    """
    everything = [f for answer in found for f in (answer.first, answer.overall, answer.rival)]
    ends = [end for f in everything for end in (f.low, f.high)]
    reach = axis_reach([f.difference for f in everything], ends)
    lines = []
    for answer in found:
        shown = [answer.first, *([answer.overall] if shows_overall(facts.design) else [])]
        forests = [_forest(versus, reach) for versus in shown]
        if answer.rival.against:
            than = _than(answer.rival, facts.design.baseline)
            forests.append(_forest(answer.rival, reach, than))
        lines.append(
            AnswerView(
                regimen_label(answer.regimen),
                answer.arm,
                colour_of(colours[answer.arm]),
                tuple(forests),
            )
        )
    cut = any(abs(end) > reach for end in ends)
    return lines, f"±{reach:.2f}{' (longer intervals are cut)' if cut else ''}"


def _than(versus: Versus, baseline: str) -> str:
    link = {HIGHER: "than", LOWER: "than", UNTESTED: "against"}.get(versus.outcome, "from")
    same = ", itself the best of them" if versus.against == baseline else ""
    return f"{link} {versus.against}{same}"


def _forest(versus: Versus, reach: float, than: str = "") -> ForestView | None:
    if versus.outcome not in WORDS:
        return None

    def place(value: float) -> float:
        return 50.0 + 48.0 * max(-1.0, min(1.0, value / reach))

    known = not math.isnan(versus.low)
    interval = f" ({between(versus.low, versus.high)})"
    return ForestView(
        WORDS[versus.outcome],
        versus.outcome,
        symbol_of(versus.outcome, versus.low, versus.high),
        number(versus.difference, signed=True) + (interval if known else ""),
        place(versus.low if known else versus.difference),
        place(versus.high if known else versus.difference),
        place(versus.difference),
        50.0,
        than,
    )


def strips(design: Design, pictures: Sequence[Picture]) -> list[tuple[str, list[StripView]]]:
    """Group strips of images by class: the real ones, then the made ones by regimen."""
    found = []
    several = len({picture.arms for picture in pictures if picture.role == "synthetic"}) > 1
    for name in design.classes:
        mine = [picture for picture in pictures if picture.class_name == name]
        mine.sort(key=lambda p: (p.role != "real", _place(design, p.arms), p.regimen or 0.0))
        views = []
        for picture in mine:
            label = "real" if picture.role == "real" else "synthetic"
            if picture.regimen is not None:
                label += f", {regimen_label(picture.regimen)}"
            if several and picture.arms:
                label += f" · {picture.arms}"
            tiles, pixelated = cut(picture)
            views.append(StripView(label, picture.role, tuple(tiles), pixelated))
        if views:
            found.append((name, views))
    return found


def _place(design: Design, arms: str) -> int:
    """Return where an arm stands in the study; what is none comes last."""
    name = design.named(arms)[0]
    return design.arm_names.index(name) if name in design.arm_names else len(design.arms)


def cut(picture: Picture) -> tuple[list[str], bool]:
    """Cut a strip into its images.

    Returns:
        PNG data URIs, and whether the images are so small that pixels should stay sharp.
    """
    from PIL import Image

    found = []
    with Image.open(picture.path) as strip:
        width = strip.width // picture.tiles
        for place in range(picture.tiles):
            buffer = io.BytesIO()
            tile = strip.crop((place * width, 0, (place + 1) * width, strip.height))
            tile.save(buffer, "PNG", optimize=True)
            found.append("data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode())
    return found, width < 64
