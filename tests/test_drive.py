"""One pass over a plan with an engine that does nothing but leave results."""

from __future__ import annotations

import pytest

from synthtrial import drive as module
from synthtrial.drive import Drive
from synthtrial.engines.base import Outcome
from synthtrial.plan import build
from synthtrial.store import records
from synthtrial.store.artifacts import draft, open_store
from synthtrial.store.records import RecordWriter, read_records
from synthtrial.store.segments import list_segments, segment_folder
from synthtrial.study import load


class Leaving:
    """Every task is done at once; each trial is a pack of its own, so it leaves a segment."""

    slots = 8

    def __init__(self, store, study):
        self.store, self.study, self.ended = store, study, []

    def adopt(self, plan, clock):
        return {}

    def submit(self, tasks):
        for task in tasks:
            if task.kind == "select":
                with draft(self.store, "selection", task.id, inputs={}) as made:
                    made.info.update(configuration=dict(self.study.configurations[0]))
            if task.trial is not None:
                row = {"trial_id": task.id, "kind": "trial", "status": "done", "attempt": 1}
                with RecordWriter(self.store) as writer:
                    writer.append(row)
            self.ended.append(Outcome(task.id, "done"))

    def wait(self, seconds):
        ended, self.ended = self.ended, []
        return ended


class Counting:
    """Counts the files that hold records, whenever a task has ended."""

    def __init__(self, store):
        self.store, self.most, self.tasks = store, 0, 0

    def started(self, plan, engine, clock):
        pass

    def ended(self, task, outcome, plan):
        self.tasks += 1
        self.most = max(self.most, len(list(segment_folder(self.store).glob("*"))))

    def waiting(self, plan):
        pass


@pytest.mark.parametrize("replicates", [16, 48])
def test_a_run_leaves_few_files_whatever_its_length(tmp_path, monkeypatch, replicates):
    monkeypatch.setattr(module, "TASKS_BETWEEN", 20)
    monkeypatch.setattr(records, "LIVE_SEGMENTS", 4)
    monkeypatch.setattr(records, "GRACE_SECONDS", -1.0)
    monkeypatch.setattr("os.fsync", lambda _: None)
    monkeypatch.setattr("synthtrial.store.journal._sync", lambda _: None)
    study = load("digits", [f"protocol.replicates={replicates}", "regimens=[1.0]"])
    store = open_store(tmp_path)
    counting = Counting(store)
    with RecordWriter(store) as writer:
        Drive(build(study, store), store, Leaving(store, study), writer, counting).loop()
    trials = 5 * (18 + replicates)
    assert counting.tasks > trials
    assert read_records(store).num_rows == trials
    # What a compaction has superseded stays until the next.
    assert counting.most <= 3 * (20 + Leaving.slots)
    assert len(list_segments(store).live) <= 20 + 8 + 1
    assert build(study, store).undecided == 0
