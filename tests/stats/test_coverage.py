"""What the statistics say is true of simulated studies as often as it should be.

`make coverage` has more. A share ``p`` of ``n`` studies varies by ``sqrt(p (1 - p) / n)`` (one
standard error): the bounds are some three of these, and beside most stands a rule that must fail.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest

from synthtrial.stats.sequential import blocks_needed, stein_interval
from synthtrial.testing.simulated import (
    MEANS,
    PRIMARY_QUESTIONS,
    RIVAL_STUDIES,
    SCENARIOS,
    WHOLE_STUDIES,
)
from synthtrial.testing.simulated_inference import (
    differences,
    equivalent,
    mean_interval,
    other_images,
    picked_rival,
    primary_question,
    until_narrow,
    whole_study,
)
from synthtrial.testing.simulated_logits import FEW_SEEDS, LOGIT_SCENARIOS

STUDIES = 120
FEW_BLOCKS = [name for name in SCENARIOS if name.startswith("three draws")]


def reach(share: float, studies: int) -> float:
    """Three standard errors of a share."""
    return 3.0 * math.sqrt(share * (1.0 - share) / studies)


@pytest.mark.parametrize("name", list(SCENARIOS))
def test_intervals_hold_the_truth_and_families_err_as_often_as_they_say(name):
    studies = 400 if name in FEW_BLOCKS else STUDIES  # which take no time
    found = differences(SCENARIOS[name], studies, seed=7)
    assert found.interval == pytest.approx(0.95, abs=reach(0.95, studies))
    assert found.joint == pytest.approx(0.95, abs=reach(0.95, studies))
    assert found.interval < 1
    assert 0 < found.family_error < 0.05 + reach(0.05, studies)


@pytest.mark.parametrize("name", ["a generator each", "three draws, generators differ"])
def test_one_spread_for_all_arms_does_not_hold_where_generators_differ(name):
    """Why differences have spreads of their own: the same studies, judged by a pooled one."""
    assert differences(SCENARIOS[name], 400, seed=7, spread="pooled").interval < 0.91


@pytest.mark.parametrize("name", list(WHOLE_STUDIES))
def test_a_study_with_many_questions_errs_as_seldom_as_it_says(name):
    found = whole_study(WHOLE_STUDIES[name], STUDIES, seed=7)
    assert found.corrected < 0.05 + reach(0.05, STUDIES)
    assert found.uncorrected > 0.13, "without Holm's steps a difference is told far too often"


def test_a_study_whose_questions_are_one_errs_as_often_as_its_family():
    """So that an error which never happens would be seen."""
    one = dataclasses.replace(WHOLE_STUDIES["3 draws, no arm does anything"], regimens=1, targets=1)
    found = whole_study(one, 600, seed=7)
    assert found.corrected == found.uncorrected == pytest.approx(0.05, abs=reach(0.05, 600))


@pytest.mark.parametrize("name", list(PRIMARY_QUESTIONS))
def test_the_primary_question_errs_as_seldom_as_it_says_over_its_regimens(name):
    found = primary_question(PRIMARY_QUESTIONS[name], 600, seed=7)
    assert found.corrected == pytest.approx(0.05, abs=reach(0.05, 600))
    idle = 2 if "helps" in name else 4
    once = 1 - 0.95**idle  # of so many independent questions at 5 % each
    assert found.uncorrected == pytest.approx(once, abs=reach(once, 600))


@pytest.mark.parametrize("name", list(RIVAL_STUDIES))
def test_the_best_rival_may_be_picked_by_its_scores(name):
    found = picked_rival(RIVAL_STUDIES[name], STUDIES, seed=7)
    assert 0 < found.corrected < 0.05 + reach(0.05, STUDIES)
    assert found.uncorrected > max(0.05, 2 * found.corrected), "by the picked pair alone, too often"


@pytest.mark.parametrize("name", list(MEANS))
def test_intervals_of_means_hold_them_at_least_as_often_as_they_say(name):
    found = mean_interval(MEANS[name], 1000, seed=7)
    assert 0.95 - reach(0.95, 1000) < found.shared < 0.985
    assert found.summed <= found.shared
    assert found.own == pytest.approx(0.95, abs=reach(0.95, 1000))
    if name.startswith("3 draws"):
        assert found.summed < 0.91, "arms that share draws are no independent groups"


def test_the_mean_of_an_arm_whose_generators_differ_needs_its_own_spread():
    found = mean_interval(SCENARIOS["a generator each"], 1000, seed=7, arm="gan")
    assert found.own == pytest.approx(0.95, abs=reach(0.95, 1000))
    assert found.shared < 0.95 - reach(0.95, 1000)


@pytest.mark.parametrize(
    ("name", "margin"), [("a generator each", 0.03), ("three draws, generators differ", 0.2)]
)
def test_arms_that_differ_by_the_margin_are_seldom_called_equivalent(name, margin):
    found = equivalent(SCENARIOS[name], margin, 600, seed=7)
    assert found.at_margin == pytest.approx(0.05, abs=reach(0.05, 600))
    assert found.shown_at_margin == pytest.approx(0.025, abs=reach(0.025, 600))
    assert found.shown_at_zero > 0.5


@pytest.mark.parametrize("name", list(LOGIT_SCENARIOS))
def test_intervals_over_seeds_and_test_sets_hold_the_truth(name):
    found = other_images(LOGIT_SCENARIOS[name], 250, seed=7)
    assert found.both == pytest.approx(0.95, abs=reach(0.95, 250))
    assert found.both < 1
    assert found.seeds_alone < 0.9, "seeds know nothing of other test images"


@pytest.mark.parametrize("name", list(FEW_SEEDS))
def test_intervals_of_few_seeds_hold_the_truth_at_least_as_often_as_they_say(name):
    found = other_images(FEW_SEEDS[name], 400, seed=7)
    assert 0.95 - reach(0.95, 400) < found.both < 1
    assert found.seeds_alone <= found.both, "no interval of both sources is the narrower"


def test_intervals_over_resampled_test_sets_hold_the_truth():
    found = other_images(LOGIT_SCENARIOS["6 seeds, 120 patients"], 100, seed=7, bootstrap=True)
    assert 0.95 - reach(0.95, 100) < found.both < 1
    assert found.seeds_alone < 0.85


def test_adding_replicates_by_steins_rule_takes_blocks_and_keeps_the_coverage():
    found = until_narrow(SCENARIOS["a generator each"], 300, seed=7)
    assert 0.95 - reach(0.95, 300) < found.stein < 1
    assert 10 < found.naive_blocks < found.stein_blocks < 40


def test_choosing_the_number_of_blocks_by_steins_rule_keeps_the_coverage():
    random, held, studies = np.random.default_rng(3), 0, 2000
    for _ in range(studies):
        delta = random.normal(0.0, 1.0, 400)
        n = min(blocks_needed(delta[:10], 0.9), 400)
        found = stein_interval(delta[:n], 10)
        held += found.low <= 0 <= found.high
    assert 0.937 < held / studies < 0.962
