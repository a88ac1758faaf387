"""How much each test row, or group of rows, moves a score: what test-set errors are made from.

A score of a test set is nearly a sum over its groups (patients, places): were another group drawn
in the place of one, the score would change by about the difference of their *influences*. The sum
of their squares is the variance of the score over test sets of the same size, the sum of their
products the covariance of two scores of the same rows (Hampel 1974; the sandwich of Huber 1967,
with the groups as units). Influences are linear: those of a mean over classes or seeds are the mean
of the influences, those of a difference are the difference.

For the area under the ROC curve this is the estimator of DeLong, DeLong & Clarke-Pearson,
*Comparing the areas under two or more correlated receiver operating characteristic curves*,
Biometrics 44:837-845 (1988), computed from sorted scores as in Sun & Xu, IEEE Signal Processing
Letters 21:1389-1393 (2014); and of Obuchowski, *Nonparametric analysis of clustered ROC curve
data*, Biometrics 53:567-578 (1997), where rows come in groups.

Every influence is scaled by the square root of ``I / (I - 1)``, I the groups that its part of the
score rests on, as those papers do; so plain sums of squares are unbiased.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

Floats = np.ndarray[tuple[int, ...], np.dtype[np.float64]]


@dataclass(frozen=True, eq=False)
class Grouping:
    """Which rows belong together.

    Attributes:
        order_N: the rows, group after group.
        starts_G: where in ``order_N`` each group starts.
    """

    order_N: NDArray[np.int64]
    starts_G: NDArray[np.int64]

    def __len__(self) -> int:
        """Return the number of groups."""
        return len(self.starts_G)

    def sum(self, values_NR: Floats) -> Floats:
        """Return the sums over groups, values_GR."""
        ordered_NR = values_NR[self.order_N]
        if len(self) == len(self.order_N):  # every row by itself: groups only have another order
            return ordered_NR
        return np.asarray(np.add.reduceat(ordered_NR, self.starts_G, axis=0))

    def any(self, values_NR: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Return which groups hold a true row, by column."""
        return np.asarray(self.sum(values_NR.astype(np.float64)) > 0)

    def rows(self, group: int) -> NDArray[np.int64]:
        """Return the rows of a group."""
        ends_G = np.append(self.starts_G[1:], len(self.order_N))
        return self.order_N[self.starts_G[group] : ends_G[group]]


@dataclass(frozen=True, eq=False)
class Influence:
    """Scores and how much each group moves them.

    Attributes:
        estimates_R: the scores; NaN where undefined.
        sums_GR: influence of each group on each score, scaled; a column is NaN where its score is,
            or where all that it rests on is one group.
    """

    estimates_R: Floats
    sums_GR: Floats

    def covariance(self) -> Floats:
        """Return the covariance of the scores over test sets, shape (R, R)."""
        return np.asarray(self.sums_GR.T @ self.sums_GR)

    def columns(self, chosen: Sequence[int]) -> Influence:
        """Return some of the scores."""
        places = list(chosen)
        return Influence(self.estimates_R[places], self.sums_GR[:, places])

    def mean(self) -> Influence:
        """Return the mean of the defined scores as one score."""
        defined = np.flatnonzero(~np.isnan(self.estimates_R))
        if not len(defined):
            return Influence(np.array([math.nan]), np.full((len(self.sums_GR), 1), math.nan))
        return Influence(
            self.estimates_R[defined].mean(keepdims=True),
            self.sums_GR[:, defined].mean(axis=1, keepdims=True),
        )


def join(parts: Sequence[Influence]) -> Influence:
    """Put the scores of several side by side; they are of the same groups."""
    return Influence(
        np.concatenate([part.estimates_R for part in parts]),
        np.concatenate([part.sums_GR for part in parts], axis=1),
    )


def grouping(groups_N: ArrayLike) -> Grouping:
    """Return which rows belong together, from a label for each row (any sortable values)."""
    _, codes_N = np.unique(np.asarray(groups_N), return_inverse=True)
    order_N = np.argsort(codes_N, kind="stable")
    _, starts_G = np.unique(codes_N[order_N], return_index=True)
    return Grouping(order_N.astype(np.int64), starts_G.astype(np.int64))


def ratio_influence(
    numerators_NR: ArrayLike, denominators_NR: ArrayLike, groups: Grouping
) -> Influence:
    """Return the influences on ratios of sums, such as a recall or an accuracy.

    A ratio ``r = sum(x) / sum(m)`` is moved by ``(x_i - r m_i) / sum(m)``: linearisation, Cochran,
    *Sampling Techniques* (1977), ch. 6. For a proportion of n single rows the variance becomes
    ``r (1 - r) / (n - 1)``.

    Args:
        numerators_NR: x, such as 1 where a member of the class was recognised.
        denominators_NR: m, 0 in rows that do not count; one column serves all ratios.
        groups: of the rows.

    Returns:
        A ratio without rows is NaN.
    """
    x_NR = np.asarray(numerators_NR, dtype=np.float64)
    m_NR = np.broadcast_to(np.asarray(denominators_NR, dtype=np.float64), x_NR.shape)
    total_R = m_NR.sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        ratio_R = x_NR.sum(axis=0) / total_R
        sums_GR = groups.sum((x_NR - ratio_R * m_NR) / total_R)
    return Influence(ratio_R, sums_GR * _scale(groups.any(m_NR > 0)))


def auc_influence(scores_NR: ArrayLike, targets_NR: ArrayLike, groups: Grouping) -> Influence:
    """Return the influences on areas under the ROC curve.

    A positive moves the area by its placement (the share of negatives below it, ties one half) less
    the area, over the positives' number; a negative likewise. So the covariance is DeLong's where
    every group is one row. With larger groups it is Obuchowski's but for the terms between a
    group's positives and its own negatives: these are scaled by the geometric mean of the factors
    of both, where she has the factor of all groups. Thus a variance cannot be negative.

    Args:
        scores_NR: one classifier or class a column.
        targets_NR: 1, 0, or NaN for rows to be ignored; one column serves all classifiers.
        groups: of the rows.

    Returns:
        Without a positive or a negative an area is NaN.
    """
    scores = np.asarray(scores_NR, dtype=np.float64)
    targets = np.broadcast_to(np.asarray(targets_NR, dtype=np.float64), scores.shape)
    rows, columns = scores.shape
    areas_R, sums_GR = np.full(columns, math.nan), np.full((len(groups), columns), math.nan)
    scale_R = [_scale(groups.any(targets == side)) for side in (1, 0)]
    for k in range(columns):
        is_positive_N, is_negative_N = targets[:, k] == 1, targets[:, k] == 0
        positive, negative = scores[is_positive_N, k], scores[is_negative_N, k]
        m, n = len(positive), len(negative)
        if not (m and n):
            continue
        below_P = _below(positive, np.sort(negative))
        areas_R[k] = below_P.sum() / (2 * m * n)
        influence_N = np.zeros(rows)
        influence_N[is_positive_N] = (below_P / (2 * n) - areas_R[k]) / m * scale_R[0][k]
        above_M = 1 - _below(negative, np.sort(positive)) / (2 * m)
        influence_N[is_negative_N] = (above_M - areas_R[k]) / n * scale_R[1][k]
        sums_GR[:, k] = groups.sum(influence_N[:, None])[:, 0]
    return Influence(areas_R, sums_GR)


def precision_influence(scores_NR: ArrayLike, targets_NR: ArrayLike, groups: Grouping) -> Influence:
    """Return the influences on areas under the precision-recall curve (average precisions).

    The area is the mean over positives i of the precision ``p_i`` among the ``c_i`` rows scored at
    least as high. Its derivative by the weight of row j is ``(p_j - area) / m`` if j is positive,
    plus the sum over positives i that j is counted for of ``(t_j - p_i) / (c_i m)``.

    Arguments and result are as of :func:`auc_influence`; without a positive it is NaN.
    """
    scores = np.asarray(scores_NR, dtype=np.float64)
    targets = np.broadcast_to(np.asarray(targets_NR, dtype=np.float64), scores.shape)
    rows, columns = scores.shape
    areas_R, sums_GR = np.full(columns, math.nan), np.full((len(groups), columns), math.nan)
    scale_R = _scale(groups.any(targets == 1))
    for k in range(columns):
        known = np.flatnonzero(~np.isnan(targets[:, k]))
        order = known[np.argsort(-scores[known, k], kind="stable")]
        hit_M = targets[order, k] == 1
        m = int(hit_M.sum())
        if not m:
            continue
        distinct = np.append(np.flatnonzero(np.diff(scores[order, k])), len(order) - 1)
        tie_M = np.searchsorted(distinct, np.arange(len(order)))  # which tie each row is in
        count_M = distinct[tie_M] + 1.0
        precision_M = np.cumsum(hit_M)[distinct][tie_M] / count_M
        areas_R[k] = precision_M[hit_M].sum() / m
        first_M = np.append(0, distinct[:-1] + 1)[tie_M]  # of the same tie; it and lower ones count
        for_hits_M = _from(hit_M / count_M)[first_M]
        for_all_M = _from(hit_M * precision_M / count_M)[first_M]
        influence_N = np.zeros(rows)
        own_M = hit_M * (precision_M - areas_R[k])
        influence_N[order] = (own_M + hit_M * for_hits_M - for_all_M) / m
        sums_GR[:, k] = groups.sum(influence_N[:, None])[:, 0] * scale_R[k]
    return Influence(areas_R, sums_GR)


def _below(values: Floats, ordered: Floats) -> Floats:
    """Return twice the number of entries below each value, ties one half."""
    left = np.searchsorted(ordered, values, "left")
    return np.asarray(left + np.searchsorted(ordered, values, "right"), dtype=np.float64)


def _from(values_M: Floats) -> Floats:
    """Return the sums from each entry to the end."""
    return np.asarray(np.cumsum(values_M[::-1])[::-1])


def _scale(present_GR: NDArray[np.bool_]) -> Floats:
    """Return the root of ``I / (I - 1)`` for I groups present in each column; NaN for one."""
    groups_R = present_GR.sum(axis=0).astype(np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(groups_R > 1, np.sqrt(groups_R / (groups_R - 1)), math.nan)
