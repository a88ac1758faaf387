"""Two studies, or the results of two versions of the code, side by side.

    found = compare(open_side("digits@old", "A"), open_side("digits@new", "B"))

:mod:`.sides` finds what is meant, :mod:`.tested` refuses what was judged on different images,
:mod:`.settings` lists what was set otherwise, :mod:`.arithmetic` has the numbers; :mod:`.terminal`
and :mod:`.page` show them.
"""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from synthtrial.report.compare.arithmetic import (
    Common,
    common,
    equal_results,
    gains_table,
    scores_table,
)
from synthtrial.report.compare.settings import Difference, differences, origins
from synthtrial.report.compare.sides import Side, measured
from synthtrial.report.compare.sides import open_side as open_side
from synthtrial.report.compare.tested import TestSet, same_test_set


@dataclass(frozen=True)
class SideBySide:
    """Everything that a comparison shows.

    Attributes:
        a, b: what is compared; differences are B minus A.
        test_set: that both were judged on.
        shared: what can be compared, and what is left out.
        settings: that differ.
        origins: what made the results: label, value in A, value in B; equal ones too.
        scores, gains: of :func:`.arithmetic.scores_table` and :func:`.arithmetic.gains_table`.
        both: trials, by id, that both have run to their end.
        changed: ids of those of them whose results differ.
    """

    a: Side
    b: Side
    test_set: TestSet
    shared: Common
    settings: tuple[Difference, ...]
    origins: tuple[tuple[str, str, str], ...]
    scores: pd.DataFrame
    gains: pd.DataFrame
    both: int
    changed: tuple[str, ...]


def compare(a: Side, b: Side) -> SideBySide:
    """Put two sides beside each other.

    Raises:
        ConfigError: they are one and the same, or have no arm and regimen in common.
        DataError: their test sets differ.
        StoreError: a test set cannot be read, or there are no results yet.
    """
    tested = same_test_set(a, b)
    shared = common(a.facts, b.facts)
    same_seed = a.study.settings.seed == b.study.settings.seed
    both, changed = equal_results(measured(a), measured(b))
    return SideBySide(
        a,
        b,
        tested,
        shared,
        differences(a.study, b.study),
        origins(a, b),
        scores_table(a.facts, b.facts, same_seed=same_seed),
        gains_table(a.facts, b.facts, same_seed=same_seed),
        both,
        changed,
    )
