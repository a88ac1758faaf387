from __future__ import annotations

from pathlib import Path

import pytest

from synthtrial.plan import build
from synthtrial.store.artifacts import open_store
from synthtrial.study import load
from synthtrial.why import reasons


@pytest.fixture
def explain(finished_study):
    overrides, _ = finished_study

    def run(*more):
        study = load("digits", [*overrides, *more])
        store = open_store(Path(study.settings.store.path), create=False)
        return reasons(build(study, store), store)

    return run


def test_nothing_is_to_do_for_the_study_that_ran(explain):
    assert explain() == {}


def test_a_setting_is_named_with_both_values_and_only_where_it_matters(explain):
    found = explain("training.epochs=3")
    assert found == {
        ("trial", "trial.training.epochs: 2 -> 3"): 20,
        ("select", "trial.training.epochs: 2 -> 3"): 10,
    }


def test_a_difference_from_upstream_is_named_where_it_arose(explain):
    found = explain("gan_training.steps=4")
    assert set(found) == {
        (kind, "train_gan.training.steps: 3 -> 4")
        for kind in ("train_gan", "synthesize", "trial", "select", "exhibits")
    }


def test_a_default_is_called_one(explain):
    assert ("trial", "trial.training.weight_decay: default -> 0.1") in explain(
        "training.weight_decay=0.1"
    )


def test_what_the_study_never_had_was_never_run(explain):
    found = explain("arms.extra.sampler=balanced")
    assert set(found) == {
        ("trial", "never run in this store"),
        ("select", "never run in this store"),
    }
