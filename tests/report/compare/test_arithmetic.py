"""Differences of invented studies against scipy's paired and Welch tests and plain arithmetic."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests

from synthtrial.report.compare.arithmetic import common, equal_results, gains_table, scores_table
from synthtrial.report.tables import long_results

ARMS = ("none", "gan")


def study(fabricate, **changes):
    arms = tuple(arm for arm in fabricate.design().arms if arm.name in ARMS)
    options = {"arms": arms, "regimens": (0.1, 1.0), "draws": 3, "replicates": 6}
    return fabricate.study(**(options | changes))


def changed(facts, shift, seed=5, spread=0.01):
    """The same study after a change: scores move together, and a little apart."""
    random = np.random.default_rng(seed)
    noise = random.normal(shift, spread, facts.class_scores.shape)
    trials = facts.trials.copy()
    trials["overall"] = trials.overall + random.normal(shift, spread, len(trials))
    return dataclasses.replace(facts, trials=trials, class_scores=facts.class_scores + noise)


@pytest.fixture(scope="module")
def before(fabricate):
    return study(fabricate)


@pytest.fixture(scope="module")
def after(before):
    return changed(before, 0.05)


def values(facts, arm, regimen, scope="minority", class_name=""):
    table = long_results(facts)
    mine = table[
        (table.arm == arm)
        & (table.regimen == regimen)
        & (table.scope == scope)
        & (table.class_name == class_name)
    ]
    return mine.sort_values("replicate")


def row(table, arm, regimen, scope="minority", class_name=""):
    mine = table[
        (table.arm == arm)
        & (table.regimen == regimen)
        & (table.scope == scope)
        & (table.class_name == class_name)
    ]
    assert len(mine) == 1
    return mine.iloc[0]


@pytest.mark.parametrize("regimen", [0.1, 1.0])
def test_several_draws_are_paired_by_their_means(before, after, regimen):
    found = row(scores_table(before, after, same_seed=True), "gan", regimen)
    a, b = (values(f, "gan", regimen).groupby("draw").value.mean() for f in (before, after))
    theirs = stats.ttest_rel(b, a)
    low, high = theirs.confidence_interval(before.design.confidence)
    assert (found.method, found.unit, found.units) == ("paired", "draw", 3)
    assert (found.mean_a, found.mean_b) == pytest.approx((a.mean(), b.mean()), rel=1e-12)
    assert found.difference == pytest.approx(found.mean_b - found.mean_a, rel=1e-9)
    assert (found.low, found.high) == pytest.approx((low, high), rel=1e-9)
    assert found.p_value == pytest.approx(theirs.pvalue, rel=1e-9)
    assert (found.n_a, found.n_b, found.df) == (6, 6, 2)


def test_replicates_of_one_draw_are_paired_one_by_one(fabricate):
    first = study(fabricate, draws=1)
    second = changed(first, 0.02)
    found = row(scores_table(first, second, same_seed=True), "none", 1.0, "class", "8")
    a, b = (values(f, "none", 1.0, "class", "8").value.to_numpy() for f in (first, second))
    assert (found.method, found.unit, found.units) == ("paired", "replicate", 6)
    assert found.p_value == pytest.approx(stats.ttest_rel(b, a).pvalue, rel=1e-9)


def test_a_pair_has_one_draw_and_one_replicate(fabricate, before):
    """With other draws, replicate 3 is no pair: it was given another subset and generator."""
    other = study(fabricate, draws=6)
    found = row(scores_table(before, other, same_seed=True), "gan", 1.0)
    a, b = (values(f, "gan", 1.0).value.to_numpy()[:3] for f in (before, other))
    assert (found.units, found.unit) == (3, "draw")
    assert found.p_value == pytest.approx(stats.ttest_rel(b, a).pvalue, rel=1e-9)
    assert (found.n_a, found.n_b) == (6, 6)


def test_other_seeds_are_independent_groups(before, after):
    found = row(scores_table(before, after, same_seed=False), "gan", 0.1, "overall")
    a, b = (values(f, "gan", 0.1, "overall").groupby("draw").value.mean() for f in (before, after))
    theirs = stats.ttest_ind(b, a, equal_var=False)
    low, high = theirs.confidence_interval(before.design.confidence)
    assert (found.method, found.why, found.equal) == ("Welch", "the seeds differ", 0)
    assert (found.low, found.high) == pytest.approx((low, high), rel=1e-9)
    assert (found.df, found.p_value) == pytest.approx((theirs.df, theirs.pvalue), rel=1e-9)


def test_one_pair_is_none(fabricate):
    """A single draw in common leaves nothing to take a spread of pairs from."""
    first, second = study(fabricate, replicates=1, draws=1), study(fabricate, draws=6)
    found = row(scores_table(first, second, same_seed=True), "gan", 1.0)
    assert (found.method, found.why) == ("Welch", "only one replicate in common")
    assert math.isnan(found.low)
    assert found.difference == pytest.approx(
        values(second, "gan", 1.0).value.mean() - values(first, "gan", 1.0).value.mean(), rel=1e-9
    )


def test_of_several_draws_one_that_both_have_finished_is_one_pair(fabricate):
    """Its replicates share subset and generator, and say nothing of other draws."""
    first, second = study(fabricate, draws=2), study(fabricate, draws=2, seed=5)
    for facts in (first, second):
        facts.trials.loc[facts.trials.draw == 1, "status"] = "failed"
    found = row(scores_table(first, second, same_seed=True), "gan", 1.0)
    assert (found.method, found.why) == ("Welch", "only one draw in common")
    assert (found.unit, found.units) == ("draw", 1)
    assert math.isnan(found.low)


def test_a_study_beside_itself_differs_in_nothing(before):
    table = scores_table(before, before, same_seed=True)
    assert len(table) > 0
    assert (table.equal == 6).all()
    assert (table[["difference", "low", "high"]] == 0).all(axis=None)
    assert table.p_value.isna().all()
    assert set(table.outcome) == {"same"}


def test_what_differs_is_told_by_p_values_corrected_for_all_rows(fabricate):
    first = study(fabricate, replicates=12, draws=12)
    second = changed(first, 0.006, spread=0.01)
    table = scores_table(first, second, same_seed=True)
    known = table.p_value.notna()
    theirs = multipletests(table.p_value[known], method="holm")[1]
    assert table.p_holm[known].to_numpy() == pytest.approx(theirs, rel=1e-12)
    clear = table.p_holm < 0.05
    assert set(table.outcome[clear]) == {"higher"}
    assert set(table.outcome[~clear]) == {"unclear"}
    alone = (table.low > 0) | (table.high < 0)
    assert clear.sum() < alone.sum()  # some are clear of zero by themselves only


def test_pairs_that_differ_by_the_very_same_amount_are_no_proof(fabricate):
    """Two or three may do so by chance: one image more or less of a small test set."""
    first = study(fabricate)
    second = changed(first, 0.03, spread=0.0)
    table = scores_table(first, second, same_seed=True)
    assert table.p_value.to_numpy() == pytest.approx(0.25)  # the sign test of three
    assert set(table.outcome) == {"untested"}
    apart = scores_table(first, second, same_seed=False)
    assert set(apart.outcome) <= {"higher", "unclear"}


def test_a_change_of_the_gain_is_the_difference_of_differences(before, after):
    found = row(gains_table(before, after, same_seed=True), "gan", 1.0)
    gains = []
    for facts in (before, after):
        arm, base = (values(facts, name, 1.0).groupby("draw").value.mean() for name in ARMS[::-1])
        gains.append(arm - base)
    theirs = stats.ttest_1samp(gains[1] - gains[0], 0.0)
    assert (found.mean_a, found.mean_b) == pytest.approx([g.mean() for g in gains], rel=1e-9)
    assert found.difference == pytest.approx((gains[1] - gains[0]).mean(), rel=1e-9)
    assert found.p_value == pytest.approx(theirs.pvalue, rel=1e-6)
    assert "none" not in set(gains_table(before, after, same_seed=True).arm)


def test_a_shift_of_everything_leaves_the_gain(fabricate, before):
    moved = changed(before, 0.05, spread=0.0)
    scores = row(scores_table(before, moved, same_seed=True), "gan", 1.0)
    gain = row(gains_table(before, moved, same_seed=True), "gan", 1.0)
    assert scores.difference == pytest.approx(0.05, abs=1e-12)
    assert gain.difference == pytest.approx(0.0, abs=1e-12)


def test_what_only_one_has_is_named_and_left_out(fabricate, before):
    design = before.design
    other = study(
        fabricate, arms=fabricate.design().arms[:3], regimens=(1.0,), minority=("8",), draws=3
    )
    shared = common(before, other)
    assert (shared.arms, shared.regimens, shared.classes) == (ARMS, (1.0,), ("8",))
    assert shared.left_out == (
        "only B has the arm standard",
        "only A has the regimen 0.1",
        "the classes of interest are 8 and 9 in A and 8 in B, so their means are not compared",
    )
    table = scores_table(before, other, same_seed=True)
    assert set(table.arm) == set(ARMS)
    assert set(table.scope) == {"overall", "class"}
    metric = dataclasses.replace(
        before, design=dataclasses.replace(design, class_metric="auc", overall_metric="auc")
    )
    assert scores_table(before, metric, same_seed=True).empty


def test_other_baselines_have_no_gain_to_compare(before):
    design = dataclasses.replace(before.design, baseline="gan")
    other = dataclasses.replace(before, design=design)
    assert gains_table(before, other, same_seed=True).empty


def test_stamps_of_either_side_are_kept(before):
    trials = before.trials.assign(stamps="LEAKY")
    other = dataclasses.replace(before, trials=trials)
    stamps = set(scores_table(before, other, same_seed=True).stamps)
    assert stamps == {"LEAKY,GROUPS UNKNOWN"}


def test_equal_results_are_equal_bits_and_absent_is_null():
    one = {"x": {"test": {"auc": 0.5, "recall": {"8": None, "9": 0.25}}}, "only": {"test": None}}
    same = {"x": {"test": {"auc": 0.5, "recall": {"9": 0.25}}}}
    other = {"x": {"test": {"auc": np.nextafter(0.5, 1), "recall": {"9": 0.25}}}}
    assert equal_results(one, same) == (1, ())
    assert equal_results(one, other) == (1, ("x",))
    assert equal_results({}, same) == (0, ())
