"""Influences against the published formulas spelled out, derivatives, and closed forms."""

import math

import numpy as np
import pytest

from synthtrial.classify import metrics
from synthtrial.stats.influence import (
    auc_influence,
    grouping,
    join,
    precision_influence,
    ratio_influence,
)

# DeLong, DeLong & Clarke-Pearson's own patients: albumin, total protein, K-G score, no benefit.
OVARIAN = np.fromstring(
    """
    3.0 5.8 10 0 3.2 6.3  5 1 3.9 6.8  3 1 2.8 4.8  6 0 3.2 5.8  3 1 0.9 4.0  5 0 2.5 5.7  8 0
    1.6 5.6  5 1 3.8 5.7  5 1 3.7 6.7  6 1 3.2 5.4  4 1 3.8 6.6  6 1 4.1 6.6  5 1 3.6 5.7  5 1
    4.3 7.0  4 1 3.6 6.7  4 0 2.3 4.4  6 1 4.2 7.6  4 0 4.0 6.6  6 0 3.5 5.8  6 1 3.8 6.8  7 1
    3.0 4.7  8 0 4.5 7.4  5 1 3.7 7.4  5 1 3.1 6.6  6 1 4.1 8.2  6 1 4.3 7.0  5 1 4.3 6.5  4 1
    3.2 5.1  5 1 2.6 4.7  6 1 3.3 6.8  6 0 1.7 4.0  7 0 3.7 6.1  5 1 3.3 6.3  7 1 4.2 7.7  6 1
    3.5 6.2  5 1 2.9 5.7  9 0 2.1 4.8  7 1 2.8 6.2  8 0 4.0 7.0  7 1 3.3 5.7  6 1 3.7 6.9  5 1
    3.6 6.6  5 1
    """,
    sep=" ",
).reshape(-1, 4)


def alone(rows):
    return grouping(np.arange(rows))


def placements(scores_N, targets_N):
    """V10 and V01 as printed: means of psi, the comparison of each pair."""
    x, y = scores_N[targets_N == 1], scores_N[targets_N == 0]
    psi = (x[:, None] > y[None, :]) + 0.5 * (x[:, None] == y[None, :])
    return psi.mean(axis=1), psi.mean(axis=0)


def delong(scores_NR, targets_N):
    """S10 / m + S01 / n, equations 4 to 6 of DeLong et al."""
    parts = [placements(column, targets_N) for column in scores_NR.T]
    v10, v01 = (np.array([part[side] for part in parts]) for side in (0, 1))
    m, n = v10.shape[1], v01.shape[1]
    return v10.mean(axis=1), np.cov(v10) / m + np.cov(v01) / n


def obuchowski(scores_N, targets_N, groups_N):
    """Variance of one area of clustered rows, equations of Obuchowski's section 2."""
    v10, v01 = placements(scores_N, targets_N)
    area, m, n = v10.mean(), len(v10), len(v01)
    x, y = groups_N[targets_N == 1], groups_N[targets_N == 0]
    names = np.unique(groups_N)
    from_x = np.array([(v10[x == g] - area).sum() for g in names])
    from_y = np.array([(v01[y == g] - area).sum() for g in names])
    i10, i01, i = len(np.unique(x)), len(np.unique(y)), len(names)
    s10 = i10 / ((i10 - 1) * m) * (from_x**2).sum()
    s01 = i01 / ((i01 - 1) * n) * (from_y**2).sum()
    s11 = i / (i - 1) * (from_x * from_y).sum()
    return s10 / m + s01 / n + 2 * s11 / (m * n)


def rough(rows, columns, seed=0):
    """Scores with many ties, and targets that have to do with them."""
    random = np.random.default_rng(seed)
    targets = (random.random(rows) < 0.3).astype(float)
    scores = np.round(random.normal(size=(rows, columns)) + targets[:, None], 1)
    return scores, targets


def paired_areas(scores, targets, groups):
    """The areas of classifiers of the same rows, and their covariance."""
    found = auc_influence(scores, targets[:, None], groups)
    return found.estimates_R, found.covariance()


def test_the_paper_s_own_patients():
    scores = np.column_stack([OVARIAN[:, 0], OVARIAN[:, 1], 10 - OVARIAN[:, 2]])
    areas, covariance = paired_areas(scores, OVARIAN[:, 3], alone(43))
    golden = delong(scores, OVARIAN[:, 3])
    np.testing.assert_allclose(areas, golden[0], rtol=1e-12)
    np.testing.assert_allclose(covariance, golden[1], rtol=1e-10)
    # 12 patients of one kind and 31 of the other: 372 pairs, of which albumin orders 274.
    assert areas[0] * 372 == pytest.approx(274)
    difference = math.sqrt(covariance[1, 1] + covariance[2, 2] - 2 * covariance[1, 2])
    assert (areas[1] - areas[2], difference) == pytest.approx((-0.0780, 0.1046), abs=5e-5)


@pytest.mark.parametrize("rows", [12, 61, 300])
def test_with_single_rows_it_is_delong_ties_and_all(rows):
    scores, targets = rough(rows, 4, seed=rows)
    areas, covariance = paired_areas(scores, targets, alone(rows))
    golden = delong(scores, targets)
    np.testing.assert_allclose(areas, golden[0], rtol=1e-12)
    np.testing.assert_allclose(covariance, golden[1], rtol=1e-10)


def test_names_and_order_of_groups_do_not_matter():
    scores, targets = rough(60, 2)
    random = np.random.default_rng(1)
    groups = random.integers(0, 20, 60)
    order, names = random.permutation(60), random.permutation(100)
    plain = paired_areas(scores, targets, grouping(groups))
    moved = paired_areas(scores[order], targets[order], grouping(names[groups[order]]))
    np.testing.assert_allclose(plain[1], moved[1], rtol=1e-10)


def test_where_each_group_has_both_kinds_it_is_obuchowski_to_the_bit():
    scores, targets = rough(200, 1, seed=2)
    targets[:100], targets[100:] = 1.0, 0.0
    groups = np.tile(np.arange(25), 8)
    _, covariance = paired_areas(scores, targets, grouping(groups))
    assert covariance[0, 0] == pytest.approx(obuchowski(scores[:, 0], targets, groups), rel=1e-10)


def test_elsewhere_it_differs_by_the_cross_term_s_factor_only():
    scores, targets = rough(400, 1, seed=3)
    groups = np.random.default_rng(4).integers(0, 130, 400)
    _, covariance = paired_areas(scores, targets, grouping(groups))
    golden = obuchowski(scores[:, 0], targets, groups)
    assert covariance[0, 0] == pytest.approx(golden, rel=5e-3)
    assert golden != pytest.approx(delong(scores, targets)[1], rel=1e-3)


def test_ignored_rows_are_as_if_they_were_not_there():
    scores, targets = rough(80, 2, seed=5)
    keep = np.random.default_rng(6).random(80) < 0.7
    hidden = np.where(keep, targets, np.nan)
    groups = np.arange(80) // 2
    whole = paired_areas(scores, hidden, grouping(groups))
    part = paired_areas(scores[keep], targets[keep], grouping(groups[keep]))
    for found, golden in zip(whole, part, strict=True):
        np.testing.assert_allclose(found, golden, rtol=1e-12)


@pytest.mark.parametrize(
    ("influence", "metric"),
    [(auc_influence, metrics.auc), (precision_influence, metrics.auprc)],
)
def test_influence_is_the_derivative_by_a_row_s_weight(influence, metric):
    """Repeat every row many times and add one copy: the score moves by the influence."""
    scores, targets = rough(40, 1, seed=7)
    targets[5] = np.nan
    times = 4000
    found = influence(scores, targets[:, None], alone(40))
    positives, known = (targets == 1).sum(), ~np.isnan(targets)
    whole = metric(scores, targets[:, None], multi_label=True)[0]
    assert found.estimates_R[0] == pytest.approx(whole, rel=1e-14)
    assert found.sums_GR[5, 0] == 0
    many, marks = np.repeat(scores, times, axis=0), np.repeat(targets, times)[:, None]
    for row in np.flatnonzero(known)[:12]:
        more = metric(
            np.vstack([many, scores[[row]]]),
            np.vstack([marks, targets[[row], None]]),
            multi_label=True,
        )[0]
        counted = positives
        if influence is auc_influence and targets[row] == 0:
            counted = (targets == 0).sum()
        scale = math.sqrt(counted / (counted - 1))
        slope = (more - found.estimates_R[0]) * times * scale
        assert found.sums_GR[row, 0] == pytest.approx(slope, rel=2e-2, abs=2e-5)


def test_a_recall_is_a_proportion_and_a_paired_difference_is_mcnemar_s():
    random = np.random.default_rng(8)
    members = random.random(300) < 0.4
    hits = random.random((300, 2)) < [0.8, 0.6]
    found = ratio_influence(hits & members[:, None], members[:, None], alone(300))
    n = members.sum()
    p = hits[members].mean(axis=0)
    np.testing.assert_allclose(found.estimates_R, p)
    np.testing.assert_allclose(np.diag(found.covariance()), p * (1 - p) / (n - 1))
    # With b and c discordant pairs: ((b + c) / n - ((b - c) / n)^2) / (n - 1).
    b = (hits[members, 0] & ~hits[members, 1]).sum()
    c = (~hits[members, 0] & hits[members, 1]).sum()
    variance = np.array([1, -1]) @ found.covariance() @ np.array([1, -1])
    assert variance == pytest.approx(((b + c) / n - ((b - c) / n) ** 2) / (n - 1))


def test_a_ratio_by_group_is_the_survey_s_linearised_variance():
    random = np.random.default_rng(9)
    groups = random.integers(0, 30, 200)
    x, m = random.random(200), random.random(200)
    found = ratio_influence(x[:, None], m[:, None], grouping(groups))
    xs, ms = (np.bincount(groups, weights=values) for values in (x, m))
    r = xs.sum() / ms.sum()
    golden = 30 / 29 * ((xs - r * ms) ** 2).sum() / ms.sum() ** 2
    assert found.covariance()[0, 0] == pytest.approx(golden)


def test_means_over_classes_leave_out_what_is_undefined():
    hits = np.array([[1.0, 0, 0], [0, 1, 0], [0, 0, 0], [0, 1, 0]])
    members = np.array([[1.0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 1, 0]])
    found = ratio_influence(hits * members, members, alone(4))
    assert found.estimates_R.tolist() == pytest.approx([0.5, 0.5, math.nan], nan_ok=True)
    mean = found.mean()
    assert mean.estimates_R.tolist() == [0.5]
    assert mean.covariance()[0, 0] == pytest.approx(found.covariance()[:2, :2].sum() / 4)
    assert join([found, mean]).estimates_R.tolist()[3] == 0.5
    assert np.isnan(found.columns([2]).mean().sums_GR).all()


def test_what_rests_on_one_group_has_no_error():
    scores, targets = rough(30, 1, seed=10)
    groups = np.where(targets == 1, 99, np.arange(30))
    areas, covariance = paired_areas(scores, targets, grouping(groups))
    assert np.isfinite(areas).all()
    assert np.isnan(covariance).all()
    assert np.isnan(paired_areas(scores, np.ones(30), alone(30))[0]).all()
