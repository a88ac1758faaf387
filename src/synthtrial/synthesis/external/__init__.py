"""Images made elsewhere, by a diffusion model or another laboratory, in place of a generator's.

    table = read_table(config, classes, multi_label=False)
    rows = choose(table, allocation.vectors_MK, allocation.intended)
    images_MHWC = load_images(table, rows, channels=1, size=28)

A CSV or Parquet table lists them with their labels; classes are matched by name. What of it is
used is decided in the order of the table alone, so equal tables give equal results.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from synthtrial.data.base import check_classes
from synthtrial.data.labels import class_index
from synthtrial.data.lineage import UNKNOWN_SPLIT
from synthtrial.data.listings import (
    TableFile,
    check_column,
    check_paths,
    listed,
    open_table,
    row_name,
)
from synthtrial.data.pictures import inside
from synthtrial.errors import ConfigError, DataError
from synthtrial.identity import digest, non_default
from synthtrial.registry import Component
from synthtrial.store.artifacts import Descent
from synthtrial.store.shards import UInt8Array
from synthtrial.synthesis.external.labels import labels_by_column, labels_by_name
from synthtrial.synthesis.external.pictures import decode


@dataclass(frozen=True)
class ExternalConfig:
    """Where the images are, and how to read them.

    Attributes:
        table: path of a ``.csv`` or ``.parquet`` file, one row an image.
        folder: where relative paths in the table start; by default the table's own folder.
        image_column: column of paths; in Parquet also of encoded images, or of
            ``struct<bytes, path>`` as Hugging Face ``datasets`` has it.
        label_column: column that names the class of each row. Without it there must be a column
            ``label.<class>`` or ``<class>`` of 1 and 0 for every class.
        resize: bring square images to the dataset's size; otherwise another size is an error.
        convert: turn grey into RGB or RGB into grey; otherwise that is an error.
        lineage: ``independent``: no image of the dataset had a part in making these; ``unknown``:
            nobody can say so, and trials that use them are refused or stamped.
        declared: who made the images how, in words; kept with them, and in no id.
    """

    table: str = ""
    folder: str | None = None
    image_column: str = "path"
    label_column: str | None = None
    resize: bool = False
    convert: bool = False
    lineage: Literal["unknown", "independent"] = "unknown"
    declared: str = ""


@dataclass(frozen=True, eq=False)
class ExternalTable:
    """A table of N images, none of them decoded yet.

    Attributes:
        config: where it came from.
        classes: names of the columns of ``labels_NK``, sorted.
        multi_label: whether a row may hold several classes or none.
        names: what the rows are called: the path in the table, or ``row 1``, ...
        labels_NK: int8, 1 or 0.
        file: the opened file.
    """

    config: ExternalConfig
    classes: tuple[str, ...]
    multi_label: bool
    names: tuple[str, ...]
    labels_NK: np.ndarray
    file: TableFile

    def __len__(self) -> int:
        return len(self.names)


def read_table(config: ExternalConfig, classes: Sequence[str], multi_label: bool) -> ExternalTable:
    """Read names and labels; no image is opened.

    Args:
        config: where the table is.
        classes: of the dataset, in any order.
        multi_label: whether the dataset is multi-label.

    Raises:
        ConfigError: ``table`` is not set.
        DataError: the table cannot be read, lacks a column, names an image twice or one outside
            the folder, or has labels that are not the dataset's.
    """
    file = _open(config)
    names = [name or row_name(row) for row, name in enumerate(file.names(config.image_column))]
    if not names:
        raise DataError(f"{file.path} lists no image; it needs one row for each")
    if file.are_files(config.image_column):
        check_paths(file, config.image_column, _folder(config))
    ordered = tuple(sorted(check_classes(classes)))
    if config.label_column is not None:
        labels_NK = labels_by_name(file, config.label_column, ordered)
    else:
        labels_NK = labels_by_column(file, ordered, config.image_column)
    positives_N = labels_NK.sum(axis=1)
    if not multi_label and (positives_N != 1).any():
        row = int(np.flatnonzero(positives_N != 1)[0])
        raise DataError(
            f"{file.path}, {row_name(row)} ('{names[row]}') has {positives_N[row]} classes where "
            "the dataset has exactly one an image; correct the table"
        )
    labels_NK.flags.writeable = False
    return ExternalTable(config, ordered, multi_label, tuple(names), labels_NK, file)


def load_images(
    table: ExternalTable, rows: np.ndarray | Sequence[int], channels: int, size: int
) -> UInt8Array:
    """Decode the images of M rows.

    Args:
        table: from :func:`read_table`.
        rows: of the table, in any order.
        channels: of the dataset's images, 1 or 3.
        size: height and width of the dataset's images in pixels.

    Returns:
        images_MHWC, uint8, in the order of ``rows``.

    Raises:
        DataError: images are missing, unreadable, or of another kind than ``config`` allows: one
            error for all of them.
    """
    rows = np.arange(len(table))[np.asarray(rows, dtype=np.int64)]
    config, folder = table.config, _folder(table.config)
    images_MHWC = np.empty((len(rows), size, size, channels), dtype=np.uint8)
    places: dict[int, list[int]] = {}
    for place, row in enumerate(rows.tolist()):
        places.setdefault(row, []).append(place)
    problems = []
    for picture in table.file.pictures(config.image_column, rows):
        try:
            content = picture.content
            if content is None:
                content = _bytes(inside(folder, picture.path))
            images_MHWC[places[picture.row]] = decode(
                content, channels, size, resize=config.resize, convert=config.convert
            )
        except ValueError as error:
            problems.append(f"'{picture.name}' {error}")
    if problems:
        raise DataError(
            f"{table.file.path}: {len(problems):,} of {len(rows):,} images cannot be used: "
            + listed(problems)
        )
    return images_MHWC


def choose(
    table: ExternalTable, vectors_MK: np.ndarray, intended: Sequence[str] | np.ndarray
) -> np.ndarray:
    """Choose an image for each of M wanted label vectors, no image twice.

    Each takes the first row of the table, not taken before, that holds the same vector. With
    multi-label data those that are left without then take, in their order, the first row not yet
    taken that holds the class they are meant for. Such an image keeps its own labels, so use
    ``table.labels_NK[rows]`` and not the wanted vectors.

    Args:
        table: from :func:`read_table`.
        vectors_MK: wanted label vectors, classes as in ``table.classes``; -1, a label that the
            policy ignores, counts as 0.
        intended: class that each image is added for.

    Returns:
        rows_M of the table.

    Raises:
        DataError: there are too few images: says of which class, how many are wanted and how many
            there are.
    """
    wanted_MK = np.maximum(np.asarray(vectors_MK), 0).astype(np.int8)
    if wanted_MK.shape != (len(intended), len(table.classes)):
        raise DataError(
            f"label vectors of shape {wanted_MK.shape} cannot be looked up: give one for each of "
            f"{len(intended)} images, with an entry for each class: {', '.join(table.classes)}"
        )
    for name in sorted(set(intended)):
        class_index(table.classes, name)
    same: dict[bytes, list[int]] = {}
    for row, labels_K in enumerate(table.labels_NK):
        same.setdefault(labels_K.tobytes(), []).append(row)
    unused = {vector: iter(rows) for vector, rows in same.items()}
    nothing: Iterator[int] = iter(())
    rows_M = np.array([next(unused.get(v.tobytes(), nothing), -1) for v in wanted_MK], np.int64)
    if table.multi_label:
        free_N = np.ones(len(table), dtype=bool)
        free_N[rows_M[rows_M >= 0]] = False
        holders = {
            name: iter(np.flatnonzero(table.labels_NK[:, k] == 1).tolist())
            for k, name in enumerate(table.classes)
        }
        for m in np.flatnonzero(rows_M < 0).tolist():
            row = next((row for row in holders[intended[m]] if free_N[row]), -1)
            if row >= 0:
                rows_M[m], free_N[row] = row, False
    if (rows_M < 0).any():
        raise DataError(_too_few(table, intended, rows_M))
    return rows_M


def table_digest(config: ExternalConfig) -> str:
    """Return the digest of what the table and its images are, wherever they are.

    It covers every byte of the table, and of images in files their names and sizes: planning asks
    for it each time and cannot read them all. So an image that is replaced by another one of equal
    size goes unnoticed (likely with formats that do not compress): give it another name, or keep
    the images inside a Parquet table.

    Raises:
        ConfigError: ``table`` is not set.
        DataError: the table cannot be read, or images are missing: one error for all of them.
    """
    file, folder = _open(config), _folder(config)
    sizes, problems = [], []
    for picture in file.pictures(config.image_column):
        if picture.content is not None:
            continue
        try:
            sizes.append([picture.path, inside(folder, picture.path).stat().st_size])
        except ValueError as error:
            problems.append(f"'{picture.name}' {error}")
        except OSError as error:
            problems.append(f"'{picture.name}' cannot be read ({error.strerror})")
    if problems:
        raise DataError(
            f"{file.path}: {len(problems):,} of {len(file):,} images are missing: "
            + listed(problems)
        )
    with file.path.open("rb") as content:
        whole = hashlib.file_digest(content, "sha256").hexdigest()
    return digest({"table": whole, "images": sizes})


def identify(config: ExternalConfig) -> Mapping[str, Any]:
    """Return what ids keep of the options: content in place of paths, and no statements."""
    plain = dataclasses.replace(config, table="", folder=None, declared="")
    return {**non_default(plain), "content": table_digest(config)}


def lineage_of(config: ExternalConfig) -> tuple[Descent, ...]:
    """Return what the images descend from, as an artifact's manifest states it."""
    return () if config.lineage == "independent" else (Descent(UNKNOWN_SPLIT, (), None),)


EXTERNAL = Component(
    "external",
    1,
    ExternalConfig,
    "synthtrial.synthesis.external:read_table",
    identity="synthtrial.synthesis.external:identify",
    trained=False,
)


def _open(config: ExternalConfig) -> TableFile:
    if not config.table:
        raise ConfigError("generator.table is not set; give the path of a .csv or .parquet file")
    file = open_table(Path(config.table).expanduser(), "generator")
    check_column(file, config.image_column, "generator.image_column")
    return file


def _folder(config: ExternalConfig) -> Path:
    if config.folder is None:
        return Path(config.table).expanduser().parent
    return Path(config.folder).expanduser()


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ValueError(f"cannot be read ({error.strerror})") from error


def _too_few(table: ExternalTable, intended: Sequence[str] | np.ndarray, rows_M: np.ndarray) -> str:
    wanted = Counter(intended)
    found = Counter(name for name, row in zip(intended, rows_M, strict=True) if row >= 0)
    lines = []
    for name in sorted(wanted):
        if found[name] < wanted[name]:
            held = int(table.labels_NK[:, table.classes.index(name)].sum())
            others = max(held - found[name], 0)
            elsewhere = f" ({others:,} of them taken for other classes)" if others else ""
            lines.append(f"'{name}': {wanted[name]:,} wanted, {held:,} there{elsewhere}")
    return (
        f"{table.file.path} has too few images of {'; '.join(lines)}. Add images to the table, or "
        "ask for fewer with balance.target or balance.count"
    )
