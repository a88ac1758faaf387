"""What a run asks of a cluster that can grow: a target for Ray's autoscaler, which no other hears.

The engine hands out what the nodes there are have room for, and that alone makes nothing grow. A
node takes minutes to come, so it is asked for only where it would have minutes of work.
"""

from __future__ import annotations

import math
import time

from synthtrial.engines.ray.seats import Request

_WORTH_SECONDS = 120.0  # of work, for one worker more
_MOST = 1000
_ASK_SECONDS = 15.0  # between two targets, unless it rises


def target(tasks: int, seconds: float) -> int:
    """Return how many workers tasks are worth that should take so many seconds in all."""
    return min(tasks, _MOST, max(1, math.ceil(seconds / _WORTH_SECONDS)))


class Demand:
    """The target of this run."""

    def __init__(self) -> None:
        self._asked: tuple[Request, int] | None = None
        self._asked_at = float("-inf")

    def ask(self, request: Request, workers: int) -> None:
        """Have the cluster grow to hold so many, or let it shrink; what runs is counted in.

        Args:
            request: what each is given.
            workers: how many of them.
        """
        rises = self._asked is None or workers > self._asked[1]
        if self._asked == (request, workers):
            return
        if not rises and time.monotonic() - self._asked_at < _ASK_SECONDS:
            return
        from ray.autoscaler.sdk import request_resources

        self._asked, self._asked_at = (request, workers), time.monotonic()
        request_resources(bundles=[request.resources] * workers)

    def withdraw(self) -> None:
        """Ask for nothing more."""
        if self._asked is not None:
            self._asked_at = float("-inf")
            self.ask(self._asked[0], 0)
