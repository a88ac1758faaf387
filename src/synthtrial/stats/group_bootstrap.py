"""The bootstrap of groups: test sets drawn anew from the groups of this one, with replacement.

Whole groups (patients, places) are drawn, so that what the rows of a group have in common is kept
(Davison & Hinkley, *Bootstrap Methods and their Application*, 1997, sect. 3.8; Field & Welsh,
J. R. Statist. Soc. B 69:369-390, 2007). Scores of several arms and seeds that are computed from the
same draws differ as they would on another test set, so differences of columns are paired.

A ratio or an area needs the weights of the groups alone, and is computed for many draws at once; of
any other score the rows are drawn (:func:`bootstrap_rows`).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from synthtrial.stats.influence import Floats, Grouping

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

_ENTRIES = 4_000_000  # of weights by row that are held at once


def group_weights(
    groups: Grouping, resamples: int, generator: np.random.Generator
) -> NDArray[np.int64]:
    """Draw how often each group is in each resample, shape (resamples, groups)."""
    n = len(groups)
    return np.asarray(generator.multinomial(n, np.full(n, 1.0 / n), size=resamples))


def bootstrap_ratio(
    numerators_NR: ArrayLike,
    denominators_NR: ArrayLike,
    groups: Grouping,
    weights_BG: NDArray[np.int64],
) -> Floats:
    """Return ratios of sums in each resample, shape (resamples, R); NaN where one holds no row."""
    x_NR = np.asarray(numerators_NR, dtype=np.float64)
    m_NR = np.broadcast_to(np.asarray(denominators_NR, dtype=np.float64), x_NR.shape)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray((weights_BG @ groups.sum(x_NR)) / (weights_BG @ groups.sum(m_NR)))


def bootstrap_auc(
    scores_NR: ArrayLike, targets_NR: ArrayLike, groups: Grouping, weights_BG: NDArray[np.int64]
) -> Floats:
    """Return areas under the ROC curve in each resample, shape (resamples, R).

    Args:
        scores_NR: one classifier or class a column.
        targets_NR: 1, 0, or NaN for rows to be ignored; one column serves all classifiers.
        groups: of the rows.
        weights_BG: of :func:`group_weights`.

    Returns:
        NaN where a resample has no positive or no negative.
    """
    scores = np.asarray(scores_NR, dtype=np.float64)
    targets = np.broadcast_to(np.asarray(targets_NR, dtype=np.float64), scores.shape)
    group_N = np.empty(len(scores), dtype=np.int64)
    sizes_G = np.diff(np.append(groups.starts_G, len(groups.order_N)))
    group_N[groups.order_N] = np.repeat(np.arange(len(groups)), sizes_G)
    areas_BR = np.full((len(weights_BG), scores.shape[1]), math.nan)
    for k in range(scores.shape[1]):
        known = np.flatnonzero(~np.isnan(targets[:, k]))
        order = known[np.argsort(scores[known, k], kind="stable")]
        if not len(order):
            continue
        first_T = np.append(0, np.flatnonzero(np.diff(scores[order, k])) + 1)  # of each tie
        hit_M = targets[order, k] == 1
        step = max(1, _ENTRIES // len(order))
        for start in range(0, len(weights_BG), step):
            weights_BM = weights_BG[start : start + step][:, group_N[order]].astype(np.float64)
            positive_BT = np.add.reduceat(weights_BM * hit_M, first_T, axis=1)
            negative_BT = np.add.reduceat(weights_BM * ~hit_M, first_T, axis=1)
            below_BT = np.cumsum(negative_BT, axis=1) - negative_BT / 2
            pairs_B = positive_BT.sum(axis=1) * negative_BT.sum(axis=1)
            with np.errstate(invalid="ignore", divide="ignore"):
                area_B = (positive_BT * below_BT).sum(axis=1) / pairs_B
            areas_BR[start : start + step, k] = area_B
    return areas_BR


def bootstrap_rows(
    statistic: Callable[[NDArray[np.int64]], ArrayLike],
    groups: Grouping,
    weights_BG: NDArray[np.int64],
) -> Floats:
    """Return any statistic in each resample, shape (resamples, R).

    Args:
        statistic: called with the rows of a resample, some of them several times; returns one
            number or R of them.
        groups: of the rows.
        weights_BG: of :func:`group_weights`.
    """
    group_rows = [groups.rows(g) for g in range(len(groups))]
    found = []
    for weights_G in weights_BG:
        drawn = np.repeat(np.arange(len(groups)), weights_G)
        rows_M = np.concatenate([group_rows[g] for g in drawn])
        found.append(np.atleast_1d(np.asarray(statistic(rows_M), dtype=np.float64)))
    return np.array(found)


def deviations(values_BR: Floats) -> Floats:
    """Return deviations from the mean over resamples, scaled so that sums of squares are variances.

    They stand for influences (:class:`.influence.Influence`): linear, and paired between columns.
    A resample in which a score is undefined adds nothing to it; where more than half are, the
    column is NaN.
    """
    known_BR = np.isfinite(values_BR)
    count_R = known_BR.sum(axis=0)
    enough_R = (count_R >= 2) & (2 * count_R >= len(values_BR))
    filled_BR = np.where(known_BR, values_BR, 0.0)
    mean_R = filled_BR.sum(axis=0) / np.maximum(count_R, 1)
    scaled_BR = np.where(known_BR, values_BR - mean_R, 0.0) / np.sqrt(np.maximum(count_R - 1, 1))
    return np.where(enough_R, scaled_BR, math.nan)


def bootstrap_error(values_BR: Floats) -> Floats:
    """Return the standard error of each column: the deviation over resamples, shape (R,)."""
    return np.asarray(np.sqrt((deviations(values_BR) ** 2).sum(axis=0)))


def percentile_interval(values_B: ArrayLike, confidence: float = 0.95) -> tuple[float, float]:
    """Return the percentile interval (Efron 1981) of one statistic; NaN without a defined value.

    Raises:
        ValueError: ``confidence`` is not strictly between 0 and 1.
    """
    if not 0.0 < confidence < 1.0:
        raise ValueError(f"a confidence lies between 0 and 1, got {confidence}")
    values = np.asarray(values_B, dtype=np.float64)
    values = values[np.isfinite(values)]
    if not len(values):
        return math.nan, math.nan
    tail = (1.0 - confidence) / 2.0
    low, high = np.quantile(values, [tail, 1.0 - tail])
    return float(low), float(high)
