"""What a classifier scored: metrics as plain functions on arrays, and their form in records.

A metric takes ``scores_NK``, probabilities in [0, 1], and ``targets_NK``, 1, 0 or NaN where a label
is ignored. It returns one number, or one for each class; what cannot be computed, such as the
recall of a class without positives, is NaN and becomes null in records. It never becomes 0.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray

from synthtrial.errors import ConfigError, SynthtrialError, suggest
from synthtrial.registry import Component, find

Scores = NDArray[np.float64]
Metric = Callable[..., "float | np.floating | Scores"]
Values = float | None | dict[str, float | None]

SMALLEST = 1e-7  # probability whose logarithm is taken
_THRESHOLD = 0.5  # of a multi-label score that counts as "yes"


def accuracy(scores_NK: Scores, targets_NK: Scores, *, multi_label: bool) -> float:
    """Fraction of rows whose highest score is their class; of labels, if rows hold several."""
    if not multi_label:
        return _mean(scores_NK.argmax(1) == targets_NK.argmax(1))
    known = ~np.isnan(targets_NK)
    return _mean(((scores_NK >= _THRESHOLD) == (targets_NK == 1))[known])


def recall(scores_NK: Scores, targets_NK: Scores, *, multi_label: bool) -> Scores:
    """Fraction of each class's positives that are recognised, shape (K,)."""
    return _fraction(predictions(scores_NK, multi_label), targets_NK == 1)


def balanced_accuracy(scores_NK: Scores, targets_NK: Scores, *, multi_label: bool) -> float:
    """Mean recall of the classes that have positives.

    With several labels a row, the mean over classes of (sensitivity + specificity) / 2.
    """
    predictions_NK = predictions(scores_NK, multi_label)
    values_K = _fraction(predictions_NK, targets_NK == 1)
    if multi_label:
        values_K = (values_K + _fraction(~predictions_NK, targets_NK == 0)) / 2
    return _mean(values_K[~np.isnan(values_K)])


def auc(scores_NK: Scores, targets_NK: Scores, *, multi_label: bool) -> Scores:
    """Area under the ROC curve of each class against the rest, shape (K,).

    The Mann-Whitney statistic: the chance that a positive scores above a negative, ties counting
    one half. Without a positive or a negative it is undefined.
    """
    del multi_label  # one against the rest in both cases
    values_K = np.full(targets_NK.shape[1], math.nan)
    for k, (scores_N, targets_N) in enumerate(zip(scores_NK.T, targets_NK.T, strict=True)):
        positive, negative = scores_N[targets_N == 1], np.sort(scores_N[targets_N == 0])
        if len(positive) and len(negative):
            below = np.searchsorted(negative, positive, "left")
            not_above = np.searchsorted(negative, positive, "right")
            values_K[k] = (below.sum() + not_above.sum()) / (2 * len(positive) * len(negative))
    return values_K


def auprc(scores_NK: Scores, targets_NK: Scores, *, multi_label: bool) -> Scores:
    """Average precision of each class against the rest, shape (K,).

    The area under the precision-recall curve as a sum of steps, without interpolation: over the
    distinct scores, from the highest down, the precision of all rows scored at least that high,
    weighted by the share of positives that have just this score. Chance is not one half but the
    share of positives. Without a positive it is undefined.
    """
    del multi_label  # one against the rest in both cases
    values_K = np.full(targets_NK.shape[1], math.nan)
    for k, (scores_N, targets_N) in enumerate(zip(scores_NK.T, targets_NK.T, strict=True)):
        known_N = ~np.isnan(targets_N)
        order_M = np.argsort(-scores_N[known_N], kind="stable")
        scores_M, hits_M = scores_N[known_N][order_M], np.cumsum(targets_N[known_N][order_M] == 1)
        if len(hits_M) and hits_M[-1]:
            last = np.append(np.flatnonzero(np.diff(scores_M)), len(scores_M) - 1)  # of each tie
            gained = np.diff(hits_M[last], prepend=0)
            values_K[k] = (gained * hits_M[last] / (last + 1)).sum() / hits_M[-1]
    return values_K


def neg_log_loss(scores_NK: Scores, targets_NK: Scores, *, multi_label: bool) -> float:
    """Mean log-likelihood of the labels, which is minus the loss: higher is better, as elsewhere.

    Of one class a row, the mean over rows; of several, over rows and known labels.
    """
    scores = np.clip(scores_NK, SMALLEST, 1 - SMALLEST)
    if not multi_label:
        return _mean(np.log(scores[targets_NK == 1]))
    likelihood_NK = np.where(targets_NK == 1, np.log(scores), np.log1p(-scores))
    return _mean(likelihood_NK[~np.isnan(targets_NK)])


def probabilities(logits_NK: NDArray[np.floating], *, multi_label: bool) -> Scores:
    """Turn logits into scores: a sigmoid of each, or a softmax over the classes of a row."""
    logits = np.asarray(logits_NK, dtype=np.float64)
    if multi_label:
        return np.asarray(0.5 * (1 + np.tanh(0.5 * logits)))  # cannot overflow
    exponentials = np.exp(logits - logits.max(axis=1, keepdims=True, initial=-math.inf))
    return np.asarray(exponentials / exponentials.sum(axis=1, keepdims=True))


def evaluate(
    names: Sequence[str],
    logits_NK: NDArray[np.floating],
    targets_NK: NDArray[np.floating],
    classes: Sequence[str],
    multi_label: bool,
    uncertain_NK: NDArray[np.bool_] | None = None,
) -> dict[str, Values]:
    """Compute metrics by name, as records hold them.

    Args:
        names: of installed metrics.
        logits_NK: finite outputs of a classifier.
        targets_NK: 1, 0, or NaN where a label is ignored.
        classes: names of the K columns.
        multi_label: whether a row may hold several classes.
        uncertain_NK: labels that are uncertain in the raw data, for metrics that leave them out;
            None where there are none.

    Returns:
        For each name a number, or a number by class name; None where undefined.

    Raises:
        ConfigError: a metric is not installed.
        SynthtrialError: a metric returned neither one number nor one for each class.
    """
    scores_NK = probabilities(logits_NK, multi_label=multi_label)
    targets = np.asarray(targets_NK, dtype=np.float64)
    results: dict[str, Values] = {}
    for name in names:
        judged = judged_by(name, targets, uncertain_NK)
        values = np.asarray(function_of(name)(scores_NK, judged, multi_label=multi_label))
        if values.ndim == 0:
            results[name] = _defined(values)
        elif values.shape == (len(classes),):
            results[name] = {c: _defined(v) for c, v in zip(classes, values, strict=True)}
        else:
            raise SynthtrialError(
                f"the metric '{name}' returned an array of shape {values.shape}; it must return "
                f"one number, or one for each of the {len(classes)} classes"
            )
    return results


def score(
    metrics: Mapping[str, Values], name: str, over: Sequence[str] | None = None
) -> float | None:
    """Return one number for a metric: a per-class metric counts as the mean of what is defined.

    Args:
        metrics: from :func:`evaluate`.
        name: of the metric.
        over: classes that the mean is over; by default all.

    Raises:
        ConfigError: the metric was not computed.
    """
    if name not in metrics:
        raise ConfigError(f"no metric '{name}' was computed: {suggest(name, metrics)}")
    values = metrics[name]
    if not isinstance(values, dict):
        return values
    defined = [v for k, v in values.items() if v is not None and (over is None or k in over)]
    return math.fsum(defined) / len(defined) if defined else None


@cache
def _component(name: str) -> Component:
    return find("metric", name)


@cache
def function_of(name: str) -> Metric:
    """Return what computes a metric.

    Raises:
        ConfigError: it is not installed.
    """
    metric: Metric = _component(name).load()
    return metric


def judged_by(name: str, targets_NK: Scores, uncertain_NK: NDArray[np.bool_] | None) -> Scores:
    """Return the targets that a metric is given: some leave out labels that are uncertain."""
    if uncertain_NK is None or not _component(name).certain:
        return targets_NK
    return np.where(uncertain_NK, math.nan, targets_NK)


def predictions(scores_NK: Scores, multi_label: bool) -> NDArray[np.bool_]:
    """Return what is said of each row and class: the highest score alone, or each from one half."""
    if multi_label:
        return np.asarray(scores_NK >= _THRESHOLD)
    return np.asarray(scores_NK.argmax(1)[:, None] == np.arange(scores_NK.shape[1]))


def _fraction(hits_NK: NDArray[np.bool_], members_NK: NDArray[np.bool_]) -> Scores:
    """Fraction of each column's members that are hit; NaN for a column without members."""
    members_K = members_NK.sum(0)
    hits_K = (hits_NK & members_NK).sum(0)
    return np.where(members_K > 0, hits_K / np.maximum(members_K, 1), math.nan)


def _mean(values: NDArray[np.bool_] | Scores) -> float:
    return float(values.mean()) if values.size else math.nan


def _defined(value: np.generic | NDArray[np.generic]) -> float | None:
    number = float(value)
    return number if math.isfinite(number) else None
