"""Scores of a published table: their standard errors, and which differences its test set can tell.

Two networks are judged on one test set, so their areas are correlated and a difference is known
better than two test sets would have it. The correlation is rarely printed: every difference is
given for the assumed one and, as the cautious choice, for none.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

from synthtrial.published import Published
from synthtrial.stats.auc import (
    difference_se,
    hanley_mcneil_se,
    smallest_detectable_difference,
    two_sided_p,
)


@dataclass(frozen=True)
class AreaError:
    """One printed AUC.

    Attributes:
        regimen, class_, arm: the cell.
        auc: as printed.
        n_positive, n_negative: rows of the test set, possibly expected numbers.
        se: standard error over test sets (Hanley & McNeil 1982).
    """

    regimen: str
    class_: str
    arm: str
    auc: float
    n_positive: float
    n_negative: float
    se: float


@dataclass(frozen=True)
class Spread:
    """What the test set makes of a difference under one correlation.

    Attributes:
        correlation: of the two areas.
        se: standard error of the difference.
        z: difference over ``se``; NaN where ``se`` is 0.
        p_value: two-sided.
        detectable: true difference found with the table's alpha and power.
        exceeds: whether the printed difference is at least that large.
    """

    correlation: float
    se: float
    z: float
    p_value: float
    detectable: float
    exceeds: bool


@dataclass(frozen=True)
class Difference:
    """One arm less another in one cell.

    Attributes:
        regimen, class_: the cell.
        arm, than: what is compared, ``arm - than``.
        difference: of the printed scores.
        paired: with the assumed correlation; None where standard errors are unknown.
        independent: with none.
    """

    regimen: str
    class_: str
    arm: str
    than: str
    difference: float
    paired: Spread | None
    independent: Spread | None


def area_errors(table: Published) -> tuple[AreaError, ...]:
    """Return the standard error of every score; nothing without a test set, or for no AUC."""
    if table.test is None or table.metric != "auc" or not table.scores:
        return ()
    found = []
    for label, class_, arm in itertools.product(table.labels, table.classes, table.arms):
        auc = table.scores[label][class_][arm]
        positive = table.test_positives(class_)
        assert positive is not None
        negative = table.test.rows - positive
        se = float(hanley_mcneil_se(auc, positive, negative))
        found.append(AreaError(label, class_, arm, auc, positive, negative, se))
    return tuple(found)


def differences(table: Published) -> tuple[Difference, ...]:
    """Return every pair of arms in every cell, later arm less earlier one."""
    if not table.scores:
        return ()
    errors = {(error.regimen, error.class_, error.arm): error.se for error in area_errors(table)}
    found = []
    for label, class_ in itertools.product(table.labels, table.classes):
        for than, arm in itertools.combinations(table.arms, 2):
            scores = table.scores[label][class_]
            difference = round(scores[arm] - scores[than], 9)
            paired = independent = None
            if errors:
                pair = errors[label, class_, arm], errors[label, class_, than]
                paired = _spread(table, difference, pair, table.correlation)
                independent = _spread(table, difference, pair, 0.0)
            found.append(Difference(label, class_, arm, than, difference, paired, independent))
    return tuple(found)


def _spread(
    table: Published, difference: float, pair: tuple[float, float], correlation: float
) -> Spread:
    se = float(difference_se(*pair, correlation))
    detectable = float(smallest_detectable_difference(se, table.alpha, table.power))
    z = difference / se if se > 0 else math.nan
    p_value = float(two_sided_p(z))
    return Spread(correlation, se, z, p_value, detectable, abs(difference) >= detectable)
