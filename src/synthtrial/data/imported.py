"""A dataset known by what an archive says of it: for studies whose files stayed where they were.

    dataset: {name: imported, of: table, identity: {...}, classes: [...], ...}

An export writes it in place of a dataset that reads files, so that the study can be planned and
reported where those files are not. Its ids are those of the original. It has no images.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NoReturn

import numpy as np

from synthtrial.data.base import DatasetSource, Sample, restrictions_of
from synthtrial.errors import ConfigError, DataError
from synthtrial.registry import Component
from synthtrial.store.images import LabelTable


@dataclass(frozen=True)
class ImportedConfig:
    """What is known of the dataset.

    Attributes:
        of: name of the original plug-in.
        identity: what ids keep of it, name and version included.
        classes: in display order.
        multi_label: whether an image may have several classes.
        groups_known: whether every sample names its group.
        licence: of the images.
        restricted: whether images may not be passed on.
        rows: number of images.
        image_shape: (channels, height, width).
    """

    of: str = ""
    identity: dict[str, Any] = field(default_factory=dict)
    classes: list[str] = field(default_factory=list)
    multi_label: bool = False
    groups_known: bool = False
    licence: str = ""
    restricted: bool = False
    rows: int = 0
    image_shape: list[int] = field(default_factory=list)


@dataclass(frozen=True)
class Imported:
    """The opened dataset: everything but the images."""

    of: str
    classes: tuple[str, ...]
    multi_label: bool
    groups_known: bool
    licence: str
    restricted: bool
    expected_rows: int
    image_shape: tuple[int, int, int]

    def samples(self) -> Iterator[Sample]:
        """Refuse: there are no images.

        Raises:
            DataError: always.
        """
        self._refuse()

    def label_table(self) -> LabelTable:
        """Refuse: the labels are in the store, where they may be.

        Raises:
            DataError: always.
        """
        self._refuse()

    def own_sides(self) -> np.ndarray | None:
        """Refuse, as the sides are in the store's splits.

        Raises:
            DataError: always.
        """
        self._refuse()

    def _refuse(self) -> NoReturn:
        raise DataError(
            f"the dataset '{self.of}' stayed where this study was exported: it can be reported and "
            "compared here, and goes on where its files are"
        )


def open_imported(config: ImportedConfig) -> Imported:
    """Open what is known of a dataset.

    Raises:
        ConfigError: it is not what an export writes.
    """
    if not config.of or not config.classes or len(config.image_shape) != 3:
        raise ConfigError(
            "dataset.name=imported stands in exported studies only, with all that the export wrote"
        )
    channels, height, width = config.image_shape
    return Imported(
        config.of,
        tuple(config.classes),
        config.multi_label,
        config.groups_known,
        config.licence,
        config.restricted,
        config.rows,
        (channels, height, width),
    )


def identify(config: ImportedConfig) -> Mapping[str, Any]:
    """Return what ids keep of the original."""
    return dict(config.identity)


def describe_as_imported(
    name: str, identity: Mapping[str, Any], source: DatasetSource
) -> dict[str, Any]:
    """Return the section ``dataset`` of a study that is exported without its files."""
    return {
        "name": IMPORTED.name,
        "of": name,
        "identity": dict(identity),
        "classes": list(source.classes),
        "multi_label": source.multi_label,
        "groups_known": source.groups_known,
        "licence": source.licence,
        "restricted": bool(restrictions_of(source)),
        "rows": source.expected_rows,
        "image_shape": list(source.image_shape),
    }


IMPORTED = Component(
    "imported",
    1,
    ImportedConfig,
    "synthtrial.data.imported:open_imported",
    identity="synthtrial.data.imported:identify",
)
