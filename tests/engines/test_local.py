from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from synthtrial import registry
from synthtrial.driver import keep_snapshot
from synthtrial.engine_config import EngineConfig
from synthtrial.engines import placement
from synthtrial.engines.local import LocalEngine, pack_text
from synthtrial.errors import EngineError
from synthtrial.plan import build, is_committed
from synthtrial.store.artifacts import open_store
from synthtrial.study import load
from synthtrial.testing.engines import EngineContract

# Gives an endless task to a worker, says the worker's pid and sleeps.
DRIVER = """
import sys, time
from pathlib import Path
from synthtrial.testing.engines import EngineContract
from synthtrial.engines.local import LocalEngine

def main():
    contract = EngineContract()
    store, plan, endless = contract._endless(Path(sys.argv[1]))
    with LocalEngine(store, contract.settings) as engine:
        engine.submit([endless])
        assert engine.wait(0.05) == []
        print(engine._workers[0].process.pid, flush=True)
        time.sleep(600)

if __name__ == "__main__":
    main()
"""

# A dataset that writes down who reads it, keeps it waiting, and runs out of memory at first.
SCARCE = """
import json, os, time
from dataclasses import dataclass
from pathlib import Path

from synthtrial.registry import Component
from synthtrial.testing.toys import ToyConfig, open_toy


@dataclass(frozen=True)
class ScarceConfig:
    log: str = ""
    until: str = ""
    failures: int = 0


class Scarce:
    def __init__(self, config):
        self.config = config
        self.toy = open_toy(ToyConfig(rows=12))

    def __getattr__(self, name):
        return getattr(self.toy, name)

    def samples(self):
        log = Path(self.config.log)
        with log.open("a") as file:
            gpu = os.environ.get("CUDA_VISIBLE_DEVICES")
            line = {"pid": os.getpid(), "gpu": gpu, "mask": sorted(os.sched_getaffinity(0))}
            file.write(json.dumps(line) + chr(10))
        while self.config.until and not Path(self.config.until).exists():
            time.sleep(0.01)
        if len(log.read_text().splitlines()) <= self.config.failures:
            raise MemoryError("no memory is left beside the others")
        yield from self.toy.samples()


DATASET = Component("scarce", 1, ScarceConfig, "scarce:Scarce")
"""
STUDY = """
name: scarce
dataset: {{name: scarce, log: {log}, until: '{until}', failures: {failures}}}
arms:
  none: {{}}
classifier: {{name: small_cnn}}
grid: {{learning_rate: [1.0e-2]}}
store: {{cache_path: {cache}}}
"""


def is_alive(pid):
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
        return stat.rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


class TestLocalEngine(EngineContract):
    def engine(self, store, settings):
        return LocalEngine(store, settings)

    def test_a_task_whose_process_is_killed_is_lost_and_may_be_tried_again(self, tmp_path):
        store, plan, endless = self._endless(tmp_path)
        with self.engine(store, self.settings) as engine:
            (job,) = engine.submit([endless])
            assert engine.wait(0.05) == []
            (worker,) = engine._workers
            os.kill(worker.process.pid, signal.SIGKILL)
            (found,) = engine.wait(60.0)
            assert (found.task_id, found.state, found.retry) == (endless.id, "lost", True)
            assert "killed by SIGKILL" in found.message
            assert engine.states([job]) == {job: "lost"}
            split = next(task for task in plan.tasks.values() if task.kind == "split")
            assert self.outcome(engine, split).state == "done"

    def test_a_worker_that_dies_idle_costs_nothing(self, tmp_path):
        store, plan = self.prepared(tmp_path)
        split, *_ = [task for task in plan.tasks.values() if task.kind == "split"]
        with self.engine(store, self.settings) as engine:
            assert self.outcome(engine, split).state == "done"
            (worker,) = engine._workers
            os.kill(worker.process.pid, signal.SIGKILL)
            worker.process.join()
            assert self.outcome(engine, split).state == "done"

    def test_more_tasks_than_idle_workers_are_refused(self, tmp_path):
        store, plan = self.prepared(tmp_path)
        tasks = [task for task in plan.ready() if task.kind == "trial"]
        with (
            self.engine(store, EngineConfig(workers=1, device="cpu")) as engine,
            pytest.raises(EngineError, match="2 tasks for 1 idle workers"),
        ):
            engine.submit(tasks[:2])

    def test_cancelling_one_task_leaves_the_others_running(self, tmp_path):
        store, plan, endless = self._endless(tmp_path)
        split = next(task for task in plan.tasks.values() if task.kind == "split")
        with self.engine(store, self.settings) as engine:
            first, second = engine.submit([endless, endless])
            assert engine.slots == 0
            engine.cancel([first])
            assert engine.states([first, second]) == {first: "lost", second: "running"}
            assert engine.slots == 1
            assert self.outcome(engine, split).state == "done"
            assert engine.states([second]) == {second: "running"}

    @pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks for the process in /proc")
    def test_workers_end_when_their_driver_is_killed(self, tmp_path):
        script = tmp_path / "driver.py"
        script.write_text(DRIVER)
        command = [sys.executable, str(script), str(tmp_path)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as driver:
            worker = int(driver.stdout.readline())
            assert is_alive(worker)
            driver.kill()
        deadline = time.monotonic() + 60
        while is_alive(worker):
            assert time.monotonic() < deadline, "the worker outlives its driver"
            time.sleep(0.1)


@pytest.fixture
def store(tmp_path):
    return open_store(tmp_path / "store")


@pytest.fixture
def scarce(tmp_path, store, monkeypatch):
    """Make a task that reads the dataset above: its name, what it waits for, how often it fails."""
    site = tmp_path / "site"
    info = site / "scarce-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: scarce\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[synthtrial.datasets]\nscarce = scarce:DATASET\n")
    (site / "scarce.py").write_text(SCARCE)
    monkeypatch.syspath_prepend(str(site))

    def forget():
        registry._installed.cache_clear()
        registry._entry_points.cache_clear()
        sys.modules.pop("scarce", None)

    def make(name, *, until="", failures=0):
        path = tmp_path / f"{name}.yaml"
        path.write_text(
            STUDY.format(
                log=tmp_path / f"{name}.log",
                until=until and tmp_path / until,
                failures=failures,
                cache=tmp_path / "cache",
            )
        )
        study = load(path)
        keep_snapshot(study, store)
        return next(task for task in build(study, None).tasks.values() if task.kind == "prepare")

    forget()
    yield make
    monkeypatch.undo()
    forget()


@pytest.fixture
def readers(tmp_path):
    """Return what those who read a task's dataset wrote down."""

    def read(name):
        path = tmp_path / f"{name}.log"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    return read


def wait_for(condition):
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def ended(engine, count):
    found = []
    while len(found) < count:
        found += engine.wait(1.0)
    return found


def test_what_runs_out_of_memory_beside_others_is_tried_again_alone(
    store, tmp_path, scarce, readers
):
    greedy, neighbour = scarce("greedy", failures=1), scarce("neighbour", until="go")
    later = scarce("later")
    with LocalEngine(store, EngineConfig(workers=3, device="cpu")) as engine:
        jobs = engine.submit([neighbour, greedy])
        wait_for(lambda: not engine.wait(0.05) and engine.states(jobs)[jobs[1]] == "queued")
        assert len(readers("greedy")) == 1
        assert engine.slots == 0  # the machine comes to rest
        with pytest.raises(EngineError, match="1 tasks for 0 idle workers"):
            engine.submit([later])
        (tmp_path / "go").touch()
        first, second = ended(engine, 2)
        assert (first.task_id, first.state) == (neighbour.id, "done")
        assert (second.task_id, second.state) == (greedy.id, "done")
        assert set(engine.states(jobs).values()) == {"done"}
        others = {reader["pid"] for reader in readers("neighbour") + readers("greedy")[:1]}
        assert readers("greedy")[1]["pid"] not in others
        assert not any(is_alive(pid) for pid in others)  # what they held is free
        assert engine.slots == 3
        engine.submit([later])
        assert [outcome.state for outcome in ended(engine, 1)] == ["done"]
    assert is_committed(store, greedy)


def test_what_runs_out_of_memory_alone_has_failed(store, scarce, readers):
    greedy = scarce("greedy", failures=9)
    with LocalEngine(store, EngineConfig(workers=2, device="cpu")) as engine:
        engine.submit([greedy])
        (found,) = ended(engine, 1)
        assert (found.state, found.cause, found.retry) == ("failed", "memory", True)
        assert "MemoryError" in found.message
        assert found.host == placement.host_name()
        assert len(readers("greedy")) == 2
        assert engine.slots == 2
    with LocalEngine(store, EngineConfig(workers=1, device="cpu")) as engine:
        engine.submit([greedy])
        assert [outcome.cause for outcome in ended(engine, 1)] == ["memory"]
        assert len(readers("greedy")) == 3  # it was alone: a second try would be no other


def test_a_task_that_waits_to_be_alone_can_be_cancelled(store, scarce, readers):
    greedy, neighbour = scarce("greedy", failures=1), scarce("neighbour", until="never")
    with LocalEngine(store, EngineConfig(workers=2, device="cpu")) as engine:
        jobs = engine.submit([neighbour, greedy])
        wait_for(lambda: not engine.wait(0.05) and engine.slots == 0 and readers("greedy"))
        wait_for(lambda: not engine.wait(0.05) and engine.states(jobs)[jobs[1]] == "queued")
        engine.cancel(jobs[1:])
        assert engine.states(jobs) == {jobs[0]: "running", jobs[1]: "lost"}
        assert engine.slots == 1
        assert engine.wait(0.05) == []
    assert len(readers("greedy")) == 1


def test_every_worker_sees_one_gpu_and_its_replacement_the_same(
    store, tmp_path, scarce, readers, monkeypatch
):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,GPU-5c,-1,7")  # the last is hidden by the -1
    tasks = [scarce(f"task{number}", until="go") for number in range(4)]
    names = [f"task{number}" for number in range(4)]
    settings = EngineConfig(trials_per_gpu=2)
    with LocalEngine(store, settings) as engine:
        assert engine.slots == 4
        assert engine.placement.endswith("; GPU 3: 2 workers, GPU GPU-5c: 2 workers")
        engine.submit(tasks)
        wait_for(lambda: all(readers(name) for name in names))
        seen = {name: readers(name)[0] for name in names}
        assert sorted(reader["gpu"] for reader in seen.values()) == ["3", "3", "GPU-5c", "GPU-5c"]
        assert len({reader["pid"] for reader in seen.values()}) == 4
        mask = sorted(os.sched_getaffinity(0))
        assert all(reader["mask"] == mask for reader in seen.values())
        os.kill(seen["task1"]["pid"], signal.SIGKILL)
        (lost,) = ended(engine, 1)
        assert (lost.task_id, lost.state, lost.cause) == (tasks[1].id, "lost", "killed")
        engine.submit([tasks[1]])
        wait_for(lambda: len(readers("task1")) == 2)
        assert readers("task1")[1]["gpu"] == seen["task1"]["gpu"]
        (tmp_path / "go").touch()
        assert {outcome.state for outcome in ended(engine, 4)} == {"done"}


def test_only_the_gpu_that_ran_out_of_memory_comes_to_rest(store, scarce, readers, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    greedy, others = scarce("greedy", failures=1), [scarce(f"t{n}", until="never") for n in "ab"]
    with LocalEngine(store, EngineConfig(trials_per_gpu=2)) as engine:
        jobs = engine.submit([*others, greedy])
        wait_for(lambda: not engine.wait(0.05) and engine.states(jobs)[jobs[2]] == "queued")
        assert engine.slots == 1  # of the two of the other GPU one is busy
        beside = readers("greedy")[0]["gpu"]
        for name, job in zip(["ta", "tb"], jobs, strict=False):
            wait_for(lambda name=name: readers(name))
            if readers(name)[0]["gpu"] == beside:
                engine.cancel([job])
        (found,) = ended(engine, 1)
        assert (found.task_id, found.state) == (greedy.id, "done")
        assert readers("greedy")[1]["gpu"] == beside
        assert engine.slots == 3


def catches(pid, number):
    """Whether a process has a handler for a signal: a training in its loop has one for SIGTERM."""
    (caught,) = re.findall(
        r"^SigCgt:\s*(\w+)", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE
    )
    return bool(int(caught, 16) >> (number - 1) & 1)


def test_stopping_lets_a_training_save_its_state_and_says_so(tmp_path):
    contract = EngineContract()
    store, _, endless = contract._endless(tmp_path)
    with LocalEngine(store, contract.settings, stop_seconds=60.0, label="batch") as engine:
        assert engine.name == "batch"
        engine.submit([endless])
        (worker,) = engine._workers
        wait_for(lambda: not engine.wait(0.05) and catches(worker.process.pid, signal.SIGTERM))
    (saved,) = engine.stop()
    assert (saved.task_id, saved.state, saved.retry) == (endless.id, "lost", True)
    assert saved.cause == "stopped"
    assert any((store.root / "unfinished" / endless.id / "checkpoints").iterdir())
    assert engine.stop() == [saved]


def test_a_finished_task_that_nobody_asked_about_is_not_lost_by_stopping(store, scarce, readers):
    done, waiting = scarce("done"), scarce("waiting", until="never")
    engine = LocalEngine(store, EngineConfig(workers=2, device="cpu"))
    with engine:
        jobs = engine.submit([done, waiting])
        wait_for(lambda: is_committed(store, done) and readers("waiting"))
        wait_for(lambda: len(engine.pipes) == 2 and engine.pipes[0].poll(0.05))
    outcomes = {outcome.task_id: outcome for outcome in engine.stop()}
    assert outcomes[done.id].state == "done"
    assert (outcomes[waiting.id].state, outcomes[waiting.id].cause) == ("lost", "stopped")
    assert engine.states(jobs) == {jobs[0]: "done", jobs[1]: "lost"}
    assert not is_alive(readers("waiting")[0]["pid"])


def test_without_gpus_there_is_one_worker_for_each_processor(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    count = placement.available_processors()
    assert placement.devices(EngineConfig()) == (placement.Device(None, count),)
    assert f"over {count} processes of one thread each on this" in pack_text(7, EngineConfig())
    mask = placement._processors_text()
    line = f"{placement.host_name()}: {mask}, 3 workers of one thread; GPUs: none"
    assert placement.describe(placement.devices(EngineConfig(workers=3))) == line


@pytest.mark.parametrize(
    ("declared", "settings", "expected"),
    [
        ("0,1", EngineConfig(), [("0", 1), ("1", 1)]),
        ("0, 1", EngineConfig(trials_per_gpu=3), [("0", 3), ("1", 3)]),
        ("0,1", EngineConfig(workers=3), [("0", 2), ("1", 1)]),
        ("0,1", EngineConfig(workers=1, trials_per_gpu=4), [("0", 1)]),
        ("MIG-6f/1/0", EngineConfig(), [("MIG-6f/1/0", 1)]),
        ("NoDevFiles", EngineConfig(workers=2), [(None, 2)]),
        ("0,1", EngineConfig(workers=2, device="cpu"), [(None, 2)]),
    ],
)
def test_workers_are_dealt_out_to_the_gpus(monkeypatch, declared, settings, expected):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", declared)
    found = placement.devices(settings)
    assert [(device.gpu, device.seats) for device in found] == expected


def test_gpus_that_nobody_declared_count_if_they_may_be_opened(monkeypatch, tmp_path):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(placement, "_DRIVER", tmp_path / "gpus")
    monkeypatch.setattr(placement, "_NODES", tmp_path)
    monkeypatch.setattr(placement, "_torch_has_cuda", lambda: True)
    assert placement.visible_gpus() == ()
    for minor in (0, 4):
        folder = tmp_path / "gpus" / f"0000:{minor:02x}:00.0"
        folder.mkdir(parents=True)
        (folder / "information").write_text(f"Model: \t H100\nDevice Minor: \t {minor}\n")
    (tmp_path / "nvidia4").touch()
    assert placement.visible_gpus() == ("0",)
    (tmp_path / "nvidia0").touch()
    assert placement.visible_gpus() == ("0", "1")
    monkeypatch.setattr(placement, "_torch_has_cuda", lambda: False)
    assert placement.visible_gpus() == ()


def test_the_fork_server_leaves_cuda_alone():
    code = """
import torch
def forbidden(*arguments):
    raise AssertionError("CUDA was asked for before the workers were forked")
for name in ("_cuda_init", "_cuda_getDeviceCount", "_cuda_setDevice", "_cuda_getDevice"):
    if hasattr(torch._C, name):
        setattr(torch._C, name, forbidden)
torch.cuda.is_available = torch.cuda.device_count = torch.cuda._lazy_init = forbidden
import importlib
from synthtrial.engines.worker import PRELOAD
for module in PRELOAD:
    importlib.import_module(module)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
