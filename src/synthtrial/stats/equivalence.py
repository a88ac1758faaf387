"""Whether a difference is small enough not to matter, and how large it is beside its own spread.

That an interval holds zero is no proof that there is no difference. Schuirmann (*A comparison of
the two one-sided tests procedure and the power approach*, Journal of Pharmacokinetics and
Biopharmaceutics 15:657-680, 1987) turns the question round: at a margin that was named beforehand,
two arms are equivalent where both "it is worse by the margin or more" and "it is better by the
margin or more" are rejected. The first of the two alone is "no worse than the margin".
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

_GRID = 500


@dataclass(frozen=True)
class Equivalence:
    """Two one-sided t tests of a difference against a margin.

    Attributes:
        margin: in units of the difference.
        p_not_worse: of "it is lower by the margin or more": small where it is no worse.
        p_not_better: of "it is higher by the margin or more".
        p_value: of "it is not equivalent": the larger of the two.
    """

    margin: float
    p_not_worse: float
    p_not_better: float
    p_value: float


@dataclass(frozen=True)
class EffectSize:
    """A mean difference in units of its standard deviation between blocks (Cohen's d_z).

    Attributes:
        d: corrected for small samples (Hedges 1981).
        low, high: exact interval of the true one, from the noncentral t distribution.
        n: blocks.
    """

    d: float
    low: float
    high: float
    n: int


def equivalence(
    estimate: float, standard_error: float, df: float, margin: float | None
) -> Equivalence:
    """Test a difference against a margin (Schuirmann 1987).

    Args:
        estimate: the difference.
        standard_error: of it.
        df: degrees of freedom of the standard error.
        margin: differences smaller than this do not matter; above 0. None where nobody named one.

    Returns:
        p values; NaN where the standard error is unknown or zero, or without a margin.

    Raises:
        ValueError: the margin is not positive.
    """
    if margin is None:
        return Equivalence(math.nan, math.nan, math.nan, math.nan)
    if not margin > 0:
        raise ValueError(f"a margin is above 0, got {margin}")
    if not (standard_error > 0 and df >= 1):
        return Equivalence(margin, math.nan, math.nan, math.nan)
    from scipy.special import stdtr

    lower = float(stdtr(df, -(estimate + margin) / standard_error))
    upper = float(stdtr(df, (estimate - margin) / standard_error))
    return Equivalence(margin, lower, upper, max(lower, upper))


def effect_size(
    estimate: float,
    standard_error: float,
    n: int,
    confidence: float = 0.95,
    df: int | None = None,
) -> EffectSize:
    """Return a mean difference in units of its spread between blocks, with an exact interval.

    ``t = estimate / standard_error`` is noncentral t with noncentrality ``delta * sqrt(n)``, which
    is inverted for the ends (Steiger & Fouladi 1997); Hedges' factor is ``J = Gamma(v / 2) /
    (sqrt(v / 2) Gamma((v - 1) / 2))`` with ``v`` degrees of freedom.

    Args:
        estimate: mean difference over the blocks.
        standard_error: of it: a standard deviation over the root of ``n``.
        n: blocks.
        confidence: nominal coverage.
        df: degrees of freedom of that standard deviation; by default ``n - 1``.

    Returns:
        NaN throughout with fewer than two degrees of freedom, or without a spread.
    """
    df = n - 1 if df is None else df
    if n < 2 or df < 2 or not standard_error > 0:
        return EffectSize(math.nan, math.nan, math.nan, n)
    from scipy.special import gammaln

    t, tail = estimate / standard_error, (1.0 - confidence) / 2.0
    factor = math.exp(float(gammaln(df / 2) - gammaln((df - 1) / 2))) / math.sqrt(df / 2)
    scale, size = factor / math.sqrt(n), abs(t)
    low, high = _noncentrality(df, 1.0 - tail, size), _noncentrality(df, tail, size)
    if t < 0:
        low, high = -high, -low
    root = math.sqrt(n)
    return EffectSize(t * scale, low / root, high / root, n)


def _noncentrality(df: int, probability: float, t: float) -> float:
    """Return the noncentrality at which ``t`` is the quantile.

    ``P(T <= t) = E[Phi(t sqrt(chi2 / df) - nc)]`` over a grid of equally likely values of chi2:
    scipy's own function is NaN in many places where ``t`` is large.
    """
    from scipy.optimize import brentq
    from scipy.special import ndtr

    threshold_Q = t * _scales(df)
    reach = 10.0 * math.sqrt(1.0 + t * t / (2.0 * df)) + abs(t)
    return float(
        brentq(lambda nc: float(ndtr(threshold_Q - nc).mean()) - probability, -reach, reach)
    )


@lru_cache(maxsize=64)
def _scales(df: int) -> NDArray[np.float64]:
    """Return equally likely values of sqrt(chi2 / df)."""
    from scipy.special import chdtri

    return np.sqrt(chdtri(df, (np.arange(_GRID) + 0.5) / _GRID) / df)
