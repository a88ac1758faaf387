"""Classes made rare on purpose, to study what helps a classifier that sees few of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction

import numpy as np

from synthtrial.config import ImbalanceConfig
from synthtrial.data.labels import class_index
from synthtrial.errors import DataError


def share(fraction: float, n: int) -> int:
    """Return ``fraction`` of ``n`` rounded half up, in exact decimal arithmetic."""
    return math.floor(Fraction(repr(float(fraction))) * n + Fraction(1, 2))


def removed_rows(
    labels_NK: np.ndarray,
    classes: Sequence[str],
    eligible_N: np.ndarray,
    order_N: np.ndarray,
    config: ImbalanceConfig,
) -> np.ndarray:
    """Choose the images that are taken away.

    Of every named class the first ``share(remove, n)`` of its n eligible positive rows go, in one
    random order that all classes share. A row of two such classes counts for both; sharing the
    order keeps what a class loses on behalf of another small.

    Args:
        labels_NK: raw labels; only certain positives count.
        classes: names of the columns.
        eligible_N: bool, the rows that may go.
        order_N: place of each row in the random order.
        config: which classes, and how much of them.

    Returns:
        removed_N, bool.

    Raises:
        DataError: an unknown class, one given twice, or a fraction outside [0, 1).
    """
    if not 0 <= config.remove < 1:
        raise DataError(
            f"imbalance.remove is {config.remove}; allowed: 0 to below 1, since a class with no "
            "image left cannot be learned"
        )
    if len(set(config.classes)) != len(config.classes):
        raise DataError(f"imbalance.classes names a class twice: {config.classes}")
    removed_N = np.zeros(len(labels_NK), dtype=bool)
    for name in config.classes:
        positive_N = labels_NK[:, class_index(classes, name)] == 1
        rows = np.flatnonzero(positive_N & eligible_N)
        rows = rows[np.argsort(order_N[rows], kind="stable")]
        removed_N[rows[: share(config.remove, len(rows))]] = True
    return removed_N
