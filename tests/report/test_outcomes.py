"""What is read of the records in whole columns, beside the same row by row."""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from synthtrial.classify.metrics import score
from synthtrial.report import outcomes
from synthtrial.report.columns import CURVE_COLUMNS
from synthtrial.report.outcomes import read_curves, read_outcomes
from synthtrial.store.artifacts import open_store
from synthtrial.store.records_schema import to_table
from synthtrial.store.segments import write_segment

NUMBER = st.one_of(st.none(), st.floats(0, 1))
METRICS = st.one_of(
    st.none(),
    st.dictionaries(
        st.sampled_from(["recall", "accuracy"]),
        st.one_of(NUMBER, st.dictionaries(st.sampled_from(["a", "b", "c"]), NUMBER)),
    ),
)


def row_of(trial_id, status="done", attempt=0, **more):
    return {"trial_id": trial_id, "kind": "trial", "status": status, "attempt": attempt, **more}


@given(st.lists(METRICS, min_size=1, max_size=6), st.sampled_from(["recall", "accuracy"]))
def test_a_score_is_that_of_the_metric_or_its_mean_over_classes(metrics, name):
    table = to_table([row_of(f"t{i}", test=value) for i, value in enumerate(metrics)])
    rows = table["test"].to_pylist()
    for over in ((), ("a",), ("c", "a"), ("nobody",)):
        found = outcomes._scores(table, "test", name, over)
        wanted = [score(r, name, over or None) if r and name in r else None for r in rows]
        np.testing.assert_allclose(found, np.array(wanted, dtype=float), rtol=1e-14)


@pytest.fixture
def joined(tmp_path, fabricate):
    """Four planned trials: done at the second try, diverged, without a record, waiting."""
    store = open_store(tmp_path)
    value = {"accuracy": 0.75, "recall": {"0": 0.5, "1": None}}
    curves = {"epoch": [1, 2], "train_loss": [1.0, None], "validation_loss": [0.5, 0.25]}
    rows = [
        row_of("b", "failed", 0, message="no memory", stamps=[]),
        row_of(
            "b", attempt=1, test=value, validation=value, steps=7, stamps=["LEAKY", "PRIVILEGED"],
            curves={**curves, "validation_score": [0.0, 0.0]}, code_digest="c0de",
        ),
        row_of("a", "diverged", message="loss is NaN"),
        row_of("foreign", test={"auc": {"cat": 0.5}}, validation={"auc": {"cat": 0.5}}),
    ]  # fmt: skip
    for place, row in enumerate(rows):
        write_segment(store, f"s{place}", to_table([row]))
    planned = pd.DataFrame(
        [(name, "replicate", "gan", 1.0, "{}", 0, place) for place, name in enumerate("abcd")],
        columns=["trial_id", "stage", "arm", "regimen", "configuration", "draw", "replicate"],
    ).assign(target="", planned_epochs=10.0, cause="never started: gone")
    planned["status"] = ["settled", "settled", "settled", "blocked"]
    design = dataclasses.replace(fabricate.design(), selector="recall")
    return store, planned, read_outcomes(store, planned, design, {})


def test_each_trial_is_joined_with_its_row_that_counts(joined):
    _, planned, found = joined
    trials = found.trials.set_index("trial_id")
    assert list(trials.index) == list(planned.trial_id)
    assert trials.status.to_dict() == {
        "a": "diverged",
        "b": "done",
        "c": "failed",  # settled, and lost to the records
        "d": "blocked",
    }
    assert trials.message.to_dict() == {
        "a": "loss is NaN",
        "b": "",
        "c": "",
        "d": "never started: gone",
    }
    assert trials.loc["b", ["overall", "validation", "steps"]].tolist() == [0.75, 0.5, 7.0]
    assert trials.overall.notna().tolist() == [False, True, False, False]
    assert trials.loc["b", ["stamps", "code_digest"]].tolist() == ["LEAKY,PRIVILEGED", "c0de"]
    assert set(trials.drop("b").stamps) == {""}
    assert found.class_scores.iloc[1].dropna().to_dict() == {"0": 0.5}
    assert found.class_scores.drop(1).isna().all(axis=None)
    assert found.others["validation_scores"].iloc[1]["0"] == 0.5
    assert "made_scores" not in found.others  # nobody knows


def test_curves_are_those_of_replicates_that_are_done(joined):
    store, _, found = joined
    curves = read_curves(store, found)
    assert curves.dtypes.astype(str).to_dict() == dict(CURVE_COLUMNS)
    assert curves.fillna(-1).to_numpy().tolist() == [["b", 1, 1.0, 0.5], ["b", 2, -1.0, 0.25]]
    none = dataclasses.replace(found, trials=found.trials.assign(status="waiting"))
    assert read_curves(store, none).empty
