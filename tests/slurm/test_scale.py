"""Many trials are few questions to SLURM."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import pytest

from synthtrial.engines import submissions as subs
from synthtrial.store.artifacts import open_store
from synthtrial.study import load
from synthtrial.testing.studies import run_here

WRAPPER = '#!/bin/sh\necho "$0" >> "{calls}"\nexec {real} "$@"\n'


@pytest.fixture
def counted(tmp_path, monkeypatch):
    """Count the calls of SLURM's commands: returns what was called since the last look."""
    calls = tmp_path / "calls"
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("sbatch", "squeue", "sacct", "scontrol", "sacctmgr", "scancel", "sinfo"):
        wrapper = folder / name
        wrapper.write_text(WRAPPER.format(calls=calls, real=shutil.which(name)))
        wrapper.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")

    def since():
        found = calls.read_text().split() if calls.exists() else []
        calls.unlink(missing_ok=True)
        return [line.rpartition("/")[2] for line in found]

    return since


def test_two_thousand_trials_are_one_call_an_array_and_one_a_status(
    slurm, counted, tiny, tmp_path, monkeypatch
):
    rates = [round(0.001 + 0.00001 * number, 5) for number in range(500)]
    overrides = tiny(
        "arms={none: {}, class_weights: {}}",
        f"grid={{learning_rate: {rates}}}",
        "engine.site=devslurm",
        "engine.slurm.extra={begin: now+1hour}",  # they stay in the queue
        "engine.slurm.max_jobs=40",
    )
    store = open_store(tmp_path / "one" / "store")
    upstream = ("prepare", "split", "allocate")
    run_here(load("digits", overrides), store, only=lambda task: task.kind in upstream)

    def command(*words):
        done = subprocess.run(
            [sys.executable, "-m", "synthtrial", *words, *overrides], capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    command("run", "digits", "--engine", "slurm", "--detach")
    called = counted()
    known = [s for s in subs.read_submissions(store, "digits") if s.packs]
    assert sum(len(pack.seconds) for item in known for pack in item.packs) >= 2000
    assert len(known) == 1  # one array
    assert 2 < len(known[0].packs) < 40
    assert called.count("sbatch") == 2  # and the small job that goes on
    assert set(called) <= {"sbatch", "scontrol", "sacctmgr", "sacct"}
    assert all(called.count(name) <= 1 for name in ("scontrol", "sacctmgr", "sacct"))
    said = command("status", "digits")
    assert "pending" in said or "submitted" in said
    assert counted() == ["sacct"]
    command("status", "digits")
    assert counted() == []  # the answer is some seconds old, and good enough
    command("cancel", "digits")
    assert counted().count("scancel") == 1
