"""What choosing the best of many does: how good a best looks, and how it varies.

The best of several noisy scores looks better than it is, the more so the more were tried (Cawley &
Talbot 2010, *On over-fitting in model selection and subsequent selection bias in performance
evaluation*). Three things are told of it here: by how much the best of equals looks better than
they are, what the best would have been had fewer been tried, and how much a score varies when the
choice is made anew each time.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from synthtrial.stats.pooled import Interval, interval, pooled_variance

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

_REACH = 12.0  # standard deviations; beyond them a normal density is below 1e-32
_STEP = 1.0 / 512.0


def expected_maximum(count: int) -> float:
    """Return the expected largest of independent standard normal variables.

    Source: Harter 1961, *Expected values of normal order statistics*, Biometrika 48, table 1: the
    integral of ``x k phi(x) Phi(x)^(k-1)``. The trapezoid rule is exact to rounding here, as the
    integrand and all its derivatives vanish at both ends.

    Args:
        count: how many variables, k.

    Raises:
        ValueError: there is none.
    """
    if count < 1:
        raise ValueError(f"a largest of {count} variables: give at least one")
    from scipy.special import log_ndtr

    x = np.arange(-_REACH, _REACH + _STEP / 2, _STEP)
    log_density = -0.5 * x * x - 0.5 * math.log(2.0 * math.pi) + math.log(count)
    return float(np.sum(x * np.exp(log_density + (count - 1) * log_ndtr(x))) * _STEP)


def expected_best(scores: ArrayLike) -> NDArray[np.float64]:
    """Return the expected best score had only some of the configurations been tried.

    All subsets of m of the n scores are equally likely, so that the i-th lowest is the best of
    ``C(i-1, m-1)`` of the ``C(n, m)`` subsets. Drawing with replacement, as Dodge, Gururangan,
    Card, Schwartz & Smith 2019 (*Show Your Work*, eq. 5-7) do, is biased downwards; this is the
    correction of Tang et al. 2020 (*Showing Your Work Doesn't Always Work*, eq. 6-7).

    Args:
        scores: of the configurations, shape (n,); minus infinity for one that had none.

    Returns:
        Entry m - 1 for the best of m, shape (n,); the last is the best of all. Minus infinity
        where some subset of m has nothing but that.

    Raises:
        ValueError: a score is NaN.
    """
    ordered_N = np.sort(np.asarray(scores, dtype=np.float64).ravel())
    if np.isnan(ordered_N).any():
        raise ValueError("a score is NaN; use minus infinity for what had none")
    count = ordered_N.size
    found_N = np.empty(count)
    weight_N = np.full(count, 1.0 / count) if count else found_N  # that a score is the best of m
    place_N = np.arange(count, dtype=np.float64)  # scores below each
    for tried in range(1, count + 1):
        held_N = weight_N > 0.0
        found_N[tried - 1] = float(weight_N[held_N] @ ordered_N[held_N])
        # C(i, m) / C(n, m + 1) from C(i, m - 1) / C(n, m), with i scores below.
        weight_N = weight_N * (place_N - tried + 1) / tried * (tried + 1) / max(count - tried, 1)
        weight_N = np.where(place_N >= tried, weight_N, 0.0)
    return found_N


def clustered_mean(groups: Sequence[ArrayLike], confidence: float = 0.95) -> Interval | None:
    """Return the t interval of a mean over groups whose members are no independent evidence.

    Each group is reduced to its mean first, so groups weigh the same whatever their size.

    Args:
        groups: values by group, such as gaps by regimen; empty groups count for nothing.
        confidence: nominal coverage.

    Returns:
        The interval, its degrees of freedom being groups less one; None with fewer than two.

    Raises:
        ValueError: a value is not finite.
    """
    sized = [np.asarray(group, dtype=np.float64).ravel() for group in groups]
    means = np.array([values.mean() for values in sized if values.size])
    return (
        interval(float(means.mean()), len(means), pooled_variance([means]), confidence)
        if (len(means) > 1)
        else None
    )


@dataclass(frozen=True)
class Retuning:
    """What it does to a score that every replicate chooses for itself.

    Attributes:
        fixed_variance: over replicates, of the score of the configuration with the best mean.
        added_variance: over replicates, of what the own choice of a replicate adds to that.
        shift: mean of what is added; below zero where own choices are worse.
        choices: number of different configurations chosen.
        replicates: that had a score to choose by.
    """

    fixed_variance: float
    added_variance: float
    shift: float
    choices: int
    replicates: int


def retuning(scores_RC: ArrayLike) -> Retuning | None:
    """Compare a choice made within each replicate with one choice for all of them.

    The score that a replicate chooses by says nothing about the spread: the largest of several
    scores varies *less* than each. What an own choice adds is therefore measured on the *other*
    replicates: their mean difference between the configuration that this one would choose and the
    one chosen for all, which is 0 where they are the same (leave-one-out, as in Cawley & Talbot
    2010, sec. 5). The variance of these differences comes on top of that of seeds and draws.

    Args:
        scores_RC: score of each replicate and configuration, shape (replicates, configurations);
            NaN where there is none.

    Returns:
        Both variances; None with fewer than three replicates that have a score of the
        configuration chosen for all, which must be one that all replicates with scores have.
    """
    values_RC = np.asarray(scores_RC, dtype=np.float64)
    values_RC = values_RC[np.isfinite(values_RC).any(axis=1)]
    if len(values_RC) < 3:
        return None
    whole_C = np.isfinite(values_RC).all(axis=0)
    if not whole_C.any():
        return None
    means_C = np.where(whole_C, np.where(whole_C, values_RC, 0.0).mean(axis=0), -np.inf)
    fixed = int(np.argmax(means_C))
    own_R = np.argmax(np.where(np.isfinite(values_RC), values_RC, -np.inf), axis=1)
    added = []
    for replicate, own in enumerate(own_R.tolist()):
        others_RC = np.delete(values_RC, replicate, axis=0)
        gaps = others_RC[:, own] - others_RC[:, fixed]
        gaps = gaps[np.isfinite(gaps)]
        added.append(float(gaps.mean()) if gaps.size else 0.0)
    return Retuning(
        fixed_variance=float(np.var(values_RC[:, fixed], ddof=1)),
        added_variance=float(np.var(added, ddof=1)),
        shift=float(np.mean(added)),
        choices=len(set(own_R.tolist())),
        replicates=len(values_RC),
    )


def widening(found: Sequence[Retuning]) -> float:
    """Return by what factor own choices widen the spread of scores, over several cells.

    Returns:
        Square root of the summed variances with the own choices over those without; NaN where
        scores do not vary at all.
    """
    fixed = sum(cell.fixed_variance for cell in found)
    added = sum(cell.added_variance for cell in found)
    return math.sqrt((fixed + added) / fixed) if fixed > 0 else math.nan
