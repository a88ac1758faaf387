"""The process that workers are forked from, started so that Ctrl-C ends it without a word.

Ctrl-C goes to every process of the terminal's group. ``multiprocessing`` has its fork server ignore
it, but only once it has imported all that it was told to, which takes seconds for torch; until
then Python's own handler would print where in those imports it was. So the server is started with
the signal blocked, and the first module that it imports (:mod:`.interruptible`) lets it through
again, with the system's action in place of Python's: to die.
"""

from __future__ import annotations

import signal
from multiprocessing import forkserver, resource_tracker


def start_fork_server() -> None:
    """Start the fork server where none runs; what is started next may be a child of it."""
    resource_tracker.ensure_running()  # else started below, and it unblocks what is blocked here
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # inherited by the server
    try:
        forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
