"""Welch's difference of two means: two independent groups, each with a spread of its own.

Welch, *The generalization of "Student's" problem when several different population variances are
involved*, Biometrika 34 (1947); degrees of freedom by Satterthwaite, *An approximate distribution
of estimates of variance components*, Biometrics Bulletin 2 (1946).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike


@dataclass(frozen=True)
class WelchDifference:
    """Estimated difference ``mean(second) - mean(first)``.

    Attributes:
        estimate: the difference, in units of the values.
        standard_error: ``sqrt(s1^2 / n1 + s2^2 / n2)``; NaN where a group has one value.
        df: Satterthwaite's degrees of freedom, between the smaller ``n - 1`` and the sum of both;
            NaN where the standard error is NaN, and where it is 0, as then nothing varies.
        low, high: ends of the t interval; NaN where the standard error is. Where that is 0, both
            are the estimate.
        p_value: two-sided, of equal means; NaN where ``df`` is.
        confidence: nominal coverage of the interval.
    """

    estimate: float
    standard_error: float
    df: float
    low: float
    high: float
    p_value: float
    confidence: float


def welch(first: ArrayLike, second: ArrayLike, confidence: float = 0.95) -> WelchDifference:
    """Compare the means of two independent groups.

    Args:
        first: values of one group, n1 of them.
        second: values of the other, n2 of them.
        confidence: nominal coverage.

    Raises:
        ValueError: a group is empty, a value is not finite, or ``confidence`` is not strictly
            between 0 and 1.
    """
    groups = [np.asarray(values, dtype=np.float64).ravel() for values in (first, second)]
    if any(values.size == 0 for values in groups):
        raise ValueError("a group without values has no mean; give each at least one")
    if not all(np.all(np.isfinite(values)) for values in groups):
        raise ValueError("a value is not finite; drop undefined scores first")
    if not 0.0 < confidence < 1.0:
        raise ValueError(f"an interval needs 0 < confidence < 1, got {confidence}")
    estimate = float(groups[1].mean() - groups[0].mean())
    nan = math.nan
    if any(values.size < 2 for values in groups):
        return WelchDifference(estimate, nan, nan, nan, nan, nan, confidence)
    parts = [float(values.var(ddof=1)) / values.size for values in groups]
    error = math.sqrt(sum(parts))
    if error == 0.0:
        return WelchDifference(estimate, 0.0, nan, estimate, estimate, nan, confidence)
    shares = [part / sum(parts) for part in parts]
    df = 1.0 / sum(
        share**2 / (values.size - 1) for share, values in zip(shares, groups, strict=True)
    )
    from scipy.special import stdtr, stdtrit  # scipy.stats would take a second to import

    half_width = float(stdtrit(df, 0.5 + confidence / 2.0)) * error
    return WelchDifference(
        estimate,
        error,
        df,
        estimate - half_width,
        estimate + half_width,
        float(2.0 * stdtr(df, -abs(estimate) / error)),
        confidence,
    )
