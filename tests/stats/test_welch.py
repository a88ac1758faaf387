"""Welch's difference against scipy and against what it must reduce to."""

import math

import numpy as np
import pytest
from scipy import stats

from synthtrial.stats.welch import welch


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("confidence", [0.9, 0.95, 0.99])
def test_it_is_scipys_test_and_interval(seed, confidence):
    random = np.random.default_rng(seed)
    first = random.normal(0.7, 0.01, random.integers(2, 9))
    second = random.normal(0.72, 0.05, random.integers(2, 30))
    found = welch(first, second, confidence)
    theirs = stats.ttest_ind(second, first, equal_var=False)
    low, high = theirs.confidence_interval(confidence)
    assert found.estimate == pytest.approx(second.mean() - first.mean(), rel=1e-12)
    assert found.df == pytest.approx(theirs.df, rel=1e-10)
    assert found.p_value == pytest.approx(theirs.pvalue, rel=1e-9)
    assert (found.low, found.high) == pytest.approx((low, high), rel=1e-9)


def test_equal_sizes_and_spreads_have_students_degrees_of_freedom():
    first = np.array([1.0, 2.0, 3.0, 4.0])
    found = welch(first, first + 5)
    assert found.df == pytest.approx(6.0, rel=1e-12)
    assert found.standard_error == pytest.approx(math.sqrt(2 * (5 / 3) / 4), rel=1e-12)


def test_a_group_without_spread_leaves_the_other_ones_degrees_of_freedom():
    found = welch([0.5, 0.5, 0.5], [0.1, 0.2, 0.6])
    assert found.df == pytest.approx(2.0, rel=1e-12)


def test_turning_the_groups_round_turns_the_sign():
    one, other = [0.1, 0.4, 0.2], [0.7, 0.5]
    there, back = welch(one, other), welch(other, one)
    assert (back.estimate, back.low) == pytest.approx((-there.estimate, -there.high), rel=1e-12)
    assert back.p_value == pytest.approx(there.p_value, rel=1e-12)


def test_a_single_value_gives_a_difference_and_no_interval():
    found = welch([0.5], [0.6, 0.7])
    assert found.estimate == pytest.approx(0.15)
    assert all(map(math.isnan, (found.standard_error, found.df, found.low, found.p_value)))


def test_where_nothing_varies_the_interval_is_the_difference():
    found = welch([0.5, 0.5], [0.75, 0.75])
    assert (found.low, found.estimate, found.high) == (0.25, 0.25, 0.25)
    assert math.isnan(found.p_value)


@pytest.mark.parametrize(
    ("first", "second", "confidence", "words"),
    [
        ([], [1.0], 0.95, "without values"),
        ([1.0, math.nan], [1.0], 0.95, "not finite"),
        ([1.0], [1.0], 1.0, "confidence"),
    ],
)
def test_what_has_no_answer_is_refused(first, second, confidence, words):
    with pytest.raises(ValueError, match=words):
        welch(first, second, confidence)


def test_intervals_cover_as_often_as_they_say():
    random = np.random.default_rng(3)
    covered = 0
    for _ in range(2000):
        found = welch(random.normal(0, 1, 5), random.normal(0.5, 4, 10))
        covered += found.low <= 0.5 <= found.high
    assert 0.937 <= covered / 2000 <= 0.962
