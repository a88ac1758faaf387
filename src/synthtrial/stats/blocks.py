"""Differences between arms, blocked by draw: what the arms share in a draw cancels.

The model is ``y = arm + block + noise``, fitted by least squares. The blocks are eliminated first
(intra-block analysis of an incomplete block design: Yates 1940; John & Williams, *Cyclic and
Computer Generated Designs*, 1995, ch. 1), which leaves an arms x arms system whatever the number of
blocks, and treats missing values as they are: a difference is estimated from blocks that hold both
arms, directly or through other arms.

Several seeds of one draw share its subset and its generator, so they are not independent evidence
about other draws. :func:`block_table` reduces them to one value for each arm and block; the
residual is then the arm-by-draw interaction plus what is left of the seeds, which is the right
yardstick when the question is about new draws (Kempthorne 1952; the denominator of the F test of a
fixed arm in a two-way mixed model).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from synthtrial.stats.pooled import student_quantile

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

_SINGULAR = 1e-9  # eigenvalues of the arms' system are of the order of the counts


@dataclass(frozen=True)
class Labels:
    """Labels of many observations as numbers, so that a million need not be compared as texts.

    Attributes:
        names: the labels that occur, sorted, shape (labels,).
        codes: place in ``names`` of each observation's label, shape (observations,).
    """

    names: NDArray[Any]
    codes: NDArray[np.intp]

    def __len__(self) -> int:
        return self.codes.size

    @classmethod
    def of(cls, labels: ArrayLike | Labels) -> Labels:
        """Number labels; names among numbered ones that do not occur are dropped."""
        if not isinstance(labels, Labels):
            names, codes = np.unique(np.asarray(labels), return_inverse=True)
            return cls(names, codes)
        present = np.bincount(labels.codes, minlength=labels.names.size) > 0
        if present.all():
            return labels
        return cls(labels.names[present], (np.cumsum(present) - 1)[labels.codes])


@dataclass(frozen=True)
class Contrast:
    """Estimated difference ``arm - baseline``.

    Attributes:
        arm, baseline: what is compared.
        estimate: the difference, in units of the values.
        standard_error: of the difference; NaN where ``df`` is 0.
        df: residual degrees of freedom.
        low, high: ends of the t interval; NaN where ``df`` is 0.
        p_value: two-sided, of no difference; NaN where ``df`` is 0 or the residual vanishes.
        confidence: nominal coverage of the interval.
    """

    arm: str
    baseline: str
    estimate: float
    standard_error: float
    df: int
    low: float
    high: float
    p_value: float
    confidence: float


@dataclass(frozen=True)
class BlockFit:
    """The additive model of arms and blocks, fitted.

    Attributes:
        arms: names, sorted; the order of the arrays.
        effects: effect of each arm up to a constant, shape (arms,).
        information: information matrix of the arms after the blocks, shape (arms, arms).
        inverse: its Moore-Penrose inverse.
        variance: residual mean square; NaN where ``df`` is 0.
        df: residual degrees of freedom.
        n_blocks: number of blocks.
    """

    arms: tuple[str, ...]
    effects: NDArray[np.float64]
    information: NDArray[np.float64]
    inverse: NDArray[np.float64]
    variance: float
    df: int
    n_blocks: int

    def contrast(self, arm: str, baseline: str, confidence: float = 0.95) -> Contrast | None:
        """Estimate ``arm - baseline``.

        Returns:
            The difference, or None where the data cannot tell: an arm without values, or no chain
            of shared blocks between the two.
        """
        if arm not in self.arms or baseline not in self.arms:
            return None
        weights_A = np.zeros(len(self.arms))
        weights_A[self.arms.index(arm)] += 1.0
        weights_A[self.arms.index(baseline)] -= 1.0
        reachable_A = self.information @ (self.inverse @ weights_A)
        if not np.allclose(reachable_A, weights_A, atol=1e-6):
            return None
        estimate = float(weights_A @ self.effects)
        if self.df < 1:
            nan = math.nan
            return Contrast(arm, baseline, estimate, nan, self.df, nan, nan, nan, confidence)
        scale = max(float(weights_A @ self.inverse @ weights_A), 0.0)
        error = math.sqrt(self.variance * scale)
        half_width = student_quantile(confidence, self.df) * error
        return Contrast(
            arm,
            baseline,
            estimate,
            error,
            self.df,
            estimate - half_width,
            estimate + half_width,
            _p_value(estimate, error, self.df),
            confidence,
        )


def fit_blocks(
    values: ArrayLike, arms: Sequence[str] | Labels, blocks: Sequence[Any] | Labels
) -> BlockFit:
    """Fit ``y = arm + block`` by least squares.

    Args:
        values: y, one for each observation; any number for each arm and block, also none.
        arms: arm of each observation.
        blocks: block of each observation (any hashable, sortable labels).

    Raises:
        ValueError: lengths differ, there are no observations, or a value is not finite.
    """
    y_N = np.asarray(values, dtype=np.float64).ravel()
    if not (y_N.size == len(arms) == len(blocks)) or y_N.size == 0:
        raise ValueError(
            f"one arm and one block for each value, and at least one value: got {y_N.size} values, "
            f"{len(arms)} arms, {len(blocks)} blocks"
        )
    if not np.all(np.isfinite(y_N)):
        raise ValueError("a value is not finite; drop undefined scores first")
    coded_arms, coded_blocks = Labels.of(_texts(arms)), Labels.of(blocks)
    names, arm_N = coded_arms.names, coded_arms.codes
    labels, block_N = coded_blocks.names, coded_blocks.codes
    pair_N = arm_N * labels.size + block_N
    counts_AB = np.bincount(pair_N, minlength=names.size * labels.size).astype(np.float64)
    counts_AB = counts_AB.reshape(names.size, labels.size)
    size_B = counts_AB.sum(axis=0)
    # Centring on the block means eliminates the blocks and keeps the sums well conditioned.
    centred_N = y_N - (np.bincount(block_N, weights=y_N, minlength=labels.size) / size_B)[block_N]
    adjusted_A = np.bincount(arm_N, weights=centred_N, minlength=names.size)
    information_AA = np.diag(counts_AB.sum(axis=1)) - (counts_AB / size_B) @ counts_AB.T
    inverse_AA = np.linalg.pinv(information_AA, rcond=_SINGULAR, hermitian=True)
    effects_A: NDArray[np.float64] = inverse_AA @ adjusted_A
    mean_effect_B = counts_AB.T @ effects_A / size_B
    residual_N = centred_N - (effects_A[arm_N] - mean_effect_B[block_N])
    rank = int(np.linalg.matrix_rank(information_AA, tol=_SINGULAR * y_N.size, hermitian=True))
    df = int(y_N.size - labels.size - rank)
    return BlockFit(
        arms=tuple(str(name) for name in names),
        effects=effects_A,
        inverse=inverse_AA,
        information=information_AA,
        variance=float(residual_N @ residual_N) / df if df > 0 else math.nan,
        df=df,
        n_blocks=int(labels.size),
    )


def _texts(labels: Sequence[str] | Labels) -> NDArray[Any] | Labels:
    return labels if isinstance(labels, Labels) else np.asarray(labels, dtype=object).astype(str)


@dataclass(frozen=True)
class BlockTable:
    """Values by block and arm.

    Attributes:
        values_BA: mean of each arm in each block; NaN where there is none.
        arms: names of the columns.
        blocks: numbers of the draws, or of the replicates of the only draw, ascending.
        unit: what a block is: ``draw`` or ``replicate``.
    """

    values_BA: NDArray[np.float64]
    arms: tuple[str, ...]
    blocks: NDArray[np.int_]
    unit: Literal["draw", "replicate"]

    @property
    def by_arm(self) -> dict[str, NDArray[np.float64]]:
        """The values of each arm that has any, a value for each block that holds it."""
        kept = {arm: self.values_BA[:, place] for place, arm in enumerate(self.arms)}
        kept = {arm: values[~np.isnan(values)] for arm, values in kept.items()}
        return {arm: values for arm, values in kept.items() if values.size}


def block_table(
    values: ArrayLike,
    arms: Sequence[str] | Labels,
    draws: Sequence[int] | Labels,
    replicates: Sequence[int] | Labels,
    order: Sequence[str],
    unit: Literal["draw", "replicate"] | None = None,
) -> BlockTable:
    """Lay scores out by what is independent.

    Replicates of one draw share its subset and its generator, so that a draw is one block with the
    mean of its replicates: its generator counts once, however many replicates it has, and several
    generators are a random effect of their arms. Where all share a single draw, each replicate is
    a block: what follows then holds for this subset and this generator alone.

    Args:
        values: scores.
        arms: of each score.
        draws: of each score.
        replicates: of each score.
        order: of the columns; arms without a score have a column of NaN.
        unit: what a block is; by default replicates where only one draw occurs. Who knows that a
            study has several draws says so: of one that is left no replicate is independent.
    """
    y_N = np.asarray(values, dtype=np.float64).ravel()
    coded_arms, blocks = Labels.of(_texts(arms)), Labels.of(draws)
    unit = unit or ("replicate" if blocks.names.size <= 1 else "draw")
    if unit == "replicate":
        blocks = Labels.of(replicates)
    place = {name: number for number, name in enumerate(order)}
    column_A = np.array([place[str(name)] for name in coded_arms.names], dtype=np.intp)
    pair_N = blocks.codes * len(order) + column_A[coded_arms.codes]
    shape = (blocks.names.size, len(order))
    count_BA = np.bincount(pair_N, minlength=shape[0] * shape[1]).reshape(shape)
    sum_BA = np.bincount(pair_N, weights=y_N, minlength=shape[0] * shape[1]).reshape(shape)
    table_BA = np.full(shape, math.nan)
    np.divide(sum_BA, count_BA, out=table_BA, where=count_BA > 0)
    return BlockTable(table_BA, tuple(order), blocks.names.astype(int), unit)


def _p_value(estimate: float, error: float, df: int) -> float:
    if error <= 0.0:
        return math.nan
    from scipy.special import stdtr

    return float(2.0 * stdtr(df, -abs(estimate) / error))
