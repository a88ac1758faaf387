"""Resampled groups against plain recomputation, the sandwich, and a group jackknife."""

import math

import numpy as np
import pytest

from synthtrial.classify import metrics
from synthtrial.stats.group_bootstrap import bootstrap_rows, deviations, group_weights
from synthtrial.stats.influence import auc_influence, grouping, precision_influence, ratio_influence


@pytest.fixture(scope="module")
def patients():
    """Correlated images of 80 patients: scores of two classifiers, targets, groups."""
    random = np.random.default_rng(0)
    names = random.integers(0, 80, 320)
    targets = (random.random(80) < 0.4)[names].astype(float)
    targets[::7] = 1 - targets[::7]
    patient = random.normal(size=(80, 1))[names]
    scores = np.round(patient + random.normal(size=(320, 2)) + targets[:, None], 1)
    targets[3] = np.nan
    return scores, targets, grouping(names)


def weights(groups, resamples, seed=1):
    return group_weights(groups, resamples, np.random.default_rng(seed))


def test_a_resample_has_as_many_groups_and_is_drawn_the_same_again(patients):
    groups = patients[2]
    drawn = weights(groups, 50)
    assert drawn.shape == (50, len(groups))
    assert (drawn.sum(axis=1) == len(groups)).all()
    assert (drawn == weights(groups, 50)).all()
    assert (drawn != weights(groups, 50, seed=2)).any()


def test_the_rows_of_a_resample_are_those_of_its_groups(patients):
    groups = patients[2]
    sizes = groups.sum(np.ones((320, 1)))[:, 0]
    drawn = weights(groups, 20)
    rows = bootstrap_rows(lambda rows: np.bincount(rows, minlength=320), groups, drawn)
    assert (rows.sum(axis=1) == drawn @ sizes).all()
    for g in range(len(groups)):
        assert (rows[:, groups.rows(g)] == drawn[:, [g]]).all()


def jackknife(statistic, groups):
    """The delete-one-group jackknife's variance."""
    rows = [groups.rows(g) for g in range(len(groups))]
    left = np.array([statistic(np.concatenate(rows[:g] + rows[g + 1 :])) for g in range(len(rows))])
    return (len(rows) - 1) / len(rows) * ((left - left.mean()) ** 2).sum()


def test_bootstrap_jackknife_and_sandwich_agree_on_paired_differences(patients):
    scores, targets, groups = patients
    contrast = np.array([1.0, -1.0])
    drawn = weights(groups, 2000)
    hits, members = (scores > 0.5) & (targets == 1)[:, None], (targets == 1)[:, None]
    marks = np.column_stack([targets, targets])

    def recall(rows):
        return contrast @ (hits[rows].sum(axis=0) / members[rows].sum())

    def area(rows):
        return contrast @ metrics.auc(scores[rows], marks[rows], multi_label=True)

    for influence, statistic in (
        (auc_influence(scores, targets[:, None], groups), area),
        (ratio_influence(hits, members, groups), recall),
    ):
        sandwich = math.sqrt(((influence.sums_GR @ contrast) ** 2).sum())
        resampled = bootstrap_rows(statistic, groups, drawn)
        boot = math.sqrt((deviations(resampled) ** 2).sum())
        assert boot == pytest.approx(sandwich, rel=0.06)
        assert boot == pytest.approx(resampled.std(ddof=1))
        assert math.sqrt(jackknife(statistic, groups)) == pytest.approx(sandwich, rel=0.03)


def test_the_error_of_an_average_precision_agrees_with_the_jackknife(patients):
    scores, targets, groups = patients

    def area(rows):
        return metrics.auprc(scores[rows, :1], targets[rows, None], multi_label=True)[0]

    influence = precision_influence(scores[:, :1], targets[:, None], groups)
    sandwich = math.sqrt(influence.covariance()[0, 0])
    assert math.sqrt(jackknife(area, groups)) == pytest.approx(sandwich, rel=0.06)


def test_resamples_without_a_value_are_left_out_unless_they_are_most():
    values = np.array([[1.0, np.nan], [3.0, np.nan], [np.nan, 2.0], [5.0, np.nan]])
    spread = deviations(values)
    assert (spread[:, 0] ** 2).sum() == pytest.approx(np.var([1, 3, 5], ddof=1))
    assert spread[2, 0] == 0
    assert np.isnan(spread[:, 1]).all()
