"""Which worker goes where: processors and GPUs of a machine, and how many workers share each.

Nothing here imports torch or starts CUDA. The driver forks its workers from a process that must
not have done so either, and a GPU that the driver had opened would hold memory for nothing.
"""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from synthtrial.engine_config import EngineConfig

VISIBLE = "CUDA_VISIBLE_DEVICES"
_DRIVER = Path("/proc/driver/nvidia/gpus")
_NODES = Path("/dev")
_NAME = re.compile(r"\d+|(GPU|MIG)-[\w./-]+")  # an index, or the UUID of a GPU or of a part of one
_MINOR = re.compile(r"^Device Minor:\s*(\d+)", re.MULTILINE)


@dataclass(frozen=True)
class Device:
    """What workers share: a GPU, or the machine itself where no GPU is used.

    Attributes:
        gpu: what a worker's ``CUDA_VISIBLE_DEVICES`` is to be; None leaves it as it is.
        seats: number of workers.
    """

    gpu: str | None
    seats: int


def host_name() -> str:
    """Return the name of this machine."""
    return socket.gethostname()


def available_processors() -> int:
    """Return the number of processors that this process may use, not those of the machine."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def visible_gpus() -> tuple[str, ...]:
    """Return the GPUs that this process may use, as ``CUDA_VISIBLE_DEVICES`` would name them.

    That variable counts where it is set, as SLURM does, read as CUDA reads it: up to the first name
    that is none. Otherwise the kernel's NVIDIA driver is asked which GPUs there are, and each
    counts whose device file may be opened, as a container or a job may hold only some. None counts
    when the installed torch cannot use them.

    A GPU that the driver does not list in ``/proc`` (AMD's, or in WSL) is not found: set the
    variable there. No run of ours has seen a real GPU here; the rules are tested on declared ones.
    """
    declared = os.environ.get(VISIBLE)
    if declared is None:
        count = _openable_gpus() if _torch_has_cuda() else 0
        return tuple(str(index) for index in range(count))
    names = []
    for item in declared.split(","):
        name = item.strip()
        if not _NAME.fullmatch(name):
            break
        names.append(name)
    return tuple(names)


def devices(settings: EngineConfig) -> tuple[Device, ...]:
    """Return what the workers of this machine share, and how many share each.

    Args:
        settings: ``workers`` are dealt out to the GPUs one after another; by default each GPU gets
            ``trials_per_gpu`` of them. Without GPUs there is one worker for each processor.
    """
    gpus = () if settings.device == "cpu" else visible_gpus()
    if not gpus:
        return (Device(None, settings.workers or available_processors()),)
    workers = settings.workers or settings.trials_per_gpu * len(gpus)
    seats = [workers // len(gpus) + (index < workers % len(gpus)) for index in range(len(gpus))]
    return tuple(Device(gpu, count) for gpu, count in zip(gpus, seats, strict=True) if count)


def describe(found: Sequence[Device]) -> str:
    """Return one line for logs: host, processors, workers and GPUs."""
    place = f"{host_name()}: {_processors_text()}"
    shares = [f"GPU {device.gpu}: {_workers(device)}" for device in found if device.gpu is not None]
    if shares:
        return f"{place}; {', '.join(shares)}"
    return f"{place}, {', '.join(map(_workers, found))} of one thread; GPUs: none"


def _workers(device: Device) -> str:
    return f"{device.seats} worker{'s' * (device.seats != 1)}"


def _processors_text() -> str:
    """Write the processors of the affinity mask as SLURM and ``taskset`` do: ``0-3,8``."""
    if not hasattr(os, "sched_getaffinity"):
        return f"{available_processors()} processors"
    runs: list[list[int]] = []
    for number in sorted(os.sched_getaffinity(0)):
        if runs and number == runs[-1][-1] + 1:
            runs[-1][1:] = [number]
        else:
            runs.append([number])
    return f"processors {','.join('-'.join(map(str, run)) for run in runs)}"


def _openable_gpus() -> int:
    """Count the GPUs of the kernel's driver; access(2) asks the device rules of cgroups too."""
    count = 0
    for path in sorted(_DRIVER.glob("*/information")):
        minor = _MINOR.search(path.read_text(encoding="utf-8", errors="replace"))
        if minor and os.access(_NODES / f"nvidia{minor[1]}", os.R_OK | os.W_OK):
            count += 1
    return count


def _torch_has_cuda() -> bool:
    """Say whether the installed torch was built for CUDA, from its files, without importing it."""
    found = find_spec("torch")
    library = Path((found and found.origin) or "torch/__init__.py").parent / "lib"
    return any(library.glob("*torch_cuda*"))
