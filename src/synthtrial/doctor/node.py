"""Judges what a probe has seen on a compute node, or why it has seen nothing."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from synthtrial import __version__
from synthtrial.doctor.check import Check, broken, ok, warning
from synthtrial.doctor.machine import check_gpus, check_torch, judge_cache
from synthtrial.engines.facts import Gpu, Storage, Torch
from synthtrial.engines.slurm.probe import Found
from synthtrial.engines.slurm.sites import Site
from synthtrial.identity import code_digest
from synthtrial.progress import duration
from synthtrial.study import Study

_CLOCK_SECONDS = 5.0
_SLOW_SECONDS = 30.0
_LOG_LINES = 12
#: How shells and module systems say that a line of `setup` did nothing; the job goes on.
_SETUP_FAILED = re.compile(
    r"command not found|No such file or directory|Unable to locate a modulefile"
    r"|The following module\(s\) are unknown"
)


def check_probe(study: Study, site: Site, found: Found, folder: Path) -> Iterator[Check]:
    """Judge a probe: its answer, or what became of its job.

    Args:
        study: the study.
        site: profile of the cluster.
        found: what came of the probe.
        folder: of the probe.
    """
    if found.answer is None:
        yield _silence(study, found, folder)
        return
    answer = found.answer
    yield ok("probe job", f"{found.job_id} on {answer['host']}, answered in {found.seconds:.0f} s")
    failed = [line for line in found.log or [] if _SETUP_FAILED.search(line)]
    if failed:
        yield warning(
            "setup", failed[0], "mend `setup` of the site profile: a line of it had no effect"
        )
    yield from _python(answer)
    yield _locks(answer)
    if answer["study"]:
        yield broken(
            "plug-ins",
            f"the study cannot be read on the node: {answer['study']}",
            "install its plug-ins into the Python of the jobs too",
        )
    else:
        yield from _data(study, answer)
        yield _scratch(answer)
    yield _processors(site, answer)
    yield from _gpus(study, site, answer)
    yield _clock(found)
    yield ok(
        "internet",
        f"{'reached' if answer['internet'] else 'not reached'} from the node; the study needs none "
        f"there after `{study.command('fetch')}`",
    )
    yield _submits(site, answer)


def _silence(study: Study, found: Found, folder: Path) -> Check:
    info = found.info
    name = "probe job"
    waited = duration(found.seconds)
    if info is None:
        return warning(
            name,
            f"{found.job_id}: SLURM has said nothing of it for {waited}; it was cancelled",
            "try again; if it stays so, ask those who run the cluster",
        )
    told = f" ({info.detail})" if info.detail not in ("", "None", info.state) else ""
    if info.state in ("PENDING", "CONFIGURING", "REQUEUED"):
        if found.is_hopeless:
            mend = "change the site profile: SLURM's reason says what it does not allow"
            return broken(name, f"{found.job_id} would wait for ever{told}; it was cancelled", mend)
        return warning(
            name,
            f"{found.job_id} has waited for {waited}{told} and was cancelled: the queue is long, "
            "so nothing is known of the compute nodes yet",
            f"`squeue --start -p PARTITION` shows the queue; later, or in tmux: synthtrial doctor "
            f"{study.name} --engine slurm --wait {max(60, 4 * round(found.seconds / 60))}",
        )
    if info.alive:
        return broken(
            name,
            f"{found.job_id} on {info.nodes} is {info.state} after {waited} and has not answered",
            "log in there or ask those who run the cluster; slow storage under Python is one cause",
        )
    code = f", exit code {info.exit_code}" if info.exit_code else ""
    ended = f"{found.job_id} on {info.nodes or '?'} ended as {info.state}{code}"
    if found.log is None:
        return broken(
            name,
            f"{ended} and left no log: the node does not see {folder.parent}, or may not write "
            "there",
            "put the store on storage that all nodes see at one path: store.path=...",
        )
    lines = "".join(f"\n{'':25}| {line}" for line in found.log[-_LOG_LINES:])
    return broken(
        name,
        f"{ended} before it could answer; "
        + (f"the end of its log:{lines}" if lines else "its log is empty"),
        "mend `setup` and `python` of the site profile, so that `python -m synthtrial --version` "
        "works in a job",
    )


def _python(answer: dict[str, Any]) -> Iterator[Check]:
    seconds = answer["start_seconds"]
    what = f"Python {answer['python']} with synthtrial is up in {seconds:.1f} s"
    if answer["digest"] != code_digest() or answer["version"] != __version__:
        yield broken(
            "source",
            f"the node runs synthtrial {answer['version']} ({answer['digest']}) from "
            f"{answer['package']}, not the copy that was sent ({__version__}, {code_digest()})",
            "let PYTHONPATH through to the Python of the jobs (no `python -I` or `-E`, no "
            "`--cleanenv` of a container), and mount the store's storage in a container",
        )
    if seconds > _SLOW_SECONDS:
        yield warning(
            "Python",
            what,
            "its files are on slow storage: put the environment on a faster one or into a "
            f"container; till then engine.slurm.start_seconds={round(seconds) + 10}",
        )
    else:
        yield ok("Python", f"{what} ({answer['executable']})")
    torch = Torch(**answer["torch"])
    yield from check_torch(torch, "install it into the Python of the jobs (`python` of the site)")


def _locks(answer: dict[str, Any]) -> Check:
    if answer["lock_is_held"]:
        return ok("locks, nodes", "a lock that is held here is seen as held there")
    return broken(
        "locks, nodes",
        f"a lock that is held here looks free on {answer['host']}",
        "put the store on storage whose locks hold between nodes (NFS 4, Lustre mounted with "
        "`flock` and not `localflock`): store.path=...",
    )


def _data(study: Study, answer: dict[str, Any]) -> Iterator[Check]:
    if "data_error" in answer:
        yield broken(
            "data, nodes",
            answer["data_error"],
            f"put the files of {study.dataset.name} where all nodes see them",
        )
    elif "rows" in answer:
        yield ok("data, nodes", f"{study.dataset.name}: {answer['rows']:,} images are there")


def _scratch(answer: dict[str, Any]) -> Check:
    mend = "set `scratch` of the site profile to a node-local folder, such as $TMPDIR"
    if "scratch_error" in answer:
        return broken("scratch", answer["scratch_error"], mend)
    known = dict(answer["scratch"])
    wanted = known.pop("wanted")
    check = judge_cache(Storage(**known), wanted, mend)
    return Check(check.state, "scratch", check.found, check.mend)


def _processors(site: Site, answer: dict[str, Any]) -> Check:
    got, asked = answer["processors"], site.processors
    found = f"{got} of {answer['node_processors']} may be used, {asked} were asked for"
    if got < asked:
        return warning(
            "processors",
            found,
            "workers share them: ask for fewer with engine.slurm.cpus, or look how the site counts "
            "hardware threads (extra: {hint: nomultithread})",
        )
    return ok("processors", found)


def _gpus(study: Study, site: Site, answer: dict[str, Any]) -> Iterator[Check]:
    nvidia = None if answer["nvidia"] is None else [Gpu(**gpu) for gpu in answer["nvidia"]]
    engine = study.settings.engine
    if engine.device == "cpu":
        if site.gpus:
            found = f"{site.gpus} for each job, and engine.device=cpu uses none"
            yield warning("GPUs", found, "engine.slurm.gpus=0, or engine.device=auto")
        return
    yield from check_gpus(Torch(**answer["torch"]), nvidia, site.gpus, engine.trials_per_gpu)


def _clock(found: Found) -> Check:
    assert found.answer is not None
    clock = found.answer["clock"]
    ahead, behind = clock - found.read_at, found.sent_at - clock
    if ahead > _CLOCK_SECONDS or behind > _CLOCK_SECONDS:
        off = f"at least {duration(max(ahead, behind))} {'ahead' if ahead > behind else 'behind'}"
        return warning(
            "clock",
            f"that of {found.answer['host']} is {off}",
            "tell those who run the cluster: jobs may misjudge how much time they have left",
        )
    return ok("clock", "agrees, as far as can be seen")


def _submits(site: Site, answer: dict[str, Any]) -> Check:
    refused = answer["submits"]
    if not refused:
        return ok("from jobs", "a job may submit jobs: `run --detach` works")
    if not site.jobs_may_submit:
        return ok("from jobs", "a job may not submit jobs, as the site profile says")
    return warning(
        "from jobs",
        f"a job cannot submit jobs ({refused}): `run --detach` would stop after its first jobs",
        "set jobs_may_submit: false in the site profile; keep `synthtrial run` running in tmux, or "
        "use one allocation: sbatch slurm/study.sbatch",
    )
