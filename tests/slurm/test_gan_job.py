"""slurm/gan.sbatch: one GAN training over several nodes and processes."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from polling import wait_for

from synthtrial.plan import build
from synthtrial.store.artifacts import exists, open_store
from synthtrial.study import load
from synthtrial.testing.studies import run_here

SCRIPT = Path(__file__).parents[2] / "slurm" / "gan.sbatch"

pytestmark = [pytest.mark.faults, pytest.mark.timeout(600)]


def test_two_nodes_of_two_processes_are_preempted_and_go_on(new_slurm, tiny, tmp_path):
    cluster = new_slurm()
    overrides = tiny("gan_training.steps=1500", "engine.checkpoint_seconds=1")
    study = load("digits", overrides)
    store = open_store(tmp_path / "one" / "store")
    upstream = ("prepare", "split", "allocate")
    plan = run_here(study, store, only=lambda task: task.kind in upstream)
    task = next(task for task in plan.tasks.values() if task.kind == "train_gan")
    environment = {
        **os.environ,
        **cluster.environment,
        "PYTHON": sys.executable,
        "SYNTHTRIAL": f"{Path(sys.executable).parent}/synthtrial",
    }
    log = tmp_path / "gan.log"
    shape = ["--nodes=2", "--ntasks-per-node=2", "--cpus-per-task=1", "--time=10:00"]
    submitted = subprocess.run(
        ["sbatch", *shape, f"--output={log}", str(SCRIPT), "digits", task.id, *overrides],
        env=environment,
        capture_output=True,
        text=True,
    )
    assert submitted.returncode == 0, submitted.stderr
    job = re.search(r"\d+", submitted.stdout)[0]
    unfinished = store.root / "unfinished" / task.id
    saved = wait_for(lambda: sorted(unfinished.rglob("step-*.pt")))
    assert int(saved[-1].name.split("-")[1]) < 1500
    cluster.run(
        "sbatch", "-p", "high", "-N2", "--exclusive", "-o", "/dev/null", "--wrap", "sleep 3"
    )
    wait_for(lambda: exists(store, "generator", task.id))
    text = log.read_text()
    assert "start 0 of job" in text
    assert "start 1 of job" in text
    assert "4 processes on node[1-2], meeting at node1:" in text
    wait_for(lambda: not cluster.run("squeue", "-h", "-j", job).stdout.strip())
    assert build(study, store).done >= {task.id}
