"""Where each class chooses for itself, a replicate is one row, and each score its class's own."""

import dataclasses
import json

import numpy as np
import pandas as pd
import pytest

from synthtrial.identity import canonical_json
from synthtrial.plan import build
from synthtrial.report import tables
from synthtrial.report.columns import CURVE_COLUMNS, TRIAL_COLUMNS
from synthtrial.report.composite import compose, compose_curves
from synthtrial.report.description import describe
from synthtrial.report.facts import TIMES
from synthtrial.report.page import write_page
from synthtrial.report.parts import choices_view
from synthtrial.report.sources import gather
from synthtrial.report.verdict import study_paragraph
from synthtrial.store.artifacts import draft, open_store
from synthtrial.store.records_schema import to_table
from synthtrial.store.segments import write_segment
from synthtrial.study import load

FAST = (
    "regimens=[0.5,1.0]",
    "grid={learning_rate: [0.01, 0.001]}",
    "protocol.draws=2",
    "protocol.replicates=4",
    "protocol.select_by=recall",
    "protocol.select_over=per_class",
    "statistics.overall=recall",
)


def recall(trial):
    """Scores that tell the configuration, the replicate and the class."""
    level = 0.5 if trial.configuration["learning_rate"] == 0.01 else 0.8
    return {n: level + 0.01 * trial.replicate + 0.001 * int(n) for n in "0123456789"}


def record(trial, study, **changes):
    metrics = {"accuracy": 0.5, "recall": recall(trial)}
    curve = 1.0 if trial.configuration["learning_rate"] == 0.01 else 3.0
    return {
        "trial_id": trial.trial_id,
        "kind": "trial",
        "status": "done",
        "attempt": 1,
        "study": study.name,
        "configuration": canonical_json(trial.configuration),
        "validation": metrics,
        "test": metrics if trial.stage == "replicate" else None,
        "curves": {
            "epoch": [1, 2],
            "train_loss": [curve, curve],
            "validation_loss": [curve, 2 * curve],
            "validation_score": [0.1, 0.2],
        },
        "epochs": 2,
        "seconds": 10.0,
        "code_digest": "c0de",
        **changes,
    }


def fill(study, store, change=lambda trial: {}, choice=None):
    """Write records and choices: 8 takes the first configuration, 9 the second.

    Choices that ``choice`` returns None for are left open.
    """
    choice = choice or (lambda cell: 0 if cell.target == "8" else 1)
    trials = build(study, None).trials
    write_segment(store, "grid", to_table([record(t, study, **change(t)) for t in trials]))
    for cell, select in build(study, store).selections.items():
        if choice(cell) is not None:
            with draft(store, "selection", select, inputs={}) as made:
                made.info.update(configuration=dict(study.configurations[choice(cell)]))
    fresh = [t for t in build(study, store).trials if t.stage == "replicate"]
    write_segment(store, "fresh", to_table([record(t, study, **change(t)) for t in fresh]))
    return gather(study, store, build(study, store))


@pytest.fixture(scope="module")
def chosen(tmp_path_factory):
    study = load("digits", FAST)
    return fill(study, open_store(tmp_path_factory.mktemp("store")))


def replicates(facts):
    return facts.trials[facts.trials.stage == "replicate"]


def test_a_replicate_is_one_row_however_many_trainings_it_has(chosen):
    mine = replicates(chosen)
    assert len(mine) == 5 * 2 * 4
    assert not mine.duplicated(["arm", "regimen", "replicate"]).any()
    assert set(mine.status) == {"done"}
    assert tables.blocks_table(chosen).complete.all()
    assert set(tables.results_table(chosen)["n"]) == {4}


def test_the_score_of_a_class_is_that_of_the_training_chosen_for_it(chosen):
    mine = replicates(chosen).query("arm == 'gan' and regimen == 1.0").set_index("replicate")
    for replicate in range(4):
        scores = chosen.class_scores.loc[
            replicates(chosen)
            .query(f"arm == 'gan' and regimen == 1.0 and replicate == {replicate}")
            .index[0]
        ]
        assert scores["8"] == pytest.approx(0.508 + 0.01 * replicate)
        assert scores["9"] == pytest.approx(0.809 + 0.01 * replicate)
        assert scores.drop(["8", "9"]).isna().all()
        assert mine.overall[replicate] == pytest.approx((scores["8"] + scores["9"]) / 2)
        assert mine.validation[replicate] == pytest.approx((scores["8"] + scores["9"]) / 2)


def test_a_training_that_classes_share_is_counted_once(tmp_path):
    study = load("digits", FAST)
    facts = fill(study, open_store(tmp_path), choice=lambda cell: 1)
    mine = replicates(facts)
    assert len(mine) == 5 * 2 * 4
    assert set(mine.seconds) == {10.0}
    assert set(mine.configuration) == {canonical_json(study.configurations[1])}
    assert not mine.trial_id.str.contains("+", regex=False).any()


def test_trainings_of_a_replicate_are_summed_and_named(chosen):
    mine = replicates(chosen)
    assert set(mine.seconds) == {20.0}
    assert set(mine.epochs) == {2.0}
    assert set(json.loads(mine.configuration.iloc[0])) == {"8", "9"}


def test_curves_of_a_replicate_are_the_mean_of_its_trainings(chosen):
    table = tables.curves_table(chosen)
    assert len(table) == 5 * 2 * 4 * 2
    assert set(table.train_loss) == {2.0}
    assert set(table[table.epoch == 2].validation_loss) == {4.0}


def test_the_table_of_configurations_says_who_chose_what(chosen):
    table = tables.configurations_table(chosen).query("arm == 'gan' and regimen == 1.0")
    named = table.set_index("configuration").chosen_for.to_dict()
    assert sorted(named.values()) == ["8", "9"]
    assert table.chosen.tolist() == [1, 1]
    assert table.replicate_score.isna().all()
    grid = table.set_index("chosen_for").score
    assert grid["8"] == pytest.approx(0.5085 - 0.01), "the mean over the classes of interest"


def test_the_page_shows_what_each_class_chose(chosen, tmp_path):
    lines = choices_view(chosen)
    assert len(lines) == 5 * 2
    assert lines[0] == ("50 %", "none", ["0.01", "0.001"])
    html = write_page(chosen, tmp_path).read_text(encoding="utf-8")
    assert "What each class chose" in html
    assert "each of these chose for itself" in html
    assert "in the grid than in fresh replicates" not in html


def test_where_one_class_has_not_chosen_the_replicate_is_to_come(tmp_path):
    study = load("digits", FAST)

    def choice(cell):
        return None if (cell.target, cell.arm) == ("9", "gan") else 0

    facts = fill(study, open_store(tmp_path), choice=choice)
    mine = replicates(facts)
    assert set(mine[mine.arm == "gan"].status) == {"waiting"}
    assert set(mine[mine.arm != "gan"].status) == {"done"}
    assert facts.class_scores.loc[mine[mine.arm == "gan"].index].isna().all(axis=None)


def test_a_replicate_of_which_one_training_diverged_has_no_score(tmp_path):
    def change(trial):
        gone = trial.stage == "replicate" and trial.configuration["learning_rate"] == 0.001
        if gone and trial.arm == "gan" and trial.replicate == 2:
            return {"status": "diverged", "message": "loss", "test": None, "validation": None}
        return {}

    facts = fill(load("digits", FAST), open_store(tmp_path), change)
    mine = replicates(facts).query("arm == 'gan' and regimen == 1.0").set_index("replicate")
    assert mine.status.to_dict() == {0: "done", 1: "done", 2: "diverged", 3: "done"}
    assert mine.message[2] == "loss"
    assert np.isnan(mine.overall[2])
    assert facts.finished


def test_each_replicate_may_choose_for_each_class(tmp_path):
    study = load("digits", [*FAST, "protocol.kind=retune"])

    def choice(cell):
        return (cell.replicate + (cell.target == "9")) % 2

    facts = fill(study, open_store(tmp_path), choice=choice)
    mine = replicates(facts).query("arm == 'none' and regimen == 0.5")
    scores = facts.class_scores.loc[mine.index, ["8", "9"]].to_numpy()
    assert (scores[0] > 0.7).tolist() == [False, True]
    assert (scores[1] > 0.7).tolist() == [True, False]
    assert len(facts.chosen) == 5 * 2 * 4 * 2
    (eight, nine) = choices_view(facts)[0][2]
    assert sorted(eight.split("; ")) == sorted(nine.split("; "))
    assert sorted(eight.split("; ")) == [f"0.001 (2 {TIMES})", f"0.01 (2 {TIMES})"]


def parts(**changes):
    rows = pd.DataFrame(
        {name: [0, 0] if kind != "str" else ["", ""] for name, kind in TRIAL_COLUMNS.items()}
    ).assign(stage="replicate", arm="gan", regimen=1.0, trial_id=["a", "b"], target=["8", "9"])
    rows = rows.assign(**{"status": "done", "configuration": "{}"} | changes)
    return rows.astype({**TRIAL_COLUMNS, "target": "str"})


@pytest.mark.parametrize(
    ("states", "whole"),
    [
        (("done", "done"), "done"),
        (("done", "waiting"), "waiting"),
        (("failed", "waiting"), "waiting"),
        (("failed", "diverged"), "failed"),
        (("done", "blocked"), "blocked"),
    ],
)
def test_a_replicate_is_done_when_all_its_trainings_are(states, whole):
    scores = pd.DataFrame({"8": [0.1, 0.2], "9": [0.3, 0.4]})
    trials, values, made = compose(parts(status=list(states)), scores, ("8", "9"))
    assert trials.status.tolist() == [whole]
    known = [0.1, 0.4] if whole == "done" else [np.nan, np.nan]
    assert values.iloc[0].tolist() == pytest.approx(known, nan_ok=True)
    assert made == {"a+b": ("a", "b")}


def test_trainings_by_different_code_are_stamped():
    scores = pd.DataFrame({"8": [0.1, 0.2], "9": [0.3, 0.4]})
    trials, _, _ = compose(parts(code_digest=["x", "y"], stamps=["LEAKY", ""]), scores, ("8", "9"))
    assert trials.stamps.tolist() == ["LEAKY,MIXED CODE"]


def test_curves_that_nobody_owns_are_left_out():
    curves = pd.DataFrame([("a", 1, 1.0, 2.0), ("z", 1, 9.0, 9.0)], columns=list(CURVE_COLUMNS))
    found = compose_curves(curves, {"a+b": ("a", "b")})
    assert found.to_dict("records") == [
        {"trial_id": "a+b", "epoch": 1, "train_loss": 1.0, "validation_loss": 2.0}
    ]


def test_the_rule_is_told_in_words(chosen):
    text = study_paragraph(chosen)
    assert "Each of 8 and 9 chooses by itself: the best by validation recall of that class" in text
    assert "each class on the training that was chosen for it" in text
    over = load("digits", ["protocol.select_over=macro_chosen", "statistics.overall_classes=[7,8]"])
    facts = dataclasses.replace(chosen, design=describe(over))
    assert "by validation accuracy (mean over 8 and 9)" in study_paragraph(facts)
    assert "The overall accuracy is the mean over 7 and 8." in study_paragraph(facts)
