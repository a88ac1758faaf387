"""What a worker process of the local engine does: take tasks from its pipe until that closes."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

from synthtrial.engine_config import EngineConfig
from synthtrial.engines.base import Outcome, attempt
from synthtrial.engines.placement import VISIBLE
from synthtrial.errors import StoreError
from synthtrial.store.artifacts import open_store
from synthtrial.tasks import Task

#: Imported by the fork server, in this order, so that workers need not.
PRELOAD = ["synthtrial.engines.interruptible", "synthtrial.work.preload"]


@dataclass(frozen=True)
class Place:
    """Where a worker works.

    Attributes:
        gpu: the only one that it sees; None where it may see what its driver does.
        share: of that GPU's memory that it may take.
    """

    gpu: str | None = None
    share: float = 1.0


def work(
    pipe: Connection, store_root: Path, settings: EngineConfig, label: str, place: Place
) -> None:
    """Take tasks until the pipe closes; the target of a worker process.

    Args:
        pipe: brings tasks and takes outcomes.
        store_root: folder of the store.
        settings: of the engine.
        label: name of the engine, for records.
        place: where to work.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the driver's to handle
    threading.Thread(target=_end_with_driver, daemon=True).start()
    if place.gpu is not None:
        # In time: the fork server has imported torch but called nothing of CUDA, which reads this
        # when it is first called.
        os.environ[VISIBLE] = place.gpu

    from synthtrial.work import Context  # imports torch: not before the fork server did

    store = open_store(store_root, create=False)
    try:
        context = Context(store, engine=label, device=settings.device)
    except StoreError as error:  # said to the driver, which has a person to tell
        reason = str(error)
        _answer(pipe, lambda task: Outcome(task.id, "failed", reason, fatal=True))
        return
    if place.gpu is not None and place.share < 1 and context.device == "cuda":
        import torch

        torch.cuda.set_per_process_memory_fraction(place.share)
    while _answer(pipe, lambda task: attempt(store, task, context)):
        pass
    with suppress(StoreError):  # the journal stays, and the next run seals it
        context.writer.seal()


def _answer(pipe: Connection, do: Callable[[Task], Outcome]) -> bool:
    """Take one task and send what became of it; False when the driver has closed the pipe."""
    try:
        pipe.send(do(pipe.recv()))
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return False
    return True


def _end_with_driver() -> None:
    """End this process when its driver has gone, so that a killed one leaves no orphans.

    The parent in the system's eyes is the fork server, which itself waits for its last child.
    """
    driver = multiprocessing.parent_process()
    if driver is not None:
        driver.join()
        os._exit(1)
