"""The node cache: every image of an artifact decoded once on this machine, for all its processes.

The first process decodes the shards into one file of raw pixels on local scratch, under a lock;
the others wait and map the same file. Files are named by content digest, so an artifact that was
made anew with equal bytes is not decoded again. A footer written last proves that a file is
complete; files unused for thirty days are removed.
"""

from __future__ import annotations

import json
import os
import stat
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import chain
from pathlib import Path

import numpy as np

from synthtrial.errors import DamagedArtifactError, StoreError
from synthtrial.store.artifacts import Artifact, mend
from synthtrial.store.files import entries, publish, sha256_of, storage_errors, temporary_name
from synthtrial.store.images import LabelTable, iterate_images, read_labels, shard_files
from synthtrial.store.locks import locked
from synthtrial.store.shards import UInt8Array

UNUSED_SECONDS = 30 * 24 * 3600.0
SUFFIX = ".pixels"
_MAGIC = b"synthtrial-pixels-1\n"
_FOOTER_BYTES = 256


@dataclass(frozen=True, eq=False)
class ImageArrays:
    """All images of an artifact with their labels, in shard order.

    Attributes:
        images_NCHW: uint8, read-only, mapped from the node cache and shared by its processes.
        labels: of the same N images.
    """

    images_NCHW: UInt8Array
    labels: LabelTable


@dataclass(frozen=True)
class _Key:
    digest: str
    root: Path
    artifact: Artifact = field(compare=False)


def load_arrays(artifact: Artifact, cache_path: str | None) -> ImageArrays:
    """Return an artifact's images and labels; repeated calls in a process are free.

    Args:
        artifact: with image shards.
        cache_path: folder of the cache; by default ``$SYNTHTRIAL_CACHE``, or a private folder
            under the system's temporary one.

    Raises:
        DamagedArtifactError: a shard is missing, truncated or altered.
        StoreError: the cache cannot be written, or others could write to it.
    """
    return _load(_Key(artifact.content_digest, cache_root(cache_path), artifact))


@lru_cache(maxsize=32)
def _load(key: _Key) -> ImageArrays:
    labels = read_labels(key.artifact)
    path = key.root / f"{key.digest}{SUFFIX}"
    images = _open(path)
    if images is None:
        with storage_errors(key.root, "store.cache_path"):
            key.root.mkdir(mode=0o700, parents=True, exist_ok=True)
            with locked(path.with_suffix(".lock")):
                images = _open(path)
                if images is None:
                    evict(key.root)
                    _decode(key.artifact, len(labels), path)
                    images = _open(path)
    if images is None or len(images) != len(labels):
        raise StoreError(
            f"the node cache {path} did not read back as written. Delete it, and check the disk."
        )
    return ImageArrays(images, labels)


def cache_root(cache_path: str | None = None) -> Path:
    """Return the folder of the cache on this machine.

    Raises:
        StoreError: the default folder belongs to somebody else, who could alter the images.
    """
    chosen = cache_path or os.environ.get("SYNTHTRIAL_CACHE")
    if chosen:
        return Path(chosen).expanduser().absolute()
    root = Path(tempfile.gettempdir()) / f"synthtrial-{os.getuid()}"
    with storage_errors(root, "store.cache_path"):
        root.mkdir(mode=0o700, exist_ok=True)
    found = root.lstat()
    private = stat.S_ISDIR(found.st_mode) and not stat.S_IMODE(found.st_mode) & 0o077
    if found.st_uid != os.getuid() or not private:
        raise StoreError(
            f"{root} is not a private folder of yours (mode 700). Remove it, or name another one "
            "with `store.cache_path=...` or $SYNTHTRIAL_CACHE."
        )
    return root


def _decode(artifact: Artifact, count: int, path: Path) -> None:
    """Decode all shards into ``path``; the caller holds its lock."""
    for stale in entries(path.parent):  # of a process killed while it held the lock
        if stale.name.startswith(f"{path.name}.tmp-"):
            stale.unlink(missing_ok=True)
    for name in shard_files(artifact):
        if sha256_of(artifact.file(name)) != artifact.entry(name)["sha256"]:
            raise DamagedArtifactError(
                f"{artifact.path / name} was altered: its SHA-256 is not that of its manifest. "
                + mend(artifact.path)
            )
    images = iterate_images(artifact, readers=len(os.sched_getaffinity(0)))
    first = next(images, None)
    shape = (count, *(first.shape if first is not None else (1, 0, 0)))
    temporary = temporary_name(path)
    try:
        with temporary.open("wb") as file:
            written = 0
            for image in chain([first] if first is not None else [], images):
                if image.shape != shape[1:]:
                    raise DamagedArtifactError(
                        f"image {written} of {artifact.path} has shape {image.shape} where others "
                        f"have {shape[1:]}. {mend(artifact.path)}"
                    )
                file.write(image.data)
                written += 1
            if written != count:
                raise DamagedArtifactError(
                    f"{artifact.path} has {written} images and {count} labels. "
                    + mend(artifact.path)
                )
            about = json.dumps({"shape": shape}).encode()
            file.write((_MAGIC + about).ljust(_FOOTER_BYTES))
        publish(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _open(path: Path) -> UInt8Array | None:
    """Map a complete file of pixels; None where there is none, or only a part of one."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(size - _FOOTER_BYTES, 0))
            footer = file.read()
            if not footer.startswith(_MAGIC):
                return None
            shape = tuple(json.loads(footer.removeprefix(_MAGIC))["shape"])
            if size != int(np.prod(shape, dtype=np.int64)) + _FOOTER_BYTES:
                return None
            with suppress(OSError):  # the time of last use, for eviction
                os.utime(path)
            if 0 in shape:
                return np.empty(shape, dtype=np.uint8)
            return np.memmap(file, dtype=np.uint8, mode="r", shape=shape)
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None


def evict(root: Path, *, unused_seconds: float = UNUSED_SECONDS) -> list[Path]:
    """Remove what nobody has opened for so long; processes that have it mapped keep it.

    Returns:
        What was removed.
    """
    removed = []
    for path in entries(root):
        mine = path.suffix == SUFFIX or f"{SUFFIX}.tmp-" in path.name
        with suppress(FileNotFoundError):
            if mine and time.time() - path.stat().st_mtime > unused_seconds:
                path.unlink()
                removed.append(path)
    return removed


def clear_process_cache() -> None:
    """Forget the arrays that this process holds (for tests and memory limits)."""
    _load.cache_clear()
