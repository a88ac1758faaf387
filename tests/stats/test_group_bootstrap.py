"""Resampled groups against plain recomputation, the sandwich, and a group jackknife."""

import math

import numpy as np
import pytest

from synthtrial.classify import metrics
from synthtrial.stats.group_bootstrap import (
    bootstrap_auc,
    bootstrap_error,
    bootstrap_ratio,
    bootstrap_rows,
    deviations,
    group_weights,
    percentile_interval,
)
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


def test_weighted_areas_are_those_of_the_repeated_rows(patients):
    scores, targets, groups = patients
    drawn = weights(groups, 20)
    fast = bootstrap_auc(scores, targets[:, None], groups, drawn)
    marks = np.column_stack([targets, targets])

    def plain(rows):
        return metrics.auc(scores[rows], marks[rows], multi_label=True)

    np.testing.assert_allclose(fast, bootstrap_rows(plain, groups, drawn), rtol=1e-12)


def test_weighted_ratios_are_those_of_the_repeated_rows(patients):
    scores, targets, groups = patients
    drawn = weights(groups, 20)
    hits, members = (scores > 0.5) & (targets == 1)[:, None], (targets == 1)[:, None]
    fast = bootstrap_ratio(hits, members, groups, drawn)

    def plain(rows):
        return hits[rows].sum(axis=0) / members[rows].sum()

    np.testing.assert_allclose(fast, bootstrap_rows(plain, groups, drawn), rtol=1e-12)


def jackknife(statistic, groups):
    """The delete-one-group jackknife's variance."""
    rows = [groups.rows(g) for g in range(len(groups))]
    left = np.array([statistic(np.concatenate(rows[:g] + rows[g + 1 :])) for g in range(len(rows))])
    return (len(rows) - 1) / len(rows) * ((left - left.mean()) ** 2).sum()


def test_bootstrap_jackknife_and_sandwich_agree_on_paired_differences(patients):
    scores, targets, groups = patients
    contrast = np.array([1.0, -1.0])
    drawn = weights(groups, 3000)
    hits, members = (scores > 0.5) & (targets == 1)[:, None], (targets == 1)[:, None]
    marks = np.column_stack([targets, targets])

    def recall(rows):
        return contrast @ (hits[rows].sum(axis=0) / members[rows].sum())

    def area(rows):
        return contrast @ metrics.auc(scores[rows], marks[rows], multi_label=True)

    for resampled, influence, statistic in (
        (
            bootstrap_auc(scores, targets[:, None], groups, drawn),
            auc_influence(scores, targets[:, None], groups),
            area,
        ),
        (
            bootstrap_ratio(hits, members, groups, drawn),
            ratio_influence(hits, members, groups),
            recall,
        ),
    ):
        sandwich = math.sqrt(((influence.sums_GR @ contrast) ** 2).sum())
        boot = bootstrap_error(resampled @ contrast[:, None])[0]
        assert boot == pytest.approx(sandwich, rel=0.06)
        assert math.sqrt(jackknife(statistic, groups)) == pytest.approx(sandwich, rel=0.03)
        low, high = percentile_interval(resampled @ contrast)
        assert high - low == pytest.approx(2 * 1.96 * sandwich, rel=0.1)


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
    assert bootstrap_error(values)[0] == pytest.approx(2.0)


def test_a_class_that_a_resample_lacks_is_undefined_there():
    groups = grouping(np.arange(4))
    drawn = np.array([[4, 0, 0, 0], [1, 1, 1, 1], [0, 2, 2, 0]])
    areas = bootstrap_auc(
        np.array([[0.9], [0.8], [0.1], [0.2]]), [[1], [1], [0], [0]], groups, drawn
    )
    assert areas[:, 0].tolist() == pytest.approx([math.nan, 1.0, 1.0], nan_ok=True)
    members = np.array([[0.0], [1], [1], [0]])
    ratios = bootstrap_ratio(members, members, groups, drawn)
    assert ratios[:, 0].tolist() == pytest.approx([math.nan, 1.0, 1.0], nan_ok=True)


def test_percentiles_ignore_what_is_undefined():
    low, high = percentile_interval([*range(101), math.nan], 0.9)
    assert (low, high) == pytest.approx((5.0, 95.0))
    assert math.isnan(percentile_interval([math.nan])[0])
    with pytest.raises(ValueError, match="between 0 and 1, got 90"):
        percentile_interval([1.0], 90)
