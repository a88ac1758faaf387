"""The words say what the intervals allow, and no more."""

import dataclasses

import numpy as np

from synthtrial.report import tables, verdict


def told(facts):
    results = tables.long_results(facts)
    found = verdict.answers(facts, results, tables.results_table(facts, results))
    return found, " ".join(verdict.headline(facts, found))


def with_gan(fabricate, **shift):
    """Give gan the scores of none, shifted by regimen."""
    facts = fabricate.study(noise=0.01)
    scores = facts.class_scores.copy()
    trials = facts.trials[facts.trials.stage == "replicate"]
    random = np.random.default_rng(5)
    for place, regimen in enumerate(facts.design.regimens):
        here = trials[trials.regimen == regimen]
        none = here[here.arm == "none"].sort_values("replicate").index
        gan = here[here.arm == "gan"].sort_values("replicate").index
        by = shift.get("by", (0.0,) * 4)[place]
        scores.loc[gan] = scores.loc[none].to_numpy() + by + random.normal(0, 0.004, (6, 1))
    return dataclasses.replace(facts, class_scores=scores)


def test_a_help_everywhere_is_a_yes(facts):
    found, text = told(facts)
    assert {answer.minority.outcome for answer in found} == {verdict.HIGHER}
    assert text.startswith("Yes, they helped at every regimen: recall on 8 and 9")


def test_an_interval_that_holds_zero_is_no_clear_effect(fabricate):
    found, text = told(with_gan(fabricate))
    assert {answer.minority.outcome for answer in found} == {verdict.UNCLEAR}
    assert text.startswith("No clear effect of the synthetic images on recall on 8 and 9")
    assert "no difference" not in text


def test_harm_is_said_plainly(fabricate):
    _, text = told(with_gan(fabricate, by=(-0.2,) * 4))
    assert text.startswith("No: the synthetic images made recall on 8 and 9 worse than none")


def test_help_here_and_harm_there_depends(fabricate):
    _, text = told(with_gan(fabricate, by=(0.2, 0.0, 0.0, -0.2)))
    assert text.startswith("It depends")
    assert "raised recall on 8 and 9 at 10\u00a0% and lowered it at 100\u00a0%" in text


def test_losing_to_a_simple_arm_is_said_beside_the_help(facts):
    _, text = told(facts)
    assert "Against the best arm that makes no images" in text
    assert "fell behind class_weights at 50\u00a0%" in text


def test_a_price_on_all_classes_is_said(fabricate):
    facts = fabricate.study()
    trials = facts.trials.copy()
    trials.loc[trials.arm == "gan", "overall"] -= 0.3
    _, text = told(dataclasses.replace(facts, trials=trials))
    assert "It has a price: accuracy over all classes was lower at" in text


def test_one_replicate_gives_no_verdict(fabricate):
    _, text = told(fabricate.study(draws=1, replicates=1))
    assert "no verdict" in text
    assert "Yes" not in text


def test_without_complete_blocks_nothing_is_said(fabricate):
    _, text = told(fabricate.study(finished=0.0))
    assert "othing can be said yet. 0 of 24 blocks" in text


def test_an_unfinished_study_speaks_of_so_far(fabricate):
    _, text = told(fabricate.study(finished=0.7))
    assert text.startswith("So far: ")


def test_leaky_numbers_are_called_no_evidence_first(fabricate):
    facts = fabricate.study()
    facts = dataclasses.replace(facts, trials=facts.trials.assign(stamps="LEAKY"))
    _, text = told(facts)
    assert text.startswith("These numbers are no evidence")


def test_a_study_without_synthetic_arms_says_so(fabricate):
    arms = tuple(arm for arm in fabricate.design().arms if not arm.synthetic)
    _, text = told(fabricate.study(arms=arms))
    assert text.startswith("No arm of this study adds synthetic images")


def test_the_paragraph_tells_the_design(facts):
    text = verdict.study_paragraph(facts)
    for part in ("8\u00d78 pixels", "18 configurations", "6 replicates on 3 draws", "85\u00a0%"):
        assert part in text
