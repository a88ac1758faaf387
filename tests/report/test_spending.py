"""What the store knows of the time a study took, on a real run and on fabricated records."""

from pathlib import Path

import pandas as pd
import pytest

from synthtrial.plan import build
from synthtrial.report.facts import Tariff
from synthtrial.report.sources import gather
from synthtrial.report.spending import seconds_by_task, tariff_of
from synthtrial.store.artifacts import draft, open_store, read_artifact
from synthtrial.store.records import RecordWriter, read_records
from synthtrial.study import load

SMALL = (
    "arms={none: {}, gan: {synthetic: true}, shifted: {synthetic: true, augment: [{name: shift}]}}",
    "regimens=[0.5,1.0]",
    "grid={}",
    "protocol.draws=1",
    "protocol.replicates=2",
)


def row(trial_id, **changes):
    return {"trial_id": trial_id, "kind": "trial", "status": "done", "attempt": 1} | changes


def test_a_real_run_leaves_no_time_unknown(finished_study):
    overrides, _ = finished_study
    study = load("digits", overrides)
    store = open_store(Path(study.settings.store.path), create=False)
    plan = build(study, store)
    facts = gather(study, store, plan)
    trials, work = facts.trials, facts.work
    assert (trials.spent_seconds >= trials.seconds).all()
    assert (trials.threads >= 1).all()
    assert set(trials.device) == {"cpu"}
    kinds = {task.kind for task in plan.tasks.values()} & {"train_gan", "synthesize"}
    assert set(work.kind) >= kinds
    assert set(work.state) == {"done"}
    assert (work.seconds > 0).all()
    assert set(work.processes) == set(work.threads) == {1.0}
    assert set(work.device) == {"cpu"}
    taken = work[work.kind == "train_gan"].iloc[0]
    info = read_artifact(store, "generator", taken.task_id).info
    assert taken.seconds == info["seconds"]


def test_each_cell_is_told_what_it_needs_and_arms_share_tasks(tmp_path):
    study, store = load("digits", SMALL), open_store(tmp_path)
    makings = [t for t in build(study, None).tasks.values() if t.kind == "synthesize"]
    assert len(makings) == 2
    with draft(store, "synthetic", makings[0].id, inputs={}) as made:
        made.info.update(seconds=3.0, processes=2, threads=1, device="cuda:0")
    with draft(store, "synthetic", makings[1].id, inputs={}) as made:
        made.info.update(images=5)  # as versions before this one left it
    gans = [t for t in build(study, None).tasks.values() if t.kind == "train_gan"]
    with RecordWriter(store) as writer:
        failed = row(gans[0].id, kind="train_gan", status="failed", seconds=7.0)
        writer.append(failed)
    facts = gather(study, store, build(study, store))
    table = facts.work
    assert set(zip(table.arm, table.regimen, strict=True)) == {
        (arm, regimen) for arm in ("gan", "shifted") for regimen in (0.5, 1.0)
    }
    mine = table[table.task_id == makings[0].id]
    assert sorted(mine.arm) == ["gan", "shifted"]
    assert set(mine.seconds) == {3.0}
    assert set(mine.device) == {"cuda:0"}
    assert table[table.task_id == makings[1].id].seconds.isna().all()
    lost = table[table.task_id == gans[0].id]
    assert set(lost.state) == {"failed"}
    assert set(lost.seconds) == {7.0}
    assert set(table[table.task_id == gans[1].id].state) == {"waiting"}


def test_every_try_that_left_a_record_counts(tmp_path):
    study, store = load("digits", SMALL), open_store(tmp_path)
    trial = build(study, None).trials[0]
    about = {"study": study.name, "configuration": "{}"}
    with RecordWriter(store) as writer:
        for attempt, status, seconds in ((1, "failed", 5.0), (2, "failed", 0.0), (1, "done", 8.0)):
            changes = {"status": status, "attempt": attempt, "seconds": seconds}
            writer.append(row(trial.trial_id, **about, **changes))
    tries = read_records(store, every_attempt=True)
    assert seconds_by_task(tries) == {trial.trial_id: 13.0}
    facts = gather(study, store, build(study, store))
    mine = facts.trials[facts.trials.trial_id == trial.trial_id].iloc[0]
    assert (mine.status, mine.seconds, mine.spent_seconds) == ("done", 8.0, 13.0)
    other = facts.trials[facts.trials.trial_id != trial.trial_id]
    assert other.spent_seconds.isna().all()
    assert set(other.device) == {""}


def test_a_time_of_nothing_is_no_time_that_was_recorded(tmp_path):
    store = open_store(tmp_path)
    with RecordWriter(store) as writer:
        writer.append(row("a", status="failed", seconds=0.0))
        writer.append(row("b"))
    assert seconds_by_task(read_records(store)) == {}


@pytest.fixture
def site(tmp_path):
    path = tmp_path / "site.yaml"
    path.write_text("gpus: 1\ngpu_hour_price: 1.5\n")
    return path


def test_prices_are_those_of_the_site_where_it_ran(tmp_path, site):
    store = open_store(tmp_path / "store")
    study = load("digits", (*SMALL, f"engine.site={site}", "engine.trials_per_gpu=2"))
    assert tariff_of(study, read_records(store)) == Tariff(trials_per_gpu=2)
    with RecordWriter(store) as writer:
        writer.append(row("a", study="another", engine="slurm"))
    assert tariff_of(study, read_records(store)).gpu_hour is None
    with RecordWriter(store) as writer:
        writer.append(row("b", study=study.name, engine="slurm"))
    assert tariff_of(study, read_records(store)) == Tariff(1.5, None, 2)
    planned = load("digits", (*SMALL, f"engine.site={site}", "engine.name=slurm"))
    assert tariff_of(planned, read_records(open_store(tmp_path / "new"))).gpu_hour == 1.5


def test_a_report_does_not_fail_for_a_price_list_that_lies_elsewhere(tmp_path):
    store = open_store(tmp_path / "store")
    study = load("digits", (*SMALL, "engine.site=/elsewhere/site.yaml", "engine.name=slurm"))
    assert tariff_of(study, read_records(store)) == Tariff()
    assert isinstance(gather(study, store, build(study, store)).work, pd.DataFrame)
