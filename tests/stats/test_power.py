from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.power import TTestPower

from synthtrial.stats import power


@pytest.mark.parametrize("n", [3, 5, 10, 40])
def test_what_so_many_blocks_find_is_what_statsmodels_says(n):
    expected = TTestPower().solve_power(nobs=n, power=0.8, alpha=0.05)
    assert power.detectable_difference(0.02, n) == pytest.approx(0.02 * expected, rel=1e-3)


@pytest.mark.parametrize("effect", [0.2, 0.5, 1.0, 2.0])
def test_the_fewest_blocks_for_a_difference_are_statsmodels_rounded_up(effect):
    exact = TTestPower().solve_power(effect_size=effect, power=0.9, alpha=0.05)
    assert power.blocks_for_difference(1.0, -effect, power=0.9) == int(np.ceil(exact))


@pytest.mark.parametrize("n", [2, 10, 64])
def test_the_width_of_an_interval_is_students(n):
    width = 2 * stats.t.ppf(0.975, n - 1) * 0.02 / np.sqrt(n)
    assert power.interval_width(0.02, n) == pytest.approx(width)


def test_one_block_finds_nothing():
    assert power.detectable_difference(0.02, 1) == np.inf
    assert power.interval_width(0.02, 1) == np.inf


def test_the_true_deviation_lies_below_the_upper_one_as_often_as_assured():
    found = np.array(
        [
            power.upper_deviation(float(np.std(x, ddof=1)), 9)
            for x in np.random.default_rng(0).normal(0, 1, (4000, 10))
        ]
    )
    assert (found > 1.0).mean() == pytest.approx(0.8, abs=0.02)


def test_nonsense_is_refused():
    with pytest.raises(ValueError, match="difference of 0"):
        power.blocks_for_difference(1.0, 0.0)
    with pytest.raises(ValueError, match="between 0 and 1"):
        power.detectable_difference(1.0, 5, alpha=1.0)
