from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from synthtrial.stats.sequential import blocks_needed, stein_interval


def test_without_more_blocks_it_is_students_interval():
    values = np.random.default_rng(0).normal(0.3, 1.0, 12)
    found = stein_interval(values, 12)
    expected = stats.ttest_1samp(values, 0.0)
    interval = expected.confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high))
    assert found.p_value == pytest.approx(expected.pvalue)


def test_the_number_of_blocks_is_steins():
    first = np.random.default_rng(1).normal(0, 0.02, 10)
    n = blocks_needed(first, 0.01)
    t = stats.t.ppf(0.975, 9)
    assert n == max(10, int(np.ceil((2 * t * first.std(ddof=1) / 0.01) ** 2)))
    more = np.concatenate([first, np.random.default_rng(2).normal(0, 0.02, n - 10)])
    found = stein_interval(more, 10)
    assert found.high - found.low <= 0.01
    assert found.df == 9


def test_enough_first_blocks_need_no_more():
    assert blocks_needed([0.0, 0.001, 0.002] * 4, 1.0) == 12


def test_nothing_but_the_first_blocks_decides_the_spread():
    first = [0.0, 1.0, 2.0]
    calm, wild = [*first, 1.0, 1.0], [*first, 1000.0, -998.0]
    assert stein_interval(calm, 3).standard_error == stein_interval(wild, 3).standard_error


def test_too_few_first_blocks_are_refused():
    with pytest.raises(ValueError, match="at least two"):
        blocks_needed([1.0], 0.1)
    with pytest.raises(ValueError, match="first values"):
        stein_interval([1.0, 2.0], 3)
