"""The central claim is tested draw by draw, and no more is said than the intervals allow."""

import dataclasses

import numpy as np
import pandas as pd
import pytest

from synthtrial.report import inference, tables
from synthtrial.report.claim import (
    claim_sentences,
    claim_table,
    claims,
    prevalences,
    regimen_sizes,
)
from synthtrial.report.claim_figure import gain_panels
from synthtrial.report.page import write_page


def judged(facts):
    (found,) = claims(facts, tables.long_results(facts))
    return found, " ".join(claim_sentences(facts, found))


def test_a_gain_that_shrinks_as_data_grow_is_said_with_its_interval(facts):
    found, text = judged(facts)
    assert found.size.high < 0
    assert "The gain of gan over none in recall on 8 and 9 falls by 0.2" in text
    assert "recall for each tenfold more images (95 % interval 0." in text
    assert "n = 3 draws): it is larger in small training sets." in text
    assert "not the same in all training sets: F(" in text


def test_slopes_are_those_of_lines_through_the_gains_of_each_draw(facts):
    found, _ = judged(facts)
    results = tables.long_results(facts).query("scope == 'minority'")
    gains = results.pivot_table(index=["draw", "regimen"], columns="arm", values="value")
    gain = (gains.gan - gains.none).unstack("regimen")
    x = np.log10([regimen_sizes(facts)[regimen] for regimen in gain.columns])
    slopes = [np.polyfit(x, row, 1)[0] for row in gain.to_numpy()]
    assert found.size.slope == pytest.approx(np.mean(slopes))
    assert found.size.n == 3, "six replicates of three draws are three blocks"
    error = np.std(slopes, ddof=1) / np.sqrt(3)
    assert found.size.standard_error == pytest.approx(error)


def test_of_one_draw_the_replicates_are_all_there_is(fabricate):
    found, text = judged(fabricate.study(draws=1))
    assert (found.unit, found.size.n) == ("replicate", 6)
    assert "n = 6 replicates" in text


def test_what_an_interval_does_not_carry_is_not_said(fabricate):
    found, text = judged(fabricate.study(noise=2.0, draws=2))
    assert found.size.low < 0 < found.size.high
    assert "cannot be told: it " in text
    assert "the interval holds zero" in text
    assert "With so few draws" in text


def test_classes_that_are_as_rare_as_each_other_tell_nothing_of_rarity(facts):
    found, text = judged(facts)
    assert found.rarity is None
    assert "too alike in how common they are (8: " in text


def with_rarer_nine(facts, images=2):
    counts = facts.counts.copy()
    counts.loc[(counts.class_name == "9") & (counts.role == "train"), "images"] = images
    return dataclasses.replace(facts, counts=counts)


def test_rarity_is_tested_where_classes_differ_in_it(facts):
    rare = with_rarer_nine(facts)
    scores = rare.class_scores.copy()
    gan = rare.trials.arm == "gan"
    seeds = np.random.default_rng(0).normal(0.2, 0.01, int(gan.sum()))
    scores.loc[gan, "9"] = scores.loc[gan, "8"] + seeds
    scores.loc[~gan, "9"] = scores.loc[~gan, "8"]
    found, text = judged(dataclasses.replace(rare, class_scores=scores))
    assert found.rarity.high < 0
    assert "for each halving of a class's share" in text
    assert "rarer classes gain more." in text


def test_uncertain_labels_count_where_training_counts_them(fabricate):
    facts = fabricate.study(multi_label=True, **fabricate.SMALL)
    counted = dataclasses.replace(facts.design, uncertain_counts=True)
    plain, ours = prevalences(facts), prevalences(dataclasses.replace(facts, design=counted))
    assert ours["0"] == pytest.approx(1.2 * plain["0"])


def test_without_two_regimens_or_an_arm_that_makes_images_there_is_no_claim(fabricate):
    small = fabricate.study(**fabricate.SMALL)
    assert claims(small, tables.long_results(small)) == []
    arms = fabricate.design().arms
    real = fabricate.study(arms=(arms[0], arms[3]))
    assert claims(real, tables.long_results(real)) == []


def test_a_study_that_has_just_begun_says_nothing_yet(fabricate):
    facts = fabricate.study(finished=0.0)
    results = tables.long_results(facts)
    (found,) = claims(facts, results)
    assert claim_sentences(facts, found) == [
        "Nothing can be said yet: gains in two regimens are needed."
    ]
    assert gain_panels(facts, inference.differences_table(facts, results), [found]) == []


def test_a_regimen_without_gains_is_named_and_left_out(facts):
    trials = facts.trials.copy()
    here = (trials.regimen == 0.1) & (trials.arm == "gan") & (trials.stage == "replicate")
    trials.loc[here, "status"] = "diverged"
    found, text = judged(dataclasses.replace(facts, trials=trials))
    assert found.regimens == (0.25, 0.5, 1.0)
    assert "At 10 % there are no gains to compare." in text
    assert found.size.n == 3


def test_a_draw_without_all_gains_is_left_out_and_said(facts):
    trials = facts.trials.copy()
    here = (trials.regimen == 0.1) & (trials.arm == "gan") & (trials.draw == 2)
    trials.loc[here & (trials.stage == "replicate"), "status"] = "diverged"
    found, text = judged(dataclasses.replace(facts, trials=trials))
    assert (found.size.n, found.size.dropped) == (2, 1)
    assert "1 draw without all gains is left out." in text


def test_the_table_holds_every_test(facts):
    (found,) = claims(facts, tables.long_results(facts))
    table = claim_table(facts, [found]).set_index("question")
    assert list(table.index) == ["size", "rarity", "between regimens"]
    assert table.slope["size"] == found.size.slope
    assert table.f["between regimens"] == found.between.f
    assert set(table.unit) == {"draw"}
    assert "too alike" in table.why["rarity"]


def test_the_figure_has_a_line_for_each_class_and_their_mean(facts):
    results = tables.long_results(facts)
    found = claims(facts, results)
    (panel,) = gain_panels(facts, inference.differences_table(facts, results), found)
    (axes,) = panel.figure.axes
    (legend,) = panel.figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["8", "9", "mean of 2 classes"]
    assert len(axes.collections) == 3
    assert "10 %: +0.3" in panel.alt


def test_it_is_part_of_the_page_and_of_the_tables(fabricate, tmp_path):
    page = write_page(fabricate.study(**fabricate.MIDDLING), tmp_path)
    text = page.read_text(encoding="utf-8")
    assert "Does it help more where data are few and classes rare?" in text
    assert 'href="#claim"' in text
    assert (tmp_path / "figures" / "gain-by-images-0.svg").is_file()
    assert len(pd.read_csv(tmp_path / "tables" / "central-claim.csv")) == 3
