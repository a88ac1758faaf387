"""Verbs about the number of replicates: replicate, power."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from synthtrial.cli.common import (
    build_plan,
    console,
    json_option,
    make_store,
    open_study,
    print_json,
    study_arguments,
)
from synthtrial.cli.studies import detach_study, run_study, show_report
from synthtrial.errors import ConfigError

if TYPE_CHECKING:
    from synthtrial.store.artifacts import Store
    from synthtrial.study import Study


@click.command()
@study_arguments
@click.option("--to", "target", type=click.IntRange(min=1), help="Replicates in all.")
@click.option(
    "--until",
    metavar="RULE",
    help='Until the primary interval is narrow enough: "width<0.01", from end to end.',
)
@click.option(
    "--max",
    "most",
    type=click.IntRange(min=2),
    default=50,
    help="Replicates at most.",
    show_default=True,
)
@click.option("--detach", is_flag=True, help="As in `run`; with --until, one step of the rule.")
def replicate(
    study: str,
    overrides: Sequence[str],
    engine: str | None,
    target: int | None,
    until: str | None,
    most: int,
    detach: bool,
) -> None:
    """Add replicates until there are --to of them, or by a rule; only missing ones are run."""
    from synthtrial.replication import seen_replicates
    from synthtrial.targets import raise_target

    if (target is None) == (until is None):
        raise ConfigError('give either --to N or --until "width<0.01"')
    loaded, store = make_store(study, overrides, engine)
    if until is not None:
        _replicate_until(loaded, store, until, most, detach=detach)
        return
    assert target is not None
    seen = seen_replicates(build_plan(loaded, store))
    raised = raise_target(loaded, store, target, seen=seen, by=f"--to {target}")
    (detach_study if detach else run_study)(raised, {})


def _replicate_until(study: Study, store: Store, until: str, most: int, *, detach: bool) -> None:
    """Replicate by a rule about the width of the primary interval."""
    from synthtrial.replication import decide, parse_rule, seen_replicates
    from synthtrial.targets import raise_target

    rule = parse_rule(until, study, store, most)
    while True:
        decision = decide(study, store, rule)
        click.echo(f"{decision.reason}{'' if decision.done else '; going on'}")
        seen = seen_replicates(build_plan(study, store))
        by = f"--until {until} --max {most}"
        study = raise_target(study, store, decision.replicates, seen=seen, by=by, rule=rule)
        if detach and not decision.done:
            detach_study(study, {})
            click.echo("give the same command again when these have ended")
            return
        if decision.done:
            show_report(console(), study, store, build_plan(study, store))
            return
        run_study(study, {})


@click.command()
@study_arguments
@click.option(
    "--sd", type=float, help="Assumed standard deviation of the difference between replicates."
)
@click.option("--difference", type=float, help="To be found; by default the margin.")
@click.option("--power", "wanted", type=float, default=0.8, show_default=True)
@click.option(
    "--assurance",
    type=float,
    default=0.8,
    show_default=True,
    help="That the spread of what was run is not larger than reckoned with.",
)
@json_option
def power(
    study: str,
    overrides: Sequence[str],
    engine: str | None,
    sd: float | None,
    difference: float | None,
    wanted: float,
    assurance: float,
    as_json: bool,
) -> None:
    """Say how many replicates the primary question takes, and what so many can show.

    The spread is what --sd assumes, or that of the replicates which have been run.
    """
    from synthtrial.plan_views import show_power
    from synthtrial.replication import assumed_power, pilot_power

    loaded, store = open_study(study, overrides, engine, create=False)
    size = loaded.settings.statistics.margin if difference is None else difference
    for name, value, fine in (
        ("--sd", sd, sd is None or sd > 0),
        ("--difference", size, size != 0),
        ("--power", wanted, 0 < wanted < 1),
        ("--assurance", assurance, 0 < assurance < 1),
    ):
        if not fine:
            allowed = "above 0" if name in ("--sd", "--difference") else "between 0 and 1"
            raise ConfigError(f"{name} is {value}; allowed: {allowed}")
    if sd is not None:
        found = assumed_power(loaded, sd, size, wanted)
    elif store is None:
        raise ConfigError(
            "nothing has been run whose spread could be taken: give --sd, the standard deviation "
            "of the difference between replicates that you expect"
        )
    else:
        found = pilot_power(loaded, store, size, wanted, assurance)
    if as_json:
        print_json([dataclasses.asdict(item) for item in found])
    else:
        show_power(console(), loaded, found)


COMMANDS = (replicate, power)
