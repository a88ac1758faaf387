"""Trials run in this process, on artifacts made by the real tasks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from synthtrial.config import TrainingConfig
from synthtrial.data.splits import read_split
from synthtrial.errors import LeakageError, StoreError
from synthtrial.graph import trial_task
from synthtrial.plan import build
from synthtrial.store.artifacts import Descent, draft, exists, open_store, read_artifact
from synthtrial.store.files import write_file
from synthtrial.store.images import ImageRow, write_shard
from synthtrial.store.records import read_records
from synthtrial.study import load
from synthtrial.tasks import Cell
from synthtrial.work import Context, run_task


class Bench:
    """A store in which single tasks of a study are run by hand."""

    def __init__(self, overrides):
        self.study = load("digits", overrides)
        self.store = open_store(Path(self.study.settings.store.path))
        self.plan = build(self.study, None)
        (self.store.root / "studies").mkdir()
        path = self.store.root / "studies" / f"{self.study.digest}.yaml"
        write_file(path, self.study.snapshot().encode())

    def task(self, kind, number=0, **where):
        found = [
            task
            for task in self.plan.tasks.values()
            if task.kind == kind
            and all(getattr(task.trial, key) == value for key, value in where.items())
        ]
        return found[number]

    def run(self, task):
        with Context(self.store, engine="bench", device="cpu") as context:
            run_task(self.store, task, context)
        return task

    def run_with_needs(self, task):
        for need in task.needs:
            self.run_with_needs(self.plan.tasks[need])
        return self.run(task)

    def record(self, task):
        rows = {row["trial_id"]: row for row in read_records(self.store).to_pylist()}
        return rows[task.id]


@pytest.fixture
def bench(tiny):
    return lambda *overrides: Bench(tiny("regimens=[1.0]", *overrides))


def fake_images(bench, trial, descents):
    """Put images into the place of a trial's synthetic ones that descend from elsewhere."""
    id_ = trial.payload["treatment"]["synthetic"]
    classes = read_artifact(bench.store, "dataset", trial.payload["dataset"]).info["classes"]
    labels = {name: int(name == "8") for name in classes}
    image = np.zeros((8, 8, 1), dtype=np.uint8)
    inputs = {"dataset": trial.payload["dataset"]}
    with draft(bench.store, "synthetic", id_, inputs=inputs, lineage=descents) as made:
        rows = [ImageRow(f"made-{i}", None, image, labels, "8", "x", i, None) for i in range(4)]
        write_shard(made.path / "shard-00000.parquet", rows, classes, synthetic=True)


def test_images_that_descend_from_held_out_groups_are_refused_by_name(bench):
    bench = bench()
    trial = bench.task("trial", arm="gan")
    other = bench.run_with_needs(bench.task("split", 1))  # another draw: other validation groups
    bench.run(bench.task("split", 0))
    fake_images(bench, trial, [Descent(other.id, ("train",), None)])
    with pytest.raises(LeakageError, match=r"the images that arm 'gan' adds.*digits-\d{4}"):
        bench.run(trial)
    assert read_records(bench.store).num_rows == 0


def test_leaking_images_are_stamped_where_they_are_allowed(bench):
    bench = bench("allow_leakage=true")
    trial = bench.task("trial", arm="gan")
    other = bench.run_with_needs(bench.task("split", 1))
    bench.run(bench.task("split", 0))
    fake_images(bench, trial, [Descent(other.id, ("train",), None)])
    bench.run(trial)
    assert {"LEAKY", "PRIVILEGED", "GROUPS UNKNOWN"} == set(bench.record(trial)["stamps"])


def test_a_generator_that_saw_what_its_classifier_was_denied_is_stamped(bench):
    bench = bench("gan_training.fit_on=original", "regimens=[0.5]")
    trial = bench.run_with_needs(bench.task("trial", arm="gan"))
    assert set(bench.record(trial)["stamps"]) == {"PRIVILEGED", "GROUPS UNKNOWN"}


def test_a_generator_fitted_on_the_regimen_is_not_stamped(bench):
    bench = bench()
    trial = bench.run_with_needs(bench.task("trial", arm="gan"))
    assert bench.record(trial)["stamps"] == ["GROUPS UNKNOWN"]
    generator = bench.task("train_gan")
    lineage = read_artifact(bench.store, "generator", generator.id).lineage
    assert lineage == (Descent(generator.payload["split"], ("train",), 1.0),)


def test_a_diverging_trial_is_a_record_and_no_error(bench):
    bench = bench("grid={learning_rate: [1e30], optimizer: [momentum], batch_size: [16]}")
    trial = bench.run_with_needs(bench.task("trial", arm="none"))
    record = bench.record(trial)
    assert (record["status"], record["validation"]) == ("diverged", None)
    assert record["message"]


def test_an_arm_given_the_steps_of_another_takes_as_many(bench):
    bench = bench("arms.none_long.steps_of=gan")
    long = bench.run_with_needs(bench.task("trial", arm="none_long"))
    gan = bench.run_with_needs(bench.task("trial", arm="gan"))
    none = bench.run_with_needs(bench.task("trial", arm="none"))
    steps = {
        name: bench.record(t)["steps"] for name, t in (("long", long), ("gan", gan), ("none", none))
    }
    assert steps["long"] == steps["gan"] > steps["none"]
    assert bench.record(long)["n_added"] == 0


def test_logits_are_kept_where_asked_and_agree_with_the_metrics(bench):
    import pyarrow.parquet as pq

    bench = bench("store.keep_logits=true")
    grid = bench.task("trial", arm="none")
    bench.run_with_needs(grid)
    cell = next(cell for cell in bench.plan.selections if cell.arm == "none")
    (replicate, *_) = bench.plan.expand(cell, grid.trial.configuration)
    bench.run(replicate)
    table = pq.read_table(
        read_artifact(bench.store, "predictions", replicate.id).file("test.parquet")
    )
    logits = np.stack([table[f"logit.{k}"].to_numpy() for k in range(10)], axis=1)
    dataset = read_artifact(bench.store, "dataset", grid.payload["dataset"])
    from synthtrial.store.images import read_labels

    labels = read_labels(dataset)
    truth = dict(zip(labels.sample_ids, labels.labels_NK.argmax(1), strict=True))
    hits = [
        truth[i] == k for i, k in zip(table["sample_id"].to_pylist(), logits.argmax(1), strict=True)
    ]
    assert np.mean(hits) == bench.record(replicate)["test"]["accuracy"]


def test_training_settings_come_from_the_id_and_not_from_elsewhere(bench):
    bench = bench()
    trial = bench.task("trial", arm="none")
    config = TrainingConfig(**trial.payload["training"])
    assert config == bench.study.training(trial.trial.configuration)


def test_a_target_that_is_met_already_adds_nothing_and_runs(bench):
    bench = bench("balance.target=0.01")
    gan = bench.run_with_needs(bench.task("trial", arm="gan"))
    assert bench.record(gan)["n_added"] == 0
    bench.run_with_needs(bench.task("exhibits"))


def test_a_snapshot_that_was_edited_is_refused(bench):
    bench = bench()
    path = bench.store.root / "studies" / f"{bench.study.digest}.yaml"
    path.write_text(path.read_text().replace("epochs: 2", "epochs: 1"))
    with pytest.raises(StoreError, match="is not the study that it was kept as"):
        bench.run(bench.task("prepare"))


def test_with_the_last_epoch_kept_no_metric_decides_anything(bench):
    bench = bench("training.checkpoint=last", "protocol.select_by=recall")
    trial = bench.run_with_needs(bench.task("trial", arm="none"))
    record = bench.record(trial)
    assert "checkpoint_by" not in trial.payload
    assert record["best_epoch"] == record["epochs"] == 2
    assert record["curves"]["validation_score"][-1] == record["validation"]["accuracy"]


def test_a_trial_that_is_asked_to_end_leaves_a_record_and_no_checkpoint(bench, monkeypatch):
    bench = bench("training.epochs=4", "engine.checkpoint_seconds=1.0e-9")
    monkeypatch.setattr("synthtrial.classify.resuming.WORTH_SAVING_SECONDS", -1.0)
    trial = bench.task("trial", arm="none")
    for need in trial.needs:
        bench.run_with_needs(bench.plan.tasks[need])
    folder, told = bench.store.root / "unfinished" / trial.id, []

    def report(task, epoch, figures):
        told.append((task.id, epoch, figures["validation_score"], folder.exists()))
        return epoch == 2

    with Context(bench.store, engine="bench", device="cpu") as context:
        with context.reporting(report):
            assert run_task(bench.store, trial, context) is None
        assert not context.report(trial, 2, {}), "nobody listens after the block"
    record = bench.record(trial)
    assert (record["status"], record["epochs"]) == ("stopped", 2)
    scores = record["curves"]["validation_score"]
    assert told == [(trial.id, 1, scores[0], True), (trial.id, 2, scores[1], True)]
    assert record["validation"]["accuracy"] == max(scores)
    assert record["test"] is None
    assert not folder.exists()


def test_a_replicate_that_is_stopped_never_sees_the_test_set(bench):
    bench = bench("training.epochs=4", "store.keep_logits=true")
    grid = bench.run_with_needs(bench.task("trial", arm="none"))
    cell = next(cell for cell in bench.plan.selections if cell.arm == "none")
    (replicate, *_) = bench.plan.expand(cell, grid.trial.configuration)
    with (
        Context(bench.store, engine="bench", device="cpu") as context,
        context.reporting(lambda *_: True),
    ):
        run_task(bench.store, replicate, context)
    record = bench.record(replicate)
    assert (record["status"], record["epochs"], record["test"]) == ("stopped", 1, None)
    assert not exists(bench.store, "predictions", replicate.id)


def test_the_arm_on_the_original_data_is_given_what_was_taken_away(bench):
    bench = bench("arms.original={fit_on: original}")
    original = bench.run_with_needs(bench.task("trial", arm="original"))
    none = bench.run(bench.task("trial", arm="none"))
    split = read_split(read_artifact(bench.store, "split", none.payload["split"]))
    counts = {role: int((split.roles == role).sum()) for role in ("train", "removed")}
    assert counts["removed"] > 0
    assert bench.record(none)["n_real"] == counts["train"]
    assert bench.record(original)["n_real"] == sum(counts.values())
    assert bench.record(original)["stamps"] == ["GROUPS UNKNOWN"], "it adds nothing"


def test_an_arm_may_have_a_generator_of_its_own(bench):
    bench = bench("arms.seen={synthetic: true, gan_training: {fit_on: original, steps: 3}}")
    seen = bench.run_with_needs(bench.task("trial", arm="seen"))
    plain = bench.run_with_needs(bench.task("trial", arm="gan"))
    assert set(bench.record(seen)["stamps"]) == {"PRIVILEGED", "GROUPS UNKNOWN"}
    assert bench.record(plain)["stamps"] == ["GROUPS UNKNOWN"]
    steps = {
        id_: task.payload["training"]["steps"]
        for id_, task in bench.plan.tasks.items()
        if task.kind == "train_gan" and task.payload["draw"] == 0
    }
    assert set(steps.values()) == {3, bench.study.settings.gan_training.steps}


def test_what_a_classifier_makes_of_the_images_it_was_taught_is_recorded(bench):
    bench = bench()
    grid = bench.run_with_needs(bench.task("trial", arm="gan"))
    assert bench.record(grid)["made"] is None, "grid trials are judged on validation alone"
    cell = Cell("gan", 1.0)
    fresh = trial_task(bench.study, cell, "replicate", 0, grid.trial.configuration)
    bench.run(fresh)
    learned = bench.record(fresh)["made"]["recall"]
    assert {name for name, value in learned.items() if value is not None} == {"8", "9"}
    assert all(0 <= learned[name] <= 1 for name in ("8", "9"))


def test_a_shorter_training_of_a_generator_is_the_beginning_of_a_longer_one(bench):
    arms = (
        "arms={none: {}, early: {synthetic: true, gan_training: {steps: 4}}, "
        "late: {synthetic: true, gan_training: {steps: 8}}}"
    )
    bench = bench(arms)
    history = {}
    for task in [t for t in bench.plan.tasks.values() if t.kind == "train_gan"]:
        if task.payload["draw"] == 0:
            bench.run_with_needs(task)
            info = read_artifact(bench.store, "generator", task.id).info
            history[info["steps"]] = info["history"]
    steps = history[4]["step"]
    for name, values in history[4].items():
        longer = dict(zip(history[8]["step"], history[8][name], strict=True))
        assert values == [longer[step] for step in steps], name
