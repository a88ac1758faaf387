"""What is wrong with a published table whose every setting is known and of the right type.

Numbers that cannot be, and sections that do not fit together.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from types import UnionType
from typing import Any, get_args, get_origin, get_type_hints

from synthtrial.errors import suggest
from synthtrial.published.table import COUNT_KINDS, Published, PublishedClaim, squeezed


def find_problems(table: Published) -> list[str]:
    """Return everything that cannot be, each in one line; nothing where all is well."""
    return list(_misplaced(table, Published)) or list(_problems(table))


def _misplaced(value: Any, hint: Any, where: str = "") -> Iterator[str]:
    """Yield every section that stands where one value belongs: OmegaConf lets them pass."""
    inside = [item for item in get_args(hint) if item is not type(None)]
    if isinstance(hint, UnionType):
        if value is not None:
            yield from _misplaced(value, inside[0], where)
    elif is_dataclass(hint) and is_dataclass(value):
        hints = get_type_hints(hint)
        for item in fields(value):
            place = f"{where}.{item.name}".lstrip(".")
            yield from _misplaced(getattr(value, item.name), hints[item.name], place)
    elif get_origin(hint) is dict:
        for name, part in value.items():
            yield from _misplaced(part, inside[1], f"{where}.{name}")
    elif get_origin(hint) is list:
        for index, part in enumerate(value):
            yield from _misplaced(part, inside[0], f"{where}[{index}]")
    elif isinstance(value, dict | list):
        yield f"{where} is {value}; it takes one value"


def _problems(table: Published) -> Iterator[str]:
    if not table.positives or not table.regimens:
        yield "positives and regimens need at least one class and one regimen"
        return
    if not (table.images or table.scores):
        yield "there is nothing to audit: give 'images', 'scores' or both"
    yield from _rows(table)
    for name, value in (
        ("target", table.target),
        ("alpha", table.alpha),
        ("power", table.power),
        ("test.claimed_share", table.test.claimed_share if table.test else None),
    ):
        if value is not None and not 0 < value < 1:
            yield f"{name} is {value}; allowed: between 0 and 1"
    if not -1 <= table.correlation <= 1:
        yield f"correlation is {table.correlation}; allowed: from -1 to 1"
    for p, row in table.cooccurrence.items():
        yield from _names(f"cooccurrence.{p}", row, set(table.classes) - {p}, (p,))
        for q, value in row.items():
            if not 0 <= value <= 1 or (p == q and value != 1):
                yield f"cooccurrence.{p}.{q} is {value}; P(q|p) lies between 0 and 1"
    if table.cooccurrence:
        yield from _names("cooccurrence", table.cooccurrence, table.classes)
    if table.scores:
        yield from _scores(table)
    yield from _unknown("gaps", table.gaps, table.labels)
    for label, by_arm in table.gaps.items():
        yield from _unknown(f"gaps.{label}", by_arm, table.arms)
        for arm, gap in by_arm.items():
            if not math.isfinite(gap):
                yield f"gaps.{label}.{arm} is {gap}; allowed: a finite number"
    for place, claim in enumerate(table.claims, start=1):
        for problem in _claim(table, claim):
            yield f"claim {place} ('{claim.says}'): {problem}"


def _rows(table: Published) -> Iterator[str]:
    known = set(table.classes)
    if len({squeezed(label) for label in table.labels}) != len(table.labels):
        yield f"regimens: the labels {table.labels} are not distinct"
    sizes = [regimen.rows for regimen in table.regimens]
    if sizes[0] < 1 or any(a >= b for a, b in itertools.pairwise(sizes)):
        yield f"regimens: rows are {sizes}; list them from the smallest, at least 1 row, upwards"
    if sizes[-1] > table.rows:
        yield f"regimens: {sizes[-1]} rows are more than the {table.rows} of the dataset"
    for regimen in table.regimens:
        share = regimen.share
        if share is not None and not 0 < share <= 1:
            yield f"regimens: the share of {regimen.label} is {share}; allowed: above 0, up to 1"
    for name, count in table.positives.items():
        if not 0 < count < table.rows:
            yield f"positives.{name} is {count}; allowed: above 0, below rows ({table.rows})"
    if table.images:
        yield from _names("images", table.images, table.labels)
    for label, row in table.images.items():
        yield from _names(f"images.{label}.synthetic", row.synthetic, known)
        if any(count < 0 for count in row.synthetic.values()):
            yield f"images.{label}.synthetic: {row.synthetic}; allowed: 0 or more"
    test = table.test
    if test is None:
        return
    given = test.positives if test.positives is not None else test.prevalence
    if (test.positives is None) == (test.prevalence is None) or given is None:
        yield "test: give either 'positives' or 'prevalence' of every class"
        return
    yield from _names("test", given, known)
    for name, value in given.items():
        if not 1 <= (value if test.positives is not None else value * test.rows) <= test.rows - 1:
            yield (
                f"test: {name} is {value}; allowed: what leaves at least one positive and one "
                f"other of {test.rows} rows"
            )


def _scores(table: Published) -> Iterator[str]:
    if len(table.arms) < 2 or len(set(table.arms)) != len(table.arms):
        yield f"arms is {table.arms}; name at least two, once, the baseline first"
    yield from _names("scores", table.scores, table.labels)
    for label, by_class in table.scores.items():
        yield from _names(f"scores.{label}", by_class, table.classes)
        for name, by_arm in by_class.items():
            yield from _names(f"scores.{label}.{name}", by_arm, table.arms)
            for arm, value in by_arm.items():
                if not (math.isfinite(value) and (table.metric != "auc" or 0 <= value <= 1)):
                    yield f"scores.{label}.{name}.{arm} is {value}; an AUC lies between 0 and 1"


def _claim(table: Published, claim: PublishedClaim) -> Iterator[str]:
    yield from _unknown("regimens", [*claim.regimens, *claim.others], table.labels)
    yield from _unknown("classes", claim.classes, table.classes)
    needs = {
        "margin": ("value", "tolerance"),
        "at_most": ("value",),
        "larger": ("regimens", "others"),
        "minimum": ("tolerance",),
    }.get(claim.kind, ())
    for name in needs:
        if getattr(claim, name) in (None, []):
            yield f"the kind '{claim.kind}' needs '{name}'"
    for name, value in (("value", claim.value), ("tolerance", claim.tolerance)):
        if value is not None and not math.isfinite(value):
            yield f"{name} is {value}; allowed: a finite number"
    if claim.kind in COUNT_KINDS:
        if not table.images or table.target is None:
            yield f"the kind '{claim.kind}' needs 'images' and a 'target'"
        return
    yield from _unknown("arms", [*claim.arms, *claim.than], table.arms)
    if not (table.scores and claim.arms and claim.than):
        yield f"the kind '{claim.kind}' needs 'scores', and 'arms' and 'than' to compare"


def _names(
    where: str, got: Mapping[str, Any], wanted: Iterable[str], also: Iterable[str] = ()
) -> Iterator[str]:
    """Yield what is unknown and what is missing among the keys of a section."""
    wanted = list(wanted)
    yield from _unknown(where, got, [*wanted, *also])
    missing = [name for name in wanted if name not in got]
    if missing:
        yield f"{where}: {', '.join(missing)} is missing; add it (all of: {', '.join(wanted)})"


def _unknown(where: str, got: Iterable[str], allowed: Iterable[str]) -> Iterator[str]:
    allowed = list(allowed)
    for name in got:
        if name not in allowed:
            yield f"{where}: unknown '{name}': {suggest(name, allowed)}"
