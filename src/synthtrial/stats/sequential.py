"""Replicating until an interval is narrow enough, without losing its coverage.

Whoever looks after each replicate and stops once the t interval is narrow stops where the spread
happens to look small: the interval covers less often than it says (Anscombe 1953;
``make coverage`` shows how much less). Stein (*A two-sample test for a linear
hypothesis whose power is independent of the variance*, Annals of Mathematical Statistics
16:243-258, 1945) has the remedy: the spread is estimated from the first ``n0`` blocks alone. It
says how many blocks are needed in all, and stays in the interval whatever comes after. As the mean
of all blocks does not depend on the spread of the first ones, ``(mean - truth) / (s0 / sqrt(n))``
is Student's t with ``n0 - 1`` degrees of freedom, exactly, for normal differences: the coverage is
what it says, however often somebody has looked at the width in between. A rule that looks at the
*means*, such as stopping once an interval clears zero, is another matter and is not covered.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from synthtrial.stats.pooled import student_quantile

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

#: With fewer first blocks the quantile of t is so large that most of the work goes into that.
LEAST_FIRST = 10


@dataclass(frozen=True)
class SteinInterval:
    """The interval of a mean difference whose number of blocks was chosen from the first ones.

    Attributes:
        estimate: mean of all blocks.
        standard_error: the first blocks' standard deviation over the root of all their number.
        df: ``n_first - 1``.
        low, high: ends of the interval.
        p_value: two-sided, of no difference; NaN where the first blocks do not vary.
        n, n_first: blocks in all, and those whose spread counts.
        confidence: nominal coverage.
    """

    estimate: float
    standard_error: float
    df: int
    low: float
    high: float
    p_value: float
    n: int
    n_first: int
    confidence: float


def blocks_needed(first: ArrayLike, width: float, *, confidence: float = 0.95) -> int:
    """Return how many blocks make the interval no wider than ``width`` (Stein 1945).

    Args:
        first: differences of the first blocks, in the order in which they were taken.
        width: from end to end, above 0.
        confidence: nominal coverage.

    Returns:
        ``max(n0, ceil((2 t s0 / width)^2))``.

    Raises:
        ValueError: fewer than two blocks, a value is not finite, or ``width`` is not positive.
    """
    deviation, n = _first_deviation(first)
    if not width > 0:
        raise ValueError(f"a width is above 0, got {width}")
    wanted = (2.0 * student_quantile(confidence, n - 1) * deviation / width) ** 2
    return max(n, math.ceil(wanted * (1.0 - 1e-12)))


def stein_interval(values: ArrayLike, n_first: int, *, confidence: float = 0.95) -> SteinInterval:
    """Return the interval of the mean of all blocks with the spread of the first ones.

    Args:
        values: differences of all blocks, the first ones first.
        n_first: how many of these the number of blocks was chosen from.
        confidence: nominal coverage.

    Raises:
        ValueError: fewer than two first blocks, fewer values than first blocks, or a value is not
            finite.
    """
    all_B = np.asarray(values, dtype=np.float64).ravel()
    deviation, n0 = _first_deviation(all_B[:n_first])
    if n0 < n_first or not np.all(np.isfinite(all_B)):
        raise ValueError(f"{n_first} finite first values and any more, got {all_B.size} values")
    mean, error, df = float(all_B.mean()), deviation / math.sqrt(all_B.size), n0 - 1
    half = student_quantile(confidence, df) * error
    p_value = math.nan
    if error > 0:
        from scipy.special import stdtr

        p_value = float(2.0 * stdtr(df, -abs(mean) / error))
    return SteinInterval(
        mean, error, df, mean - half, mean + half, p_value, all_B.size, n0, confidence
    )


def _first_deviation(first: ArrayLike) -> tuple[float, int]:
    values = np.asarray(first, dtype=np.float64).ravel()
    if values.size < 2 or not np.all(np.isfinite(values)):
        raise ValueError(f"at least two finite first values, got {values.size}")
    return float(values.std(ddof=1)), int(values.size)
