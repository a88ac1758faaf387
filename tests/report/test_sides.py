"""The rare classes and the others: accuracies, doses, and the hypothesis on trial."""

import dataclasses
import math

import numpy as np
import pandas as pd
import pytest

from synthtrial.report import inference, sides, tables
from synthtrial.report.facts import ArmFacts
from synthtrial.report.sides_figure import dose_panels, side_panels

PLAIN = '{"augment":[]}'
ARMS = (
    ArmFacts("none", "nothing is done", treatment=PLAIN),
    ArmFacts("few", "100 images", synthetic=True, images="pool", treatment=PLAIN),
    ArmFacts("many", "500 images", synthetic=True, images="pool", treatment=PLAIN),
    ArmFacts("other", "500 others", synthetic=True, images="others", treatment=PLAIN),
)
DOSES = {"none": 0, "few": 100, "many": 500, "other": 500}


@pytest.fixture(scope="module")
def dosed(fabricate):
    """A study whose rare classes lose 0.02 with each hundred images while the others gain 0.01."""
    facts = fabricate.study(regimens=(1.0,), arms=ARMS, epochs=2)
    trials = facts.trials.assign(n_added=facts.trials.arm.map(DOSES).astype(float))
    scores = facts.class_scores.copy()
    fresh = trials.index[trials.stage == "replicate"]
    for row in fresh:
        dose, draw, seed = DOSES[trials.arm[row]] / 100, trials.draw[row], trials.replicate[row]
        for name in scores.columns:
            rare = name in facts.design.minority
            slope = -0.02 - 0.001 * draw if rare else 0.01 + 0.001 * draw
            scores.loc[row, name] = 0.7 + 0.02 * draw + 0.001 * seed + slope * dose
    made = pd.DataFrame(np.nan, index=scores.index, columns=scores.columns)
    taught = fresh[trials.arm[fresh] != "none"]
    made.loc[taught, list(facts.design.minority)] = 0.99
    return dataclasses.replace(facts, trials=trials, class_scores=scores, made_scores=made)


def test_accuracy_of_a_side_weighs_classes_by_their_test_images(dosed):
    counts = dosed.counts.copy()
    first = dosed.design.minority[0]
    mine = (counts.role == "test") & (counts.class_name == first)
    counts.loc[mine, "images"] *= 3
    scores = dosed.class_scores.copy()
    scores[first] = 0.9
    scores[dosed.design.minority[1]] = 0.5
    facts = dataclasses.replace(dosed, counts=counts, class_scores=scores)
    table = sides.sides(facts)
    assert set(table.scope) == set(sides.SIDES)
    assert set(table.metric) == {"accuracy"}
    rare = table[table.scope == sides.MINORITY].value
    assert rare.to_numpy() == pytest.approx((3 * 0.9 + 0.5) / 4)


def test_sides_of_several_labels_are_plain_means_of_the_metric(dosed):
    design = dataclasses.replace(dosed.design, multi_label=True, class_metric="auc")
    table = sides.sides(dataclasses.replace(dosed, design=design))
    assert set(table.metric) == {"auc"}
    one = table[(table.scope == sides.ALL) & (table.arm == "none") & (table.replicate == 0)]
    assert one.value.item() == pytest.approx(dosed.class_scores.loc[one_row(dosed)].mean())


def one_row(facts):
    trials = tables.reported_trials(facts)
    return trials.index[(trials.arm == "none") & (trials.replicate == 0)][0]


def test_a_study_without_others_has_no_sides(dosed):
    design = dataclasses.replace(dosed.design, minority=dosed.design.classes)
    assert sides.sides(dataclasses.replace(dosed, design=design)).empty


def test_arms_that_share_a_source_are_doses_of_it_with_the_baseline_as_none(dosed):
    assert sides.series(dosed) == [("none", "few", "many")]
    odd = dataclasses.replace(ARMS[0], treatment='{"sampler":"balanced"}')
    design = dataclasses.replace(dosed.design, arms=(odd, *ARMS[1:]))
    assert sides.series(dataclasses.replace(dosed, design=design)) == [("few", "many")]


def test_the_hypothesis_is_tested_as_a_trend_within_draws(dosed):
    followed = pd.concat([sides.sides(dosed), sides.learned(dosed)])
    found = {item.hypothesis.side: item for item in sides.dose_trends(dosed, followed)}
    rare, common, gap = (found[side] for side in (sides.MINORITY, sides.MAJORITY, sides.GAP))
    assert rare.doses == (0.0, 100.0, 500.0)
    assert gap.doses == (100.0, 500.0), "without made images there is no gap"
    assert 100 * rare.test.slope == pytest.approx(-0.021)
    assert 100 * common.test.slope == pytest.approx(0.011)
    assert 100 * gap.test.slope == pytest.approx(0.021)
    assert (rare.unit, rare.test.n) == ("draw", 3)
    assert max(item.p_supposed for item in found.values()) < 0.01
    table = sides.dose_table(dosed, list(found.values()))
    assert list(table.supposed) == ["falls", "rises", "rises"]
    ((title, words),) = sides.dose_sentences(dosed, list(found.values()))
    assert title == "few and many"
    assert all("borne out" in sentence for sentence in words)


def test_a_gap_is_told_of_recall_alone(dosed):
    """An area under a curve sets images against the others of their set."""
    design = dataclasses.replace(dosed.design, class_metric="auc")
    assert sides.learned(dataclasses.replace(dosed, design=design)).empty
    assert len(sides.learned(dosed)) == 3 * 6


def test_seeds_of_one_draw_are_said_to_be_that(dosed):
    design = dataclasses.replace(dosed.design, draws=1)
    facts = dataclasses.replace(dosed, design=design, trials=dosed.trials.assign(draw=0))
    counts = facts.counts[facts.counts.draw == 0]
    facts = dataclasses.replace(facts, counts=counts)
    ((_, words),) = sides.dose_sentences(facts, sides.dose_trends(facts, sides.sides(facts)))
    assert all("of one draw, so that only seeds vary" in sentence for sentence in words)


def test_stamps_stand_beside_doses_and_sides(dosed):
    stamped = dosed.trials.assign(
        stamps=np.where(dosed.trials.arm == "many", "PRIVILEGED", dosed.trials.stamps)
    )
    facts = dataclasses.replace(dosed, trials=stamped)
    table = sides.dose_table(facts, sides.dose_trends(facts, sides.sides(facts)))
    assert all("PRIVILEGED" in text for text in table.stamps)
    marks = sides.stamps_view(facts)
    assert marks["100 % of the training set", "many"] == ["PRIVILEGED"]
    assert marks["100 % of the training set", "few"] == []


def test_sides_that_nobody_knows_are_not_drawn(dosed):
    """Where each class chooses for itself, the others have no scores."""
    scores = dosed.class_scores.copy()
    scores[list(sides.majority(dosed))] = np.nan
    facts = dataclasses.replace(
        dosed, class_scores=scores, design=dataclasses.replace(dosed.design, class_metric="auc")
    )
    table = sides.sides(facts)
    panels = side_panels(facts, table, tables.results_table(facts, table))
    assert [panel.slug for panel in panels] == ["sides-minority"]


def test_what_goes_the_other_way_is_said_so_and_what_cannot_be_told_too(dosed):
    scores = 1.4 - dosed.class_scores
    followed = sides.sides(dataclasses.replace(dosed, class_scores=scores))
    found = sides.dose_trends(dosed, followed)
    ((_, words),) = sides.dose_sentences(dosed, found)
    assert all("the contrary is seen" in sentence for sentence in words)
    flat = followed.assign(value=np.random.default_rng(3).normal(0.7, 0.05, len(followed)))
    ((_, words),) = sides.dose_sentences(dosed, sides.dose_trends(dosed, flat))
    assert all("not shown" in sentence for sentence in words)
    single = sides.dose_trends(dosed, followed[followed.draw == 0])
    assert math.isnan(single[0].test.low)
    ((_, words),) = sides.dose_sentences(dosed, single)
    assert "cannot be told, an interval needs two blocks" in words[0]


def test_the_posts_figure_has_a_panel_for_each_side_with_one_spread(dosed):
    table = sides.sides(dosed)
    means = tables.results_table(dosed, table)
    panels = side_panels(dosed, table, means)
    assert [panel.slug for panel in panels] == ["sides-all", "sides-minority", "sides-majority"]
    (axes,) = panels[1].figure.axes
    bars = [c for container in axes.containers for c in container.lines[2]]
    widths = {round(np.ptp(bar.get_segments()[0][:, 0]), 6) for bar in bars}
    draws = table[table.scope == "minority"].groupby(["arm", "draw"]).value.mean()
    groups = [part.to_numpy() for _, part in draws.groupby("arm")]
    square = sum(((g - g.mean()) ** 2).sum() for g in groups)
    pooled = math.sqrt(square / sum(len(g) - 1 for g in groups))
    assert widths == {round(2 * pooled, 6)}, "the post's divisor, and the same bar for every arm"


def test_the_page_view_shows_mean_spread_and_difference(dosed):
    table = sides.sides(dosed)
    means, apart = tables.results_table(dosed, table), inference.differences_table(dosed, table)
    ((_, rows),) = sides.sides_view(dosed, means, apart)
    cells = dict(rows)
    assert cells["none"][1].difference == ""
    assert " ± " in cells["none"][1].value
    assert cells["many"][1].mark == "lower"
    assert cells["many"][2].mark == "higher"


def test_doses_are_drawn_with_a_line_for_each_side(dosed):
    followed = pd.concat([sides.sides(dosed), sides.learned(dosed)])
    (panel,) = dose_panels(dosed, followed, sides.dose_trends(dosed, followed))
    (axes,) = panel.figure.axes
    assert len(axes.lines) == 3 * (3 + 1), "three draws and their mean for each of three scores"
    assert "minority: 0 images 0.723, 100 images 0.701" in panel.alt
