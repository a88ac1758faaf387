"""What the verbs share: arguments, options, opening a study with its store."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from synthtrial.errors import ConfigError

if TYPE_CHECKING:
    from rich.console import Console

    from synthtrial.plan import Plan
    from synthtrial.store.artifacts import Store
    from synthtrial.study import Study


def study_arguments(command: Any) -> Any:
    """Give a command its study, overrides and engine."""
    command = click.option(
        "--engine",
        metavar="NAME",
        help="local, slurm, allocation, ray, or a YAML file of engine settings.",
    )(command)
    command = click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")(command)
    return click.argument("study")(command)


json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")
where_option = click.option(
    "--where", metavar="KEY=VALUE,...", help="Only trials that match, such as arm=gan,regimen=0.1."
)


def open_study(
    study: str, overrides: Sequence[str], engine: str | None, *, create: bool
) -> tuple[Study, Store | None]:
    """Return a study, taken to the replicates that were asked for, and its store if it has one."""
    from synthtrial.history import as_replicated
    from synthtrial.store.artifacts import open_store
    from synthtrial.study import load

    loaded = load(study, overrides, engine)
    if not create and not loaded.store_path.exists():
        return loaded, None
    store = open_store(loaded.store_path, create=create)
    raised = as_replicated(loaded, store)
    if raised is not loaded:
        own = loaded.settings.protocol.replicates
        click.echo(
            f"note: {raised.settings.protocol.replicates} replicates, as `synthtrial replicate` "
            f"asked for in this store (the study says {own}; "
            f"`replicate --back-to {own}` goes back to that)",
            err=True,
        )
    return raised, store


def make_store(study: str, overrides: Sequence[str], engine: str | None) -> tuple[Study, Store]:
    """Return a study and its store, made if need be."""
    loaded, store = open_study(study, overrides, engine, create=True)
    assert store is not None
    return loaded, store


def require_store(study: str, overrides: Sequence[str], engine: str | None) -> tuple[Study, Store]:
    """Return a study and its store.

    Raises:
        ConfigError: there is no store yet.
    """
    loaded, store = open_study(study, overrides, engine, create=False)
    if store is None:
        raise ConfigError(
            f"there is no store at {loaded.settings.store.path}; run `{loaded.command('run')}` "
            "first, or say where it is with store.path=..."
        )
    return loaded, store


def build_plan(study: Study, store: Store | None, where: str | None = None) -> Plan:
    """Return the plan of a study, narrowed to what was asked for.

    What failed and has been forgiven is to do: the next run tries it again.
    """
    from synthtrial.engines.submissions import forgiven
    from synthtrial.plan import build, narrow

    planned = build(study, store)
    if store is not None:
        planned.forgive(before=forgiven(store, study.name).before)
    wanted = conditions(where)
    return narrow(planned, wanted) if wanted else planned


def conditions(where: str | None) -> Mapping[str, str]:
    """Read the value of ``--where``."""
    found = {}
    for item in (where or "").split(","):
        key, separator, value = item.partition("=")
        if separator:
            found[key.strip()] = value.strip()
        elif item.strip():
            raise ConfigError(f"--where: '{item}' is not of the form key=value")
    return found


def console() -> Console:
    """Return the terminal, or what stands in for it."""
    from rich.console import Console

    return Console(highlight=False, soft_wrap=True, markup=False)


def print_json(value: Any) -> None:
    """Print a value for programs."""
    click.echo(json.dumps(value, indent=1, ensure_ascii=False))
