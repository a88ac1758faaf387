"""Segments: sealed Parquet files of records, and which of them still count.

A segment's metadata lists the names of segments that it supersedes; those stay until ``gc``, so a
reader that has just listed them can still open them. A segment sealed from a journal has the
journal's key for a name: sealing twice changes nothing, and a journal whose key is already covered
is not read again.
"""

from __future__ import annotations

import json
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from synthtrial.errors import DamagedArtifactError, StoreError
from synthtrial.store.files import entries, publish, storage_errors, temporary_name
from synthtrial.store.root import SCHEMA, Store, check_schema

SUFFIX = ".parquet"
LIST_ATTEMPTS = 20  # segments may be deleted while they are listed and read
ROWS_PER_GROUP = 65_536  # of a file: what is read at least, where a few trials are asked for
_KEY = b"synthtrial"


@dataclass(frozen=True)
class Segment:
    """A readable segment and the names of segments that it supersedes."""

    path: Path
    supersedes: frozenset[str]


@dataclass(frozen=True)
class Segments:
    """All segments of a store, as found at one moment.

    Attributes:
        live: segments that count, sorted by name.
        superseded: segments that another one replaces, with that other one.
        covered: names of all segments whose rows ``live`` holds, deleted ones included.
    """

    live: list[Segment]
    superseded: list[tuple[Path, Segment]]
    covered: frozenset[str]


def segment_folder(store: Store) -> Path:
    """Return where segments live."""
    return store.root / "records" / "segments"


def write_segment(
    store: Store, name: str, table: pa.Table, *, supersedes: Iterable[str] = ()
) -> Path:
    """Write a segment, durably and all at once.

    Raises:
        StoreError: the disk is full, the store is read-only, or the file did not read back.
    """
    path = segment_folder(store) / f"{name}{SUFFIX}"
    # Parquet has no structs without fields; the columns come back as nulls.
    table = table.drop_columns([f.name for f in table.schema if f.type == pa.struct([])])
    about = json.dumps({"schema": SCHEMA, "supersedes": sorted(supersedes)}).encode()
    table = table.replace_schema_metadata({_KEY: about})
    with storage_errors(store.root):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = temporary_name(path)
        try:
            pq.write_table(
                table,
                temporary,
                row_group_size=ROWS_PER_GROUP,
                compression="zstd",
                write_page_checksum=True,
            )
            if pq.read_metadata(temporary).num_rows != table.num_rows:
                raise StoreError(f"{temporary} did not read back as written; is the disk failing?")
            publish(temporary, path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
    return path


def list_segments(store: Store) -> Segments:
    """Find the segments that count.

    Raises:
        StoreSchemaError: a newer synthtrial wrote one.
        DamagedArtifactError: one that counts is truncated or altered.
        StoreError: they keep changing.
    """
    for _ in range(LIST_ATTEMPTS):
        try:
            return _list_once(store)
        except FileNotFoundError:  # one was superseded and deleted since its name was read
            continue
    raise StoreError(f"the segments in {segment_folder(store)} keep changing while they are read")


def _list_once(store: Store) -> Segments:
    found: list[Segment] = []
    damaged: list[tuple[Path, DamagedArtifactError]] = []
    for path in entries(segment_folder(store), SUFFIX):
        try:
            found.append(read_header(path))
        except DamagedArtifactError as error:
            damaged.append((path, error))
    by: dict[str, Segment] = {name: segment for segment in found for name in segment.supersedes}
    for path, problem in damaged:
        if path.stem not in by:
            raise problem
    live = [segment for segment in found if segment.path.stem not in by]
    paths = [segment.path for segment in found] + [path for path, _ in damaged]
    superseded = [(path, by[path.stem]) for path in sorted(paths) if path.stem in by]
    covered = frozenset(by) | {segment.path.stem for segment in live}
    return Segments(live, superseded, covered)


def read_segment(
    path: Path, columns: Sequence[str] | None = None, among: Sequence[str] | None = None
) -> pa.Table:
    """Read a segment, page checksums verified.

    Args:
        path: the segment.
        columns: those to read, ``test.recall`` for one metric of a struct; what the segment lacks
            is left out. By default all.
        among: trial ids; rows of others may be left out, so that little need be read of a segment
            that is sorted by them. By default all rows are read.

    Raises:
        DamagedArtifactError: it is truncated or altered.
        FileNotFoundError: it was deleted meanwhile.
    """
    chosen = None if columns is None else list(columns)
    with (
        damaged_segment(path),
        _plain_memory(),
        pq.ParquetFile(path, page_checksum_verification=True) as file,
    ):
        if among is None:
            return file.read(chosen)
        return file.read_row_groups(_groups_with(file.metadata, sorted(among)), chosen)


@contextmanager
def _plain_memory() -> Iterator[None]:
    """Take Arrow's memory from the C library.

    Its own allocator gives memory back and asks for it anew so often that, of a file of hundreds of
    megabytes, the kernel's clearing of pages took twice as long as reading.
    """
    before = pa.default_memory_pool()
    pa.set_memory_pool(pa.system_memory_pool())
    try:
        yield
    finally:
        pa.set_memory_pool(before)


def _groups_with(metadata: pq.FileMetaData, ids: Sequence[str]) -> list[int]:
    """Return the row groups that may hold one of these trials, by the ranges of their ids."""
    groups = []
    for number in range(metadata.num_row_groups):
        group = metadata.row_group(number)
        paths = [group.column(place).path_in_schema for place in range(group.num_columns)]
        known = group.column(paths.index("trial_id")).statistics
        bounded = known is not None and known.has_min_max
        if not bounded or bisect_left(ids, known.min) < bisect_right(ids, known.max):
            groups.append(number)
    return groups


def read_header(path: Path) -> Segment:
    """Read what a segment says of itself.

    Raises:
        StoreSchemaError: a newer synthtrial wrote it.
        DamagedArtifactError: it is truncated or altered.
    """
    with damaged_segment(path):
        metadata = pq.read_metadata(path).metadata or {}
        about = json.loads(metadata[_KEY])
    check_schema(about["schema"], path)
    return Segment(path, frozenset(about["supersedes"]))


@contextmanager
def damaged_segment(path: Path) -> Iterator[None]:
    """Turn what reading a damaged segment raises into one clear error."""
    try:
        yield
    except FileNotFoundError:
        raise
    except (OSError, pa.ArrowException, ValueError, KeyError) as error:
        raise DamagedArtifactError(
            f"the record segment {path} is truncated or altered ({error}). Restore it from a "
            "backup; or move it out of the store, and the trials in it will run again."
        ) from error
