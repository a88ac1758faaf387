"""How much each test row moves a metric, for the metrics that come with synthtrial.

Where :mod:`.metrics` says what a classifier scored, this says how sure the test set makes it: see
:mod:`synthtrial.stats.influence`. A metric of somebody else's has no influences here; its rows can
be resampled (:mod:`synthtrial.stats.group_bootstrap`).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from synthtrial.classify import metrics
from synthtrial.classify.metrics import SMALLEST, Scores, function_of, predictions
from synthtrial.stats.influence import (
    Grouping,
    Influence,
    auc_influence,
    precision_influence,
    ratio_influence,
)

_KNOWN = (
    metrics.accuracy,
    metrics.auc,
    metrics.auprc,
    metrics.balanced_accuracy,
    metrics.neg_log_loss,
    metrics.recall,
)


def is_known(name: str) -> bool:
    """Whether the influences on this metric are known.

    Raises:
        ConfigError: the metric is not installed.
    """
    return function_of(name) in _KNOWN


def influence_of(
    name: str, scores_NK: Scores, targets_NK: Scores, groups: Grouping, *, multi_label: bool
) -> Influence:
    """Return the influences on a metric: of each class, or one column for a single number.

    Args:
        name: of the metric.
        scores_NK: as the metric takes them, whose value is ``estimates_R``.
        targets_NK: likewise.
        groups: of the rows.
        multi_label: whether a row may hold several classes.

    Raises:
        ConfigError: the metric is not installed.
        ValueError: its influences are not known (:func:`is_known`).
    """
    kind = function_of(name)
    if kind is metrics.auc:
        return auc_influence(scores_NK, targets_NK, groups)
    if kind is metrics.auprc:
        return precision_influence(scores_NK, targets_NK, groups)
    if kind is metrics.recall:
        hits_NK = predictions(scores_NK, multi_label)
        return _fraction(hits_NK, targets_NK == 1, groups)
    if kind is metrics.balanced_accuracy:
        return _balanced(scores_NK, targets_NK, groups, multi_label)
    if kind is metrics.accuracy:
        if not multi_label:
            hits_N = scores_NK.argmax(1) == targets_NK.argmax(1)
            return ratio_influence(hits_N[:, None], np.ones((len(hits_N), 1)), groups)
        hits_NK = predictions(scores_NK, multi_label) == (targets_NK == 1)
        return _pooled(hits_NK, ~np.isnan(targets_NK), groups)
    if kind is metrics.neg_log_loss:
        scores = np.clip(scores_NK, SMALLEST, 1 - SMALLEST)
        if not multi_label:
            return _pooled(np.log(scores), targets_NK == 1, groups)
        likelihood_NK = np.where(targets_NK == 1, np.log(scores), np.log1p(-scores))
        return _pooled(likelihood_NK, ~np.isnan(targets_NK), groups)
    raise ValueError(f"the influences on the metric '{name}' are not known")


def rows_of(name: str, targets_NK: Scores) -> NDArray[np.bool_]:
    """Return which rows each class's value rests on, shape (N, K); of a single number, all K."""
    if function_of(name) is metrics.recall:
        return np.asarray(targets_NK == 1)
    return ~np.isnan(targets_NK)


def _fraction(
    hits_NK: NDArray[np.bool_], members_NK: NDArray[np.bool_], groups: Grouping
) -> Influence:
    return ratio_influence(hits_NK & members_NK, members_NK, groups)


def _pooled(
    values_NK: NDArray[np.bool_] | Scores, counted_NK: NDArray[np.bool_], groups: Grouping
) -> Influence:
    """Return the mean over rows and classes together."""
    sums_N1 = np.where(counted_NK, values_NK, 0.0).sum(axis=1, keepdims=True)
    return ratio_influence(sums_N1, counted_NK.sum(axis=1, keepdims=True), groups)


def _balanced(
    scores_NK: Scores, targets_NK: Scores, groups: Grouping, multi_label: bool
) -> Influence:
    hits_NK = predictions(scores_NK, multi_label)
    found = _fraction(hits_NK, targets_NK == 1, groups)
    if multi_label:
        other = _fraction(~hits_NK, targets_NK == 0, groups)
        found = Influence(
            (found.estimates_R + other.estimates_R) / 2, (found.sums_GR + other.sums_GR) / 2
        )
    return found.mean()
