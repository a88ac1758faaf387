from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from synthtrial.config import EngineConfig
from synthtrial.engines.local import LocalEngine
from synthtrial.errors import EngineError
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
