"""How many replicates a question takes, and what so many can show.

Everything here is about one difference, taken in each of ``n`` independent blocks (draws, or seeds
of one draw) and tested by the paired t test; ``deviation`` is the standard deviation of that
difference between blocks. Power is that of the noncentral t distribution (Cohen 1988), whose tail
on the wrong side is left out (it is below .001 wherever the power is above .5).

A deviation out of a pilot study is itself uncertain: :func:`upper_deviation` is the end that it
stays below with some assurance (Browne, *On the use of a pilot sample for sample size
determination*, Statistics in Medicine 14:1933-1940, 1995).
"""

from __future__ import annotations

import math
from collections.abc import Callable

from synthtrial.stats.pooled import student_quantile

#: No larger number of blocks is looked for.
MOST_BLOCKS = 10_000_000


def detectable_difference(
    deviation: float,
    n: int,
    *,
    alpha: float = 0.05,
    power: float = 0.8,
    df: int | None = None,
) -> float:
    """Return the smallest true difference that ``n`` blocks find with this power.

    Args:
        deviation: of the difference between blocks.
        n: blocks.
        alpha: probability of a false alarm.
        power: probability of finding the difference.
        df: degrees of freedom of the deviation in the test; by default ``n - 1``.

    Returns:
        In units of ``deviation``'s; infinite with fewer than two blocks.

    Raises:
        ValueError: ``alpha`` or ``power`` is not strictly between 0 and 1, or ``deviation`` < 0.
    """
    _check(deviation, alpha, power)
    df = n - 1 if df is None else df
    if n < 2 or df < 1:
        return math.inf
    from scipy.special import nctdtrinc

    critical = student_quantile(1.0 - alpha, df)
    return float(nctdtrinc(df, 1.0 - power, critical)) / math.sqrt(n) * deviation


def blocks_for_difference(
    deviation: float, difference: float, *, alpha: float = 0.05, power: float = 0.8
) -> int:
    """Return the fewest blocks that find a true difference with this power.

    Raises:
        ValueError: as :func:`detectable_difference`, or ``difference`` is 0.
    """
    _check(deviation, alpha, power)
    if difference == 0:
        raise ValueError("no number of blocks finds a difference of 0")
    size = abs(difference)
    return _fewest(lambda n: detectable_difference(deviation, n, alpha=alpha, power=power) <= size)


def interval_width(deviation: float, n: int, *, confidence: float = 0.95) -> float:
    """Return the width of the t interval of ``n`` blocks; infinite with fewer than two."""
    if n < 2:
        return math.inf
    return 2.0 * student_quantile(confidence, n - 1) * deviation / math.sqrt(n)


def upper_deviation(deviation: float, df: float, *, assurance: float = 0.8) -> float:
    """Return what a standard deviation out of a pilot lies below with this assurance.

    It is ``deviation * sqrt(df / chi2(1 - assurance, df))`` (Browne 1995).

    Args:
        deviation: of the pilot.
        df: its degrees of freedom, above 0.
        assurance: probability that the true one is below.
    """
    from scipy.special import chdtri

    return deviation * math.sqrt(df / float(chdtri(df, assurance)))


def _fewest(enough: Callable[[int], bool]) -> int:
    """Return the smallest n from 2 on for which a monotone condition holds."""
    high = 2
    while not enough(high):
        high *= 2
        if high > MOST_BLOCKS:
            return MOST_BLOCKS
    low = max(high // 2, 1)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


def _check(deviation: float, alpha: float, power: float) -> None:
    if not (0.0 < alpha < 1.0 and 0.0 < power < 1.0):
        raise ValueError(f"alpha and power lie between 0 and 1, got {alpha} and {power}")
    if not deviation >= 0:
        raise ValueError(f"a standard deviation is not negative, got {deviation}")
