"""Verbs about a store: verify, du, gc."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import click

from synthtrial.cli.common import console, json_option, print_json, require_store, study_arguments


@click.command()
@study_arguments
@json_option
def verify(study: str, overrides: Sequence[str], engine: str | None, as_json: bool) -> None:
    """Check every file of the store against its checksum; exits with 1 if any is damaged."""
    from synthtrial import views

    _, store = require_store(study, overrides, engine)
    found = views.verify(store)
    if as_json:
        print_json(found)
    else:
        views.show_verify(console(), found)
    if found["problems"]:
        sys.exit(1)


@click.command()
@study_arguments
def du(study: str, overrides: Sequence[str], engine: str | None) -> None:
    """Say what the store takes on disk."""
    from synthtrial import views

    _, store = require_store(study, overrides, engine)
    views.show_usage(console(), store)


@click.command()
@study_arguments
@click.option("--dry-run", is_flag=True, help="Only say what would be removed.")
@click.option("--unused", is_flag=True, help="Also artifacts that no study of the store uses.")
def gc(
    study: str, overrides: Sequence[str], engine: str | None, dry_run: bool, unused: bool
) -> None:
    """Remove left-overs: stale temporary folders and superseded record segments."""
    from synthtrial import views
    from synthtrial.holdings import artifacts_in_use

    loaded, store = require_store(study, overrides, engine)
    keep = artifacts_in_use(store, loaded) if unused else None
    views.collect(console(), store, keep, dry_run=dry_run)


COMMANDS = (verify, du, gc)
