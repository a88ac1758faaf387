from __future__ import annotations

from types import SimpleNamespace

import pytest

from synthtrial.errors import TrainingError
from synthtrial.store.artifacts import open_store, read_artifact
from synthtrial.store.records import RecordWriter
from synthtrial.work.select import select


@pytest.fixture
def choose(tmp_path):
    """Choose among fabricated grid trials, given as (configuration, status, recalls)."""

    def run(*trials):
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
            },
        )
        select(task, SimpleNamespace(store=store))
        return read_artifact(store, "selection", "s1").info["configuration"]

    return run


def test_the_best_mean_over_classes_wins(choose):
    best = choose(
        ('{"rate":1}', "done", {"8": 0.9, "9": 0.1}),
        ('{"rate":2}', "done", {"8": 0.6, "9": 0.6}),
    )
    assert best == {"rate": 2}


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
