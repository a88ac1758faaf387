"""Quality beside gain: decided on validation, told on test."""

import dataclasses

import numpy as np
import pandas as pd
import pytest

from synthtrial.report import gain
from synthtrial.report.columns import QUALITY_COLUMNS, empty
from synthtrial.report.facts import ArmFacts
from synthtrial.report.inference import differences_table
from synthtrial.report.sides import sides
from synthtrial.report.sides_figure import quality_panels

ARMS = tuple(
    ArmFacts(name, name, synthetic=name != "none", images="" if name == "none" else name)
    for name in ("none", "early", "middle", "late")
)
WORTH = {"none": 0.0, "early": -0.05, "middle": 0.1, "late": 0.2}
RECOGNISED = {"early": 0.2, "middle": 0.6, "late": 0.9}


@pytest.fixture(scope="module")
def rated(fabricate):
    """A study in which better images gain more on validation, and half of that on test."""
    facts = fabricate.study(regimens=(1.0,), arms=ARMS, epochs=2)
    trials, random = facts.trials, np.random.default_rng(0)
    valid, test = facts.class_scores.copy(), facts.class_scores.copy()
    for row in trials.index[trials.stage == "replicate"]:
        for scores, share in ((valid, 1.0), (test, 0.5)):
            level = 0.5 + 0.02 * trials.draw[row] + share * WORTH[trials.arm[row]]
            scores.loc[row] = level + random.normal(0, 0.004, len(scores.columns))
    rows = []
    for arm, share in RECOGNISED.items():
        for draw in range(facts.design.draws):
            for name in facts.design.minority:
                row = dict.fromkeys(QUALITY_COLUMNS, 0.5) | {
                    "undefined": "{}",
                    "arms": arm,
                    "regimen": 1.0,
                    "draw": draw,
                    "class_name": name,
                    "recognisability_relative": share + 0.01 * draw,
                    "kernel_distance": 1 - share,
                    "coverage_relative": np.nan,
                }
                rows.append(row)
    quality = empty(QUALITY_COLUMNS)
    quality = type(quality)(rows, columns=list(QUALITY_COLUMNS))
    return dataclasses.replace(facts, class_scores=test, validation_scores=valid, quality=quality)


def test_gains_stand_beside_quality_for_each_arm_and_draw(rated):
    table = gain.gain_table(rated)
    assert len(table) == 3 * 3
    assert list(dict.fromkeys(table.arm)) == ["early", "middle", "late"]
    means = table.groupby("arm")[["validation_gain", "test_gain"]].mean()
    for arm in RECOGNISED:
        assert means.validation_gain[arm] == pytest.approx(WORTH[arm], abs=0.01)
        assert means.test_gain[arm] == pytest.approx(WORTH[arm] / 2, abs=0.01)


def test_quality_that_was_not_measured_has_no_table(rated):
    facts = dataclasses.replace(rated, quality=empty(QUALITY_COLUMNS))
    assert gain.gain_table(facts).empty
    assert gain.gain_sentences(facts, gain.gain_table(facts)) == []


def test_ranks_are_correlated_within_draws_and_averaged(rated):
    found = {item.figure: item for item in gain.correlations(gain.gain_table(rated), 0.95)}
    better, worse = found["recognisability_relative"], found["kernel_distance"]
    assert better.rho == 1.0
    assert np.isnan([better.low, better.high]).all(), "three draws that agree are no proof"
    assert (worse.rho, worse.draws, worse.arms) == (-1.0, 3, 3)
    assert found["coverage_relative"].draws == 0, "undefined figures are left out"
    assert found["diversity"].draws == 0, "what is the same everywhere has no ranks"


def test_validation_decides_and_test_says_what_that_was_worth(rated):
    words = gain.gain_sentences(rated, gain.gain_table(rated))
    assert words[0].startswith("On validation late gains most over none")
    apart = differences_table(rated, sides(rated, "test"))
    late = apart[(apart.arm == "late") & (apart.scope == "minority")].iloc[0]
    ends = f"{late.joint_low:+.3f} to {late.joint_high:+.3f}"
    assert f"on test its gain is {late.difference:+.3f}, {ends}" in words[0], "of all arms at once"
    assert late.joint_high - late.joint_low > 1.1 * (late.high - late.low)
    assert "Clear of zero on validation are middle and late" in words[1]
    assert "recognised 0.61" in words[1], "the lowest of those that help, not of the best"
    assert "kernel distance 0.4" in words[1]
    assert "recognised +1.00" in words[2]


def test_an_arm_that_is_clear_of_zero_alone_but_not_among_all_is_not_called_enough(rated):
    trials = rated.trials
    valid = rated.validation_scores.copy()
    level = 0.5 + 0.02 * trials.draw
    level += (trials.arm == "middle") * (0.02 + 0.006 * (trials.draw - 1))
    valid[:] = level.to_numpy(dtype=float)[:, None]
    facts = dataclasses.replace(rated, validation_scores=valid)
    apart = differences_table(facts, sides(facts, "validation"))
    middle = apart[(apart.arm == "middle") & (apart.scope == "minority")].iloc[0]
    assert middle.low > 0, "alone it is"
    words = gain.gain_sentences(facts, gain.gain_table(facts))
    assert "No arm's gain on validation is clear of zero" in words[1]


def test_quality_that_helps_nobody_is_not_called_enough(rated):
    worse = rated.validation_scores.copy()
    made = rated.trials.arm != "none"
    worse[made] -= 0.4
    facts = dataclasses.replace(rated, validation_scores=worse)
    words = gain.gain_sentences(facts, gain.gain_table(facts))
    assert "No arm's gain on validation is clear of zero" in words[1]


def test_each_figure_is_drawn_with_a_point_for_each_arm_and_draw(rated):
    panels = quality_panels(rated, gain.gain_table(rated))
    assert [panel.slug for panel in panels] == [
        "gain-by-recognisability_relative",
        "gain-by-kernel_distance",
        "gain-by-diversity",
    ]
    (axes,) = panels[0].figure.axes
    assert [len(line.get_xdata()) for line in axes.lines[1:]] == [3, 3, 3]


def test_without_gains_on_validation_there_is_nothing_to_decide_by(rated):
    facts = dataclasses.replace(rated, validation_scores=rated.validation_scores * np.nan)
    assert gain.gain_table(facts).empty


def test_images_with_shuffled_labels_are_no_evidence_about_quality(rated):
    arms = tuple(dataclasses.replace(a, shuffled=a.name == "late") for a in ARMS)
    facts = dataclasses.replace(rated, design=dataclasses.replace(rated.design, arms=arms))
    assert set(gain.gain_table(facts).arm) == {"early", "middle"}


def test_regimens_are_told_apart(rated):
    """In words and in the table; a mean over them would be of nothing."""
    halves = [frame.assign(regimen=0.5) for frame in (rated.trials, rated.quality)]
    trials, quality = (
        pd.concat([whole, half], ignore_index=True)
        for whole, half in zip((rated.trials, rated.quality), halves, strict=True)
    )
    scores = {
        name: pd.concat([getattr(rated, name)] * 2, ignore_index=True)
        for name in ("class_scores", "validation_scores")
    }
    design = dataclasses.replace(rated.design, regimens=(0.5, 1.0))
    facts = dataclasses.replace(rated, design=design, trials=trials, quality=quality, **scores)
    table = gain.gain_table(facts)
    words = gain.gain_sentences(facts, table)
    assert sum(sentence.startswith("At 50 %: ") for sentence in words) == 1
    assert sum(sentence.startswith("At 100 %: ") for sentence in words) == 1
    assert {(arm, place) for arm, place, _, _ in gain.gain_view(table)} == {
        (arm, place) for arm in RECOGNISED for place in ("50 %", "100 %")
    }
