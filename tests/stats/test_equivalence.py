from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from scipy.optimize import brentq
from statsmodels.stats.weightstats import ttost_paired

from synthtrial.stats.equivalence import effect_size, equivalence


def differences(seed=0, n=14, mean=0.002):
    return np.random.default_rng(seed).normal(mean, 0.01, n)


def of(delta):
    return float(delta.mean()), float(delta.std(ddof=1) / np.sqrt(delta.size)), delta.size - 1


@pytest.mark.parametrize("seed", range(4))
def test_two_one_sided_tests_are_those_of_statsmodels(seed):
    delta = differences(seed)
    found = equivalence(*of(delta), 0.005)
    p, lower, upper = ttost_paired(delta, np.zeros_like(delta), -0.005, 0.005)
    assert found.p_value == pytest.approx(p)
    assert found.p_not_worse == pytest.approx(lower[1])
    assert found.p_not_better == pytest.approx(upper[1])


def test_equivalence_at_five_per_cent_is_a_ninety_per_cent_interval_inside_the_margin():
    for seed in range(40):
        mean, error, df = of(differences(seed))
        half = stats.t.ppf(0.95, df) * error
        inside = mean - half > -0.005 and mean + half < 0.005
        assert (equivalence(mean, error, df, 0.005).p_value < 0.05) == inside


def test_without_a_spread_nothing_is_said():
    assert np.isnan(equivalence(0.1, 0.0, 5, 0.2).p_value)
    assert np.isnan(equivalence(0.1, np.nan, 0, 0.2).p_value)


def test_a_margin_of_zero_is_refused():
    with pytest.raises(ValueError, match="above 0"):
        equivalence(0.1, 0.1, 5, 0.0)


@pytest.mark.parametrize("mean", [-0.02, 0.0, 0.004, 0.05])
def test_the_interval_of_an_effect_size_inverts_the_noncentral_t(mean):
    n, error = 12, 0.003
    found = effect_size(mean, error, n)
    t = mean / error

    def end(p):
        return brentq(lambda nc: stats.nct.cdf(t, n - 1, nc) - p, t - 8, t + 8)

    low, high = end(0.975) / np.sqrt(n), end(0.025) / np.sqrt(n)
    j = 1 - 3 / (4 * (n - 1) - 1)  # Hedges' approximation to the exact factor
    assert (found.low, found.high) == pytest.approx((low, high), rel=2e-3, abs=1e-6)
    assert found.d == pytest.approx(j * t / np.sqrt(n), rel=2e-3, abs=1e-9)


def test_the_interval_of_an_effect_size_covers():
    random, held = np.random.default_rng(1), 0
    for _ in range(1000):
        delta = random.normal(0.6, 1.0, 10)
        found = effect_size(*of(delta)[:2], 10)
        held += found.low < 0.6 < found.high
    assert 0.935 < held / 1000 < 0.965


def test_an_effect_size_needs_three_blocks():
    assert np.isnan(effect_size(0.1, 0.1, 2).d)
