"""Images in files that a CSV or Parquet table lists with their labels, groups and sides.

    path,patient,split,Edema,Fracture
    images/0001.png,p17,train,1,
    images/0002.png,p17,train,-1,0

Labels are columns of 1, 0, -1 (uncertain) and nothing (not mentioned), found by name; or one
column that names the class of each image.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np

from synthtrial.data.file_images import NO_LICENCE, FileImages, Listing, one_hot, read_file
from synthtrial.data.listings import (
    TableFile,
    check_column,
    check_paths,
    listed,
    open_table,
    row_name,
)
from synthtrial.data.named_labels import class_names, named_groups, named_labels
from synthtrial.data.pictures import Form, inside
from synthtrial.data.sides import SIDE_NAMES
from synthtrial.errors import ConfigError, DataError
from synthtrial.identity import non_default
from synthtrial.registry import Component
from synthtrial.store.images import MISSING
from synthtrial.store.shards import PREFIX

_MARKS: Mapping[str, int] = {
    **dict.fromkeys(("1", "1.0", "true"), 1),
    **dict.fromkeys(("0", "0.0", "false"), 0),
    **dict.fromkeys(("-1", "-1.0"), -1),
    **dict.fromkeys(("", "none", "nan"), MISSING),
}


@dataclass(frozen=True)
class TableConfig:
    """Options of images that a table lists.

    Attributes:
        table: path of a ``.csv`` or ``.parquet`` file, one row an image; no id depends on where it
            is, nor on columns that are not used.
        folder: where relative paths in the table start; by default the table's own folder.
        image_column: column of paths, which are the images' lasting names.
        label_column: column that names the class of each image.
        label_columns: columns of 1, 0, -1 and nothing, one a class. With neither of the two, those
            whose names start with ``label.``.
        multi_label: whether an image may have several classes or none; by default so with columns
            for each class. False holds each row to exactly one.
        group_column: column of groups, such as patients; without it groups are unknown.
        split_column: column of the dataset's own sides: ``train``, ``validation``, ``test``, or
            nothing; ``split.own`` keeps them.
        exclude: file of paths, one a line, whose images are left out.
        window: grey values of 16-bit images that become black and white, as [low, high]; by
            default [0, 65535].
        size: height and width in pixels; by default the images' own, which must agree.
        fit: how an image becomes square (:func:`synthtrial.data.radiographs.fit_square`).
        resampling: as there.
        channels: 1 or 3; by default the images' own, which must agree.
        unreadable: ``stop`` if images are missing or cannot be decoded, once all were tried; or
            ``skip`` them. Either way they are listed.
        licence: of the images, for reports; in no id.
        restricted: no image may be passed on, nor shown in a report; in no id.
    """

    table: str = ""
    folder: str | None = None
    image_column: str = "path"
    label_column: str | None = None
    label_columns: list[str] = field(default_factory=list)
    multi_label: bool | None = None
    group_column: str | None = None
    split_column: str | None = None
    exclude: str | None = None
    window: list[float] = field(default_factory=list)
    size: int | None = None
    fit: Literal["crop_then_resize", "resize_then_crop", "squash"] = "crop_then_resize"
    resampling: Literal["torchxrayvision", "antialias"] = "antialias"
    channels: int | None = None
    unreadable: Literal["stop", "skip"] = "stop"
    licence: str = ""
    restricted: bool = False


@dataclass(frozen=True, eq=False)
class _Table:
    """The table, read when something is asked of it."""

    config: TableConfig

    @cached_property
    def folder(self) -> Path:
        """Where relative paths start."""
        given = self.config.folder or Path(self.config.table).expanduser().parent
        return Path(given).expanduser()

    @cached_property
    def listing(self) -> Listing:
        """The images in use, in the order of the table.

        Raises:
            DataError: the table cannot be read, lacks a column, or holds what cannot be used.
        """
        config = self.config
        file = open_table(Path(config.table).expanduser(), "dataset")
        for name in ("image_column", "label_column", "group_column", "split_column"):
            column = getattr(config, name)
            if column is not None:
                check_column(file, column, f"dataset.{name}")
        if not file.are_files(config.image_column):
            raise DataError(
                f"{file.path}: the column '{config.image_column}' holds images and not paths; "
                "set dataset.name=hf_image to read it"
            )
        check_paths(file, config.image_column, self.folder)
        paths = [name or "" for name in file.names(config.image_column)]
        kept = _kept(file, config, paths)
        labels_NK, classes = _labels(file, config, kept)
        if not is_multi_label(config):
            _check_single(file, labels_NK, kept)
        groups = None
        if config.group_column is not None:
            groups = named_groups(file, config.group_column, kept)
        sides = None
        if config.split_column is not None:
            sides = _sides(file, config.split_column, kept)
        return Listing([paths[row] for row in kept], labels_NK, classes, groups, sides)

    def read_bytes(self, row: int) -> bytes:
        """Return the file of one image."""
        return read_file(inside(self.folder, self.listing.sample_ids[row]))


def is_multi_label(config: TableConfig) -> bool:
    """Say whether an image may have several classes or none."""
    return config.label_column is None if config.multi_label is None else config.multi_label


def open_listed_images(config: TableConfig) -> FileImages:
    """Open a table of images without reading it.

    Raises:
        ConfigError: no table, options that contradict each other, or one that is out of range.
    """
    form = _form(config)
    table = _Table(config)
    return FileImages(
        lambda: table.listing,
        table.read_bytes,
        form,
        multi_label=is_multi_label(config),
        licence=config.licence or NO_LICENCE,
        restricted=config.restricted,
        unreadable=config.unreadable,
        origin=str(table.folder),
    )


def identify(config: TableConfig) -> Mapping[str, Any]:
    """Return what ids keep of the options: in place of the table, the digest of what it says.

    The images do not enter: a study can be planned where they are not, and one that is replaced
    under its name goes unnoticed.
    """
    _form(config)
    default = TableConfig()
    plain = dataclasses.replace(
        config,
        table="",
        folder=None,
        image_column=default.image_column,
        label_column=None,
        label_columns=[],
        multi_label=None,
        group_column=None,
        split_column=None,
        exclude=None,
        licence="",
        restricted=False,
    )
    kept = {**non_default(plain), "labels": _Table(config).listing.digest}
    return {**kept, "multi_label": True} if is_multi_label(config) else kept


TABLE = Component(
    "table",
    1,
    TableConfig,
    "synthtrial.data.listed_images:open_listed_images",
    identity="synthtrial.data.listed_images:identify",
)


def _form(config: TableConfig) -> Form:
    """Check the options and return what images become."""
    if not config.table:
        raise ConfigError("dataset.table is not set; give the path of a .csv or .parquet file")
    if config.label_column is not None and config.label_columns:
        raise ConfigError(
            "dataset.label_column and dataset.label_columns exclude each other: one column names "
            "the class of each image, or there is a column for each class"
        )
    if config.label_column is not None and config.multi_label:
        raise ConfigError(
            "dataset.label_column names one class an image; for dataset.multi_label=true give a "
            "column for each class in dataset.label_columns"
        )
    if len(config.window) not in (0, 2):
        raise ConfigError(
            f"dataset.window is {config.window}; give the grey values that become black and "
            "white, such as [0, 4095]"
        )
    window = (config.window[0], config.window[1]) if config.window else None
    return Form(config.channels, config.size, config.fit, config.resampling, window)


def _kept(file: TableFile, config: TableConfig, paths: Sequence[str]) -> list[int]:
    """Return the rows whose images are not left out."""
    excluded: frozenset[str] = frozenset()
    if config.exclude is not None:
        place = Path(config.exclude).expanduser()
        try:
            lines = place.read_text(encoding="utf-8-sig").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(f"dataset.exclude: cannot read {place}: {error}") from None
        excluded = frozenset(line.strip() for line in lines if line.strip())
        unknown = sorted(excluded.difference(paths))
        if unknown:
            raise DataError(
                f"dataset.exclude: {place} lists {len(unknown):,} images that {file.path} has "
                f"not: {listed(unknown)}; write paths as in the table, one a line"
            )
    kept = [row for row, path in enumerate(paths) if path not in excluded]
    if not kept:
        raise DataError(f"{file.path} lists no image; it needs one row for each")
    return kept


def _labels(
    file: TableFile, config: TableConfig, kept: Sequence[int]
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Return labels_NK of these rows, and the names of the columns."""
    column = config.label_column
    if column is not None:
        classes, numbers = class_names([file], column, kept)
        names = named_labels(file, column, classes, numbers=numbers, rows=kept)
        return one_hot(names, classes), classes
    columns = list(config.label_columns) or [n for n in file.columns if n.startswith(PREFIX)]
    if not columns:
        raise DataError(
            f"{file.path}: it is not said which columns are labels; set dataset.label_columns to "
            "one for each class, or dataset.label_column to one that names the class. Columns: "
            + ", ".join(file.columns)
        )
    labels_NK = np.empty((len(kept), len(columns)), dtype=np.int8)
    for k, column in enumerate(columns):
        check_column(file, column, "dataset.label_columns")
        values = file.values(column)
        marks = {value: _mark(value) for value in set(values)}
        for place, row in enumerate(kept):
            mark = marks[values[row]]
            if mark is None:
                raise DataError(
                    f"{file.path}, {row_name(row)}: {values[row]!r} in the column '{column}'; "
                    "allowed: 1, 0, -1 (uncertain) and nothing (not mentioned)"
                )
            labels_NK[place, k] = mark
    labels_NK.flags.writeable = False
    return labels_NK, tuple(column.removeprefix(PREFIX) for column in columns)


def _mark(value: Any) -> int | None:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return MISSING
    return _MARKS.get(str(value).strip().lower())


def _check_single(file: TableFile, labels_NK: np.ndarray, kept: Sequence[int]) -> None:
    wrong_N = ((labels_NK == 1).sum(axis=1) != 1) | (labels_NK == -1).any(axis=1)
    if wrong_N.any():
        place = int(np.flatnonzero(wrong_N)[0])
        held, unsure = (int((labels_NK[place] == value).sum()) for value in (1, -1))
        raise DataError(
            f"{file.path}, {row_name(kept[place])} has {held} classes and {unsure} uncertain ones, "
            "where dataset.multi_label=false holds each image to exactly one"
        )


def _sides(file: TableFile, column: str, kept: Sequence[int]) -> np.ndarray:
    values = file.values(column)
    sides = np.full(len(kept), None, dtype=object)
    for place, row in enumerate(kept):
        text = "" if values[row] is None else str(values[row]).strip()
        if text and text.lower() not in SIDE_NAMES:
            raise DataError(
                f"{file.path}, {row_name(row)}: '{text}' in the column '{column}'; allowed: "
                f"{', '.join(SIDE_NAMES)}, and nothing"
            )
        sides[place] = SIDE_NAMES[text.lower()] if text else None
    return sides
