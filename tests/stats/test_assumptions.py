from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from scipy import stats
from statsmodels.stats.oneway import anova_oneway

from synthtrial.stats.assumptions import brown_forsythe, robustness, same_spread

RANDOM = np.random.default_rng(0)
GROUPS = [RANDOM.normal(0, s, n) for s, n in ((1, 6), (2, 8), (1, 5))]


def test_equal_spreads_are_tested_on_distances_from_the_median():
    found = brown_forsythe(GROUPS)
    distances = [np.abs(group - np.median(group)) for group in GROUPS]
    expected = anova_oneway(distances, use_var="equal")
    assert found.f == pytest.approx(expected.statistic)
    assert found.p_value == pytest.approx(expected.pvalue)
    assert (found.df_groups, found.df_residual) == (2, 16)
    assert found.p_value == pytest.approx(stats.levene(*GROUPS, center="median").pvalue)
    sizes = [group.std(ddof=1) for group in GROUPS]
    assert found.ratio == pytest.approx(max(sizes) / min(sizes))


def test_nothing_to_compare_is_nan_and_no_warning():
    assert np.isnan(brown_forsythe([[1.0], [2.0]]).p_value)
    assert np.isnan(brown_forsythe([[1.0, 1.0], [2.0, 2.0]]).p_value)
    one_flat = brown_forsythe([[1.0, 1.0, 1.0], [2.0, 3.0, 5.0]])
    assert one_flat.ratio == np.inf


def test_a_difference_is_seen_without_the_normal_distribution():
    delta = np.random.default_rng(2).exponential(1.0, 30)
    found = robustness(delta)
    assert found.p_normal == pytest.approx(stats.shapiro(delta).pvalue)
    assert found.p_signed_rank == pytest.approx(stats.wilcoxon(delta).pvalue)
    left = [np.delete(delta, i).mean() for i in range(30)]
    assert (found.low_without, found.high_without) == pytest.approx((min(left), max(left)))
    assert found.skewness == pytest.approx(sm.stats.stattools.robust_skewness(delta)[0])


def test_without_spread_or_blocks_nothing_is_said():
    assert np.isnan(robustness([0.1, 0.1, 0.1]).p_normal)
    assert np.isnan(robustness([0.1, 0.2]).p_signed_rank)


def test_spreads_within_blocks_are_compared_whatever_the_blocks_add():
    random = np.random.default_rng(1)
    values = random.normal(0, 1, (12, 4)) * [1, 1, 1, 4]
    found = same_spread(values + random.normal(0, 50, (12, 1)) + [0, 3, -2, 9])
    within = values - values.mean(axis=1, keepdims=True)
    assert found.p_value == pytest.approx(stats.levene(*within.T, center="median").pvalue)
    assert found.p_value < 0.01
    raw = values + np.linspace(-50, 50, 12)[:, None]
    assert brown_forsythe(list(raw.T)).p_value > 0.5, "what arms share hides it otherwise"


def test_residuals_of_an_incomplete_table_are_those_of_its_least_squares_fit():
    import statsmodels.formula.api as smf

    values = np.random.default_rng(2).normal(0, 1, (8, 4))
    values[[1, 5], [0, 2]] = np.nan
    values[7, 1:] = np.nan
    block, arm = np.nonzero(~np.isnan(values))
    kept = block < 7  # a block with one arm says nothing
    long = pd.DataFrame({"y": values[block, arm], "block": block, "arm": arm})[kept]
    residual = smf.ols("y ~ C(arm) + C(block)", long).fit().resid
    groups = [residual[long.arm == number] for number in range(4)]
    expected = stats.levene(*groups, center="median")
    assert same_spread(values).p_value == pytest.approx(expected.pvalue)


def test_two_arms_cannot_differ_in_spread_within_blocks():
    assert math.isnan(same_spread(np.random.default_rng(0).normal(0, [1, 9], (10, 2))).p_value)
    assert math.isnan(same_spread(np.full((4, 3), np.nan)).p_value)
