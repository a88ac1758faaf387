"""Tasks that make synthetic images: how many of what, the generator, the images."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, suppress
from typing import TYPE_CHECKING, Any

import numpy as np

from synthtrial.config import BalanceConfig, GanTrainingConfig
from synthtrial.data.labels import apply_policy
from synthtrial.store.artifacts import Descent, draft, exists
from synthtrial.store.files import publish, temporary_name
from synthtrial.store.images import ImageRow, is_shard_of, shard_name, write_shard
from synthtrial.study import Study
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
from synthtrial.work.fitting import checkpoints_of, fitted_rows, lineage_of_fit

if TYPE_CHECKING:
    from torch import nn

    from synthtrial.synthesis.generators import Networks
    from synthtrial.work.monitor import Monitor

#: Rows of a synthetic shard. Part of what a shard's content depends on: never change it without
#: raising the version of the task.
SHARD_ROWS = 1024


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
    """Fit one generator, alone or with other processes, and keep its averaged weights.

    Its checkpoints and progress are in a folder of their own until the result is committed.

    Raises:
        InterruptedTrainingError: it was asked to stop, and goes on when it is run again.
    """
    from synthtrial.classify.saving import write_network
    from synthtrial.synthesis.networks import build_networks
    from synthtrial.synthesis.ranks import Heartbeat
    from synthtrial.synthesis.sampling import GENERATOR
    from synthtrial.synthesis.training import Surroundings, train_gan
    from synthtrial.work.signals import noticed

    started = time.perf_counter()
    study, payload = context.study(task.study), task.payload
    assert study.generator is not None
    dataset = context.artifact("dataset", payload["dataset"])
    arrays = context.images("dataset", dataset.id, study)
    config = GanTrainingConfig(**payload["training"])
    index = fitted_rows(payload, context, study)
    _, channels, size, _ = arrays.images_NCHW.shape
    place: dict[str, Any] = {"seed": payload["seed"], "draw": payload["draw"]}
    networks = build_networks(
        study.generator.component,
        study.generator.options,
        channels=channels,
        size=size,
        classes=len(arrays.labels.classes),
        multi_label=dataset.info["multi_label"],
        **place,
    )
    folder, ranks, engine = context.unfinished(task), context.ranks, study.settings.engine
    monitor = _monitor(task, context, study, networks, config)

    def report(step: int, figures: Mapping[str, float], averaged: nn.Module) -> bool:
        monitor.report(step, figures, averaged)
        context.report(task, step, figures)
        return False  # a generator is trained to its end, whoever watches

    with closing(monitor), noticed() as interrupted:
        result = train_gan(
            networks,
            arrays.images_NCHW,
            index,
            apply_policy(arrays.labels.labels_NK, payload["label_policy"]),
            config,
            device=context.device,
            around=Surroundings(
                ranks=ranks,
                micro_batch=engine.micro_batch,
                checkpoints=checkpoints_of(task, context, study),
                heartbeat=Heartbeat(folder / "ranks", ranks, engine.stuck_seconds),
                report=report,
                interrupted=interrupted,
            ),
            **place,
        )
    if ranks.rank == 0:
        inputs = {"dataset": dataset.id, "split": payload["split"]}
        lineage = lineage_of_fit(payload)
        with draft(context.store, "generator", task.id, inputs=inputs, lineage=lineage) as made:
            write_network(
                made.path,
                GENERATOR,
                study.generator.component,
                study.generator.options,
                result.ema_state,
                channels=channels,
                size=size,
                classes=arrays.labels.classes,
                multi_label=dataset.info["multi_label"],
            )
            for sheet in monitor.sheets:
                shutil.copy(sheet, made.path / sheet.name)
            made.info.update(
                context.effort(started),
                fit_on=config.fit_on,
                images=len(index),
                history=result.history,
                shown=monitor.shown,
                steps=result.steps,
                skipped=result.skipped,
                images_seen=result.images_seen,
                seconds=result.seconds,
                resumed_at=result.resumed_at,
            )
    ranks.barrier()
    if ranks.rank == 0:
        shutil.rmtree(folder, ignore_errors=True)


def _monitor(
    task: Task, context: Context, study: Study, networks: Networks, config: GanTrainingConfig
) -> Monitor:
    from synthtrial.work.judge import recogniser
    from synthtrial.work.monitor import Monitor

    dataset = context.artifact("dataset", task.payload["dataset"])
    classes = context.images("dataset", dataset.id, study).labels.classes
    boards = study.report_path / "tensorboard" / task.id
    judges = [need for need in task.needs if exists(context.store, "classifier", need)]
    return Monitor(
        context.unfinished(task),
        steps=config.steps,
        classes=classes,
        shown=[*study.minority, *(name for name in classes if name not in study.minority)],
        latent=networks.latent,
        seed=task.payload["seed"],
        draw=task.payload["draw"],
        device=context.device,
        recognise=recogniser(context, judges[0]) if judges else None,
        tensorboard=boards if study.settings.engine.tensorboard else None,
    )


def synthesize(task: Task, context: Context) -> None:
    """Make the allocated images, whole shards each, or find them among those made elsewhere.

    Shards are shared out over the processes, and one that is complete is never made again.
    """
    started, payload, ranks = time.perf_counter(), task.payload, context.ranks
    source = context.artifact("allocation", payload["allocation"])
    allocation = read_allocation(source)
    maker = _External(task, context) if "external" in payload else _Sampler(task, context)
    # Each round of candidates asks for the same label vectors again, with other latents.
    total = len(allocation) * payload.get("candidates", 1)
    # A target that is met already asks for no image: one shard without rows says so.
    shards = [slice(i, min(i + SHARD_ROWS, total)) for i in range(0, max(1, total), SHARD_ROWS)]
    folder = context.unfinished(task)
    folder.mkdir(parents=True, exist_ok=True)
    for shard, chosen in list(enumerate(shards))[ranks.rank :: ranks.size]:
        path = folder / shard_name(shard)
        if not is_shard_of(path, chosen.stop - chosen.start):
            temporary = temporary_name(path)
            try:
                rows = maker.rows(allocation, chosen, shard)
                encoders = context.encoders
                classes = allocation.classes
                write_shard(temporary, rows, classes, synthetic=True, encoders=encoders)
                publish(temporary, path)
            finally:
                with suppress(OSError):
                    temporary.unlink(missing_ok=True)
    ranks.barrier()
    if ranks.rank == 0:
        inputs = {**maker.inputs, "allocation": source.id}
        lineage = (*maker.lineage, *source.lineage)
        with draft(context.store, "synthetic", task.id, inputs=inputs, lineage=lineage) as made:
            for shard in range(len(shards)):
                (folder / shard_name(shard)).rename(made.path / shard_name(shard))
            made.info.update(images=total, classes=list(allocation.classes), **maker.facts)
            made.info.update(context.effort(started))
        shutil.rmtree(folder, ignore_errors=True)
    ranks.barrier()


class _Sampler:
    """Makes images with a trained generator."""

    def __init__(self, task: Task, context: Context) -> None:
        from synthtrial.synthesis.sampling import read_generator

        generator = context.artifact("generator", task.payload["generator"])
        self._task, self._device = task, context.device
        self._model = read_generator(generator, context.device)
        self.inputs = {"generator": generator.id}
        self.lineage = generator.lineage
        self.facts: dict[str, Any] = {}

    def rows(self, allocation: Allocation, chosen: slice, shard: int) -> Iterator[ImageRow]:
        """Yield the images of a shard in the order of their latents."""
        from synthtrial.synthesis.sampling import sample_shard

        latents = np.arange(chosen.start, chosen.stop)
        slots = latents % max(1, len(allocation))
        batches = sample_shard(
            self._model,
            np.maximum(allocation.vectors_MK[slots], 0),  # an ignored label conditions as 0
            seed=self._task.payload["seed"],
            draw=self._task.payload["draw"],
            shard=shard,
            device=self._device,
        )
        images = (image_HWC for images_BHWC in batches for image_HWC in images_BHWC)
        for latent, slot, image_HWC in zip(latents.tolist(), slots.tolist(), images, strict=True):
            vector_K = allocation.vectors_MK[slot]
            yield ImageRow(
                sample_id=f"{self._task.id}-{latent:07d}",
                group_id=None,
                image_HWC=image_HWC,
                labels=_labels(allocation, vector_K),
                intended=allocation.intended[slot],
                generator=self._task.payload["generator"],
                latent_index=latent,
                source_id=allocation.source_ids[slot],
            )


class _External:
    """Finds images among those that were made elsewhere."""

    def __init__(self, task: Task, context: Context) -> None:
        from synthtrial.synthesis.external import lineage_of, read_table

        self._task = task
        study = context.study(task.study)
        allocation = context.artifact("allocation", task.payload["allocation"])
        dataset = context.artifact("dataset", allocation.inputs["dataset"])
        arrays = context.images("dataset", dataset.id, study)
        assert study.generator is not None
        options = study.generator.options
        _check_unchanged(task, study)
        self._shape = arrays.images_NCHW.shape[1:3]
        self._table = read_table(options, arrays.labels.classes, dataset.info["multi_label"])
        self._rows_M: np.ndarray | None = None
        self.inputs: dict[str, str] = {}
        self.lineage = lineage_of(options)
        self.facts = {"table": str(self._table.file.path), "declared": options.declared}

    def rows(self, allocation: Allocation, chosen: slice, shard: int) -> Iterator[ImageRow]:
        """Yield the images of a shard, in the order in which the allocation asks for them."""
        from synthtrial.synthesis.external import choose, load_images

        del shard
        if self._rows_M is None:  # all at once: no image serves twice
            rounds = self._task.payload.get("candidates", 1)
            wanted_MK = np.tile(np.maximum(allocation.vectors_MK, 0), (rounds, 1))
            self._rows_M = choose(self._table, wanted_MK, np.tile(allocation.intended, rounds))
        channels, size = self._shape
        mine = self._rows_M[chosen]
        images_MHWC = load_images(self._table, mine, channels, size)
        for offset, (row, image_HWC) in enumerate(zip(mine.tolist(), images_MHWC, strict=True)):
            number = chosen.start + offset
            slot = number % max(1, len(allocation))
            yield ImageRow(
                sample_id=f"{self._task.id}-{number:07d}",
                group_id=None,
                image_HWC=image_HWC,
                labels=_labels(allocation, self._table.labels_NK[row]),
                intended=allocation.intended[slot],
                generator=None,
                latent_index=number,
                source_id=allocation.source_ids[slot],
            )


def _labels(allocation: Allocation, vector_K: np.ndarray) -> dict[str, int]:
    return {name: int(value) for name, value in zip(allocation.classes, vector_K, strict=True)}


def _check_unchanged(task: Task, study: Study) -> None:
    """Refuse a table that is another one by now than when the task was planned."""
    from synthtrial.errors import DataError

    assert study.generator is not None
    if task.payload["external"] != study.generator.identity:
        raise DataError(
            f"the table {study.generator.options.table} has changed since the run began; run the "
            "study again"
        )
