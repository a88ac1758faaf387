"""slurm/ray.sbatch: a study on a Ray cluster over the nodes of a job, on a real SLURM cluster."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from inside import processes, said, state
from polling import wait_for

from synthtrial.plan import build
from synthtrial.store.artifacts import open_store
from synthtrial.store.records import read_records
from synthtrial.study import load
from synthtrial.testing.studies import measured

pytestmark = pytest.mark.timeout(600)

SCRIPT = Path(__file__).parents[2] / "slurm" / "ray.sbatch"
#: Ray itself takes 2 to 3 GB of the first node where pages that processes share are counted twice.
SHAPE = ("--nodes=2", "--cpus-per-task=2", "--mem-per-cpu=3900M", "--time=30:00")
#: Trials of some seconds, which save a checkpoint every second.
LONG = (
    "arms={none: {}}",
    "regimens=[1.0]",
    "grid={learning_rate: [0.01, 0.007, 0.005, 0.003, 0.002, 0.001, 0.0007, 0.0005]}",
    "protocol.draws=1",
    "protocol.replicates=1",
    "engine.checkpoint_seconds=1",
    "training.epochs=250",
)


class Job:
    """A job of the script, submitted from a folder of its own."""

    def __init__(self, place, folder, overrides, *options):
        self.overrides = overrides
        self.store = load("digits", overrides).store_path
        self.folder = folder
        environment = os.environ | {
            "PYTHON": sys.executable,
            "SYNTHTRIAL": f"{Path(sys.executable).parent}/synthtrial",
            "TMPDIR": str(folder),
        }
        command = ["sbatch", "--parsable", *SHAPE, *options, str(SCRIPT), "digits", *overrides]
        self.number = said(*command, cwd=place, env=environment).strip()
        self.beside = self.store.parent / "reports" / "digits" / f"job-{self.number}"

    @property
    def log(self):
        path = self.beside.with_name(f"{self.beside.name}.log")
        return path.read_text() if path.exists() else ""

    def file(self, suffix):
        """A file that lies beside the log while the cluster is up, once it is there."""
        path = self.beside.with_name(self.beside.name + suffix)
        wait_for(lambda: (path.exists() and path.read_text()) or self.is_over())
        assert path.exists(), self.log
        return path

    def is_over(self):
        return state(self.number) not in ("PENDING", "RUNNING", "COMPLETING")

    def rows(self, *, every_attempt=False):
        if not (self.store / "records").is_dir():
            return []
        store = open_store(self.store, create=False)
        return read_records(store, every_attempt=every_attempt).to_pylist()

    def ends_complete(self):
        wait_for(self.is_over, 400)
        assert state(self.number) == "COMPLETED", self.log
        plan = build(load("digits", self.overrides), open_store(self.store))
        assert plan.complete
        assert not plan.failures

    def folders_of_ray(self):
        return list(self.folder.glob("st-*"))

    def leaves_nothing(self):
        wait_for(lambda: not processes(self.number), 60)
        assert not self.folders_of_ray()
        beside = self.beside.parent.glob(f"{self.beside.name}*")
        assert {path.suffix for path in beside} == {".log"}


@pytest.fixture
def submit(tmp_path):
    """Submit the script; its nodes keep Ray's files in a short folder of the test's own."""
    jobs = []
    with tempfile.TemporaryDirectory(prefix="rj-", dir="/tmp", ignore_cleanup_errors=True) as short:

        def make(overrides, *options):
            jobs.append(Job(tmp_path, Path(short), overrides, *options))
            return jobs[-1]

        yield make
        for job in jobs:
            subprocess.run(["scancel", job.number], check=False)
            wait_for(lambda job=job: not processes(job.number))


@pytest.fixture
def broken(new_slurm, monkeypatch):
    """A cluster of the test's own, to break."""
    cluster = new_slurm()
    for name, value in cluster.environment.items():
        monkeypatch.setenv(name, value)
    return cluster


@pytest.mark.faults
def test_a_study_on_two_nodes_gives_the_bits_of_one_machine(slurm, submit, tiny, finished_study):
    # The cluster's GPUs are declared only: trials are dealt out to them and find a processor.
    gpus = ("engine.device=auto", "engine.trials_per_gpu=2")
    job = submit(tiny("regimens=[1.0]", *gpus), "--gpus-per-node=1")
    token, tunnel = job.file(".token"), job.file(".dashboard").read_text()
    assert token.stat().st_mode & 0o777 == 0o600
    ssh = re.match(r"ssh -N -L 8265:localhost:(\d+) -J (\S+)@\S+ (\S+)@node1\n", tunnel)
    assert ssh, tunnel
    assert ssh[2] == ssh[3]
    assert str(token) in tunnel
    wait_for(lambda: processes(job.number, "ray/raylet/raylet", host="node2") or job.is_over())
    (dashboard,) = wait_for(lambda: processes(job.number, "dashboard/dashboard.py"))
    command = Path(f"/proc/{dashboard}/cmdline").read_text().split("\0")
    assert f"--port={ssh[1]}" in command
    assert "--host=127.0.0.1" in command
    job.ends_complete()
    job.leaves_nothing()
    there = open_store(load("digits", finished_study[0]).store_path)
    rows, ours = job.rows(), measured(open_store(job.store, create=False))
    assert ours
    assert ours.items() <= measured(there).items()
    assert {row["engine"] for row in rows} == {"ray"}
    # Where little is to do, Ray may find the first node enough; another test waits for the second.
    assert {row["host"] for row in rows} <= {"node1", "node2"}
    assert "2 of 2 nodes" in job.log
    assert tunnel in job.log
    assert "4 at a time (1 CPU and 0.5 GPU each)" in job.log
    assert "report: " in job.log


@pytest.mark.faults
def test_a_node_whose_power_is_cut_costs_no_finished_trial(broken, submit, tiny):
    job = submit(tiny(*LONG))
    done = wait_for(
        lambda: (
            [row for row in job.rows() if row["host"] == "node2" and row["arm"]] or job.is_over()
        ),
        300,
    )
    assert done is not True, job.log
    broken.power_cut("node2")
    job.ends_complete()
    rows = job.rows(every_attempt=True)
    trials = [row["trial_id"] for row in rows if row["arm"] and row["status"] == "done"]
    assert len(trials) == len(set(trials)) == 9  # eight of the grid and the replicate
    assert {row["trial_id"] for row in done} <= set(trials)
    wait_for(lambda: not processes(job.number), 60)


@pytest.mark.faults
def test_near_its_time_limit_it_saves_and_goes_back_into_the_queue(broken, submit, tiny):
    job = submit(tiny(*LONG, "training.epochs=1000000", "engine.checkpoint_seconds=15"))
    saved = "unfinished/*/checkpoints/*"
    wait_for(lambda: len({p.parent for p in job.store.glob(saved)}) == 4 or job.is_over(), 300)
    before = time.time()
    said("scancel", "--batch", "--signal=USR2", job.number)
    wait_for(lambda: "Restarts=1" in said("scontrol", "show", "job", job.number))
    assert state(job.number) in ("PENDING", "COMPLETING"), job.log
    assert "the job goes back into the queue" in job.log
    wait_for(lambda: not processes(job.number))
    then = {path.parent for path in job.store.glob(saved) if path.stat().st_mtime > before}
    assert len(then) >= 2  # what was saved a moment before is not saved again
    assert not job.folders_of_ray()


@pytest.mark.faults
def test_a_job_whose_ray_is_killed_ends_with_an_error(broken, submit, tiny):
    job = submit(tiny(*LONG, "training.epochs=1000000"))
    wait_for(lambda: "4 at a time" in job.log or job.is_over(), 300)
    said("scancel", "--signal=KILL", f"{job.number}.0")
    wait_for(job.is_over)
    assert state(job.number) == "FAILED", job.log
    assert "Ray has ended on all nodes" in job.log
    wait_for(lambda: not processes(job.number))
