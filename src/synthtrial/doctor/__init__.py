"""Check that an engine can run a study, and say what to mend."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console

from synthtrial.doctor import cluster, machine, node
from synthtrial.doctor.check import Check, broken, ok, show
from synthtrial.doctor.ray_cluster import check_ray
from synthtrial.engines.facts import existing
from synthtrial.engines.slurm.probe import LOCK, Probe
from synthtrial.engines.slurm.sites import Site, load_site
from synthtrial.errors import EngineError, SynthtrialError
from synthtrial.estimates import Clock
from synthtrial.fetching import downloads
from synthtrial.plan import Plan, build
from synthtrial.store.artifacts import open_store
from synthtrial.store.files import temporary_name
from synthtrial.store.locks import locked
from synthtrial.store.root import STORE_FILE
from synthtrial.study import Study

__all__ = ["Check", "diagnose", "examine"]

_LINE_SECONDS = 15.0  # between two lines of progress where there is no terminal


def diagnose(console: Console, study: Study, wait_seconds: float) -> bool:
    """Check, and print each finding as it comes; say whether nothing is broken."""
    if console.is_terminal:
        with console.status("looking around") as status:
            return show(console, examine(study, wait_seconds, status.update))
    said_at = time.monotonic()

    def say(text: str) -> None:
        nonlocal said_at
        if time.monotonic() - said_at > _LINE_SECONDS:
            said_at = time.monotonic()
            console.print(f"...      {text}")

    return show(console, examine(study, wait_seconds, say))


def examine(study: Study, wait_seconds: float, progress: Callable[[str], None]) -> Iterator[Check]:
    """Check that the engine can run a study.

    Args:
        study: the study.
        wait_seconds: how long a probe job is waited for.
        progress: is told what is waited for.
    """
    engine = study.settings.engine
    try:
        store = open_store(study.store_path, create=False) if _is_store(study) else None
        plan = build(study, store)
        needed = Clock(plan, store).total(plan.to_do())
    except SynthtrialError as error:
        yield broken("study", str(error), "mend that first: nothing else was looked at")
        return
    yield ok("study", f"{study.name}, {len(plan.to_do())} tasks to do, engine {engine.name}")
    is_writable = True
    for check in machine.check_store(study, needed):
        is_writable &= check.state != "broken"
        yield check
    if is_writable:
        with _throw_away(study) as folder:
            yield from machine.check_folder(folder, needed)
    if engine.name == "slurm":
        yield from _examine_slurm(study, plan, progress, wait_seconds if is_writable else None)
        return
    yield _data_here(study, plan)
    if engine.name == "allocation":
        yield _allocation()
    if engine.name == "ray" and is_writable:
        with _throw_away(study) as folder:
            yield from check_ray(study, folder)
    yield from machine.check_machine(study)


def _examine_slurm(
    study: Study, plan: Plan, progress: Callable[[str], None], wait_seconds: float | None
) -> Iterator[Check]:
    site = load_site(study.settings.engine)
    found, settings = cluster.check_commands()
    yield from found
    if not settings:
        return
    fits = True
    for check in cluster.check_profile(site, study.settings.engine.site):
        fits &= check.state != "broken"
        yield check
    for check in cluster.check_account(site, settings):
        fits &= check.state != "broken"
        yield check
    yield cluster.check_limits(site, settings)
    yield cluster.check_caches(study, site, downloads(study))
    if fits and wait_seconds is not None:
        with _throw_away(study) as folder, locked(folder / LOCK):
            yield from _probe(study, site, plan, folder, wait_seconds, progress)


def _probe(
    study: Study,
    site: Site,
    plan: Plan,
    folder: Path,
    wait_seconds: float,
    progress: Callable[[str], None],
) -> Iterator[Check]:
    mend = "change the site profile as SLURM's words say; `synthtrial plan` shows the sbatch file"
    try:
        probe = Probe(study, site, folder, opens_data=_needs_data(plan))
        words, refused = probe.would_start()
        if words is None:
            yield broken("jobs", f"SLURM would not take them: {refused}", mend)
            return
        yield ok("jobs", f"SLURM would take them: {words}")
        found = probe.run(wait_seconds, progress)
    except EngineError as error:
        yield broken("probe job", str(error), mend)
        return
    yield from node.check_probe(study, site, found, folder)


def _is_store(study: Study) -> bool:
    return (study.store_path / STORE_FILE).exists()


def _needs_data(plan: Plan) -> bool:
    return any(task.kind == "prepare" for task in plan.to_do())


def _data_here(study: Study, plan: Plan) -> Check:
    if not _needs_data(plan):
        return ok("data", f"{study.dataset.name} is in the store already")
    try:
        rows = len(study.dataset.load().label_table())
    except (SynthtrialError, OSError, ImportError) as error:
        return broken("data", str(error), f"`{study.command('fetch')}` looks for it again")
    return ok("data", f"{study.dataset.name}: {rows:,} images are there")


def _allocation() -> Check:
    if "SLURM_JOB_ID" in os.environ:
        return ok("allocation", f"inside job {os.environ['SLURM_JOB_ID']}")
    if shutil.which("sbatch") is None:
        mend = "run this on a login node of the cluster, or --engine local"
        return broken("allocation", "there is no sbatch on the PATH", mend)
    return ok(
        "allocation",
        "submit it with: sbatch slurm/study.sbatch; what follows is of this machine, and --engine "
        "slurm looks at a compute node",
    )


@contextmanager
def _throw_away(study: Study) -> Iterator[Path]:
    """Make a folder on the storage of the store: in it, or beside where it will be."""
    root = study.store_path.absolute()
    parent = root if root.is_dir() else existing(root)
    folder = temporary_name(parent / ".synthtrial-doctor")
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        if folder.exists():  # a job that was cancelled has just written its last line
            time.sleep(1.0)
            shutil.rmtree(folder, ignore_errors=True)
