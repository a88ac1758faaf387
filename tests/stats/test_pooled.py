"""Pooled variance against the blog's formula by hand and an independent analysis of variance."""

import dataclasses
import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from synthtrial.stats.pooled import interval, pooled_variance, shared_df, student_quantile


def test_three_a_group_is_the_blogs_formula_by_hand():
    # Two groups of three. Deviations: (-.02, 0, .02) and (-.03, .01, .02).
    groups = [[0.90, 0.92, 0.94], [0.70, 0.74, 0.75]]
    by_hand = (2 * 0.02**2 + 0.03**2 + 0.01**2 + 0.02**2) / (2 * 2)  # 1 / (2 |G|)
    pooled = pooled_variance(groups)
    assert pooled.variance == pytest.approx(by_hand, rel=1e-12)
    assert pooled.variance == pytest.approx(0.00055, rel=1e-9)
    assert (pooled.df, pooled.n_groups) == (4, 2)


def test_unequal_groups_give_the_mean_square_error_of_a_one_way_anova():
    from statsmodels.formula.api import ols
    from statsmodels.stats.anova import anova_lm

    random = np.random.default_rng(1)
    groups = [random.normal(mean, 2.0, n) for mean, n in [(0, 3), (5, 7), (1, 2), (9, 12)]]
    frame = pd.DataFrame(
        [(value, name) for name, group in enumerate(groups) for value in group],
        columns=["y", "arm"],
    )
    table = anova_lm(ols("y ~ C(arm)", frame).fit())
    pooled = pooled_variance(groups)
    assert pooled.df == table.loc["Residual", "df"]
    assert pooled.variance == pytest.approx(table.loc["Residual", "mean_sq"], rel=1e-10)


def test_the_interval_is_the_t_interval():
    values = [0.61, 0.64, 0.66, 0.70]
    found = interval(float(np.mean(values)), 4, pooled_variance([values]), 0.9)
    low, high = stats.t.interval(0.9, 3, np.mean(values), stats.sem(values))
    assert found is not None
    assert (found.low, found.high, found.df) == (pytest.approx(low), pytest.approx(high), 3)


def test_two_groups_borrow_each_others_degrees_of_freedom():
    pooled = pooled_variance([[1.0, 2.0, 3.0], [5.0]])
    assert pooled.df == 2
    lone = interval(5.0, 1, pooled)
    assert lone is not None
    assert lone.half_width == pytest.approx(stats.t.ppf(0.975, 2))


def test_one_value_a_group_has_no_variance_and_no_interval():
    pooled = pooled_variance([[0.5], [0.7], []])
    assert math.isnan(pooled.variance)
    assert (pooled.df, pooled.n_groups) == (0, 2)
    assert interval(0.5, 1, pooled) is None


def test_an_undefined_score_is_refused():
    with pytest.raises(ValueError, match="not finite"):
        pooled_variance([[0.5, math.nan]])


@pytest.mark.parametrize(("confidence", "df"), [(0.0, 3), (1.0, 3), (0.95, 0)])
def test_an_impossible_quantile_is_refused(confidence, df):
    with pytest.raises(ValueError, match="t interval"):
        student_quantile(confidence, df)


def test_intervals_of_pooled_groups_cover_what_they_promise():
    random = np.random.default_rng(7)
    covered = 0
    for _ in range(400):
        groups = random.normal(0.0, 1.0, (5, 3))
        pooled = pooled_variance(list(groups))
        for group in groups:
            found = interval(float(group.mean()), 3, pooled)
            assert found is not None
            covered += found.low <= 0.0 <= found.high
    assert covered / 2000 == pytest.approx(0.95, abs=0.02)


def test_groups_that_share_their_rows_have_the_freedom_of_what_varies_apart():
    column = np.array([0.1, 0.4, 0.2, 0.9])
    together = np.stack([column, column + 0.3, column - 0.1], axis=1)
    assert shared_df(together) == 3, "all go together: one group"
    apart = np.zeros((7, 3))  # three columns without correlation and of one spread
    apart[[0, 1], 0], apart[[2, 3], 1], apart[[4, 5], 2] = (1.0, -1.0), (1.0, -1.0), (1.0, -1.0)
    assert shared_df(apart) == 18
    random = np.random.default_rng(3)
    values = random.normal(0.0, 1.0, (12, 4)) + 0.8 * random.normal(0.0, 1.0, (12, 1))
    covariance = np.cov(values.T)
    golden = 11 * np.trace(covariance) ** 2 / np.trace(covariance @ covariance)
    assert shared_df(values) == int(golden)
    values[0, 0] = np.nan
    assert 11 <= shared_df(values) <= 43
    assert shared_df(values[:1]) == shared_df(values[:, :0]) == 0
    assert shared_df(np.ones((4, 3))) == 3, "nothing varies"


def test_means_of_groups_that_share_draws_are_covered():
    """As many degrees of freedom as independent groups would have cover .89."""
    random, held, naive = np.random.default_rng(11), 0, 0
    for _ in range(600):
        values = 0.03 * random.normal(size=(3, 1)) + 0.012 * random.normal(size=(3, 5))
        pooled = pooled_variance(list(values.T))
        shared = dataclasses.replace(pooled, df=shared_df(values))
        for mean in values.mean(axis=0):
            found = [interval(float(mean), 3, each) for each in (shared, pooled)]
            held += found[0].low <= 0 <= found[0].high
            naive += found[1].low <= 0 <= found[1].high
    assert held / 3000 > 0.95
    assert naive / 3000 < 0.92
