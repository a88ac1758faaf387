"""What datasets of encoded images have in common, whether these are files or lie in a table.

A plug-in says how to list the images and how to get the bytes of one; :class:`FileImages` is then
the dataset. Listing is put off until something asks for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np

from synthtrial.data.base import Sample, make_label_table
from synthtrial.data.pictures import Form, read_picture
from synthtrial.errors import DataError, UnreadableImageError
from synthtrial.identity import digest
from synthtrial.store.images import MISSING, LabelTable

NO_LICENCE = "not stated: ask whoever gave the images"
_TRIED = 100  # images of which one must be readable, to tell the shape of all


@dataclass(frozen=True, eq=False)
class Listing:
    """N labelled images, none of them opened.

    Attributes:
        sample_ids: N distinct names.
        labels_NK: int8; 1, 0, -1 or MISSING; columns as ``classes``.
        classes: names, in the order that reports show.
        group_ids: N names; None where groups are unknown.
        sides: object array of N own sides; None where there are none.
    """

    sample_ids: Sequence[str]
    labels_NK: np.ndarray
    classes: tuple[str, ...]
    group_ids: Sequence[str] | None = None
    sides: np.ndarray | None = None

    @cached_property
    def digest(self) -> str:
        """What an id keeps of it; the order of the classes is for reports, and left out."""
        order = sorted(range(len(self.classes)), key=self.classes.__getitem__)
        return digest(
            {
                "samples": list(self.sample_ids),
                "classes": [self.classes[k] for k in order],
                "labels": np.ascontiguousarray(self.labels_NK[:, order]).tobytes().hex(),
                "groups": None if self.group_ids is None else list(self.group_ids),
                "sides": None if self.sides is None else self.sides.tolist(),
            }
        )


@dataclass(frozen=True, eq=False)
class FileImages:
    """An opened dataset of encoded images.

    Attributes:
        list_images: lists them; called once, on first use.
        read_bytes: returns the file of one row, or raises UnreadableImageError; called by several
            threads at once.
        form: what every image becomes.
        multi_label: whether an image may have several classes or none.
        licence: of the images.
        restricted: whether no image may be passed on.
        unreadable: what becomes of a preparation with unreadable images.
        origin: file or folder of the images; what was prepared from another counts for nothing.
    """

    list_images: Callable[[], Listing]
    read_bytes: Callable[[int], bytes]
    form: Form
    multi_label: bool
    licence: str
    restricted: bool
    unreadable: Literal["stop", "skip"]
    origin: str

    @cached_property
    def listing(self) -> Listing:
        """The images, listed."""
        return self.list_images()

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, in the order that reports show."""
        return self.listing.classes

    @property
    def groups_known(self) -> bool:
        """Whether every image names its group."""
        return self.listing.group_ids is not None

    @property
    def expected_rows(self) -> int:
        """Number of images."""
        return len(self.listing.sample_ids)

    @cached_property
    def image_shape(self) -> tuple[int, int, int]:
        """As the form says; what it leaves open is as in the first image that can be read."""
        channels, size = self.form.channels, self.form.size
        if channels is not None and size is not None:
            return channels, size, size
        reason = "there is none"
        for row in range(min(self.expected_rows, _TRIED)):
            try:
                height, width, found = read_picture(self.read_bytes(row), self.form).shape
            except UnreadableImageError as error:
                reason = f"'{self.listing.sample_ids[row]}': {error}"
                continue
            return found, height, width
        raise DataError(
            f"no image of {self.origin} can be read to learn the shape of all ({reason}); correct "
            "the paths, or set dataset.size and dataset.channels if the images are elsewhere for "
            "now"
        )

    def label_table(self) -> LabelTable:
        """Return ids, groups and raw labels."""
        listing = self.listing
        unknown: list[str | None] = [None] * len(listing.sample_ids)
        groups = unknown if listing.group_ids is None else listing.group_ids
        columns = {name: listing.labels_NK[:, k] for k, name in enumerate(listing.classes)}
        return make_label_table(listing.sample_ids, groups, columns)

    def own_sides(self) -> np.ndarray | None:
        """Return the side of every image, where the dataset comes divided into sides."""
        return self.listing.sides

    def sample(self, row: int) -> Sample:
        """Read one image.

        Raises:
            UnreadableImageError: it is missing, cannot be decoded, or has another shape.
        """
        listing = self.listing
        image_HWC = read_picture(self.read_bytes(row), self.form)
        channels, height, width = self.image_shape
        if image_HWC.shape != (height, width, channels):
            raise UnreadableImageError(
                f"it has {_shape(image_HWC.shape)} where the first image has "
                f"{_shape((height, width, channels))}; set dataset.size and dataset.channels to "
                "bring all to one form"
            )
        values = listing.labels_NK[row].tolist()
        labels = {
            name: None if value == MISSING else value
            for name, value in zip(listing.classes, values, strict=True)
        }
        group = None if listing.group_ids is None else listing.group_ids[row]
        return Sample(listing.sample_ids[row], group, image_HWC, labels)

    def samples(self) -> Iterator[Sample]:
        """Yield all images in the order of the listing."""
        return (self.sample(row) for row in range(self.expected_rows))


def read_file(path: Path) -> bytes:
    """Read an image's file.

    Raises:
        UnreadableImageError: it is missing.
        DataError: the disk or the network fails, which is no flaw of this image.
    """
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise UnreadableImageError("the file is missing") from None
    except OSError as error:
        raise DataError(
            f"cannot read {path} ({error.strerror}): mend that, and run again"
        ) from error


def one_hot(names: Sequence[str], classes: Sequence[str]) -> np.ndarray:
    """Return labels_NK, int8, of N rows that each have one of the classes."""
    place = {name: k for k, name in enumerate(classes)}
    labels_NK = np.zeros((len(names), len(classes)), dtype=np.int8)
    labels_NK[np.arange(len(names)), [place[name] for name in names]] = 1
    labels_NK.flags.writeable = False
    return labels_NK


def _shape(shape: tuple[int, ...]) -> str:
    height, width, channels = shape
    return f"{height} x {width} pixels in {channels} channel{'s' if channels > 1 else ''}"
