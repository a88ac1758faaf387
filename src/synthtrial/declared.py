"""What a study declares to ask, as it was declared when, and what was changed after results.

A question that is named, or changed, when results can be seen may have been picked by them. So the
store remembers what was declared while there was nothing to see yet, and each other declaration
that was run with later, with how many replicates had results then (:mod:`synthtrial.history` keeps
them). What is reported is compared with the first of these.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from synthtrial.study import Study

#: Settings that are one choice: a question is another one with another arm, target or regimen.
_QUESTION = ("arm", "target", "regimens")


@dataclass(frozen=True)
class Declared:
    """What a study declared at a time.

    Attributes:
        asked: as :func:`declared_of` returns it.
        seen: replicates of which results were there to be seen.
        at: when (ISO, UTC).
    """

    asked: dict[str, Any]
    seen: int
    at: str


@dataclass(frozen=True)
class Change:
    """Something that is declared otherwise than it first was, since results could be seen.

    Attributes:
        name: of what was changed, as in :func:`declared_of`.
        before, after: its values.
        seen: replicates of which results were there to be seen.
    """

    name: str
    before: Any
    after: Any
    seen: int


def declared_of(study: Study) -> dict[str, Any]:
    """Return what a study declares about its questions, as plain data.

    Settings that mean the same are equal here: lists are sorted, a family of all arms is empty, and
    regimens and classes of interest are those that the study falls back on.
    """
    statistics = study.settings.statistics
    primary = statistics.primary
    asks = primary.arm is not None
    others = [name for name in study.arms if name != statistics.baseline]
    regimens = primary.regimens or study.settings.regimens
    return {
        "arm": primary.arm,
        "target": primary.target if asks else None,
        "regimens": sorted(float(regimen) for regimen in regimens) if asks else [],
        "baseline": statistics.baseline,
        "family": [] if set(statistics.family) == set(others) else sorted(statistics.family),
        "margin": statistics.margin,
        "spread": statistics.spread,
        "confidence": statistics.confidence,
        "overall": statistics.overall,
        "per_class": statistics.per_class,
        "minority": sorted(study.minority),
        "overall_classes": sorted(statistics.overall_classes),
    }


def remembered(
    records: Sequence[Declared], asked: dict[str, Any], seen: int, at: str
) -> tuple[Declared, ...]:
    """Return the records with what is declared now.

    As long as nothing could be seen, the last declaration is the only one.

    Args:
        records: what was declared before, the first one first.
        asked: what is declared now.
        seen: replicates of which results are there.
        at: now.
    """
    if is_known(records, asked):
        return tuple(records)
    return (*(records if seen else ()), Declared(asked, seen, at))


def is_known(records: Sequence[Declared], asked: dict[str, Any]) -> bool:
    """Say whether :func:`remembered` would add nothing, whatever can be seen."""
    return any(record.asked == asked for record in records)


def changes(records: Sequence[Declared], asked: dict[str, Any], seen: int) -> tuple[Change, ...]:
    """Return what is declared otherwise than at first, and was not so before results were there.

    Args:
        records: what was declared, the first one first; without any, nothing is known to be new.
        asked: what is declared now.
        seen: replicates of which results are there now: for what has no record.
    """
    if not records:
        return ()
    first, found = records[0].asked, []
    for name, value in asked.items():
        if name not in first or first[name] == value:
            continue
        unit = _QUESTION if name in _QUESTION else (name,)
        when = [
            record.seen
            for record in records
            if all(record.asked.get(part) == asked[part] for part in unit)
        ]
        known = min(when, default=seen)
        if known:
            found.append(Change(name, first[name], value, known))
    return tuple(found)
