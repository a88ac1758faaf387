"""A published table as data: its sections, and how to look things up in it."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, Literal

_MISSING: Any = "???"  # OmegaConf's word for what must be given

Kind = Literal["above", "margin", "at_most", "falls", "larger", "reaches", "minimum"]
#: Claims about the synthetic counts; the others are about scores.
COUNT_KINDS: tuple[Kind, ...] = ("reaches", "minimum")


@dataclass(frozen=True)
class HeldOut:
    """The rows that scores were taken on. Give ``positives`` or ``prevalence``.

    Attributes:
        rows: their number.
        positives: positive rows of every class, if they were counted.
        prevalence: share of every class otherwise; the positives are then expected numbers.
        claimed_share: share of the dataset that the text says was held out.
    """

    rows: int = _MISSING
    positives: dict[str, int] | None = None
    prevalence: dict[str, float] | None = None
    claimed_share: float | None = None


@dataclass(frozen=True)
class PublishedRegimen:
    """One size of the training set.

    Attributes:
        label: what the table calls it.
        rows: real training images.
        share: part of the largest regimen that the label stands for.
    """

    label: str = _MISSING
    rows: int = _MISSING
    share: float | None = None


@dataclass(frozen=True)
class Images:
    """One row of the table of synthetic counts.

    Attributes:
        synthetic: images generated for each class.
        total: size of the augmented training set as printed.
    """

    synthetic: dict[str, int] = _MISSING
    total: int | None = None


@dataclass(frozen=True)
class PublishedClaim:
    """A sentence of the text as an inequality on the printed numbers.

    Attributes:
        says: the claim in one's own words.
        where: section of the text.
        kind: ``above``: an arm scores higher than another; ``margin``: by ``value``, within
            ``tolerance``; ``at_most``: by no more than ``value``; ``falls``: the difference
            shrinks from each regimen to the next; ``larger``: it is larger in each of ``regimens``
            than in each of ``others``; ``reaches``: the counts bring every class to the target;
            ``minimum``: they add up to no more than the fewest that do, ``tolerance`` (a share)
            apart.
        arms: the arms that are said to differ, each ...
        than: ... from each of these.
        regimens: labels; empty means all.
        others: for ``larger``.
        classes: names; empty means all.
        value: for ``margin`` and ``at_most``.
        tolerance: for ``margin`` and ``minimum``.
        mean: whether the mean over the classes is meant, not each class.
    """

    says: str = _MISSING
    where: str = _MISSING
    kind: Kind = _MISSING
    arms: list[str] = field(default_factory=list)
    than: list[str] = field(default_factory=list)
    regimens: list[str] = field(default_factory=list)
    others: list[str] = field(default_factory=list)
    classes: list[str] = field(default_factory=list)
    value: float | None = None
    tolerance: float | None = None
    mean: bool = False


@dataclass(frozen=True)
class Published:
    """One published table, checked. Read it with :func:`synthtrial.published.load_published`.

    Attributes:
        name: one word.
        title: of the publication.
        source: where to find it.
        dataset: name of the dataset plug-in with the same images, if there is one.
        metric: what the scores are; standard errors are known for ``auc``.
        rows: rows of the whole dataset.
        positives: positive rows of every audited class among them.
        cooccurrence: ``cooccurrence[p][q]`` is P(q|p), the share of the rows of p that hold q.
        target: prevalence that the synthetic images are said to bring every class to.
        test: the test set, where its size is known.
        arms: names, the baseline first.
        regimens: sizes of the training set, smallest first.
        images: by regimen's label, synthetic images and printed total.
        scores: by regimen's label, class and arm.
        gaps: by regimen's label and arm, validation minus training loss after the last epoch.
        correlation: assumed, of two areas on one test set.
        alpha: probability of a false alarm that comparisons are made for.
        power: probability of finding what is there.
        claims: what the text says of these numbers.
        notes: what a reader of the audit should know besides.
    """

    name: str = _MISSING
    title: str = _MISSING
    source: str = _MISSING
    dataset: str | None = None
    metric: str = "auc"
    rows: int = _MISSING
    positives: dict[str, int] = _MISSING
    cooccurrence: dict[str, dict[str, float]] = field(default_factory=dict)
    target: float | None = None
    test: HeldOut | None = None
    arms: list[str] = field(default_factory=list)
    regimens: list[PublishedRegimen] = _MISSING
    images: dict[str, Images] = field(default_factory=dict)
    scores: dict[str, dict[str, dict[str, float]]] = field(default_factory=dict)
    gaps: dict[str, dict[str, float]] = field(default_factory=dict)
    correlation: float = 0.5
    alpha: float = 0.05
    power: float = 0.8
    claims: list[PublishedClaim] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def classes(self) -> list[str]:
        """Names of the audited classes, in the order of the file."""
        return list(self.positives)

    @property
    def labels(self) -> list[str]:
        """Labels of the regimens, smallest first."""
        return [regimen.label for regimen in self.regimens]

    def regimen(self, which: str | float) -> PublishedRegimen | None:
        """Find a regimen by its label, its number of rows or its share (0.01 or "1 %")."""
        for regimen in self.regimens:
            if isinstance(which, str):
                if squeezed(regimen.label) == squeezed(which):
                    return regimen
            elif which == regimen.rows or (
                regimen.share is not None and math.isclose(which, regimen.share)
            ):
                return regimen
        return None

    def score(self, regimen: str | float, class_: str, arm: str) -> float | None:
        """Return a printed score; None where the table has none."""
        found = self.regimen(regimen)
        row = self.scores.get(found.label, {}) if found else {}
        return row.get(class_, {}).get(arm)

    def gap(self, regimen: str | float, arm: str) -> float | None:
        """Return a printed gap of losses; None where there is none."""
        found = self.regimen(regimen)
        return self.gaps.get(found.label, {}).get(arm) if found else None

    def synthetic(self, regimen: str | float, class_: str) -> int | None:
        """Return the printed number of synthetic images for a class; None where there is none."""
        found = self.regimen(regimen)
        row = self.images.get(found.label) if found else None
        return row.synthetic.get(class_) if row else None

    def total(self, regimen: str | float) -> int | None:
        """Return real plus synthetic images, added up; None where the table has no counts."""
        found = self.regimen(regimen)
        row = self.images.get(found.label) if found else None
        return found.rows + sum(row.synthetic.values()) if found and row else None

    def printed_total(self, regimen: str | float) -> int | None:
        """Return that sum as printed; None where none is."""
        found = self.regimen(regimen)
        row = self.images.get(found.label) if found else None
        return row.total if row else None

    def prevalence(self, class_: str) -> float:
        """Return the share of a class in the whole dataset."""
        return self.positives[class_] / self.rows

    def test_positives(self, class_: str) -> float | None:
        """Return positive rows of the test set, counted or expected; None where unknown."""
        if self.test is None:
            return None
        if self.test.positives is not None:
            return float(self.test.positives[class_])
        assert self.test.prevalence is not None
        return self.test.rows * self.test.prevalence[class_]


def squeezed(label: str) -> str:
    """Return a label without spaces: "1 %" and "1%" are one."""
    return "".join(label.split())
