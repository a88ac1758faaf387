"""What goes on in a job, seen from this machine; ``conftest`` puts this on the path."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path


def said(*command, **more):
    """Return what a command says; it must succeed."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, **more)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def state(job):
    """Return how a job stands, as SLURM calls it."""
    found = re.search(r"JobState=(\w+)", said("scontrol", "show", "job", job))
    return found and found[1]


def processes(job, *words, host=None):
    """Return the processes of a job, on all nodes, whose command line holds these words."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            environment = (folder / "environ").read_bytes().split(b"\0")
            command = (folder / "cmdline").read_bytes().decode()
        except OSError:
            continue
        here = host is None or f"SLURMD_NODENAME={host}".encode() in environment
        mine = f"SLURM_JOB_ID={job}".encode() in environment
        if command and mine and here and all(word in command for word in words):
            found.append(int(folder.name))
    return found
