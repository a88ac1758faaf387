"""Standard error of an area under the ROC curve, and the differences that a test set can show.

Hanley & McNeil, *The meaning and use of the area under a receiver operating characteristic (ROC)
curve*, Radiology 143:29-36 (1982), give the variance of one area from the area itself and the two
sample sizes; *A method of comparing the areas under receiver operating characteristic curves
derived from the same cases*, Radiology 148:839-843 (1983), that of a difference.

The formula supposes exponential scores. For normal scores it is right in balanced test sets and up
to about thirty per cent too large where positives are rare: it errs on the cautious side.

All of it is the spread over other test sets of the same size, with rows that are independent. It
holds nothing of what another training of the same network would give. Every argument may be an
array; the usual rules of broadcasting apply.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray


def hanley_mcneil_se(
    auc: ArrayLike, n_positive: ArrayLike, n_negative: ArrayLike
) -> NDArray[np.float64]:
    """Return the standard error of an area under the ROC curve (Hanley & McNeil 1982, eq. 1 to 2).

    ``Q1 = A / (2 - A)`` and ``Q2 = 2 A^2 / (1 + A)`` are the probabilities that two positives both
    outrank one negative and that one positive outranks two negatives, if scores are exponential.

    Args:
        auc: A, between 0 and 1.
        n_positive: positive rows of the test set; expected numbers need not be whole.
        n_negative: the others.

    Raises:
        ValueError: an area lies outside 0 to 1, or a class has less than one row.
    """
    area = np.asarray(auc, dtype=np.float64)
    positive = np.asarray(n_positive, dtype=np.float64)
    negative = np.asarray(n_negative, dtype=np.float64)
    if not np.all((area >= 0.0) & (area <= 1.0)):
        raise ValueError(f"an area under the ROC curve lies between 0 and 1, got {auc!r}")
    if not (np.all(positive >= 1.0) and np.all(negative >= 1.0)):
        raise ValueError(
            f"each class needs at least one row, got {n_positive!r} and {n_negative!r}"
        )
    q1 = area / (2.0 - area)
    q2 = 2.0 * area**2 / (1.0 + area)
    variance = (
        area * (1.0 - area) + (positive - 1.0) * (q1 - area**2) + (negative - 1.0) * (q2 - area**2)
    ) / (positive * negative)
    return np.sqrt(np.maximum(variance, 0.0))  # at an area of 1 rounding may go below


def difference_se(
    se_a: ArrayLike, se_b: ArrayLike, correlation: ArrayLike = 0.0
) -> NDArray[np.float64]:
    """Return the standard error of a difference of two areas (Hanley & McNeil 1983, eq. 1).

    Args:
        se_a: standard error of the one.
        se_b: standard error of the other.
        correlation: of the two estimated areas: 0 for two test sets; above 0 where two networks
            are judged on the same rows, so that 0 is the cautious choice.

    Raises:
        ValueError: a correlation lies outside -1 to 1, or a standard error is negative.
    """
    first, second = np.asarray(se_a, dtype=np.float64), np.asarray(se_b, dtype=np.float64)
    r = np.asarray(correlation, dtype=np.float64)
    if not np.all(np.abs(r) <= 1.0):
        raise ValueError(f"a correlation lies between -1 and 1, got {correlation!r}")
    if np.any(first < 0.0) or np.any(second < 0.0):
        raise ValueError("a standard error is not negative")
    return np.sqrt(np.maximum(first**2 + second**2 - 2.0 * r * first * second, 0.0))


def smallest_detectable_difference(
    se_difference: ArrayLike, alpha: float = 0.05, power: float = 0.8
) -> NDArray[np.float64]:
    """Return the true difference that a two-sided test finds with this power.

    It is ``(z(1 - alpha / 2) + z(power)) * se``, 2.80 standard errors by default.

    Args:
        se_difference: standard error of the difference.
        alpha: probability of a false alarm.
        power: probability of finding a difference that is there.

    Raises:
        ValueError: ``alpha`` or ``power`` is not strictly between 0 and 1.
    """
    if not (0.0 < alpha < 1.0 and 0.0 < power < 1.0):
        raise ValueError(f"alpha and power lie between 0 and 1, got {alpha} and {power}")
    from scipy.special import ndtri  # scipy.stats would take a second to import

    width = float(ndtri(1.0 - alpha / 2.0) + ndtri(power))
    return width * np.asarray(se_difference, dtype=np.float64)


def two_sided_p(z: ArrayLike) -> NDArray[np.float64]:
    """Return the two-sided p value of a standard normal statistic."""
    from scipy.special import ndtr

    return np.asarray(2.0 * ndtr(-np.abs(np.asarray(z, dtype=np.float64))), dtype=np.float64)
