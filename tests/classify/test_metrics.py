import numpy as np
import pytest
from sklearn import metrics as reference

from synthtrial.classify import catalog
from synthtrial.classify.metrics import (
    accuracy,
    auc,
    auprc,
    balanced_accuracy,
    evaluate,
    probabilities,
    recall,
    score,
)
from synthtrial.errors import ConfigError
from synthtrial.testing.metrics import MetricContract

CLASSES = ["ant", "bee", "cat"]


class TestAccuracy(MetricContract):
    component = catalog.ACCURACY


class TestAuc(MetricContract):
    component = catalog.AUC


class TestAuprc(MetricContract):
    component = catalog.AUPRC


class TestBalancedAccuracy(MetricContract):
    component = catalog.BALANCED_ACCURACY


class TestRecall(MetricContract):
    component = catalog.RECALL


@pytest.fixture
def single():
    numbers = np.random.default_rng(0)
    labels = numbers.choice(3, size=200, p=[0.7, 0.2, 0.1])
    scores = numbers.random((200, 3)).round(1) + np.eye(3)[labels] * 0.3 + 1e-3
    return scores / scores.sum(1, keepdims=True), np.eye(3)[labels], labels


@pytest.fixture
def multi():
    numbers = np.random.default_rng(1)
    targets = (numbers.random((200, 3)) < [0.6, 0.3, 0.1]).astype(float)
    return np.clip(numbers.random((200, 3)).round(1) * 0.7 + targets * 0.3, 0, 1), targets


def test_single_label_metrics_agree_with_scikit_learn(single):
    scores, targets, labels = single
    predicted = scores.argmax(1)
    assert accuracy(scores, targets, multi_label=False) == reference.accuracy_score(
        labels, predicted
    )
    np.testing.assert_allclose(
        recall(scores, targets, multi_label=False),
        reference.recall_score(labels, predicted, average=None),
    )
    np.testing.assert_allclose(
        balanced_accuracy(scores, targets, multi_label=False),
        reference.balanced_accuracy_score(labels, predicted),
    )
    np.testing.assert_allclose(
        auc(scores, targets, multi_label=False),
        reference.roc_auc_score(labels, scores, multi_class="ovr", average=None),
    )


def test_multi_label_metrics_agree_with_scikit_learn(multi):
    scores, targets = multi
    predicted = (scores >= 0.5).astype(float)
    np.testing.assert_allclose(
        accuracy(scores, targets, multi_label=True), (predicted == targets).mean()
    )
    np.testing.assert_allclose(
        recall(scores, targets, multi_label=True),
        reference.recall_score(targets, predicted, average=None),
    )
    np.testing.assert_allclose(
        balanced_accuracy(scores, targets, multi_label=True),
        np.mean(
            [
                reference.balanced_accuracy_score(t, p)
                for t, p in zip(targets.T, predicted.T, strict=True)
            ]
        ),
    )
    np.testing.assert_allclose(
        auc(scores, targets, multi_label=True),
        reference.roc_auc_score(targets, scores, average=None),
    )


def test_ignored_labels_are_left_out_of_the_auc(multi):
    scores, targets = multi
    targets[:50, 1] = np.nan
    assert auc(scores, targets, multi_label=True)[1] == pytest.approx(
        reference.roc_auc_score(targets[50:, 1], scores[50:, 1])
    )


@pytest.mark.parametrize("decimals", [1, 12])
def test_average_precision_agrees_with_scikit_learn_with_ties_and_without(decimals):
    numbers = np.random.default_rng(2)
    for _ in range(20):
        targets = (numbers.random((60, 4)) < [0.02, 0.1, 0.5, 1.0]).astype(float)
        targets[0] = 1
        scores = numbers.random((60, 4)).round(decimals)
        np.testing.assert_allclose(
            auprc(scores, targets, multi_label=True),
            reference.average_precision_score(targets, scores, average=None),
        )


def test_average_precision_agrees_with_scikit_learn_where_a_row_has_one_class(single):
    scores, targets, _ = single
    np.testing.assert_allclose(
        auprc(scores, targets, multi_label=False),
        reference.average_precision_score(targets, scores, average=None),
    )


def test_average_precision_leaves_ignored_labels_out_and_needs_positives(multi):
    scores, targets = multi
    targets[:50, 1] = np.nan
    targets[:, 2] = 0
    values = auprc(scores, targets, multi_label=True)
    assert values[1] == pytest.approx(
        reference.average_precision_score(targets[50:, 1], scores[50:, 1])
    )
    assert np.isnan(values[2])
    targets[:, 0] = np.nan
    assert np.isnan(auprc(scores, targets, multi_label=True)[0])


def test_an_undefined_metric_becomes_null():
    logits = np.array([[2.0, 1.0, 0.0], [0.0, 3.0, 1.0]])
    targets = np.array([[1.0, 0, 0], [0, 1, 0]])
    values = evaluate(["recall", "auc", "accuracy"], logits, targets, CLASSES, False)
    assert values["recall"] == {"ant": 1.0, "bee": 1.0, "cat": None}
    assert values["auc"] == {"ant": 1.0, "bee": 1.0, "cat": None}
    assert values["accuracy"] == 1.0


def test_a_per_class_metric_scores_the_mean_of_what_is_defined():
    metrics = {"auc": {"ant": 1.0, "bee": 0.5, "cat": None}, "recall": {"ant": None}, "loss": None}
    assert score(metrics, "auc") == 0.75
    assert score(metrics, "recall") is None
    assert score(metrics, "loss") is None
    with pytest.raises(ConfigError, match="did you mean 'recall'"):
        score(metrics, "recal")


def test_an_unknown_metric_is_refused_with_the_list():
    with pytest.raises(ConfigError, match="balanced_accuracy"):
        evaluate(["f1"], np.zeros((1, 3)), np.eye(3)[:1], CLASSES, False)


def test_large_logits_do_not_overflow():
    logits = np.array([[1e4, -1e4], [-1e4, 1e4]], dtype=np.float32)
    np.testing.assert_allclose(probabilities(logits, multi_label=False), np.eye(2))
    np.testing.assert_allclose(probabilities(logits, multi_label=True), np.eye(2))


def test_log_loss_is_negated_so_that_higher_is_better():
    from sklearn.metrics import log_loss

    from synthtrial.classify.metrics import neg_log_loss

    random = np.random.default_rng(0)
    scores_NK = random.dirichlet(np.ones(3), 50)
    targets_NK = np.eye(3)[random.integers(0, 3, 50)]
    expected = -log_loss(targets_NK.argmax(1), scores_NK, labels=[0, 1, 2])
    assert neg_log_loss(scores_NK, targets_NK, multi_label=False) == pytest.approx(expected)
    several_NK = (random.random((50, 3)) < 0.4).astype(float)
    expected = -np.mean([log_loss(several_NK[:, k], scores_NK[:, k]) for k in range(3)])
    assert neg_log_loss(scores_NK, several_NK, multi_label=True) == pytest.approx(expected)
    several_NK[0, 0] = np.nan  # an ignored label
    assert neg_log_loss(scores_NK, several_NK, multi_label=True) != pytest.approx(expected)
    certain = np.array([[1.0, 0.0]])
    assert np.isfinite(neg_log_loss(certain, 1 - certain, multi_label=True))


def test_uncertain_labels_are_left_out_where_the_metric_says_so():
    logits_NK = np.array([[2.0], [1.0], [0.0], [-1.0]])
    targets_NK = np.array([[1.0], [0.0], [1.0], [0.0]])
    uncertain_NK = np.array([[False], [False], [True], [False]])
    both = evaluate(["auc", "auc_certain"], logits_NK, targets_NK, ["a"], True, uncertain_NK)
    assert both == {"auc": {"a": 0.75}, "auc_certain": {"a": 1.0}}
    same = evaluate(["auc", "auc_certain"], logits_NK, targets_NK, ["a"], True)
    assert same["auc"] == same["auc_certain"]


def test_a_score_may_be_the_mean_over_some_classes():
    metrics = {"auc": {"a": 0.5, "b": 0.9, "c": None}}
    assert score(metrics, "auc") == pytest.approx(0.7)
    assert score(metrics, "auc", ["b", "c"]) == pytest.approx(0.9)
    assert score(metrics, "auc", ["c"]) is None
