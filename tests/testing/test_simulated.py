"""The truth of simulated studies is what very many or very large ones show."""

from __future__ import annotations

import math

import numpy as np
import pytest

from synthtrial.stats.influence import auc_influence, grouping
from synthtrial.testing.simulated import ARMS, SCENARIOS, Simulation, WholeStudy
from synthtrial.testing.simulated_logits import VARIANCES, LogitSimulation


def test_scores_differ_by_what_is_said_on_average_and_generators_by_their_own():
    simulation = Simulation(4000, 8000, effects=(0.1, 0.2, 0.1, 0.3, 0.0), generator_deviation=0.06)
    table, truth = simulation.run(np.random.default_rng(0))
    delta_BA = table.values_BA - table.values_BA[:, :1]
    assert truth == pytest.approx(dict(zip(ARMS, (0.0, 0.1, 0.0, 0.2, -0.1), strict=True)))
    assert delta_BA.mean(axis=0) == pytest.approx(list(truth.values()), abs=0.004)
    seeds = 2 * 0.02**2 / 2  # of both arms, over the two replicates of a draw
    assert delta_BA[:, 1].std() == pytest.approx(math.sqrt(seeds + 0.06**2), rel=0.05)
    assert delta_BA[:, 2].std() == pytest.approx(math.sqrt(seeds), rel=0.05)


def test_the_only_generator_of_a_study_is_a_part_of_its_truth():
    simulation = Simulation(1, 20_000, generator_deviation=0.5)
    table, truth = simulation.run(np.random.default_rng(1))
    assert abs(truth["gan"]) > 0.05
    assert (table.values_BA[:, 1] - table.values_BA[:, 0]).mean() == pytest.approx(
        truth["gan"], abs=0.001
    )
    assert (simulation.varying, SCENARIOS["several generators"].varying) == ((), ("gan",))


def test_each_arm_with_made_images_has_generators_of_its_own():
    arms = ("none", "gan", "standard", "class_weights", "gan2")
    made = {"arms": arms, "made": ("gan", "gan2"), "generator_deviation": 0.5}
    table, _ = Simulation(4000, 4000, **made).run(np.random.default_rng(5))
    delta_BA = table.values_BA - table.values_BA[:, :1]
    assert delta_BA.std(axis=0)[[1, 2, 3, 4]] == pytest.approx([0.5, 0.028, 0.028, 0.5], rel=0.05)
    assert np.corrcoef(delta_BA[:, 1], delta_BA[:, 4])[0, 1] == pytest.approx(0.0, abs=0.05)
    table, truth = Simulation(1, 20_000, **made).run(np.random.default_rng(6))
    assert table.values_BA.mean(axis=0) - table.values_BA[:, 0].mean() == pytest.approx(
        [truth[arm] for arm in arms], abs=0.001
    )
    assert abs(truth["gan"] - truth["gan2"]) > 0.05


def test_targets_of_a_training_go_together_and_its_regimens_do_not():
    whole = WholeStudy(
        SCENARIOS["a generator each"], regimens=2, helped_arms=("gan",), helped_regimens=1
    )
    random = np.random.default_rng(2)
    studies = [{place[:2]: place[2] for place in whole.run(random)} for _ in range(400)]
    assert list(studies[0]) == [(0, 0), (0, 1), (1, 0), (1, 1)]
    delta = {
        place: np.concatenate([study[place][:, 1] - study[place][:, 0] for study in studies])
        for place in studies[0]
    }
    assert np.corrcoef(delta[0, 0], delta[0, 1])[0, 1] == pytest.approx(0.7, abs=0.03)
    assert np.corrcoef(delta[0, 0], delta[1, 0])[0, 1] == pytest.approx(0.0, abs=0.05)
    means = [delta[place].mean() for place in studies[0]]
    assert means == pytest.approx([0.2, 0.2, 0.0, 0.0], abs=0.003)


def test_areas_on_a_very_large_test_set_are_those_of_the_binormal_model():
    simulation = LogitSimulation(replicates=100, patients=4000, seed_deviation=0.6)
    judged = simulation.run(np.random.default_rng(3))
    logits_NR = judged.logits_NRA.reshape(judged.targets_N.size, -1)
    found = auc_influence(logits_NR, judged.targets_N[:, None], grouping(judged.groups_N))
    areas_RA = found.estimates_R.reshape(-1, 2)
    error = (areas_RA[:, 1] - areas_RA[:, 0]).std() / 10
    assert simulation.truth == pytest.approx(0.0527, abs=0.001)
    assert (areas_RA[:, 1] - areas_RA[:, 0]).mean() == pytest.approx(
        simulation.truth, abs=3 * error
    )


def test_images_of_a_patient_and_arms_of_an_image_go_together_as_said():
    simulation = LogitSimulation(2, patients=20_000, images=(2, 2), separations=(0.0, 0.0))
    judged = simulation.run(np.random.default_rng(4))
    logits_NC = judged.logits_NRA.reshape(40_000, 4)[judged.targets_N == 0]
    patient, with_arm, image, image_arm, _ = VARIANCES
    found = np.corrcoef(logits_NC.T)
    assert sum(VARIANCES) == pytest.approx(1.0)
    assert found[0, 1] == pytest.approx(patient + image, abs=0.02)  # arms of a seed
    assert found[0, 2] == pytest.approx(patient + with_arm + image + image_arm, abs=0.02)  # seeds
    first, second = judged.logits_NRA[::2, 0, 0], judged.logits_NRA[1::2, 0, 0]
    healthy = (judged.targets_N[::2] == 0) & (judged.targets_N[1::2] == 0)
    assert np.corrcoef(first[healthy], second[healthy])[0, 1] == pytest.approx(
        patient + with_arm, abs=0.03
    )
    assert np.all(judged.groups_N[::2] == judged.groups_N[1::2])
