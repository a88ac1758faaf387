"""What a machine says of itself: storage, GPUs, torch, network. For checks; nothing is judged here.

All of it goes through JSON, from a compute node to where the question was asked.
"""

from __future__ import annotations

import os
import re
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from urllib.error import URLError
from urllib.request import Request, urlopen

from synthtrial.engines.commands import ask

_NETWORK = re.compile(r"nfs|lustre|gpfs|beegfs|ceph|cifs|smb|afs|9p|orangefs|pvfs|weka|glusterfs")
_MEMORY = ("tmpfs", "ramfs")
_ASK_SECONDS = 20.0
_INTERNET = "https://pypi.org/simple/"
_INTERNET_SECONDS = 4.0


@dataclass(frozen=True)
class Storage:
    """What a folder lies on.

    Attributes:
        path: of the folder, or of the nearest one above it that exists.
        kind: of the file system, such as ``ext4`` or ``lustre``.
        source: device or server.
        free_bytes: that this user may still write, quotas left aside.
        free_files: likewise; None where the file system counts none.
        error: why nothing can be written there; empty if something can.
    """

    path: str
    kind: str
    source: str
    free_bytes: int
    free_files: int | None
    error: str

    @property
    def is_network(self) -> bool:
        """Whether other machines may see it too, and small files cost a round trip."""
        return _NETWORK.search(self.kind) is not None

    @property
    def is_memory(self) -> bool:
        """Whether a reboot empties it."""
        return self.kind in _MEMORY


@dataclass(frozen=True)
class Gpu:
    """A GPU, in the words of ``nvidia-smi``."""

    name: str
    compute_mode: str
    driver: str
    memory: str


@dataclass(frozen=True)
class Torch:
    """What torch says when it is used.

    Attributes:
        version: empty if it cannot be imported.
        seconds: that the import took.
        cuda: names of the GPUs that it has computed on.
        error: of the import, or of the first sum on a GPU.
    """

    version: str
    seconds: float
    cuda: list[str] = field(default_factory=list)
    error: str = ""


def existing(path: Path) -> Path:
    """Return a folder, or the nearest one above it that exists."""
    path = path.expanduser().absolute()
    return next(p for p in (path, *path.parents) if p.is_dir())


def storage(path: Path) -> Storage:
    """Look at what a folder lies on, or will, by writing a small file that is gone again."""
    folder = existing(path)
    error = ""
    try:
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".synthtrial-") as file:
            file.write(b"x" * 4096)
            file.flush()
            os.fsync(file.fileno())
    except OSError as problem:
        error = problem.strerror or str(problem)
    free = os.statvfs(folder)
    kind, source = _mount(folder)
    return Storage(
        path=str(folder),
        kind=kind,
        source=source,
        free_bytes=free.f_bavail * free.f_frsize,
        free_files=free.f_favail if free.f_files else None,
        error=error,
    )


def _mount(folder: Path) -> tuple[str, str]:
    """Return kind and source of the mount that holds a folder; the last mounted of several."""
    place, found, longest = folder.resolve(), ("unknown", "unknown"), -1
    try:
        lines = Path("/proc/self/mountinfo").read_text().splitlines()
    except OSError:
        return found
    for line in lines:
        before, _, after = line.partition(" - ")
        point = Path(before.split(" ")[4].encode().decode("unicode_escape"))
        if place.is_relative_to(point) and len(point.parts) >= longest:
            longest = len(point.parts)
            kind, source = after.split(" ")[:2]
            found = (kind, source)
    return found


def nvidia_gpus() -> list[Gpu] | None:
    """Ask ``nvidia-smi``; None where there is none, or it does not answer."""
    query = "--query-gpu=name,compute_mode,driver_version,memory.total"
    text, _ = ask("nvidia-smi", query, "--format=csv,noheader", timeout_seconds=_ASK_SECONDS)
    if text is None:
        return None
    rows = [[cell.strip() for cell in line.split(",")] for line in text.splitlines()]
    return [Gpu(*row) for row in rows if len(row) == 4]


def use_torch() -> Torch:
    """Import torch and compute something on every GPU that it sees."""
    began = time.monotonic()
    try:
        import torch
    except (ImportError, OSError, RuntimeError) as error:
        return Torch("", time.monotonic() - began, error=str(error))
    seconds = time.monotonic() - began
    names: list[str] = []
    try:
        for index in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
            torch.ones(8, device=f"cuda:{index}").sum().item()
            names.append(torch.cuda.get_device_name(index))
    except RuntimeError as error:
        text = str(error).strip().splitlines()[0]
        return Torch(torch.__version__, seconds, names, text)
    return Torch(torch.__version__, seconds, names)


def seconds_since_start() -> float:
    """Return how long this process has been alive: what it took to get here."""
    try:
        started = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
        up = float(Path("/proc/uptime").read_text().split()[0])
    except (OSError, ValueError, IndexError):
        return 0.0
    return max(0.0, up - started / os.sysconf("SC_CLK_TCK"))


def reaches_internet() -> bool:
    """Say whether a package index answers, by a proxy where the environment names one."""
    answers = []

    def ask() -> None:
        try:
            with urlopen(Request(_INTERNET, method="HEAD"), timeout=_INTERNET_SECONDS):
                answers.append(True)
        except (TimeoutError, URLError, OSError, ValueError):
            return

    # In a thread: the look-up of a name has no time limit of its own.
    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(2 * _INTERNET_SECONDS)
    return bool(answers)
