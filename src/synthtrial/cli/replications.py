"""Verbs about the number of replicates: replicate, power."""

from __future__ import annotations

import dataclasses
import math
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
    from synthtrial.history import WidthRule
    from synthtrial.store.artifacts import Store
    from synthtrial.study import Study

_MOST = 50  # replicates, where --until names no limit


@click.command()
@study_arguments
@click.option("--to", "target", type=click.IntRange(min=1), help="Replicates in all.")
@click.option(
    "--until",
    metavar="RULE",
    help='Until the primary interval is narrow enough: "width<0.01", from end to end.',
)
@click.option("--max", "most", type=click.IntRange(min=2), help="With --until, at most (50).")
@click.option(
    "--back-to",
    "back_to",
    type=click.IntRange(min=1),
    help="Fewer than were asked for, in all; no result is deleted.",
)
@click.option("--detach", is_flag=True, help="As in `run`; with --until, one step of the rule.")
def replicate(
    study: str,
    overrides: Sequence[str],
    engine: str | None,
    target: int | None,
    until: str | None,
    most: int | None,
    back_to: int | None,
    detach: bool,
) -> None:
    """Add replicates until there are --to of them, or by a rule; only missing ones are run."""
    from synthtrial.history import raise_replicates, seen_replicates
    from synthtrial.replication import make_rule, refuse_hashed, width_of

    named = {"--to": target, "--until": until, "--back-to": back_to}
    given = [name for name, value in named.items() if value is not None]
    if len(given) != 1:
        got = " and ".join(given) if given else "none of them"
        raise ConfigError(f'give one of --to N, --until "width<0.01" and --back-to N; got {got}')
    if most is not None and until is None:
        raise ConfigError("--max is for --until; --to says how many there are to be")
    go_on = detach_study if detach else run_study
    if back_to is not None:
        fewer = _taken_back(study, overrides, engine, back_to)
        click.echo(
            f"the study has {fewer.settings.protocol.replicates} replicates again; results of more "
            "stay in the store, and the report says what had been seen"
        )
        go_on(fewer, {})
        return
    if until is not None:
        width = width_of(until)
        loaded, store = make_store(study, overrides, engine)
        refuse_hashed(build_plan(loaded, store), store)
        _replicate_until(loaded, store, make_rule(width, loaded, store, most or _MOST), detach)
        return
    assert target is not None
    loaded, store = make_store(study, overrides, engine)
    planned = build_plan(loaded, store)
    refuse_hashed(planned, store)
    have = loaded.settings.protocol.replicates
    if target < have:
        click.echo(f"the study has {have} replicates; --to only adds (--back-to takes back)")
    seen = seen_replicates(planned)
    go_on(raise_replicates(loaded, store, target, seen=seen, by=f"--to {target}"), {})


def _taken_back(study: str, overrides: Sequence[str], engine: str | None, back_to: int) -> Study:
    """Return a study with fewer replicates than were asked for; nothing of it may be running."""
    from synthtrial.engines.submissions import open_submissions
    from synthtrial.errors import StoreBusyError
    from synthtrial.history import as_replicated, seen_replicates, take_back
    from synthtrial.store.artifacts import open_store
    from synthtrial.store.attempts import hold
    from synthtrial.study import load

    loaded = load(study, overrides, engine)
    store = open_store(loaded.store_path, create=False)
    name, words = loaded.name, f"replicate --back-to {back_to}"
    with hold(store, name, loaded.settings.engine.name, words, follow=loaded.command("status")):
        if open_submissions(store, name) or open_submissions(store, name, "advance"):
            raise StoreBusyError(
                f"jobs of {name} are in SLURM's queue, and would go on to what was asked for: stop "
                f"them with `{loaded.command('cancel')}` first; what is finished is kept"
            )
        seen = seen_replicates(build_plan(as_replicated(loaded, store), store))
        return take_back(loaded, store, back_to, seen=seen, by=f"--back-to {back_to}")


def _replicate_until(study: Study, store: Store, rule: WidthRule, detach: bool) -> None:
    """Replicate by a rule about the width of the primary interval."""
    from synthtrial.history import raise_replicates, seen_replicates
    from synthtrial.replication import decide

    by, said = f"--until width<{rule.width:g} --max {rule.most}", False
    while True:
        decision = decide(study, store, rule)
        if decision.note and not said:
            click.echo(decision.note)
            said = True
        click.echo(f"{decision.reason}{'' if decision.done else '; going on'}")
        if decision.widths:
            click.echo("intervals of the primary question now, from end to end:")
        for line in decision.widths:
            click.echo(line)
        planned = build_plan(study, store)
        study = raise_replicates(
            study,
            store,
            decision.replicates,
            seen=seen_replicates(planned),
            by=by,
            rule=rule if decision.chosen else None,
            by_rule=True,
        )
        if decision.done:
            show_report(console(), study, store, build_plan(study, store))
            if not decision.reached:
                raise ConfigError(
                    f"the interval is wider than {rule.width:g}: give a larger --max to go on"
                )
            return
        if detach:
            detach_study(study, {})
            click.echo("give the same command again when these have ended")
            return
        run_study(study, {})


@click.command()
@study_arguments
@click.option(
    "--sd", type=float, help="Assumed standard deviation of the difference between replicates."
)
@click.option(
    "--difference", type=float, help="That is to be found; by default the study's margin."
)
@click.option(
    "--power",
    "wanted",
    type=float,
    default=0.8,
    show_default=True,
    help="Probability of finding it, if it is there.",
)
@click.option(
    "--assurance",
    type=float,
    default=0.8,
    show_default=True,
    help="Probability that the true spread is no larger than what is reckoned with.",
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
    if size is None:
        raise ConfigError(
            "the study names no margin (statistics.margin), so say with --difference what is to be "
            "found"
        )
    for name, value, fine, allowed in (
        ("--sd", sd, sd is None or 0 < sd < math.inf, "above 0"),
        ("--difference", size, 0 < size < math.inf, "above 0"),
        ("--power", wanted, 0.5 <= wanted < 1, "from 0.5 to below 1"),
        ("--assurance", assurance, 0 < assurance < 1, "between 0 and 1"),
    ):
        if not fine:
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
