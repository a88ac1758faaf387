"""Influences on shipped metrics: scores are the metrics' own, errors those of a jackknife."""

import numpy as np
import pytest

from synthtrial.classify.influence import influence_of, is_known, rows_of
from synthtrial.classify.metrics import function_of, judged_by
from synthtrial.registry import Component, find, names
from synthtrial.stats.influence import grouping

SHIPPED = [n for n in names("metric") if find("metric", n).implementation.startswith("synthtrial.")]


@pytest.fixture(params=[False, True], ids=["one label", "several labels"])
def judged(request):
    """Scores, targets (one class without a positive, some labels ignored) and groups."""
    random = np.random.default_rng(5)
    targets = np.zeros((240, 4))
    targets[np.arange(240), random.choice(3, 240, p=[0.6, 0.25, 0.15])] = 1
    if request.param:
        targets[:, :3] = np.maximum(targets[:, :3], random.random((240, 3)) < 0.3)
        targets[random.random((240, 4)) < 0.05] = np.nan
    scores = random.random((240, 4)) + 0.4 * np.nan_to_num(targets)
    scores = scores / 1.4 if request.param else scores / scores.sum(1, keepdims=True)
    return scores, targets, random.integers(0, 80, 240), request.param


def test_all_shipped_metrics_are_known():
    assert {"accuracy", "auc", "auprc_certain", "neg_log_loss", "recall"} <= set(SHIPPED)
    assert all(map(is_known, SHIPPED))


@pytest.mark.parametrize("name", SHIPPED)
def test_a_score_and_its_error_are_the_metric_s_own(name, judged):
    scores, targets, groups, many = judged
    rows = grouping(groups)
    metric = function_of(name)

    def compute(chosen):
        return np.atleast_1d(metric(scores[chosen], targets[chosen], multi_label=many))

    found = influence_of(name, scores, targets, rows, multi_label=many)
    np.testing.assert_allclose(found.estimates_R, compute(np.arange(240)), rtol=1e-13)
    defined = ~np.isnan(found.estimates_R)
    assert defined.any()
    assert (np.isnan(found.sums_GR).all(axis=0) == ~defined).all()
    np.testing.assert_allclose(found.sums_GR[:, defined].sum(axis=0), 0, atol=1e-3)
    left = np.array([compute(groups != group) for group in np.unique(groups)])[:, defined]
    jackknife = (len(left) - 1) * left.var(axis=0)
    error = np.sqrt(np.diag(found.covariance()))[defined]
    np.testing.assert_allclose(np.sqrt(jackknife), error, rtol=0.1)


def test_a_recall_rests_on_the_class_s_images_and_other_metrics_on_what_is_known(judged):
    _, targets, _, _ = judged
    assert (rows_of("recall", targets) == (targets == 1)).all()
    assert (rows_of("auc", targets) == ~np.isnan(targets)).all()


def test_certain_metrics_are_given_certain_labels_alone():
    targets, uncertain = np.ones((2, 1)), np.array([[True], [False]])
    assert np.isnan(judged_by("auc_certain", targets, uncertain)).tolist() == [[True], [False]]
    assert judged_by("auc", targets, uncertain) is targets
    assert judged_by("auc_certain", targets, None) is targets


def test_an_unknown_metric_is_not_guessed(monkeypatch):
    monkeypatch.setattr(
        "synthtrial.classify.metrics._component",
        lambda name: Component(name, 1, dict, "synthtrial.classify.metrics:score"),
    )
    function_of.cache_clear()
    try:
        assert not is_known("mine")
        with pytest.raises(ValueError, match="metric 'mine' are not known"):
            influence_of(
                "mine", np.ones((2, 1)), np.ones((2, 1)), grouping([0, 1]), multi_label=True
            )
    finally:
        function_of.cache_clear()
