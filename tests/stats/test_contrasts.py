from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from synthtrial.stats.contrasts import (
    OWN_FROM,
    all_pairs,
    choose_spread,
    compare,
    with_baseline,
)
from synthtrial.stats.largest_t import max_abs_t

ARMS = ("none", "gan", "weights", "oversample")


def table(blocks=8, seed=0, spread=1.0):
    random = np.random.default_rng(seed)
    shared = random.normal(0, 3, (blocks, 1))
    return shared + np.array([0.0, 0.8, 0.3, -0.5]) + random.normal(0, spread, (blocks, 4))


def test_own_spread_is_the_paired_t_test():
    values = table()
    for found in with_baseline(values, ARMS, "none", spread="own"):
        expected = stats.ttest_rel(values[:, ARMS.index(found.arm)], values[:, 0])
        interval = expected.confidence_interval(0.95)
        assert found.p_value == pytest.approx(expected.pvalue)
        assert (found.low, found.high) == pytest.approx((interval.low, interval.high))
        assert found.df == 7
        assert found.n == 8


def test_pooled_spread_is_the_two_way_analysis_of_variance():
    import statsmodels.formula.api as smf

    values = table()
    long = pd.DataFrame(
        [(b, arm, values[b, a]) for b in range(8) for a, arm in enumerate(ARMS)],
        columns=["block", "arm", "y"],
    )
    model = smf.ols("y ~ C(arm, Treatment('none')) + C(block)", long).fit()
    for found in with_baseline(values, ARMS, "none", spread="pooled"):
        name = f"C(arm, Treatment('none'))[T.{found.arm}]"
        low, high = model.conf_int().loc[name]
        assert found.estimate == pytest.approx(model.params[name])
        assert found.standard_error == pytest.approx(model.bse[name])
        assert (found.low, found.high) == pytest.approx((low, high))
        assert found.df == model.df_resid == 21


def test_means_over_replicates_of_a_draw_are_the_mixed_model_with_draws_and_generators():
    """Balanced data: the REML fit of y = arm + draw + arm:draw + noise has the same contrasts."""
    import warnings

    import statsmodels.formula.api as smf

    random = np.random.default_rng(3)
    rows = []
    for draw in range(12):
        level, own = random.normal(0, 2), random.normal(0, 1.0, 3)
        for a, arm in enumerate(ARMS[:3]):
            rows += [(draw, arm, level + own[a] + random.normal(0, 0.7)) for _ in range(4)]
    long = pd.DataFrame(rows, columns=["draw", "arm", "y"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fit = smf.mixedlm(
            "y ~ C(arm, Treatment('none'))",
            long,
            groups="draw",
            re_formula="1",
            vc_formula={"own": "0 + C(arm)"},
        ).fit(reml=True)
    means = long.groupby(["draw", "arm"]).y.mean().unstack()[list(ARMS[:3])].to_numpy()
    for found in with_baseline(means, ARMS[:3], "none", spread="pooled"):
        name = f"C(arm, Treatment('none'))[T.{found.arm}]"
        assert found.estimate == pytest.approx(fit.params[name], rel=1e-4)
        assert found.standard_error == pytest.approx(fit.bse[name], rel=1e-3)


@pytest.mark.parametrize(("arms", "df", "printed"), [(4, 20, 2.65), (2, 10, 2.57)])
def test_critical_values_are_those_of_dunnetts_tables(arms, df, printed):
    """Two-sided 5 % points at correlation 1/2 (Dunnett 1964, Biometrics 20:482-491, table II)."""
    half = np.full((arms, arms), 0.5) + 0.5 * np.eye(arms)
    assert np.quantile(max_abs_t(half, df, common=True), 0.95) == pytest.approx(printed, abs=0.025)


def test_the_common_denominator_gives_scipys_multivariate_t():
    correlation = np.array([[1.0, 0.2, 0.5], [0.2, 1.0, -0.3], [0.5, -0.3, 1.0]])
    drawn = max_abs_t(correlation, 9, common=True)
    for c in (1.5, 2.5, 3.5):
        exact = stats.multivariate_t(shape=correlation, df=9, seed=0).cdf(
            np.full(3, c), lower_limit=np.full(3, -c)
        )
        assert (drawn < c).mean() == pytest.approx(exact, abs=0.006)


@pytest.mark.parametrize("df", [2, 15])
def test_own_denominators_are_as_simulated_tables_say(df):
    """Whole tables of blocks without effects, contrast by contrast: the brute-force way."""
    random = np.random.default_rng(5)
    noise = random.normal(size=(20_000, df + 1, 4)) * np.array([1.0, 0.3, 2.0, 1.0])
    delta = noise[:, :, 1:] - noise[:, :, :1]
    t = delta.mean(axis=1) / delta.std(axis=1, ddof=1) * np.sqrt(df + 1)
    brute = np.quantile(np.abs(t).max(axis=1), 0.95)
    covariance = np.diag([0.09, 4.0, 1.0]) + 1.0
    size = np.sqrt(np.diag(covariance))
    drawn = np.quantile(max_abs_t(covariance / np.outer(size, size), df, common=False), 0.95)
    assert drawn == pytest.approx(brute, rel=0.03)


def test_all_pairs_have_the_intervals_of_tukey():
    values = table(blocks=5)
    found = all_pairs(values, ARMS, spread="pooled")
    assert [(c.arm, c.baseline) for c in found][:2] == [("gan", "none"), ("weights", "none")]
    assert len(found) == 6
    critical = stats.studentized_range.ppf(0.95, 4, 12) / np.sqrt(2)
    for pair in found:
        half = (pair.joint_high - pair.joint_low) / 2
        assert half / pair.standard_error == pytest.approx(critical, abs=0.03)
        t = abs(pair.estimate / pair.standard_error)
        exact = stats.studentized_range.sf(t * np.sqrt(2), 4, 12)
        assert pair.p_adjusted == pytest.approx(exact, abs=0.01)


def test_adjusting_never_makes_a_p_value_smaller_and_one_contrast_is_not_adjusted():
    for spread in ("own", "pooled"):
        many = with_baseline(table(), ARMS, "none", spread=spread)
        assert all(c.p_value <= c.p_adjusted <= min(1.0, 3 * c.p_value) for c in many)
        assert all(c.joint_low < c.low < c.high < c.joint_high for c in many)
        (one,) = compare(table(), ARMS, [("gan", "none")], spread=spread)
        assert one.p_adjusted == one.p_value
        assert (one.joint_low, one.joint_high) == pytest.approx((one.low, one.high))


def test_auto_goes_by_the_number_of_blocks_and_by_nothing_else():
    assert choose_spread("auto", OWN_FROM - 1) == "pooled"
    assert choose_spread("auto", OWN_FROM) == "own"
    assert choose_spread("pooled", 50) == "pooled"
    few, many = table(OWN_FROM - 1), table(OWN_FROM)
    assert {c.spread for c in with_baseline(few, ARMS, "none")} == {"pooled"}
    assert {c.spread for c in with_baseline(many, ARMS, "none")} == {"own"}


def test_blocks_that_lack_an_arm_count_for_the_others():
    values = table(10)
    values[0, 1] = values[1, 0] = np.nan
    found = {c.arm: c for c in with_baseline(values, ARMS, "none", spread="own")}
    assert (found["gan"].n, found["weights"].n) == (8, 9)
    delta = (values[:, 1] - values[:, 0])[2:]
    assert found["gan"].estimate == pytest.approx(delta.mean())
    assert found["gan"].n_higher == (delta > 0).sum()


def test_one_block_has_an_estimate_and_no_interval():
    for spread in ("own", "pooled"):
        (found,) = with_baseline([[1.0, 1.5]], ("none", "gan"), "none", spread=spread)
        assert found.estimate == pytest.approx(0.5)
        assert np.isnan([found.low, found.high, found.p_value, found.p_adjusted]).all()
        assert found.df == 0


def test_an_arm_that_shares_no_block_with_the_baseline_is_not_compared():
    values = [[1.0, np.nan, 2.0], [np.nan, 3.0, np.nan]]
    for spread in ("own", "pooled"):
        found = with_baseline(values, ("none", "gan", "weights"), "none", spread=spread)
        assert [c.arm for c in found] == ["weights"]


def test_an_infinite_value_is_refused():
    with pytest.raises(ValueError, match="finite"):
        with_baseline([[np.inf, 1.0]], ("none", "gan"), "none")


def test_at_few_blocks_an_arm_that_varies_enters_no_spread_but_its_own():
    values = table(blocks=3, seed=4)
    gan, *others = with_baseline(values, ARMS, "none", varying=("gan",))
    paired = stats.ttest_rel(values[:, 1], values[:, 0])
    assert (gan.spread, gan.df, gan.p_value) == ("own", 2, pytest.approx(paired.pvalue))
    steady = with_baseline(values[:, [0, 2, 3]], ("none", "weights", "oversample"), "none")
    for found, expected in zip(others, steady, strict=True):
        assert (found.arm, found.spread, found.df) == (expected.arm, "pooled", 4)
        assert (found.low, found.p_value) == pytest.approx((expected.low, expected.p_value))


def test_a_family_of_two_kinds_shares_its_error_by_their_numbers():
    values = table(blocks=3, seed=4)
    gan, *others = with_baseline(values, ARMS, "none", varying=("gan",))
    half = stats.t.ppf(1 - 0.05 / 3 / 2, 2) * gan.standard_error
    assert gan.p_adjusted == pytest.approx(min(1.0, 3 * gan.p_value))
    assert gan.joint_high - gan.estimate == pytest.approx(half)
    steady = ("none", "weights", "oversample")
    dunnett = with_baseline(values[:, [0, 2, 3]], steady, "none")
    wider = with_baseline(values[:, [0, 2, 3]], steady, "none", confidence=1 - 0.05 * 2 / 3)
    for found, alone, wide in zip(others, dunnett, wider, strict=True):
        assert found.p_adjusted == pytest.approx(min(1.0, 1.5 * alone.p_adjusted))
        assert found.joint_low == pytest.approx(wide.joint_low)
        assert found.confidence == 0.95


def test_pairs_of_any_kind_come_in_the_order_of_the_arms():
    names = [(c.arm, c.baseline, c.spread) for c in all_pairs(table(3), ARMS, varying=("weights",))]
    assert names == [
        ("gan", "none", "pooled"),
        ("weights", "none", "own"),
        ("oversample", "none", "pooled"),
        ("weights", "gan", "own"),
        ("oversample", "gan", "pooled"),
        ("oversample", "weights", "own"),
    ]


def test_a_spread_that_is_asked_for_holds_for_arms_that_vary_too():
    values = table(blocks=3, seed=4)
    assert with_baseline(values, ARMS, "none", spread="pooled", varying=("gan",)) == with_baseline(
        values, ARMS, "none", spread="pooled"
    )


def test_blocks_that_all_differ_by_the_same_amount_are_judged_by_their_signs():
    shared = np.random.default_rng(0).normal(0, 3, (7, 1))
    values = shared + np.array([0.0, 0.1, 0.3, 0.0])  # rounding leaves no spread but its own
    found = {c.arm: c for c in with_baseline(values, ARMS, "none", spread="own")}
    golden = stats.binomtest(7, 7).pvalue
    for arm in ("gan", "weights"):
        assert found[arm].p_value == pytest.approx(golden)
        assert found[arm].p_adjusted == pytest.approx(3 * golden)
        assert found[arm].low == found[arm].high
    assert math.isnan(found["oversample"].p_value), "no block differs"
