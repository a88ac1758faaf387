"""Tasks that make synthetic images: how many of what, the generator, the images."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from synthtrial.config import BalanceConfig, GanTrainingConfig
from synthtrial.data.labels import apply_policy, locate
from synthtrial.data.splits import SplitTable, select
from synthtrial.store.artifacts import Descent, draft
from synthtrial.store.images import ImageRow, shard_name, write_shard
from synthtrial.synthesis.balance import (
    Allocation,
    allocate,
    describe,
    read_allocation,
    summary,
    write_allocation,
)
from synthtrial.tasks import Task
from synthtrial.work.context import Context

#: Rows of a synthetic shard. Part of what a shard's content depends on: never change it without
#: raising the version of the task.
SHARD_ROWS = 1024

_ROLES: dict[str, tuple[str, ...]] = {
    "subset": ("train",),
    "train": ("train",),
    "original": ("train", "removed"),
}


def allocate_images(task: Task, context: Context) -> None:
    """Decide how many images each regimen is given, of which label vectors."""
    study, payload = context.study(task.study), task.payload
    dataset, split, regimen = payload["dataset"], payload["split"], payload["regimen"]
    labels = context.images("dataset", dataset, study).labels
    allocation = allocate(
        labels,
        context.rows(dataset, split, regimen, study),
        BalanceConfig(**payload["balance"]),
        seed=payload["seed"],
        draw=payload["draw"],
        regimen=regimen,
        policy=payload["label_policy"],
    )
    inputs = {"dataset": dataset, "split": split}
    lineage = [Descent(split, ("train",), regimen)]
    with draft(context.store, "allocation", task.id, inputs=inputs, lineage=lineage) as made:
        write_allocation(made.path, allocation)
        made.info.update(regimen=regimen, draw=payload["draw"], **summary(allocation))
        made.info["text"] = describe(allocation)


def train_generator(task: Task, context: Context) -> None:
    """Fit one generator and keep its averaged weights."""
    from synthtrial.synthesis.sampling import write_generator
    from synthtrial.synthesis.training import build_networks, train_gan

    study, payload = context.study(task.study), task.payload
    assert study.generator is not None
    dataset = context.artifact("dataset", payload["dataset"])
    arrays = context.images("dataset", dataset.id, study)
    config = GanTrainingConfig(**payload["training"])
    regimen = payload.get("regimen")
    roles = _ROLES[config.fit_on]
    if regimen is not None:  # refuse a regimen without some class before training for nothing
        context.rows(dataset.id, payload["split"], regimen, study)
    index = _fitted_rows(context.split(payload["split"]), roles, regimen, arrays.labels)
    _, channels, size, _ = arrays.images_NCHW.shape
    networks = build_networks(
        study.generator.component,
        study.generator.options,
        channels=channels,
        size=size,
        classes=len(arrays.labels.classes),
        multi_label=dataset.info["multi_label"],
        seed=payload["seed"],
        draw=payload["draw"],
    )
    result = train_gan(
        networks,
        arrays.images_NCHW,
        index,
        apply_policy(arrays.labels.labels_NK, payload["label_policy"]),
        config,
        seed=payload["seed"],
        draw=payload["draw"],
        device=context.device,
    )
    inputs = {"dataset": dataset.id, "split": payload["split"]}
    lineage = [Descent(payload["split"], roles, regimen)]
    with draft(context.store, "generator", task.id, inputs=inputs, lineage=lineage) as made:
        write_generator(
            made.path,
            study.generator.component,
            study.generator.options,
            result.ema_state,
            channels=channels,
            size=size,
            classes=arrays.labels.classes,
            multi_label=dataset.info["multi_label"],
        )
        made.info.update(
            fit_on=config.fit_on,
            images=len(index),
            history=result.history,
            steps=result.steps,
            skipped=result.skipped,
            images_seen=result.images_seen,
            seconds=result.seconds,
        )


def _fitted_rows(
    split: SplitTable, roles: tuple[str, ...], regimen: float | None, labels: Any
) -> np.ndarray:
    rows = select(split, role=roles, regimen=regimen)
    return locate(labels, split.sample_ids[rows])


def synthesize(task: Task, context: Context) -> None:
    """Make the allocated images, whole shards each."""
    from synthtrial.synthesis.sampling import read_generator

    generator = context.artifact("generator", task.payload["generator"])
    source = context.artifact("allocation", task.payload["allocation"])
    allocation = read_allocation(source)
    model = read_generator(generator, context.device)
    inputs = {"generator": generator.id, "allocation": source.id}
    lineage = (*generator.lineage, *source.lineage)
    with draft(context.store, "synthetic", task.id, inputs=inputs, lineage=lineage) as made:
        # A target that is met already asks for no image: one shard without rows says so.
        for shard, start in enumerate(range(0, max(1, len(allocation)), SHARD_ROWS)):
            chosen = slice(start, start + SHARD_ROWS)
            rows = _shard_rows(model, allocation, chosen, shard, task, context)
            path = made.path / shard_name(shard)
            write_shard(path, rows, allocation.classes, synthetic=True)
        made.info.update(images=len(allocation), classes=list(allocation.classes))


def _shard_rows(
    model: Any, allocation: Allocation, chosen: slice, shard: int, task: Task, context: Context
) -> Iterator[ImageRow]:
    from synthtrial.synthesis.sampling import sample_shard

    vectors_MK = np.maximum(allocation.vectors_MK[chosen], 0)  # an ignored label conditions as 0
    images_MHWC = sample_shard(
        model,
        vectors_MK,
        seed=task.payload["seed"],
        draw=task.payload["draw"],
        shard=shard,
        device=context.device,
    )
    for offset, (image_HWC, vector_K) in enumerate(
        zip(images_MHWC, allocation.vectors_MK[chosen], strict=True)
    ):
        latent = chosen.start + offset
        yield ImageRow(
            sample_id=f"{task.id}-{latent:07d}",
            group_id=None,
            image_HWC=image_HWC,
            labels={
                name: int(value) for name, value in zip(allocation.classes, vector_K, strict=True)
            },
            intended=allocation.intended[latent],
            generator=task.payload["generator"],
            latent_index=latent,
            source_id=allocation.source_ids[latent],
        )
