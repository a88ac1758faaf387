"""What the intervals suppose, tested: equal spreads, normal differences, no single block in charge.

None of these tests decides anything: with few blocks they find little, with many they find what
does not matter. They are shown so that a reader can judge, beside answers that suppose less.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from synthtrial.stats.blocks import Labels, fit_blocks

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

_VANISHES = 1e-12
_MOST_NORMAL = 5000  # beyond, the p value of Shapiro and Wilk's test is not accurate


@dataclass(frozen=True)
class BrownForsythe:
    """The test that groups have one spread (Brown & Forsythe, JASA 69:364-367, 1974).

    Attributes:
        f: the statistic; NaN where there is nothing to compare.
        df_groups, df_residual: degrees of freedom.
        p_value: small where spreads differ; NaN where it cannot be told.
        ratio: largest standard deviation of a group over the smallest; NaN likewise, infinite where
            one group does not vary.
    """

    f: float
    df_groups: int
    df_residual: int
    p_value: float
    ratio: float


@dataclass(frozen=True)
class Robustness:
    """A mean difference seen without supposing that it is normal.

    Attributes:
        p_normal: of Shapiro & Wilk (1965), small where the differences are not normal.
        p_signed_rank: of Wilcoxon's signed-rank test (1945) of no difference, symmetric differences
            supposed and nothing else.
        low_without, high_without: range of the estimate when any one block is left out.
        skewness: of the differences.
    """

    p_normal: float
    p_signed_rank: float
    low_without: float
    high_without: float
    skewness: float


def brown_forsythe(groups: Sequence[ArrayLike]) -> BrownForsythe:
    """Test that groups have one spread; groups of fewer than two values count for nothing.

    It is an analysis of variance of the distances from each group's median.
    """
    arrays = [np.asarray(group, dtype=np.float64).ravel() for group in groups]
    arrays = [values for values in arrays if values.size >= 2]
    total = sum(values.size for values in arrays)
    df_groups, df_residual = len(arrays) - 1, total - len(arrays)
    if df_groups < 1 or df_residual < 1:
        return BrownForsythe(math.nan, max(df_groups, 0), max(df_residual, 0), math.nan, math.nan)
    deviations = [float(values.std(ddof=1)) for values in arrays]
    size = max(float(np.abs(values).max()) for values in arrays)
    ratio = max(deviations) / min(deviations) if min(deviations) > _VANISHES * size else math.inf
    if max(deviations) <= _VANISHES * size:
        return BrownForsythe(math.nan, df_groups, df_residual, math.nan, math.nan)
    distances = [np.abs(values - np.median(values)) for values in arrays]
    within = sum(float(((part - part.mean()) ** 2).sum()) for part in distances)
    if within <= (_VANISHES * size) ** 2:
        return BrownForsythe(math.nan, df_groups, df_residual, math.nan, ratio)
    from scipy.special import fdtrc  # scipy.stats, whose `levene` is the same, takes a second

    middle = sum(float(part.sum()) for part in distances) / total
    between = sum(part.size * float(part.mean() - middle) ** 2 for part in distances)
    f = (between / df_groups) / (within / df_residual)
    return BrownForsythe(f, df_groups, df_residual, float(fdtrc(df_groups, df_residual, f)), ratio)


def same_spread(values_BA: ArrayLike) -> BrownForsythe:
    """Test that arms have one spread within blocks, from what blocks and arms leave unexplained.

    What all arms of a block share would hide it otherwise: the model's residuals are compared
    instead of the values. As the residuals of a block add up to zero the test errs less often than
    it says; of two arms they mirror each other, and nothing can be told.

    Args:
        values_BA: one value for each block and arm; NaN where there is none.

    Returns:
        NaN with fewer than three arms or without a spread.
    """
    values = np.asarray(values_BA, dtype=np.float64)
    values = values[:, ~np.all(np.isnan(values), axis=0)]
    values = values[(~np.isnan(values)).sum(axis=1) > 1]  # a single value is its block
    if values.shape[1] < 3 or not len(values):
        return brown_forsythe([])
    block_N, arm_N = np.nonzero(~np.isnan(values))
    blocks, arms = Labels(np.arange(len(values)), block_N), Labels.of(arm_N)
    fit = fit_blocks(values[block_N, arm_N], arms, blocks)
    effect_A = np.full(values.shape[1], math.nan)
    effect_A[[int(name) for name in fit.arms]] = fit.effects
    within = values - effect_A
    residual_BA = within - np.nanmean(within, axis=1, keepdims=True)
    return brown_forsythe([column[~np.isnan(column)] for column in residual_BA.T])


def robustness(differences: ArrayLike) -> Robustness:
    """Look at the differences of blocks without supposing that they are normal.

    Returns:
        NaN for what cannot be told: fewer than three blocks, or no spread.

    Raises:
        ValueError: a difference is not finite.
    """
    delta = np.asarray(differences, dtype=np.float64).ravel()
    if not np.all(np.isfinite(delta)):
        raise ValueError("a difference is not finite; drop undefined ones first")
    nan = math.nan
    if delta.size < 3 or np.ptp(delta) <= _VANISHES * np.abs(delta).max():
        return Robustness(nan, nan, nan, nan, nan)
    from scipy.stats import shapiro, skew, wilcoxon

    without = (delta.sum() - delta) / (delta.size - 1)
    return Robustness(
        p_normal=float(shapiro(delta).pvalue) if delta.size <= _MOST_NORMAL else nan,
        p_signed_rank=float(wilcoxon(delta).pvalue) if np.any(delta) else nan,
        low_without=float(without.min()),
        high_without=float(without.max()),
        skewness=float(skew(delta)),
    )
