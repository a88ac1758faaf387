"""Verbs about jobs and what became of tasks: logs, why, retry, cancel, doctor, fetch."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import click

from synthtrial.cli.common import (
    build_plan,
    conditions,
    console,
    require_store,
    study_arguments,
    where_option,
)
from synthtrial.errors import ConfigError

_id_option = click.option(
    "--id", "task_id", metavar="ID", required=True, help="Of a task or trial, or its beginning."
)


@click.command()
@study_arguments
@_id_option
@click.option("--lines", type=click.IntRange(min=1), default=50, help="How many, from the end.")
def logs(
    study: str, overrides: Sequence[str], engine: str | None, task_id: str, lines: int
) -> None:
    """Print the end of the log of the job that a task was given to last."""
    from synthtrial.engines.slurm.queue import last_lines
    from synthtrial.plan import find_task
    from synthtrial.tracing import tries

    loaded, store = require_store(study, overrides, engine)
    task = find_task(build_plan(loaded, store), task_id)
    known = tries(store, loaded.name, task.id)
    if not known:
        raise ConfigError(
            f"{task.label} was given to no job; what ran on this machine has printed its errors "
            f"there, and `{loaded.command('why', '--id', task_id)}` says what is known"
        )
    last = known[-1]
    click.echo(f"{last.log} (job {last.job})", err=True)
    for line in last_lines(last.log, lines) or ["(nothing is in it yet)"]:
        click.echo(line)


@click.command()
@study_arguments
@_id_option
@where_option
def why(
    study: str, overrides: Sequence[str], engine: str | None, task_id: str, where: str | None
) -> None:
    """Say how one task stands, where it was tried, what went wrong and what to run next."""
    from synthtrial.plan import find_task
    from synthtrial.tracing import show_why

    loaded, store = require_store(study, overrides, engine)
    planned = build_plan(loaded, store, where)
    show_why(console(), planned, store, find_task(planned, task_id))


@click.command()
@study_arguments
@click.option("--failed", is_flag=True, required=True, help="All that failed.")
@where_option
@click.option("--detach", is_flag=True, help="As in `run`.")
def retry(
    study: str,
    overrides: Sequence[str],
    engine: str | None,
    failed: bool,
    where: str | None,
    detach: bool,
) -> None:
    """Forget failures and go on: what failed is tried again, beside what is still running."""
    assert failed
    from synthtrial.cli.studies import detach_study, run_study
    from synthtrial.engines.submissions import forgive

    loaded, store = require_store(study, overrides, engine)
    part = conditions(where)
    forgive(store, loaded.name)
    if detach:
        detach_study(loaded, part)
    else:
        run_study(loaded, part)


@click.command()
@study_arguments
def cancel(study: str, overrides: Sequence[str], engine: str | None) -> None:
    """Cancel this study's jobs in SLURM's queue, and no others. What is finished is kept."""
    from synthtrial.engines.slurm.control import cancel_study
    from synthtrial.store.artifacts import open_store
    from synthtrial.study import load

    loaded = load(study, overrides, engine)  # its data may be out of reach: only its name counts
    store = open_store(loaded.store_path, create=False)
    gone = cancel_study(store, loaded.name)
    if gone:
        click.echo(f"cancelled: {', '.join(gone)}")
        click.echo(f"next: `{loaded.command('run')}` goes on where it stopped")
    else:
        click.echo("no jobs of it are queued or running")


@click.command()
@study_arguments
@click.option(
    "--wait",
    "wait_minutes",
    type=click.FloatRange(min=0, min_open=True),
    default=5.0,
    show_default=True,
    metavar="MINUTES",
    help="How long to wait for the probe job (engine slurm).",
)
def doctor(study: str, overrides: Sequence[str], engine: str | None, wait_minutes: float) -> None:
    """Check that the engine can run this study, and say what to mend; exits with 1 if it cannot.

    With the engine slurm, a small job looks around on a compute node. Nothing is left behind.
    """
    from synthtrial.doctor import diagnose
    from synthtrial.study import load

    if not diagnose(console(), load(study, overrides, engine), 60 * wait_minutes):
        sys.exit(1)


@click.command()
@study_arguments
def fetch(study: str, overrides: Sequence[str], engine: str | None) -> None:
    """Fetch what the study needs from the network, and say what is missing.

    For compute nodes without internet: run it on a login node. Exits with 1 if anything is missing.
    """
    from synthtrial.fetching import show
    from synthtrial.study import load

    if not show(console(), load(study, overrides, engine)):
        sys.exit(1)


COMMANDS = (logs, why, retry, cancel, doctor, fetch)
