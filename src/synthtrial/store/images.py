"""Image shards: Parquet files of PNG images and raw labels.

Hugging Face ``datasets``, DuckDB and Ray Data open them as they are. There is one nullable int8
column ``label.<class>`` for each class (1 positive, 0 negative, -1 uncertain, null unknown), raw:
what a label counts as is decided on loading. Classes are matched by name and never by position;
arrays hold them in sorted order, whatever the order of a file's columns.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from synthtrial.errors import DamagedArtifactError, DataError
from synthtrial.store.artifacts import Artifact, mend
from synthtrial.store.files import storage_errors
from synthtrial.store.shards import (
    PREFIX,
    ROW_GROUP_BYTES,
    RowGroup,
    UInt8Array,
    decode_png,
    encode_png,
)
from synthtrial.store.shards import ImageRow as ImageRow

MISSING = -2  # a null label, in int8 arrays
_TEXT_COLUMNS = ("sample_id", "group_id")
_READ_ROWS = 256
_ENCODED_TOGETHER = 32  # images a thread is handed at once
_ENCODED_AHEAD = 8  # such bundles under way

_T = TypeVar("_T")

ObjectArray = np.ndarray[Any, np.dtype[np.object_]]


@dataclass(frozen=True, eq=False)
class LabelTable:
    """Labels of all images of an artifact, in shard order.

    Attributes:
        sample_ids: N texts.
        group_ids: N texts or None.
        labels_NK: int8; 1, 0, -1 (uncertain), :data:`MISSING`. Column k is ``classes[k]``.
        classes: names, sorted.
        intended: N texts; None where the images are real.
        source_ids: N texts or None; None where the images are real.
    """

    sample_ids: ObjectArray
    group_ids: ObjectArray
    labels_NK: np.ndarray[Any, np.dtype[np.int8]]
    classes: tuple[str, ...]
    intended: ObjectArray | None = None
    source_ids: ObjectArray | None = None

    def __len__(self) -> int:
        return len(self.sample_ids)


def shard_name(number: int) -> str:
    """Return the file name of shard ``number``."""
    return f"shard-{number:05d}.parquet"


def shard_files(artifact: Artifact) -> list[str]:
    """Return the names of an artifact's image shards, in order."""
    return [name for name in artifact.files if name.startswith("shard-")]


def write_shards(
    folder: Path,
    rows: Iterable[ImageRow],
    classes: Sequence[str],
    *,
    shard_bytes: int,
    synthetic: bool = False,
    encoders: int = 1,
) -> list[str]:
    """Write images as ``shard-00000.parquet``, ...; memory holds one row group at a time.

    Args:
        folder: of a draft, which flushes the files when it is committed.
        rows: images, all of one shape.
        classes: names of all classes, in the order of the label columns.
        shard_bytes: encoded size of images at which a shard is closed.
        synthetic: add the columns that only synthetic images have.
        encoders: threads that encode images while the next rows are made.

    Returns:
        Names of the files; at least one, however few the rows.

    Raises:
        DataError: a row is unusable: image type or shape, label, class name, or repeated id.
        StoreError: the disk is full or the folder read-only.
    """
    if shard_bytes < 1:
        raise DataError(f"shard_bytes is {shard_bytes}; it must be at least 1.")
    group = RowGroup(tuple(classes), synthetic)
    names: list[str] = []
    writer: pq.ParquetWriter | None = None
    written = 0
    with storage_errors(folder):
        try:
            for row, png in _encoded(rows, group, encoders):
                if writer is None:
                    names.append(shard_name(len(names)))
                    writer, written = group.open(folder / names[-1]), 0
                written += group.add(row, png)
                if group.size >= ROW_GROUP_BYTES or written >= shard_bytes:
                    group.flush(writer)
                if written >= shard_bytes:
                    writer.close()
                    writer = None
            if not names:
                names.append(shard_name(0))
                writer = group.open(folder / names[-1])
            if writer is not None:
                group.flush(writer)
        finally:
            if writer is not None:
                writer.close()
    return names


def write_shard(
    path: Path,
    rows: Iterable[ImageRow],
    classes: Sequence[str],
    *,
    synthetic: bool = False,
    encoders: int = 1,
) -> None:
    """Write images as exactly one shard.

    Args:
        path: of the file.
        rows: images, all of one shape.
        classes: names of all classes, in the order of the label columns.
        synthetic: add the columns that only synthetic images have.
        encoders: threads that encode images while the next rows are made.

    Raises:
        DataError, StoreError: as :func:`write_shards`.
    """
    group = RowGroup(tuple(classes), synthetic)
    with storage_errors(path.parent), group.open(path) as writer:
        for row, png in _encoded(rows, group, encoders):
            group.add(row, png)
            if group.size >= ROW_GROUP_BYTES:
                group.flush(writer)
        group.flush(writer)


def write_shard_of(
    path: Path,
    numbers: Sequence[int],
    read: Callable[[int], ImageRow | None],
    classes: Sequence[str],
    *,
    readers: int = 1,
) -> int:
    """Write the images that ``read`` returns as exactly one shard, in the order of ``numbers``.

    Args:
        path: of the file.
        numbers: of the images.
        read: returns an image, or None to leave it out; called by ``readers`` threads at once.
        classes: names of all classes, in the order of the label columns.
        readers: threads that read and encode.

    Returns:
        The number of images written.

    Raises:
        DataError, StoreError: as :func:`write_shards`.
    """
    group = RowGroup(tuple(classes), synthetic=False)

    def encode(bundle: Sequence[int]) -> list[tuple[ImageRow, bytes]]:
        return _encode([row for row in map(read, bundle) if row is not None])

    written = 0
    with storage_errors(path.parent), group.open(path) as writer:
        for row, png in _ahead(iter(numbers), encode, readers):
            group.check(row)
            group.add(row, png)
            written += 1
            if group.size >= ROW_GROUP_BYTES:
                group.flush(writer)
        group.flush(writer)
    return written


def _encoded(
    rows: Iterable[ImageRow], group: RowGroup, encoders: int
) -> Iterator[tuple[ImageRow, bytes]]:
    """Yield rows with their encoded images, encoding behind the back of who makes the rows."""

    def checked() -> Iterator[ImageRow]:
        for row in rows:
            group.check(row)
            yield row

    return _ahead(checked(), _encode, encoders)


def _ahead(
    source: Iterator[_T],
    encode: Callable[[Sequence[_T]], list[tuple[ImageRow, bytes]]],
    threads: int,
) -> Iterator[tuple[ImageRow, bytes]]:
    """Hand bundles to threads, some ahead of what is taken; yield in order."""
    under_way: deque[Future[list[tuple[ImageRow, bytes]]]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        while bundle := list(islice(source, _ENCODED_TOGETHER)):
            under_way.append(pool.submit(encode, bundle))
            if len(under_way) > _ENCODED_AHEAD + threads:
                yield from under_way.popleft().result()
        while under_way:
            yield from under_way.popleft().result()


def _encode(bundle: Sequence[ImageRow]) -> list[tuple[ImageRow, bytes]]:
    return [(row, encode_png(row.image_HWC)) for row in bundle]


def is_shard_of(path: Path, rows: int) -> bool:
    """Say whether a complete shard of so many images is there."""
    try:
        found: int = pq.read_metadata(path).num_rows
    except (OSError, pa.ArrowException):
        return False
    return found == rows


def read_labels(artifact: Artifact) -> LabelTable:
    """Read the labels of all shards; no image is touched.

    Raises:
        DamagedArtifactError: a shard is missing, truncated or altered, or has other classes.
    """
    tables: list[pa.Table] = []
    classes: tuple[str, ...] | None = None
    for name in shard_files(artifact):
        with open_shard(artifact, name) as file:
            names = file.schema_arrow.names
            found = tuple(sorted(n.removeprefix(PREFIX) for n in names if n.startswith(PREFIX)))
            if classes is not None and found != classes:
                raise DamagedArtifactError(
                    f"{artifact.path / name} has the classes {found} where other shards have "
                    f"{classes}. {mend(artifact.path)}"
                )
            classes = found
            extra = [n for n in ("intended", "source_id") if n in names]
            columns = [*_TEXT_COLUMNS, *extra, *(f"{PREFIX}{n}" for n in classes)]
            tables.append(file.read(columns=columns).select(columns))
    if classes is None:
        raise DamagedArtifactError(f"{artifact.path} has no image shards. {mend(artifact.path)}")
    table = pa.concat_tables(tables)
    labels_NK = np.empty((table.num_rows, len(classes)), dtype=np.int8)
    for k, name in enumerate(classes):
        labels_NK[:, k] = table.column(f"{PREFIX}{name}").fill_null(MISSING).to_numpy()
    texts = {name: _texts(table, name) for name in (*_TEXT_COLUMNS, "intended", "source_id")}
    sample_ids, group_ids = texts["sample_id"], texts["group_id"]
    assert sample_ids is not None
    assert group_ids is not None
    return LabelTable(
        sample_ids, group_ids, labels_NK, classes, texts["intended"], texts["source_id"]
    )


def _texts(table: pa.Table, name: str) -> ObjectArray | None:
    if name not in table.column_names:
        return None
    values = np.empty(table.num_rows, dtype=object)
    values[:] = table.column(name).to_pylist()
    return values


def iterate_images(artifact: Artifact, readers: int = 1) -> Iterator[UInt8Array]:
    """Yield the images of all shards in order, each uint8 of shape (channels, height, width).

    Args:
        artifact: with image shards.
        readers: threads that decode, a few hundred images ahead of what is taken.

    Raises:
        DamagedArtifactError: a shard is missing, truncated or altered.
    """
    with ThreadPoolExecutor(readers) as pool:
        for name in shard_files(artifact):
            with open_shard(artifact, name) as file:
                for batch in file.iter_batches(batch_size=_READ_ROWS, columns=["image.bytes"]):
                    contents = batch.column("image").field("bytes").to_pylist()
                    yield from pool.map(decode_png, contents)


@contextmanager
def open_shard(artifact: Artifact, name: str) -> Iterator[pq.ParquetFile]:
    """Open a Parquet file of an artifact; pages read from it are checked against their checksums.

    Raises:
        DamagedArtifactError: it is missing, truncated or altered.
    """
    path = artifact.file(name)
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            yield file
    except (OSError, pa.ArrowException, ValueError, TypeError, SyntaxError, KeyError) as error:
        raise DamagedArtifactError(
            f"{path} is truncated or altered ({error}). {mend(artifact.path)}"
        ) from error
