"""The sentence of one difference: what its intervals allow, in plain words."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from synthtrial.report.facts import Design
from synthtrial.report.inference import EQUAL, HIGHER, LOWER, PRIMARY, UNCLEAR, UNTESTED, sign_of
from synthtrial.report.numbers import between, number, p_text
from synthtrial.report.questions import target_name, training_text

#: More seeds than this are called "more than", as the estimate of their number is a rough one.
_MANY = 1000
#: Of an interval as wide as this the ends say nothing: a score lies between 0 and 1.
_NOTHING_KNOWN = 1.0
#: Replicates that are advised where there is no spread to tell their number from.
_ADVISED = 10


def sentence_of(design: Design, row: Mapping[str, Any], more: int | None) -> str:
    """Say what a difference shows.

    Args:
        design: of the study.
        row: of :func:`synthtrial.report.held_out.with_test_set`.
        more: further blocks that would about settle it, where that is open and known.
    """
    arm, baseline, outcome = row["arm"], row["baseline"], row["outcome"]
    what = target_name(design, row["scope"], row["class_name"])
    difference = float(row["difference"])
    place = f"With {training_text([row['regimen']])}"
    seen = f"{what} was {_apart(difference)} with {baseline}"
    if outcome == UNTESTED:
        enough = max(_ADVISED, design.replicates + _ADVISED // 2)
        return (
            f"{place}, {arm} is not tested: {_untested(row)}. {seen[0].upper()}{seen[1:]}; "
            f"`{design.replicate_command} --to {enough}` would tell more."
        )
    low, high = float(row["shown_low"]), float(row["shown_high"])
    ends = between(low, high)
    corrected = _corrected(design, row)
    if outcome in (HIGHER, LOWER):
        verb = "helps" if outcome == HIGHER else "hurts"
        small = ""
        if design.margin is not None and max(abs(low), abs(high)) < design.margin:
            small = f", though by less than the {design.margin:g} that matters here"
        return f"{place}, {arm} {verb}: {seen} ({ends}{corrected}){small}.{_elsewhere(design, row)}"
    if outcome == EQUAL and difference == 0 and low == high:
        return f"{place}, {arm} makes no difference: {seen} in every {row['unit']}."
    if outcome == EQUAL:
        return (
            f"{place}, {arm} makes no difference larger than {design.margin:g}: {seen} ({ends})."
            f"{_elsewhere(design, row)}"
        )
    possible, hint = f"anything from {ends} is possible", ""
    if high - low > _NOTHING_KNOWN:
        possible = "next to nothing can be ruled out"
    if sign_of(low, high) != UNCLEAR:
        hint = (
            " Asked alone it would count as a difference; among so many questions one like it may "
            "come by chance."
        )
    if row["not_worse"] and design.margin is not None and low <= 0:
        # Where other test images are known to allow such a loss, it is said of these alone.
        start = " On this test set it is" if _widened(row)[0] <= -design.margin else " It is"
        hint += f"{start} surely not worse than {baseline} by {design.margin:g} or more."
    lacking = f"there are not enough {units_of(design, row)} to say whether {arm} helps"
    return f"{place}, {lacking}: {seen}, and {possible}.{hint}{_more_text(design, row, more)}"


def _apart(difference: float) -> str:
    size = number(abs(difference))
    if float(size) == 0:  # sums of floating numbers leave some 1e-17
        return "the same as"
    return f"{size} {'higher' if difference > 0 else 'lower'} than"


def _corrected(design: Design, row: Mapping[str, Any]) -> str:
    """Say the p value of a primary difference that is corrected for its regimens."""
    several = design.primary is not None and len(design.primary.regimens) > 1
    p = float(row["p_holm"])
    if row["role"] != PRIMARY or not several or math.isnan(p):
        return ""
    return f"; corrected {p_text(p)}"


def _elsewhere(design: Design, row: Mapping[str, Any]) -> str:
    """Say what is left of it where the test set could have been another one, as far as known."""
    low, high = _widened(row)
    if math.isnan(low):
        return ""
    ends = between(low, high)
    if row["outcome"] in (HIGHER, LOWER) and sign_of(low, high) == UNCLEAR:
        return (
            " That holds for this test set; whether it does for other test images cannot be told "
            f"({ends})."
        )
    if row["outcome"] == EQUAL and max(abs(low), abs(high)) >= (design.margin or 0.0):
        return f" For other test images it could be more: {ends}."
    return f" For other test images of the same kind: {ends}."


def _widened(row: Mapping[str, Any]) -> tuple[float, float]:
    """Return the interval over test sets as well, made as much wider as the shown one is."""
    low, high = float(row["both_low"]), float(row["both_high"])
    alone = float(row["high"] - row["low"])
    factor = float(row["shown_high"] - row["shown_low"]) / alone if alone > 0 else 1.0
    middle, half = float(row["difference"]), factor * (high - low) / 2.0
    return middle - half, middle + half


def _untested(row: Mapping[str, Any]) -> str:
    if row["blocks"] < 2:
        return f"one {row['unit']} shows no spread"
    return f"{row['blocks']} {row['unit']}s differ by the very same amount, which shows no spread"


def units_of(design: Design, row: Mapping[str, Any]) -> str:
    """Say what there may be too few of: seeds, or draws where seeds share them."""
    return "seeds" if row["unit"] == "replicate" or design.draws == design.replicates else "draws"


def _more_text(design: Design, row: Mapping[str, Any], more: int | None) -> str:
    if more is None:
        return ""
    units = units_of(design, row)
    if more > _MANY:
        return f" More than {_MANY:,} more {units} would be needed to settle it."
    word = units if more > 1 else units[:-1]
    number_ = f"{rounded(more):,} more {word}"
    return f" About {number_} would probably settle it, if the difference is as it looks."


def rounded(number: int) -> int:
    """Round up to two digits: the number of seeds that are needed is a rough one."""
    if number < 100:
        return number
    unit: int = 10 ** (len(str(number)) - 2)
    return -(-number // unit) * unit
