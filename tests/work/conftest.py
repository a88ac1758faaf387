from __future__ import annotations

import numpy as np
import pytest

from synthtrial.plan import build
from synthtrial.store.artifacts import open_store
from synthtrial.store.files import write_file
from synthtrial.store.records import read_records
from synthtrial.study import load
from synthtrial.work import Context, run_task

#: Several classes an image, patients, uncertain labels.
WARDS = """
name: wards
dataset: {name: toy_multi, rows: 300, uncertain: 0.2}
split: {test: 0.3, validation: 0.2}
regimens: [1.0]
balance: {classes: [crack, dent], target: 0.4}
arms:
  none: {}
  gan: {synthetic: true}
  gan_short: {synthetic: true, steps_of: none}
  gan_shuffled_labels: {synthetic: true, shuffle_labels: true}
  flips_of_dents: {augment: [{name: flip}], augment_only: [dent]}
generator: {name: projection, width: 8}
gan_training: {steps: 5}
classifier: {name: small_cnn}
training: {epochs: 2}
grid: {learning_rate: [0.01, 0.003]}
protocol: {draws: 1, replicates: 1, select_by: auc}
metrics: [auc, auc_certain]
statistics: {overall: auc, per_class: auc}
engine: {device: cpu}
"""


class Wards:
    """A store in which single tasks of the study are run by hand, in this process."""

    def __init__(self, folder, overrides):
        path = folder / "wards.yaml"
        path.write_text(WARDS)
        places = [f"store.path={folder / 'store'}", f"store.cache_path={folder / 'cache'}"]
        self.study = load(path, [*places, *overrides])
        self.store = open_store(folder / "store", create=True)
        self.plan = build(self.study, None)
        snapshots = self.store.root / "studies"
        snapshots.mkdir(exist_ok=True)
        write_file(snapshots / f"{self.study.digest}.yaml", self.study.snapshot().encode())
        self.context = Context(self.store, engine="wards", device="cpu")

    def task(self, kind, **where):
        return next(
            task
            for task in self.plan.tasks.values()
            if task.kind == kind
            and all(getattr(task.trial, key) == value for key, value in where.items())
        )

    def run(self, task):
        """Run a task after all that it needs."""
        for need in task.needs:
            self.run(self.plan.tasks[need])
        run_task(self.store, task, self.context)
        return task

    def need(self, task):
        """Run only what a task needs."""
        for need in task.needs:
            self.run(self.plan.tasks[need])
        return task

    def record(self, task):
        self.context.writer.seal()
        rows = {row["trial_id"]: row for row in read_records(self.store).to_pylist()}
        return rows[task.id]


@pytest.fixture
def wards(tmp_path):
    """Make a study of the multi-label toy, with overrides."""
    opened = []

    def make(*overrides):
        opened.append(Wards(tmp_path, overrides))
        return opened[-1]

    yield make
    for each in opened:
        each.context.writer.seal()


@pytest.fixture
def images_of():
    """Return all pixels and targets of rows."""

    def read(rows):
        return rows.images(np.arange(len(rows)), "cpu").numpy(), rows.targets_NK

    return read
