"""Fashion-MNIST: 70,000 grey 28 x 28 images of ten kinds of clothing (Zalando, MIT licence).

The four files are read as Zalando made them and Debian packages them (``dataset-fashion-mnist``).
MNIST's files have the same names and layout, so the content is checked: ids can then leave out
where the files are. Which photographs show the same article is not known, so groups are unknown.

Sources: H. Xiao, K. Rasul, R. Vollgraf, Fashion-MNIST: a novel image dataset for benchmarking
machine learning algorithms, arXiv 1708.07747; for the layout "idx", Y. LeCun, C. Cortes, C. Burges,
The MNIST database of handwritten digits.
"""

from __future__ import annotations

import dataclasses
import gzip
import hashlib
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from synthtrial.data.base import Sample, make_label_table
from synthtrial.errors import ConfigError, DataError
from synthtrial.identity import non_default
from synthtrial.registry import Component
from synthtrial.store.images import LabelTable

#: Where Debian and Ubuntu install the files.
SYSTEM_FOLDER = "/usr/share/datasets/fashion-mnist"
NAMES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)
#: SHA-256 of the unpacked files; packing leaves traces, so that Debian's packed files differ from
#: Zalando's (whose MD5 sums are in their README: they unpack to these).
SHA256: Mapping[str, str] = {
    "train-images-idx3-ubyte.gz": (
        "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888"
    ),
    "train-labels-idx1-ubyte.gz": (
        "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9"
    ),
    "t10k-images-idx3-ubyte.gz": (
        "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b"
    ),
    "t10k-labels-idx1-ubyte.gz": (
        "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34"
    ),
}
_FILES = {
    "train": ("train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"),
    "test": ("t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"),
}
_OF_EACH_CLASS = {"train": 6000, "test": 1000}
_SIZE = 28
_PAGE = "https://github.com/zalandoresearch/fashion-mnist"
_GET_THEM = (
    "get them with `apt-get install dataset-fashion-mnist` (Debian, Ubuntu), or download the four "
    f"files from {_PAGE} and set dataset.path to their folder"
)


@dataclass(frozen=True)
class FashionConfig:
    """Options of Fashion-MNIST.

    Attributes:
        path: folder of the four ``.gz`` files; no id depends on it.
        parts: Zalando's ``train`` (60,000), ``test`` (10,000), or both as one dataset, ``train``
            first. A study deals samples to its own training and test sets either way.
        limit_per_class: keep the first so many of each class, for small studies.
    """

    path: str = SYSTEM_FOLDER
    parts: Literal["both", "train", "test"] = "both"
    limit_per_class: int | None = None


@dataclass(frozen=True)
class Fashion:
    """The opened dataset; files are read when they are needed, and not kept."""

    folder: Path
    parts: tuple[str, ...]
    limit: int | None
    expected_rows: int
    classes: tuple[str, ...] = NAMES
    multi_label: bool = False
    groups_known: bool = False
    licence: str = "MIT (Zalando SE, 2017)"
    image_shape: tuple[int, int, int] = (1, _SIZE, _SIZE)
    sha256: Mapping[str, str] = field(default_factory=lambda: SHA256)

    def samples(self) -> Iterator[Sample]:
        """Yield the images in the order of the files; one part is in memory at a time."""
        for part, rows, classes_N in self._chosen():
            images_NHWC = self._read(_FILES[part][0], (_SIZE, _SIZE))[..., None]
            self._check_pair(part, len(images_NHWC), len(classes_N))
            for row in rows:
                labels = {name: int(k == classes_N[row]) for k, name in enumerate(NAMES)}
                yield Sample(_sample_id(part, row), None, images_NHWC[row], labels)

    def label_table(self) -> LabelTable:
        """Return ids and labels, from the small files alone; no group is known."""
        chosen = list(self._chosen())
        ids = [_sample_id(part, row) for part, rows, _ in chosen for row in rows]
        classes_N = np.concatenate([classes_N[rows] for _, rows, classes_N in chosen])
        labels = {name: (classes_N == k).astype(np.int8) for k, name in enumerate(NAMES)}
        return make_label_table(ids, [None] * len(ids), labels)

    def _chosen(self) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
        """Yield each part's name, its rows in use, and the class numbers of all its rows."""
        files = [name for part in self.parts for name in _FILES[part]]
        missing = [name for name in files if not (self.folder / name).is_file()]
        if missing:
            raise DataError(f"{self.folder} lacks {', '.join(missing)}: {_GET_THEM}")
        left_K = np.full(len(NAMES), np.iinfo(np.int64).max if self.limit is None else self.limit)
        for part in self.parts:
            name = _FILES[part][1]
            classes_N = self._read(name, ())
            if len(classes_N) and classes_N.max() >= len(NAMES):
                raise DataError(
                    f"{self.folder / name} holds the class {classes_N.max()}; Fashion-MNIST has 0 "
                    f"to {len(NAMES) - 1}: {_GET_THEM}"
                )
            taken = [np.flatnonzero(classes_N == k)[:left] for k, left in enumerate(left_K)]
            left_K -= [len(rows) for rows in taken]
            yield part, np.sort(np.concatenate(taken)), classes_N

    def _check_pair(self, part: str, images: int, labels: int) -> None:
        if images != labels:
            raise DataError(
                f"{self.folder} has {images:,} images and {labels:,} labels in its part '{part}'; "
                f"there must be one label for each image: {_GET_THEM}"
            )

    def _read(self, name: str, shape: tuple[int, ...]) -> np.ndarray:
        """Return the array of an idx file, read-only; ``shape`` is that of one row."""
        path = self.folder / name
        try:
            content = gzip.decompress(path.read_bytes())
        except (OSError, EOFError, zlib.error) as error:
            raise DataError(f"cannot read {path} ({error}): {_GET_THEM}") from error
        array = _parse(path, content, shape)
        if hashlib.sha256(content).hexdigest() != self.sha256[name]:
            raise DataError(
                f"{path} does not hold Fashion-MNIST: unpacked, its SHA-256 is not "
                f"{self.sha256[name]}. It is damaged or belongs to another dataset (MNIST's files "
                f"have the same names): {_GET_THEM}"
            )
        return array


def open_fashion_mnist(config: FashionConfig) -> Fashion:
    """Open Fashion-MNIST without touching its files.

    Raises:
        ConfigError: ``limit_per_class`` is below 1.
    """
    limit = config.limit_per_class
    if limit is not None and limit < 1:
        raise ConfigError(
            f"dataset.limit_per_class is {limit}; allowed: 1 or more, or null for all images"
        )
    parts = ("train", "test") if config.parts == "both" else (config.parts,)
    available = sum(_OF_EACH_CLASS[part] for part in parts)
    of_each = available if limit is None else min(limit, available)
    return Fashion(Path(config.path).expanduser(), parts, limit, of_each * len(NAMES))


def identify(config: FashionConfig) -> Mapping[str, Any]:
    """Return what ids keep of the options: all but the path, as the content is checked."""
    return non_default(dataclasses.replace(config, path=SYSTEM_FOLDER))


FASHION_MNIST = Component(
    "fashion_mnist",
    1,
    FashionConfig,
    "synthtrial.data.fashion:open_fashion_mnist",
    identity="synthtrial.data.fashion:identify",
)


def _sample_id(part: str, row: int) -> str:
    return f"fashion-{part}-{row:05d}"


def _parse(path: Path, content: bytes, shape: tuple[int, ...]) -> np.ndarray:
    """Read "idx": two zero bytes, the type (8: uint8), the number of axes, their lengths, data."""
    axes = 1 + len(shape)
    magic = bytes((0, 0, 8, axes))
    header = len(magic) + 4 * axes
    if len(content) < header or not content.startswith(magic):
        raise DataError(
            f"{path} starts with {content[:4].hex()}, and not with {magic.hex()} as an idx file of "
            f"{axes} axes of bytes does: {_GET_THEM}"
        )
    lengths = np.frombuffer(content, dtype=">u4", count=axes, offset=len(magic)).tolist()
    held = len(content) - header
    if tuple(lengths[1:]) != shape or int(np.prod(lengths, dtype=object)) != held:
        raise DataError(
            f"{path} announces an array of {tuple(lengths)} and holds {held:,} bytes; expected "
            f"rows of shape {shape}, and as many bytes as announced: {_GET_THEM}"
        )
    return np.frombuffer(content, dtype=np.uint8, offset=header).reshape(lengths)
