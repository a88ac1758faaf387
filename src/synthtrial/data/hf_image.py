"""Images in Parquet as the Hugging Face hub has them: EuroSAT, CIFAR, MedMNIST, ...

    data/train-00000-of-00001.parquet     image: struct<bytes, path>, label: int64
    data/test-00000-of-00001.parquet      (names of the classes in the file's schema)

The files are read with pyarrow alone, from a folder here or from the hub's cache. Their names say
which side they belong to, and ``split.own`` keeps these sides.
"""

from __future__ import annotations

import dataclasses
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np

from synthtrial.data.file_images import NO_LICENCE, FileImages, Listing, one_hot, read_file
from synthtrial.data.hub import download, is_hub_name, snapshot
from synthtrial.data.listings import ParquetTable, check_column
from synthtrial.data.named_labels import class_names, named_groups, named_labels
from synthtrial.data.pictures import Form, inside
from synthtrial.data.row_groups import RowGroups
from synthtrial.data.sides import SIDE_NAMES, SIDES
from synthtrial.errors import ConfigError, DataError, UnreadableImageError, suggest
from synthtrial.identity import digest, non_default
from synthtrial.registry import Component

#: ``train-00000-of-00001``: the split, and which part of it.
_PART = re.compile(r"(.+?)(?:-\d+-of-\d+)?(?:-[0-9a-f]{16})?")
_MAGIC = b"PAR1"


@dataclass(frozen=True)
class HfImageConfig:
    """Options of images in Parquet.

    Attributes:
        path: folder of the ``.parquet`` files or of their folder ``data``, or one such file; or
            ``user/name`` of the hub, which ``synthtrial fetch`` fetches. No id depends on it.
        revision: of a dataset of the hub: branch, tag or commit. Ids depend on what the files
            hold, and not on this.
        splits: side (``train``, ``validation``, ``test``) by split, which is the beginning of a
            file's name up to ``-00000-of-00001``. Files of other splits are then left out. By
            default all are read, and those that are named as a side belong to it.
        image_column: of ``struct<bytes, path>``, of encoded images, or of paths.
        label_column: of class numbers with names in the schema, or of names.
        group_column: of groups; without it they are unknown.
        size: height and width in pixels; by default the images' own, which must agree.
        fit: how an image becomes square (:func:`synthtrial.data.radiographs.fit_square`).
        channels: 1 or 3; by default the images' own, which must agree.
        unreadable: ``stop`` if images are missing or cannot be decoded, once all were tried; or
            ``skip`` them. Either way they are listed.
        licence: of the images, for reports; in no id.
        restricted: no image may be passed on, nor shown in a report; in no id.
    """

    path: str = ""
    revision: str = "main"
    splits: dict[str, str] = field(default_factory=dict)
    image_column: str = "image"
    label_column: str = "label"
    group_column: str | None = None
    size: int | None = None
    fit: Literal["crop_then_resize", "resize_then_crop", "squash"] = "crop_then_resize"
    channels: int | None = None
    unreadable: Literal["stop", "skip"] = "stop"
    licence: str = ""
    restricted: bool = False


@dataclass(frozen=True, eq=False)
class _Files:
    """The files of a dataset, opened when something is asked of them."""

    config: HfImageConfig

    @cached_property
    def tables(self) -> list[tuple[str, ParquetTable]]:
        """The split and the table of each file.

        Raises:
            DataError: there is none, or one lacks a column.
        """
        wanted = self.config.splits
        found = [(_split_of(path), ParquetTable(path, "dataset")) for path in _paths(self.config)]
        kept = [(split, table) for split, table in found if not wanted or split in wanted]
        missing = [name for name in wanted if name not in {split for split, _ in found}]
        if missing:
            raise DataError(
                f"dataset.splits: no file of {self.config.path} is of the split '{missing[0]}': "
                f"{suggest(missing[0], {split for split, _ in found})}"
            )
        for _, table in kept:
            for name in ("image_column", "label_column", "group_column"):
                column = getattr(self.config, name)
                if column is not None:
                    check_column(table, column, f"dataset.{name}")
        return kept

    @cached_property
    def images(self) -> RowGroups:
        """The encoded images."""
        return RowGroups([table for _, table in self.tables], self.config.image_column)

    @cached_property
    def listing(self) -> Listing:
        """Ids, labels, groups and sides of all rows."""
        config = self.config
        column = config.label_column
        names, numbers = class_names([table for _, table in self.tables], column)
        sides_of = config.splits or SIDE_NAMES
        ids: list[str] = []
        labels: list[str] = []
        groups: list[str] = []
        sides: list[str | None] = []
        rows_of: dict[str, int] = {}
        for split, table in self.tables:
            first = rows_of.get(split, 0)
            rows_of[split] = first + len(table)
            ids += [f"{split}-{row:06d}" for row in range(first, rows_of[split])]
            labels += named_labels(table, column, names, numbers=numbers)
            sides += [sides_of.get(split if config.splits else split.lower())] * len(table)
            if config.group_column is not None:
                groups += named_groups(table, config.group_column)
        if not ids:
            raise DataError(f"the files of {config.path} hold no row")
        return Listing(
            ids,
            one_hot(labels, names),
            names,
            groups if config.group_column is not None else None,
            np.array(sides, dtype=object) if any(sides) else None,
        )

    def read_bytes(self, row: int) -> bytes:
        """Return the encoded image of a row."""
        found = self.images.picture(row)
        if found.content is not None:
            return found.content
        try:
            return read_file(inside(self.images.path(row).parent, found.path))
        except ValueError as error:
            raise UnreadableImageError(f"the row {error}") from None

    def digest(self) -> str:
        """Return what an id keeps of the files: labels, sizes, and what their footers say."""
        footers = [[split, *_footer(table.path)] for split, table in self.tables]
        return digest({"files": footers, "listing": self.listing.digest})


def open_hf_image(config: HfImageConfig) -> FileImages:
    """Open a dataset without reading its files.

    Raises:
        ConfigError: no path, an unknown side, or a size or number of channels out of range.
    """
    _check(config)
    files = _Files(config)
    return FileImages(
        lambda: files.listing,
        files.read_bytes,
        Form(config.channels, config.size, config.fit),
        multi_label=False,
        licence=config.licence or NO_LICENCE,
        restricted=config.restricted,
        unreadable=config.unreadable,
        origin=config.path,
    )


def identify(config: HfImageConfig) -> Mapping[str, Any]:
    """Return what ids keep of the options: the content's digest in place of where it is.

    Planning cannot read all images: what stands for them is each file's size and footer, where
    Parquet keeps the sizes of all columns of all row groups.
    """
    _check(config)
    default = HfImageConfig()
    plain = dataclasses.replace(
        config,
        path="",
        revision=default.revision,
        splits={},
        label_column=default.label_column,
        group_column=None,
        licence="",
        restricted=False,
    )
    return {**non_default(plain), "content": _Files(config).digest()}


def fetch(config: HfImageConfig) -> str | None:
    """Fetch a dataset of the hub; return a line about it."""
    _check(config)
    if Path(config.path).expanduser().exists():
        return f"{config.path} is there"
    if not is_hub_name(config.path):
        raise DataError(f"dataset.path: there is no file or folder {config.path}")
    found = snapshot(config.path, config.revision)
    if found is not None and any(found.rglob("*.parquet")):
        return f"{config.path} is in {found}"
    return download(config.path, config.revision)


HF_IMAGE = Component(
    "hf_image",
    1,
    HfImageConfig,
    "synthtrial.data.hf_image:open_hf_image",
    identity="synthtrial.data.hf_image:identify",
    fetch="synthtrial.data.hf_image:fetch",
)


def _check(config: HfImageConfig) -> None:
    if not config.path:
        raise ConfigError(
            "dataset.path is not set; give the folder of the .parquet files, or user/name of the "
            "Hugging Face hub"
        )
    for split, side in config.splits.items():
        if side not in SIDES:
            raise ConfigError(f"dataset.splits.{split} is '{side}': {suggest(side, SIDES)}")


def _paths(config: HfImageConfig) -> list[Path]:
    """Return the Parquet files, sorted by name."""
    root = Path(config.path).expanduser()
    if not root.exists() and is_hub_name(config.path):
        cached = snapshot(config.path, config.revision)
        if cached is None:
            raise DataError(
                f"dataset.path: there is no folder {config.path} here; if it is a dataset of the "
                "Hugging Face hub, run `synthtrial fetch STUDY` where there is a network"
            )
        root = cached
    if root.is_file():
        return [root]
    for folder in (root, root / "data"):
        found = sorted(folder.glob("*.parquet"))
        if found:
            return found
    below = sorted({path.parent for path in root.rglob("*.parquet")})
    hint = f"; but {below[0]} does: set dataset.path to it" if below else ""
    what = "holds no .parquet file" if root.is_dir() else "does not exist"
    raise DataError(f"dataset.path: {root} {what}{hint}")


def _split_of(path: Path) -> str:
    match = _PART.fullmatch(path.stem)
    assert match is not None
    return match.group(1)


def _footer(path: Path) -> tuple[int, str]:
    """Return the size of a Parquet file and the SHA-256 of its footer."""
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            file.seek(max(0, size - 8))
            length, mark = int.from_bytes(file.read(4), "little"), file.read(4)
            file.seek(max(0, size - 8 - length))
            footer = file.read(length)
    except OSError as error:
        raise DataError(f"cannot read {path} ({error.strerror})") from error
    if mark != _MAGIC:
        raise DataError(f"{path} is no complete Parquet file; copy or fetch it again")
    return size, hashlib.sha256(footer).hexdigest()
