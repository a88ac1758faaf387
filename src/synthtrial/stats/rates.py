"""Rates of what ended without a score, and whether they go with something that was varied.

Trials that diverge or fail are no accident of nature that strikes all alike: where one arm loses
its bad seeds, the mean of what is left flatters it. Rates therefore have intervals of their own,
and a test says whether they differ between groups (arms, or regimens) more than chance would have
it, each compared within strata that share everything else.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

#: Random tables that a p-value is counted on; none can then be below 1 in 10,000.
TABLES = 9_999
_ENOUGH = 5.0  # of the variance of every group's count, for its normal approximation
_SINGULAR = 1e-9


def wilson_interval(count: int, total: int, confidence: float = 0.95) -> tuple[float, float]:
    """Return the score interval of a rate: that of Wilson 1927, *Probable inference*.

    Unlike the rate plus and minus its standard error, it never leaves 0 to 1, and 0 of n has a
    width; Brown, Cai & DasGupta 2001 recommend it for few trials.

    Args:
        count: trials that had the outcome.
        total: of them.
        confidence: nominal coverage.

    Returns:
        Its ends; NaN, NaN without trials.

    Raises:
        ValueError: ``count`` is not among ``total``, or ``confidence`` is not between 0 and 1.
    """
    if not 0 <= count <= total or not 0.0 < confidence < 1.0:
        raise ValueError(
            f"a rate needs 0 <= count <= total and 0 < confidence < 1; got {count} of {total} and "
            f"{confidence}"
        )
    if total == 0:
        return math.nan, math.nan
    from scipy.special import ndtri  # scipy.stats would take a second to import

    z, rate = float(ndtri(0.5 + confidence / 2.0)), count / total
    scale = 1.0 + z * z / total
    centre = (rate + z * z / (2.0 * total)) / scale
    half = z / scale * math.sqrt(rate * (1.0 - rate) / total + z * z / (4.0 * total * total))
    return (
        0.0 if count == 0 else max(centre - half, 0.0),
        1.0 if count == total else min(centre + half, 1.0),
    )


@dataclass(frozen=True)
class Association:
    """Whether an outcome goes with a group.

    Attributes:
        groups: names, sorted; the order of the arrays.
        counts: trials of each group with the outcome, shape (groups,).
        totals: trials of each group, shape (groups,).
        expected: counts if every stratum dealt its outcomes out at random, shape (groups,).
        excess: (count - expected) over its standard deviation, shape (groups,); 0 where that is 0.
        statistic: generalised Mantel-Haenszel statistic.
        df: its degrees of freedom; 0 where no stratum can tell groups apart.
        p_value: of no association; NaN where ``df`` is 0.
        exact: whether ``p_value`` was counted on random tables and not taken from chi-square.
    """

    groups: tuple[str, ...]
    counts: NDArray[np.int64]
    totals: NDArray[np.int64]
    expected: NDArray[np.float64]
    excess: NDArray[np.float64]
    statistic: float
    df: int
    p_value: float
    exact: bool


def association(
    outcomes: ArrayLike,
    groups: Sequence[str],
    strata: Sequence[Hashable],
    *,
    tables: int = TABLES,
    seed: int = 0,
) -> Association:
    """Test whether an outcome goes with a group, within strata.

    The statistic is that of Landis, Heyman & Koch 1978, *Average partial association in three-way
    contingency tables* (eq. 2.5, two outcomes): with one stratum it is Pearson's chi-square times
    (N - 1) / N, with one trial of each group in each stratum it is Cochran's Q. Its distribution
    under no association is that of dealing the outcomes of each stratum out at random among its
    trials, and is counted on random tables unless the counts are large (Mantel & Fleiss 1980).

    Args:
        outcomes: whether each trial had it.
        groups: group of each trial.
        strata: what each trial shares with those it is compared with.
        tables: number of random tables.
        seed: of these.

    Raises:
        ValueError: lengths differ, or there are no trials.
    """
    bad_N = np.asarray(outcomes, dtype=bool).ravel()
    if not (bad_N.size == len(groups) == len(strata)) or bad_N.size == 0:
        raise ValueError(
            f"one group and one stratum for each outcome, and at least one: got {bad_N.size} "
            f"outcomes, {len(groups)} groups, {len(strata)} strata"
        )
    names, group_N = np.unique(np.asarray(groups, dtype=object).astype(str), return_inverse=True)
    places = {name: place for place, name in enumerate(dict.fromkeys(strata))}
    sizes_HG = np.zeros((len(places), names.size), dtype=np.int64)
    counts_HG = np.zeros_like(sizes_HG)
    stratum_N = np.array([places[name] for name in strata])
    np.add.at(sizes_HG, (stratum_N, group_N), 1)
    np.add.at(counts_HG, (stratum_N[bad_N], group_N[bad_N]), 1)
    size_H, bad_H = sizes_HG.sum(axis=1), counts_HG.sum(axis=1)
    share_HG = sizes_HG / size_H[:, None]
    expected_G = bad_H @ share_HG
    # Multivariate hypergeometric: strata that hold one outcome or one group tell nothing.
    spread_H = bad_H * (size_H - bad_H) / np.maximum(size_H - 1, 1)
    covariance_GG = np.diag(spread_H @ share_HG) - (share_HG.T * spread_H) @ share_HG
    inverse_GG = np.linalg.pinv(covariance_GG, rcond=_SINGULAR, hermitian=True)
    df = int(np.linalg.matrix_rank(covariance_GG, tol=_SINGULAR * bad_N.size, hermitian=True))
    deviation_G = np.sqrt(np.maximum(np.diag(covariance_GG), 0.0))
    gap_G = counts_HG.sum(axis=0) - expected_G
    telling_G = deviation_G > math.sqrt(_SINGULAR)
    statistic = float(gap_G @ inverse_GG @ gap_G) if df else 0.0
    exact = bool((deviation_G[telling_G] ** 2 < _ENOUGH).any())
    if df == 0:
        p_value = math.nan
    elif exact:
        drawn_TG = _random_counts(sizes_HG, bad_H, tables, seed) - expected_G
        others_T = np.einsum("tg,gh,th->t", drawn_TG, inverse_GG, drawn_TG)
        p_value = (1.0 + float((others_T >= statistic - 1e-9).sum())) / (tables + 1.0)
    else:
        from scipy.special import chdtrc

        p_value = float(chdtrc(df, statistic))
    return Association(
        groups=tuple(str(name) for name in names),
        counts=counts_HG.sum(axis=0),
        totals=sizes_HG.sum(axis=0),
        expected=expected_G,
        excess=np.where(telling_G, gap_G / np.where(telling_G, deviation_G, 1.0), 0.0),
        statistic=statistic,
        df=df,
        p_value=p_value,
        exact=exact,
    )


def _random_counts(
    sizes_HG: NDArray[np.int64], bad_H: NDArray[np.int64], tables: int, seed: int
) -> NDArray[np.float64]:
    """Deal the outcomes of each stratum out at random; shape (tables, groups)."""
    random = np.random.default_rng(seed)
    found_TG: NDArray[np.float64] = np.zeros((tables, sizes_HG.shape[1]))
    alike = Counter(
        (tuple(sizes_G.tolist()), int(bad))
        for sizes_G, bad in zip(sizes_HG, bad_H, strict=True)
        if 0 < bad < sizes_G.sum()
    )
    fixed_G = sizes_HG[bad_H == sizes_HG.sum(axis=1)].sum(axis=0)
    for (sizes, bad), strata in sorted(alike.items()):
        for _ in range(strata):
            found_TG += random.multivariate_hypergeometric(sizes, bad, size=tables)
    found_TG += fixed_G
    return found_TG


def worst_case_mean(values: ArrayLike, missing: int) -> float:
    """Return the mean if what is missing had been as low as the lowest of what is there.

    Args:
        values: scores that are there; higher is better.
        missing: number of scores that are not.

    Returns:
        NaN where there is no score at all.

    Raises:
        ValueError: ``missing`` is negative, or a value is not finite.
    """
    known = np.asarray(values, dtype=np.float64).ravel()
    if missing < 0 or not np.isfinite(known).all():
        raise ValueError(f"finite scores and a count of missing ones; got {missing} missing")
    if known.size == 0:
        return math.nan
    return float((known.sum() + missing * known.min()) / (known.size + missing))
