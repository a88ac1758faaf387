"""Verbs about a study: plan, run, task, status, report."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import click

from synthtrial.cli.common import (
    build_plan,
    conditions,
    console,
    json_option,
    make_store,
    open_study,
    print_json,
    require_store,
    study_arguments,
    where_option,
)
from synthtrial.errors import ConfigError, SynthtrialError

if TYPE_CHECKING:
    from rich.console import Console

    from synthtrial.plan import Plan
    from synthtrial.store.artifacts import Store
    from synthtrial.study import Study

_WATCH_SECONDS = 5.0


@click.command()
@study_arguments
@click.option("--why", is_flag=True, help="Name the settings that make tasks new.")
@where_option
@json_option
def plan(
    study: str,
    overrides: Sequence[str],
    engine: str | None,
    why: bool,
    where: str | None,
    as_json: bool,
) -> None:
    """Say what is done, what is to do, and what that will cost. Changes nothing."""
    from synthtrial import plan_views
    from synthtrial.why import reasons

    loaded, store = open_study(study, overrides, engine, create=False)
    planned = build_plan(loaded, store, where)
    if as_json:
        print_json(plan_views.plan_json(planned, store))
        return
    screen = console()
    plan_views.show_plan(screen, planned, store)
    if why:
        found = reasons(planned, store) if store is not None else {}
        plan_views.show_reasons(screen, found, store is None)


@click.command()
@study_arguments
@where_option
@click.option(
    "--smoke", is_flag=True, help="Two steps of each distinct task, in a throw-away store."
)
@click.option(
    "--detach",
    is_flag=True,
    help="Submit what is ready and return; a small job goes on from there (engine slurm).",
)
@click.option("--max-gpu-hours", type=float, help="Refuse what is estimated to take more.")
@click.option("--max-cost", type=float, help="Refuse what is estimated to cost more.")
def run(
    study: str,
    overrides: Sequence[str],
    engine: str | None,
    where: str | None,
    smoke: bool,
    detach: bool,
    max_gpu_hours: float | None,
    max_cost: float | None,
) -> None:
    """Run what is missing, then write the report. Running again resumes."""
    limits = [("max_gpu_hours", max_gpu_hours), ("max_cost", max_cost)]
    budget = [f"engine.{name}={value}" for name, value in limits if value is not None]
    loaded, _ = open_study(study, [*overrides, *budget], engine, create=False)
    if smoke:
        if detach:
            raise ConfigError("--smoke runs here and now: leave --detach away")
        _smoke(loaded, conditions(where))
    elif detach:
        detach_study(loaded, conditions(where))
    else:
        run_study(loaded, conditions(where))


@click.command()
@study_arguments
@click.option("--id", "task_id", metavar="ID", help="Which one: its id, or the beginning of it.")
def task(study: str, overrides: Sequence[str], engine: str | None, task_id: str | None) -> None:
    """Run one task in this process; without --id, list those that could run now.

    Several processes share a GAN training, or the making of images, where torchrun or srun start
    them: torchrun --nproc-per-node 4 -m synthtrial task STUDY --id ID
    """
    from synthtrial import views
    from synthtrial.driver import run_one

    loaded, store = make_store(study, overrides, engine)
    if task_id is None:
        views.show_ready(console(), build_plan(loaded, store))
        return
    done = run_one(loaded, store, task_id)
    click.echo(f"done: {done.label} ({done.id})")


@click.command()
@study_arguments
@where_option
@json_option
@click.option("--watch", is_flag=True, help="Look again every few seconds until it is complete.")
def status(
    study: str,
    overrides: Sequence[str],
    engine: str | None,
    where: str | None,
    as_json: bool,
    watch: bool,
) -> None:
    """Say how far the study is, what failed and why."""
    from synthtrial import views

    loaded, store = open_study(study, overrides, engine, create=False)
    screen = console()
    while True:
        planned = build_plan(loaded, store, where)
        if as_json:
            print_json(views.status_json(planned, store))
        else:
            if watch and screen.is_terminal:
                screen.clear()
            views.show_status(screen, planned, store)
        if not watch or (planned.complete and not views.is_alive(planned, store)):
            return
        time.sleep(_WATCH_SECONDS)


@click.command()
@study_arguments
def report(study: str, overrides: Sequence[str], engine: str | None) -> None:
    """Write the report from what is there, finished or not."""
    loaded, store = require_store(study, overrides, engine)
    show_report(console(), loaded, store, build_plan(loaded, store))


def run_study(study: Study, where: Mapping[str, str]) -> None:
    """Run what is missing of a study, with a live view, and write the report."""
    from synthtrial.driver import run as drive
    from synthtrial.plan_views import show_allocations
    from synthtrial.progress import RunProgress, duration
    from synthtrial.store.artifacts import open_store
    from synthtrial.views import (
        shortfall,
        show_failures,
        show_stage_seconds,
    )

    screen = console()
    started = time.monotonic()
    store = open_store(study.store_path, create=True)
    with RunProgress(screen) as progress:
        finished = drive(study, store, progress, where)
    show_allocations(screen, finished, store)
    show_stage_seconds(screen, progress.stage_seconds)
    show_failures(screen, finished)
    if not where:
        show_report(screen, study, store, finished)
    screen.print(f"took {duration(time.monotonic() - started)}")
    problem = shortfall(finished)
    if problem:
        raise SynthtrialError(problem)


def detach_study(study: Study, where: Mapping[str, str]) -> None:
    """Submit what is ready, and leave the rest to a job that goes on from there."""
    from synthtrial.driver import advance
    from synthtrial.progress import RunProgress
    from synthtrial.store.artifacts import open_store

    screen = console()
    store = open_store(study.store_path, create=True)
    with RunProgress(screen) as progress:
        planned, job = advance(study, store, progress, where, forgive=True)
    if job is None:
        screen.print("nothing is left to submit")
        show_report(screen, study, store, planned)
        return
    screen.print(
        f"submitted; job {job} goes on when these jobs have ended, and writes the report at the "
        f"end.\nFollow it with `{planned.command('status')}`, stop it with "
        f"`{planned.command('cancel')}`."
    )


def _smoke(study: Study, where: Mapping[str, str]) -> None:
    import shutil
    import tempfile

    from synthtrial.driver import smoke

    folder = tempfile.mkdtemp(prefix="synthtrial-smoke-")
    keep = False
    overrides = [
        f"store.path={folder}/store",
        f"store.report_path={folder}/reports",
        f"store.cache_path={folder}/cache",
    ]
    study = dataclasses.replace(study, words=(*study.words, "--smoke"))
    try:
        run_study(smoke(study.replace(overrides)), where)
    except SynthtrialError:
        keep = True  # messages name files in it
        click.echo(
            f"smoke run: what it wrote is kept in {folder}; remove that when you have seen it"
        )
        raise
    finally:
        if not keep:
            shutil.rmtree(folder, ignore_errors=True)
    click.echo("smoke run: every distinct task ran; its store and report were thrown away")


def show_report(screen: Console, study: Study, store: Store, planned: Plan) -> None:
    """Write the report, and say where it is."""
    from synthtrial.report.page import write_report

    page = write_report(study, store, planned, study.report_path)
    screen.print(f"report: {page}")


COMMANDS = (plan, run, task, status, report)
