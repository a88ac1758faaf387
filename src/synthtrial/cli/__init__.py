"""The command line: verbs only. Whatever can be set is a ``key=value`` of the study."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from synthtrial import __version__
from synthtrial.errors import ConfigError, SynthtrialError

if TYPE_CHECKING:
    from rich.console import Console

    from synthtrial.plan import Plan
    from synthtrial.store.artifacts import Store
    from synthtrial.study import Study

_INTERRUPTED = 130


def main() -> None:
    """Run the command line; errors meant for people end in one line, without a traceback."""
    try:
        code = cli(prog_name="synthtrial", standalone_mode=False) or 0
    except click.exceptions.Exit as stop:
        code = stop.exit_code
    except click.ClickException as error:
        error.show()
        code = error.exit_code
    except SynthtrialError as error:
        click.echo(f"error: {error}", err=True)
        code = error.exit_code
    except (click.Abort, KeyboardInterrupt):
        click.echo("\nstopped; what is finished is kept. Run the same command to go on.", err=True)
        code = _INTERRUPTED
    sys.exit(code if isinstance(code, int) else 0)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, message="synthtrial %(version)s")
def cli() -> None:
    """Controlled trials of synthetic training data.

    STUDY is a YAML file or the name of a shipped study (digits). Every setting can be overridden
    behind it: synthtrial run digits protocol.replicates=10 store.path=/scratch/me
    """


def _study_arguments(command: Any) -> Any:
    command = click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")(command)
    return click.argument("study")(command)


_json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")
_where_option = click.option(
    "--where", metavar="KEY=VALUE,...", help="Only trials that match, such as arm=gan,regimen=0.1."
)


@cli.command()
@_study_arguments
@click.option("--why", is_flag=True, help="Name the settings that make tasks new.")
@_where_option
@_json_option
def plan(study: str, overrides: Sequence[str], why: bool, where: str | None, as_json: bool) -> None:
    """Say what is done, what is to do, and what that will cost. Changes nothing."""
    from synthtrial import views
    from synthtrial.why import reasons

    loaded, store = _open(study, overrides, create=False)
    planned = _build(loaded, store, where)
    if as_json:
        _print_json(views.plan_json(planned, store))
        return
    console = _console()
    views.show_plan(console, planned, store)
    if why:
        found = reasons(planned, store) if store is not None else {}
        views.show_reasons(console, found, store is None)


@cli.command()
@_study_arguments
@_where_option
@click.option(
    "--smoke", is_flag=True, help="Two steps of each distinct task, in a throw-away store."
)
def run(study: str, overrides: Sequence[str], where: str | None, smoke: bool) -> None:
    """Run what is missing, then write the report. Running again resumes."""
    loaded, _ = _open(study, overrides, create=False)
    if smoke:
        _smoke(loaded, _conditions(where))
        return
    _run(loaded, _conditions(where))


@cli.command()
@_study_arguments
@click.option(
    "--to", "target", type=click.IntRange(min=1), required=True, help="Replicates in all."
)
def replicate(study: str, overrides: Sequence[str], target: int) -> None:
    """Add replicates until there are --to of them; only missing ones are run."""
    from synthtrial.targets import raise_target

    loaded, store = _open(study, overrides, create=True)
    assert store is not None
    _run(raise_target(loaded, store, target), {})


@cli.command()
@_study_arguments
@click.option("--id", "task_id", metavar="ID", help="Which one: its id, or the beginning of it.")
def task(study: str, overrides: Sequence[str], task_id: str | None) -> None:
    """Run one task in this process; without --id, list those that could run now.

    Several processes share a GAN training, or the making of images, where torchrun or srun start
    them: torchrun --nproc-per-node 4 -m synthtrial task STUDY --id ID
    """
    from synthtrial import views
    from synthtrial.driver import run_one

    loaded, store = _open(study, overrides, create=True)
    assert store is not None
    if task_id is None:
        views.show_ready(_console(), _build(loaded, store, None))
        return
    done = run_one(loaded, store, task_id)
    click.echo(f"done: {done.label} ({done.id})")


@cli.command()
@_study_arguments
@_json_option
def status(study: str, overrides: Sequence[str], as_json: bool) -> None:
    """Say how far the study is, what failed and why."""
    from synthtrial import views

    loaded, store = _open(study, overrides, create=False)
    planned = _build(loaded, store, None)
    if as_json:
        _print_json(views.status_json(planned, store))
    else:
        views.show_status(_console(), planned, store)


@cli.command()
@_study_arguments
def report(study: str, overrides: Sequence[str]) -> None:
    """Write the report from what is there, finished or not."""
    loaded, store = _require(study, overrides)
    _report(_console(), loaded, store, _build(loaded, store, None))


@cli.command()
@_study_arguments
@_json_option
def verify(study: str, overrides: Sequence[str], as_json: bool) -> None:
    """Check every file of the store against its checksum; exits with 1 if any is damaged."""
    from synthtrial import views

    _, store = _require(study, overrides)
    found = views.verify(store)
    if as_json:
        _print_json(found)
    else:
        views.show_verify(_console(), found)
    if found["problems"]:
        sys.exit(1)


@cli.command()
@_study_arguments
def du(study: str, overrides: Sequence[str]) -> None:
    """Say what the store takes on disk."""
    from synthtrial import views

    _, store = _require(study, overrides)
    views.show_usage(_console(), store)


@cli.command()
@_study_arguments
@click.option("--dry-run", is_flag=True, help="Only say what would be removed.")
@click.option("--unused", is_flag=True, help="Also artifacts that no study of the store uses.")
def gc(study: str, overrides: Sequence[str], dry_run: bool, unused: bool) -> None:
    """Remove left-overs: stale temporary folders and superseded record segments."""
    from synthtrial import views

    loaded, store = _require(study, overrides)
    keep = views.artifacts_in_use(store, loaded) if unused else None
    views.collect(_console(), store, keep, dry_run=dry_run)


def _open(study: str, overrides: Sequence[str], *, create: bool) -> tuple[Study, Store | None]:
    from synthtrial.store.artifacts import open_store
    from synthtrial.study import load
    from synthtrial.targets import with_target

    loaded = load(study, overrides)
    if not create and not loaded.store_path.exists():
        return loaded, None
    store = open_store(loaded.store_path, create=create)
    raised = with_target(loaded, store)
    if raised is not loaded:
        click.echo(
            f"note: {raised.settings.protocol.replicates} replicates, as `synthtrial replicate` "
            f"asked for in this store (the study says {loaded.settings.protocol.replicates})",
            err=True,
        )
    return raised, store


def _require(study: str, overrides: Sequence[str]) -> tuple[Study, Store]:
    loaded, store = _open(study, overrides, create=False)
    if store is None:
        raise ConfigError(
            f"there is no store at {loaded.settings.store.path}; run `synthtrial run {study}` "
            "first, or say where it is with store.path=..."
        )
    return loaded, store


def _build(study: Study, store: Store | None, where: str | None) -> Plan:
    from synthtrial.plan import build, narrow

    planned = build(study, store)
    conditions = _conditions(where)
    return narrow(planned, conditions) if conditions else planned


def _conditions(where: str | None) -> Mapping[str, str]:
    conditions = {}
    for item in (where or "").split(","):
        key, separator, value = item.partition("=")
        if separator:
            conditions[key.strip()] = value.strip()
        elif item.strip():
            raise ConfigError(f"--where: '{item}' is not of the form key=value")
    return conditions


def _run(study: Study, where: Mapping[str, str]) -> None:
    from synthtrial.driver import run as drive
    from synthtrial.progress import RunProgress, duration
    from synthtrial.store.artifacts import open_store
    from synthtrial.views import (
        shortfall,
        show_allocations,
        show_failures,
        show_stage_seconds,
    )

    console = _console()
    started = time.monotonic()
    store = open_store(study.store_path, create=True)
    with RunProgress(console) as progress:
        finished = drive(study, store, progress, where)
    show_allocations(console, finished, store)
    show_stage_seconds(console, progress.stage_seconds)
    show_failures(console, finished)
    if not where:
        _report(console, study, store, finished)
    console.print(f"took {duration(time.monotonic() - started)}")
    problem = shortfall(finished)
    if problem:
        raise SynthtrialError(problem)


def _smoke(study: Study, where: Mapping[str, str]) -> None:
    import tempfile

    from synthtrial.driver import smoke

    with tempfile.TemporaryDirectory(prefix="synthtrial-smoke-") as folder:
        overrides = [
            f"store.path={folder}/store",
            f"store.report_path={folder}/reports",
            f"store.cache_path={folder}/cache",
        ]
        _run(smoke(study.replace(overrides)), where)
    click.echo("smoke run: every distinct task ran; its store and report were thrown away")


def _report(console: Console, study: Study, store: Store, planned: Plan) -> None:
    from synthtrial.report.page import write_report

    page = write_report(study, store, planned, study.report_path)
    console.print(f"report: {page}")


def _console() -> Console:
    from rich.console import Console

    return Console(highlight=False, soft_wrap=True, markup=False)


def _print_json(value: Any) -> None:
    click.echo(json.dumps(value, indent=1, ensure_ascii=False))


if __name__ == "__main__":
    main()
