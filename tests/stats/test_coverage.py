"""Intervals hold the truth of simulated studies as often as they say; `make coverage` has more.

With 120 studies a share of .95 varies by .02 (one standard error): the bounds are three of these.
"""

from __future__ import annotations

import numpy as np
import pytest

from synthtrial.stats.contrasts import with_baseline
from synthtrial.stats.sequential import blocks_needed, stein_interval
from synthtrial.testing.simulated import SCENARIOS

STUDIES = 120


@pytest.mark.parametrize("name", list(SCENARIOS))
def test_intervals_hold_the_truth_and_families_err_as_often_as_they_say(name):
    random, held, alarms = np.random.default_rng(7), 0, 0
    for _ in range(STUDIES):
        table, truth = SCENARIOS[name].run(random)
        moved = table.values_BA - np.array([truth[arm] for arm in table.arms])
        found = with_baseline(moved, table.arms, "none")
        held += sum(c.low <= 0 <= c.high for c in found if c.arm == "gan")
        alarms += min(c.p_adjusted for c in found) < 0.05
    assert 0.89 < held / STUDIES < 1.0
    assert 0.0 < alarms / STUDIES < 0.11


def test_one_spread_for_all_arms_does_not_hold_where_generators_differ():
    """Why differences have spreads of their own: the same studies, judged by a pooled one."""
    random, held = np.random.default_rng(7), 0
    for _ in range(STUDIES):
        table, truth = SCENARIOS["a generator each"].run(random)
        found = with_baseline(table.values_BA, table.arms, "none", spread="pooled")
        held += sum(c.low <= truth["gan"] <= c.high for c in found if c.arm == "gan")
    assert held / STUDIES < 0.91


def test_choosing_the_number_of_blocks_by_steins_rule_keeps_the_coverage():
    random, held, studies = np.random.default_rng(3), 0, 2000
    for _ in range(studies):
        delta = random.normal(0.0, 1.0, 400)
        n = min(blocks_needed(delta[:10], 0.9), 400)
        found = stein_interval(delta[:n], 10)
        held += found.low <= 0 <= found.high
    assert 0.937 < held / studies < 0.962
