"""The contract of engines, kept by SLURM's queue, whose jobs outlive who submits them."""

from __future__ import annotations

import subprocess
from contextlib import contextmanager

import pytest
from polling import wait_for

from synthtrial.engines import submissions as subs
from synthtrial.engines.slurm.control import cancel_study
from synthtrial.engines.slurm.engine import SlurmEngine
from synthtrial.estimates import Clock
from synthtrial.plan import build, is_committed
from synthtrial.store.journal import journals
from synthtrial.store.records import seal_abandoned
from synthtrial.study import load
from synthtrial.testing.engines import EngineContract


def queued():
    done = subprocess.run(["squeue", "-h", "-o", "%i"], capture_output=True, text=True, check=True)
    return done.stdout.split()


@pytest.mark.usefixtures("slurm")
class TestSlurmEngine(EngineContract):
    test_nothing_outlives_the_engine = None  # all of it does, until somebody cancels it

    def study(self, folder, *overrides):
        engine = ("name=slurm", "site=devslurm", "slurm.poll_seconds=1", "device=cpu")
        settings = [f"engine.{setting}" for setting in engine]
        return super().study(folder, f"store.path={folder / 'store'}", *settings, *overrides)

    def engine(self, store, settings):
        (path,) = (store.root / "studies").glob("*.yaml")
        return SlurmEngine(store, load(path))

    @contextmanager
    def running(self, store):
        (path,) = (store.root / "studies").glob("*.yaml")
        plan = build(load(path), store)
        with super().running(store) as engine:
            assert engine.adopt(plan, Clock(plan, store)) == {}
            yield engine

    def test_its_jobs_go_on_without_it_and_the_next_adopts_them(self, tmp_path):
        store, plan, endless = self._endless(tmp_path)
        with self.running(store) as engine:
            engine.submit([endless])
            assert engine.wait(0.05) == []
        with self.running(store) as engine:
            (job,) = engine.submit([endless])
            wait_for(lambda: not engine.wait(0.5) and engine.states([job])[job] == "running")
        (submission,) = subs.read_submissions(store, plan.study.name)
        assert queued() == [submission.job_id]
        assert cancel_study(store, plan.study.name) == [submission.job_id]
        assert queued() == []
        seal_abandoned(store)
        assert not journals(store)
        assert not is_committed(store, endless)

    def test_a_cancelled_task_takes_no_other_with_it(self, tmp_path):
        store, plan, endless = self._endless(tmp_path)
        trial = next(task for task in plan.ready() if task.kind == "trial")
        with self.running(store) as engine:
            job, _ = engine.submit([endless, trial])
            found = []

            def runs():
                found.extend(engine.wait(0.5))
                return engine.states([job])[job] == "running"

            wait_for(runs)
            engine.cancel([job])
            wait_for(lambda: found or found.extend(engine.wait(1.0)))
            wait_for(lambda: not queued())
            assert [(item.task_id, item.state) for item in found] == [(trial.id, "done")]
            assert engine.wait(0.0) == []
