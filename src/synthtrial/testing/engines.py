"""What every engine must do, for authors of engines and for our own.

Subclass the contract in a pytest file and say how the engine is made:

    class TestMyEngine(EngineContract):
        def engine(self, store, settings):
            return MyEngine(store, settings)

The tasks are those of the shipped digits study, cut down to two steps each.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar

from synthtrial.driver import keep_snapshot
from synthtrial.engine_config import EngineConfig
from synthtrial.engines.base import Engine, Outcome
from synthtrial.plan import Plan, build, is_committed
from synthtrial.store.artifacts import Store, open_store, read_artifact
from synthtrial.store.journal import journals
from synthtrial.store.records import seal_abandoned
from synthtrial.study import Study
from synthtrial.tasks import Task, TaskKind
from synthtrial.testing.studies import measured, run_here, smallest


class EngineContract:
    """The contract of an engine.

    Attributes:
        settings: that the engine is made with.
    """

    settings: ClassVar[EngineConfig] = EngineConfig(workers=2, device="cpu")

    def engine(self, store: Store, settings: EngineConfig) -> Engine:
        """Make the engine; it is used as a context manager."""
        raise NotImplementedError("say how the engine is made")

    @contextmanager
    def running(self, store: Store) -> Iterator[Engine]:
        """Start the engine and stop it."""
        with self.engine(store, self.settings) as engine:
            yield engine

    def study(self, folder: Path, *overrides: str) -> Study:
        """Return a study whose decoded images are cached under ``folder``."""
        return smallest("digits", f"store.cache_path={folder / 'cache'}", *overrides)

    def prepared(self, folder: Path, *overrides: str) -> tuple[Store, Plan]:
        """Return a store that holds the dataset and the split, and the plan of what is left."""
        return self._prepared(folder, self.study(folder, *overrides))

    def outcome(self, engine: Engine, task: Task) -> Outcome:
        """Run one task to its end."""
        engine.submit([task])
        (found,) = _ended(engine, 1)
        assert found.task_id == task.id
        return found

    def test_a_task_is_done_when_it_says_so(self, tmp_path: Path) -> None:
        """Its artifact is committed, its job is over, its place is free again."""
        store, study = open_store(tmp_path / "store"), self.study(tmp_path)
        keep_snapshot(study, store)
        task = _first(build(study, None), "prepare")
        with self.running(store) as engine:
            free = engine.slots
            assert free > 0
            (job,) = engine.submit([task])
            (found,) = _ended(engine, 1)
            assert (found.task_id, found.state, found.message) == (task.id, "done", "")
            assert found.seconds > 0
            assert engine.states([job]) == {job: "done"}
            assert engine.slots == free
        assert is_committed(store, task)

    def test_a_preview_starts_nothing(self, tmp_path: Path) -> None:
        """It says in words what would be started."""
        store, plan = self.prepared(tmp_path)
        tasks = list(plan.ready())
        assert len(tasks) > 3
        with self.running(store) as engine:
            free = engine.slots
            assert re.search(rf"\b{len(tasks)}\b", engine.preview(tasks))
            assert engine.slots == free
            assert engine.wait(60.0) == []  # at once: nothing runs that could end
        assert not any(is_committed(store, task) for task in tasks)

    def test_every_task_given_is_reported_once(self, tmp_path: Path) -> None:
        """As many at a time as there is room for."""
        store, plan = self.prepared(tmp_path)
        tasks = [task for task in plan.ready() if task.kind == "trial"][:5]
        waiting, reported = list(tasks), list[Outcome]()
        with self.running(store) as engine:
            while len(reported) < len(tasks):
                now = [waiting.pop() for _ in range(min(engine.slots, len(waiting)))]
                if now:
                    assert engine.submit(now)
                reported += engine.wait(1.0)
        assert sorted(item.task_id for item in reported) == sorted(task.id for task in tasks)
        assert {item.state for item in reported} == {"done"}
        assert build(plan.study, store).done >= {task.id for task in tasks}

    def test_results_are_those_of_any_other_engine(self, tmp_path: Path) -> None:
        """Bit for bit what the same task gives when it is run right here."""
        store, plan = self.prepared(tmp_path / "one")
        task = next(task for task in plan.ready() if task.kind == "trial")
        with self.running(store) as engine:
            assert self.outcome(engine, task).state == "done"
        other, _ = self.prepared(tmp_path / "two")
        run_here(plan.study, other, only=lambda item: item.id == task.id)
        assert measured(store)[task.id] == measured(other)[task.id]

    def test_running_a_task_again_changes_nothing(self, tmp_path: Path) -> None:
        """The first commit wins."""
        store, plan = self.prepared(tmp_path)
        task = _first(plan, "split")
        before = read_artifact(store, "split", task.id).manifest
        with self.running(store) as engine:
            assert self.outcome(engine, task).state == "done"
        assert read_artifact(store, "split", task.id).manifest == before

    def test_a_deliberate_error_is_final_and_reads_as_one_line(self, tmp_path: Path) -> None:
        """It would only come again, so it is not to be retried."""
        store, plan = self.prepared(tmp_path, "regimens=[0.001]")
        with self.running(store) as engine:
            found = self.outcome(engine, _first(plan, "allocate"))
        assert (found.state, found.retry, found.fatal) == ("failed", False, False)
        assert "has no image of class" in found.message
        assert "Traceback" not in found.message

    def test_an_unexpected_error_comes_with_its_traceback(self, tmp_path: Path) -> None:
        """It may go away, so it may be retried; the engine goes on meanwhile."""
        store, plan = self.prepared(tmp_path)
        broken = dataclasses.replace(_first(plan, "allocate"), payload={})
        with self.running(store) as engine:
            found = self.outcome(engine, broken)
            assert (found.state, found.retry, found.fatal) == ("failed", True, False)
            assert "Traceback" in found.message
            assert "KeyError" in found.message
            assert self.outcome(engine, _first(plan, "allocate")).state == "done"

    def test_a_broken_store_ends_the_run(self, tmp_path: Path) -> None:
        """Every other task would meet it too."""
        store, plan = self.prepared(tmp_path)
        dataset = _first(plan, "prepare").id
        for shard in (store.root / "dataset" / dataset).glob("*.parquet"):
            shard.unlink()
        with self.running(store) as engine:
            cold = dataclasses.replace(_first(plan, "split"), id="again")
            found = self.outcome(engine, cold)
        assert (found.state, found.fatal) == ("failed", True)
        assert "is missing" in found.message

    def test_a_cancelled_task_is_as_if_it_had_never_started(self, tmp_path: Path) -> None:
        """No outcome, no artifact, and room for the next."""
        store, plan, endless = self._endless(tmp_path)
        with self.running(store) as engine:
            free = engine.slots
            (job,) = engine.submit([endless])
            assert engine.wait(0.05) == []
            engine.cancel([job])
            assert engine.states([job])[job] not in ("queued", "running", "done")
            assert engine.wait(0.05) == []
            assert engine.slots == free
            assert self.outcome(engine, _first(plan, "split")).state == "done"
        assert not is_committed(store, endless)

    def test_nothing_outlives_the_engine(self, tmp_path: Path) -> None:
        """Leaving it stops its tasks; no writer of records is left alive.

        An engine whose jobs go on without it has a test of its own instead: the next one adopts
        them, and cancelling leaves nothing.
        """
        store, _, endless = self._endless(tmp_path)
        with self.running(store) as engine:
            engine.submit([endless])
            assert engine.wait(0.05) == []
        seal_abandoned(store)
        assert not journals(store)
        assert not is_committed(store, endless)

    def _endless(self, folder: Path) -> tuple[Store, Plan, Task]:
        study = self.study(folder).replace(["gan_training.steps=1000000000"])
        store, plan = self._prepared(folder, study)
        return store, plan, _first(plan, "train_gan")

    def _prepared(self, folder: Path, study: Study) -> tuple[Store, Plan]:
        store = open_store(folder / "store")
        return store, run_here(study, store, only=lambda task: task.kind in ("prepare", "split"))


def _first(plan: Plan, kind: TaskKind) -> Task:
    return next(task for task in plan.tasks.values() if task.kind == kind)


def _ended(engine: Engine, count: int) -> list[Outcome]:
    found: list[Outcome] = []
    while len(found) < count:
        found += engine.wait(1.0)
    return found
