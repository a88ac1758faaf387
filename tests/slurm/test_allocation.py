"""The engine of one allocation, and its batch script, on a real SLURM cluster of two nodes."""

from __future__ import annotations

import dataclasses
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from inside import processes, said, state
from polling import wait_for

from synthtrial.engine_config import EngineConfig
from synthtrial.engines import channel
from synthtrial.engines.allocation import AllocationEngine
from synthtrial.errors import EngineError, InterruptedTrainingError
from synthtrial.plan import build
from synthtrial.store.artifacts import open_store
from synthtrial.store.records import read_records
from synthtrial.study import load
from synthtrial.testing.engines import EngineContract
from synthtrial.testing.studies import measured

SCRIPT = Path(__file__).parents[2] / "slurm" / "study.sbatch"

# Gives an endless task to each node and sleeps.
DRIVER = """
import dataclasses, sys, time
from pathlib import Path
from synthtrial.engines.allocation import AllocationEngine
from synthtrial.testing.engines import EngineContract

def main():
    contract = EngineContract()
    store, plan, endless = contract._endless(Path(sys.argv[1]))
    with AllocationEngine(store, contract.settings) as engine:
        engine.submit([dataclasses.replace(endless, id=name) for name in ("one", "other")])
        print("running", flush=True)
        time.sleep(600)

if __name__ == "__main__":
    main()
"""


@pytest.fixture(scope="class")
def job(slurm):
    """An allocation of both nodes that nothing runs in yet."""
    more = ["--no-kill", "--ntasks-per-node=1", "--cpus-per-task=4", "--job-name=allocation"]
    granted = said("salloc", "--nodes=2", "--no-shell", *more)
    number = re.search(r"Granted job allocation (\d+)", granted)[1]
    yield number
    said("scancel", number)
    wait_for(lambda: not said("squeue", "--noheader", f"--jobs={number}"))


@pytest.fixture
def inside(job, monkeypatch):
    """Make this process one of the job, like a shell that `salloc` opens."""
    monkeypatch.setenv("SLURM_JOB_ID", job)
    monkeypatch.setenv("SLURM_JOB_NUM_NODES", "2")
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", "4")
    yield job
    assert processes(job) == []


@pytest.mark.usefixtures("inside")
class TestAllocationEngine(EngineContract):
    settings = EngineConfig(workers=1, device="cpu")
    # What an agent's own pool says passes through; a job step for each of these shows no more.
    test_a_deliberate_error_is_final_and_reads_as_one_line = None
    test_running_a_task_again_changes_nothing = None

    def engine(self, store, settings):
        return AllocationEngine(store, settings)

    def two(self, folder):
        """Return a store and two endless tasks: one for each node."""
        store, plan, endless = self._endless(folder)
        return store, plan, [dataclasses.replace(endless, id=name) for name in ("one", "other")]

    def test_a_killed_agent_costs_its_tasks_and_not_the_run(self, tmp_path, inside):
        store, plan, tasks = self.two(tmp_path)
        split = next(task for task in plan.tasks.values() if task.kind == "split")
        with self.engine(store, self.settings) as engine:
            assert engine.slots == 2
            jobs = engine.submit(tasks)
            assert engine.slots == 0
            for host, left in (("node2", 1), ("node1", 0)):
                wait_for(lambda host=host: processes(inside, "forkserver", host=host))
                (agent,) = processes(inside, "synthtrial.engines.agent", host=host)
                os.kill(agent, signal.SIGKILL)
                (lost,) = wait_for(lambda engine=engine: engine.wait(1.0))
                assert (lost.state, lost.cause, lost.retry) == ("lost", "node", True)
                assert lost.host == host
                states = list(engine.states(jobs).values())
                assert states.count("running") == left
                if left:
                    engine.cancel([name for name, s in engine.states(jobs).items() if s != "lost"])
                    assert engine.slots == left
                    found = self.outcome(engine, split)
                    assert (found.state, found.host) == ("done", "node1")
                    engine.submit(tasks[:1])
            assert engine.slots == 0
            with pytest.raises(EngineError, match="no node is left: the agents on node2, node1"):
                engine.wait(1.0)

    def test_a_signal_to_one_agent_stops_all_in_good_order(self, tmp_path, inside):
        store, _, tasks = self.two(tmp_path)
        with self.engine(store, self.settings) as engine:
            engine.submit(tasks)
            for host in ("node1", "node2"):
                wait_for(lambda host=host: training(inside, host))
            (agent,) = processes(inside, "synthtrial.engines.agent", host="node2")
            os.kill(agent, signal.SIGUSR2)
            with pytest.raises(InterruptedTrainingError) as stopped:
                wait_for(lambda: engine.wait(1.0))
            assert stopped.value.exit_code == 75
            assert engine.slots == 0
        for task in tasks:
            assert any((store.root / "unfinished" / task.id / "checkpoints").iterdir())

    def test_no_process_outlives_a_killed_driver(self, tmp_path, inside):
        script = tmp_path / "driver.py"
        script.write_text(DRIVER)
        command = [sys.executable, str(script), str(tmp_path)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as driver:
            assert driver.stdout.readline() == "running\n"
            for host in ("node1", "node2"):
                wait_for(lambda host=host: training(inside, host))
            driver.kill()
        wait_for(lambda: not processes(inside))
        wait_for(lambda: not said("squeue", "--noheader", "--steps", f"--jobs={inside}"))

    @pytest.mark.faults
    def test_a_node_without_power_is_given_up(self, tmp_path, slurm, monkeypatch):
        monkeypatch.setattr(channel, "_IDLE_SECONDS", 1)
        monkeypatch.setattr(channel, "_PROBE_SECONDS", 1)
        store, _, tasks = self.two(tmp_path)
        try:
            with self.engine(store, self.settings) as engine:
                engine.submit(tasks)
                assert engine.wait(0.5) == []
                slurm.power_cut("node2")
                (lost,) = wait_for(lambda: engine.wait(1.0))
                assert (lost.state, lost.cause, lost.host) == ("lost", "node", "node2")
                assert sorted(engine.states(["allocation-0", "allocation-1"]).values()) == [
                    "lost",
                    "running",
                ]
                assert engine.slots == 0  # node1 is busy, and alive
        finally:
            slurm.power_on("node2")


def training(job, host):
    """Whether a worker on a node is in its training: it then has a handler for SIGTERM."""
    for pid in processes(job, "forkserver", host=host):
        status = Path(f"/proc/{pid}/status").read_text()
        if int(re.search(r"SigCgt:\s*(\w+)", status)[1], 16) >> (signal.SIGTERM - 1) & 1:
            return True
    return False


@pytest.fixture
def submit(slurm, tmp_path):
    """Submit the batch script from a folder of its own; return the job's number."""
    jobs = []

    def make(overrides, *options):
        command = Path(sys.executable).parent / "synthtrial"
        assert command.exists() or shutil.which("synthtrial")
        environment = os.environ | {"SYNTHTRIAL": str(command)}
        options = ["--parsable", "--nodes=2", "--cpus-per-task=2", "--mem-per-cpu=2G", *options]
        jobs.append(
            said("sbatch", *options, str(SCRIPT), *overrides, cwd=tmp_path, env=environment).strip()
        )
        return jobs[-1]

    yield make
    for number in jobs:
        subprocess.run(["scancel", number], check=False)
        wait_for(lambda number=number: not processes(number))


def results(overrides):
    store = open_store(Path(load("digits", overrides).settings.store.path), create=False)
    return measured(store), read_records(store).to_pylist()


@pytest.mark.faults
def test_a_study_on_two_nodes_one_of_which_loses_its_agent_gives_the_bits_of_one_machine(
    finished_study, submit, tiny
):
    # The cluster's GPUs are declared only: workers are dealt out to them and find a processor.
    overrides = tiny("engine.device=auto")
    number = submit(["digits", *overrides], "--gpus-per-node=2")
    store = Path(load("digits", overrides).settings.store.path)

    def worked(host):
        ready = (store / "records").is_dir()
        return ready and any(row["host"] == host for row in results(overrides)[1])

    (agent,) = wait_for(lambda: processes(number, "synthtrial.engines.agent", host="node2"))
    wait_for(lambda: worked("node2"))
    os.kill(agent, signal.SIGKILL)
    wait_for(lambda: state(number) not in ("RUNNING", "COMPLETING"))
    log = store.parent / "reports" / "digits" / f"job-{number}.log"
    assert state(number) == "COMPLETED", log.read_text()
    measured, rows = results(overrides)
    assert measured == results(finished_study[0])[0]
    assert {row["engine"] for row in rows} == {"allocation"}
    assert {row["host"] for row in rows} == {"node1", "node2"}
    assert build(load("digits", overrides), open_store(store)).complete
    assert "report: " in log.read_text()
    places = re.findall(r"^(node\d): .*; GPU 0: 1 worker, GPU 1: 1 worker$", log.read_text(), re.M)
    assert sorted(places) == ["node1", "node2"]


@pytest.mark.faults
def test_a_job_near_its_time_limit_saves_its_trainings_and_goes_back_into_the_queue(submit, tiny):
    overrides = tiny("gan_training.steps=30000")
    store = Path(load("digits", overrides).settings.store.path)
    number = submit(["digits", *overrides])
    wait_for(lambda: list(store.glob("unfinished/*/progress.json")))  # a GAN has taken steps
    said("scancel", "--batch", "--signal=USR2", number)
    wait_for(lambda: "Restarts=1" in said("scontrol", "show", "job", number))
    assert state(number) in ("PENDING", "COMPLETING")
    wait_for(lambda: not processes(number))
    assert list(store.glob("unfinished/*/checkpoints/*"))
    log = (store.parent / "reports" / "digits" / f"job-{number}.log").read_text()
    assert "asked to stop" in log
    assert "the job goes back into the queue" in log


def test_a_cancelled_job_does_not_come_back(submit, tiny):
    overrides = tiny("gan_training.steps=1000000", "engine.workers=1")
    number = submit(["digits", *overrides])
    wait_for(lambda: any(training(number, host) for host in ("node1", "node2")))
    said("scancel", number)
    wait_for(lambda: state(number) == "CANCELLED")
    wait_for(lambda: not processes(number))
    assert "Restarts=0" in said("scontrol", "show", "job", number)
