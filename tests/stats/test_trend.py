"""Trends of a gain: by hand, against other implementations, and how often they err."""

import dataclasses
import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from synthtrial.stats.trend import interaction, trend

IMAGES = [2050, 20371, 100850, 201391]
PREVALENCE = [0.048, 0.028, 0.043]


def test_slopes_by_hand():
    # Slopes of -0.02, -0.01 and -0.03: mean -0.02, deviation 0.01.
    x = [1.0, 2.0, 3.0]
    found = trend([[0.06, 0.04, 0.02], [0.05, 0.04, 0.03], [0.10, 0.07, 0.04]], x)
    half_width = stats.t.ppf(0.975, 2) * 0.01 / math.sqrt(3)
    assert found.slope == pytest.approx(-0.02)
    assert (found.low, found.high) == pytest.approx((-0.02 - half_width, -0.02 + half_width))
    assert (found.n, found.df, found.dropped, found.why) == (3, 2, 0, "")


def test_it_is_the_t_test_of_the_slopes_that_least_squares_gives():
    random = np.random.default_rng(1)
    gain_BR, x_R = random.normal(0, 0.02, (7, 4)), np.log10(IMAGES)
    slope_B = [stats.linregress(x_R, gain_R).slope for gain_R in gain_BR]
    test, one_sided = (
        stats.ttest_1samp(slope_B, 0),
        stats.ttest_1samp(slope_B, 0, alternative="less"),
    )
    found = trend(gain_BR, x_R, confidence=0.9)
    assert found.slope == pytest.approx(np.mean(slope_B), rel=1e-12)
    assert found.p_value == pytest.approx(test.pvalue, rel=1e-10)
    assert found.p_falling == pytest.approx(one_sided.pvalue, rel=1e-10)
    assert (found.low, found.high) == pytest.approx(tuple(test.confidence_interval(0.9)))


def test_a_block_that_lacks_a_gain_is_left_out_and_said():
    whole = [[0.06, 0.03], [0.05, 0.04], [0.07, 0.02]]
    lacking = [*whole, [math.nan, 0.5]]
    assert trend(lacking, [3, 4]) == dataclasses.replace(trend(whole, [3, 4]), dropped=1)
    assert interaction(lacking) == dataclasses.replace(interaction(whole), dropped=1)


@pytest.mark.parametrize(
    ("gain_BR", "x_R", "slope", "why"),
    [
        ([[0.06, 0.03]], [1, 2], -0.03, "an interval needs two blocks"),
        ([[0.06], [0.05]], [1], math.nan, "two different x"),
        ([[0.06, 0.05], [0.1, 0.2]], [4, 4], math.nan, "two different x"),
        ([[0.06, math.nan]], [1, 2], math.nan, "no block"),
    ],
)
def test_a_trend_that_cannot_be_told_says_why(gain_BR, x_R, slope, why):
    found = trend(gain_BR, x_R)
    assert found.slope == pytest.approx(slope, nan_ok=True)
    assert why in found.why
    assert all(map(math.isnan, (found.low, found.high, found.p_value, found.p_falling)))


def test_equal_slopes_have_no_p_value():
    found = trend([[0.3, 0.2], [0.5, 0.4], [0.3, 0.2]], [1, 2])
    assert found.slope == pytest.approx(-0.1)
    assert math.isnan(found.p_value)
    assert found.why == "all blocks have the same slope"
    assert math.isnan(interaction([[0.3, 0.2], [0.5, 0.4]]).f)


def test_regimens_within_a_block_are_no_evidence_of_their_own():
    # What a draw does to a slope is common to all its regimens: intervals must cover all the same.
    random = np.random.default_rng(5)
    x_R, covered = np.log10(IMAGES), 0
    for _ in range(800):
        tilt_B = random.normal(-0.02, 0.02, 5)
        gain_BR = tilt_B[:, None] * x_R + random.normal(0, 0.005, (5, 4))
        found = trend(gain_BR, x_R)
        covered += found.low <= -0.02 <= found.high
    assert covered / 800 == pytest.approx(0.95, abs=0.025)


def test_the_interaction_is_that_of_an_independent_anova():
    from statsmodels.stats.anova import AnovaRM

    random = np.random.default_rng(2)
    gain_BR = random.normal([0.05, 0.03, 0.01, 0.0], [0.04, 0.02, 0.01, 0.01], (6, 4))
    gain_BR += random.normal(0, 0.02, (6, 1))
    frame = pd.DataFrame(
        [(b, r, gain) for (b, r), gain in np.ndenumerate(gain_BR)],
        columns=["block", "regimen", "gain"],
    )
    row = AnovaRM(frame, "gain", "block", within=["regimen"]).fit().anova_table.iloc[0]
    found = interaction(gain_BR)
    assert found.f == pytest.approx(row["F Value"], rel=1e-9)
    assert (found.df_regimens, found.df_residual) == (row["Num DF"], row["Den DF"])
    assert found.p_uncorrected == pytest.approx(row["Pr > F"], rel=1e-9)
    assert found.p_value > found.p_uncorrected


def test_epsilon_is_boxs_from_the_covariance():
    random = np.random.default_rng(3)
    gain_BR = random.normal(0, [0.05, 0.02, 0.01], (9, 3))
    s = np.cov(gain_BR, rowvar=False)
    r = len(s)
    above = r**2 * (np.diag(s).mean() - s.mean()) ** 2  # as printed in textbooks (Winer 1971)
    below = (r - 1) * ((s**2).sum() - 2 * r * (s.mean(axis=1) ** 2).sum() + r**2 * s.mean() ** 2)
    assert interaction(gain_BR).epsilon == pytest.approx(above / below, rel=1e-9)


def test_two_regimens_are_a_paired_t_test():
    random = np.random.default_rng(4)
    gain_BR = random.normal(0, 0.02, (8, 2))
    found, test = interaction(gain_BR), stats.ttest_rel(*gain_BR.T)
    assert found.epsilon == pytest.approx(1.0)
    assert found.f == pytest.approx(test.statistic**2)
    assert found.p_value == pytest.approx(test.pvalue)


@pytest.mark.parametrize(
    ("gain_BR", "why"),
    [
        ([[0.1, 0.2]], "two blocks"),
        ([[0.1], [0.2]], "needs two of them"),
        (np.empty((0, 3)), "no block"),
    ],
)
def test_an_interaction_that_cannot_be_told_says_why(gain_BR, why):
    found = interaction(gain_BR)
    assert why in found.why
    assert math.isnan(found.f)
    assert math.isnan(found.p_value)


def test_a_gain_that_vanishes_with_size_is_found():
    random = np.random.default_rng(6)
    size_R = np.log10(IMAGES)
    gain_BR = 0.1 - 0.02 * (size_R - 3) + random.normal(0, 0.002, (6, 4))
    found = trend(gain_BR, size_R)
    assert found.low < -0.02 < found.high < 0
    assert found.p_falling < 0.001
    assert interaction(gain_BR).p_value < 0.001


def test_a_block_that_lacks_a_gain_is_out_of_both_tests():
    gain_BR = np.random.default_rng(7).normal(0, 0.01, (4, 4))
    gain_BR[2, 0] = math.nan
    for part in (trend(gain_BR, np.log10(IMAGES)), interaction(gain_BR)):
        assert (part.n, part.dropped) == (3, 1)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: trend([[0.1, 0.2]], [1]), "one finite x"),
        (lambda: trend([0.1, 0.2], [1, 2]), "as a table"),
        (lambda: interaction([[0.1, math.inf]]), "infinite"),
    ],
)
def test_what_makes_no_sense_is_refused(call, said):
    with pytest.raises(ValueError, match=said):
        call()
