"""A sentence for each difference, that its intervals allow."""

import dataclasses

import numpy as np
import pandas as pd
from scipy import stats

from synthtrial.report import finding_sentences, findings

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


def test_what_sums_leave_of_a_difference_is_none(fabricate):
    ends = {f"{kind}low": -0.02 for kind in ("", "joint_", "shown_")}
    found = say(fabricate, outcome="unclear", difference=1e-17, **ends)
    assert "recall on 8 and 9 was the same as with none" in found.sentence


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
