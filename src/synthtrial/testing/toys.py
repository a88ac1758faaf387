"""Tiny made datasets that behave like real ones: plug-ins for tests.

    source = open_toy(ToyConfig(rows=60))
    source = open_toy_multi(ToyMultiConfig())

Every class shows as a bright block at a place of its own over noise, so a small network learns it
in seconds. Class names are out of alphabetical order and every sample depends on its own id alone:
``class_order`` and ``row_order`` permute what must not matter.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from synthtrial.data.base import Sample, make_label_table
from synthtrial.errors import ConfigError
from synthtrial.identity import stream
from synthtrial.registry import Component
from synthtrial.store.images import LabelTable

_ROWS_OF_GROUP = (1, 2, 3, 4)
_SINGLE = ("wolf", "ant", "moth")
_MULTI = ("rust", "crack", "ash", "dent")


@dataclass(frozen=True)
class ToyConfig:
    """Options of the single-label toy.

    Attributes:
        rows: number of images.
        size: height and width in pixels, at least 8.
        channels: 1 or 3.
        seed: of labels, groups and noise.
        weights: relative frequency of wolf, ant and moth.
        groups: whether images come in groups of one to four.
        class_order: display order of the classes; by default wolf, ant, moth.
        row_order: seed of a permutation of the rows; None leaves them in order.
    """

    rows: int = 120
    size: int = 8
    channels: int = 1
    seed: int = 0
    weights: list[float] = field(default_factory=lambda: [0.5, 0.3, 0.2])
    groups: bool = True
    class_order: list[str] = field(default_factory=list)
    row_order: int | None = None


@dataclass(frozen=True)
class ToyMultiConfig:
    """Options of the multi-label toy: rust, crack, ash, dent, some uncertain, some not mentioned.

    Attributes:
        rows, size, channels, seed, groups, class_order, row_order: as in :class:`ToyConfig`.
        weights: chance of each class in an image; dent comes more often with ash.
        uncertain: chance that a label is uncertain (-1).
        missing: chance that a negative label is not mentioned (None).
    """

    rows: int = 160
    size: int = 8
    channels: int = 1
    seed: int = 0
    weights: list[float] = field(default_factory=lambda: [0.5, 0.3, 0.15, 0.1])
    uncertain: float = 0.05
    missing: float = 0.2
    groups: bool = True
    class_order: list[str] = field(default_factory=list)
    row_order: int | None = None


@dataclass(frozen=True)
class Toy:
    """An opened toy dataset."""

    classes: tuple[str, ...]
    multi_label: bool
    groups_known: bool
    image_shape: tuple[int, int, int]
    seed: int
    rows: tuple[tuple[str, str | None, Mapping[str, int | None]], ...]
    licence: str = "CC0-1.0"

    @property
    def expected_rows(self) -> int:
        """Number of samples."""
        return len(self.rows)

    def samples(self) -> Iterator[Sample]:
        """Yield the samples."""
        for sample_id, group_id, labels in self.rows:
            image_HWC = _picture(self.image_shape, sample_id, labels, self.seed)
            yield Sample(sample_id, group_id, image_HWC, labels)

    def label_table(self) -> LabelTable:
        """Return ids, groups and labels."""
        return make_label_table(
            [sample_id for sample_id, _, _ in self.rows],
            [group_id for _, group_id, _ in self.rows],
            {name: [labels[name] for _, _, labels in self.rows] for name in self.classes},
        )


def open_toy(config: ToyConfig) -> Toy:
    """Make the single-label toy."""
    random = stream(config.seed, "toy")
    chances = np.array(config.weights) / sum(config.weights)
    drawn = random.choice(len(_SINGLE), size=config.rows, p=chances)
    labels = [{name: int(k == c) for k, name in enumerate(_SINGLE)} for c in drawn]
    return _toy(config, _SINGLE, labels, multi_label=False)


def open_toy_multi(config: ToyMultiConfig) -> Toy:
    """Make the multi-label toy."""
    random = stream(config.seed, "toy_multi")
    labels: list[dict[str, int | None]] = []
    for _ in range(config.rows):
        chances = dict(zip(_MULTI, config.weights, strict=True))
        row: dict[str, int | None] = {}
        for name in _MULTI:
            chance = (
                max(chances[name], 0.4) if name == "dent" and row["ash"] == 1 else chances[name]
            )
            present, uncertain, missing = random.random(3)
            row[name] = int(present < chance)
            if uncertain < config.uncertain:
                row[name] = -1
            elif row[name] == 0 and missing < config.missing:
                row[name] = None
        labels.append(row)
    return _toy(config, _MULTI, labels, multi_label=True)


#: For an entry point in the group ``synthtrial.datasets`` of a test package.
TOY = Component("toy", 1, ToyConfig, "synthtrial.testing.toys:open_toy")
TOY_MULTI = Component("toy_multi", 1, ToyMultiConfig, "synthtrial.testing.toys:open_toy_multi")


def _toy(
    config: ToyConfig | ToyMultiConfig,
    names: tuple[str, ...],
    labels: Sequence[Mapping[str, int | None]],
    *,
    multi_label: bool,
) -> Toy:
    order = tuple(config.class_order) or names
    if sorted(order) != sorted(names):
        raise ConfigError(f"class_order is {list(order)}; it must hold each of {list(names)} once")
    sizes = stream(config.seed, "groups").choice(_ROWS_OF_GROUP, size=len(labels))
    group_N = np.repeat(np.arange(len(sizes)), sizes)[: len(labels)]
    rows = [
        (f"toy-{i:05d}", f"site-{group_N[i]:04d}" if config.groups else None, row)
        for i, row in enumerate(labels)
    ]
    if config.row_order is not None:
        rows = [rows[i] for i in stream(config.row_order, "rows").permutation(len(rows))]
    shape = (config.channels, config.size, config.size)
    return Toy(order, multi_label, config.groups, shape, config.seed, tuple(rows))


def _picture(
    shape: tuple[int, int, int], sample_id: str, labels: Mapping[str, int | None], seed: int
) -> np.ndarray:
    """Return image_HWC, uint8: noise, and a bright quarter for each positive class."""
    channels, height, width = shape
    image_HWC = stream(seed, "pixels", sample_id).integers(0, 60, size=(height, width, channels))
    half_h, half_w = height // 2, width // 2
    for k, name in enumerate(sorted(labels)):
        if labels[name] == 1:
            top, left = (k // 2) * half_h, (k % 2) * half_w
            image_HWC[top : top + half_h, left : left + half_w] += 150
    return image_HWC.astype(np.uint8)
