from __future__ import annotations

import numpy as np
import pytest
from statsmodels.stats.multitest import multipletests

from synthtrial.stats.multiplicity import holm


def test_families_of_one_are_holms_procedure():
    for seed in range(20):
        p = np.random.default_rng(seed).random(12) ** 3
        assert holm(p) == pytest.approx(multipletests(p, method="holm")[1])


def test_a_family_counts_once_while_any_of_its_questions_is_open():
    p, families = [0.001, 0.004, 0.02, 0.3], ["a", "b", "a", "b"]
    assert holm(p, families) == pytest.approx([0.002, 0.008, 0.04, 0.3])


def test_one_family_is_left_as_it_is():
    assert holm([0.2, 0.01, 0.03], ["a"] * 3) == pytest.approx([0.2, 0.01, 0.03])


def test_what_cannot_be_asked_counts_for_nothing():
    found = holm([0.01, np.nan, 0.02])
    assert found[[0, 2]] == pytest.approx([0.02, 0.02])
    assert np.isnan(found[1])


def test_false_alarms_of_dependent_families_stay_rare():
    """Two families of three true hypotheses each, all correlated: at most 5 % err anywhere."""
    from scipy.stats import norm

    random, alarms, n = np.random.default_rng(0), 0, 4000
    for _ in range(n):
        z = random.normal() * 0.7 + random.normal(size=(2, 3)) * 0.7
        p = 2 * norm.sf(np.abs(z) / np.hypot(0.7, 0.7))
        within = np.minimum(3 * p, 1)
        alarms += holm(within.ravel(), [0, 0, 0, 1, 1, 1]).min() < 0.05
    assert alarms / n < 0.05


def test_a_p_value_above_one_is_refused():
    with pytest.raises(ValueError, match="between 0 and 1"):
        holm([0.5, 1.2])
