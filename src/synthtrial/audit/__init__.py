"""Audit a published table: its sums, its counts, what its test set can tell, and its claims.

:func:`audit` is pure: a table in, findings out. :mod:`synthtrial.audit.views` prints them.
"""

from __future__ import annotations

from dataclasses import dataclass

from synthtrial.audit.claims import Verdict, verdicts
from synthtrial.audit.counts import (
    Fewest,
    Prevalence,
    ShareCheck,
    SumCheck,
    fewest_counts,
    prevalences,
    shares,
    sums,
)
from synthtrial.audit.differences import AreaError, Difference, area_errors, differences
from synthtrial.published import Published

__all__ = ["Audit", "audit"]


@dataclass(frozen=True)
class Audit:
    """What was found in one table; a part is empty where the table does not hold what it needs.

    Attributes:
        table: what was audited.
        sums: real and synthetic images against the printed totals.
        shares: sizes against the shares that they are said to be.
        prevalences: what the printed counts reach.
        fewest: the counts that would reach the target with the fewest images.
        errors: standard error of every score.
        differences: every pair of arms in every cell.
        verdicts: the text's claims.
    """

    table: Published
    sums: tuple[SumCheck, ...]
    shares: tuple[ShareCheck, ...]
    prevalences: tuple[Prevalence, ...]
    fewest: tuple[Fewest, ...]
    errors: tuple[AreaError, ...]
    differences: tuple[Difference, ...]
    verdicts: tuple[Verdict, ...]


def audit(table: Published) -> Audit:
    """Audit a published table."""
    reached, fewest = prevalences(table), fewest_counts(table)
    compared = differences(table)
    return Audit(
        table=table,
        sums=sums(table),
        shares=shares(table),
        prevalences=reached,
        fewest=fewest,
        errors=area_errors(table),
        differences=compared,
        verdicts=verdicts(table, reached, fewest, compared),
    )
