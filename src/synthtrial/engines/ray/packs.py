"""How much a pack of trials should hold: enough that its start costs little, and no more.

Packs shrink towards the end, so that the workers end at about the same time (guided
self-scheduling, Polychronopoulos and Kuck 1987).
"""

from __future__ import annotations

from synthtrial.engine_config import EngineConfig
from synthtrial.engines.placement import available_processors, visible_gpus

MOST_TASKS = 200
_SECONDS = 10.0  # of work; handing one out takes some hundredths of a second
_SHARE = 0.5  # of what is left for each worker


class Pace:
    """Learns how long trials take here, against what was expected of them."""

    def __init__(self) -> None:
        self._expected = self._measured = 0.0

    def note(self, expected: float, measured: float) -> None:
        """Take in how long a trial took, in seconds."""
        self._expected += expected
        self._measured += measured

    def expected(self, seconds: float) -> float:
        """Return what a trial should take that is said to take so long."""
        if not self._expected or not self._measured:
            return seconds
        return seconds * self._measured / self._expected

    def target(self, left: float, workers: int) -> float:
        """Return the seconds of work that the next pack should hold.

        Args:
            left: expected seconds of all trials that wait.
            workers: that share them.
        """
        return min(_SECONDS, _SHARE * self.expected(left) / max(1, workers))


def text(tasks: int, settings: EngineConfig) -> str:
    """Say in a few words how so many tasks would be run, without a look at the cluster."""
    ray = settings.ray
    packs = f"{tasks} tasks, trials in packs of about {_SECONDS:g} s of work"
    if ray.address is not None:
        return f"{packs}, over the Ray cluster at {ray.address}"
    gpus = 0 if settings.device == "cpu" else len(visible_gpus())
    if gpus:
        place = f"{settings.trials_per_gpu} on each of {gpus} GPUs"
    else:
        workers = settings.workers or available_processors() // ray.cpus_per_task
        place = f"{workers} at a time"
    return f"{packs}, {place}, over a private Ray cluster on this machine"
