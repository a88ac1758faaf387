"""Segments: sealed Parquet files of records, and which of them still count.

A segment's metadata lists the names of segments that it supersedes; those stay until ``gc``, so a
reader that has just listed them can still open them. A segment sealed from a journal has the
journal's key for a name: sealing twice changes nothing, and a journal whose key is already covered
is not read again.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
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
            pq.write_table(table, temporary, compression="zstd", write_page_checksum=True)
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


def read_segment(path: Path) -> pa.Table:
    """Read a segment, page checksums verified.

    Raises:
        DamagedArtifactError: it is truncated or altered.
        FileNotFoundError: it was deleted meanwhile.
    """
    with damaged_segment(path), pq.ParquetFile(path, page_checksum_verification=True) as file:
        return file.read()


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
