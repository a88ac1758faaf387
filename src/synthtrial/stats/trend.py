"""Whether a gain shrinks as the training set grows, or as its class becomes common: tests of both.

A gain is the difference of two arms in one block (one independent draw with its replicate), so
what the arms share has cancelled. A block gives one gain for each regimen, and these are not
independent of each other: smaller regimens lie within larger ones, and one generator may serve all.
The tests therefore never count regimens as evidence, only blocks:

* :func:`trend` fits a slope within each block and applies a one-sample t test to the slopes
  ("summary measures": Matthews et al., BMJ 300:230-235, 1990). Whatever varies between blocks is in
  the spread of the slopes and so in the interval.
* :func:`interaction` asks without naming a shape: is the gain the same in all regimens? It is the
  F test of a two-way layout, block by regimen, with the degrees of freedom of Greenhouse & Geisser
  (Psychometrika 24:95-112, 1959), as the gains of one block are correlated and differ in spread.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from synthtrial.stats.pooled import student_quantile

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

_VANISHES = 1e-12  # of a spread, as a share of the size of what is spread


@dataclass(frozen=True)
class Trend:
    """The mean slope of a gain over some x, one slope for each block.

    Attributes:
        slope: mean over the blocks, in units of the gain for one unit of x.
        standard_error: of that mean; NaN with fewer than two blocks.
        low, high: ends of the two-sided t interval; NaN with fewer than two blocks.
        p_value: two-sided, of no slope; NaN where it cannot be told.
        p_falling: one-sided, against "the gain does not fall as x grows"; small where it falls.
        n: blocks used.
        dropped: blocks left out because a value is missing.
        df: degrees of freedom, ``n - 1``.
        confidence: nominal coverage of the interval.
        why: why something is NaN; empty where nothing is.
    """

    slope: float
    standard_error: float
    low: float
    high: float
    p_value: float
    p_falling: float
    n: int
    dropped: int
    df: int
    confidence: float
    why: str = ""


@dataclass(frozen=True)
class Interaction:
    """The F test that a gain is the same in all regimens.

    Attributes:
        f: the statistic; NaN where it cannot be told.
        df_regimens, df_residual: degrees of freedom before the correction.
        epsilon: the factor of Greenhouse & Geisser on both, from ``1 / df_regimens`` to 1.
        p_value: with the corrected degrees of freedom.
        p_uncorrected: with the others: too small unless all differences of two regimens have one
            variance.
        n: blocks used.
        dropped: blocks left out because a value is missing.
        why: why something is NaN; empty where nothing is.
    """

    f: float
    df_regimens: int
    df_residual: int
    epsilon: float
    p_value: float
    p_uncorrected: float
    n: int
    dropped: int
    why: str = ""


def trend(gain_BR: ArrayLike, x_R: ArrayLike, confidence: float = 0.95) -> Trend:
    """Fit a slope within each block by least squares and test their mean.

    Args:
        gain_BR: gain in each block at each x; a block with a NaN is left out.
        x_R: where the gains were taken.
        confidence: nominal coverage of the interval.

    Raises:
        ValueError: shapes do not match, a gain is infinite, or an x is not finite.
    """
    gain, dropped = _complete(gain_BR)
    x = np.asarray(x_R, dtype=np.float64).ravel()
    if x.size != gain.shape[1] or not np.all(np.isfinite(x)):
        raise ValueError(f"one finite x for each of {gain.shape[1]} columns of gains, got {x_R!r}")
    n, nan = len(gain), math.nan
    centred = x - x.mean() if x.size else x
    spread = float(centred @ centred)
    if n == 0 or spread <= _VANISHES * float(x @ x):
        why = "no block has all its gains" if n == 0 else "a slope needs two different x"
        return Trend(nan, nan, nan, nan, nan, nan, n, dropped, max(n - 1, 0), confidence, why)
    slope_B = gain @ centred / spread
    slope, df = float(slope_B.mean()), n - 1
    if df < 1:
        why = "an interval needs two blocks"
        return Trend(slope, nan, nan, nan, nan, nan, n, dropped, df, confidence, why)
    error = float(slope_B.std(ddof=1)) / math.sqrt(n)
    half_width = student_quantile(confidence, df) * error
    p_value, p_falling, why = nan, nan, "all blocks have the same slope"
    if error > _VANISHES * float(np.abs(slope_B).max()):
        from scipy.special import stdtr

        p_falling, why = float(stdtr(df, slope / error)), ""
        p_value = float(2.0 * stdtr(df, -abs(slope) / error))
    return Trend(
        slope,
        error,
        slope - half_width,
        slope + half_width,
        p_value,
        p_falling,
        n,
        dropped,
        df,
        confidence,
        why,
    )


def interaction(gain_BR: ArrayLike) -> Interaction:
    """Test that the gain is the same in all regimens (repeated measures, Greenhouse-Geisser).

    Args:
        gain_BR: gain in each block in each regimen; a block with a NaN is left out.

    Raises:
        ValueError: not a table, or a gain is infinite.
    """
    gain, dropped = _complete(gain_BR)
    n, r = gain.shape
    df_regimens, df_residual = max(r - 1, 0), max(n - 1, 0) * max(r - 1, 0)
    why = ""
    if r < 2:
        why = "a comparison of regimens needs two of them"
    elif n < 2:
        why = "a test needs two blocks" if n else "no block has all its gains"
    if not why:
        residual = gain - gain.mean(axis=1, keepdims=True) - gain.mean(axis=0) + gain.mean()
        square = float(np.sum(residual**2)) / df_residual
        if square <= (_VANISHES * float(np.abs(gain).max())) ** 2:
            why = "all blocks differ between regimens by the same amounts"
    if why:
        nan = math.nan
        return Interaction(nan, df_regimens, df_residual, nan, nan, nan, n, dropped, why)
    from scipy.special import fdtrc

    between = n * float(np.sum((gain.mean(axis=0) - gain.mean()) ** 2)) / df_regimens
    f, epsilon = between / square, _greenhouse_geisser(residual)
    return Interaction(
        f=f,
        df_regimens=df_regimens,
        df_residual=df_residual,
        epsilon=epsilon,
        p_value=float(fdtrc(epsilon * df_regimens, epsilon * df_residual, f)),
        p_uncorrected=float(fdtrc(df_regimens, df_residual, f)),
        n=n,
        dropped=dropped,
    )


def _complete(gain_BR: ArrayLike) -> tuple[NDArray[np.float64], int]:
    """Return the blocks that lack nothing, and how many lack something."""
    gain = np.asarray(gain_BR, dtype=np.float64)
    if gain.ndim != 2:
        raise ValueError(f"gains as a table, block by regimen, got an array of shape {gain.shape}")
    if np.any(np.isinf(gain)):
        raise ValueError("a gain is infinite")
    kept = gain[~np.any(np.isnan(gain), axis=1)]
    return kept, len(gain) - len(kept)


def _greenhouse_geisser(residual_BR: NDArray[np.float64]) -> float:
    """Return epsilon from the residuals, whose products are the double-centred covariance.

    With S~ that covariance, ``trace(S~)^2 / ((R - 1) trace(S~^2))`` (Box 1954).
    """
    product_RR = residual_BR.T @ residual_BR
    r = len(product_RR)
    return float(np.trace(product_RR) ** 2 / ((r - 1) * np.sum(product_RR**2)))
