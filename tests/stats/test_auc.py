"""Errors of areas under the ROC curve: by hand, against exact counting, and by simulation."""

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from synthtrial.stats.auc import (
    difference_se,
    hanley_mcneil_se,
    smallest_detectable_difference,
    two_sided_p,
)


def area(positive_N, negative_M):
    """Mann-Whitney: the share of pairs in the right order, ties a half."""
    both = np.concatenate([positive_N, negative_M], axis=-1)
    ranks = stats.rankdata(both, axis=-1)
    n, m = positive_N.shape[-1], negative_M.shape[-1]
    return (ranks[..., :n].sum(axis=-1) - n * (n + 1) / 2) / (n * m)


def test_one_area_by_hand():
    # A = 0.8, 3 positive, 5 negative: Q1 = 0.8 / 1.2, Q2 = 1.28 / 1.8.
    variance = (0.16 + 2 * (2 / 3 - 0.64) + 4 * (1.28 / 1.8 - 0.64)) / 15
    assert hanley_mcneil_se(0.8, 3, 5) == pytest.approx(math.sqrt(variance), rel=1e-12)


def test_without_information_it_is_the_exact_error_of_the_rank_sum():
    # At A = 0.5 the formula is Mann & Whitney's (n + m + 1) / (12 n m), which counting confirms.
    for n, m in [(2, 3), (3, 3), (40, 900)]:
        assert hanley_mcneil_se(0.5, n, m) == pytest.approx(math.sqrt((n + m + 1) / (12 * n * m)))
    orders = list(itertools.combinations(range(5), 2))
    areas = [(sum(order) + 2 - 3) / 6 for order in orders]
    assert hanley_mcneil_se(0.5, 2, 3) == pytest.approx(np.std(areas), rel=1e-12)


def exponential(random, auc, n, m, draws):
    """Areas from scores as the formula supposes them: exponential in both classes."""
    negative = random.exponential((1 - auc) / auc, (draws, m))
    return area(random.exponential(1.0, (draws, n)), negative)


def binormal(random, auc, n, m, draws):
    shift = math.sqrt(2) * stats.norm.ppf(auc)
    return area(random.normal(shift, 1, (draws, n)), random.normal(0, 1, (draws, m)))


@pytest.mark.parametrize(
    ("scores", "n", "m"), [(exponential, 60, 400), (exponential, 90, 90), (binormal, 90, 90)]
)
@pytest.mark.parametrize("auc", [0.6, 0.75, 0.85])
def test_simulated_areas_spread_as_it_says(auc, scores, n, m):
    areas = scores(np.random.default_rng(20), auc, n, m, 3000)
    assert areas.mean() == pytest.approx(auc, abs=0.003)
    assert hanley_mcneil_se(auc, n, m) == pytest.approx(areas.std(ddof=1), rel=0.06)


@pytest.mark.parametrize("auc", [0.6, 0.75, 0.85])
def test_with_few_positives_and_normal_scores_it_errs_on_the_cautious_side(auc):
    spread = binormal(np.random.default_rng(21), auc, 60, 600, 3000).std(ddof=1)
    assert spread < hanley_mcneil_se(auc, 60, 600) < 1.3 * spread


def test_the_detectable_difference_is_found_in_four_of_five_trials():
    random = np.random.default_rng(3)
    n, m, draws = 150, 1500, 3000
    se = hanley_mcneil_se(0.75, n, m)
    truth = float(smallest_detectable_difference(difference_se(se, se)))
    first = exponential(random, 0.75 - truth / 2, n, m, draws)
    second = exponential(random, 0.75 + truth / 2, n, m, draws)
    error = difference_se(hanley_mcneil_se(first, n, m), hanley_mcneil_se(second, n, m))
    found = np.mean(two_sided_p((second - first) / error) < 0.05)
    assert found == pytest.approx(0.8, abs=0.03)
    assert smallest_detectable_difference(difference_se(se, se, 0.5)) < truth


def test_two_networks_on_one_test_set_differ_by_the_correlated_error():
    random = np.random.default_rng(4)
    n, draws = 90, 3000
    shift = math.sqrt(2) * stats.norm.ppf(0.75)
    shared = random.normal(0, 1, (2, draws, n))

    def network():
        positive, negative = (shared + random.normal(0, 1, (2, draws, n))) / math.sqrt(2)
        return area(positive + shift, negative)

    first, second = network(), network()
    r = float(np.corrcoef(first, second)[0, 1])
    assert 0.3 < r < 0.6
    se = hanley_mcneil_se(0.75, n, n)
    spread = float((first - second).std(ddof=1))
    assert difference_se(se, se, r) == pytest.approx(spread, rel=0.06)


def test_differences_in_closed_form():
    assert difference_se(3.0, 4.0) == pytest.approx(5.0)
    assert difference_se(0.01, 0.01, 0.5) == pytest.approx(0.01)
    assert difference_se(0.01, 0.01, 1.0) == 0.0
    width = stats.norm.ppf(0.975) + stats.norm.ppf(0.8)
    assert smallest_detectable_difference(0.01) == pytest.approx(0.01 * width, rel=1e-12)
    assert two_sided_p(-1.959963985) == pytest.approx(0.05, rel=1e-6)


def test_arrays_broadcast():
    se_RK = hanley_mcneil_se([[0.7, 0.8], [0.75, 1.0]], [600, 1000], [21000, 20000])
    assert se_RK.shape == (2, 2)
    assert se_RK[0, 1] == hanley_mcneil_se(0.8, 1000, 20000)
    assert se_RK[1, 1] == 0.0
    assert difference_se(se_RK, se_RK[0]).shape == (2, 2)
    assert smallest_detectable_difference(se_RK, 0.01, 0.9).shape == (2, 2)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: hanley_mcneil_se(1.2, 10, 10), "between 0 and 1, got 1.2"),
        (lambda: hanley_mcneil_se(math.nan, 10, 10), "between 0 and 1"),
        (lambda: hanley_mcneil_se(0.7, 0, 10), "at least one row"),
        (lambda: difference_se(0.1, 0.1, 1.5), "between -1 and 1, got 1.5"),
        (lambda: difference_se(-0.1, 0.1), "not negative"),
        (lambda: smallest_detectable_difference(0.1, alpha=0.0), "alpha and power"),
    ],
)
def test_what_makes_no_sense_is_refused(call, said):
    with pytest.raises(ValueError, match=said):
        call()
