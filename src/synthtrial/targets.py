"""How many replicates a study has been taken to in a store, by what rule, and after what looks.

Who raises the number of replicates after having seen results has looked: that is remembered, and
the report says so.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from synthtrial.errors import StoreError
from synthtrial.store.artifacts import Store
from synthtrial.store.files import storage_errors, write_file
from synthtrial.study import Study


@dataclass(frozen=True)
class WidthRule:
    """Replicate until the primary interval is narrow enough, its coverage kept (Stein 1945).

    Attributes:
        width: of the interval, from end to end, in units of the metric.
        first: blocks whose spread decides how many are needed, and stays in the interval.
        most: replicates at most.
    """

    width: float
    first: int
    most: int


@dataclass(frozen=True)
class Look:
    """One time that the number of replicates was raised.

    Attributes:
        before, after: replicates.
        seen: replicates of which results were there to be seen.
        by: what was typed.
        at: when (ISO, UTC).
    """

    before: int
    after: int
    seen: int
    by: str
    at: str


@dataclass(frozen=True)
class Target:
    """What was asked for in a store.

    Attributes:
        replicates: in all.
        rule: by which, if by one.
        looks: each time that they were raised.
    """

    replicates: int
    rule: WidthRule | None = None
    looks: tuple[Look, ...] = ()


def with_target(study: Study, store: Store) -> Study:
    """Return the study with the replicates that `synthtrial replicate` has asked for here."""
    target = read_target(study, store)
    return study if target is None else _with_replicates(study, target.replicates)


def read_target(study: Study, store: Store) -> Target | None:
    """Return what was asked for of a study in a store; None where nothing was.

    Raises:
        StoreError: the file that says so is damaged.
    """
    path = _path(study, store)
    if not path.exists():
        return None
    try:
        return _target(json.loads(path.read_text()))
    except (OSError, ValueError, KeyError, TypeError):
        raise StoreError(
            f"{path} does not say a number of replicates; remove it and run "
            f"`{study.command('replicate')} --to N` again"
        ) from None


def _target(found: Mapping[str, Any]) -> Target:
    rule = found.get("rule")
    return Target(
        int(found["replicates"]),
        None if rule is None else WidthRule(**rule),
        tuple(Look(**look) for look in found.get("looks", ())),
    )


def raise_target(
    study: Study,
    store: Store,
    replicates: int,
    *,
    seen: int = 0,
    by: str = "",
    rule: WidthRule | None = None,
) -> Study:
    """Remember that the study is taken to so many replicates, and return it so.

    Replicates are never taken away: a target below what was asked for before changes nothing.

    Args:
        study: the study.
        store: where.
        replicates: in all.
        seen: replicates of which results are there already.
        by: what was typed.
        rule: by which the number was found; that of before is kept without one.
    """
    known = read_target(study, store) or Target(0)
    study = _with_replicates(study, known.replicates)
    before = study.settings.protocol.replicates
    target = dataclasses.replace(known, replicates=max(before, replicates), rule=rule or known.rule)
    if target.replicates > before:
        now = datetime.now(UTC).isoformat(timespec="seconds")
        look = Look(before, target.replicates, seen, by, now)
        target = dataclasses.replace(target, looks=(*known.looks, look))
    if target.replicates > before or target.rule != known.rule:
        path = _path(study, store)
        with storage_errors(store.root):
            path.parent.mkdir(exist_ok=True)
            write_file(path, json.dumps(asdict(target)).encode() + b"\n")
    return _with_replicates(study, target.replicates)


def _path(study: Study, store: Store) -> Path:
    return store.root / "studies" / f"{study.name}.replicates.json"


def _with_replicates(study: Study, replicates: int) -> Study:
    if replicates <= study.settings.protocol.replicates:
        return study
    return study.replace([f"protocol.replicates={replicates}"])
