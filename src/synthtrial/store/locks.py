"""Locks that end with their process, even when it is killed.

``flock`` on a file of the store. The kernel frees it when the holder dies, so a lock that can be
taken belongs to nobody alive. A forked child would inherit it and keep it after its parent's
death; therefore children close the locks they were born with.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_held: set[int] = set()
_hooked = False


def _close_inherited() -> None:
    for descriptor in _held:
        with suppress(OSError):
            os.close(descriptor)
    _held.clear()


def _remember(descriptor: int) -> None:
    global _hooked
    if not _hooked:
        os.register_at_fork(after_in_child=_close_inherited)
        _hooked = True
    _held.add(descriptor)


def lock_path(path: Path, flags: int = os.O_RDWR | os.O_CREAT, *, wait: bool) -> int | None:
    """Open a file and take its lock for this process.

    A file that was removed or replaced before the lock was ours is opened again, so the lock is
    always that of the file now at ``path``.

    Args:
        path: the file; the default ``flags`` create it.
        flags: of ``os.open``.
        wait: wait for another holder instead of giving up.

    Returns:
        The open descriptor, to be given to :func:`unlock`; None when another process holds it.
    """
    while True:
        descriptor = os.open(path, flags | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
            now = path.stat()
            mine = os.fstat(descriptor)
        except BlockingIOError:
            os.close(descriptor)
            return None
        except FileNotFoundError:
            os.close(descriptor)
            if not flags & os.O_CREAT:
                raise
            continue
        except BaseException:
            os.close(descriptor)
            raise
        if (now.st_dev, now.st_ino) == (mine.st_dev, mine.st_ino):
            _remember(descriptor)
            return descriptor
        os.close(descriptor)


def unlock(descriptor: int) -> None:
    """Give a lock back and close its file."""
    _held.discard(descriptor)
    os.close(descriptor)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock of ``path`` for the block, waiting for it."""
    descriptor = lock_path(path, wait=True)
    assert descriptor is not None
    try:
        yield
    finally:
        unlock(descriptor)


def lock_within(path: Path, seconds: float) -> int | None:
    """Like :func:`lock_path`, trying for ``seconds``: a probe holds a lock for an instant."""
    deadline = time.monotonic() + seconds
    while (descriptor := lock_path(path, wait=False)) is None:
        if time.monotonic() > deadline:
            return None
        time.sleep(0.02)
    return descriptor


def is_held(path: Path) -> bool:
    """Say whether a living process holds the lock of a file or folder."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False
