"""The words say what the intervals allow, and no more."""

import dataclasses

import numpy as np
import pytest

from synthtrial.report import inference, tables, verdict, views
from synthtrial.report.facts import ArmFacts, Primary
from synthtrial.report.flow import stations
from synthtrial.report.style import ACCENT


@pytest.fixture(scope="module")
def facts(fabricate):
    """A study whose generators are as many as its replicates."""
    return fabricate.study(draws=6)


def told(facts):
    results = tables.long_results(facts)
    results = results[results.scope != "class"]  # the verdict does not look at single classes
    compared = inference.differences_table(facts, results, rivals=True)
    found = verdict.answers(facts, compared, tables.results_table(facts, results))
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
    assert {answer.first.outcome for answer in found} == {verdict.HIGHER}
    assert text.startswith("Exploratory: yes, they helped at every regimen: recall on 8 and 9")


def test_what_was_declared_beforehand_is_not_called_exploratory(fabricate):
    primary = Primary("gan", "minority", "", (0.1, 0.25, 0.5, 1.0))
    facts = fabricate.study(draws=6, primary=primary)
    _, text = told(facts)
    assert text.startswith("Yes, they helped at every regimen")
    design = dataclasses.replace(facts.design, asked_late=6)
    _, text = told(dataclasses.replace(facts, design=design))
    assert text.startswith("Exploratory: yes"), "a question of after the results may be theirs"


REGIMENS = (0.1, 0.25, 0.5, 1.0)


@pytest.mark.parametrize(
    ("target", "words"),
    [
        (("overall", ""), "accuracy over all classes"),
        (("class", "9"), "recall on 9"),
        (("minority", ""), "recall on 8 and 9"),
    ],
)
def test_the_first_words_are_about_what_the_study_asks(fabricate, target, words):
    facts = with_gan(fabricate, by=(0.2,) * 4)
    design = dataclasses.replace(facts.design, primary=Primary("gan", *target, REGIMENS))
    trials = facts.trials.assign(overall=facts.class_scores.mean(axis=1))
    facts = dataclasses.replace(facts, design=design, trials=trials)
    groups = tables.grouped_results(facts)
    compared = inference.differences_table(facts, groups, rivals=True)
    found = verdict.answers(facts, compared, tables.results_table(facts, groups))
    first, *_ = verdict.headline(facts, found)
    assert first == f"Yes, they helped at every regimen: {words} was higher than with none."
    mine = compared[(compared.arm == "gan") & (compared.scope == target[0])]
    mine = mine[mine.class_name == target[1]]
    for answer in found:
        here = mine[mine.regimen == answer.regimen]
        assert answer.first.difference == here[here.baseline == "none"].difference.item()
        against = here[here.baseline == answer.rival.against]
        assert answer.rival.difference == against.difference.item()


def test_no_difference_by_a_margin_of_after_the_results_is_exploratory(fabricate):
    asked = {"primary": Primary("gan", "minority", "", REGIMENS), "margin": 0.5}
    facts = with_gan(fabricate)
    for late, start in ((0, "At every regimen tested"), (6, "Exploratory: at every regimen")):
        design = dataclasses.replace(facts.design, **asked, margin_late=late)
        _, text = told(dataclasses.replace(facts, design=design))
        assert text.startswith(start)


def test_a_gain_that_is_called_small_by_a_margin_of_after_the_results_is_exploratory(fabricate):
    asked = {"primary": Primary("gan", "minority", "", REGIMENS), "margin": 0.5}
    facts = with_gan(fabricate, by=(0.2,) * 4)
    for late, start in ((0, "They helped less"), (6, "Exploratory: they helped less")):
        design = dataclasses.replace(facts.design, **asked, margin_late=late)
        _, text = told(dataclasses.replace(facts, design=design))
        assert text.startswith(f"{start} than matters (0.5)")


def test_an_interval_that_holds_zero_is_no_clear_effect(fabricate):
    found, text = told(with_gan(fabricate))
    assert {answer.first.outcome for answer in found} == {verdict.UNCLEAR}
    assert text.startswith("No clear effect of the synthetic images on recall on 8 and 9")
    assert "no difference" not in text


def test_harm_is_said_plainly(fabricate):
    _, text = told(with_gan(fabricate, by=(-0.2,) * 4))
    assert text.startswith("Exploratory: no: the synthetic images made recall on 8 and 9 worse")


def test_help_here_and_harm_there_depends(fabricate):
    _, text = told(with_gan(fabricate, by=(0.2, 0.0, 0.0, -0.2)))
    assert text.startswith("Exploratory: it depends")
    assert "raised recall on 8 and 9 at 10 % and lowered it at 100 %" in text


def test_losing_to_a_simple_arm_is_said_beside_the_help(fabricate):
    _, text = told(fabricate.study(draws=6, noise=0.01))
    assert "Against the best arm that makes no images" in text
    assert "they beat class_weights at 10 %, fell behind class_weights at 100 %" in text


def test_losing_to_a_baseline_that_beats_all_others_is_no_win(fabricate):
    facts = with_gan(fabricate, by=(-0.2, 0.2, -0.2, -0.2))
    scores = facts.class_scores.copy()
    rivals = facts.trials.arm.isin(["standard", "class_weights", "oversample_matched"])
    weak = rivals & (facts.trials.regimen != 0.1)
    scores.loc[weak[weak].index] -= 0.6
    found, text = told(dataclasses.replace(facts, class_scores=scores))
    assert [answer.rival.against for answer in found] == ["class_weights", *["none"] * 3]
    assert [answer.rival.outcome for answer in found][1:] == ["higher", "lower", "lower"]
    assert found[2].rival == found[2].first
    assert "they fell behind class_weights at 10 %." in text
    best = "the best arm that makes no images was the baseline itself"
    assert f"At 25 %, 50 % and 100 % {best}." in text
    lines, _ = views.answer_view(facts, found, dict.fromkeys(facts.design.arm_names, ACCENT))
    thans = [line.forests[-1].than for line in lines]
    assert thans == ["than class_weights", *["than none, itself the best of them"] * 3]


def test_an_arm_on_the_original_data_is_nobodys_rival(facts):
    arms = [
        dataclasses.replace(arm, original=arm.name == "class_weights") for arm in facts.design.arms
    ]
    best = {answer.rival.against for answer in told(facts)[0]}
    facts = dataclasses.replace(facts, design=dataclasses.replace(facts.design, arms=tuple(arms)))
    assert "class_weights" in best
    assert "class_weights" not in {answer.rival.against for answer in told(facts)[0]}


def test_a_baseline_without_rivals_is_not_compared_with_twice(fabricate):
    found, text = told(fabricate.study(**fabricate.SMALL))
    assert found[0].rival.outcome == verdict.MISSING
    assert "best arm that makes no images" not in text


def test_an_arm_that_never_finished_gets_no_verdict_and_hides_no_other(fabricate):
    facts = fabricate.study(draws=6)
    trials = facts.trials.copy()
    trials.loc[(trials.arm == "gan") & (trials.regimen == 0.1), "status"] = "blocked"
    facts = dataclasses.replace(facts, trials=trials)
    _, text = told(facts)
    assert text.startswith("Exploratory: yes, they helped at 25 %, 50 % and 100 %")
    assert "At 10 % no scores of both gan and none are there to judge by." in text
    trials.loc[trials.arm == "gan", "status"] = "blocked"
    _, text = told(dataclasses.replace(facts, trials=trials))
    assert text.startswith("Nothing can be said. At no regimen do both gan and none have a score")
    assert "yet" not in text


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
    assert "At face value: yes, they helped" in text


def test_a_study_without_synthetic_arms_says_so(fabricate):
    arms = tuple(arm for arm in fabricate.design().arms if not arm.synthetic)
    _, text = told(fabricate.study(arms=arms))
    assert text.startswith("No arm of this study adds synthetic images")


def test_the_paragraph_tells_the_design(facts):
    text = verdict.study_paragraph(facts)
    for part in ("8\u00d78 pixels", "18 configurations", "6 replicates on 6 draws", "85 %"):
        assert part in text


@pytest.mark.parametrize(
    ("protocol", "words"),
    [
        ("grid_once", ("once, on the first draw", "is trained afresh in 6 replicates on 6 draws")),
        ("full_grid", ("in each of 6 replicates on 6 draws", "none of them afresh")),
        ("retune", ("in each of 6 replicates on 6 draws", "Each replicate chooses its own best")),
    ],
)
def test_the_paragraph_says_what_is_trained_and_what_is_judged(facts, protocol, words):
    design = dataclasses.replace(facts.design, protocol=protocol)
    facts = dataclasses.replace(facts, design=design)
    text = verdict.study_paragraph(facts)
    assert all(part in text for part in words)
    assert ("is trained afresh" in text) == (protocol == "grid_once")
    (grid,) = (box for box in stations(facts) if box.title.startswith("Grid"))
    assert ("in each of 6 replicates" in grid.lines) == (protocol == "retune")
    assert ("by its mean over 6 replicates" in grid.lines) == (protocol == "full_grid")
    assert text.endswith("the test set, which is the same for all and holds real images only.")


def test_arms_with_the_same_outcome_share_their_sentences(fabricate):
    arms = tuple(ArmFacts(name, name, name != "none") for name in ("none", "few", "many"))
    facts = fabricate.study(regimens=(1.0,), arms=arms, noise=0.2)
    _, words = told(facts)
    assert words.count("No clear effect of the images of few and many on") == 1
    assert "few on" not in words.replace("few and many on", "")


def test_the_original_data_are_neither_rival_nor_best(fabricate):
    arms = tuple(
        ArmFacts(name, name, name == "gan", original=name == "original")
        for name in ("none", "original", "standard", "gan")
    )
    facts = fabricate.study(regimens=(1.0,), arms=arms)
    scores = facts.class_scores.copy()
    scores[facts.trials.arm == "original"] = 0.99
    facts = dataclasses.replace(facts, class_scores=scores)
    found, words = told(facts)
    assert {answer.rival.against for answer in found} <= {"none", "standard"}
    assert "the best arm without made images or the original data" in words
    means = tables.results_table(facts)
    assert set(means[means.scope == "minority"].query("best").arm) <= {"none", "standard", "gan"}


def test_a_baseline_on_the_original_data_leaves_a_comparison_with_the_only_plain_arm(fabricate):
    arms = tuple(
        ArmFacts(name, name, name == "gan", original=name == "original")
        for name in ("original", "none", "gan")
    )
    facts = fabricate.study(regimens=(1.0,), arms=arms, baseline="original")
    found, _ = told(facts)
    assert {answer.rival.against for answer in found} == {"none"}
