"""Start processes that outlive us, find them again, and end them: also after anything was killed.

The daemons carry a mark in their environment. SLURM rewrites the environment of some of its
processes; those are known by their log file, which they hold open. What a job started is known by
the variables that SLURM gives to it, and otherwise by its parent.
"""
# ruff: noqa: S603  # every command is one of ours

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

CLUSTER = "DEVSLURM_CLUSTER"
ROLE = "DEVSLURM_ROLE"
#: Daemons live in sbin, which is on root's path only.
PATH = f"{os.environ.get('PATH', os.defpath)}:/usr/local/sbin:/usr/sbin:/sbin".lstrip(":")
PROGRAMS = ("slurmctld", "slurmd", "scontrol", "sinfo", "squeue", "srun", "munged", "setsid")
ACCOUNTING_PROGRAMS = ("slurmdbd", "mariadbd", "sacctmgr")
NAMESPACE_PROGRAMS = ("ip", "unshare")
INSTALL = (
    "apt-get install -y --no-install-recommends "
    "slurmctld slurmd slurm-client munge slurmdbd mariadb-server-core iproute2"
)
#: What `wait_until` sleeps between two looks.
PAUSE_SECONDS = 0.05


class DevSlurmError(Exception):
    """Something that the user can put right; its text says how."""


def missing_packages(*, accounting: bool = True, namespaces: bool = True) -> str | None:
    """What to do about programs that are not installed, in one line; None where all are there."""
    wanted = [*PROGRAMS]
    wanted += ACCOUNTING_PROGRAMS if accounting else ()
    wanted += NAMESPACE_PROGRAMS if namespaces else ()
    absent = [name for name in wanted if shutil.which(name, path=PATH) is None]
    return f"no {', '.join(absent)} on this machine; Debian has them: {INSTALL}" if absent else None


def marked(cluster: str, role: str, **more: str) -> dict[str, str]:
    """The whole environment of a daemon, in which `find` recognises it."""
    kept = {name: os.environ[name] for name in ("HOME", "LANG", "USER") if name in os.environ}
    return {**kept, "PATH": PATH, **more, CLUSTER: cluster, ROLE: role}


def start(command: Sequence[str], log: Path, environment: Mapping[str, str]) -> None:
    """Start a program that puts itself into the background; what it says goes to its log."""
    with log.open("ab") as file:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, stdout=file, stderr=file, env=environment, timeout=60
        )
    if done.returncode:
        raise DevSlurmError(f"{command[0]} does not start; its log ends with:\n{tail(log)}")


def run(
    command: Sequence[str],
    *,
    timeout_seconds: float = 60,
    environment: Mapping[str, str] | None = None,
    cwd: str | os.PathLike[str] | None = None,
    stdin: str = "",
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end and return what it said."""
    return subprocess.run(
        command,
        input=stdin,
        capture_output=True,
        text=True,
        timeout=timeout_seconds,
        env=environment if environment is not None else {**os.environ, "PATH": PATH},
        cwd=cwd,
    )


def tail(log: Path, lines: int = 12) -> str:
    """The last lines of a log, indented."""
    text = log.read_text(errors="replace") if log.exists() else ""
    return "\n".join(f"  {line}" for line in text.splitlines()[-lines:]) or "  (it is empty)"


def wait_until(condition: Callable[[], bool], seconds: float) -> bool:
    """Look until it is so; false where it was not so in time."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(PAUSE_SECONDS)
    return True


def find(cluster: str, folder: Path, role: str | None = None) -> list[int]:
    """Processes of a cluster that are not dead, or those of one role (a daemon or a node).

    Args:
        cluster: Its name.
        folder: Its folder.
        role: `munged`, `mariadbd`, `slurmdbd`, `slurmctld`, or a node's name.
    """
    mark, role_mark = f"{CLUSTER}={cluster}".encode(), f"{ROLE}={role}".encode()
    job_mark, node_mark = (
        f"SLURM_CLUSTER_NAME={cluster}".encode(),
        f"SLURMD_NODENAME={role}".encode(),
    )
    members = set()
    for process in _processes():
        environ = _environ(process)
        if mark in environ:
            ours = role is None or role_mark in environ
        elif job_mark in environ:  # a shell of salloc has it too, but is on no node: we leave it
            on_a_node = any(line.startswith(b"SLURMD_NODENAME=") for line in environ)
            ours = on_a_node if role is None else node_mark in environ
        else:
            log = _open_log(process, folder) if _name(process).startswith("slurm") else ""
            ours = log == role if role else bool(log)
        if ours:
            members.add(process)
    steps = [process for process in members if _name(process).startswith("slurmstepd")]
    return sorted((members | _descendants(steps)) - {os.getpid()})


def kill(which: Callable[[], list[int]], seconds: float = 20) -> bool:
    """Kill processes until none is left, nor came while we looked; false where some were left."""
    looks = 0

    def none_left() -> bool:
        nonlocal looks
        found = which()
        for process in found:
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        looks = 0 if found else looks + 1
        return looks > 1

    return wait_until(none_left, seconds)


def identity(process: int) -> str:
    """A process, told from later ones with its number; empty where there is none."""
    fields = _stat(process)
    return f"{process}:{fields[19]}" if fields and fields[0] not in "ZX" else ""


def is_first(process: int) -> bool:
    """Whether this is process 1 of a namespace of its own."""
    with suppress(OSError):
        for line in Path(f"/proc/{process}/status").read_text().splitlines():
            if line.startswith("NSpid:"):
                numbers = line.split()[1:]
                return len(numbers) > 1 and numbers[-1] == "1"
    return False


def _processes() -> Iterator[int]:
    return (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit())


def _environ(process: int) -> list[bytes]:
    with suppress(OSError):
        return Path(f"/proc/{process}/environ").read_bytes().split(b"\0")
    return []


def _stat(process: int) -> list[str]:
    """The fields of stat behind the name: state, parent, ..."""
    with suppress(OSError):
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return []


def _name(process: int) -> str:
    """The name of a process's program; empty for the dead."""
    with suppress(OSError):
        return Path(f"/proc/{process}/exe").readlink().name
    return ""


def _open_log(process: int, folder: Path) -> str:
    """The log in the cluster's folder that a process has open, by its stem; empty where none."""
    with suppress(OSError):
        for entry in Path(f"/proc/{process}/fd").iterdir():
            with suppress(OSError):
                target = entry.readlink()
                if target.parent == folder / "log":
                    return target.stem
    return ""


def _descendants(roots: Sequence[int]) -> set[int]:
    children: dict[int, list[int]] = {}
    if roots:
        for process in _processes():
            fields = _stat(process)
            if fields and fields[0] not in "ZX":
                children.setdefault(int(fields[1]), []).append(process)
    found: set[int] = set()
    ahead = list(roots)
    while ahead:
        process = ahead.pop()
        if process not in found:
            found.add(process)
            ahead += children.get(process, [])
    return found
