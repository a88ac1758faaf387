"""Tasks that need no training: the dataset's shards and its splits."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from synthtrial.data.base import (
    DatasetSource,
    RandomAccess,
    describe_source,
    image_rows,
    restrictions_of,
)
from synthtrial.data.labels import check_single_label
from synthtrial.data.sides import check_sides, own_sides_of, read_sides, write_sides
from synthtrial.data.splits import describe_split, make_split, read_groups, write_split
from synthtrial.errors import DataError
from synthtrial.identity import digest
from synthtrial.store.artifacts import draft, exists
from synthtrial.store.images import read_labels, write_shards
from synthtrial.store.locks import lock_path, unlock
from synthtrial.study import Study
from synthtrial.tasks import Task
from synthtrial.work.context import Context
from synthtrial.work.parts import move_parts, prepare_parts

if TYPE_CHECKING:
    import numpy as np


def prepare(task: Task, context: Context) -> None:
    """Write the dataset's images and raw labels into shards."""
    study = context.study(task.study)
    source = study.dataset.load()
    sides = own_sides_of(source)
    if study.settings.split.own:
        check_sides(sides, source.label_table().sample_ids)
    with _alone_in(context.unfinished(task), isinstance(source, RandomAccess)):
        if not exists(context.store, "dataset", task.id):  # else it came while this one waited
            _prepare(task, context, study, source, sides)


def _prepare(
    task: Task, context: Context, study: Study, source: DatasetSource, sides: np.ndarray | None
) -> None:
    shard_bytes = study.settings.store.shard_bytes
    parts = None
    if isinstance(source, RandomAccess):
        parts = prepare_parts(task, context, source, shard_bytes)
    limits = restrictions_of(source)
    with draft(context.store, "dataset", task.id, inputs={}, restrictions=limits) as made:
        if parts is None:
            write_shards(made.path, image_rows(source), source.classes, shard_bytes=shard_bytes)
        else:
            move_parts(parts, made.path)
            made.info.update(unreadable=parts.unreadable)
        if sides is not None:
            write_sides(made.path, source.label_table().sample_ids, sides)
        made.info.update(name=study.dataset.name, **describe_source(source))
    if parts is not None:
        parts.remove()


@contextmanager
def _alone_in(folder: Path, resumable: bool) -> Iterator[None]:
    """Let one process at a time prepare a dataset: studies that share a store may share it."""
    lock = None
    if resumable:
        with suppress(OSError):  # some network file systems cannot lock; or it is done, and gone
            folder.mkdir(parents=True, exist_ok=True)
            lock = lock_path(folder, os.O_RDONLY | os.O_DIRECTORY, wait=True)
    try:
        yield
    finally:
        if lock is not None:
            unlock(lock)


def split(task: Task, context: Context) -> None:
    """Deal the samples to training, validation and test, and rank them for the regimens."""
    settings = context.study(task.study).settings
    dataset = context.artifact("dataset", task.payload["dataset"])
    labels = read_labels(dataset)
    if not dataset.info["multi_label"]:
        check_single_label(labels)
    seed, draw = task.payload["seed"], task.payload["draw"]
    held_out = None
    if settings.split.test_groups is not None:
        held_out = read_groups(Path(settings.split.test_groups).expanduser())
        if digest(sorted(held_out)) != task.payload["split"]["test_groups"]:
            raise DataError(
                f"{settings.split.test_groups} has changed since the run began; run again"
            )
    sides = read_sides(dataset, labels.sample_ids) if settings.split.own else None
    table = make_split(
        labels,
        settings.split,
        settings.imbalance,
        seed=seed,
        draw=draw,
        held_out=held_out,
        sides=sides,
    )
    with draft(context.store, "split", task.id, inputs={"dataset": dataset.id}) as made:
        write_split(made.path, table, crossing=settings.split.crossing)
        made.info.update(draw=draw, **describe_split(table, labels))
