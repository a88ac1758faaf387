"""What a dataset plug-in offers: labelled real images, one at a time, and their labels alone.

A plug-in is a :class:`~synthtrial.registry.Component` whose implementation is a function
``open(config) -> DatasetSource``. Opening must be cheap: planning opens a dataset to learn its
classes. Classes are names; their order is how reports show them and decides nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np

from synthtrial.errors import DataError, suggest
from synthtrial.store.images import MISSING, ImageRow, LabelTable

#: The values of a raw label: positive, negative, uncertain, not mentioned.
LABEL_VALUES = (1, 0, -1, None)


@dataclass(frozen=True)
class Sample:
    """One labelled image.

    Attributes:
        sample_id: unique within the dataset, the same in every version of it.
        group_id: what must not be divided between training and testing (a patient, a site); None
            where it is not known.
        image_HWC: uint8, with 1 or 3 channels.
        labels: 1, 0, -1 (uncertain) or None (not mentioned) for every class by name.
    """

    sample_id: str
    group_id: str | None
    image_HWC: np.ndarray
    labels: Mapping[str, int | None]


class DatasetSource(Protocol):
    """An opened dataset.

    Attributes:
        classes: names of the classes, in the order that reports show.
        multi_label: whether an image may belong to several classes or to none.
        groups_known: whether every sample names its group; else tables are stamped GROUPS UNKNOWN.
        licence: of the images, for the manifest.
        expected_rows: number of samples.
        image_shape: (channels, height, width) of every image.
    """

    @property
    def classes(self) -> tuple[str, ...]: ...  # noqa: D102 - described above

    @property
    def multi_label(self) -> bool: ...  # noqa: D102

    @property
    def groups_known(self) -> bool: ...  # noqa: D102

    @property
    def licence(self) -> str: ...  # noqa: D102

    @property
    def expected_rows(self) -> int: ...  # noqa: D102

    @property
    def image_shape(self) -> tuple[int, int, int]: ...  # noqa: D102

    def samples(self) -> Iterator[Sample]:
        """Yield every sample, in bounded memory."""
        ...

    def label_table(self) -> LabelTable:
        """Return ids, groups and labels without decoding an image."""
        ...


@runtime_checkable
class RandomAccess(DatasetSource, Protocol):
    """A dataset whose images can be read in any order: it is prepared in parallel and resumed.

    Rows are those of :meth:`DatasetSource.label_table`.

    Attributes:
        origin: optional: where the images are, such as a folder; parts that were prepared from
            elsewhere are prepared anew.
        unreadable: ``stop`` a preparation that meets unreadable images, once all were tried, or
            ``skip`` them; they are listed either way.
    """

    @property
    def unreadable(self) -> Literal["stop", "skip"]: ...  # noqa: D102 - described above

    def sample(self, row: int) -> Sample:
        """Read one sample; called by several threads at once.

        Raises:
            UnreadableImageError: its image is missing or cannot be decoded.
        """
        ...


class OwnSides(DatasetSource, Protocol):
    """A dataset that may come divided into training, validation and test, for ``split.own``."""

    def own_sides(self) -> np.ndarray | None:
        """Return the side of every row of the label table.

        Returns:
            Object array of :data:`synthtrial.data.sides.SIDES`, or None for rows that have no
            side; None in place of the array if no row has one.
        """
        ...


def restrictions_of(source: DatasetSource) -> tuple[str, ...]:
    """Return what limits passing on a dataset: its licence, where it is marked ``restricted``."""
    return (source.licence,) if getattr(source, "restricted", False) else ()


def make_label_table(
    sample_ids: Sequence[str],
    group_ids: Sequence[str | None],
    labels: Mapping[str, Sequence[int | None] | np.ndarray],
) -> LabelTable:
    """Build a label table from columns by class name.

    Args:
        sample_ids: of N rows.
        group_ids: of N rows.
        labels: for every class, N values of 1, 0, -1 or None (``MISSING`` in arrays).

    Returns:
        The table, its columns in the order ``sorted(classes)``.
    """
    classes = tuple(sorted(labels))
    labels_NK = np.empty((len(sample_ids), len(classes)), dtype=np.int8)
    for k, name in enumerate(classes):
        column = labels[name]
        if not isinstance(column, np.ndarray):
            column = np.asarray([MISSING if value is None else value for value in column])
        labels_NK[:, k] = column
    return LabelTable(
        sample_ids=np.asarray(sample_ids, dtype=object),
        group_ids=np.asarray(group_ids, dtype=object),
        labels_NK=labels_NK,
        classes=classes,
    )


def image_rows(source: DatasetSource) -> Iterator[ImageRow]:
    """Yield the dataset's samples as rows for the store, refusing what would spoil a study.

    Raises:
        DataError: an id that is empty or given twice, an image of another shape, a class too many
            or too few, a label value that does not exist, a group that is missing where groups are
            known, a single-label sample without exactly one class, or a wrong number of samples.
    """
    checked = checker(source)
    seen: set[str] = set()
    for sample in source.samples():
        row = checked(sample)
        if sample.sample_id in seen:
            raise DataError(
                f"two samples have the id '{sample.sample_id}'; ids must be unique in a dataset"
            )
        seen.add(sample.sample_id)
        yield row
    if len(seen) != source.expected_rows:
        raise DataError(
            f"the dataset gave {len(seen):,} samples where {source.expected_rows:,} are expected; "
            "its files may be incomplete: fetch or install them again"
        )


def checker(source: DatasetSource) -> Callable[[Sample], ImageRow]:
    """Return what turns a sample into a row for the store, or refuses it as :func:`image_rows`."""
    classes = check_classes(source.classes)

    def checked(sample: Sample) -> ImageRow:
        _check_sample(sample, source, classes)
        return ImageRow(sample.sample_id, sample.group_id, sample.image_HWC, sample.labels)

    return checked


def describe_source(source: DatasetSource) -> dict[str, Any]:
    """Return what a dataset artifact's manifest says of it; ``classes`` in display order."""
    return {
        "classes": list(source.classes),
        "multi_label": source.multi_label,
        "groups_known": source.groups_known,
        "licence": source.licence,
        "image_shape": list(source.image_shape),
    }


def check_classes(classes: Sequence[str]) -> frozenset[str]:
    """Return the class names as a set.

    Raises:
        DataError: there are none, one is empty, or one is given twice.
    """
    names = frozenset(classes)
    if not names or "" in names or len(names) != len(classes):
        raise DataError(
            f"the dataset's classes are {list(classes)}; allowed: at least one, none of them empty "
            "and none of them twice"
        )
    return names


def _check_sample(sample: Sample, source: DatasetSource, classes: frozenset[str]) -> None:
    name = f"sample '{sample.sample_id}'"
    if not sample.sample_id:
        raise DataError("a sample has an empty id; give every sample a lasting name of its own")
    if source.groups_known and not sample.group_id:
        raise DataError(f"{name} has no group; a dataset with groups_known names one for each")
    channels, height, width = source.image_shape
    image_HWC = sample.image_HWC
    if image_HWC.dtype != np.uint8 or image_HWC.shape != (height, width, channels):
        raise DataError(
            f"{name} is a {image_HWC.dtype} image of shape {image_HWC.shape}; expected uint8 of "
            f"height, width, channels {(height, width, channels)}"
        )
    if sample.labels.keys() != classes:
        odd = sorted(sample.labels.keys() ^ classes)[0]
        verb = "no label for" if odd in classes else "a label for the unknown"
        raise DataError(f"{name} has {verb} class '{odd}': {suggest(odd, classes)}")
    for label, value in sample.labels.items():
        if value not in LABEL_VALUES:
            raise DataError(f"{name} has {value!r} for '{label}'; allowed: {LABEL_VALUES}")
    if not source.multi_label:
        positive = [label for label, value in sample.labels.items() if value == 1]
        if len(positive) != 1 or -1 in sample.labels.values():
            raise DataError(
                f"{name} has the classes {positive}; a single-label dataset has exactly one, and "
                "no uncertain labels (set multi_label otherwise)"
            )
