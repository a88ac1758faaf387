"""The processes that share one GAN training.

``torchrun``, ``srun`` and Ray Train all start the same function; :func:`joined` finds out from the
environment which process this is and joins the group. A :class:`Heartbeat` watches the others: a
process that hangs makes all others wait inside a collective, where no exception can reach them, so
a thread of each of them says after a while who is missing, and ends its process.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import torch
import torch.distributed as dist

from synthtrial.errors import ConfigError, TrainingError
from synthtrial.store.files import entries

STUCK_EXIT_CODE = 75  # EX_TEMPFAIL: another try may succeed
_GROUP_TIMEOUT_FACTOR = 2.0  # the heartbeat speaks first, as it can name names


@dataclass(frozen=True)
class Ranks:
    """Which of how many processes this is.

    Attributes:
        rank: number of this process.
        size: number of processes.
    """

    rank: int = 0
    size: int = 1

    def share(self, count: int, unit: int = 1) -> slice:
        """Return this process's part of ``count`` places, cut between units of neighbours."""
        units = count // unit
        first, last = (unit * (rank * units // self.size) for rank in (self.rank, self.rank + 1))
        return slice(first, last)

    def total(self, values: torch.Tensor) -> list[float]:
        """Return the sums of some numbers over all processes, equal on all of them."""
        if self.size > 1:
            dist.all_reduce(values)
        totals: list[float] = values.tolist()
        return totals

    def barrier(self) -> None:
        """Wait for all processes."""
        if self.size > 1:
            dist.barrier()


ALONE = Ranks()


def announced(environment: Mapping[str, str]) -> tuple[Ranks, int]:
    """Return which process this is, and its number on its node, as its launcher announced it.

    Args:
        environment: of the process: ``torchrun`` sets RANK, WORLD_SIZE and LOCAL_RANK; ``srun``
            sets SLURM_PROCID, SLURM_NTASKS and SLURM_LOCALID.

    Raises:
        ConfigError: only half of it is there.
    """
    for names in (
        ("RANK", "WORLD_SIZE", "LOCAL_RANK"),
        ("SLURM_PROCID", "SLURM_NTASKS", "SLURM_LOCALID"),
    ):
        found = [environment.get(name) for name in names]
        if found[0] is not None and found[1] is not None:
            rank, size, local = (int(value or 0) for value in found)
            if size > 1 and not environment.get("MASTER_ADDR"):
                raise ConfigError(
                    f"process {rank} of {size} does not know where the first one is: export "
                    "MASTER_ADDR and MASTER_PORT before srun, or start with torchrun"
                )
            return Ranks(rank, size), local
    return ALONE, 0


@contextmanager
def joined(device: str, stuck_seconds: float) -> Iterator[Ranks]:
    """Join the processes that the launcher announced, for the time of the block.

    NCCL connects GPUs and gloo processors. A group that is there already (Ray Train makes one) is
    used and left as it is; without a launcher the process is alone.

    Args:
        device: ``cpu`` or ``cuda``.
        stuck_seconds: how long a process may keep the others waiting.

    Raises:
        ConfigError: the launcher's announcement is incomplete.
        TrainingError: the others cannot be reached.
    """
    if dist.is_initialized():
        yield Ranks(dist.get_rank(), dist.get_world_size())
        return
    ranks, local = announced(os.environ)
    if ranks.size == 1:
        yield ranks
        return
    if device == "cuda":
        torch.cuda.set_device(local % torch.cuda.device_count())
    try:
        dist.init_process_group(
            "nccl" if device == "cuda" else "gloo",
            rank=ranks.rank,
            world_size=ranks.size,
            timeout=timedelta(seconds=_GROUP_TIMEOUT_FACTOR * stuck_seconds),
        )
    except (dist.DistError, RuntimeError, ValueError) as error:
        raise TrainingError(
            f"process {ranks.rank} of {ranks.size} cannot reach the others at "
            f"{os.environ.get('MASTER_ADDR')}:{os.environ.get('MASTER_PORT')}: {error}"
        ) from error
    try:
        yield ranks
    finally:
        dist.destroy_process_group()


def _is_network(error: RuntimeError) -> bool:
    """Whether an error came out of a collective: gloo's have no class of their own."""
    return isinstance(error, dist.DistError) or "gloo" in str(error)


class Heartbeat:
    """Says within ``stuck_seconds`` which process keeps the others waiting.

    Each process leaves a small file in a folder that all of them see: how far it is, and a tick
    that goes up as long as the process runs. No clocks are compared.

    Args:
        folder: of this training.
        ranks: which process this is.
        stuck_seconds: time without progress after which this process ends, having named the
            processes that are behind.
    """

    def __init__(self, folder: Path, ranks: Ranks, stuck_seconds: float) -> None:
        self._folder, self._ranks, self._patience = folder, ranks, stuck_seconds
        self._every = max(0.05, min(10.0, stuck_seconds / 10))
        self._place = (0, 0)
        self._tick = 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Self:
        if self._ranks.size > 1:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        lost = self._ranks.size > 1 and isinstance(error, RuntimeError) and _is_network(error)
        lines = self.behind() if lost else []
        self._over.set()
        if self._thread.is_alive():
            self._thread.join()
        self._file(self._ranks.rank).unlink(missing_ok=True)
        if lost:
            raise TrainingError(
                f"rank {self._ranks.rank} lost the others: {'; '.join(lines)}. The training goes "
                "on from its last checkpoint when it is started again."
            ) from error

    def at(self, update: int, phase: int) -> None:
        """Note how far this process is: the number of its update, and a phase within it."""
        self._place = (update, phase)

    def behind(self) -> list[str]:
        """Return a line about each process that is frozen or gone or, if none is, furthest behind.

        It looks twice, some ticks apart.
        """
        self._write()
        before = self._read()
        self._over.wait(3 * self._every)
        self._write()
        after = self._read()
        lines = []
        for rank in range(self._ranks.size):
            one, two = before.get(rank), after.get(rank)
            if two is None:
                lines.append(f"rank {rank} has left no sign of life, or has ended")
            elif one is not None and one["tick"] == two["tick"]:
                lines.append(
                    f"rank {rank} (process {two['pid']} on {two['host']}) stands still at update "
                    f"{two['place'][0]}"
                )
        if lines:
            return lines
        last = min(beat["place"] for beat in after.values())
        return [
            f"rank {rank} (process {beat['pid']} on {beat['host']}) is at update "
            f"{beat['place'][0]}, phase {beat['place'][1]}, and no further"
            for rank, beat in sorted(after.items())
            if beat["place"] == last
        ]

    def _watch(self) -> None:
        seen, waited = self._place, 0.0
        self._write()
        while not self._over.wait(self._every):
            self._write()
            waited = waited + self._every if self._place == seen else 0.0
            seen = self._place
            if waited < self._patience:
                continue
            lines = self.behind()
            if self._over.is_set():
                return
            print(  # the main thread is stuck in a collective and cannot be told
                f"rank {self._ranks.rank}: no progress for {waited:.0f} s at update {seen[0]}: "
                f"{'; '.join(lines)}. The training is given up here and goes on from its last "
                "checkpoint when it is started again.",
                file=sys.stderr,
                flush=True,
            )
            os._exit(STUCK_EXIT_CODE)

    def _write(self) -> None:
        self._tick += 1
        beat = {
            "tick": self._tick,
            "place": self._place,
            "host": socket.gethostname(),
            "pid": os.getpid(),
        }
        path = self._file(self._ranks.rank)
        temporary = path.with_suffix(".new")  # no fsync: a beat that is lost is followed by another
        temporary.write_text(json.dumps(beat))
        temporary.replace(path)

    def _read(self) -> dict[int, dict[str, Any]]:
        found = {}
        for path in entries(self._folder, ".beat"):
            try:
                found[int(path.stem.rpartition("-")[2])] = json.loads(path.read_text())
            except (OSError, ValueError):  # ended, or torn: as if it had not been there
                continue
        return found

    def _file(self, rank: int) -> Path:
        return self._folder / f"rank-{rank}.beat"
