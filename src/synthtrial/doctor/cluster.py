"""Checks of SLURM from where jobs are submitted: its commands, the site profile, limits."""

from __future__ import annotations

import getpass
import os
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from synthtrial.doctor.check import Check, broken, ok, warning
from synthtrial.doctor.machine import text
from synthtrial.engines import facts
from synthtrial.engines.commands import ask
from synthtrial.engines.slurm.queue import controller_settings, submit_limit
from synthtrial.engines.slurm.sites import Site
from synthtrial.errors import EngineError
from synthtrial.progress import duration, human_bytes
from synthtrial.study import Study

COMMANDS = ("sbatch", "srun", "squeue", "scancel", "sinfo", "scontrol")
_COLUMNS = "%R|%a|%l|%n|%T|%c|%m|%G|%f"
_USABLE = re.compile(r"(idle|mixed|allocated|completing|planned|reserved|powering_up|idle~)[~#%+]?")
_GPU = re.compile(r"gpu(?::([\w.-]+))?:(\d+)")
_LIMIT = re.compile(r"(?:(\d+)-)?(?:(\d+):)?(?:(\d+):)?(\d+)")
_SMALL_BYTES = 20 * 10**9


@dataclass(frozen=True)
class Node:
    """A node in a partition, as ``sinfo`` lists it.

    Attributes:
        name: of the node.
        state: such as ``idle`` or ``drained*``.
        processors: it has.
        memory_mb: it has.
        gpus: number by type; the type is empty where none is named.
        features: that a constraint may ask for.
    """

    name: str
    state: str
    processors: int
    memory_mb: int
    gpus: Mapping[str, int]
    features: tuple[str, ...]

    @property
    def is_usable(self) -> bool:
        """Whether it runs jobs, or will when those that it has are over."""
        return _USABLE.fullmatch(self.state) is not None

    def lacks(self, site: Site) -> str:
        """Say what it has too little of for a job; empty if the job fits."""
        if self.processors < site.processors:
            return f"{self.processors} processors"
        if site.memory_gb is not None:
            wanted = 1024 * site.memory_gb * max(1, site.gpus)
            if self.memory_mb < wanted:
                return f"{self.memory_mb / 1024:.1f} GB"
        kind = site.gpu_type
        gpus = sum(self.gpus.values()) if kind is None else self.gpus.get(kind, 0)
        if gpus < site.gpus:
            return f"{gpus} GPUs{f' of type {kind}' if kind else ''}"
        plain = site.constraint and re.fullmatch(r"[\w.-]+", site.constraint)
        if plain and site.constraint not in self.features:
            return f"no feature '{site.constraint}'"
        return ""


@dataclass(frozen=True)
class Partition:
    """A partition: its name, whether it takes jobs, its time limit, its nodes."""

    name: str
    is_up: bool
    limit_seconds: float
    nodes: tuple[Node, ...]


def parse_sinfo(lines: str) -> dict[str, Partition]:
    """Read the lines of ``sinfo -h -N -a -o '%R|%a|%l|%n|%T|%c|%m|%G|%f'``."""
    found: dict[str, Partition] = {}
    for line in lines.splitlines():
        cells = line.split("|")
        if len(cells) != 9:
            continue
        name, up, limit, node, state, processors, memory, gres, features = cells
        before = found.get(name)
        gpus: dict[str, int] = {}
        for kind, count in _GPU.findall(gres):
            gpus[kind] = gpus.get(kind, 0) + int(count)
        made = Node(
            node, state, _whole(processors), _whole(memory), gpus, tuple(features.split(","))
        )
        nodes = (*(before.nodes if before else ()), made)
        found[name] = Partition(name, up == "up", limit_seconds(limit), nodes)
    return found


def _whole(cell: str) -> int:
    """Read a number that may be followed by a plus, where nodes differ."""
    return int(cell.rstrip("+") or 0)


def limit_seconds(limit: str) -> float:
    """Read a time as ``sinfo`` writes it: ``infinite``, ``D-HH:MM:SS``, ``MM:SS``."""
    match = _LIMIT.fullmatch(limit)
    if match is None:
        return float("inf")
    days, first, second, last = match.groups()
    minutes, hours = (second, first) if second is not None else (first, None)
    return ((int(days or 0) * 24 + int(hours or 0)) * 60 + int(minutes or 0)) * 60 + int(last)


def check_commands() -> tuple[list[Check], Mapping[str, str]]:
    """Check SLURM's commands; return its settings too, which are empty if it does not answer."""
    missing = [name for name in COMMANDS if shutil.which(name) is None]
    if missing:
        mend = "run this on a login node of the cluster, load its SLURM module, or --engine local"
        return [broken("SLURM", f"there is no {', '.join(missing)} on the PATH", mend)], {}
    try:
        settings = controller_settings()
    except EngineError as error:
        return [broken("SLURM", str(error), "ask those who run the cluster if this lasts")], {}
    version = settings.get("SLURM_VERSION", "of an unknown version")
    name = settings.get("ClusterName", "?")
    return [ok("SLURM", f"{version}, cluster {name}, answers")], settings


def check_profile(site: Site, name: str) -> Iterator[Check]:
    """Check that jobs of the profile fit the cluster."""
    setting = f"the site profile '{name}', or engine.slurm."
    lines, error = ask("sinfo", "-h", "-N", "-a", "-o", _COLUMNS)
    if lines is None:
        yield broken("partition", f"sinfo does not answer: {error}", "try again later")
        return
    known = parse_sinfo(lines)
    wanted = site.partition.split(",") if site.partition else [_default_partition()]
    if None in wanted:
        yield broken(
            "partition",
            "none is set, and the cluster has no default",
            f"set one of {', '.join(sorted(known))} in {setting}partition=...",
        )
        return
    names = [item for item in wanted if item is not None]
    unknown = [item for item in names if item not in known]
    if unknown:
        yield broken(
            "partition",
            f"there is no '{unknown[0]}', or this user may not see it",
            f"set one of {', '.join(sorted(known))} in {setting}partition=...",
        )
        return
    for partition in (known[item] for item in names):
        yield from _check_partition(site, partition, setting)
    if site.minutes is not None and 60 * site.minutes < 2 * site.warning_seconds + 60:
        nothing = 60 * site.minutes <= site.warning_seconds + site.start_seconds
        yield (broken if nothing else warning)(
            "time",
            f"a job of {site.minutes} min is told of its end {site.warning_seconds} s before it",
            f"set a longer time, or a shorter warning_seconds, in {setting}time=HH:MM:SS",
        )


def _default_partition() -> str | None:
    lines, _ = ask("sinfo", "-h", "-a", "-o", "%P")
    marked = [line[:-1] for line in (lines or "").split() if line.endswith("*")]
    return marked[0] if marked else None


def _check_partition(site: Site, partition: Partition, setting: str) -> Iterator[Check]:
    usable = [node for node in partition.nodes if node.is_usable]
    counts = f"{len(usable)} of {len(partition.nodes)} nodes usable"
    if not partition.is_up or not usable:
        state = "up" if partition.is_up else "not up"
        mend = f"wait until it is, or choose another in {setting}partition=..."
        yield broken("partition", f"{partition.name} is {state}, {counts}", mend)
        return
    limit = partition.limit_seconds
    endless = limit == float("inf")
    longest = "no time limit" if endless else f"at most {duration(limit)} a job"
    yield ok("partition", f"{partition.name}, up, {counts}, {longest}")
    if site.minutes is not None and 60 * site.minutes > limit:
        yield broken(
            "time",
            f"{site.time} a job; {partition.name} allows {duration(limit)}",
            f"set a shorter time in {setting}time=...",
        )
    fitting = [node for node in usable if not node.lacks(site)]
    job = _job_text(site)
    if fitting:
        yield ok("resources", f"a job ({job}) fits on {len(fitting)} nodes of {partition.name}")
    else:
        best = max(usable, key=lambda node: (sum(node.gpus.values()), node.processors))
        yield broken(
            "resources",
            f"a job ({job}) fits on no node of {partition.name}; {best.name} has "
            f"{best.lacks(site)}",
            f"ask for less in {setting}cpus, memory_gb, gpus, gpu_type; cpus and memory_gb are "
            "those of each GPU",
        )


def _job_text(site: Site) -> str:
    memory = "" if site.memory_gb is None else f", {site.memory_gb * max(1, site.gpus):g} GB"
    gpus = (
        f", {site.gpus} GPU{'s' * (site.gpus > 1)}{f' {site.gpu_type}' if site.gpu_type else ''}"
        if site.gpus
        else ""
    )
    return f"{site.processors} processors{memory}{gpus}"


def check_account(site: Site, settings: Mapping[str, str]) -> Iterator[Check]:
    """Check account and QOS where accounting knows them, and what accounting is good for."""
    _, error = ask("sacct", "-XnP", "-S", "now-1hour", "-o", "JobID")
    if error:
        yield warning(
            "accounting",
            f"sacct does not answer ({error.splitlines()[-1]}): why a job has ended is known only "
            "from what it wrote itself",
            "nothing here: jobs are followed by squeue; a task that runs out of memory is tried "
            "again without more of it",
        )
    else:
        yield ok("accounting", "sacct answers: it is known why a job ends")
    rules = set(settings.get("AccountingStorageEnforce", "").split(","))
    enforced = bool(rules & {"associations", "limits", "qos", "safe", "all"})
    user = getpass.getuser()
    lines, _ = ask("sacctmgr", "-nP", "show", "assoc", f"user={user}", "format=account,qos")
    rows = [line.split("|") for line in (lines or "").splitlines() if "|" in line]
    accounts = sorted({row[0] for row in rows})
    if site.account is not None and accounts and site.account not in accounts:
        kind = broken if enforced else warning
        mend = f"one of {', '.join(accounts)} in engine.slurm.account=..."
        yield kind("account", f"{user} does not belong to '{site.account}'", mend)
    elif site.account is not None and not accounts:
        yield ok("account", f"{site.account}; accounting does not say whose it is")
    elif site.account is not None:
        yield ok("account", site.account)
    elif enforced and not accounts:
        mend = "ask those who run the cluster for an account"
        yield warning("account", f"accounting is enforced and knows none of {user}", mend)
    if site.qos is not None:
        lines, _ = ask("sacctmgr", "-nP", "show", "qos", "format=name")
        known = sorted({item for row in rows for item in row[1].split(",") if item})
        known = known or (lines or "").split()
        if known and site.qos not in known:
            mend = f"one of {', '.join(known)} in engine.slurm.qos=..."
            yield broken("QOS", f"'{site.qos}' is not known for {user}", mend)
        else:
            yield ok("QOS", site.qos)


def check_limits(site: Site, settings: Mapping[str, str]) -> Check:
    """Say how many jobs may be queued."""
    size = int(settings.get("MaxArraySize", "1001"))
    most = site.max_submit or submit_limit(getpass.getuser(), settings)
    queued = "no limit that accounting tells" if most is None else f"at most {most} queued"
    found = f"up to {site.max_jobs} jobs at a time, arrays of up to {size - 1}, {queued}"
    if most is not None and most < 2:
        return warning("limits", found, "packs run one after another; use slurm/study.sbatch")
    if size < 2:
        return warning("limits", f"{found}: no job arrays", "every pack is submitted alone")
    return ok("limits", found)


def check_caches(study: Study, site: Site, fetched: Sequence[str]) -> Check:
    """Check where downloads go: ``$HOME`` is small or slow on many clusters."""
    home = Path.home()
    if site.caches is not None:
        folder = Path(site.caches)
        if not folder.is_absolute():
            return broken(
                "caches",
                f"'{site.caches}' is no absolute path (neither ~ nor variables are replaced)",
                "write it out in the site profile: caches: /shared/me/caches",
            )
        found = facts.storage(folder)
        if found.error:
            mend = "make it, or name another folder that all nodes see in the site profile"
            return broken("caches", f"{folder} cannot be written: {found.error}", mend)
        return ok("caches", f"{folder}, on {text(found)}")
    if not fetched:
        return ok("caches", f"none is set, and {study.name} downloads nothing")
    found = facts.storage(home)
    outside = [name for name in ("HF_HOME", "TORCH_HOME", "XDG_CACHE_HOME") if name in os.environ]
    if not outside and (found.is_network or found.free_bytes < _SMALL_BYTES):
        return warning(
            "caches",
            f"downloads ({', '.join(fetched)}) go under $HOME, on {text(found)}",
            "name a shared folder off $HOME in the site profile: caches: /shared/me/caches",
        )
    return ok("caches", f"downloads go under $HOME, {human_bytes(found.free_bytes)} free")
