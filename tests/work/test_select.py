from __future__ import annotations

import json
from types import SimpleNamespace

import pytest

from synthtrial.errors import TrainingError
from synthtrial.store.artifacts import open_store, read_artifact
from synthtrial.store.records import RecordWriter
from synthtrial.work.select import select


@pytest.fixture
def selection(tmp_path):
    """Choose among fabricated grid trials, given as (configuration, status, recalls)."""

    def run(*trials, over=None):
        store = open_store(tmp_path / f"store-{len(list(tmp_path.iterdir()))}")
        with RecordWriter(store) as writer:
            for number, (configuration, status, recalls) in enumerate(trials):
                writer.append(
                    {
                        "trial_id": f"t{number}",
                        "kind": "trial",
                        "status": status,
                        "attempt": 1,
                        "configuration": configuration,
                        "validation": None if recalls is None else {"recall": recalls},
                    }
                )
        task = SimpleNamespace(
            id="s1",
            label="choose",
            payload={
                "select_by": "recall",
                "trials": [f"t{number}" for number in range(len(trials))],
                "cell": {"arm": "none", "regimen": 1.0, "replicate": None},
                **({"select_over": over} if over else {}),
            },
        )
        select(task, SimpleNamespace(store=store))
        return read_artifact(store, "selection", "s1")

    return run


@pytest.fixture
def choose(selection):
    return lambda *trials: selection(*trials).info["configuration"]


def test_the_best_mean_over_classes_wins(choose):
    best = choose(
        ('{"rate":1}', "done", {"8": 0.9, "9": 0.1}),
        ('{"rate":2}', "done", {"8": 0.6, "9": 0.6}),
    )
    assert best == {"rate": 2}


def test_the_mean_may_be_over_some_classes_or_over_one(selection):
    trials = (
        ('{"rate":1}', "done", {"7": 0.9, "8": 0.1, "9": 0.3}),
        ('{"rate":2}', "done", {"7": 0.1, "8": 0.4, "9": 0.2}),
        ('{"rate":3}', "done", {"7": 0.5, "8": 0.3, "9": 0.1}),
    )
    chosen = {
        over: selection(*trials, over=list(over)).info["configuration"]["rate"]
        for over in ("8", "9", "89")
    }
    assert chosen == {"8": 2, "9": 1, "89": 2}
    assert selection(*trials).info["configuration"] == {"rate": 1}


def test_undefined_classes_do_not_count(choose):
    best = choose(
        ('{"rate":1}', "done", {"8": 0.9, "9": None}),
        ('{"rate":2}', "done", {"8": 0.6, "9": 0.6}),
    )
    assert best == {"rate": 1}


def test_a_configuration_that_diverged_in_one_replicate_ranks_last(choose):
    best = choose(
        ('{"rate":1}', "done", {"8": 0.9}),
        ('{"rate":1}', "diverged", None),
        ('{"rate":2}', "done", {"8": 0.2}),
        ('{"rate":2}', "done", {"8": 0.2}),
    )
    assert best == {"rate": 2}


def test_equal_scores_go_to_the_first_in_canonical_order_whichever_ended_first(choose):
    trials = [('{"rate":2}', "done", {"8": 0.5}), ('{"rate":1}', "done", {"8": 0.5})]
    assert choose(*trials) == choose(*reversed(trials)) == {"rate": 1}


def test_a_cell_without_any_score_is_an_error_that_says_so(choose):
    with pytest.raises(TrainingError, match="none of its 2 trials has a validation recall"):
        choose(('{"rate":1}', "diverged", None), ('{"rate":2}', "failed", None))


def test_what_was_stopped_early_is_not_chosen_however_well_it_did(choose):
    best = choose(
        ('{"rate":1}', "stopped", {"8": 0.99}),
        ('{"rate":2}', "done", {"8": 0.2}),
        ('{"rate":3}', "done", {"8": 0.3}),
    )
    assert best == {"rate": 3}


def test_a_configuration_that_was_stopped_in_one_replicate_ranks_last(choose):
    best = choose(
        ('{"rate":1}', "done", {"8": 0.9}),
        ('{"rate":1}', "stopped", {"8": 0.9}),
        ('{"rate":2}', "done", {"8": 0.2}),
        ('{"rate":2}', "done", {"8": 0.2}),
    )
    assert best == {"rate": 2}


def test_the_ranking_says_which_were_stopped(selection):
    found = selection(
        ('{"rate":1}', "stopped", {"8": 0.9}),
        ('{"rate":2}', "done", {"8": 0.2}),
        ('{"rate":3}', "diverged", None),
    )
    assert json.loads(found.file("selection.json").read_bytes())["ranking"] == [
        {"configuration": {"rate": 2}, "score": 0.2},
        {"configuration": {"rate": 1}, "score": None, "stopped": 1},
        {"configuration": {"rate": 3}, "score": None},
    ]


def test_a_cell_in_which_none_was_trained_to_its_end_says_how_to_go_on(choose):
    with pytest.raises(TrainingError, match=r"2 of 3 trials were stopped early.*search=grid"):
        choose(
            ('{"rate":1}', "stopped", {"8": 0.9}),
            ('{"rate":2}', "stopped", {"8": 0.8}),
            ('{"rate":3}', "diverged", None),
        )
