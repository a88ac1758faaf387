"""The store's root folder: found, made, and refused when a newer synthtrial wrote it."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from synthtrial.errors import StoreError, StoreSchemaError
from synthtrial.store.files import entries, storage_errors, write_file

SCHEMA = 1
STORE_FILE = "store.json"
UNFINISHED = "unfinished"  # checkpoints and shards of tasks that have not ended
PROGRESS_FILE = "progress.json"  # in the folder of one that says how far it is
JOBS = "jobs"  # what was submitted to a queue
SOURCE = "source"  # copies of the package that jobs import
STUDIES = "studies"  # snapshots of those that ran, and how many replicates were asked for
#: Folders that hold no artifacts.
RESERVED = ("records", "attempts", STUDIES, UNFINISHED, JOBS, SOURCE)
_SNAPSHOT = ".yaml"
NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]*")


@dataclass(frozen=True)
class Store:
    """A folder that :func:`open_store` has found to be a store of a known schema."""

    root: Path

    def folder(self, kind: str, id: str) -> Path:  # noqa: A002 - the word used everywhere
        """Return where an artifact lives, whether it exists or not."""
        for name in (kind, id):
            if not NAME.fullmatch(name) or kind in RESERVED:
                raise StoreError(f"{kind}/{id} cannot name an artifact")
        return self.root / kind / id


def open_store(path: Path, *, create: bool = True) -> Store:
    """Open the store at ``path``; make an empty one where there is nothing yet.

    Raises:
        StoreSchemaError: a newer synthtrial wrote it.
        StoreError: it is missing (``create=False``), unreadable, not a store or not writable.
    """
    root = Path(path).expanduser().absolute()
    marker = root / STORE_FILE
    if _read_marker(marker):
        return Store(root)
    if not create:
        raise StoreError(f"there is no store at {root}. `synthtrial run` makes one there.")
    if root.exists() and not root.is_dir():
        raise StoreError(f"{root} is a file, not a folder: choose another `store.path=...`.")
    with storage_errors(root):
        root.mkdir(parents=True, exist_ok=True)
        others = [p.name for p in root.iterdir() if not p.name.startswith(STORE_FILE)]
        # Looked for again: another process may have made the store between the two looks.
        if others and not _read_marker(marker):
            raise StoreError(
                f"{root} holds other files ({', '.join(sorted(others)[:3])}) and no {STORE_FILE}: "
                "it is not a store. Choose an empty or new folder with `store.path=...`."
            )
        write_file(marker, json.dumps({"schema": SCHEMA}).encode() + b"\n")
    return Store(root)


def snapshot_file(store: Store, digest: str) -> Path:
    """Return the file of a study's settings as they were run, whether it is there or not."""
    return store.root / STUDIES / f"{digest}{_SNAPSHOT}"


def snapshot_files(store: Store) -> list[Path]:
    """Return the snapshots of all studies that ran in a store, the last one first."""
    paths = entries(store.root / STUDIES, _SNAPSHOT)
    return sorted(paths, key=lambda path: path.stat().st_mtime, reverse=True)


def _read_marker(marker: Path) -> bool:
    try:
        schema = json.loads(marker.read_bytes())["schema"]
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise StoreError(f"{marker} cannot be read: {error.strerror}.") from error
    except (ValueError, KeyError, TypeError) as error:
        raise StoreError(
            f'{marker} is damaged: it should read {{"schema": {SCHEMA}}}. Restore that line if '
            "this folder is a store."
        ) from error
    check_schema(schema, marker)
    return True


def check_schema(schema: Any, path: Path) -> None:
    """Refuse what a newer synthtrial wrote.

    Raises:
        StoreSchemaError: ``schema`` is above the one known here.
    """
    if not isinstance(schema, int) or schema > SCHEMA:
        raise StoreSchemaError(
            f"{path} has schema {schema}; this synthtrial reads up to {SCHEMA}. Install the newer "
            "synthtrial that wrote it, or use another store with `store.path=...`."
        )
