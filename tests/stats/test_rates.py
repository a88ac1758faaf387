"""Rates and their association: against statsmodels, scipy, all rearrangements and simulation."""

import itertools
import math

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.contingency_tables import StratifiedTable, cochrans_q
from statsmodels.stats.proportion import proportion_confint

from synthtrial.stats.rates import association, wilson_interval, worst_case_mean


@pytest.mark.parametrize("confidence", [0.8, 0.95, 0.99])
def test_the_interval_of_a_rate_is_wilsons(confidence):
    for count, total in ((0, 6), (1, 6), (6, 6), (3, 18), (40, 1000)):
        expected = proportion_confint(count, total, 1 - confidence, method="wilson")
        assert wilson_interval(count, total, confidence) == pytest.approx(expected, abs=1e-12)
    z = stats.norm.ppf(0.5 + confidence / 2)
    assert wilson_interval(0, 6, confidence) == pytest.approx((0, z**2 / (6 + z**2)))


def test_no_trials_have_no_rate_and_impossible_ones_are_refused():
    assert all(map(math.isnan, wilson_interval(0, 0)))
    with pytest.raises(ValueError, match="7 of 6"):
        wilson_interval(7, 6)


def cells(table):
    """Spell a table of (bad, good) by group out as trials."""
    outcomes, groups = [], []
    for place, (bad, good) in enumerate(table):
        outcomes += [True] * bad + [False] * good
        groups += [f"g{place}"] * (bad + good)
    return outcomes, groups


def test_with_one_stratum_it_is_pearsons_chi_square_within_its_margins():
    table = [(12, 18), (3, 27), (6, 24)]
    outcomes, groups = cells(table)
    found = association(outcomes, groups, [0] * 90, tables=40_000)
    pearson = stats.chi2_contingency(np.array(table), correction=False)
    assert found.statistic == pytest.approx(pearson.statistic * 89 / 90)
    assert found.expected == pytest.approx(pearson.expected_freq[:, 0])
    counted = stats.chi2_contingency(
        np.array(table),
        correction=False,
        method=stats.MonteCarloMethod(40_000, rng=np.random.default_rng(1)),
    )
    assert found.exact
    assert found.p_value == pytest.approx(counted.pvalue, abs=0.004)
    assert found.groups[int(np.argmax(found.excess))] == "g0"


def test_with_one_trial_of_each_group_in_a_stratum_it_is_cochrans_q():
    random = np.random.default_rng(3)
    bad_HG = random.random((300, 4)) < np.array([0.1, 0.1, 0.15, 0.3])
    groups = ["a", "b", "c", "d"] * 300
    strata = np.repeat(np.arange(300), 4).tolist()
    found = association(bad_HG.ravel(), groups, strata)
    theirs = cochrans_q(bad_HG)
    assert found.statistic == pytest.approx(theirs.statistic)
    assert not found.exact
    assert found.p_value == pytest.approx(theirs.pvalue)


def test_with_two_groups_it_is_mantel_and_haenszels():
    tables = [np.array(t) for t in ([[40, 60], [20, 80]], [[15, 85], [9, 91]], [[30, 5], [28, 9]])]
    outcomes, groups, strata = [], [], []
    for place, table in enumerate(tables):
        ours = cells(table.tolist())
        outcomes, groups = outcomes + ours[0], groups + ours[1]
        strata += [place] * len(ours[0])
    found = association(outcomes, groups, strata)
    theirs = StratifiedTable(tables).test_null_odds(correction=False)
    assert found.statistic == pytest.approx(theirs.statistic)
    assert found.p_value == pytest.approx(theirs.pvalue)
    assert found.df == 1


def test_few_counts_are_compared_with_every_rearrangement():
    """Two strata of four trials each, dealt out in all 6 x 4 ways."""
    groups = ["a", "a", "b", "c"] * 2
    strata = [0] * 4 + [1] * 4
    seen = [True, True, False, False, True, False, False, False]
    observed = association(seen, groups, strata, tables=1)
    statistics = []
    for two in itertools.combinations(range(4), 2):
        for one in range(4):
            dealt = [place in two for place in range(4)] + [place == one for place in range(4)]
            statistics.append(association(dealt, groups, strata, tables=1).statistic)
    expected = np.mean(np.array(statistics) >= observed.statistic - 1e-9)
    assert 0.1 < expected < 0.9
    found = association(seen, groups, strata, tables=40_000)
    assert found.p_value == pytest.approx(expected, abs=0.01)
    assert found.p_value == association(seen, groups, strata, tables=40_000).p_value


def test_what_a_stratum_does_to_all_groups_is_no_association():
    """Every arm diverges at the high learning rates, and nowhere else."""
    outcomes = ([True] * 3 + [False] * 3) * 10
    found = association(outcomes, ["a", "b", "c"] * 20, np.repeat(np.arange(20), 3).tolist())
    assert (found.df, found.statistic) == (0, 0.0)
    assert math.isnan(found.p_value)
    assert found.counts.tolist() == [10, 10, 10]
    assert found.excess.tolist() == [0, 0, 0]


def test_under_no_association_one_in_twenty_is_below_a_twentieth():
    random, below = np.random.default_rng(4), 0
    groups, strata = ["a", "b", "c"] * 6, np.repeat(np.arange(6), 3).tolist()
    for study in range(400):
        outcomes = random.random(18) < 0.4
        p = association(outcomes, groups, strata, tables=199, seed=study).p_value
        below += not math.isnan(p) and p <= 0.05
    assert below <= stats.binom.ppf(0.999, 400, 0.05)
    assert below >= 3, "it can reject at all"


def test_lengths_that_differ_are_refused():
    with pytest.raises(ValueError, match="2 outcomes, 1 groups, 2 strata"):
        association([True, False], ["a"], [0, 0])


def test_a_mean_with_its_missing_scores_as_bad_as_its_worst():
    assert worst_case_mean([0.6, 0.8, 0.7], 1) == pytest.approx((2.1 + 0.6) / 4)
    assert worst_case_mean([0.6, 0.8], 0) == pytest.approx(0.7)
    assert math.isnan(worst_case_mean([], 3))
    with pytest.raises(ValueError, match="-1 missing"):
        worst_case_mean([0.1], -1)
