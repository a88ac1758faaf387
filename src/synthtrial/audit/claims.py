"""Sentences of a publication against its own printed numbers."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from synthtrial.audit.counts import Fewest, Prevalence, percent
from synthtrial.audit.differences import Difference
from synthtrial.published import Published, PublishedClaim

_ROUNDING = 1e-9  # printed numbers are decimal, differences are not


@dataclass(frozen=True)
class Cell:
    """One of the comparisons that a claim makes.

    Attributes:
        regimen: its label; two of them where regimens are compared.
        class_: name of the class, or what stands for several.
        found: what the printed numbers say, to be read.
        holds: whether the claim holds here.
    """

    regimen: str
    class_: str
    found: str
    holds: bool


@dataclass(frozen=True)
class Verdict:
    """What became of one claim.

    Attributes:
        claim: what was claimed.
        cells: every comparison it makes.
        told: of the cells of an ``above``, how many differ the way that is claimed by at least
            what the test set can detect with the assumed correlation; None for other kinds and
            without standard errors.
    """

    claim: PublishedClaim
    cells: tuple[Cell, ...]
    told: int | None

    @property
    def holds(self) -> bool:
        """Whether it holds in every cell."""
        return all(cell.holds for cell in self.cells)

    @property
    def failed(self) -> tuple[Cell, ...]:
        """The cells where it does not hold."""
        return tuple(cell for cell in self.cells if not cell.holds)


def verdicts(
    table: Published,
    prevalences: Sequence[Prevalence],
    fewest: Sequence[Fewest],
    differences: Sequence[Difference],
) -> tuple[Verdict, ...]:
    """Judge every claim of a table.

    Args:
        table: the table.
        prevalences: as found for it.
        fewest: as found for it.
        differences: as found for it.
    """
    found = []
    for claim in table.claims:
        if claim.kind == "reaches":
            cells = _reaches(table, claim, prevalences)
        elif claim.kind == "minimum":
            cells = _minimum(table, claim, fewest, prevalences)
        elif claim.kind in ("falls", "larger"):
            cells = _across_regimens(table, claim)
        else:
            cells = _within_regimens(table, claim)
        found.append(Verdict(claim, tuple(cells), _told(table, claim, differences)))
    return tuple(found)


def _reaches(
    table: Published, claim: PublishedClaim, prevalences: Sequence[Prevalence]
) -> Iterator[Cell]:
    for share in prevalences:
        if share.regimen in _regimens(table, claim) and share.class_ in _classes(table, claim):
            if share.expected is None:
                found = f"{percent(share.low)} to {percent(share.high)}"
            else:
                found = percent(share.expected)
            yield Cell(share.regimen, share.class_, found, share.standing != "short")


def _minimum(
    table: Published,
    claim: PublishedClaim,
    fewest: Sequence[Fewest],
    prevalences: Sequence[Prevalence],
) -> Iterator[Cell]:
    assert claim.tolerance is not None
    short = {share.regimen for share in prevalences if share.standing == "short"}
    for counts in fewest:
        if counts.regimen not in _regimens(table, claim):
            continue
        printed = sum(counts.printed.values())
        if counts.needed is None:
            known = bool(table.cooccurrence)  # without it, images of two classes may reach it
            found = "no number reaches it" if known else "whether a number reaches it is open"
            yield Cell(counts.regimen, "all", f"{printed:,} printed, {found}", not known)
            continue
        needed = sum(counts.needed.values())
        found = f"{printed:,} images printed, {needed:,} suffice"
        enough = counts.regimen not in short
        if not enough:
            found += "; those printed fall short"
        holds = enough and printed <= needed * (1 + claim.tolerance)
        yield Cell(counts.regimen, "all", found, holds)


def _within_regimens(table: Published, claim: PublishedClaim) -> Iterator[Cell]:
    for label, group in itertools.product(_regimens(table, claim), _groups(table, claim)):
        for arm, than in itertools.product(claim.arms, claim.than):
            high, low = _mean(table, label, group, arm), _mean(table, label, group, than)
            difference = high - low
            if claim.kind == "above":
                holds = difference > _ROUNDING
            elif claim.kind == "at_most":
                assert claim.value is not None
                holds = difference <= claim.value + _ROUNDING
            else:
                assert claim.value is not None
                assert claim.tolerance is not None
                holds = abs(difference - claim.value) <= claim.tolerance + _ROUNDING
            digits = 4 if len(group) > 1 else 3
            found = f"{arm} {high:.{digits}f}, {than} {low:.{digits}f} ({difference:+.{digits}f})"
            yield Cell(label, _name(group), found, holds)


def _across_regimens(table: Published, claim: PublishedClaim) -> Iterator[Cell]:
    if claim.kind == "falls":
        pairs = list(itertools.pairwise(_regimens(table, claim)))
    else:
        pairs = list(itertools.product(claim.regimens, claim.others))
    for group, (arm, than) in itertools.product(
        _groups(table, claim), itertools.product(claim.arms, claim.than)
    ):
        for first, second in pairs:
            here, there = (
                _mean(table, label, group, arm) - _mean(table, label, group, than)
                for label in (first, second)
            )
            found = f"{arm} - {than} is {here:+.3f} at {first}, {there:+.3f} at {second}"
            holds = here > there + _ROUNDING
            yield Cell(f"{first} and {second}", _name(group), found, holds)


def _told(table: Published, claim: PublishedClaim, differences: Sequence[Difference]) -> int | None:
    """Count the comparisons of an ``above`` that go its way and that the test set can tell."""
    if claim.kind != "above" or claim.mean or any(item.paired is None for item in differences):
        return None
    regimens, classes = _regimens(table, claim), _classes(table, claim)
    count = 0
    for item in differences:
        upwards = item.arm in claim.arms and item.than in claim.than and item.difference > 0
        downwards = item.than in claim.arms and item.arm in claim.than and item.difference < 0
        inside = item.regimen in regimens and item.class_ in classes
        if inside and (upwards or downwards) and item.paired is not None:
            count += item.paired.exceeds
    return count


def _regimens(table: Published, claim: PublishedClaim) -> list[str]:
    return claim.regimens or table.labels


def _classes(table: Published, claim: PublishedClaim) -> list[str]:
    return claim.classes or table.classes


def _groups(table: Published, claim: PublishedClaim) -> list[list[str]]:
    """Return what is compared: each class by itself, or all of them together."""
    classes = _classes(table, claim)
    return [classes] if claim.mean else [[name] for name in classes]


def _mean(table: Published, label: str, group: Sequence[str], arm: str) -> float:
    return sum(table.scores[label][name][arm] for name in group) / len(group)


def _name(group: Sequence[str]) -> str:
    return group[0] if len(group) == 1 else f"mean of {len(group)} classes"
