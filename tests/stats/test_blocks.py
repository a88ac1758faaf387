"""The block model against statsmodels, and what its intervals are good for."""

import math

import numpy as np
import pandas as pd
import pytest

from synthtrial.stats.blocks import block_table, fit_blocks
from synthtrial.stats.pooled import pooled_variance

ARMS = ["gan", "none", "standard", "weights"]


def frame(*, draws=3, seeds=2, keep=1.0, seed=0):
    random = np.random.default_rng(seed)
    rows = [
        (arm, draw, ARMS.index(arm) + 2.0 * draw + random.normal())
        for arm in ARMS
        for draw in range(draws)
        for _ in range(seeds)
        if random.random() < keep
    ]
    return pd.DataFrame(rows, columns=["arm", "draw", "y"])


@pytest.mark.parametrize(
    "data",
    [frame(), frame(draws=7, seeds=1, seed=3), frame(draws=6, seeds=3, keep=0.6, seed=5)],
    ids=["balanced", "one seed a draw", "unbalanced"],
)
def test_contrasts_agree_with_statsmodels(data):
    from statsmodels.formula.api import ols

    golden = ols("y ~ C(arm, Treatment('none')) + C(draw)", data).fit()
    fit = fit_blocks(data.y, list(data.arm), list(data.draw))
    assert fit.df == golden.df_resid
    assert fit.variance == pytest.approx(golden.mse_resid, rel=1e-9)
    for arm in ("gan", "standard", "weights"):
        name = f"C(arm, Treatment('none'))[T.{arm}]"
        found = fit.contrast(arm, "none", 0.9)
        low, high = golden.conf_int(alpha=0.1).loc[name]
        assert found is not None
        assert found.estimate == pytest.approx(golden.params[name], rel=1e-9)
        assert found.standard_error == pytest.approx(golden.bse[name], rel=1e-9)
        assert (found.low, found.high) == (pytest.approx(low), pytest.approx(high))
        assert found.p_value == pytest.approx(golden.pvalues[name], rel=1e-6)


def test_the_residual_is_that_of_a_block_anova():
    from statsmodels.formula.api import ols
    from statsmodels.stats.anova import anova_lm

    data = frame(draws=5, seeds=2, seed=11)
    table = anova_lm(ols("y ~ C(arm) + C(draw)", data).fit())
    fit = fit_blocks(data.y, list(data.arm), list(data.draw))
    assert fit.variance == pytest.approx(table.loc["Residual", "mean_sq"], rel=1e-9)


def test_one_block_is_the_pooled_variance():
    data = frame(draws=1, seeds=4)
    fit = fit_blocks(data.y, list(data.arm), list(data.draw))
    pooled = pooled_variance([group.y for _, group in data.groupby("arm")])
    assert (fit.variance, fit.df) == (pytest.approx(pooled.variance), pooled.df)


def test_what_a_draw_adds_to_every_arm_changes_nothing():
    data = frame()
    shifted = data.y + 1000.0 * data.draw
    plain = fit_blocks(data.y, list(data.arm), list(data.draw)).contrast("gan", "none")
    moved = fit_blocks(shifted, list(data.arm), list(data.draw)).contrast("gan", "none")
    assert plain is not None
    assert moved is not None
    assert moved.estimate == pytest.approx(plain.estimate)
    assert moved.standard_error == pytest.approx(plain.standard_error)


def test_arms_without_a_common_block_cannot_be_compared():
    fit = fit_blocks([1.0, 2.0, 3.0, 4.0], ["a", "b", "c", "d"], [0, 0, 1, 1])
    assert fit.contrast("a", "b") is not None
    assert fit.contrast("a", "c") is None
    assert fit.contrast("a", "absent") is None


def test_one_value_an_arm_gives_an_estimate_without_interval():
    found = fit_blocks([0.5, 0.7], ["none", "gan"], [0, 0]).contrast("gan", "none")
    assert found is not None
    assert found.estimate == pytest.approx(0.2)
    assert found.df == 0
    assert math.isnan(found.low)
    assert math.isnan(found.p_value)


def test_values_without_any_spread_give_an_interval_of_no_width():
    found = fit_blocks([1.0, 1.0, 0.0, 0.0], ["a", "a", "b", "b"], [0, 1, 0, 1]).contrast("a", "b")
    assert found is not None
    assert (found.low, found.high) == (pytest.approx(1.0), pytest.approx(1.0))


def test_the_replicates_of_a_draw_are_one_block():
    place = (["a", "a", "a", "b"], [0, 0, 1, 1], [0, 2, 1, 1])
    found = block_table([1.0, 3.0, 5.0, 9.0], *place, ("b", "a"))
    assert (found.unit, found.blocks.tolist(), found.arms) == ("draw", [0, 1], ("b", "a"))
    np.testing.assert_array_equal(found.values_BA, [[math.nan, 2.0], [9.0, 5.0]])


def test_replicates_are_the_blocks_of_a_single_draw():
    found = block_table([1.0, 3.0, 5.0], ["a", "a", "b"], [0, 0, 0], [0, 2, 2], ("a", "b"))
    assert (found.unit, found.blocks.tolist()) == ("replicate", [0, 2])
    np.testing.assert_array_equal(found.values_BA, [[1.0, math.nan], [3.0, 5.0]])


@pytest.mark.parametrize("values", [[], [1.0], [1.0, math.inf]])
def test_wrong_input_is_refused(values):
    with pytest.raises(ValueError, match=r"one arm and one block|not finite"):
        fit_blocks(values, ["a", "b"], [0, 1])


def test_means_of_draws_cover_new_draws_where_single_seeds_do_not():
    # A generator of its own for each draw: its deviation is as large as a seed's.
    random = np.random.default_rng(3)
    draws, seeds, repeats = 3, 6, 400
    arms = [arm for arm in ARMS for _ in range(draws * seeds)]
    blocks = [draw for _ in ARMS for draw in range(draws) for _ in range(seeds)]
    covered = {"seeds": 0, "means": 0}
    for _ in range(repeats):
        interaction = np.repeat(random.normal(size=len(ARMS) * draws), seeds)
        y = interaction + random.normal(size=len(arms))
        means = (y.reshape(-1, seeds).mean(axis=1), arms[::seeds], blocks[::seeds])
        for name, data in (("seeds", (y, arms, blocks)), ("means", means)):
            found = fit_blocks(*data).contrast("gan", "none")
            assert found is not None
            covered[name] += found.low <= 0.0 <= found.high
    assert covered["means"] / repeats == pytest.approx(0.95, abs=0.035)
    assert covered["seeds"] / repeats < 0.8
