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


def shared_df(values_BA: ArrayLike) -> int:
    """Return the degrees of freedom of the variance pooled over groups that share their rows.

    Groups that are measured in the same draws go up and down together, so that the sum of their
    squares varies more than that of as many independent groups: it is that of fewer degrees of
    freedom, ``trace(S)^2 / trace(S^2)`` times those of one group, with S the groups' covariance
    (Satterthwaite, Biometrics Bulletin 2:110-114, 1946; Box, Annals of Mathematical Statistics
    25:290-302, 1954, theorem 3.1).

    Args:
        values_BA: one value for each row and group; NaN where there is none.

    Returns:
        Rounded down; between those of one group, where all go together, and ``sum(n_i - 1)``.
    """
    values = np.asarray(values_BA, dtype=np.float64)
    sizes_A = (~np.isnan(values)).sum(axis=0)
    values = values[:, sizes_A > 1]
    whole = values[~np.isnan(values).any(axis=1)]
    total, groups = int((sizes_A[sizes_A > 1] - 1).sum()), int(values.shape[1])
    if not groups:
        return 0
    least = total // groups
    if len(whole) < 2:
        return least
    centred = whole - whole.mean(axis=0)
    product_AA = centred.T @ centred
    squares = float((product_AA**2).sum())
    if squares <= 0.0:
        return least
    share = float(np.trace(product_AA)) ** 2 / squares / groups
    return max(least, min(total, math.floor(total * share * (1.0 + 1e-12))))


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
