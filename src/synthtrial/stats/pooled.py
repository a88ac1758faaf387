"""Pooled variance: one spread for several groups, so that few seeds a group still give an interval.

The blog post *A Conditional GAN for Data Augmentation: A Cautionary Tale* trains three classifiers
a group, assumes that all groups have one spread, and estimates it from the deviations about each
group's own mean, with the divisor ``2 |G|``. That is ``sum(n_i - 1)`` for three a group; with the
general divisor it is the mean square error of a one-way analysis of variance.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True)
class Pooled:
    """The common variance of several groups.

    Attributes:
        variance: pooled variance, in squared units of the values; NaN where ``df`` is 0.
        df: degrees of freedom, ``sum(n_i - 1)``.
        n_groups: groups that hold at least one value.
    """

    variance: float
    df: int
    n_groups: int

    @property
    def deviation(self) -> float:
        """Pooled standard deviation, in units of the values."""
        return math.sqrt(self.variance)


@dataclass(frozen=True)
class Interval:
    """A two-sided confidence interval.

    Attributes:
        low, high: its ends, in units of the values.
        half_width: distance of either end from the estimate.
        df: degrees of freedom of the t distribution it was made with.
        confidence: its nominal coverage, between 0 and 1.
    """

    low: float
    high: float
    half_width: float
    df: int
    confidence: float


def pooled_variance(groups: Sequence[ArrayLike]) -> Pooled:
    """Pool the variance of groups that may differ in mean and in size.

    Args:
        groups: values of each group; empty groups are allowed and count for nothing.

    Returns:
        Sum of squares about each group's mean over ``sum(n_i - 1)``.

    Raises:
        ValueError: a value is not finite.
    """
    squares, df, n_groups = 0.0, 0, 0
    for group in groups:
        values = _finite(group)
        if values.size == 0:
            continue
        n_groups += 1
        df += values.size - 1
        squares += float(np.sum((values - values.mean()) ** 2))
    return Pooled(variance=squares / df if df else math.nan, df=df, n_groups=n_groups)


def interval(mean: float, n: int, pooled: Pooled, confidence: float = 0.95) -> Interval | None:
    """Return the t interval of a group's mean from the pooled variance.

    Args:
        mean: the group's mean.
        n: the group's number of values.
        pooled: variance of the group and its companions.
        confidence: nominal coverage.

    Returns:
        ``mean`` plus and minus ``t * sqrt(variance / n)`` with ``pooled.df`` degrees of freedom;
        None where no variance could be estimated (no group with two values) or ``n`` is 0.
    """
    if n < 1 or pooled.df < 1:
        return None
    half_width = student_quantile(confidence, pooled.df) * math.sqrt(pooled.variance / n)
    return Interval(mean - half_width, mean + half_width, half_width, pooled.df, confidence)


def student_quantile(confidence: float, df: int) -> float:
    """Return t such that a Student variable lies within ±t with probability ``confidence``.

    Raises:
        ValueError: ``confidence`` is not strictly between 0 and 1, or ``df`` is not positive.
    """
    if not 0.0 < confidence < 1.0 or df < 1:
        raise ValueError(
            f"a t interval needs 0 < confidence < 1 and df >= 1, got {confidence} and {df}"
        )
    from scipy.special import stdtrit  # scipy.stats would take a second to import

    return float(stdtrit(df, 0.5 + confidence / 2.0))


def _finite(group: ArrayLike) -> NDArray[np.float64]:
    values = np.asarray(group, dtype=np.float64).ravel()
    if not np.all(np.isfinite(values)):
        raise ValueError("a group holds a value that is not finite; drop undefined scores first")
    return values
