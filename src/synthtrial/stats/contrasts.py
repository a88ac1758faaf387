"""Differences between arms, one at a time and several at once, from a table of blocks by arms.

A *block* is what is independent: a draw (with its subset, its generator and the mean of its
replicates) or, where all replicates share one draw, a replicate; its arms share what the block
decides, so that this cancels in their differences.

Two spreads can stand behind a difference:

* ``pooled``: one residual variance for all arms, that of the additive model ``y = arm + block``
  with ``(A - 1)(B - 1)`` degrees of freedom in a complete table (:mod:`synthtrial.stats.blocks`).
  It supposes that all differences of two arms vary alike between blocks.
* ``own``: each difference by itself, its mean over the blocks with ``B - 1`` degrees of freedom:
  the paired t test. It supposes nothing about other arms. A random effect that some arms have and
  others lack, such as the generator whose images they add, is in it as it should be.

``auto`` takes ``own`` from :data:`OWN_FROM` blocks on, and at any number for arms that are said to
vary from block to block by more than their noise (``varying``): they break what ``pooled``
supposes, and enter no spread but their own. For the others it takes ``pooled`` below, where a
spread of one's own would rest on next to nothing. The rule looks at the number of blocks and at the
design, never at the data, so that it costs no coverage.

Simultaneous intervals are those of Dunnett (*A multiple comparison procedure for comparing several
treatments with a control*, JASA 50:1096-1121, 1955) for comparisons with one arm and of Tukey
(1953; Kramer 1956) for all pairs, in one form: the distribution of the largest ``|T|`` of a set of
contrasts (Hothorn, Bretz & Westfall, *Simultaneous inference in general parametric models*,
Biometrical Journal 50:346-363, 2008), with each contrast its own denominator under ``own`` (Hasler
& Hothorn, Biometrical Journal 50:793-800, 2008); see :mod:`synthtrial.stats.largest_t`. Where one
family holds comparisons of both kinds, each kind has the share of the error that its number gives
it (Bonferroni).
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from synthtrial.stats.blocks import fit_blocks
from synthtrial.stats.largest_t import max_abs_t
from synthtrial.stats.pooled import student_quantile

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    Floats = NDArray[np.float64]

Spread = Literal["auto", "own", "pooled"]
#: Blocks from which on ``auto`` gives each difference a spread of its own.
OWN_FROM = 6
_VANISHES = 1e-12


@dataclass(frozen=True)
class Comparison:
    """Estimated difference ``arm - baseline`` within a family of them.

    Attributes:
        arm, baseline: what is compared.
        estimate: the difference, in units of the values.
        standard_error: of the difference; NaN where ``df`` is 0.
        df: degrees of freedom of that standard error; 0 where fewer than two blocks hold both arms.
        low, high: ends of the t interval of this difference alone; NaN where ``df`` is 0.
        p_value: two-sided, of no difference; NaN where ``df`` is 0 or no block differs. Where all
            blocks differ by the very same amount it is that of the sign test.
        joint_low, joint_high: ends of the simultaneous interval: all those of the family hold at
            once with the nominal coverage.
        p_adjusted: of no difference, adjusted for the family (single step).
        n: blocks that hold both arms.
        n_higher: of these, how many hold a higher value of ``arm``.
        spread: ``own`` or ``pooled``.
        confidence: nominal coverage of the intervals.
    """

    arm: str
    baseline: str
    estimate: float
    standard_error: float
    df: int
    low: float
    high: float
    p_value: float
    joint_low: float
    joint_high: float
    p_adjusted: float
    n: int
    n_higher: int
    spread: Literal["own", "pooled"]
    confidence: float


def choose_spread(
    spread: Spread, n_blocks: int, *, varying: bool = False
) -> Literal["own", "pooled"]:
    """Return which spread a difference is judged by.

    Args:
        spread: what is asked for.
        n_blocks: of the table.
        varying: whether an arm of it varies from block to block by more than its noise.
    """
    if spread != "auto":
        return spread
    return "own" if varying or n_blocks >= OWN_FROM else "pooled"


def with_baseline(
    values_BA: ArrayLike,
    arms: Sequence[str],
    baseline: str,
    *,
    spread: Spread = "auto",
    varying: Collection[str] = (),
    confidence: float = 0.95,
) -> list[Comparison]:
    """Compare each arm with one of them; the family is that of Dunnett.

    Args:
        values_BA: one value for each block and arm; NaN where there is none.
        arms: names of the columns.
        baseline: that the others are compared with.
        spread: see the module.
        varying: arms that have a random effect of their own between blocks, such as the generator
            whose images they add.
        confidence: nominal coverage of the intervals.

    Returns:
        A comparison for each arm that shares blocks with the baseline (under ``pooled`` directly or
        through other arms), in the order of ``arms``.

    Raises:
        ValueError: shapes do not match, or a value is infinite.
    """
    pairs = [(arm, baseline) for arm in arms if arm != baseline and baseline in arms]
    return compare(values_BA, arms, pairs, spread=spread, varying=varying, confidence=confidence)


def all_pairs(
    values_BA: ArrayLike,
    arms: Sequence[str],
    *,
    spread: Spread = "auto",
    varying: Collection[str] = (),
    confidence: float = 0.95,
) -> list[Comparison]:
    """Compare all pairs of arms, the later one of ``arms`` less the earlier; the family is Tukey's.

    Args, Raises: as :func:`with_baseline`.
    """
    pairs = [(later, arm) for place, arm in enumerate(arms) for later in arms[place + 1 :]]
    return compare(values_BA, arms, pairs, spread=spread, varying=varying, confidence=confidence)


def compare(
    values_BA: ArrayLike,
    arms: Sequence[str],
    pairs: Sequence[tuple[str, str]],
    *,
    spread: Spread = "auto",
    varying: Collection[str] = (),
    confidence: float = 0.95,
) -> list[Comparison]:
    """Compare pairs of arms as one family; see :func:`with_baseline`."""
    values = np.asarray(values_BA, dtype=np.float64)
    if values.ndim != 2 or values.shape[1] != len(arms) or np.any(np.isinf(values)):
        raise ValueError(
            f"a table of finite values or NaN, one column for each of {len(arms)} arms, got shape "
            f"{values.shape}"
        )
    shared = [(a, b) for a, b in pairs if a in arms and b in arms]
    if not shared:
        return []
    held = values[~np.all(np.isnan(values), axis=1)]
    chosen = {
        pair: choose_spread(spread, len(held), varying=not set(pair).isdisjoint(varying))
        for pair in shared
    }
    alone = [pair for pair in chosen if chosen[pair] == "own"]
    together = [pair for pair in chosen if chosen[pair] == "pooled"]
    steady = [arm for arm in arms if spread == "pooled" or arm not in varying]
    columns = [list(arms).index(arm) for arm in steady]
    levels = [_Levels(confidence, len(part) / len(chosen)) for part in (alone, together)]
    found = _own(held, arms, alone, levels[0]) if alone else []
    found += _pooled(held[:, columns], steady, together, levels[1]) if together else []
    order = list(chosen)
    return sorted(found, key=lambda c: order.index((c.arm, c.baseline)))


@dataclass(frozen=True)
class _Levels:
    """Nominal coverage, and the share of the family's error that some of its comparisons have."""

    confidence: float
    share: float

    @property
    def joint(self) -> float:
        return 1.0 - self.share * (1.0 - self.confidence)


def _shared(values_BA: Floats, arms: Sequence[str], arm: str, baseline: str) -> Floats:
    """Return the differences of two arms in the blocks that hold both."""
    delta_B = values_BA[:, arms.index(arm)] - values_BA[:, arms.index(baseline)]
    return delta_B[~np.isnan(delta_B)]


def _own(
    values_BA: Floats, arms: Sequence[str], pairs: Sequence[tuple[str, str]], levels: _Levels
) -> list[Comparison]:
    pairs = [(a, b) for a, b in pairs if _shared(values_BA, arms, a, b).size]
    deltas = [_shared(values_BA, arms, a, b) for a, b in pairs]
    n_C = np.array([delta.size for delta in deltas], dtype=int)
    mean_C = np.array([delta.mean() for delta in deltas], dtype=np.float64)
    error_C = np.array(
        [
            delta.std(ddof=1) / math.sqrt(n) if (n := delta.size) > 1 else math.nan
            for delta in deltas
        ]
    )
    correlation = _correlation(values_BA, arms, pairs)
    return _finish(
        pairs, deltas, mean_C, error_C, n_C - 1, correlation, "own", levels, _vanishing(values_BA)
    )


def _correlation(
    values_BA: Floats, arms: Sequence[str], pairs: Sequence[tuple[str, str]]
) -> Floats:
    """Return the correlations of the differences over blocks, drawn to what equal spreads give.

    With ``B`` blocks an estimate of a correlation is off by about ``1 / sqrt(B)``, so that one of
    few blocks says little: it is averaged with the correlation that arms of equal and independent
    noise would have (one half for two comparisons with one baseline), which counts as much as
    :data:`OWN_FROM` blocks do.
    """
    signs_CA = _signs(arms, pairs)
    design = signs_CA @ signs_CA.T / 2.0
    if len(pairs) < 2:
        return design
    complete = values_BA[~np.any(np.isnan(values_BA), axis=1)]
    if len(complete) < 3:
        return design
    deltas_BC = complete @ signs_CA.T
    centred = deltas_BC - deltas_BC.mean(axis=0)
    size_C = np.sqrt((centred**2).sum(axis=0))
    if np.any(size_C <= _VANISHES * np.abs(deltas_BC).max(axis=0)):
        return design
    found = centred.T @ centred / np.outer(size_C, size_C)
    weight = len(complete) / (len(complete) + OWN_FROM)
    return np.asarray(weight * found + (1.0 - weight) * design)


def _signs(arms: Sequence[str], pairs: Sequence[tuple[str, str]]) -> Floats:
    signs_CA = np.zeros((len(pairs), len(arms)))
    for row, (arm, baseline) in enumerate(pairs):
        signs_CA[row, arms.index(arm)] += 1.0
        signs_CA[row, arms.index(baseline)] -= 1.0
    return signs_CA


def _pooled(
    values_BA: Floats, arms: Sequence[str], pairs: Sequence[tuple[str, str]], levels: _Levels
) -> list[Comparison]:
    block_N, arm_N = np.nonzero(~np.isnan(values_BA))
    if not block_N.size:
        return []
    names = [arms[int(a)] for a in arm_N]
    fit = fit_blocks(values_BA[block_N, arm_N], names, block_N.tolist())
    found = {pair: c for pair in pairs if (c := fit.contrast(*pair, levels.confidence)) is not None}
    kept = list(found)
    mean_C = np.array([c.estimate for c in found.values()])
    error_C = np.array([c.standard_error for c in found.values()])
    signs_CA = _signs(fit.arms, kept)
    covariance = signs_CA @ fit.inverse @ signs_CA.T
    size_C = np.sqrt(np.diag(covariance)) if kept else np.zeros(0)
    correlation = covariance / np.outer(size_C, size_C)
    deltas = [_shared(values_BA, arms, *pair) for pair in kept]
    # What a single block says of two arms has no spread of its own, whatever others have.
    df_C = np.array([fit.df if delta.size > 1 else 0 for delta in deltas], dtype=int)
    error_C = np.where(df_C > 0, error_C, math.nan)
    return _finish(
        kept, deltas, mean_C, error_C, df_C, correlation, "pooled", levels, _vanishing(values_BA)
    )


def _vanishing(values_BA: Floats) -> float:
    """Return what is nothing beside values of this size: rounding leaves as much."""
    return _VANISHES * float(np.nanmax(np.abs(values_BA), initial=0.0))


def _finish(
    pairs: Sequence[tuple[str, str]],
    deltas: Sequence[Floats],
    mean_C: Floats,
    error_C: Floats,
    df_C: NDArray[np.int_],
    correlation_CC: Floats,
    spread: Literal["own", "pooled"],
    levels: _Levels,
    vanishes: float,
) -> list[Comparison]:
    error_C = np.where(error_C <= vanishes, 0.0, error_C)
    known = (df_C > 0) & (error_C > 0)
    critical = math.nan
    p_joint = np.full(len(pairs), math.nan)
    p_alone = np.full(len(pairs), math.nan)
    if known.any():
        from scipy.special import stdtr

        t_C = np.abs(mean_C[known] / error_C[known])
        p_alone[known] = 2.0 * stdtr(df_C[known], -t_C)
        inner = correlation_CC[np.ix_(known, known)]
        largest = max_abs_t(inner, int(df_C[known].min()), common=spread == "pooled")
        critical = _critical(largest, levels.joint, int(known.sum()), df_C[known])
        adjusted = _adjusted(largest, t_C, p_alone[known])
        p_joint[known] = np.minimum(adjusted / levels.share, 1.0)
    agree = (df_C > 0) & (error_C == 0) & (np.abs(mean_C) > vanishes)
    n_C = np.array([delta.size for delta in deltas], dtype=np.float64)
    p_alone[agree] = 2.0 ** (1.0 - n_C[agree])
    p_joint[agree] = np.minimum(p_alone[agree] * len(pairs) / levels.share, 1.0)  # Bonferroni
    found = []
    for place, (arm, baseline) in enumerate(pairs):
        n, df = deltas[place].size, int(df_C[place])
        mean, error = float(mean_C[place]), float(error_C[place])
        half = student_quantile(levels.confidence, df) * error if df > 0 else math.nan
        joint = critical * error if known[place] else half
        found.append(
            Comparison(
                arm,
                baseline,
                mean,
                error,
                df,
                mean - half,
                mean + half,
                float(p_alone[place]),
                mean - joint,
                mean + joint,
                float(p_joint[place]),
                n,
                int((deltas[place] > 0).sum()),
                spread,
                levels.confidence,
            )
        )
    return found


def _critical(largest: Floats, confidence: float, k: int, df_C: NDArray[np.int_]) -> float:
    """Return the critical value; for one contrast, and at the least, that of Student."""
    alone = student_quantile(confidence, int(df_C.min()))
    return alone if k == 1 else max(alone, float(np.quantile(largest, confidence)))


def _adjusted(largest: Floats, t_C: Floats, p_C: Floats) -> Floats:
    """Return adjusted p values, between what Student and Bonferroni say where samples are few."""
    if t_C.size == 1:
        return p_C
    beyond = largest.size - np.searchsorted(largest, t_C, side="left")
    sampled = (beyond + 1.0) / (largest.size + 1.0)
    adjusted: Floats = np.minimum(np.maximum(sampled, p_C), np.minimum(p_C * t_C.size, 1.0))
    return adjusted
