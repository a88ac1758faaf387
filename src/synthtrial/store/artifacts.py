"""Artifacts: immutable folders that are complete or absent, and say what they were made from.

An artifact lives at ``<store>/<kind>/<id>/``. It is written in a folder with a temporary name,
flushed, hashed, described by ``manifest.json`` (written last) and renamed. Whoever commits an id
first wins, and losing that race is success: equal ids mean equal content. Readers trust the
manifest and nothing else.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from synthtrial.errors import DamagedArtifactError, StoreError
from synthtrial.identity import code_digest, digest
from synthtrial.store.files import (
    entries,
    files_under,
    flush_file,
    flush_folder,
    sha256_of,
    storage_errors,
    temporary_name,
    write_file,
)
from synthtrial.store.locks import lock_path, unlock
from synthtrial.store.manifest import MANIFEST as MANIFEST
from synthtrial.store.manifest import REWRITTEN, manifest_text, read_manifest
from synthtrial.store.manifest import mend as mend
from synthtrial.store.root import NAME, SCHEMA
from synthtrial.store.root import Store as Store
from synthtrial.store.root import open_store as open_store


@dataclass(frozen=True)
class Descent:
    """A statement that images were made from certain rows of a split.

    Attributes:
        split: id of the split artifact.
        roles: roles of those rows (``train``, ``removed``, ``validation``, ``test``).
        regimen: part of the training rows; None for all rows of ``roles``.
    """

    split: str
    roles: tuple[str, ...]
    regimen: float | None


@dataclass(frozen=True)
class Artifact:
    """A committed artifact; see :func:`read_artifact`."""

    kind: str
    id: str
    path: Path
    manifest: Mapping[str, Any]

    @property
    def info(self) -> dict[str, Any]:
        """Facts that the maker left in :attr:`Draft.info`."""
        return dict(self.manifest["info"])

    @property
    def inputs(self) -> dict[str, str]:
        """Ids of the artifacts that this one was made from, by name."""
        return {name: entry["id"] for name, entry in self.manifest["inputs"].items()}

    @property
    def lineage(self) -> tuple[Descent, ...]:
        """Rows of splits that the content descends from."""
        return tuple(
            Descent(item["split"], tuple(item["roles"]), item["regimen"])
            for item in self.manifest["lineage"]
        )

    @property
    def restrictions(self) -> tuple[str, ...]:
        """Limits on passing the content on."""
        return tuple(self.manifest["restrictions"])

    @property
    def files(self) -> tuple[str, ...]:
        """Names of the files, in manifest order (sorted)."""
        return tuple(entry["name"] for entry in self.manifest["files"])

    @cached_property
    def content_digest(self) -> str:
        """Digest of all names and contents of files, equal wherever the bytes are equal."""
        return digest([[entry["name"], entry["sha256"]] for entry in self.manifest["files"]])

    @property
    def origin_digest(self) -> str:
        """Digest of the content as it was first made, whatever a transfer has changed since.

        Manifests that name this artifact as an input cite this digest.
        """
        return str(self._rewritten["original"]) if self._rewritten else self.content_digest

    @property
    def is_rewritten(self) -> bool:
        """Whether a transfer has changed its files or left some out."""
        return bool(self._rewritten)

    @property
    def ids_key(self) -> str | None:
        """Fingerprint of the salt that its ids are hashed with; None where they are not."""
        key = self._rewritten.get("key")
        return None if key is None else str(key)

    @property
    def left_out(self) -> tuple[str, ...]:
        """Names of the files that a transfer left out."""
        return tuple(item["name"] for item in self._rewritten.get("left_out", ()))

    @property
    def _rewritten(self) -> Mapping[str, Any]:
        return dict(self.manifest.get(REWRITTEN) or {})

    def entry(self, name: str) -> Mapping[str, Any]:
        """Return a file's line of the manifest: name, bytes, sha256 and, for Parquet, rows.

        Raises:
            DamagedArtifactError: the manifest has no such file.
        """
        for item in self.manifest["files"]:
            if item["name"] == name:
                return dict(item)
        raise DamagedArtifactError(
            f"{self.path} has no file {name!r} in its manifest (it has: {', '.join(self.files)}). "
            + mend(self.path)
        )

    def file(self, name: str) -> Path:
        """Return the path of a file, checked to exist with the right size.

        Raises:
            DamagedArtifactError: it is not in the manifest, missing or of another size.
        """
        expected = self.entry(name)["bytes"]
        path = self.path / name
        try:
            actual = path.stat().st_size
        except FileNotFoundError:
            raise DamagedArtifactError(f"{path} is missing. {mend(self.path)}") from None
        if actual != expected:
            raise DamagedArtifactError(
                f"{path} has {actual:,} bytes where its manifest says {expected:,}: it was "
                f"truncated or altered. {mend(self.path)}"
            )
        return path


@dataclass
class Draft:
    """An artifact being made: write files under ``path``, leave plain facts in ``info``."""

    kind: str
    id: str
    path: Path
    info: dict[str, Any] = field(default_factory=dict)


def exists(store: Store, kind: str, id: str) -> bool:  # noqa: A002
    """Say whether an artifact is committed."""
    return (store.folder(kind, id) / MANIFEST).is_file()


def list_artifacts(store: Store, kind: str) -> list[str]:
    """Return the ids of all committed artifacts of a kind, sorted."""
    names = [path.name for path in entries(store.root / kind)]
    return [name for name in names if NAME.fullmatch(name) and exists(store, kind, name)]


def read_artifact(store: Store, kind: str, id: str) -> Artifact:  # noqa: A002
    """Return a committed artifact. Only its manifest is read.

    Raises:
        StoreError: there is none.
        StoreSchemaError: a newer synthtrial wrote it.
        DamagedArtifactError: its manifest is missing, unreadable or altered.
    """
    folder = store.folder(kind, id)
    if not folder.exists():
        raise StoreError(
            f"the store {store.root} has no {kind} {id}. `synthtrial plan` shows what would make "
            "it; `synthtrial run` makes it."
        )
    return Artifact(kind, id, folder, read_manifest(folder, kind, id))


@contextmanager
def draft(
    store: Store,
    kind: str,
    id: str,  # noqa: A002
    *,
    inputs: Mapping[str, str],
    lineage: Sequence[Descent] = (),
    restrictions: Sequence[str] = (),
) -> Iterator[Draft]:
    """Make an artifact: write into the draft's folder, and it is committed when the block ends.

    An exception in the block removes the folder; a killed process leaves one with a temporary
    name, which no reader sees and ``synthtrial gc`` removes.

    Args:
        store: where.
        kind: of artifact.
        id: of the artifact.
        inputs: ids of the artifacts it is made from, by name: the name is the input's kind, or the
            value is ``"<kind>/<id>"``.
        lineage: rows of splits that the content descends from.
        restrictions: limits on passing the content on; those of the inputs come on top, as what is
            made of restricted images may not be passed on either.

    Raises:
        StoreError: an input does not exist, the disk is full, or the store is read-only.
    """
    final = store.folder(kind, id)
    sources, limits = dict[str, dict[str, str]](), set(restrictions)
    for name, value in sorted(inputs.items()):
        source = _input(store, name, value)
        limits.update(source.restrictions)
        sources[name] = {
            "kind": source.kind,
            "id": source.id,
            "manifest_sha256": sha256_of(source.path / MANIFEST),
            "content_digest": source.origin_digest,
        }
    with _begun(store, final) as folder:
        made = Draft(kind, id, folder)
        yield made
        manifest = {
            "schema": SCHEMA,
            "kind": kind,
            "id": id,
            "created_at": datetime.now(UTC).isoformat(timespec="seconds"),
            "code_digest": code_digest(),
            "inputs": sources,
            "files": describe_files(folder),
            "lineage": [asdict(item) for item in lineage],
            "restrictions": sorted(limits),
            "info": made.info,
        }
        write_file(folder / MANIFEST, manifest_text(manifest))
        read_manifest(folder, kind, id)
        _commit(folder, final)


@contextmanager
def adopt(store: Store, kind: str, id: str) -> Iterator[Path]:  # noqa: A002
    """Commit an artifact that was made elsewhere: write its files and manifest into the folder.

    The folder is committed when the block ends, if every file is there and as the manifest says.

    Raises:
        StoreSchemaError: a newer synthtrial wrote the manifest.
        DamagedArtifactError: the manifest or a file is not what was committed there.
        StoreError: the disk is full, or the store is read-only.
    """
    final = store.folder(kind, id)
    with _begun(store, final) as folder:
        yield folder
        flush_file(folder / MANIFEST)
        artifact = Artifact(kind, id, folder, read_manifest(folder, kind, id))
        names = {path.relative_to(folder).as_posix() for path in files_under(folder)} - {MANIFEST}
        odd = sorted(names ^ {*artifact.files})
        for name in artifact.files if not odd else ():
            path = artifact.file(name)
            flush_file(path)
            if sha256_of(path) != artifact.entry(name)["sha256"]:
                odd.append(name)
        if odd:
            raise DamagedArtifactError(
                f"{kind}/{id}: {', '.join(odd)} is not what its manifest says; it was not kept"
            )
        _commit(folder, final)


@contextmanager
def _begun(store: Store, final: Path) -> Iterator[Path]:
    """Give a folder beside the final one, which is removed if it is not committed."""
    folder = temporary_name(final)
    with storage_errors(store.root):
        lock = None
        folder.mkdir(parents=True)
        try:
            with suppress(OSError):  # a lock tells gc that the maker is alive; gc can do without
                lock = lock_path(folder, os.O_RDONLY | os.O_DIRECTORY, wait=False)
            yield folder
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        finally:
            if lock is not None:
                unlock(lock)


def _input(store: Store, name: str, value: str) -> Artifact:
    kind, _, id_ = value.rpartition("/")
    kind = kind or name
    if not exists(store, kind, id_):
        raise StoreError(
            f"the input {name!r} ({kind}/{id_}) is not in the store {store.root}. Name inputs by "
            "their kind or give '<kind>/<id>', and commit them first."
        )
    return read_artifact(store, kind, id_)


def describe_files(folder: Path) -> list[dict[str, Any]]:
    """Flush and hash what the maker wrote; for Parquet also count rows, which reads the footer."""
    described = []
    for path in files_under(folder):
        name = path.relative_to(folder).as_posix()
        if not path.is_file() or path.is_symlink() or name == MANIFEST:
            raise StoreError(
                f"an artifact may hold plain files only, and no own {MANIFEST}: {path}"
            )
        flush_file(path)
        entry: dict[str, Any] = {
            "name": name,
            "bytes": path.stat().st_size,
            "sha256": sha256_of(path),
        }
        if path.suffix == ".parquet":
            import pyarrow.parquet as pq

            entry["rows"] = pq.read_metadata(path).num_rows
        described.append(entry)
    return described


def _commit(folder: Path, final: Path) -> None:
    for path in {file.parent for file in files_under(folder)}:
        flush_folder(path)
    for _ in range(3):
        try:
            folder.rename(final)
        except OSError as error:
            if error.errno not in {errno.EEXIST, errno.ENOTEMPTY}:
                raise
            if (final / MANIFEST).is_file():  # lost the race: the same content is there
                shutil.rmtree(folder, ignore_errors=True)
                return
            # A folder without a manifest was never committed so: it is debris of a deletion.
            with suppress(FileNotFoundError):
                final.rename(temporary_name(final))
        else:
            flush_folder(final.parent)
            return
    raise StoreError(f"{final} cannot be committed: another process keeps putting files there.")
