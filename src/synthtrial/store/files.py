"""Files that survive a crash: written beside their place, flushed to disk, then renamed."""

from __future__ import annotations

import errno
import hashlib
import os
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from synthtrial.errors import StoreError

TEMPORARY = ".tmp-"  # in the name of everything that is not committed yet
_FULL = {errno.ENOSPC, errno.EDQUOT}
_FORBIDDEN = {errno.EROFS, errno.EACCES, errno.EPERM}
_MISPLACED = {errno.EEXIST, errno.ENOTDIR}


@contextmanager
def storage_errors(path: Path, setting: str = "store.path") -> Iterator[None]:
    """Turn a full disk, or a place under ``path`` that cannot be written, into a clear error.

    Args:
        path: what is being written, or a folder around it.
        setting: of the study, that names another place.

    Raises:
        StoreError: the disk or quota is full, or ``path`` may not be written. Other errors, and
            refusals that name a file outside ``path``, pass unchanged.
    """
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise StoreError(
                f"the disk that holds {path} is full (or your quota is used up). Nothing committed "
                "is lost. Free some space (`synthtrial du` and `synthtrial gc --dry-run` show what "
                f"could go) or choose another folder with `{setting}=...`, then run the same "
                "command again: it resumes."
            ) from error
        if error.errno in _FORBIDDEN and _concerns(error, path):
            raise StoreError(
                f"{error.filename or path} is read-only for this user ({error.strerror}). Make it "
                f"writable, or choose another folder with `{setting}=...`."
            ) from error
        if error.errno in _MISPLACED and _concerns(error, path):
            raise StoreError(
                f"{error.filename or path} cannot be made ({error.strerror}): choose another "
                f"place for {path}."
            ) from error
        raise


def _concerns(error: OSError, path: Path) -> bool:
    if not isinstance(error.filename, (str, os.PathLike)):
        return True
    named = Path(error.filename).absolute()
    base = path.absolute()
    return named.is_relative_to(base) or base.is_relative_to(named)


def temporary_name(path: Path) -> Path:
    """Return a fresh name beside ``path`` for what will be renamed to it."""
    return path.with_name(f"{path.name}{TEMPORARY}{uuid.uuid4().hex}")


def flush_file(path: Path) -> None:
    """Force a file's content to disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def flush_folder(path: Path) -> None:
    """Force a folder's entries to disk, so that a rename survives a power cut."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    except OSError as error:  # some network file systems cannot and need not
        if error.errno not in {errno.EINVAL, errno.ENOTSUP, errno.EBADF}:
            raise
    finally:
        os.close(descriptor)


def publish(temporary: Path, final: Path) -> None:
    """Rename a complete, closed file to its final name, durably."""
    flush_file(temporary)
    temporary.replace(final)
    flush_folder(final.parent)


def write_file(path: Path, content: bytes) -> None:
    """Write a small file so that readers see all of it or none of it.

    Raises:
        StoreError: the disk is full, or the folder is read-only.
    """
    temporary = temporary_name(path)
    with storage_errors(path.parent):
        try:
            temporary.write_bytes(content)
            publish(temporary, path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file as 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def entries(folder: Path, suffix: str = "") -> list[Path]:
    """Return what a folder holds under names that end so, sorted; nothing when it is absent.

    Raises:
        StoreError: it may not be read. (``Path.glob`` would call it empty.)
    """
    try:
        return sorted(path for path in folder.iterdir() if path.name.endswith(suffix))
    except FileNotFoundError:
        return []
    except OSError as error:
        raise StoreError(f"{folder} cannot be read: {error.strerror}.") from error


def files_under(folder: Path) -> list[Path]:
    """Return every file and link below ``folder``, sorted by relative name.

    Files that vanish meanwhile are no error: other processes tidy up too.
    """
    found = []
    for parent, folders, names in os.walk(folder):
        found += [Path(parent) / name for name in names]
        found += [Path(parent) / name for name in folders if (Path(parent) / name).is_symlink()]
    return sorted(found, key=lambda path: path.relative_to(folder).as_posix())


def size_of(path: Path) -> int:
    """Return the bytes of a file, or of all files below a folder."""
    total = 0
    for file in files_under(path) if path.is_dir() else [path]:
        try:
            total += file.lstat().st_size
        except FileNotFoundError:
            continue
    return total


def idle_seconds(path: Path) -> float:
    """Return the seconds since a file, or anything below a folder, last changed."""
    newest = 0.0
    for entry in [path, *(files_under(path) if path.is_dir() else [])]:
        try:
            newest = max(newest, entry.lstat().st_mtime)
        except FileNotFoundError:
            continue
    return time.time() - newest
