"""Preparing a large dataset: in parts, by several threads, and from where it was interrupted.

A part is a run of rows of the label table and becomes one shard. Parts wait in the task's folder of
unfinished work, each beside a small file that says it is complete, until all are there; what a part
holds depends on its rows alone, so a preparation that was killed ends in the same bytes as one that
was not.
"""

from __future__ import annotations

import csv
import json
import os
import shutil
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from synthtrial.data.base import RandomAccess, checker
from synthtrial.errors import DataError, UnreadableImageError
from synthtrial.store.files import publish, storage_errors, temporary_name, write_file
from synthtrial.store.images import ImageRow, is_shard_of, shard_name, write_shard_of
from synthtrial.store.root import PROGRESS_FILE
from synthtrial.tasks import Task
from synthtrial.work.context import Context

UNREADABLE_FILE = "unreadable.csv"
_SECONDS = 2.0  # between two notes of progress
#: Share of the images that may be left out. More is no flaw of single files: a disk that is not
#: mounted, a wrong folder, an interrupted download.
MOST_LEFT_OUT = 0.1


@dataclass
class Parts:
    """The parts of a dataset, complete.

    Attributes:
        folder: of unfinished work.
        count: number of parts.
        bad: (sample id, reason) of images that could not be read.
    """

    folder: Path
    count: int
    bad: list[tuple[str, str]] = field(default_factory=list)

    @property
    def unreadable(self) -> int:
        """Number of images that could not be read."""
        return len(self.bad)

    def remove(self) -> None:
        """Remove what is left of the unfinished work."""
        shutil.rmtree(self.folder, ignore_errors=True)


def prepare_parts(task: Task, context: Context, source: RandomAccess, shard_bytes: int) -> Parts:
    """Write all parts that are not there yet.

    Args:
        task: of kind ``prepare``.
        context: of the task.
        source: the dataset.
        shard_bytes: about the size of a part.

    Raises:
        DataError: images are unreadable and the dataset says ``stop``, or more are than
            :data:`MOST_LEFT_OUT`: once all were tried. Also ids given twice, and samples as
            :func:`synthtrial.data.base.image_rows` refuses them.
    """
    ids = source.label_table().sample_ids
    if len(set(ids)) != len(ids):
        raise DataError("the dataset lists a sample twice; ids must be unique in a dataset")
    if not len(ids):
        raise DataError("the dataset lists no image")
    rows = max(1, shard_bytes // int(np.prod(source.image_shape)))
    folder = context.unfinished(task)
    with storage_errors(folder.parent):
        folder.mkdir(parents=True, exist_ok=True)
    parts = Parts(folder, -(-len(ids) // rows))
    progress, origin = _Progress(folder, len(ids)), str(getattr(source, "origin", ""))
    for part in range(parts.count):
        numbers = range(part * rows, min((part + 1) * rows, len(ids)))
        bad = _earlier(folder, part, numbers, origin)
        if bad is None or bad:  # what was unreadable may have been mended
            bad = _write_part(folder, part, numbers, source, ids, progress)
        else:
            progress.skip(len(numbers))
        parts.bad += bad
    progress.note()
    if parts.bad:
        _list_unreadable(folder, parts.bad)
        if source.unreadable == "stop" or len(parts.bad) > MOST_LEFT_OUT * len(ids):
            raise DataError(_refusal(parts, len(ids), source.unreadable))
    return parts


def move_parts(parts: Parts, folder: Path) -> None:
    """Put the shards, and the list of what is unreadable, into a draft.

    They stay where they are too until :meth:`Parts.remove`, so that a process that is killed before
    the draft is committed has lost nothing.
    """
    names = [shard_name(part) for part in range(parts.count)]
    for name in [*names, UNREADABLE_FILE] if parts.bad else names:
        try:
            (folder / name).hardlink_to(parts.folder / name)
        except OSError:  # a file system without hard links
            (parts.folder / name).rename(folder / name)


def _write_part(
    folder: Path,
    part: int,
    numbers: range,
    source: RandomAccess,
    ids: np.ndarray,
    progress: _Progress,
) -> list[tuple[str, str]]:
    """Write one part; return what of it is unreadable."""
    checked = checker(source)
    reasons: dict[int, str] = {}

    def read(number: int) -> ImageRow | None:
        progress.count()
        try:
            row = checked(source.sample(number))
        except UnreadableImageError as error:
            reasons[number] = str(error)
            return None
        if row.sample_id != ids[number]:
            raise DataError(
                f"row {number} of the label table is '{ids[number]}' and its sample "
                f"'{row.sample_id}'; a dataset must give both in the same order"
            )
        return row

    path = folder / shard_name(part)
    temporary = temporary_name(path)
    try:
        readers = len(os.sched_getaffinity(0))
        count = write_shard_of(temporary, numbers, read, source.classes, readers=readers)
        with storage_errors(folder):
            publish(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    bad = [(str(ids[number]), reasons[number]) for number in sorted(reasons)]
    note = {
        "numbers": [numbers.start, numbers.stop],
        "origin": str(getattr(source, "origin", "")),
        "rows": count,
        "unreadable": bad,
    }
    write_file(_note_of(folder, part), json.dumps(note, ensure_ascii=False).encode())
    return bad


def _earlier(folder: Path, part: int, numbers: range, origin: str) -> list[tuple[str, str]] | None:
    """Return what was unreadable in a part of these rows that is complete; None where it is not.

    Parts that had another size, or came from another folder, count for nothing.
    """
    try:
        note: dict[str, Any] = json.loads(_note_of(folder, part).read_text())
        bad = [(str(name), str(reason)) for name, reason in note["unreadable"]]
        same = (note["numbers"], note["origin"]) == ([numbers.start, numbers.stop], origin)
        return bad if same and is_shard_of(folder / shard_name(part), note["rows"]) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _note_of(folder: Path, part: int) -> Path:
    return folder / f"{shard_name(part).removesuffix('.parquet')}.json"


def _list_unreadable(folder: Path, bad: list[tuple[str, str]]) -> None:
    path = folder / UNREADABLE_FILE
    with storage_errors(folder), path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("sample_id", "reason"), *bad])


def _refusal(parts: Parts, total: int, policy: str) -> str:
    shown = "; ".join(f"{name}: {reason}" for name, reason in parts.bad[:3])
    return (
        f"{len(parts.bad):,} of {total:,} images are missing or unreadable ({shown}"
        f"{'; ...' if len(parts.bad) > 3 else ''}); all are listed in "
        f"{parts.folder / UNREADABLE_FILE}. Mend them and run again, which tries only these parts"
        + (
            ", or leave them out with dataset.unreadable=skip, which prepares the dataset anew"
            if policy == "stop"
            else f"; dataset.unreadable=skip leaves out no more than {MOST_LEFT_OUT:.0%} of them"
        )
    )


class _Progress:
    """Notes how far the preparation is, for whoever watches."""

    def __init__(self, folder: Path, total: int) -> None:
        self._path = folder / PROGRESS_FILE
        self._total, self._done, self._skipped = total, 0, 0
        self._began = self._noted = time.monotonic()

    def skip(self, images: int) -> None:
        """Count images that were prepared by an earlier try."""
        self._skipped += images

    def count(self) -> None:
        """Count an image; called by several threads, where one lost does no harm."""
        self._done += 1
        if time.monotonic() - self._noted > _SECONDS:
            self.note()

    def note(self) -> None:
        """Write the figures where `status` finds them."""
        self._noted = time.monotonic()
        done = self._skipped + self._done
        rate = self._done / max(self._noted - self._began, 1e-9)
        figures = {"images": done, "of": self._total, "images_per_second": rate}
        write_file(self._path, json.dumps(figures).encode())
