"""Precision, recall, density and coverage: who is whose neighbour among real and made images.

A real image reaches as far as its k-th nearest other real image. Pure functions on arrays of
features; memory does not grow with the pairs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln

from synthtrial.errors import DataError
from synthtrial.synthesis.pairs import (
    Array,
    Floats,
    blocks,
    check_pair,
    check_some,
    squared_distances,
)

NEIGHBOURS = 5  # as Naeem et al. (2020) recommend

Counts = NDArray[np.int64]


@dataclass(frozen=True)
class Coverage:
    """How much of a reference is covered, beside how much other real images cover of it.

    Attributes:
        made: expected coverage by ``n`` of the made images.
        real: expected coverage by ``n`` of the other real images.
        n: of images that cover: as many as there are of the fewer kind.
        n_reference: images that are to be covered.
    """

    made: float
    real: float
    n: int
    n_reference: int


def precision(real_NF: Array, made_MF: Array, k: int = NEIGHBOURS) -> float:
    """Return the share of made images among the real ones (Kynkaanniemi et al. 2019).

    That is: within reach of any real image, which reaches as far as its k-th nearest real
    neighbour. ``precision(made, real)`` is their recall, the share of real images among the made.

    Raises:
        DataError: no more than k real images, or no made ones.
    """
    real_NF, made_MF = check_pair(real_NF, made_MF)
    check_some(made_MF, "images to look for")
    _, among_M = _inside(real_NF, _reach(real_NF, k), made_MF)
    return float((among_M > 0).mean())


def density(real_NF: Array, made_MF: Array, k: int = NEIGHBOURS) -> float:
    """Return how many real images reach a made one, over k (Naeem et al. 2020).

    Near 1 where both come from one distribution, above where made images crowd where real ones
    are dense. One outlier among the real images changes it little, unlike precision.

    Raises:
        DataError: no more than k real images, or no made ones.
    """
    real_NF, made_MF = check_pair(real_NF, made_MF)
    check_some(made_MF, "made images")
    _, among_M = _inside(real_NF, _reach(real_NF, k), made_MF)
    return float(among_M.mean() / k)


def coverage(real_NF: Array, made_MF: Array, k: int = NEIGHBOURS) -> float:
    """Return the share of real images that reach a made one (Naeem et al. 2020).

    It grows with the number of made images. Where both come from one distribution, it is on
    average ``1 - (N-1)...(N-k) / ((M+N-1)...(M+N-k))``.

    Raises:
        DataError: no more than k real images, or no made ones.
    """
    real_NF, made_MF = check_pair(real_NF, made_MF)
    check_some(made_MF, "made images")
    covers_N, _ = _inside(real_NF, _reach(real_NF, k), made_MF)
    return float((covers_N > 0).mean())


def coverage_beside_real(
    reference_NF: Array, made_MF: Array, other_TF: Array, k: int = NEIGHBOURS
) -> Coverage:
    """Return the coverage of a reference by made images and by as many other real images.

    Coverage depends on how many images cover, so both are taken at the number of the fewer kind:
    as the mean over all subsets of that size, which is exact (hypergeometric) and draws nothing.

    Args:
        reference_NF: real images to be covered, such as held-out ones.
        made_MF: made images.
        other_TF: real images that are not in the reference, such as training images.
        k: neighbours.

    Raises:
        DataError: no more than k reference images, no made ones, or no other real ones.
    """
    reference_NF, made_MF = check_pair(reference_NF, made_MF)
    _, other_TF = check_pair(reference_NF, other_TF)
    check_some(made_MF, "made images")
    check_some(other_TF, "other real images to compare with")
    reach_N = _reach(reference_NF, k)
    n = min(len(made_MF), len(other_TF))
    made, real = (
        _mean_coverage(_inside(reference_NF, reach_N, x)[0], len(x), n) for x in (made_MF, other_TF)
    )
    return Coverage(made, real, n, len(reference_NF))


def _reach(x_NF: Array, k: int) -> Floats:
    """Return the squared distance of each row's k-th nearest other row."""
    n = len(x_NF)
    if k < 1:
        raise DataError(f"{k} nearest neighbours; allowed: 1 or more")
    if n <= k:
        raise DataError(
            f"{n} images have no {k} neighbours each; at least {k + 1} are needed, or a smaller k"
        )
    nearest_NK = np.full((n, k), np.inf)
    for rows, x_BF, columns, y_CF in blocks(x_NF, x_NF):
        squared_BC = squared_distances(x_BF, y_CF)
        if rows == columns:
            np.fill_diagonal(squared_BC, np.inf)
        candidates = np.concatenate([nearest_NK[rows], squared_BC], axis=1)
        nearest_NK[rows] = np.partition(candidates, k - 1, axis=1)[:, :k]
    return np.asarray(nearest_NK.max(1))


def _inside(x_NF: Array, reach_N: Floats, y_MF: Array) -> tuple[Counts, Counts]:
    """Count, for each x, the y within its reach, and for each y, the x that reach it."""
    of_N, of_M = np.zeros(len(x_NF), np.int64), np.zeros(len(y_MF), np.int64)
    for rows, x_BF, columns, y_CF in blocks(x_NF, y_MF):
        inside_BC = squared_distances(x_BF, y_CF) <= reach_N[rows, None]
        of_N[rows] += inside_BC.sum(1)
        of_M[columns] += inside_BC.sum(0)
    return of_N, of_M


def _mean_coverage(inside_N: Counts, total: int, n: int) -> float:
    """Return the coverage by n of ``total`` images, over all subsets of that size.

    All n miss a ball that holds c with the chance ``C(total - c, n) / C(total, n)``.
    """
    left_N = np.maximum(total - n - inside_N, 0)
    log_N = gammaln(left_N + n + 1) - gammaln(left_N + 1) - gammaln(total + 1)
    missed_N = np.exp(log_N + gammaln(total - n + 1))
    missed_N[inside_N == 0] = 1
    missed_N[inside_N > total - n] = 0
    return float((1 - missed_N).mean())
