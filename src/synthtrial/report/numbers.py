"""Numbers as the report writes them: scores, intervals, p values and counts, each in one way."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from synthtrial.report.facts import DASH, MINUS

_DIGITS = 3
_MOST_DIGITS = 6
_FAR = 1.5


def number(value: float, *, signed: bool = False) -> str:
    """Write a score with three decimals and a true minus sign.

    A smaller one has as many as its first digit takes: ``+0.000`` would hide on which side of zero
    it lies.
    """
    if math.isnan(value):
        return DASH
    digits = _DIGITS
    while digits < _MOST_DIGITS and value and round(value, digits) == 0:
        digits += 1
    if round(value, digits) == 0:
        value, digits = 0.0, _DIGITS
    return (f"{value:+.{digits}f}" if signed else f"{value:.{digits}f}").replace("-", MINUS)


def between(low: float, high: float, *, signed: bool = True, unknown: str = DASH) -> str:
    """Write the ends of an interval: ``−0.012 to +0.030``.

    Args:
        low: its lower end; NaN where there is no interval.
        high: its upper end.
        signed: whether they are those of a difference.
        unknown: what is written where there is none.
    """
    if math.isnan(low):
        return unknown
    return f"{number(low, signed=signed)} to {number(high, signed=signed)}"


def axis_reach(points: Sequence[float], ends: Sequence[float]) -> float:
    """Return how far an axis with zero in the middle has to reach.

    It reaches to the farthest end, unless few intervals are far longer than the rest and would
    leave these no room: these are to be cut.

    Args:
        points: what intervals are of.
        ends: of all intervals; those that are NaN count for nothing.
    """
    far = sorted(abs(end) for end in ends if not math.isnan(end))
    seen = max((abs(point) for point in points if not math.isnan(point)), default=0.0)
    if not far:
        return seen or 0.1
    enough = max(3.0 * far[len(far) // 2], 1.2 * seen)
    return (enough if far[-1] > _FAR * enough else far[-1]) or 0.1


def p_value(value: float) -> str:
    """Write a p value in a table: ``0.012``, ``< 0.001``."""
    if math.isnan(value):
        return DASH
    return f"{value:.3f}" if value >= 0.001 else "< 0.001"


def p_text(value: float) -> str:
    """Write a p value in a sentence: ``p = 0.012``, ``p < 0.001``, ``p unknown``."""
    if math.isnan(value):
        return "p unknown"
    return f"p = {p_value(value)}" if value >= 0.001 else f"p {p_value(value)}"


def span(counts: Iterable[float]) -> str:
    """Write the range of whole numbers: ``6``, ``3–6``; a dash where there are none."""
    known = [int(count) for count in counts]
    if not known:
        return DASH
    low, high = min(known), max(known)
    return f"{low}" if low == high else f"{low}{DASH}{high}"
