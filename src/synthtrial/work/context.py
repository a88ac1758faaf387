"""What a task is given beside itself: the store, the study's settings, a journal, a device."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np

from synthtrial.data.labels import LabelPolicy, apply_policy
from synthtrial.data.regimens import held_out_rows, regimen_rows
from synthtrial.data.splits import SplitTable, read_split
from synthtrial.errors import DataError, StoreError
from synthtrial.store.artifacts import Artifact, Store, read_artifact
from synthtrial.store.cache import ImageArrays, load_arrays
from synthtrial.store.records import RecordWriter
from synthtrial.store.root import UNFINISHED, snapshot_file
from synthtrial.study import Study, load
from synthtrial.tasks import Task

if TYPE_CHECKING:  # it imports torch
    from synthtrial.synthesis.ranks import Ranks

_CPU_THREADS = 1

#: Is told of (task, step or epoch, figures) while a training runs; True asks a trial to end there.
Report = Callable[[Task, int, Mapping[str, float]], bool]


class Context:
    """Held by a worker over all its tasks, so that what they share is read once.

    Args:
        store: the store.
        engine: name of the engine, for records.
        device: ``auto``, ``cpu`` or ``cuda``.
        ranks: the processes that share each task, of which this is one; None for this one alone.
    """

    def __init__(
        self,
        store: Store,
        *,
        engine: str,
        device: Literal["auto", "cpu", "cuda"] = "auto",
        ranks: Ranks | None = None,
    ) -> None:
        self.store = store
        self.engine = engine
        self.host = socket.gethostname()
        self.writer = RecordWriter(store)
        self._device = device
        self._ranks = ranks
        self._report: Report | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Seal the journal."""
        self.writer.seal()

    @property
    def threads(self) -> int:
        """Threads of a CPU computation: one, as other numbers of threads give other bits."""
        return _CPU_THREADS

    @property
    def device(self) -> str:
        """The torch device to compute on."""
        if self._device != "auto":
            return self._device
        import torch

        return "cuda" if torch.cuda.is_available() else "cpu"

    @property
    def ranks(self) -> Ranks:
        """The processes that share a task, and which of them this is."""
        from synthtrial.synthesis.ranks import ALONE

        return self._ranks or ALONE

    def report(self, task: Task, step: int, figures: Mapping[str, float]) -> bool:
        """Tell the engine how a training goes; True asks a trial to end with this epoch.

        Args:
            task: the task.
            step: of a trial the epoch, of a GAN the step.
            figures: of a trial, losses, score, and ``images`` seen since the last report; of a GAN,
                losses and images a second.
        """
        return self._report is not None and self._report(task, step, figures)

    @contextmanager
    def reporting(self, report: Report) -> Iterator[None]:
        """Have the trainings within the block report so."""
        before, self._report = self._report, report
        try:
            yield
        finally:
            self._report = before

    @property
    def encoders(self) -> int:
        """Threads that encode images while a GPU, or this thread, makes the next ones."""
        return max(1, len(os.sched_getaffinity(0)) - 1) if self.device == "cuda" else 1

    def effort(self, started: float) -> dict[str, Any]:
        """Return what a task took so far, for the facts of its artifact.

        Args:
            started: ``time.perf_counter()`` when it began.

        Returns:
            Wall time of this process, what it computed on, its threads, and how many processes
            shared the task.
        """
        return {
            "seconds": time.perf_counter() - started,
            "device": self.device,
            "threads": self.threads,
            "processes": self.ranks.size,
        }

    def unfinished(self, task: Task) -> Path:
        """Return the folder of what a task keeps for its next try; its result removes it."""
        return self.store.root / UNFINISHED / task.id

    def make_deterministic(self) -> None:
        """Set threads and kernels so that equal tasks give equal bits."""
        import torch

        torch.set_num_threads(_CPU_THREADS)
        torch.backends.cudnn.benchmark = False
        torch.backends.cudnn.deterministic = True

    def study(self, digest: str) -> Study:
        """Return the study of a task, as its driver kept it."""
        return _load(snapshot_file(self.store, digest))

    def artifact(self, kind: str, id_: str) -> Artifact:
        """Return an artifact of the store."""
        return _artifact(self.store, kind, id_)

    def images(self, kind: str, id_: str, study: Study) -> ImageArrays:
        """Return the decoded images of a dataset or synthetic artifact, from the node's cache."""
        return load_arrays(self.artifact(kind, id_), study.settings.store.cache_path)

    def split(self, id_: str) -> SplitTable:
        """Return a split."""
        return _split(self.store, id_)

    def rows(self, dataset: str, split: str, regimen: float, study: Study) -> np.ndarray:
        """Return the dataset's rows of a regimen of a split."""
        arrays = self.images("dataset", dataset, study)
        return _rows(self.store, split, regimen, arrays)

    def held_out(
        self,
        role: Literal["validation", "test"],
        dataset: str,
        split: str,
        regimen: float,
        study: Study,
    ) -> np.ndarray:
        """Return the dataset's validation or test rows of a split."""
        arrays = self.images("dataset", dataset, study)
        thinned = regimen if study.settings.split.validation_scope == "proportional" else None
        return _held_out(self.store, split, role, thinned, arrays)

    def targets(
        self, kind: Literal["dataset", "synthetic"], id_: str, policy: LabelPolicy, study: Study
    ) -> np.ndarray:
        """Return the labels of a dataset or synthetic artifact as targets_NK, by a policy."""
        return _targets(self.images(kind, id_, study), policy)


@lru_cache(maxsize=8)
def _load(path: Path) -> Study:
    study = load(path)
    if study.digest != path.stem:
        raise StoreError(
            f"{path} is not the study that it was kept as (an edited file, or a plug-in with other "
            f"defaults): remove it and run the study again"
        )
    return study


@lru_cache(maxsize=256)
def _artifact(store: Store, kind: str, id_: str) -> Artifact:
    artifact = read_artifact(store, kind, id_)
    if artifact.is_rewritten:  # who is tested on, and in which order, hangs on the true ids
        what = "its ids are hashed" if artifact.ids_key else "part of it was left out"
        raise DataError(
            f"{kind} {id_} came with an import, and {what}: nothing new can be made from it. Run "
            "the study where its data are, or export it there with --keep-ids (and "
            "--with-restricted) to go on here"
        )
    return artifact


@lru_cache(maxsize=16)
def _split(store: Store, id_: str) -> SplitTable:
    return read_split(_artifact(store, "split", id_))


@lru_cache(maxsize=16)
def _rows(store: Store, split: str, regimen: float, arrays: ImageArrays) -> np.ndarray:
    return _read_only(regimen_rows(_split(store, split), regimen, arrays.labels))


@lru_cache(maxsize=16)
def _held_out(
    store: Store,
    split: str,
    role: Literal["validation", "test"],
    thinned: float | None,
    arrays: ImageArrays,
) -> np.ndarray:
    scope: Literal["shared", "proportional"] = "shared" if thinned is None else "proportional"
    table = _split(store, split)
    return _read_only(held_out_rows(table, role, arrays.labels, regimen=thinned, scope=scope))


@lru_cache(maxsize=16)
def _targets(arrays: ImageArrays, policy: LabelPolicy) -> np.ndarray:
    return _read_only(apply_policy(arrays.labels.labels_NK, policy))


def _read_only(array: np.ndarray) -> np.ndarray:
    """Guard what all tasks of this process share."""
    array.flags.writeable = False
    return array
