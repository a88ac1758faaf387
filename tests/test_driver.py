"""Whole studies through the real engine, on real images, and what may happen to them."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import time
from collections import Counter
from pathlib import Path

import pytest

from synthtrial.plan import build
from synthtrial.store.artifacts import list_artifacts, open_store, read_artifact
from synthtrial.store.records import read_records
from synthtrial.study import load
from synthtrial.tasks import same_task
from synthtrial.testing.studies import measured


@pytest.fixture
def command(synthtrial_command):
    def start(verb, overrides, *options, **more):
        return subprocess.Popen(
            [*synthtrial_command, verb, "digits", *overrides, *options],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
            **more,
        )

    return start


@pytest.fixture
def run(command):
    def finish(verb, overrides, *options, code=0):
        process = command(verb, overrides, *options)
        output, _ = process.communicate(timeout=240)
        assert process.returncode == code, output
        return output

    return finish


def the_store(overrides):
    return open_store(Path(load("digits", overrides).settings.store.path), create=False)


def results(overrides):
    return measured(the_store(overrides))


def shards(overrides):
    """Digests of the files that hold what was made, by artifact."""
    store = the_store(overrides)
    return {
        (kind, id_): read_artifact(store, kind, id_).content_digest
        for kind in ("dataset", "split", "allocation", "synthetic", "selection")
        for id_ in list_artifacts(store, kind)
    }


def times_trained(overrides):
    rows = read_records(the_store(overrides), every_attempt=True).to_pylist()
    return Counter(row["trial_id"] for row in rows if row["status"] == "done")


@pytest.fixture
def finished(finished_study):
    return finished_study


def test_a_study_runs_from_nothing_to_its_report(finished):
    overrides, output = finished
    plan = build(load("digits", overrides), the_store(overrides))
    assert plan.complete
    assert not plan.failures
    page = Path(output.split("report: ")[1].splitlines()[0])
    assert page.is_file()
    for row in results(overrides).values():
        assert row["status"] == "done"
        assert row["stamps"] == ["GROUPS UNKNOWN"]


def test_only_replicates_are_judged_on_the_test_set(finished):
    overrides, _ = finished
    plan = build(load("digits", overrides), the_store(overrides))
    measured = results(overrides)
    for trial in plan.trials:
        assert (measured[trial.trial_id]["test"] is not None) == (trial.stage == "replicate")


def test_matched_arms_add_the_same_counts_and_take_the_same_steps(finished):
    overrides, _ = finished
    plan = build(load("digits", overrides), the_store(overrides))
    measured = results(overrides)
    added = {"gan": {}, "oversample_matched": {}}
    for trial in plan.trials:
        if trial.stage == "grid" and trial.arm in added:
            key = (trial.regimen, json.dumps(trial.configuration))
            row = measured[trial.trial_id]
            added[trial.arm][key] = (row["n_added"], row["steps"])
    assert added["gan"] == added["oversample_matched"]
    assert all(n > 0 for n, _ in added["gan"].values())


def test_running_again_does_nothing(finished, run):
    overrides, _ = finished
    before = times_trained(overrides)
    assert "0 to do" in run("run", overrides)
    assert times_trained(overrides) == before
    assert set(before.values()) == {1}


def test_replicate_adds_only_what_is_missing_and_is_remembered(finished, run, tmp_path):
    import shutil

    overrides, _ = finished
    store = Path(load("digits", overrides).settings.store.path)
    copy = tmp_path / "store"
    shutil.copytree(store, copy)
    overrides = [*overrides, f"store.path={copy}", f"store.report_path={tmp_path / 'reports'}"]
    before = times_trained(overrides)
    run("replicate", overrides, "--to", "3")
    after = times_trained(overrides)
    assert set(before) < set(after)
    assert len(after) == len(before) + 10  # one more replicate in each of ten cells
    assert set(after.values()) == {1}
    said = run("status", overrides, "--json")
    assert "note: 3 replicates, as `synthtrial replicate` asked for" in said
    assert json.loads(said[said.index("{") :])["stages"]["replicate"]["total"] == 30


def test_runs_from_scratch_with_one_worker_and_with_two_give_the_same_bits(finished, run, tiny):
    overrides = tiny("engine.workers=1")
    run("run", overrides)
    assert results(overrides) == results(finished[0])
    assert shards(overrides) == shards(finished[0])


def test_the_order_of_classes_in_the_dataset_changes_no_result(finished, run, tiny):
    overrides = tiny("dataset.class_order=['7','3','9','0','8','1','2','6','5','4']")
    run("run", overrides)

    def by_place(chosen):
        plan, measured = build(load("digits", chosen), the_store(chosen)), results(chosen)
        return {
            same_task(task): {k: v for k, v in measured[task.id].items() if k != "trial_id"}
            for task in plan.tasks.values()
            if task.trial
        }

    assert by_place(overrides) == by_place(finished[0])


def processes_of(driver):
    """Return the workers and the fork server of a driver."""
    listing = subprocess.run(
        ["ps", "-o", "pid=", "-s", str(driver.pid)], capture_output=True, text=True, check=False
    )
    return [int(pid) for pid in listing.stdout.split() if int(pid) != driver.pid]


@pytest.mark.faults
def test_sigkill_at_random_moments_loses_only_what_was_in_flight(finished, run, command, tiny):
    overrides = tiny()
    dice = random.Random(5)
    kills = 0
    for attempt in range(8):
        driver = command("run", overrides)
        deadline = time.monotonic() + dice.uniform(3, 9)
        while time.monotonic() < deadline and driver.poll() is None:
            time.sleep(0.3)
            victims = processes_of(driver)
            if victims and dice.random() < 0.15:
                kill(dice.choice(victims))
                kills += 1
        if driver.poll() is None:
            kill(driver.pid)
            kills += 1
        driver.communicate()
        wait_for_orphans(driver)
        if driver.returncode == 0 and attempt > 2:
            break
    run("run", overrides)
    assert kills >= 4
    assert results(overrides) == results(finished[0])
    assert shards(overrides) == shards(finished[0])
    assert set(times_trained(overrides).values()) == {1}
    assert not list((the_store(overrides).root / "records" / "journal").glob("*"))


def kill(pid):
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def wait_for_orphans(driver):
    """Workers notice within a second that their driver has gone."""
    for _ in range(100):
        if not processes_of(driver):
            return
        time.sleep(0.1)
    pytest.fail(f"processes outlive their driver: {processes_of(driver)}")


def test_ctrl_c_ends_in_one_line_and_leaves_no_process(command, tiny):
    overrides = tiny("gan_training.steps=100000")
    # A shell has what it starts in the background ignore Ctrl-C, and programs hand that down.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        driver = command("run", overrides)
    finally:
        signal.signal(signal.SIGINT, before)
    while not list_store(overrides, "split"):
        time.sleep(0.2)
    time.sleep(1)
    os.killpg(driver.pid, signal.SIGINT)
    output, _ = driver.communicate(timeout=60)
    assert driver.returncode == 130
    assert "Run the same command to go on" in output
    assert "Traceback" not in output
    wait_for_orphans(driver)


@pytest.mark.faults
def test_ctrl_c_at_any_moment_of_the_start_ends_in_one_line(command, tiny):
    for tenths in (2, 5, 8, 11, 15, 20, 25, 30, 33, 36, 39, 42, 45, 50, 60):
        overrides = tiny("gan_training.steps=100000", folder=f"after-{tenths}")
        before = signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            driver = command("run", overrides)
        finally:
            signal.signal(signal.SIGINT, before)
        time.sleep(tenths / 10)
        os.killpg(driver.pid, signal.SIGINT)
        output, _ = driver.communicate(timeout=60)
        # Python kills itself by the signal where it came within `exec`, as dataclasses call it.
        assert driver.returncode in (130, -signal.SIGINT), (tenths, output)
        assert "Traceback" not in output, (tenths, output)
        assert output.rstrip().endswith("Run the same command to go on."), (tenths, output)
        wait_for_orphans(driver)


def list_store(overrides, kind):
    try:
        return list_artifacts(the_store(overrides), kind)
    except Exception:
        return []


def test_two_runs_of_one_study_at_once_are_refused_by_name(command, run, tiny):
    overrides = tiny("gan_training.steps=100000")
    first = command("run", overrides)
    while not list_store(overrides, "split"):
        time.sleep(0.2)
    output = run("run", overrides, code=1)
    assert f"process {first.pid}" in output
    assert "Traceback" not in output
    status = json.loads(run("status", overrides, "--json"))
    assert [attempt["pid"] for attempt in status["running"]] == [first.pid]
    os.killpg(first.pid, signal.SIGKILL)
    first.communicate()


def test_a_generator_that_diverges_stops_its_arm_and_nothing_else(run, tiny):
    overrides = tiny(
        "gan_training.generator_learning_rate=1e30",
        "gan_training.discriminator_learning_rate=1e30",
        "gan_training.steps=20",
        "regimens=[1.0]",
    )
    output = run("run", overrides, code=1)
    assert "not finite" in output
    assert "Traceback" not in output
    plan = build(load("digits", overrides), the_store(overrides))
    stopped = [plan.tasks[id_] for id_ in plan.blocked()]
    assert {task.trial.arm for task in stopped if task.trial} == {"gan"}
    assert plan.complete
    page = Path(load("digits", overrides).settings.store.report_path) / "digits" / "report.html"
    assert "2 of 2 never started" in page.read_text()


@pytest.mark.parametrize("kind", ["full_grid", "retune"])
def test_other_protocols_choose_within_their_own_replicates(run, tiny, kind):
    overrides = tiny(f"protocol.kind={kind}", "regimens=[0.25]")
    run("run", overrides)
    store = the_store(overrides)
    plan = build(load("digits", overrides), store)
    assert plan.complete
    grid = Counter((t.arm, t.replicate) for t in plan.trials if t.stage == "grid")
    assert set(grid.values()) == {2}
    for cell, id_ in plan.selections.items():
        chosen = read_artifact(store, "selection", id_).info["configuration"]
        mine = [
            t
            for t in plan.trials
            if t.stage == "replicate"
            and (t.arm, t.regimen) == (cell.arm, cell.regimen)
            and cell.replicate in (None, t.replicate)
        ]
        assert len(mine) == (1 if kind == "retune" else 2)
        assert all(t.configuration == chosen for t in mine)


def test_a_smoke_run_touches_every_arm_and_leaves_nothing(run, tiny, tmp_path):
    overrides = tiny()
    output = run("run", overrides, "--smoke")
    assert "every distinct task ran" in output
    assert not (tmp_path / "one").exists()


def test_a_smoke_run_that_fails_keeps_what_its_messages_name(run, tiny, tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    (tmp_path / "pets" / "ant").mkdir(parents=True)
    (tmp_path / "pets" / "moth").mkdir()
    for number in range(24):
        (tmp_path / "pets" / ("ant", "moth")[number % 2] / f"{number}.png").write_text("no image")
    pets = [
        f"dataset={{name: image_folder, path: {tmp_path / 'pets'}, size: 8, channels: 1}}",
        "arms={none: {}}",
        "imbalance.classes=[]",
        "balance.classes=[ant]",
        "statistics.minority=[ant]",
    ]
    output = run("run", tiny(*pets), "--smoke", code=1)
    (listed,) = tmp_path.glob("synthtrial-smoke-*/store/unfinished/*/unreadable.csv")
    assert str(listed) in output
    assert f"what it wrote is kept in {listed.parents[3]}" in output
    assert "--smoke` tries failed tasks again" in output
