"""A sentence for each difference, that its intervals allow."""

import dataclasses
import json

import numpy as np
import pytest
from scipy import stats

from synthtrial.report import basis, diagnostics, finding_sentences, findings, inference, tables
from synthtrial.report.facts import Primary
from synthtrial.report.forest_figure import forest_panels
from synthtrial.report.held_out import with_test_set

ROW = {
    "arm": "gan",
    "baseline": "none",
    "regimen": 0.1,
    "scope": "minority",
    "class_name": "",
    "metric": "recall",
    "role": "primary",
    "unit": "replicate",
    "difference": 0.03,
    "low": 0.01,
    "high": 0.05,
    "joint_low": 0.005,
    "joint_high": 0.055,
    "shown_low": 0.005,
    "shown_high": 0.055,
    "standard_error": 0.01,
    "df": 9,
    "n": 10,
    "blocks": 10,
    "p_value": 0.01,
    "p_holm": 0.02,
    "questions": 1,
    "outcome": "higher",
    "both_low": np.nan,
    "both_high": np.nan,
    "both_holds": "",
    "floor": np.nan,
    "not_worse": False,
    "p_not_worse": np.nan,
    "p_equivalent": np.nan,
    "effect_size": 1.0,
    "effect_low": 0.2,
    "effect_high": 1.8,
    "detectable": 0.03,
    "stamps": "",
}


def say(fabricate, **changes):
    """Return the finding of one invented row."""
    import pandas as pd

    facts = fabricate.study(finished=0.0, **fabricate.SMALL)
    design = dataclasses.replace(facts.design, regimens=(0.1,), margin=0.02, draws=1)
    facts = dataclasses.replace(facts, design=design)
    (found,) = findings.findings(facts, pd.DataFrame([ROW | changes]))
    return found


def test_a_difference_that_is_told_from_zero_helps_or_hurts(fabricate):
    found = say(fabricate)
    assert found.verdict == "helps"
    assert found.sentence == (
        "With 10 % of the training images, gan helps: recall on 8 and 9 was 0.030 higher than with "
        "none (+0.005 to +0.055)."
    )
    found = say(fabricate, outcome="lower", difference=-0.03, shown_low=-0.055, shown_high=-0.005)
    assert "gan hurts: recall on 8 and 9 was 0.030 lower than with none" in found.sentence


def test_a_clear_difference_that_does_not_matter_is_said_to_be_small(fabricate):
    found = say(fabricate, difference=0.01, shown_low=0.005, shown_high=0.015)
    assert "though by less than the 0.02 that matters here" in found.sentence


def test_what_is_surely_small_is_no_difference_larger_than_the_margin(fabricate):
    found = say(fabricate, outcome="equal", difference=0.001, shown_low=-0.004, shown_high=0.006)
    assert found.verdict == "no difference"
    assert "makes no difference larger than 0.02: recall on 8 and 9 was 0.001 higher" in (
        found.sentence
    )


def test_what_is_open_says_what_is_possible_and_how_many_seeds_more(fabricate):
    ends = {f"{kind}low": -0.02 for kind in ("", "joint_", "shown_")}
    ends |= {f"{kind}high": 0.08 for kind in ("", "joint_", "shown_")}
    found = say(fabricate, outcome="unclear", standard_error=0.022, **ends)
    assert found.verdict == "not enough seeds"
    assert "not enough seeds to say whether gan helps" in found.sentence
    assert "anything from \N{MINUS SIGN}0.020 to +0.080 is possible" in found.sentence
    assert "not worse" not in found.sentence
    safe = say(fabricate, outcome="unclear", **ends | {"not_worse": True, "shown_low": -0.01})
    assert "It is surely not worse than none by 0.02 or more." in safe.sentence
    wider = ends | {"not_worse": True, "shown_low": -0.01, "both_low": -0.1, "both_high": 0.16}
    here = say(fabricate, outcome="unclear", **wider)
    assert "On this test set it is surely not worse than none by 0.02" in here.sentence
    assert (
        f"About {finding_sentences.rounded(found.more)} more seeds would probably settle it, if"
        in (found.sentence)
    )


def test_an_interval_that_spans_all_scores_says_that_nothing_is_known(fabricate):
    ends = {f"{kind}low": -1.2 for kind in ("", "joint_", "shown_")}
    ends |= {f"{kind}high": 1.3 for kind in ("", "joint_", "shown_")}
    found = say(fabricate, outcome="unclear", standard_error=0.3, blocks=3, df=2, **ends)
    assert "and next to nothing can be ruled out." in found.sentence
    assert "1.2" not in found.sentence


def test_where_seeds_share_draws_it_is_draws_that_are_too_few(fabricate):
    assert say(fabricate, outcome="unclear").verdict == "not enough seeds"
    design = dataclasses.replace(fabricate.study(finished=0.0).design, draws=3, replicates=6)
    assert finding_sentences.units_of(design, {"unit": "draw"}) == "draws"


def test_how_many_more_finds_the_difference_four_times_in_five(fabricate):
    from statsmodels.stats.power import TTestPower

    found = say(fabricate, outcome="unclear", difference=0.03, low=0.01, high=0.05, joint_low=0.01,
                joint_high=0.05)  # fmt: skip
    upper = np.sqrt(9 / stats.chi2.ppf(0.2, 9))  # the spread of ten blocks is itself a guess
    effect = 0.03 / (upper * 0.01 * np.sqrt(10))
    total = int(np.ceil(TTestPower().solve_power(effect_size=effect, power=0.8, alpha=0.05)))
    assert found.more == max(total, 11) - 10


def test_an_interval_clear_of_zero_that_is_not_clear_once_corrected_says_so(fabricate):
    found = say(fabricate, outcome="unclear")
    assert "among so many questions one like it may come by chance" in found.sentence


def test_one_replicate_is_no_test_and_says_what_to_run(fabricate):
    nan = np.nan
    found = say(fabricate, outcome="untested", low=nan, high=nan, joint_low=nan, joint_high=nan,
                shown_low=nan, shown_high=nan,
                standard_error=nan, df=0, blocks=1, n=1, p_value=nan, p_holm=nan)  # fmt: skip
    assert "not tested: one replicate shows no spread" in found.sentence
    assert "`synthtrial replicate STUDY --to 11` would tell more" in found.sentence
    assert found.low is None


def test_what_other_test_images_leave_of_it_is_said(fabricate):
    kept = say(fabricate, both_low=0.009, both_high=0.051)  # as much wider as the joint one
    assert kept.sentence.endswith("For other test images of the same kind: +0.004 to +0.056.")
    lost = say(fabricate, both_low=-0.03, both_high=0.09)
    assert "That holds for this test set; whether it does for other test images" in lost.sentence


@pytest.fixture(scope="module")
def whole(fabricate):
    primary = Primary("gan", "minority", "", (0.1, 1.0))
    facts = fabricate.study(draws=8, replicates=8, noise=0.06, primary=primary, margin=0.02)
    return fabricate.with_test_errors(facts)


@pytest.fixture(scope="module")
def differences(whole):
    return with_test_set(whole, inference.differences_table(whole))


def test_every_arm_regimen_and_target_has_its_sentence_the_primary_first(whole, differences):
    found = findings.findings(whole, differences)
    assert len(found) == 4 * 4 * 4  # arms, regimens; minority, overall, 8, 9
    assert [f.role for f in found[:3]] == ["primary", "primary", "exploratory"]
    assert len({f.sentence for f in found}) == len(found)


def test_findings_in_json_hold_the_design_and_no_nan(whole, differences):
    text = findings.as_json(whole, findings.findings(whole, differences))
    read = json.loads(text)
    assert read["primary"]["arm"] == "gan"
    assert read["family"] == ["standard", "gan", "class_weights", "oversample_matched"]
    assert "NaN" not in text
    assert read["findings"][0]["both_low"] < read["findings"][0]["low"]


def test_the_forest_has_every_arm_of_every_regimen(whole, differences):
    panels = forest_panels(whole, differences)
    assert [panel.slug for panel in panels] == ["forest-1", "forest-2"]
    (axes,) = panels[0].figure.axes
    assert len(axes.get_yticks()) == 16
    assert axes.get_title(loc="left") == "Recall on 8 and 9"


def test_what_was_declared_is_said_and_what_was_not_as_well(whole):
    first, last = basis.declared_sentences(whole.design)
    assert "does gan change recall on 8 and 9 against none, with 10 % and 100 %" in first
    assert last == "Everything else is exploratory: hints for the next study, and no proof."
    undeclared = dataclasses.replace(whole.design, primary=None)
    (text,) = basis.declared_sentences(undeclared)
    assert "exploratory" in text


def test_training_sets_that_are_numbers_of_images_are_called_so(whole):
    asked = dataclasses.replace(whole.design.primary, regimens=(50.0, 2050.0))
    design = dataclasses.replace(whole.design, primary=asked, regimens=asked.regimens)
    text = basis.declared_sentences(design)[0]
    assert "against none, with 50 images and 2,050 images?" in text
    nothing = inference.differences_table(whole).iloc[:0]
    first, *_ = findings.findings(dataclasses.replace(whole, design=design), nothing)
    assert first.sentence.startswith("With 50 images, gan cannot be compared with none")


def test_the_basis_says_what_varied_how_often_and_with_what_freedom(whole, differences, fabricate):
    text = basis.basis_text(whole, differences)
    assert "Between draws varied the subset" in text
    assert "n = 8 draws, 7 degrees of freedom (each difference with the spread" in text
    one = fabricate.study(draws=1, replicates=3)
    text = basis.basis_text(one, inference.differences_table(one))
    assert "They share one draw" in text
    assert "all that is said holds for these and no others" in text
    several = fabricate.study(draws=2, replicates=4)
    text = basis.basis_text(several, inference.differences_table(several))
    assert "averaged within each draw first: they share its generator, which counts once" in text
    assert "one collection" not in text
    bought = basis.varied_text(fabricate.design(fit_on="external"))
    assert "Made images come from one collection throughout" in bought
    assert "generator" not in bought


def test_diagnostics_are_those_of_scipy(whole, differences):
    results = tables.long_results(whole)
    table = diagnostics.assumptions_table(whole, results, differences)
    mine = results[(results.regimen == 0.1) & (results.scope == "minority")]
    arms = {
        arm: part.sort_values("replicate").value.to_numpy() for arm, part in mine.groupby("arm")
    }
    row = table[(table.regimen == 0.1) & (table.scope == "minority") & (table.arm == "gan")].iloc[0]
    middle = np.mean(list(arms.values()), axis=0)
    within = [values - middle for values in arms.values()]
    assert row.spread_p == pytest.approx(stats.levene(*within, center="median").pvalue)
    welch = stats.ttest_ind(arms["gan"], arms["none"], equal_var=False)
    assert row.welch_p == pytest.approx(welch.pvalue)
    assert row.p_signed_rank == pytest.approx(stats.wilcoxon(arms["gan"] - arms["none"]).pvalue)


def test_all_pairs_of_what_is_judged_first_are_compared(whole):
    table = diagnostics.pairs_table(whole, tables.long_results(whole))
    assert len(table) == 4 * 10
    assert set(table.scope) == {"minority"}
    (first, *_) = diagnostics.pair_sentences(whole, table)
    assert first.startswith("10 %: ")
    assert "gan above standard" in first
    assert "none" not in first, "the findings are about these pairs, and may say another thing"
    families = [table[table.regimen == regimen].p_adjusted for regimen in whole.design.regimens]
    smallest = table.p_adjusted.idxmin()
    assert table.p_holm[smallest] == pytest.approx(min(1.0, 4 * table.p_adjusted[smallest]))
    assert all((table.p_holm[family.index] >= family).all() for family in families)


def test_unlike_spreads_are_said_in_words(fabricate):
    facts = fabricate.study(draws=12, replicates=12, noise=0.05)
    scores = facts.class_scores.copy()
    wild = facts.trials[(facts.trials.arm == "gan") & (facts.trials.stage == "replicate")].index
    scores.loc[wild] += np.random.default_rng(0).normal(0, 0.5, (len(wild), 1))
    facts = dataclasses.replace(facts, class_scores=scores)
    differences = with_test_set(facts, inference.differences_table(facts))
    table = diagnostics.assumptions_table(facts, tables.long_results(facts), differences)
    assert "the arms differ in spread" in " ".join(diagnostics.doubts(facts, table))


def test_an_interval_far_longer_than_the_rest_is_cut_and_has_a_tip(whole, differences):
    wild = differences.copy()
    mine = (wild.arm == "gan") & (wild.regimen == 0.1) & (wild.scope == "minority")
    wild.loc[mine, ["low", "shown_low"]] = -9.0
    wild.loc[mine, ["high", "shown_high"]] = 9.0
    (axes,) = forest_panels(whole, wild)[0].figure.axes
    tips = [line.get_marker() for line in axes.lines if line.get_marker() in ("<", ">")]
    assert sorted(tips) == ["<", "<", ">", ">"]
    assert axes.get_xlim()[1] < 2.0
    (axes,) = forest_panels(whole, differences)[0].figure.axes
    assert not [line for line in axes.lines if line.get_marker() in ("<", ">")]
