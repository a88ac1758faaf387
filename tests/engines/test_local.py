from __future__ import annotations

import os
import signal

import pytest

from synthtrial.config import EngineConfig
from synthtrial.engines.local import LocalEngine
from synthtrial.errors import EngineError
from synthtrial.testing.engines import EngineContract


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
