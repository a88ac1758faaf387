"""Ids of patients and images replaced by keyed hashes, in tables and in texts."""

from __future__ import annotations

import hmac
import re
import secrets
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from synthtrial.errors import StoreError
from synthtrial.store.shards import open_writer

SALT_BYTES = 16  # fewest; a shorter salt could be guessed, and ids with it
_LENGTH = 20  # hexadecimal digits: 80 bits, as other ids
_PIECE = 4  # characters
_SHORTEST = 3  # characters of an id that is looked for in texts outside quotation marks

#: What the texts in a column name. Columns that are in neither of the two are taken for samples.
ID_COLUMNS = {"sample_id": "sample", "source_id": "sample", "group_id": "group"}
PLAIN_COLUMNS = frozenset({"role", "side", "intended", "generator"})


class Pseudonyms:
    """Hashed ids under one salt.

    Args:
        salt: secret bytes; equal salts give equal pseudonyms.

    Attributes:
        key: fingerprint of the salt: tells two salts apart and gives neither away.
    """

    def __init__(self, salt: bytes) -> None:
        self._salt = salt
        self._known: dict[tuple[str, str], str] = {}
        self.key = self._digest("key", "")[:12]

    def of(self, kind: Literal["sample", "group"], name: str) -> str:
        """Return what stands for a name; the same name as a sample and as a group differ."""
        if (kind, name) not in self._known:
            self._known[kind, name] = f"{kind}-{self._digest(kind, name)}"
        return self._known[kind, name]

    def _digest(self, kind: str, name: str) -> str:
        content = f"{kind}\0{name}".encode("utf-8", "surrogatepass")
        return hmac.digest(self._salt, content, "sha256").hex()[:_LENGTH]


def new_salt() -> bytes:
    """Return a random salt."""
    return secrets.token_bytes(32)


def read_salt(path: Path) -> bytes:
    """Read a salt from a file, without the white space around it.

    Raises:
        StoreError: it cannot be read, or is too short to be a secret.
    """
    try:
        salt = path.read_bytes().strip()
    except OSError as error:
        raise StoreError(f"--salt-file: {path} cannot be read: {error.strerror}") from None
    if len(salt) < SALT_BYTES:
        raise StoreError(
            f"--salt-file: {path} holds {len(salt)} bytes; a salt needs {SALT_BYTES} or more, kept "
            "secret: `openssl rand -hex 32 > salt.txt` makes one"
        )
    return salt


def rewrite_table(source: Path, target: Path, names: Pseudonyms, *, sort: bool) -> None:
    """Write a Parquet file anew with hashed ids, its schema and row groups as they were.

    Args:
        source: of an artifact.
        target: to be made.
        names: that stand for the ids.
        sort: order rows by the hashed sample id, where a table's order means nothing.
    """
    with pq.ParquetFile(source, page_checksum_verification=True) as file:
        groups = [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)]
        table = file.read()
    columns = {field.name: table.column(field.name) for field in table.schema}
    for field in table.schema:
        kind = ID_COLUMNS.get(field.name, "sample")
        if _is_text(field.type) and field.name not in PLAIN_COLUMNS:
            columns[field.name] = _hashed(columns[field.name], kind, names)
    if "image" in columns:  # its path is made from the sample's id
        image = columns["image"].combine_chunks()
        paths = [f"{name}.png" for name in columns["sample_id"].to_pylist()]
        columns["image"] = pa.StructArray.from_arrays(
            [image.field("bytes"), pa.array(paths, pa.string())], fields=list(image.type)
        )
    table = pa.table(columns, schema=table.schema)
    if sort and table.num_rows:
        order = np.argsort(np.array(columns["sample_id"].to_pylist(), dtype=object), kind="stable")
        table = table.take(pa.array(order))
    with open_writer(target, table.schema) as writer:
        start = 0
        for rows in groups:
            writer.write_table(table.slice(start, rows), row_group_size=max(rows, 1))
            start += rows


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _hashed(column: pa.ChunkedArray, kind: Any, names: Pseudonyms) -> pa.Array:
    values = [None if v is None else names.of(kind, v) for v in column.to_pylist()]
    return pa.array(values, column.type)


def ids_in(path: Path) -> tuple[set[str], set[str]]:
    """Return the samples and groups that a Parquet file names."""
    with pq.ParquetFile(path) as file:
        present = [name for name in ID_COLUMNS if name in file.schema_arrow.names]
        table = file.read(columns=present)
    found: dict[str, set[str]] = {"sample": set(), "group": set()}
    for name in present:
        found[ID_COLUMNS[name]].update(table.column(name).unique().to_pylist())
    return found["sample"] - {None}, found["group"] - {None}


class Scrubber:
    """Replaces ids that texts quote.

    Very short ids, and numbers, are replaced only within quotation marks, as error messages put
    them: elsewhere ``17`` may be an epoch.

    Args:
        names: that stand for ids.
        samples, groups: all ids.
        corpus: all texts there are: only ids that occur in them are looked for later.
        words: that are never replaced, such as names of classes.
    """

    def __init__(
        self,
        names: Pseudonyms,
        samples: Collection[str],
        groups: Collection[str],
        corpus: Iterable[str],
        words: Collection[str] = (),
    ) -> None:
        whole = "\n".join(sorted(set(corpus)))
        stands: dict[str, str] = {}
        for kind, ids in (("group", groups), ("sample", samples)):
            found = [name for name in _occurring(ids, whole) if name not in words]
            stands |= {name: names.of(kind, name) for name in found}  # type: ignore[arg-type]
        self._stands = stands
        bare = sorted((n for n in stands if not _is_common(n)), key=len, reverse=True)
        parts = [rf"(?<![A-Za-z0-9])(?:{'|'.join(map(re.escape, bare))})(?![A-Za-z0-9])"]
        quoted = sorted((n for n in stands if _is_common(n)), key=len, reverse=True)
        within = rf"(?<=['\"])(?:{'|'.join(map(re.escape, quoted))})(?=['\"])"
        patterns = (parts if bare else []) + ([within] if quoted else [])
        self._pattern = re.compile("|".join(patterns)) if patterns else None

    def text(self, text: str) -> str:
        """Return a text without ids."""
        if self._pattern is None:
            return text
        return self._pattern.sub(lambda match: self._stands[match.group()], text)

    def value(self, value: Any) -> Any:
        """Return plain data with the texts in it so; keys stay."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, dict):
            return {key: self.value(item) for key, item in value.items()}
        if isinstance(value, list):
            return [self.value(item) for item in value]
        return value


def _occurring(ids: Collection[str], whole: str) -> Iterator[str]:
    """Yield the ids that occur in a text; most are ruled out by some piece of them that does not.

    Looking for each of 10^5 ids in a megabyte would take minutes.
    """
    pieces = {whole[i : i + _PIECE] for i in range(len(whole) - _PIECE + 1)}
    for name in ids:
        starts = range(0, len(name) - _PIECE + 1, _PIECE)
        if name and all(name[i : i + _PIECE] in pieces for i in starts) and name in whole:
            yield name


def texts_in(value: Any) -> Iterable[str]:
    """Yield every text in plain data but the keys."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from texts_in(item)


def _is_common(name: str) -> bool:
    return len(name) < _SHORTEST or name.isdigit()
