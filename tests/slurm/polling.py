"""Wait for what a cluster does in its own time; ``conftest`` puts this on the path."""

from __future__ import annotations

import time


def wait_for(condition, seconds=200):
    """Return the first true value of ``condition()``."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, "it has not come about"
        time.sleep(0.1)
    return found
