"""Ten thousand trials in one store: answers stay right, and files stay few."""

from __future__ import annotations

import json
import os
import sys

import numpy as np
import pandas as pd
import pytest

from synthtrial import cli
from synthtrial.plan import build
from synthtrial.report import tables
from synthtrial.report.sources import gather
from synthtrial.store.artifacts import draft, open_store
from synthtrial.store.files import files_under
from synthtrial.store.records import RecordWriter, compact, read_records
from synthtrial.study import load

REPLICATES = 482  # 5 arms x 4 regimens x (18 configurations + 482 replicates) = 10,000 trials
WRITERS = 25  # as if so many workers had come and gone
MISSING = 3  # trials that never ran
DIVERGED = 40


def accuracy(trial):
    """A score whose means are known: depends on arm, regimen and replicate, by hand."""
    arms = ["none", "standard", "gan", "class_weights", "oversample_matched"]
    return 0.5 + 0.1 * trial.regimen + 0.01 * arms.index(trial.arm) + 0.0001 * trial.replicate


def record(trial, status):
    classes = [str(digit) for digit in range(10)]
    value = accuracy(trial)
    measured = {"accuracy": value, "recall": {c: value - 0.01 * int(c) for c in classes}}
    row = {
        "trial_id": trial.trial_id,
        "kind": "trial",
        "status": status,
        "attempt": 1,
        "study": "digits",
        "stage": trial.stage,
        "arm": trial.arm,
        "regimen": trial.regimen,
        "configuration": json.dumps(dict(trial.configuration), sort_keys=True),
        "draw": trial.draw,
        "replicate": trial.replicate,
        "steps": 100,
        "epochs": 2,
        "best_epoch": 2,
        "n_real": 500,
        "n_added": 0,
        "parameters": 1000,
        "curves": {
            "epoch": [1, 2],
            "train_loss": [1.0, 0.5],
            "validation_loss": [1.0, 0.6],
            "validation_score": [0.5, value],
        },
        "seconds": 1.0,
        "code_digest": "0" * 20,
        "stamps": ["GROUPS UNKNOWN"],
        "started_at": "2026-01-01T00:00:00+00:00",
    }
    if status == "done":
        row["validation"] = measured
        row["test"] = measured if trial.stage == "replicate" else None
    return row


@pytest.fixture(scope="module")
def overrides(tmp_path_factory):
    place = tmp_path_factory.mktemp("scale")
    return [
        "protocol.draws=3",
        f"protocol.replicates={REPLICATES}",
        f"store.path={place / 'store'}",
        f"store.report_path={place / 'reports'}",
    ]


@pytest.fixture(scope="module")
def filled(overrides):
    """A study of ten thousand trials, its store, the trials, and which were lost or diverged."""
    study = load("digits", overrides)
    store = open_store(study.settings.store.path)
    plan = build(study, None)
    for select in plan.selections.values():
        with draft(store, "selection", select, inputs={}) as made:
            made.info.update(configuration=dict(study.configurations[0]))
    trials = build(study, store).trials
    assert len(trials) == 10_000
    random = np.random.default_rng(0)
    order = random.permutation(len(trials))
    lost, diverged = set(order[:MISSING]), set(order[MISSING : MISSING + DIVERGED])
    with pytest.MonkeyPatch.context() as patch:  # twenty thousand flushes prove nothing here
        patch.setattr(os, "fsync", lambda _: None)
        patch.setattr("synthtrial.store.journal._sync", lambda _: None)
        for part in np.array_split(order[MISSING:], WRITERS):
            with RecordWriter(store) as writer:
                for i in part:
                    writer.append(record(trials[i], "diverged" if i in diverged else "done"))
    compact(store)
    return study, store, trials, lost, diverged


def test_the_store_holds_few_files(filled):
    _, store, *_ = filled
    assert read_records(store).num_rows == 10_000 - MISSING
    assert len(files_under(store.root)) < 200


def test_status_counts_every_trial(filled, overrides, monkeypatch, capsys):
    _, _, trials, lost, diverged = filled
    monkeypatch.setattr(sys, "argv", ["synthtrial", "status", "digits", *overrides, "--json"])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    assert not stop.value.code
    status = json.loads(capsys.readouterr().out)
    for stage in ("grid", "replicate"):
        mine = {i for i, trial in enumerate(trials) if trial.stage == stage}
        assert status["stages"][stage] == {
            "total": len(mine),
            "failed": len(mine & diverged),
            "done": len(mine - diverged - lost),
        }
    assert {failure["id"] for failure in status["failures"]} == {
        trials[i].trial_id for i in diverged
    }
    assert not status["complete"]


def test_the_tables_are_those_of_the_complete_blocks(filled):
    study, store, trials, lost, diverged = filled
    facts = gather(study, store, build(study, store))
    found = tables.results_table(facts)
    incomplete = {(trials[i].regimen, trials[i].replicate) for i in lost}
    rows = [
        (trial.regimen, trial.arm, trial.draw, accuracy(trial))
        for i, trial in enumerate(trials)
        if trial.stage == "replicate"
        and i not in lost | diverged
        and (trial.regimen, trial.replicate) not in incomplete
    ]
    kept = pd.DataFrame(rows, columns=["regimen", "arm", "draw", "value"])
    draws = kept.groupby(["regimen", "arm", "draw"]).value.mean()
    expected = draws.groupby(["regimen", "arm"]).agg(["mean"])  # draws count, not replicates
    expected["size"] = kept.groupby(["regimen", "arm"]).size()
    overall = found[found.scope == "overall"].set_index(["regimen", "arm"]).sort_index()
    np.testing.assert_allclose(overall["mean"], expected["mean"], rtol=1e-12)
    np.testing.assert_array_equal(overall["n"], expected["size"])
    nine = found[found.class_name == "9"].set_index(["regimen", "arm"]).sort_index()
    np.testing.assert_allclose(nine["mean"], expected["mean"] - 0.09, rtol=1e-12)
    assert set(overall[overall.best].index.get_level_values("arm")) == {"oversample_matched"}
    assert set(overall.df) <= {2, 3}, "arms go up and down with the three draws: 10 would be apart"
    assert overall.stamps.str.contains("GROUPS UNKNOWN").all()
