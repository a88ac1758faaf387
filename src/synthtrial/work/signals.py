"""Being asked to stop: notice it, finish what cannot be left half done, and end."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

#: What schedulers send before they kill: at the time limit, and before preemption.
STOP_SIGNALS = (signal.SIGTERM, signal.SIGUSR2)


@contextmanager
def noticed(signals: tuple[signal.Signals, ...] = STOP_SIGNALS) -> Iterator[Callable[[], bool]]:
    """Note these signals instead of dying of them, for the time of the block.

    Yields:
        A function that says whether one has come. Outside the main thread, where Python handles no
        signals, it always says no.
    """
    came = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield came.is_set
        return

    def note(_number: int, _frame: FrameType | None) -> None:
        came.set()

    before = {number: signal.signal(number, note) for number in signals}
    try:
        yield came.is_set
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
