"""`synthtrial doctor --engine slurm`, on a real SLURM."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import uuid
from pathlib import Path

import pytest

from synthtrial.doctor import examine
from synthtrial.engines.slurm.probe import Probe
from synthtrial.study import load

SITE = ["engine.site=devslurm", "engine.name=slurm"]


@pytest.fixture
def doctor(slurm, tmp_path):
    """Examine the digits on the cluster: `doctor("engine.slurm.gpus=1")` gives checks by name."""

    def run(*overrides, wait_seconds=60.0, progress=lambda text: None):
        study = load(
            "digits",
            [
                *SITE,
                f"store.path={tmp_path / 'new' / 'store'}",
                f"store.cache_path={tmp_path / 'cache'}",
                *overrides,
            ],
        )
        return {check.name: check for check in examine(study, wait_seconds, progress)}

    return run


@pytest.fixture
def brief(slurm):
    """A partition with a time limit of 5 minutes."""
    subprocess.run(
        ["scontrol", "create", "PartitionName=brief", "Nodes=ALL", "MaxTime=5"], check=True
    )
    yield
    subprocess.run(["scontrol", "delete", "PartitionName=brief"], check=True)


def jobs():
    """Names of what is queued or runs."""
    done = subprocess.run(["squeue", "-h", "-o", "%j"], capture_output=True, text=True, check=True)
    return done.stdout.split()


def test_a_cluster_in_order_is_told_to_be_so_and_nothing_is_left_behind(
    slurm, tmp_path, synthtrial_command
):
    (tmp_path / "keep").touch()
    arguments = [
        *SITE,
        f"store.path={tmp_path / 'new' / 'store'}",
        f"store.cache_path={tmp_path / 'cache'}",
    ]
    done = subprocess.run(
        [*synthtrial_command, "doctor", "digits", *arguments],
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    assert lines[-1] == "nothing stands in the way"
    names = {line[9:24].strip() for line in lines[:-1]}
    assert names >= {
        "store",
        "partition",
        "resources",
        "accounting",
        "jobs",
        "probe job",
        "Python",
        "torch",
        "locks, nodes",
        "data, nodes",
        "scratch",
        "clock",
        "internet",
        "from jobs",
    }
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cache", "keep"]


def test_a_store_that_compute_nodes_do_not_see_is_broken(doctor):
    # Shared memory is a node's own here.
    path = Path("/dev/shm", uuid.uuid4().hex)
    path.mkdir()
    try:
        found = doctor(f"store.path={path}")
        assert not list(path.iterdir())
    finally:
        shutil.rmtree(path)
    assert found["store"].state == "warning"
    assert found["probe job"].state == "broken"
    assert "does not see" in found["probe job"].found


def test_what_stands_in_the_way_of_python_is_shown(doctor):
    found = doctor('engine.slurm.setup=["no-such-module load cuda"]', "engine.slurm.python=/no/py")
    assert found["probe job"].state == "broken"
    assert "/no/py: No such file" in found["probe job"].found
    assert "does not see" not in found["probe job"].found


def test_a_node_is_judged_by_what_jobs_find_there(doctor, tmp_path):
    smi = tmp_path / "bin" / "nvidia-smi"
    smi.parent.mkdir()
    smi.write_text("#!/bin/sh\necho 'NVIDIA H100, Exclusive_Process, 550.54, 81559 MiB'\n")
    smi.chmod(0o755)
    # As in a container that brings its own synthtrial and lets no PYTHONPATH in.
    other, repository = tmp_path / "other", Path(__file__).parents[2]
    for folder in ("src", "configs", "cluster/sites"):
        shutil.copytree(repository / folder, other / folder)
    with (other / "src" / "synthtrial" / "errors.py").open("a") as file:
        file.write("# another version\n")
    found = doctor(
        f"engine.slurm.python=env PYTHONPATH={other / 'src'} {sys.executable}",
        f'engine.slurm.setup=["no-such-module load cuda", "export PATH={smi.parent}:$PATH"]',
        "engine.slurm.gpus=1",
        "engine.trials_per_gpu=2",
        "engine.slurm.cpus=4",
    )
    assert found["probe job"].state == "ok"
    assert found["setup"].state == "warning"
    assert "no-such-module: command not found" in found["setup"].found
    assert found["source"].state == "broken"
    assert str(other) in found["source"].found
    assert found["compute mode"].state == "broken"
    assert "Exclusive_Process" in found["compute mode"].found
    # The devices are declared and are none.
    assert found["GPUs"].state == "broken"
    assert "0 of 1" in found["GPUs"].found
    few = len(os.sched_getaffinity(0)) < 4
    assert found["processors"].state == ("warning" if few else "ok")


@pytest.mark.parametrize(
    ("overrides", "name", "words"),
    [
        (["engine.slurm.partition=gold"], "partition", "set one of brief, high, main"),
        (["engine.slurm.gpus=3"], "resources", "fits on no node of main"),
        (["engine.slurm.qos=gold"], "QOS", "one of normal"),
        (["engine.slurm.time=00:01:00", "engine.slurm.warning_seconds=60"], "time", "longer time"),
        (["engine.slurm.time=01:00:00", "engine.slurm.partition=brief"], "time", "allows 5 min"),
    ],
)
def test_a_profile_that_does_not_fit_is_broken_before_anything_is_submitted(
    doctor, brief, monkeypatch, overrides, name, words
):
    monkeypatch.setattr(Probe, "run", lambda *_: pytest.fail("a job was submitted"))
    found = doctor(*overrides)
    assert found[name].state == "broken"
    assert words in found[name].found + found[name].mend
    assert "probe job" not in found


def test_a_long_queue_is_waited_for_and_left_without_a_trace(doctor, tmp_path):
    full = subprocess.run(
        ["sbatch", "--parsable", "-N2", "--exclusive", "-o", "/dev/null", "--wrap", "sleep 60"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    said = []
    try:
        found = doctor(wait_seconds=4.0, progress=said.append)
        assert "digits-doctor" not in jobs()
    finally:
        subprocess.run(["scancel", full], check=True)
    assert found["probe job"].state == "warning"
    assert "the queue is long" in found["probe job"].found
    assert "--wait 60" in found["probe job"].mend
    assert any("PENDING" in text for text in said)
    assert not list(tmp_path.rglob("*doctor*"))


def test_no_cluster_ends_in_one_line(doctor, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    found = doctor()
    assert found["SLURM"].state == "broken"
    assert "--engine local" in found["SLURM"].mend
    assert "probe job" not in found
