"""What SLURM knows about jobs: one question for all of them, asked rarely.

``sacct`` knows pending, running and ended jobs, and why they ended. Where there is no accounting,
``squeue`` knows the first two, and a job that it no longer lists has ended for an unknown reason.
A question that SLURM does not answer says nothing about any job.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from synthtrial.engines.commands import ask
from synthtrial.errors import EngineError

#: The states in which a job may still run: all that is not over.
ALIVE = frozenset(
    {
        "PENDING",
        "RUNNING",
        "REQUEUED",
        "REQUEUE_FED",
        "REQUEUE_HOLD",
        "SUSPENDED",
        "CONFIGURING",
        "COMPLETING",
        "RESIZING",
        "SIGNALING",
        "STAGE_OUT",
        "STOPPED",
        "SPECIAL_EXIT",
        "RESV_DEL_HOLD",
    }
)
_FIELDS = "JobID,JobName,State,ExitCode,NodeList"
_RANGE = re.compile(r"(\d+)_\[([\d,\-]+)(?:%\d+)?\]")
_SETTING = re.compile(r"^(\w+)\s+=\s*(.*?)\s*$", re.MULTILINE)


@dataclass(frozen=True)
class JobInfo:
    """What SLURM says about one job or one element of an array.

    Attributes:
        state: such as ``RUNNING``, ``TIMEOUT``, ``OUT_OF_MEMORY``; without details.
        detail: the whole of it, such as ``CANCELLED by 1000``, or why it is pending.
        nodes: where it runs or ran.
        exit_code: ``code:signal``.
        name: of the job.
    """

    state: str
    detail: str = ""
    nodes: str = ""
    exit_code: str = ""
    name: str = ""

    @property
    def alive(self) -> bool:
        """Whether it is, or may again be, queued or running."""
        return self.state in ALIVE


class Queue:
    """Asks SLURM about jobs of one user.

    Attributes:
        lists_all: whether a job that is absent from the last answer is over. ``sacct`` learns of a
            job some seconds late, so its silence means nothing; ``squeue`` lists all that is alive.
    """

    def __init__(self, *, accounting: bool = True) -> None:
        self._accounting = accounting
        self.lists_all = False

    def ask(self, job_ids: Collection[str], since: float) -> Mapping[str, JobInfo] | None:
        """Return what is known of jobs; those that SLURM does not know are absent.

        Args:
            job_ids: of jobs and arrays; an array's elements are reported as ``array_index``.
            since: when the first of them was submitted, in seconds since the epoch.

        Returns:
            By job id; None if SLURM does not answer at all.
        """
        if not job_ids:
            return {}
        if self._accounting:
            begin = time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(since - 3600))
            ids = ",".join(sorted(job_ids))
            text, error = ask("sacct", "-XnP", "-S", begin, "-o", _FIELDS, "-j", ids)
            if text is not None:
                self.lists_all = False
                return parse_sacct(text)
            # Without accounting there is no use in asking again; a database may come back.
            self._accounting = not ("disabled" in error or "not found" in error)
        text, _ = ask("squeue", "-har", "-u", str(os.getuid()), "-o", "%i|%j|%T|%r|%N")
        if text is None:
            return None
        self.lists_all = True
        found = parse_squeue(text)
        return {id_: info for id_, info in found.items() if id_.partition("_")[0] in job_ids}

    def find(self, name: str) -> str | None:
        """Return the id of the job or array of this name that is queued or running."""
        text, _ = ask("squeue", "-ha", "-u", str(os.getuid()), "-n", name, "-o", "%A")
        return text.split()[0] if text and text.strip() else None


def parse_sacct(text: str) -> dict[str, JobInfo]:
    """Read the lines of ``sacct -XnP``, arrays spelled out."""
    found = {}
    for line in text.splitlines():
        parts = line.split("|")
        if len(parts) < 5:
            continue
        job, name, state, exit_code, nodes = parts[:5]
        info = JobInfo(
            state.split(" ")[0].rstrip("+"),
            state,
            "" if nodes.startswith("None") else nodes,
            exit_code,
            name,
        )
        for id_ in spelled_out(job):
            found[id_] = info
    return found


def parse_squeue(text: str) -> dict[str, JobInfo]:
    """Read the lines of ``squeue -har -o '%i|%j|%T|%r|%N'``."""
    found = {}
    for line in text.splitlines():
        parts = line.split("|")
        if len(parts) == 5:
            job, name, state, reason, nodes = parts
            for id_ in spelled_out(job):
                detail = reason if state == "PENDING" else state
                found[id_] = JobInfo(state, detail, nodes, "", name)
    return found


def spelled_out(job: str) -> Sequence[str]:
    """Return the ids that one of SLURM's stands for: ``7_[1-3,5%2]`` is 7_1, 7_2, 7_3 and 7_5."""
    match = _RANGE.fullmatch(job)
    if match is None:
        return [job]
    ids = []
    for part in match[2].split(","):
        first, _, last = part.partition("-")
        ids += [f"{match[1]}_{n}" for n in range(int(first), int(last or first) + 1)]
    return ids


def controller_settings() -> Mapping[str, str]:
    """Return SLURM's configuration.

    Raises:
        EngineError: SLURM does not answer.
    """
    text, error = ask("scontrol", "show", "config")
    if text is None:
        raise EngineError(
            f"SLURM does not answer `scontrol show config` ({error or 'no reason given'}): run "
            "this where SLURM's commands work, such as a login node, or use --engine local"
        )
    return dict(_SETTING.findall(text))


def submit_limit(user: str, settings: Mapping[str, str]) -> int | None:
    """Return how many jobs the user may have queued, where SLURM's configuration enforces that."""
    if not {"limits", "safe", "all"} & set(settings.get("AccountingStorageEnforce", "").split(",")):
        return None
    limits = "format=MaxSubmitJobs,GrpSubmitJobs"
    text, _ = ask("sacctmgr", "-nP", "show", "assoc", f"user={user}", limits)
    numbers = [int(n) for n in re.findall(r"\d+", text or "")]
    return min((n for n in numbers if n), default=None)


def cancel(job_ids: Collection[str]) -> None:
    """Cancel jobs; those that are over are left as they are.

    Raises:
        EngineError: SLURM refuses.
    """
    if not job_ids:
        return
    answer, error = ask("scancel", *job_ids)
    if answer is None and "Invalid job id" not in error:
        raise EngineError(f"scancel {' '.join(job_ids)} failed: {error}")


def last_lines(path: Path, lines: int) -> list[str]:
    """Return the last lines of a log without reading all of it."""
    try:
        with path.open("rb") as file:
            file.seek(0, os.SEEK_END)
            file.seek(max(0, file.tell() - 400 * lines))
            text = file.read().decode(errors="replace")
    except OSError:
        return []
    return text.splitlines()[-lines:]
