"""An archive on disk: a tar file or a folder, with the size and SHA-256 of everything in it."""

from __future__ import annotations

import hashlib
import io
import json
import re
import shutil
import tarfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any, Protocol

from synthtrial import __version__
from synthtrial.errors import StoreError
from synthtrial.identity import canonical_json
from synthtrial.store.files import (
    files_under,
    flush_file,
    flush_folder,
    publish,
    temporary_name,
)
from synthtrial.store.root import SCHEMA, check_schema
from synthtrial.store.transfer.formats import ABOUT, AGAIN, TAR, check_new, check_readable

FORMAT = 1
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*(?:/[A-Za-z0-9_][A-Za-z0-9_.-]*)*")
_CHUNK = 2**20


class ArchiveWriter:
    """Adds files to an archive that is being made; see :func:`writing`.

    Attributes:
        files: size and SHA-256 of what was added so far.
        scratch: a folder beside the archive for what is made on the way.
    """

    def __init__(self, root: Path, tar: tarfile.TarFile | None, scratch: Path) -> None:
        self._root, self._tar, self.scratch = root, tar, scratch
        self.files: dict[str, dict[str, Any]] = {}

    def add(self, name: str, source: Path | bytes) -> None:
        """Add a file, or bytes as one."""
        with io.BytesIO(source) if isinstance(source, bytes) else source.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            size = file.seek(0, io.SEEK_END)
            file.seek(0)
            self.files[name] = {"bytes": size, "sha256": digest}
            if self._tar is None:
                target = self._root / name
                target.parent.mkdir(parents=True, exist_ok=True)
                with target.open("wb") as copy:
                    shutil.copyfileobj(file, copy)
                flush_file(target)
                return
            member = tarfile.TarInfo(name)  # no owner, no time: they say who made it
            member.size, member.mode = size, 0o644
            self._tar.addfile(member, file)


@contextmanager
def writing(out: Path, about: dict[str, Any]) -> Iterator[ArchiveWriter]:
    """Make an archive; it is there, whole, when the block ends without an error.

    Args:
        out: of the new tar file (its name ends in ``.tar``) or folder.
        about: what ``archive.json`` says; may be added to within the block.

    Raises:
        ConfigError: the name of ``out`` promises another format.
        StoreError: ``out`` exists, or the disk is full or read-only.
    """
    check_new(out)
    out = out.absolute()
    temporary, scratch = temporary_name(out), temporary_name(out)
    try:
        scratch.mkdir(parents=True)
        if out.suffix == TAR:
            with tarfile.open(temporary, "w") as tar:
                writer = ArchiveWriter(temporary, tar, scratch)
                yield writer
                _finish(writer, about)
            publish(temporary, out)
        else:
            temporary.mkdir()
            writer = ArchiveWriter(temporary, None, scratch)
            yield writer
            _finish(writer, about)
            for folder in {path.parent for path in files_under(temporary)}:
                flush_folder(folder)
            temporary.rename(out)
            flush_folder(out.parent)
    except OSError as error:
        raise StoreError(
            f"the archive {out} cannot be written: {error.strerror}. Make room or choose another "
            "place; nothing of it was kept"
        ) from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
        shutil.rmtree(temporary, ignore_errors=True)
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def _finish(writer: ArchiveWriter, about: Mapping[str, Any]) -> None:
    whole: dict[str, Any] = {
        "format": FORMAT,
        "schema": SCHEMA,
        "made_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "synthtrial": __version__,
        **about,
        "files": dict(writer.files),
    }
    whole["checksum"] = _checksum(whole)
    text = json.dumps(whole, indent=1, ensure_ascii=False, allow_nan=False)
    writer.add(ABOUT, text.encode() + b"\n")


def _checksum(about: Mapping[str, Any]) -> str:
    return hashlib.sha256(canonical_json(about).encode()).hexdigest()


class _Source(Protocol):
    """Where an archive's files are read from."""

    def names(self) -> list[str]: ...

    def open(self, name: str) -> IO[bytes]: ...


@dataclass(frozen=True)
class Archive:
    """An archive that was found to be whole, as far as names and sizes go.

    Attributes:
        path: of it.
        about: content of ``archive.json``.
    """

    path: Path
    about: Mapping[str, Any]
    _source: _Source

    @property
    def files(self) -> Mapping[str, Mapping[str, Any]]:
        """Size and SHA-256 of every file."""
        return dict(self.about["files"])

    def read(self, name: str) -> bytes:
        """Return a file, checked.

        Raises:
            StoreError: it is not what was exported.
        """
        with self._source.open(name) as file:
            content = file.read()
        self._check(name, len(content), hashlib.sha256(content).hexdigest())
        return content

    def copy(self, name: str, target: Path) -> None:
        """Write a file to disk, checked.

        Raises:
            StoreError: it is not what was exported; what was written must not be used.
        """
        target.parent.mkdir(parents=True, exist_ok=True)
        hasher, size = hashlib.sha256(), 0
        with self._source.open(name) as file, target.open("wb") as copy:
            while chunk := file.read(_CHUNK):
                hasher.update(chunk)
                size += len(chunk)
                copy.write(chunk)
        self._check(name, size, hasher.hexdigest())

    def _check(self, name: str, size: int, digest: str) -> None:
        expected = self.files[name]
        if (size, digest) != (expected["bytes"], expected["sha256"]):
            raise StoreError(f"{self.path}: {name} is damaged (checksum). {AGAIN}")


@contextmanager
def reading(path: Path) -> Iterator[Archive]:
    """Open an archive.

    Raises:
        StoreSchemaError: a newer synthtrial made it.
        StoreError: it is none, is incomplete or damaged, or holds names that could leave the store
            (absolute, ``..``, links, devices).
    """
    path = path.absolute()
    check_readable(path)
    try:
        if path.is_dir():
            yield _opened(path, _Folder(path))
        else:
            with tarfile.open(path, "r:") as tar:
                yield _opened(path, _Tar(path, tar))
    except (tarfile.TarError, EOFError):
        raise StoreError(f"{path} was cut off, or altered on its way. {AGAIN}") from None


def _opened(path: Path, source: _Source) -> Archive:
    names = set(source.names())
    if ABOUT not in names:
        raise StoreError(
            f"{path} has no {ABOUT}: it is no export of synthtrial, or was cut off. {AGAIN}"
        )
    with source.open(ABOUT) as file:
        content = file.read()
    try:
        about = json.loads(content)
        check_schema(about["schema"], path / ABOUT)
        checksum = about.pop("checksum")
        intact = about["format"] == FORMAT and checksum == _checksum(about)
        listed = set(about["files"])
    except (ValueError, KeyError, TypeError, AttributeError):
        raise StoreError(f"{path}: {ABOUT} cannot be read. {AGAIN}") from None
    if not intact:
        raise StoreError(f"{path}: {ABOUT} was altered. {AGAIN}")
    odd = sorted(listed ^ (names - {ABOUT}))
    if odd:
        verb = "lacks" if odd[0] in listed else "holds, beside what was exported,"
        raise StoreError(f"{path} {verb} {odd[0]} (and {len(odd) - 1} more). {AGAIN}")
    return Archive(path, about, source)


class _Folder:
    def __init__(self, root: Path) -> None:
        self._root = root

    def names(self) -> list[str]:
        found = []
        for path in files_under(self._root):
            name = path.relative_to(self._root).as_posix()
            if path.is_symlink() or not path.is_file():
                raise StoreError(f"{self._root}: {name} is a link or no file; refused")
            found.append(_checked(name, self._root))
        return found

    def open(self, name: str) -> IO[bytes]:
        return (self._root / name).open("rb")


class _Tar:
    def __init__(self, path: Path, tar: tarfile.TarFile) -> None:
        self._path, self._tar = path, tar
        self._members: dict[str, tarfile.TarInfo] = {}

    def names(self) -> list[str]:
        for member in self._tar.getmembers():
            if member.isdir():  # made by another tar from an unpacked archive
                continue
            try:
                tarfile.data_filter(member, str(self._path.parent))
            except tarfile.FilterError as error:
                raise StoreError(f"{self._path}: {error}; refused") from None
            if not member.isreg():
                raise StoreError(f"{self._path}: {member.name} is a link or no file; refused")
            name = _checked(member.name.removeprefix("./"), self._path)
            if name in self._members:
                raise StoreError(f"{self._path} holds {name} twice; refused")
            self._members[name] = member
        return [*self._members]

    def open(self, name: str) -> IO[bytes]:
        file = self._tar.extractfile(self._members[name])
        assert file is not None
        return file


def _checked(name: str, path: Path) -> str:
    if not _NAME.fullmatch(name):
        raise StoreError(f"{path} holds the name {name!r}, which could leave the store; refused")
    return name
