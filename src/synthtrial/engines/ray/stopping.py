"""How a run has the trainings on all its nodes save their state: a word in the head's memory.

Signals do not reach processes on other nodes, and trainings in threads, as of Ray Train, notice
none. The word is kept under the number of the run's job, so that no other run hears it.
"""

from __future__ import annotations

import threading
import time
from functools import cache

from synthtrial.work import signals

_LOOK_SECONDS = 1.0
_NAMESPACE = b"synthtrial"


def ask_all() -> None:
    """Ask every process of this run to stop; called by its driver."""
    from ray.experimental.internal_kv import _internal_kv_put

    _internal_kv_put(_key(), b"1", namespace=_NAMESPACE)


@cache
def heed() -> None:
    """Have this process, one of a run's, hear :func:`ask_all` from now on."""
    threading.Thread(target=_listen, name="heed", daemon=True).start()


def _listen() -> None:
    from ray.experimental.internal_kv import _internal_kv_get

    key = _key()
    while True:
        try:
            if _internal_kv_get(key, namespace=_NAMESPACE):
                signals.ask()
                return
        except Exception:  # noqa: BLE001, S110 - the head has gone, or is busy; the next look tells
            pass
        time.sleep(_LOOK_SECONDS)


def _key() -> bytes:
    import ray

    return f"stop-{ray.get_runtime_context().get_job_id()}".encode()
