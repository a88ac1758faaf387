from __future__ import annotations

import numpy as np
import pytest
import statsmodels.api as sm
from scipy import stats
from statsmodels.stats.oneway import anova_oneway

from synthtrial.stats.assumptions import brown_forsythe, robustness

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
