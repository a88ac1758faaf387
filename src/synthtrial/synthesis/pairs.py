"""All pairs of rows of two arrays of features, block by block.

In float64, with memory that does not grow with the pairs, and nothing drawn at random.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from synthtrial.errors import DataError

Array = NDArray[np.floating]
Floats = NDArray[np.float64]

_BLOCK = 1024  # rows at a time: 8 MiB of pairs
_NOISE = 1e-10  # of squared lengths; features of one picture, from other batches, differ by less


def check_pair(real_NF: Array, made_MF: Array) -> tuple[Array, Array]:
    """Return both sets of features as arrays.

    Raises:
        DataError: they are no rows of equally many finite numbers.
    """
    first_NF, second_MF = np.asarray(real_NF), np.asarray(made_MF)
    shapes = f"features of shapes {first_NF.shape} and {second_MF.shape}"
    if first_NF.ndim != 2 or second_MF.ndim != 2 or first_NF.shape[1] != second_MF.shape[1]:
        raise DataError(f"{shapes}: each must be (images, features), of one extractor")
    if not first_NF.shape[1]:
        raise DataError(f"{shapes}: there must be at least one feature")
    for x in (first_NF, second_MF):
        if not np.issubdtype(x.dtype, np.floating) or not np.isfinite(x).all():
            raise DataError(f"{shapes}: all must be finite floats; look for NaN in the network")
    return first_NF, second_MF


def check_some(x_NF: Array, what: str) -> None:
    """Refuse an empty set.

    Raises:
        DataError: there are no images.
    """
    if not len(x_NF):
        raise DataError(f"there are no {what}; at least 1 is needed")


def blocks(x_NF: Array, y_MF: Array) -> Iterator[tuple[slice, Floats, slice, Floats]]:
    """Yield all pairs of blocks of rows, as float64."""
    for i in range(0, len(x_NF), _BLOCK):
        x_BF = x_NF[i : i + _BLOCK].astype(np.float64)
        for j in range(0, len(y_MF), _BLOCK):
            y_CF = y_MF[j : j + _BLOCK].astype(np.float64)
            yield slice(i, i + len(x_BF)), x_BF, slice(j, j + len(y_CF)), y_CF


def squared_distances(x_BF: Floats, y_CF: Floats) -> Floats:
    """Return squared distances, with 0 for what is only rounding."""
    scale_BC = (x_BF**2).sum(1)[:, None] + (y_CF**2).sum(1)
    squared_BC: Floats = scale_BC - 2 * (x_BF @ y_CF.T)
    squared_BC[squared_BC < _NOISE * scale_BC] = 0
    return squared_BC


def nearest_distances(x_NF: Array, to_MF: Array) -> Floats:
    """Return how far each row's nearest row of another set is; 0 for the same picture."""
    least_N = np.full(len(x_NF), np.inf)
    for rows, x_BF, _, y_CF in blocks(x_NF, to_MF):
        least_N[rows] = np.minimum(least_N[rows], squared_distances(x_BF, y_CF).min(1))
    distances_N: Floats = np.sqrt(least_N)
    return distances_N
