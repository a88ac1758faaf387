"""The bootstrap of groups: test sets drawn anew from the groups of this one, with replacement.

Whole groups (patients, places) are drawn, so that what the rows of a group have in common is kept
(Davison & Hinkley, *Bootstrap Methods and their Application*, 1997, sect. 3.8; Field & Welsh,
J. R. Statist. Soc. B 69:369-390, 2007). Scores of several arms and seeds that are computed from the
same draws differ as they would on another test set, so differences of columns are paired.

Ratios, areas and average precisions have influences in closed form (:mod:`.influence`); this is for
any other score.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from synthtrial.stats.influence import Floats, Grouping

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray


def group_weights(
    groups: Grouping, resamples: int, generator: np.random.Generator
) -> NDArray[np.int64]:
    """Draw how often each group is in each resample, shape (resamples, groups)."""
    n = len(groups)
    return np.asarray(generator.multinomial(n, np.full(n, 1.0 / n), size=resamples))


def bootstrap_rows(
    statistic: Callable[[NDArray[np.int64]], ArrayLike],
    groups: Grouping,
    weights_BG: NDArray[np.int64],
) -> Floats:
    """Return any statistic in each resample, shape (resamples, R).

    Args:
        statistic: called with the rows of a resample, some of them several times; returns one
            number or R of them.
        groups: of the rows.
        weights_BG: of :func:`group_weights`.
    """
    group_rows = [groups.rows(g) for g in range(len(groups))]
    found = []
    for weights_G in weights_BG:
        drawn = np.repeat(np.arange(len(groups)), weights_G)
        rows_M = np.concatenate([group_rows[g] for g in drawn])
        found.append(np.atleast_1d(np.asarray(statistic(rows_M), dtype=np.float64)))
    return np.array(found)


def deviations(values_BR: Floats) -> Floats:
    """Return deviations from the mean over resamples, scaled so that sums of squares are variances.

    They stand for influences (:class:`.influence.Influence`): linear, and paired between columns.
    A resample in which a score is undefined adds nothing to it; where more than half are, the
    column is NaN.
    """
    known_BR = np.isfinite(values_BR)
    count_R = known_BR.sum(axis=0)
    enough_R = (count_R >= 2) & (2 * count_R >= len(values_BR))
    filled_BR = np.where(known_BR, values_BR, 0.0)
    mean_R = filled_BR.sum(axis=0) / np.maximum(count_R, 1)
    scaled_BR = np.where(known_BR, values_BR - mean_R, 0.0) / np.sqrt(np.maximum(count_R - 1, 1))
    return np.where(enough_R, scaled_BR, math.nan)
