"""How busy the machine was while something was measured; sampled from ``/proc``: Linux only."""

from __future__ import annotations

import os
import time
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")


def busy_seconds() -> float:
    """Return the seconds that the machine's processors have worked, or could not for the host."""
    user, nice, system, _idle, _wait, *interrupts_and_steal = map(
        int, Path("/proc/stat").read_text().split(maxsplit=9)[1:9]
    )
    return (user + nice + system + sum(interrupts_and_steal)) / TICKS


def descendants(root: int) -> dict[int, float]:
    """Return the processor seconds of a process and of all that descend from it, by pid."""
    parents, seconds = {}, {}
    for entry in os.listdir("/proc"):  # noqa: PTH208 - often called
        if entry.isdigit():
            try:
                stat = Path("/proc", entry, "stat").read_text()
            except OSError:  # it has ended
                continue
            fields = stat.rpartition(")")[2].split()
            parents[int(entry)] = int(fields[1])
            seconds[int(entry)] = (int(fields[11]) + int(fields[12])) / TICKS
    family = {root}
    grown = True
    while grown:
        more = {pid for pid, parent in parents.items() if parent in family} - family
        family |= more
        grown = bool(more)
    return {pid: seconds[pid] for pid in family & seconds.keys()}


class Foreign:
    """Cores that other work took since this was made; of this process's children, living ones."""

    def __init__(self) -> None:
        self._began = self._sample()

    def cores(self) -> float:
        """Return them, on average over the time."""
        wall, busy, own = (
            now - then for now, then in zip(self._sample(), self._began, strict=True)
        )
        return max(0.0, busy - own) / wall

    @staticmethod
    def _sample() -> tuple[float, float, float]:
        return time.monotonic(), busy_seconds(), sum(descendants(os.getpid()).values())
