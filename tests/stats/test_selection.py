"""The best of many: against Harter's table, all subsets, simulation and hand-made cells."""

import itertools
import math

import numpy as np
import pytest
from scipy import integrate, stats

from synthtrial.stats.selection import (
    clustered_mean,
    expected_best,
    expected_maximum,
    retuning,
    widening,
)


@pytest.mark.parametrize(
    ("count", "printed"),  # Harter 1961, table 1
    [(2, 0.56419), (3, 0.84628), (5, 1.16296), (10, 1.53875), (18, 1.82003), (100, 2.50759)],
)
def test_the_largest_of_normals_is_as_harter_printed_it(count, printed):
    assert expected_maximum(count) == pytest.approx(printed, abs=6e-6)


def test_the_largest_of_normals_in_closed_form_and_by_quadrature():
    assert expected_maximum(1) == pytest.approx(0.0, abs=1e-12)
    assert expected_maximum(2) == pytest.approx(1 / math.sqrt(math.pi), abs=1e-12)
    assert expected_maximum(3) == pytest.approx(1.5 / math.sqrt(math.pi), abs=1e-12)
    for count in (7, 1000):
        found, _ = integrate.quad(
            lambda x, k=count: x * k * stats.norm.pdf(x) * stats.norm.cdf(x) ** (k - 1),
            -9,
            9,
            points=[0, 2, 4],
        )
        assert expected_maximum(count) == pytest.approx(found, abs=1e-9)


def test_a_largest_of_nothing_is_refused():
    with pytest.raises(ValueError, match="at least one"):
        expected_maximum(0)


def test_the_expected_best_is_the_mean_over_all_subsets():
    scores = np.random.default_rng(0).normal(size=9).round(1)  # with ties
    assert len(set(scores)) < 9
    for tried in range(1, 10):
        subsets = [max(subset) for subset in itertools.combinations(scores, tried)]
        assert expected_best(scores)[tried - 1] == pytest.approx(np.mean(subsets), abs=1e-12)


def test_the_expected_best_begins_at_the_mean_rises_and_ends_at_the_best():
    scores = np.random.default_rng(1).normal(size=400)
    found = expected_best(scores)
    assert found[0] == pytest.approx(scores.mean())
    assert found[-1] == pytest.approx(scores.max(), abs=1e-12)
    assert (np.diff(found) > 0).all()
    # Of evenly spaced scores the best of m is expected at m (n + 1) / (m + 1).
    assert expected_best(np.arange(1, 101))[3] == pytest.approx(4 / 5 * 101)


def test_what_had_no_score_leaves_the_best_of_few_undefined():
    found = expected_best([-np.inf, 2.0, -np.inf, 1.0])
    assert found[:2].tolist() == [-np.inf, -np.inf]
    assert found[2] == pytest.approx(1.75)  # one of the four triples lacks the better one
    assert found[3] == 2.0
    assert expected_best([]).size == 0
    with pytest.raises(ValueError, match="minus infinity"):
        expected_best([0.1, np.nan])


def test_the_mean_of_groups_has_a_t_interval_over_their_means():
    groups = [[0.1, 0.3], [0.4], [], [0.2, 0.2, 0.5]]
    found = clustered_mean(groups, 0.9)
    means = [0.2, 0.4, 0.3]
    low, high = stats.t.interval(0.9, 2, np.mean(means), stats.sem(means))
    assert (found.low, found.high, found.df) == (pytest.approx(low), pytest.approx(high), 2)
    assert clustered_mean([[0.1, 0.2]]) is None


def test_replicates_that_all_choose_the_same_add_no_spread():
    scores = np.array([[0.9, 0.1], [0.7, 0.2], [0.8, 0.3]])
    found = retuning(scores)
    assert (found.added_variance, found.shift, found.choices) == (0.0, 0.0, 1)
    assert found.fixed_variance == pytest.approx(0.01)
    assert widening([found]) == 1.0


def test_own_choices_are_judged_by_the_other_replicates():
    # All together choose the first; the last replicate alone would choose the second.
    scores = np.array([[0.8, 0.5], [0.9, 0.6], [0.6, 0.7]])
    found = retuning(scores)
    added = [0.0, 0.0, -0.3]
    assert found.added_variance == pytest.approx(np.var(added, ddof=1))
    assert found.shift == pytest.approx(-0.1)
    assert found.choices == 2
    fixed = np.var(scores[:, 0], ddof=1)
    assert widening([found, found]) == pytest.approx(math.sqrt(1 + found.added_variance / fixed))


def test_retuning_finds_the_spread_of_fresh_choices():
    """Compared with choosing on one score and scoring the choice on another, many times."""
    random, noise, replicates = np.random.default_rng(2), 0.02, 2000
    quality = random.normal(0, 0.03, 12)
    choosing = quality + random.normal(0, noise, (replicates, 12))
    fresh = quality + random.normal(0, noise, (replicates, 12))
    measured = fresh[np.arange(replicates), choosing.argmax(axis=1)]
    expected = np.std(measured, ddof=1) / np.std(fresh[:, quality.argmax()], ddof=1)
    assert widening([retuning(choosing)]) == pytest.approx(expected, rel=0.08)
    naive = choosing.max(axis=1).std(ddof=1)
    assert naive < measured.std(ddof=1), "what was chosen by varies less than what was chosen"


def test_scores_that_are_missing_are_no_choice():
    scores = np.array([[0.8, np.nan], [0.7, 0.9], [0.9, 0.1], [np.nan, np.nan]])
    found = retuning(scores)
    assert found.replicates == 3
    assert found.choices == 2
    assert found.shift == pytest.approx((0 + (0.1 - 0.9) + 0) / 3)
    assert retuning(scores[:2]) is None
    assert retuning([[0.1, np.nan], [np.nan, 0.2], [0.3, np.nan]]) is None


def test_scores_that_do_not_vary_have_no_factor():
    assert math.isnan(widening([retuning(np.full((3, 2), 0.5))]))
