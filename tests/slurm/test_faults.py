"""Whatever the cluster does to its jobs, a study ends complete, and nothing is trained twice.

Each test breaks a cluster of its own while trials run. `make test-faults` runs them.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from polling import wait_for

from synthtrial.engines import submissions as subs
from synthtrial.plan import build
from synthtrial.store.artifacts import open_store
from synthtrial.store.records import read_records
from synthtrial.study import load

pytestmark = [pytest.mark.faults, pytest.mark.timeout(900)]

SCRIPTS = Path(__file__).parents[2] / "slurm"
#: Four trials of some seconds, which save a checkpoint every second.
LONG = (
    "arms={none: {}}",
    "regimens=[1.0]",
    "grid={learning_rate: [0.01, 0.003, 0.001, 0.0003]}",
    "training.epochs=400",
    "protocol.draws=1",
    "protocol.replicates=1",
    "engine.checkpoint_seconds=1",
    "engine.device=cpu",
    "engine.slurm.poll_seconds=1",
    "engine.site=devslurm",
)


class Drive:
    """A study that runs through the queue of a cluster, in a process of its own."""

    def __init__(self, cluster, place, *overrides):
        self.cluster = cluster
        self.place = place
        self.overrides = [
            *LONG,
            f"store.path={place / 'store'}",
            f"store.report_path={place / 'reports'}",
            f"store.cache_path={place / 'cache'}",
            *overrides,
        ]
        self.environment = {**os.environ, **cluster.environment}
        self.store = open_store(place / "store")
        self.process = self.start()

    def start(self):
        command = [sys.executable, "-m", "synthtrial", "run", "digits", "--engine", "slurm"]
        return subprocess.Popen(
            [*command, *self.overrides],
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def running(self):
        """The job, node and process of a trial that has saved a checkpoint, once there is one."""

        def look():
            for submission in subs.read_submissions(self.store, "digits"):
                for index, pack in enumerate(submission.packs):
                    saved = [
                        id_
                        for id_ in pack.seconds
                        if list((self.store.root / "unfinished" / id_).rglob("step-*.pt"))
                    ]
                    for path in subs.event_files(submission, index) if saved else []:
                        events, _ = subs.read_events(path)
                        if events and events[-1]["event"] != "end":
                            return submission.job(index), events[0]["node"]
            assert self.process.poll() is None, self.process.communicate()[0]
            return None

        return wait_for(look)

    def end(self):
        """Wait for the end of the study; return what the command said."""
        said, _ = self.process.communicate(timeout=800)
        return said

    def ends_complete(self):
        """Wait for the end; everything must be done, and no trial that was finished twice."""
        said = self.end()
        assert self.process.returncode == 0, said
        plan = build(load("digits", self.overrides), self.store)
        assert plan.complete
        assert not plan.failures
        rows = read_records(self.store, every_attempt=True).to_pylist()
        done = [row["trial_id"] for row in rows if row["status"] == "done"]
        assert len(done) == len(set(done)) == 5  # four of the grid and the replicate
        return said

    def troubles(self):
        known = subs.read_submissions(self.store, "digits")
        return [trouble for item in known for trouble in subs.troubles_of(item)]

    def resumed(self):
        """Whether a trial went on from a checkpoint instead of beginning again."""
        logs = self.store.root.glob("jobs/digits/*/slurm/*.out")
        return any(re.search(r"goes? on (from|at|after) step", log.read_text()) for log in logs)


@pytest.fixture
def drive(new_slurm, tmp_path):
    made = []

    def start(*overrides, **options):
        made.append(Drive(new_slurm(**options), tmp_path, *overrides))
        return made[-1]

    yield start
    for item in made:
        if item.process.poll() is None:
            item.process.kill()
            item.process.communicate()


def test_a_job_that_is_requeued_in_mid_trial(drive):
    study = drive()
    job, _ = study.running()
    study.cluster.run("scontrol", "requeue", job)
    study.ends_complete()
    events = list(study.store.root.glob("jobs/digits/*/events/*-001.jsonl"))
    assert events  # the same job began a second time


def test_a_job_whose_processes_are_killed(drive):
    study = drive()
    study.running()
    # scancel would let SLURM end the job in good order.
    subprocess.run(["pkill", "-KILL", "-f", f"submitit.core._submit {study.store.root}"])
    study.ends_complete()
    assert any(trouble.cause == "killed" for trouble in study.troubles())


def test_a_job_that_is_asked_to_stop(drive):
    study = drive()
    job, _ = study.running()
    study.cluster.run("scancel", "--signal=USR2", job)
    study.ends_complete()
    assert {trouble.cause for trouble in study.troubles()} <= {"stopped"}


def test_a_node_that_is_set_down(drive):
    study = drive()
    _, node = study.running()
    study.cluster.run("scontrol", "update", f"nodename={node}", "state=down", "reason=test")
    study.ends_complete()
    hosts = set(read_records(study.store)["host"].to_pylist())
    assert hosts - {node}


def test_a_node_whose_power_is_cut(drive):
    study = drive()
    _, node = study.running()
    study.cluster.power_cut(node)
    study.ends_complete()
    hosts = set(read_records(study.store)["host"].to_pylist())
    assert hosts - {node}


def test_a_controller_that_is_restarted(drive):
    study = drive()
    study.running()
    study.cluster.restart_controller(kill=True)
    study.ends_complete()


def test_a_partition_that_preempts(drive):
    study = drive()
    _, node = study.running()
    study.cluster.run(
        "sbatch", "-p", "high", "-w", node, "--exclusive", "-o", "/dev/null", "--wrap", "sleep 5"
    )
    study.ends_complete()


def test_a_time_limit_that_comes_in_mid_trial(drive):
    study = drive('engine.slurm.time="00:01:00"', "training.epochs=2500", "engine.workers=1")
    study.ends_complete()
    jobs = [s for s in subs.read_submissions(study.store, "digits") if s.packs]
    assert len(jobs) > 3  # prepare, the grid, the replicate, and what one job had no time for


def test_a_person_who_cancels_a_job_is_obeyed(drive):
    study = drive()
    job, _ = study.running()
    study.cluster.run("scancel", job.partition("_")[0])
    said = study.end()
    assert study.process.returncode == 1
    assert "CANCELLED" in said
    study.process = study.start()
    study.ends_complete()


def test_a_driver_that_dies_and_comes_back(drive):
    study = drive()
    study.running()
    study.process.send_signal(signal.SIGKILL)
    study.process.communicate()
    study.process = study.start()
    study.ends_complete()


def test_a_job_that_needs_more_memory_than_it_has(drive):
    """Alone it fits; where even that is too much, the record says so."""
    study = drive("engine.slurm.memory_gb=0.2")
    said = study.end()
    assert study.process.returncode == 1
    assert "prepare digits: failed for good: job " in said
    causes = [trouble.cause for trouble in study.troubles()]
    assert set(causes) == {"memory"}
    rows = read_records(study.store).to_pylist()
    assert [(row["kind"], row["status"]) for row in rows] == [("prepare", "failed")]
    assert "memory limit" in rows[0]["message"]
    study.overrides.append("engine.slurm.memory_gb=4")
    study.process = study.start()
    study.ends_complete()
