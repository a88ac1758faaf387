"""Journals: what a writer of records has put on disk before it is sealed into a segment.

A line is ``<crc32 in 8 hexadecimal digits> <JSON>``. Each writer has its own file and holds its
lock while alive, so nothing is appended by two processes and a dead writer's journal is known by
its free lock. A write cut short leaves a torn last line, which is ignored: its trial never
finished for anybody.
"""

from __future__ import annotations

import json
import logging
import os
import socket
import uuid
import zlib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from synthtrial.errors import StoreError
from synthtrial.store.files import entries, flush_folder, storage_errors
from synthtrial.store.locks import lock_path, unlock
from synthtrial.store.records_schema import encode_row
from synthtrial.store.root import Store

SUFFIX = ".jsonl"
_sync = getattr(os, "fdatasync", os.fsync)  # macOS has no fdatasync
_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Lines:
    """Content of a journal: its ``rows``, and the numbers (from 1) of lines that are ``damaged``.

    A torn last line is neither.
    """

    rows: list[dict[str, Any]]
    damaged: list[int]


def journal_folder(store: Store) -> Path:
    """Return where journals live."""
    return store.root / "records" / "journal"


def journals(store: Store) -> list[Path]:
    """Return the journals that exist now, sorted by name."""
    return entries(journal_folder(store), SUFFIX)


def journal_key(path: Path) -> str:
    """Return the unique part of a journal's name; its segment is called the same."""
    return path.stem.rpartition("-")[2]


def read_journal(path: Path) -> Lines:
    """Read a journal, its writer dead or alive.

    Damage before the last line cannot come from a crash; the damaged lines are logged and left
    out, so their trials count as not done and run again.

    Raises:
        FileNotFoundError: it was sealed meanwhile.
    """
    content = path.read_bytes()
    lines = content.split(b"\n")
    last = len(lines) - 1  # index of what follows the last newline: empty, or torn
    rows: list[dict[str, Any]] = []
    damaged: list[int] = []
    for index, line in enumerate(lines):
        row = _decode(line)
        if row is not None and index < last:
            rows.append(row)
        elif index < last and any(lines[index + 1 :]):
            damaged.append(index + 1)
    if damaged:
        _logger.warning("%s: damaged lines %s are left out; their trials run again", path, damaged)
    return Lines(rows, damaged)


def _decode(line: bytes) -> dict[str, Any] | None:
    text = line[9:]
    try:
        if line[8:9] != b" " or int(line[:8], 16) != zlib.crc32(text):
            return None
        row = json.loads(text)
    except ValueError:
        return None
    return row if isinstance(row, dict) else None


def encode(row: Mapping[str, Any]) -> bytes:
    """Return a row as one line of a journal.

    Raises:
        StoreError: it could not become a record.
    """
    text = encode_row(row)
    return b"%08x %s\n" % (zlib.crc32(text), text)


class Journal:
    """One writer's open journal, owned by the process that opened it."""

    def __init__(self, store: Store) -> None:
        folder = journal_folder(store)
        name = f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex}{SUFFIX}"
        self.path = folder / name
        self.count = 0
        self._size = 0
        self._owner = os.getpid()
        self._broken = False
        with storage_errors(store.root):
            folder.mkdir(parents=True, exist_ok=True)
            flags = os.O_RDWR | os.O_CREAT | os.O_APPEND
            descriptor = lock_path(self.path, flags, wait=True)
            assert descriptor is not None
            self._descriptor = descriptor
            flush_folder(folder)

    def append(self, line: bytes) -> None:
        """Put one line on disk; when this returns it survives a power cut.

        Raises:
            StoreError: the disk is full, or an earlier failure could not be undone.
        """
        if self._broken or os.getpid() != self._owner:
            raise StoreError(
                f"{self.path} cannot take more records: it belongs to process {self._owner} or a "
                "write to it failed. Open a new RecordWriter in this process."
            )
        with storage_errors(self.path):
            try:
                rest = memoryview(line)
                while rest:
                    rest = rest[os.write(self._descriptor, rest) :]
                _sync(self._descriptor)
            except BaseException:
                # A half-written line would spoil the next one.
                self._broken = True
                with suppress(OSError):
                    os.ftruncate(self._descriptor, self._size)
                    self._broken = False
                raise
        self._size += len(line)
        self.count += 1

    def close(self) -> None:
        """Give the journal up; it stays on disk until it is sealed."""
        if os.getpid() == self._owner:
            unlock(self._descriptor)
