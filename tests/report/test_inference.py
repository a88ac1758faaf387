"""Declared questions by themselves, everything else corrected for its number."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from synthtrial.report import inference, same, tables
from synthtrial.report.facts import Primary
from synthtrial.stats.contrasts import compare

PRIMARY = Primary("gan", "minority", "", (0.1, 0.25, 0.5, 1.0))


@pytest.fixture(scope="module")
def facts(fabricate):
    return fabricate.study(draws=8, replicates=8, noise=0.06, primary=PRIMARY, margin=0.02)


@pytest.fixture(scope="module")
def table(facts):
    return inference.differences_table(facts)


def scores(facts, arm, regimen, scope="minority", name=""):
    results = tables.long_results(facts)
    mine = results[(results.arm == arm) & (results.regimen == regimen) & (results.scope == scope)]
    return mine[mine.class_name == name].sort_values("replicate").value.to_numpy()


def test_the_primary_question_is_a_paired_t_test_corrected_by_holm(facts, table):
    mine = table[table.role == inference.PRIMARY].set_index("regimen")
    assert list(mine.index) == [0.1, 0.25, 0.5, 1.0]
    assert set(zip(mine.arm, mine.scope, strict=True)) == {("gan", "minority")}
    p = {r: stats.ttest_rel(scores(facts, "gan", r), scores(facts, "none", r)) for r in mine.index}
    for regimen, test in p.items():
        assert mine.p_value[regimen] == pytest.approx(test.pvalue)
        interval = test.confidence_interval(1 - 0.05 / 4)
        assert mine.joint_low[regimen] == pytest.approx(interval.low)
    from statsmodels.stats.multitest import multipletests

    order = list(p)
    holm = multipletests([p[r].pvalue for r in order], method="holm")[1]
    assert mine.p_holm[order].to_numpy() == pytest.approx(holm)


def test_everything_else_is_exploratory_and_a_family_of_its_regimen_and_class(table):
    rest = table[table.role == inference.EXPLORATORY]
    assert {"standard", "class_weights"} <= set(rest[rest.scope == "minority"].arm)
    assert (rest.p_adjusted >= rest.p_value - 1e-12).all()
    known = rest.p_holm.notna()
    assert (rest.p_holm[known] >= rest.p_adjusted[known] - 1e-12).all()
    classes = rest[(rest.scope == "class") & known]
    assert set(classes.class_name) == {"8", "9"}  # others are in files only, and not corrected


def test_arms_outside_the_family_are_a_family_of_their_own(facts):
    """Their marks are as rare as those inside: compared together, and by Holm over the rest."""
    inside, outside = ["gan", "class_weights"], ["standard", "oversample_matched"]
    design = dataclasses.replace(facts.design, family=tuple(inside), primary=None)
    found = inference.differences_table(dataclasses.replace(facts, design=design))
    mine = found[(found.scope == "overall") & (found.regimen == 0.1)].set_index("arm")
    arms = facts.design.arm_names
    values_BA = np.stack([scores(facts, arm, 0.1, "overall") for arm in arms], axis=1)
    for family in (inside, outside):
        for pair in compare(values_BA, arms, [(arm, "none") for arm in family]):
            assert mine.p_adjusted[pair.arm] == pair.p_adjusted > mine.p_value[pair.arm]
    shown = found[found.p_holm.notna()]
    questions = shown.groupby(shown.arm.isin(outside)).questions.unique()
    assert [list(each) for each in questions] == [[16], [16]], "4 regimens, 4 targets"
    assert (shown.p_holm >= shown.p_adjusted).all()
    told = shown.outcome.isin(["higher", "lower"])
    assert (told == (shown.p_holm < 0.05)).all()


def test_one_shared_block_gives_no_interval_whatever_other_arms_have(facts):
    trials = facts.trials.copy()
    lost = (trials.arm == "gan") & (trials.stage == "replicate") & (trials.replicate > 0)
    trials.loc[lost & (trials.regimen == 1.0), "status"] = "diverged"
    found = inference.differences_table(dataclasses.replace(facts, trials=trials))
    mine = found.query("scope == 'minority' and regimen == 1.0").set_index("arm")
    assert (mine.outcome["gan"], mine.blocks["gan"]) == ("untested", 1)
    assert np.isnan(mine.low["gan"])
    assert (mine.spread["standard"], mine.df["standard"]) == ("own", 7)


def test_of_several_draws_one_that_is_left_is_one_block(facts):
    design = dataclasses.replace(facts.design, draws=2)
    trials = facts.trials.assign(draw=facts.trials.replicate.clip(0) % 2)
    trials.loc[(trials.draw == 1) & (trials.stage == "replicate"), "status"] = "failed"
    found = inference.differences_table(dataclasses.replace(facts, trials=trials, design=design))
    assert set(found.unit) == {"draw"}
    assert set(found.blocks) == {1}
    assert set(found.outcome) == {"untested"}


def test_arms_that_score_the_same_in_every_block_make_no_difference(facts):
    scores = facts.class_scores.copy()
    mine = facts.trials[facts.trials.stage == "replicate"].sort_values(["regimen", "replicate"])
    none, gan = (mine[mine.arm == arm].index for arm in ("none", "gan"))
    scores.loc[gan] = scores.loc[none].to_numpy()
    found = inference.differences_table(dataclasses.replace(facts, class_scores=scores))
    same = found[(found.arm == "gan") & (found.scope == "minority")]
    assert set(same.outcome) == {inference.EQUAL}


def test_what_is_surely_below_the_margin_is_equal_and_what_is_wide_is_unclear(facts):
    for margin, outcome in ((1.0, inference.EQUAL), (1e-6, inference.UNCLEAR)):
        design = dataclasses.replace(facts.design, margin=margin)
        found = inference.differences_table(dataclasses.replace(facts, design=design))
        standard = found[(found.arm == "standard") & (found.regimen == 0.1)]
        assert set(standard[standard.scope == "overall"].outcome) == {outcome}


def test_a_rule_of_replication_takes_the_spread_of_the_first_blocks(facts):
    design = dataclasses.replace(facts.design, pilot=5)
    found = inference.differences_table(dataclasses.replace(facts, design=design))
    row = found[(found.role == inference.PRIMARY) & (found.regimen == 0.5)].iloc[0]
    delta = scores(facts, "gan", 0.5) - scores(facts, "none", 0.5)
    error = delta[:5].std(ddof=1) / np.sqrt(8)
    assert row.difference == pytest.approx(delta.mean())
    assert row.standard_error == pytest.approx(error)
    assert row.df == 4
    assert row.low == pytest.approx(delta.mean() - stats.t.ppf(0.975, 4) * error)
    other = found[(found.arm == "class_weights") & (found.regimen == 0.5)]
    assert set(other.df) == {7}


def test_several_replicates_of_a_generator_count_once(fabricate):
    few = fabricate.study(draws=2, replicates=8)
    found = inference.differences_table(few)
    assert set(found.blocks) == {2}
    made = found.arm == "gan"
    assert set(found[made].df) == {1}, "two generators"
    assert set(found[~made].df) == {3}, "the four other arms in two draws have one spread"
    assert set(found.n) == {8}


def test_the_smallest_difference_that_is_found_is_statsmodels_one(table):
    from statsmodels.stats.power import TTestPower

    row = table.iloc[0]
    size = TTestPower().solve_power(nobs=8, power=0.8, alpha=0.05)
    deviation = row.standard_error * np.sqrt(8)
    assert row.detectable == pytest.approx(size * deviation, rel=1e-3)


def test_rivals_are_compared_as_one_family_that_holds_all_who_could_be_picked(facts):
    plain = inference.differences_table(facts)
    found = inference.differences_table(facts, rivals=True)
    against = found.baseline != "none"
    pd.testing.assert_frame_equal(found[~against].reset_index(drop=True), plain)
    assert set(found[against].scope) == {"minority"}
    shown = found[against & (found.regimen == 0.5)]
    pairs = list(zip(shown.arm, shown.baseline, strict=True))
    assert pairs == [("gan", name) for name in ("standard", "class_weights", "oversample_matched")]
    table = np.stack([scores(facts, arm, 0.5) for arm in facts.design.arm_names], axis=1)
    four = [("gan", arm) for arm in facts.design.arm_names if arm != "gan"]
    expected = {c.baseline: c for c in compare(table, facts.design.arm_names, four)}
    for row in shown.itertuples():
        assert row.p_adjusted == expected[row.baseline].p_adjusted >= row.p_value
        assert row.p_holm >= row.p_adjusted
        assert row.shown_low == expected[row.baseline].joint_low
    assert set(shown.questions) == {4}, "over the training sets"


def test_what_is_no_worse_is_told_by_a_one_sided_test_that_is_corrected_too(fabricate):
    facts = fabricate.study(draws=8, replicates=8, noise=0.03, primary=PRIMARY, margin=0.02)
    table = inference.differences_table(facts)
    told = table[table.not_worse]
    assert {"higher", "unclear"} <= set(told.outcome)
    assert (told.shown_low > -0.02).all()
    assert (told.p_not_worse < 0.05).all()
    row = told[(told.outcome == "unclear") & (told["unit"] == "draw")].iloc[0]
    values = scores(facts, row.arm, row.regimen, row.scope, row.class_name)
    none = scores(facts, "none", row.regimen, row.scope, row.class_name)
    golden = stats.ttest_1samp(values - none, -0.02, alternative="greater")
    assert row.p_not_worse == pytest.approx(golden.pvalue)
    open_ = table[~table.not_worse & (table.p_not_worse < 0.05) & (table.role == "exploratory")]
    assert len(open_), "some are no worse only as long as nobody counts the questions"


def test_without_a_margin_nothing_is_equal_and_nothing_no_worse(facts):
    design = dataclasses.replace(facts.design, margin=None)
    found = inference.differences_table(dataclasses.replace(facts, design=design))
    assert inference.EQUAL not in set(found.outcome)
    assert not found.not_worse.any()
    assert found[["p_not_worse", "p_equivalent"]].isna().all().all()


def test_the_primary_question_is_asked_of_its_own_metric_only(facts):
    results = tables.long_results(facts).assign(metric="accuracy")
    found = inference.differences_table(facts, results)
    assert set(found.role) == {inference.EXPLORATORY}


def test_few_draws_leave_arms_with_made_images_a_spread_of_their_own(fabricate):
    found = inference.differences_table(fabricate.study())
    made = found.arm == "gan"
    assert set(found[made].spread) == {"own"}
    assert set(found[~made].spread) == {"pooled"}
    one = inference.differences_table(fabricate.study(draws=1, replicates=3))
    assert set(one.spread) == {"pooled"}, "one generator for all is no spread"


def test_the_same_difference_is_called_one_thing_wherever_it_stands(facts):
    whole = inference.differences_table(facts)
    results = tables.long_results(facts)
    again = results[results.scope == "overall"].assign(scope="all")
    other = again.assign(scope="majority", value=1.5 * again.value)
    asked = inference.differences_table(facts, pd.concat([again, other]))
    found = same.as_decided(asked, whole)
    keys = ["regimen", "arm"]
    decided = ["outcome", "questions", "p_holm", "not_worse"]
    mine = found[found.scope == "all"].set_index(keys)[decided]
    theirs = whole[whole.scope == "overall"].set_index(keys)[decided]
    pd.testing.assert_frame_equal(mine, theirs.loc[mine.index], check_dtype=False)
    rest = found.scope == "majority"
    pd.testing.assert_frame_equal(found[rest][decided], asked[rest][decided], check_dtype=False)
    assert set(asked.questions) == {8} != set(theirs.questions)


def test_a_question_of_two_names_is_asked_once(fabricate):
    """The mean over one class of interest is the score of that class."""
    facts = fabricate.study(draws=8, replicates=8, noise=0.1, minority=("8",), margin=0.02)
    found = inference.differences_table(facts)
    names = {"mean": found.scope == "minority", "class": found.class_name == "8"}
    keys, ours = ["regimen", "arm"], ["scope", "class_name"]
    mean, single = (found[mine].set_index(keys).drop(columns=ours) for mine in names.values())
    pd.testing.assert_frame_equal(mean, single)
    assert set(mean.questions) == {8}, "4 regimens, that class and overall"
    p = found[names["mean"]].p_adjusted
    assert mean.p_holm.min() == pytest.approx(8 * p.min())


def test_the_declared_question_is_called_one_thing_under_both_its_names(fabricate):
    asked = Primary("standard", "class", "8", (0.1, 0.25, 0.5, 1.0))
    facts = fabricate.study(draws=8, replicates=8, noise=0.1, minority=("8",), primary=asked)
    found = inference.differences_table(facts)
    mine = found[found.arm == "standard"].set_index("regimen")
    said = ["p_holm", "questions", "outcome", "shown_low", "shown_high", "joint_low"]
    single, mean = mine[mine.class_name == "8"], mine[mine.scope == "minority"]
    assert set(single.questions) == {4}
    pd.testing.assert_frame_equal(single[said], mean[said])
    assert (found.role == inference.PRIMARY).sum() == 4, "it is declared once"


def test_the_same_by_chance_alone_is_not_the_same_question(fabricate):
    facts = fabricate.study(draws=8, replicates=8, minority=("8",))
    results = tables.long_results(facts)
    sides = results[results.scope == "minority"].assign(value=lambda t: t.value**2)
    other = results[results.class_name == "8"]
    found = inference.differences_table(facts, pd.concat([sides, other]))
    assert set(found.questions) == {8}


def test_what_is_corrected_for_nothing_decides_nothing_elsewhere(facts):
    """Classes of no interest are in files only; a side that is such a class is shown."""
    whole = inference.differences_table(facts)
    results = tables.long_results(facts)
    side = results[results.class_name == "0"].assign(scope="majority", class_name="")
    asked = inference.differences_table(facts, side)
    found = same.as_decided(asked, whole)
    assert whole[whole.class_name == "0"].questions.isna().all()
    pd.testing.assert_frame_equal(found, asked, check_dtype=False)


def test_two_draws_that_happen_to_agree_are_no_proof_of_no_difference(facts):
    row = {"low": 0.0, "high": 0.0, "p_value": np.nan, "p_holm": np.nan, "scope": "minority"}
    row |= {"difference": 0.0, "blocks": 2}
    assert inference.outcome_of(row, 0.05, None) == inference.UNTESTED
    assert inference.outcome_of(row | {"blocks": 6}, 0.05, None) == inference.EQUAL
