"""A made CheXpert: a folder of the true layout, and a dataset that needs no download.

    flaws = write_chexpert(folder, MadeFolder(patients=40, side=64, missing=0.02))
    synthtrial run STUDY dataset='{name: chexpert_made, patients: 200}'

Pictures look roughly like chest radiographs. Every positive class shows as a mark at a place of its
own, so that a classifier can learn it; an uncertain one does so half the time. A picture depends on
the seed, its image's name and its labels, and on nothing else.
"""

from __future__ import annotations

import csv
import dataclasses
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from synthtrial.data.base import Sample
from synthtrial.data.chexpert import (
    NAMES,
    Chexpert,
    ChexpertConfig,
    ChexpertTable,
    open_chexpert,
)
from synthtrial.errors import ConfigError
from synthtrial.identity import digest, non_default, stream
from synthtrial.registry import Component
from synthtrial.store.cache import cache_root
from synthtrial.store.files import TEMPORARY, entries, storage_errors, temporary_name
from synthtrial.store.images import MISSING
from synthtrial.store.locks import locked
from synthtrial.testing.chexpert_rows import Row, made_tables
from synthtrial.testing.radiographs import draw_radiograph, encode_radiograph

TOP = "CheXpert-v1.0-small"
_LICENCE = "made images (CC0-1.0)"
_SHARED = ("views", "exclude", "size", "fit", "resampling", "unreadable")
_VERSION = 1  # of the pictures and tables
_TEXTS = {1: "1.0", 0: "0.0", -1: "-1.0", MISSING: ""}


@dataclass(frozen=True)
class MadeFolder:
    """Options of a made folder.

    Attributes:
        patients: of the training part; a twentieth as many are in ``valid``.
        seed: of labels and pictures.
        side: length of an image's shorter side in pixels; the longer one is up to 390/320 of it.
        labels: ``simulated``, with CheXpert's prevalences and at least eight patients (a third, if
            there are few) for every class; or ``real``: label rows of whole patients out of the
            real table in the package torchxrayvision, whose terms are CheXpert's.
        missing: share of the training images whose file is missing.
        truncated: share whose file is cut off.
        sixteen_bit: share that are 16-bit PNG under the name .jpg.
        column_order: order of the label columns; by default CheXpert's. No result depends on it.
    """

    patients: int = 400
    seed: int = 0
    side: int = 320
    labels: Literal["simulated", "real"] = "simulated"
    missing: float = 0.0
    truncated: float = 0.0
    sixteen_bit: float = 0.0
    column_order: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class MadeChexpertConfig(MadeFolder):
    """Options of the dataset: those of the folder, and some of CheXpert's.

    Attributes:
        views, exclude, size, fit, resampling, unreadable: as in
            :class:`synthtrial.data.chexpert.ChexpertConfig`.
    """

    views: Literal["all", "frontal", "PA", "AP", "lateral"] = "all"
    exclude: list[str] = field(default_factory=list)
    size: int = 224
    fit: Literal["crop_then_resize", "resize_then_crop", "squash"] = "crop_then_resize"
    resampling: Literal["torchxrayvision", "antialias"] = "torchxrayvision"
    unreadable: Literal["stop", "skip"] = "stop"


@dataclass(frozen=True)
class Flaws:
    """Images of a made folder that are not as they should be, by ``train/.../view1_frontal``."""

    missing: list[str]
    truncated: list[str]
    sixteen_bit: list[str]


def write_chexpert(folder: Path, options: MadeFolder = MadeFolder()) -> Flaws:
    """Write a made CheXpert folder: both tables, then the images.

    Args:
        folder: made if it is not there; holds no CheXpert yet.
        options: of the folder.

    Returns:
        Which images are missing, truncated or of 16 bits.

    Raises:
        ConfigError: an option is unusable.
        DataError: ``labels`` is ``real`` and torchxrayvision is not installed.
    """
    check_folder(options)
    folder.mkdir(parents=True, exist_ok=True)
    tables = _rows_of(options)
    _write_tables(folder, tables, options)
    return _write_images(folder, tables, options)


def check_folder(options: MadeFolder) -> None:
    """Refuse options that make no folder.

    Raises:
        ConfigError: what is wrong with them.
    """
    if options.patients < 1 or options.side < 16:
        raise ConfigError(
            f"dataset.patients is {options.patients} and dataset.side {options.side}; allowed: at "
            "least 1 patient, and 16 pixels"
        )
    flaws = (options.missing, options.truncated, options.sixteen_bit)
    if min(flaws) < 0 or sum(flaws) > 1:
        raise ConfigError(
            f"dataset.missing, truncated and sixteen_bit are {flaws}; they are shares of the "
            "images and add up to 1 at most"
        )
    if options.column_order and sorted(options.column_order) != sorted(NAMES):
        raise ConfigError(
            f"dataset.column_order is {options.column_order}; it must hold each of {list(NAMES)} "
            "once"
        )


def _rows_of(options: MadeFolder) -> dict[str, list[Row]]:
    return made_tables(options.patients, options.seed, real=options.labels == "real")


def _write_tables(folder: Path, tables: Mapping[str, list[Row]], options: MadeFolder) -> None:
    order = options.column_order or list(NAMES)
    for part in sorted(tables, reverse=True):  # train.csv last: where it is, both are
        temporary = temporary_name(folder / f"{part}.csv")
        with temporary.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(["Path", "Sex", "Age", "Frontal/Lateral", "AP/PA", *order])
            for row in tables[part]:
                kind = "Lateral" if row.lateral else "Frontal"
                labels = dict(zip(NAMES, row.labels, strict=True))
                texts = [_TEXTS[labels[name]] for name in order]
                writer.writerow([f"{TOP}/{row.name}.jpg", row.sex, row.age, kind, row.view, *texts])
        temporary.replace(folder / f"{part}.csv")


def _write_images(folder: Path, tables: Mapping[str, list[Row]], options: MadeFolder) -> Flaws:
    """Write the images of each part into a folder that is renamed when it is complete."""
    flaws = _flaws([row.name for row in tables["train"]], options)
    missing, truncated, sixteen = (
        frozenset(names) for names in (flaws.missing, flaws.truncated, flaws.sixteen_bit)
    )

    def write(place: Path, row: Row) -> None:
        place.parent.mkdir(parents=True, exist_ok=True)
        if row.name in missing:
            return
        labels = dict(zip(NAMES, row.labels, strict=True))
        image_HW = draw_radiograph(row.name, labels, row.lateral, options.side, options.seed)
        content = encode_radiograph(image_HW, sixteen_bit=row.name in sixteen)
        place.write_bytes(content[: len(content) // 2] if row.name in truncated else content)

    for part in sorted(tables, reverse=True):
        temporary = temporary_name(folder / part)
        with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
            places = [temporary / f"{row.name.partition('/')[2]}.jpg" for row in tables[part]]
            list(pool.map(write, places, tables[part]))
        temporary.rename(folder / part)
    return flaws


def _flaws(names: Sequence[str], options: MadeFolder) -> Flaws:
    order = stream(options.seed, "made-chexpert", "flaws").permutation(len(names)).tolist()
    lists, taken = [], 0
    for share in (options.missing, options.truncated, options.sixteen_bit):
        count = round(share * len(names))
        lists.append(sorted(names[row] for row in order[taken : taken + count]))
        taken += count
    return Flaws(*lists)


@dataclass(frozen=True, eq=False)
class MadeChexpert(Chexpert):
    """The opened dataset: CheXpert's own code on a folder in the node's cache.

    The folder's tables are written when they are first asked for, and its images when the first of
    them is: planning needs none. Whatever has its final name is complete, and processes take turns.
    """

    made: MadeFolder = MadeFolder()
    restricted: bool = False

    @cached_property
    def table(self) -> ChexpertTable:
        """The tables."""

        def write(folder: Path) -> None:
            _write_tables(folder, _rows_of(self.made), self.made)

        self._once("train.csv", write)
        return super().table

    def sample(self, row: int) -> Sample:
        """Read one image, as of CheXpert.

        Raises:
            UnreadableImageError: it is one of those that are missing or cut off.
        """
        assert self._written_images
        return super().sample(row)

    @cached_property
    def _written_images(self) -> bool:
        assert self.table
        self._once("train", lambda folder: _write_images(folder, _rows_of(self.made), self.made))
        return True

    def _once(self, last: str, write: Callable[[Path], object]) -> None:
        folder = Path(self.config.path)
        if (folder / last).exists():
            return
        with storage_errors(folder, "SYNTHTRIAL_CACHE"):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            with locked(folder.with_name(f"{folder.name}.lock")):
                if not (folder / last).exists():
                    _clear(folder)
                    write(folder)


def _clear(folder: Path) -> None:
    """Remove what a process left that was killed while it wrote; the caller holds the lock."""
    for stale in entries(folder):
        if TEMPORARY in stale.name:
            if stale.is_dir():
                shutil.rmtree(stale)
            else:
                stale.unlink()
        elif stale.name == "valid" and stale.is_dir() and not (folder / "train").exists():
            shutil.rmtree(stale)  # it goes before `train`, which never came


def open_made_chexpert(config: MadeChexpertConfig) -> MadeChexpert:
    """Open the made dataset without writing anything.

    Raises:
        ConfigError: an option is unusable.
    """
    made = MadeFolder(**{f.name: getattr(config, f.name) for f in dataclasses.fields(MadeFolder)})
    check_folder(made)
    folder = cache_root() / f"made-chexpert-{digest([_VERSION, non_default(made)])}"
    shared = {name: getattr(config, name) for name in _SHARED}
    plain = open_chexpert(ChexpertConfig(path=str(folder), **shared))
    labels = f"; label rows of {plain.licence}" if made.labels == "real" else ""
    return MadeChexpert(plain.config, plain.classes, licence=f"{_LICENCE}{labels}", made=made)


def identify(config: MadeChexpertConfig) -> Mapping[str, Any]:
    """Return what ids keep of the options: not the order of columns."""
    return non_default(dataclasses.replace(config, column_order=[]))


CHEXPERT_MADE = Component(
    "chexpert_made",
    _VERSION,
    MadeChexpertConfig,
    "synthtrial.testing.chexpert:open_made_chexpert",
    identity="synthtrial.testing.chexpert:identify",
)
