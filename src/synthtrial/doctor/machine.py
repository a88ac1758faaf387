"""Checks of this machine: the store and what it lies on, and what local workers would use."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Iterator
from pathlib import Path

from synthtrial import __version__
from synthtrial.doctor.check import Check, broken, ok, warning
from synthtrial.engines import facts
from synthtrial.engines.facts import Storage, Torch
from synthtrial.engines.placement import available_processors, visible_gpus
from synthtrial.errors import SynthtrialError
from synthtrial.estimates import Estimate
from synthtrial.progress import duration, human_bytes
from synthtrial.store.cache import cache_root
from synthtrial.store.locks import is_held, lock_path, unlock
from synthtrial.study import Study

_LITTLE_BYTES = 2 * 10**9
_RESERVED_BYTES = 64 * 2**20


def text(found: Storage) -> str:
    """Describe storage in a few words."""
    files = "" if found.free_files is None else f" and {found.free_files:,} files"
    return f"{found.kind} ({found.source}), {human_bytes(found.free_bytes)}{files} free"


def check_store(study: Study, needed: Estimate) -> Iterator[Check]:
    """Check where the store is, or will be.

    Args:
        study: the study.
        needed: what it will add.
    """
    root = study.store_path.absolute()
    found = facts.storage(root)
    if found.error:
        yield broken(
            "store",
            f"{root}: nothing can be written in {found.path} ({found.error})",
            "make it writable, or choose another folder with store.path=...",
        )
        return
    if found.is_memory:
        yield warning(
            "store",
            f"{root} on {text(found)}: in memory, lost when the machine restarts",
            "choose a folder on a disk with store.path=...",
        )
    else:
        new = "" if root.exists() else ", to be made"
        yield ok("store", f"{root}{new}, on {text(found)}")
    yield _space(found, needed)


def _space(found: Storage, needed: Estimate) -> Check:
    wants = f"needs about {human_bytes(needed.bytes)} in {needed.files} files"
    mend = "free some (`synthtrial du`, `synthtrial gc --dry-run`), or store.path=... elsewhere"
    files = found.free_files
    if found.free_bytes < needed.bytes or (files is not None and files < needed.files):
        return broken("space", f"{wants}; free are {text(found)}", mend)
    if found.free_bytes < needed.bytes + _LITTLE_BYTES:
        return warning("space", f"{wants}; only {human_bytes(found.free_bytes)} are free", mend)
    return ok("space", f"{wants}; a quota is not seen here before it is used up")


def check_folder(folder: Path, needed: Estimate) -> Iterator[Check]:
    """Check a folder on the store's storage: room within the quota, and locks.

    Args:
        folder: that may be written.
        needed: what the study will add.
    """
    size = min(max(needed.bytes, 1), _RESERVED_BYTES)
    path = folder / "reserved"
    try:
        with path.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, size)
    except OSError as error:
        yield broken(
            "quota",
            f"{human_bytes(size)} cannot be had on the store's storage: {error.strerror}",
            "free some space or ask for a larger quota; or store.path=... elsewhere",
        )
    finally:
        path.unlink(missing_ok=True)
    path = folder / "lock"
    try:
        descriptor = lock_path(path, wait=False)
        seen = is_held(path)
        if descriptor is not None:
            unlock(descriptor)
    except OSError as error:
        yield _no_locks(str(error))
        return
    if descriptor is None or not seen:
        yield _no_locks("a lock that is held is not seen as held")
    else:
        yield ok("file locks", "work on this machine")


def _no_locks(why: str) -> Check:
    return broken(
        "file locks",
        f"flock does not work on the store's storage: {why}",
        "put the store on storage with locks (Lustre: mounted with `flock`): store.path=...",
    )


def check_machine(study: Study) -> Iterator[Check]:
    """Check what workers on this machine would use."""
    settings = study.settings
    yield _cache(study)
    processors = available_processors()
    wanted = settings.engine.workers
    if wanted is not None and wanted > processors and not visible_gpus():
        yield warning(
            "processors",
            f"{processors} for {wanted} workers of one thread each",
            f"engine.workers={processors}, or leave it away: more only wait for each other",
        )
    else:
        yield ok("processors", f"{processors} of {os.cpu_count()} on {platform.node()}")
    torch = facts.use_torch()
    yield ok(
        "versions", f"synthtrial {__version__}, Python {platform.python_version()} {sys.executable}"
    )
    yield from check_torch(torch, "pip install 'torch>=2.9'")
    if settings.engine.device != "cpu":
        yield from check_gpus(
            torch, facts.nvidia_gpus(), len(visible_gpus()), settings.engine.trials_per_gpu
        )
    elif torch.version:
        yield ok("GPUs", "none is used: engine.device=cpu")


def _cache(study: Study) -> Check:
    mend = "name a folder on a local disk with store.cache_path=... or $SYNTHTRIAL_CACHE"
    try:
        root = cache_root(study.settings.store.cache_path)
    except SynthtrialError as error:
        return broken("cache", str(error), mend)
    return judge_cache(facts.storage(root), str(root), mend)


def judge_cache(found: Storage, root: str, mend: str) -> Check:
    """Judge a folder for decoded images, which every trial maps into memory."""
    if found.error:
        return broken("cache", f"{root}: nothing can be written there ({found.error})", mend)
    if found.is_network:
        return warning("cache", f"{root} is on {text(found)}: slower than a local disk", mend)
    if found.free_bytes < _LITTLE_BYTES:
        return warning("cache", f"{root}: only {human_bytes(found.free_bytes)} are free", mend)
    return ok("cache", f"{root}, on {text(found)}")


def check_torch(torch: Torch, mend: str) -> Iterator[Check]:
    """Judge whether torch can be imported, and how long that takes."""
    if not torch.version:
        yield broken("torch", f"cannot be imported: {torch.error}", mend)
    elif torch.seconds > 30:
        yield warning(
            "torch",
            f"{torch.version}, imported in {duration(torch.seconds)}",
            "its many small files are on slow storage: put the environment on a faster one, or use "
            "a container, which is one file",
        )
    else:
        yield ok("torch", f"{torch.version}, imported in {torch.seconds:.1f} s")


def check_gpus(
    torch: Torch, nvidia: list[facts.Gpu] | None, given: int, trials_per_gpu: int
) -> Iterator[Check]:
    """Judge the GPUs that torch should see.

    Args:
        torch: what it sees.
        nvidia: what the driver says.
        given: how many there should be.
        trials_per_gpu: how many processes are to share one.
    """
    if not torch.version:
        return
    if given and len(torch.cuda) < given:
        why = f": {torch.error}" if torch.error else ""
        driver = f"driver {nvidia[0].driver}" if nvidia else "nvidia-smi does not answer"
        yield broken(
            "GPUs",
            f"torch {torch.version} can use {len(torch.cuda)} of {given} ({driver}){why}",
            "install a torch build for CUDA that this driver supports (https://pytorch.org), load "
            "the modules that it needs, in a container use --nv; or engine.device=cpu",
        )
    elif torch.cuda:
        driver = f", driver {nvidia[0].driver}" if nvidia else ""
        yield ok("GPUs", f"{len(torch.cuda)} x {torch.cuda[0]}{driver}")
    else:
        yield ok("GPUs", "none")
    exclusive = [gpu for gpu in nvidia or [] if "Exclusive" in gpu.compute_mode.title()]
    if exclusive and trials_per_gpu > 1:
        yield broken(
            "compute mode",
            f"{exclusive[0].name}: {exclusive[0].compute_mode}, so one process a GPU, and "
            f"engine.trials_per_gpu is {trials_per_gpu}",
            "engine.trials_per_gpu=1, or ask for the mode Default where the site offers that",
        )
    prohibited = [gpu for gpu in nvidia or [] if gpu.compute_mode.lower() == "prohibited"]
    if prohibited:
        yield broken(
            "compute mode",
            f"{prohibited[0].name}: Prohibited, so no process may use it",
            "tell those who run the cluster; leave the node away with engine.slurm.extra",
        )
