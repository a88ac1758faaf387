"""Images of a published table: do its rows add up, and do its counts reach what they are for?"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

from synthtrial.config import BalanceConfig
from synthtrial.errors import InfeasibleTargetError
from synthtrial.published import Published
from synthtrial.synthesis.balance import required_counts
from synthtrial.synthesis.minimum import exact_fraction

#: How a share stands to its target; open between the bounds, empty without a target.
Standing = Literal["reached", "short", "open", ""]
_SHARE_TOLERANCE = 0.05  # a label such as "10 %" may stand for 9.5 to 10.5 %


@dataclass(frozen=True)
class SumCheck:
    """One printed total.

    Attributes:
        regimen: its label.
        rows: real images.
        added: synthetic images of all classes.
        total: their sum.
        printed: what the table says; None where it says nothing.
    """

    regimen: str
    rows: int
    added: int
    total: int
    printed: int | None

    @property
    def holds(self) -> bool | None:
        """Whether the printed total is the sum; None where none is printed."""
        return None if self.printed is None else self.printed == self.total


@dataclass(frozen=True)
class ShareCheck:
    """A number of rows against the share that it is said to be.

    Attributes:
        what: such as ``"10 %"`` or ``"test set"``.
        rows: its rows.
        of: rows of what it is a share of.
        claimed: the share in words.
    """

    what: str
    rows: int
    of: int
    claimed: float

    @property
    def share(self) -> float:
        """The share that the rows are."""
        return self.rows / self.of

    @property
    def holds(self) -> bool:
        """Whether the two agree within a twentieth."""
        return abs(self.share / self.claimed - 1) <= _SHARE_TOLERANCE


@dataclass(frozen=True)
class Prevalence:
    """Share of one class in one augmented training set.

    The real rows are taken to hold each class as often as the whole dataset does, and a synthetic
    image of class p to hold class q with probability P(q|p), as label vectors of real images do.

    Attributes:
        regimen: its label.
        class_: name of the class.
        before: share among the real rows.
        low: no synthetic image holds a class besides its own.
        expected: with the co-occurrence of the table; None where it gives none.
        high: every synthetic image holds all the classes.
        deviation: standard deviation of the share over draws of the real rows and of the label
            vectors, rows being independent; NaN without co-occurrence.
        target: the share claimed; None where none is.
    """

    regimen: str
    class_: str
    before: float
    low: float
    expected: float | None
    high: float
    deviation: float
    target: float | None

    @property
    def standing(self) -> Standing:
        """Whether the target is reached."""
        if self.target is None:
            return ""
        if self.expected is not None:
            return "reached" if self.expected >= self.target else "short"
        if self.low >= self.target:
            return "reached"
        return "short" if self.high < self.target else "open"


@dataclass(frozen=True)
class Fewest:
    """The smallest counts that reach the target in one regimen, beside the printed ones.

    Attributes:
        regimen: its label.
        printed: synthetic images of each class in the table.
        needed: of least sum that reach the target with the known co-occurrence; without one, if no
            image held a second class, which is the most that could be needed. None where no
            number reaches it.
        why: why ``needed`` is None.
    """

    regimen: str
    printed: Mapping[str, int]
    needed: Mapping[str, int] | None
    why: str = ""

    @property
    def ratio(self) -> float:
        """Printed images over needed ones; NaN where that means nothing."""
        needed = sum(self.needed.values()) if self.needed else 0
        return sum(self.printed.values()) / needed if needed else math.nan


def sums(table: Published) -> tuple[SumCheck, ...]:
    """Add up every row of synthetic counts."""
    found = []
    for regimen in table.regimens if table.images else ():
        row = table.images[regimen.label]
        added = sum(row.synthetic.values())
        found.append(SumCheck(regimen.label, regimen.rows, added, regimen.rows + added, row.total))
    return tuple(found)


def shares(table: Published) -> tuple[ShareCheck, ...]:
    """Compare regimens with their shares of the largest, and the test set with its of all rows."""
    largest = table.regimens[-1].rows
    found = [
        ShareCheck(regimen.label, regimen.rows, largest, regimen.share)
        for regimen in table.regimens
        if regimen.share is not None
    ]
    if table.test is not None and table.test.claimed_share is not None:
        found.append(ShareCheck("test set", table.test.rows, table.rows, table.test.claimed_share))
    return tuple(found)


def prevalences(table: Published) -> tuple[Prevalence, ...]:
    """Work out what share of every augmented set each class is."""
    return tuple(
        _prevalence(table, regimen.label, regimen.rows, class_)
        for regimen in (table.regimens if table.images else ())
        for class_ in table.classes
    )


def _prevalence(table: Published, label: str, rows: int, class_: str) -> Prevalence:
    added = table.images[label].synthetic
    images, share = sum(added.values()), table.prevalence(class_)
    real, total = rows * share, rows + images
    expected, deviation = None, math.nan
    if table.cooccurrence:
        held = {p: float(_conditional(table)[p][class_]) for p in added}
        expected = (real + sum(n * held[p] for p, n in added.items())) / total
        unseen = max(1 - rows / table.rows, 0)  # rows are drawn without replacement
        variance = rows * share * (1 - share) * unseen
        variance += sum(n * held[p] * (1 - held[p]) for p, n in added.items())
        deviation = math.sqrt(variance) / total
    return Prevalence(
        regimen=label,
        class_=class_,
        before=share,
        low=(real + added[class_]) / total,
        expected=expected,
        high=(real + images) / total,
        deviation=deviation,
        target=table.target,
    )


def fewest_counts(table: Published) -> tuple[Fewest, ...]:
    """Find the counts of least sum that reach the target in every regimen."""
    if not table.images or table.target is None:
        return ()
    config = BalanceConfig(classes=table.classes, target=table.target)
    conditional, found = _conditional(table), []
    for regimen in table.regimens:
        printed = table.images[regimen.label].synthetic
        counts = {name: round(regimen.rows * table.prevalence(name)) for name in table.classes}
        # A class too rare to be expected once still has label vectors in the whole dataset.
        counts = {name: max(count, 1) for name, count in counts.items()}
        try:
            needed = required_counts(counts, regimen.rows, conditional, config)
            ordered = {name: needed[name] for name in table.classes}
            found.append(Fewest(regimen.label, printed, ordered))
        except InfeasibleTargetError as error:
            why = str(error).split(" Lower ")[0]  # what follows is advice about a study
            if not table.cooccurrence:
                why = f"if no image held a second class, {why}"
            found.append(Fewest(regimen.label, printed, None, why))
    return tuple(found)


def _conditional(table: Published) -> dict[str, dict[str, Fraction]]:
    """Return P(q|p) as ``[p][q]``; without co-occurrence, classes that exclude one another."""
    zero: dict[str, float] = dict.fromkeys(table.classes, 0.0)
    return {
        p: {
            q: exact_fraction(value)
            for q, value in {**zero, **table.cooccurrence.get(p, {}), p: 1.0}.items()
        }
        for p in table.classes
    }


def percent(share: float, digits: int = 2) -> str:
    """Write a share for people: ``14.94 %``."""
    return f"{100 * share:.{digits}f} %"
