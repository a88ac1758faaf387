"""Being asked to stop: notice it, finish what cannot be left half done, and end."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

#: What schedulers send before they kill: at the time limit, and before preemption.
STOP_SIGNALS = (signal.SIGTERM, signal.SIGUSR2)
_asked = threading.Event()


def ask() -> None:
    """Ask everything in this process to stop, in whatever thread, as a signal would; for good."""
    _asked.set()


def asked() -> bool:
    """Whether :func:`ask` was called."""
    return _asked.is_set()


@contextmanager
def noticed(signals: tuple[signal.Signals, ...] = STOP_SIGNALS) -> Iterator[Callable[[], bool]]:
    """Note these signals instead of dying of them, for the time of the block.

    Yields:
        A function that says whether one has come, or :func:`ask` was called. Outside the main
        thread, where Python handles no signals, only the latter counts.
    """
    if threading.current_thread() is not threading.main_thread():
        yield asked
        return
    came = threading.Event()

    def note(_number: int, _frame: FrameType | None) -> None:
        came.set()

    before = {number: signal.signal(number, note) for number in signals}
    try:
        yield lambda: came.is_set() or asked()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
