"""Folders of images, one a class: ``<path>/<class>/<image>``, as torchvision's ``ImageFolder``.

With ``<path>/train/<class>/...`` and ``<path>/test/...`` (and ``val``) the folders of the first
level are the dataset's own sides, which ``split.own`` keeps. Below a class's folder there may be
others; files are images by their suffix, and hidden ones are none.
"""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from synthtrial.data.file_images import NO_LICENCE, FileImages, Listing, one_hot, read_file
from synthtrial.data.listings import listed
from synthtrial.data.pictures import Form
from synthtrial.data.sides import SIDE_NAMES
from synthtrial.errors import ConfigError, DataError
from synthtrial.identity import digest, non_default
from synthtrial.registry import Component

#: torchvision's, and DICOM.
SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp", ".dcm"}
)


@dataclass(frozen=True)
class ImageFolderConfig:
    """Options of folders of images.

    Attributes:
        path: folder of the classes, or of sides that hold them; no id depends on it.
        size: height and width in pixels; by default the images' own, which must agree.
        fit: how an image becomes square (:func:`synthtrial.data.radiographs.fit_square`).
        channels: 1 or 3; by default the images' own, which must agree.
        group_pattern: regular expression that is looked for in ``<class>/<image>`` (with the side
            in front, where there are sides); its first group is the name of the image's group.
            Without it groups are unknown.
        unreadable: ``stop`` if images are missing or cannot be decoded, once all were tried; or
            ``skip`` them. Either way they are listed.
        licence: of the images, for reports; in no id.
        restricted: no image may be passed on, nor shown in a report; in no id.
    """

    path: str = ""
    size: int | None = None
    fit: Literal["crop_then_resize", "resize_then_crop", "squash"] = "crop_then_resize"
    channels: int | None = None
    group_pattern: str | None = None
    unreadable: Literal["stop", "skip"] = "stop"
    licence: str = ""
    restricted: bool = False


@dataclass(frozen=True)
class _Found:
    """An image file: its path below the root, its class and side, and its size."""

    name: str
    label: str
    side: str | None
    size: int


def open_image_folder(config: ImageFolderConfig) -> FileImages:
    """Open a folder of images without listing it.

    Raises:
        ConfigError: a size, a number of channels or a pattern that cannot be used.
    """
    form = Form(config.channels, config.size, config.fit)
    pattern = _pattern(config)
    root = _root(config)

    def list_images() -> Listing:
        return _listing(root, _scan(root), pattern)

    def read_bytes(row: int) -> bytes:
        return read_file(root / source.listing.sample_ids[row])

    source = FileImages(
        list_images,
        read_bytes,
        form,
        multi_label=False,
        licence=config.licence or NO_LICENCE,
        restricted=config.restricted,
        unreadable=config.unreadable,
        origin=str(root),
    )
    return source


def identify(config: ImageFolderConfig) -> Mapping[str, Any]:
    """Return what ids keep of the options: in place of the path, the files' names and sizes.

    An image that is replaced by another of equal size goes unnoticed: give it another name.
    """
    found = _scan(_root(config))
    kept = dataclasses.replace(config, path="", licence="", restricted=False)
    return {**non_default(kept), "files": digest([[file.name, file.size] for file in found])}


IMAGE_FOLDER = Component(
    "image_folder",
    1,
    ImageFolderConfig,
    "synthtrial.data.image_folder:open_image_folder",
    identity="synthtrial.data.image_folder:identify",
)


def _root(config: ImageFolderConfig) -> Path:
    if not config.path:
        raise ConfigError("dataset.path is not set; give the folder that holds one folder a class")
    return Path(config.path).expanduser()


def _pattern(config: ImageFolderConfig) -> re.Pattern[str] | None:
    if config.group_pattern is None:
        return None
    try:
        pattern = re.compile(config.group_pattern)
    except re.error as error:
        raise ConfigError(
            f"dataset.group_pattern '{config.group_pattern}' is no regular expression: {error}"
        ) from None
    if not pattern.groups:
        raise ConfigError(
            f"dataset.group_pattern '{config.group_pattern}' has no group; put the part that names "
            "the image's group into parentheses"
        )
    return pattern


def _scan(root: Path) -> list[_Found]:
    """Return all image files, sorted by name.

    Raises:
        DataError: the folder cannot be read, has no folders, or one without images.
    """
    try:
        top = _folders(root)
        sides = _sides(root, top)
        places = (
            [
                (name, f"{side}/{name}", sides[side])
                for side in top
                for name in _folders(root / side)
            ]
            if sides
            else [(name, name, None) for name in top]
        )
        found = []
        for label, place, side in places:
            files = [_Found(name, label, side, size) for name, size in _images(root, place)]
            if not files:
                raise DataError(
                    f"{root / place} holds no image; allowed: files with one of the suffixes "
                    f"{', '.join(sorted(SUFFIXES))}. Fill or remove the folder"
                )
            found += files
    except OSError as error:
        raise DataError(
            f"dataset.path: cannot read the folder {error.filename or root} ({error.strerror})"
        ) from error
    if not found:
        raise DataError(f"{root} has no folders; it needs one for each class, with its images")
    return sorted(found, key=lambda file: file.name)


def _folders(folder: Path) -> list[str]:
    with os.scandir(folder) as entries:
        names = [entry.name for entry in entries if entry.is_dir() and entry.name[0] != "."]
    return sorted(names)


def _sides(root: Path, names: list[str]) -> Mapping[str, str]:
    """Return the sides that the folders of the first level stand for; none if they are classes."""
    sides = {name: SIDE_NAMES[name.lower()] for name in names if name.lower() in SIDE_NAMES}
    if len(set(sides.values())) < len(sides):
        raise DataError(f"{root} has the folders {', '.join(sides)}, of which two are one side")
    if len(sides) == len(names):
        return sides
    if len(sides) > 1:  # one alone may be a class: a railway train
        odd = next(name for name in names if name not in sides)
        raise DataError(
            f"{root} has the sides {', '.join(sides)} and beside them the folder '{odd}'; move it "
            "elsewhere"
        )
    return {}


def _images(root: Path, place: str) -> Iterator[tuple[str, int]]:
    """Yield the path below the root, and the size, of every image in a folder and those below."""
    with os.scandir(root / place) as entries:
        for entry in entries:
            if entry.name[0] == ".":
                continue
            name = f"{place}/{entry.name}"
            if entry.is_dir():
                yield from _images(root, name)
            elif Path(entry.name).suffix.lower() in SUFFIXES:
                yield name, _size(entry)


def _size(entry: os.DirEntry[str]) -> int:
    try:
        return entry.stat().st_size
    except FileNotFoundError:  # a link that leads nowhere: listed, and unreadable in its turn
        return 0


def _listing(root: Path, found: list[_Found], pattern: re.Pattern[str] | None) -> Listing:
    labels = [file.label for file in found]
    classes = tuple(sorted(set(labels)))
    groups = None
    if pattern is not None:
        matches = [pattern.search(file.name) for file in found]
        groups = [match.group(1) or "" if match else "" for match in matches]
        bare = [f"'{f.name}'" for f, group in zip(found, groups, strict=True) if not group]
        if bare:
            raise DataError(
                f"{root}: dataset.group_pattern '{pattern.pattern}' finds no group in "
                f"{len(bare):,} of {len(found):,} paths: {listed(bare)}"
            )
    sides = np.array([file.side for file in found], dtype=object)
    return Listing(
        [file.name for file in found],
        one_hot(labels, classes),
        classes,
        groups,
        sides if found[0].side is not None else None,
    )
