"""How many replicates a study needs: before it runs, and while it is replicated by a rule.

The rule is Stein's (:mod:`synthtrial.stats.sequential`): the spread of the first blocks says how
many are needed for an interval of a given width, and stays in that interval. That is the interval
over seeds (and draws) alone. One that also holds for other test images has a floor that no number
of seeds goes below; a width under it is refused, as more seeds would say nothing about those.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from synthtrial.data.regimens import regimen_label
from synthtrial.errors import ConfigError
from synthtrial.history import WidthRule, read_history
from synthtrial.plan import Plan, build
from synthtrial.report.facts import Facts, records
from synthtrial.report.held_out import with_test_set
from synthtrial.report.inference import PRIMARY, block_differences, differences_table
from synthtrial.report.sources import gather
from synthtrial.report.widths import FLOOR_UNKNOWN, has_floor, refuse_below_floor, width_lines
from synthtrial.stats.power import (
    blocks_for_difference,
    detectable_difference,
    interval_width,
    upper_deviation,
)
from synthtrial.stats.sequential import LEAST_FIRST, blocks_needed
from synthtrial.store.artifacts import Store, read_artifact
from synthtrial.study import Study

_RULE = re.compile(r"\s*width\s*<=?\s*([0-9.eE+-]+)\s*")
_SHOWN = (5, 10, 20, 50, 100)


@dataclass(frozen=True)
class Decision:
    """What a rule says next.

    Attributes:
        replicates: that the study is to be taken to; what it has if it is done.
        done: whether there is nothing left to add.
        reason: in a sentence.
        chosen: whether the number follows from the spread of the first blocks.
        reached: whether the width is as narrow as it was to be.
        widths: that the intervals have now, in lines.
        note: what cannot be known about the width that is asked for; empty without.
    """

    replicates: int
    done: bool
    reason: str
    chosen: bool = False
    reached: bool = True
    widths: tuple[str, ...] = ()
    note: str = ""


def width_of(rule: str) -> float:
    """Read ``width<0.01``.

    Raises:
        ConfigError: it is no such rule.
    """
    found = _RULE.fullmatch(rule)
    width = float(found[1]) if found and _is_number(found[1]) else 0.0
    if not 0 < width < math.inf:
        raise ConfigError(
            f"--until '{rule}': give the width of the primary interval from end to end, above 0, "
            'such as "width<0.01"'
        )
    return width


def make_rule(width: float, study: Study, store: Store, most: int) -> WidthRule:
    """Return the rule for a study.

    The first blocks are those that the study was to have when a rule first chose a number, ten at
    the least; another width later leaves them what they are.

    Raises:
        ConfigError: the study declares no primary question or does not have a draw of its own for
            each replicate, or ``most`` is less than the first blocks.
    """
    protocol, primary = study.settings.protocol, study.settings.statistics.primary
    if primary.arm is None:
        raise ConfigError(
            "--until looks at the interval of the primary question, and the study declares none: "
            "set statistics.primary.arm"
        )
    if protocol.draws not in (None, 1):
        raise ConfigError(
            f"--until: protocol.draws is {protocol.draws}, so that more replicates do not make "
            "more draws, and the interval stays as wide as these draws leave it. Set "
            "protocol.draws=null for a draw of its own for each replicate, or 1 to ask about a "
            "single one"
        )
    known = read_history(study, store)
    first = max(LEAST_FIRST, protocol.replicates)
    if known is not None and known.rule is not None:
        first = known.rule.first
    least = max(first, protocol.replicates)
    if most < least:
        raise ConfigError(
            f"--max {most}: the study is to have {protocol.replicates} replicates already, and the "
            f"rule begins with {first}; allowed: {least} or more"
        )
    return WidthRule(width, first, most)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def refuse_hashed(plan: Plan, store: Store) -> None:
    """Refuse to add replicates to what was imported with hashed ids or without its images.

    Raises:
        ConfigError: every task would refuse it, one by one.
    """
    for task in plan.tasks.values():
        if task.kind == "prepare" and task.id in plan.done:
            dataset = read_artifact(store, "dataset", task.id)
            if dataset.ids_key or dataset.left_out:
                raise ConfigError(
                    "this study was imported to be read: its ids are hashed, or images were left "
                    "out, so that nothing can be trained from it. Replicate it where it comes "
                    "from, or import an archive that was made with --keep-ids"
                )


def decide(study: Study, store: Store, rule: WidthRule) -> Decision:
    """Say how many replicates a study is to be taken to by a rule, as far as it has been run.

    Raises:
        ConfigError: the width is below the floor that the test set puts under intervals which hold
            for other images too, or the first blocks are done and the primary question has no
            results.
    """
    have = study.settings.protocol.replicates
    facts = gather(study, store, build(study, store))
    table = with_test_set(facts, differences_table(facts))
    primary = table[table.role == PRIMARY]
    kept = study.settings.store.keep_logits or has_floor(primary)
    note = "" if kept else FLOOR_UNKNOWN
    if have < rule.first:
        refuse_below_floor(primary, rule.width)
        text = f"the rule begins with {rule.first} replicates"
        return Decision(rule.first, False, text, note=note)
    if not facts.finished:
        return Decision(have, False, f"{have} replicates are to be finished first", note=note)
    needed = _needed(facts, rule)
    if not needed:
        raise ConfigError(
            "--until: the primary question has no two results to take a spread from; "
            f"`{study.command('status')}` says what went wrong"
        )
    where = max(needed, key=lambda regimen: needed[regimen])
    wanted = needed[where]
    text = (
        f"a width of {rule.width:g} takes {wanted} replicates "
        f"(by the spread of the first {rule.first}, at {regimen_label(where)})"
    )
    if wanted > rule.most:
        text += f", and --max allows {rule.most}, with which the interval will be wider"
    most = min(wanted, rule.most)
    widths = width_lines(primary)
    if most > have:  # nothing is added for a width that is of no use
        refuse_below_floor(primary, rule.width)
        return Decision(most, False, text, chosen=True, widths=widths, note=note)
    reached = wanted <= have
    return Decision(have, True, text, chosen=True, reached=reached, widths=widths, note=note)


def _needed(facts: Facts, rule: WidthRule) -> dict[float, int]:
    """Return how many replicates each regimen of the primary question takes.

    Of those that there are some may have left no score: what they lack comes on top.
    """
    needed, have = {}, facts.design.replicates
    for regimen, number_B, delta_B in block_differences(facts):
        first = delta_B[number_B < rule.first]
        if first.size >= 2:
            blocks = blocks_needed(first, rule.width, confidence=facts.design.confidence)
            needed[regimen] = blocks + (have - delta_B.size)
    return needed


@dataclass(frozen=True)
class PowerLine:
    """What so many blocks can show.

    Attributes:
        blocks: draws, or replicates of one draw.
        width: expected width of the interval, from end to end.
        detectable: smallest difference that is found with the power asked for, if p values are
            corrected for the regimens in which the question is asked.
    """

    blocks: int
    width: float
    detectable: float


@dataclass(frozen=True)
class PowerReport:
    """How many blocks a question takes.

    Attributes:
        where: the regimen in words, or what the deviation was given as.
        deviation: of the difference between blocks.
        upper: what it lies below with the assurance asked for; equal to it where it was assumed.
        pilot: blocks that it was estimated from; 0 where it was assumed.
        lines: by number of blocks, at ``upper``.
        needed: blocks that find ``difference`` with ``power``, at ``upper``.
        difference: that is to be found.
        power: probability of finding it.
        floor: width that the test set allows at the least; None where unknown.
    """

    where: str
    deviation: float
    upper: float
    pilot: int
    lines: tuple[PowerLine, ...]
    needed: int
    difference: float
    power: float
    floor: float | None


def assumed_power(
    study: Study, deviation: float, difference: float, power: float
) -> list[PowerReport]:
    """Return the power of a study for an assumed deviation of the difference between blocks."""
    return [_power(study, "assumed", deviation, deviation, 0, difference, power, None)]


def pilot_power(
    study: Study, store: Store, difference: float, power: float, assurance: float
) -> list[PowerReport]:
    """Return the power by the spread of what has been run, for each regimen that is asked about.

    Raises:
        ConfigError: there are no two blocks with results yet, or no primary question.
    """
    if study.settings.statistics.primary.arm is None:
        raise ConfigError(
            "the study declares no primary question to take the spread of: set "
            "statistics.primary.arm, or give --sd"
        )
    facts = gather(study, store, build(study, store))
    table = with_test_set(facts, differences_table(facts))
    found = []
    for row in records(table[table.role == PRIMARY]):
        if not row["standard_error"] > 0:
            continue
        deviation = float(row["standard_error"]) * math.sqrt(row["blocks"])
        upper = upper_deviation(deviation, row["df"], assurance=assurance)
        floor = float(row["floor"]) if row["floor"] > 0 else None
        where = regimen_label(row["regimen"])
        blocks = int(row["blocks"]) if facts.design.pilot is None else int(row["df"]) + 1
        found.append(_power(study, where, deviation, upper, blocks, difference, power, floor))
    if not found:
        raise ConfigError(
            "no two blocks have results to take the spread from yet: run "
            f"`{study.command('run')}` first, or assume one with --sd"
        )
    return found


def _power(
    study: Study,
    where: str,
    deviation: float,
    upper: float,
    pilot: int,
    difference: float,
    power: float,
    floor: float | None,
) -> PowerReport:
    confidence = study.settings.statistics.confidence
    asked = study.settings.statistics.primary.regimens or study.settings.regimens
    alpha = (1.0 - confidence) / len(asked)  # as Holm's first step has it
    have = study.draws if study.draws > 1 else study.settings.protocol.replicates
    numbers: Sequence[int] = sorted({have, *_SHOWN} - {1})
    lines = [
        PowerLine(
            n,
            interval_width(upper, n, confidence=confidence),
            detectable_difference(upper, n, alpha=alpha, power=power),
        )
        for n in numbers
    ]
    needed = blocks_for_difference(upper, difference, alpha=alpha, power=power)
    return PowerReport(
        where, deviation, upper, pilot, tuple(lines), needed, difference, power, floor
    )
