"""Tasks that need no training: the dataset's shards and its splits."""

from __future__ import annotations

from synthtrial.data.base import describe_source, image_rows
from synthtrial.data.labels import check_single_label
from synthtrial.data.splits import describe_split, make_split, write_split
from synthtrial.store.artifacts import draft
from synthtrial.store.images import read_labels, write_shards
from synthtrial.tasks import Task
from synthtrial.work.context import Context


def prepare(task: Task, context: Context) -> None:
    """Write the dataset's images and raw labels into shards."""
    study = context.study(task.study)
    source = study.dataset.load()
    with draft(context.store, "dataset", task.id, inputs={}) as made:
        shard_bytes = study.settings.store.shard_bytes
        write_shards(made.path, image_rows(source), source.classes, shard_bytes=shard_bytes)
        made.info.update(name=study.dataset.name, **describe_source(source))


def split(task: Task, context: Context) -> None:
    """Deal the samples to training, validation and test, and rank them for the regimens."""
    settings = context.study(task.study).settings
    dataset = context.artifact("dataset", task.payload["dataset"])
    labels = read_labels(dataset)
    if not dataset.info["multi_label"]:
        check_single_label(labels)
    seed, draw = task.payload["seed"], task.payload["draw"]
    table = make_split(labels, settings.split, settings.imbalance, seed=seed, draw=draw)
    with draft(context.store, "split", task.id, inputs={"dataset": dataset.id}) as made:
        write_split(made.path, table)
        made.info.update(draw=draw, **describe_split(table, labels))
