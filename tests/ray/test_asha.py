"""Early stopping: rungs, their rebuilding, and a study that runs with it."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from synthtrial.config import AshaConfig
from synthtrial.driver import run
from synthtrial.engines.ray.asha import CellwiseAsha, cell_of, milestones
from synthtrial.errors import ConfigError
from synthtrial.plan import build
from synthtrial.store.artifacts import open_store, read_artifact
from synthtrial.store.records import RecordWriter, read_records
from synthtrial.study import load
from synthtrial.tasks import Cell
from synthtrial.tracing import show_why

CELL, OTHER = Cell("none", 1.0, -1), Cell("gan", 1.0, -1)


class Quiet:
    def started(self, plan, engine, clock):
        pass

    def ended(self, task, outcome, plan):
        pass

    def waiting(self, plan):
        pass


def test_rungs_are_powers_of_the_reduction_factor_below_the_last_epoch():
    assert milestones(AshaConfig(1, 3), 10) == {1, 3, 9}
    assert milestones(AshaConfig(2, 2), 8) == {2, 4}
    assert milestones(AshaConfig(5, 2), 5) == frozenset()


def test_who_falls_behind_in_its_cell_is_stopped_and_other_cells_do_not_count(token):
    scheduler = CellwiseAsha(AshaConfig(1, 2))
    assert not scheduler.decide(CELL, "a", 1, 0.8)
    assert not scheduler.decide(OTHER, "b", 1, 0.2)  # the first of its cell
    assert not scheduler.decide(CELL, "c", 1, 0.9)
    assert scheduler.decide(CELL, "d", 1, 0.5)
    assert not scheduler.decide(CELL, "e", 1, 0.95)


def study(tiny, *overrides):
    grid = "grid={learning_rate: [0.02, 0.01, 0.003, 0.0001], batch_size: [64], optimizer: [adam]}"
    small = ("training.epochs=4", "regimens=[0.5]", "protocol.search=asha")
    return load("digits", tiny(grid, *small, *overrides), "ray")


def test_stored_curves_rebuild_the_rungs(tiny, tmp_path, token):
    """A trial that would have been first of its rung is judged by those of an earlier run."""
    asked = study(tiny)
    plan = build(asked, None)
    task = next(task for task in plan.tasks.values() if task.trial and task.trial.stage == "grid")
    store = open_store(tmp_path / "store", create=True)
    curves = {"epoch": [1, 2], "train_loss": [1.0, 0.5], "validation_loss": [1.0, 0.5]}
    with RecordWriter(store) as writer:
        writer.append(
            {
                "trial_id": task.id,
                "kind": "trial",
                "status": "stopped",
                "attempt": 1,
                "curves": {**curves, "validation_score": [0.9, 0.95]},
            }
        )
    fresh, rebuilt = (CellwiseAsha(asked.settings.protocol.asha) for _ in range(2))
    rebuilt.rebuild(plan, store)
    cell = cell_of(task)
    assert not fresh.decide(cell, "another", 1, 0.5)
    assert rebuilt.decide(cell, "another", 1, 0.5)
    assert rebuilt.decide(cell, "another", 2, 0.94)


@pytest.mark.faults
def test_a_study_stops_trials_early_and_chooses_among_the_others(cluster, tiny):
    asked = study(tiny, f"engine.ray.address='{cluster.address}'", "protocol.asha.grace_epochs=1")
    store = open_store(asked.store_path, create=True)
    plan = run(asked, store, Quiet())
    assert plan.complete
    assert not plan.failures
    rows = [row for row in read_records(store).to_pylist() if row["stage"] == "grid"]
    assert {row["status"] for row in rows} == {"done", "stopped"}
    for row in rows:
        epochs = len(row["curves"]["epoch"])
        assert epochs == row["epochs"]
        assert epochs == 4 if row["status"] == "done" else epochs in (1, 2)
        assert row["validation"]
    stopped = {row["configuration"] for row in rows if row["status"] == "stopped"}
    for id_ in plan.selections.values():
        chosen = read_artifact(store, "selection", id_).info["configuration"]
        cell = Cell(**read_artifact(store, "selection", id_).info["cell"])
        mine = [r for r in rows if (r["arm"], r["regimen"]) == (cell.arm, cell.regimen)]
        winner = next(r for r in mine if json.loads(r["configuration"]) == chosen)
        assert winner["status"] == "done"
    assert stopped
    again = build(asked, store)
    assert again.complete  # what was stopped is a result here,
    said = io.StringIO()
    early = next(row["trial_id"] for row in rows if row["status"] == "stopped")
    show_why(Console(file=said, width=200), again, store, again.tasks[early])
    assert "stopped early after" in said.getvalue()
    whole = build(asked.replace(["protocol.search=grid"]), store)
    to_do = [task for task in whole.to_do() if task.trial and task.trial.stage == "grid"]
    assert len(to_do) == sum(row["status"] == "stopped" for row in rows)  # and not there


def test_other_engines_refuse_it(tiny, tmp_path):
    asked = load("digits", tiny("protocol.search=asha"))
    with pytest.raises(ConfigError, match="needs --engine ray"):
        run(asked, open_store(Path(asked.store_path), create=True), Quiet())


def test_means_over_replicates_refuse_it(tiny):
    with pytest.raises(ConfigError, match="full_grid"):
        load("digits", tiny("protocol.search=asha", "protocol.kind=full_grid"))
