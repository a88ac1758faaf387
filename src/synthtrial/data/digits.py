"""scikit-learn's handwritten digits: 1,797 grey 8 x 8 images of ten classes (BSD licence).

The file inside the installed package is read without importing scikit-learn, which would take
longer than everything that planning does. Who wrote which digit is not in the file, so groups are
unknown. Source: E. Alpaydin, C. Kaynak, Optical Recognition of Handwritten Digits, UCI (test part).
"""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from synthtrial.data.base import Sample, make_label_table
from synthtrial.errors import ConfigError, DataError
from synthtrial.registry import Component
from synthtrial.store.images import LabelTable

_ROWS = 1797
_NAMES = tuple("0123456789")
_LARGEST = 16  # ink level of a black pixel in the file


@dataclass(frozen=True)
class DigitsConfig:
    """Options of the digits.

    Attributes:
        class_order: the ten class names in the order that reports show; by default ascending. No
            result depends on it.
    """

    class_order: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Digits:
    """The opened dataset; the file is read on first use."""

    classes: tuple[str, ...] = _NAMES
    multi_label: bool = False
    groups_known: bool = False
    licence: str = "BSD-3-Clause (scikit-learn); CC-BY-4.0 (UCI)"
    expected_rows: int = _ROWS
    image_shape: tuple[int, int, int] = (1, 8, 8)

    def samples(self) -> Iterator[Sample]:
        """Yield the digits in the order of the file."""
        images_NHWC, digits_N = _read(_path())
        for number, (image_HWC, digit) in enumerate(zip(images_NHWC, digits_N, strict=True)):
            labels = {name: int(name == str(digit)) for name in self.classes}
            yield Sample(_sample_id(number), None, image_HWC, labels)

    def label_table(self) -> LabelTable:
        """Return ids and labels; no group is known."""
        _, digits_N = _read(_path())
        names_N = digits_N.astype(str)
        return make_label_table(
            [_sample_id(number) for number in range(len(digits_N))],
            [None] * len(digits_N),
            {name: (names_N == name).astype(np.int8) for name in _NAMES},
        )


def open_digits(config: DigitsConfig) -> Digits:
    """Open the digits without reading them.

    Raises:
        ConfigError: ``class_order`` is not an order of the ten names.
    """
    order = tuple(config.class_order) or _NAMES
    if sorted(order) != sorted(_NAMES):
        raise ConfigError(
            f"dataset.class_order is {list(order)}; it must hold each of {list(_NAMES)} once"
        )
    return Digits(classes=order)


DIGITS = Component("digits", 1, DigitsConfig, "synthtrial.data.digits:open_digits")


def _sample_id(number: int) -> str:
    return f"digits-{number:04d}"


def _path() -> Path:
    package = find_spec("sklearn")
    for folder in (package.submodule_search_locations or []) if package else []:
        path = Path(folder, "datasets", "data", "digits.csv.gz")
        if path.is_file():
            return path
    raise DataError(
        "scikit-learn, which brings the digits, is not installed or has lost its file "
        "datasets/data/digits.csv.gz; run: pip install --force-reinstall scikit-learn"
    )


@cache
def _read(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return images_NHWC (uint8, read-only) and the digit of each row."""
    try:
        with gzip.open(path, "rt", encoding="ascii") as file:
            table = np.loadtxt(file, delimiter=",", dtype=np.int64, ndmin=2)
    except (OSError, EOFError, ValueError) as error:
        raise DataError(f"cannot read the digits in {path}: {error}") from error
    if table.shape != (_ROWS, 65) or table.min() < 0 or table[:, :64].max() > _LARGEST:
        raise DataError(
            f"{path} holds a table of {table.shape}, expected {(_ROWS, 65)} with pixels of 0 to "
            f"{_LARGEST}; run: pip install --force-reinstall scikit-learn"
        )
    pixels = np.rint(table[:, :64] * (255 / _LARGEST)).astype(np.uint8)
    images_NHWC = pixels.reshape(-1, 8, 8, 1)
    images_NHWC.flags.writeable = False
    return images_NHWC, table[:, 64]
