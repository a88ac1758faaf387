"""The distribution of the largest ``|T|`` of several contrasts, drawn by Monte Carlo.

With a common denominator the contrasts are multivariate t (Dunnett 1955; Genz & Bretz, *Computation
of multivariate normal and t probabilities*, 2009); with denominators of their own these are
correlated as the diagonal of a Wishart matrix is (Hasler & Hothorn 2008). One sampler serves both,
with a fixed seed: equal questions get equal answers.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    Floats = NDArray[np.float64]

#: Samples with a common denominator, and with one each, which take longer: the Monte-Carlo error of
#: an adjusted p of .05 is .0007 and .0011.
_COMMON_SAMPLES, _OWN_SAMPLES = 100_000, 40_000
_CHUNK_NUMBERS = 4_000_000
_NORMAL_DF = 2000  # from here on a denominator varies by less than the samples do
_STEPS = 50.0
_SEED = 20_080_503


def max_abs_t(correlation_CC: ArrayLike, df: int, *, common: bool) -> Floats:
    """Draw the largest ``|T|`` of contrasts without effects, sorted.

    Args:
        correlation_CC: correlations of the contrasts' estimates.
        df: degrees of freedom.
        common: whether all are divided by one estimate of the spread (``pooled``), which makes them
            multivariate t; else each is divided by its own, and these are correlated as the
            diagonal of a Wishart matrix is.

    Raises:
        ValueError: not a square matrix, or ``df`` is not positive.
    """
    correlation = np.asarray(correlation_CC, dtype=np.float64)
    if correlation.ndim != 2 or correlation.shape[0] != correlation.shape[1] or df < 1:
        raise ValueError(f"a square matrix and df >= 1, got shape {correlation.shape} and df {df}")
    # Correlations of blocks are known far worse than by fiftieths, which move a p of .05 by .0005.
    key = np.round(correlation * _STEPS) / _STEPS
    return _drawn(key.tobytes(), len(key), df, common)


@lru_cache(maxsize=256)  # classes and regimens of one study ask for the same again and again
def _drawn(correlation: bytes, n_contrasts: int, df: int, common: bool) -> Floats:
    matrix = np.frombuffer(correlation).reshape(n_contrasts, n_contrasts)
    values, vectors = np.linalg.eigh(matrix)
    kept = values > 1e-9
    root_CK = vectors[:, kept] * np.sqrt(values[kept])
    root_CK /= np.sqrt((root_CK**2).sum(axis=1, keepdims=True))
    random = np.random.default_rng(_SEED)
    rank = int(kept.sum())
    each = max(n_contrasts, rank) * (1 if common else min(df, rank) + 1)
    samples = _COMMON_SAMPLES if common else _OWN_SAMPLES
    step = max(1000, min(samples, _CHUNK_NUMBERS // each))
    parts = []
    for start in range(0, samples, step):
        size = min(step, samples - start)
        z_SC = random.standard_normal((size, rank)) @ root_CK.T
        if df >= _NORMAL_DF:
            scale = np.ones(1)
        elif common:
            scale = np.sqrt(random.chisquare(df, (size, 1)) / df)
        else:
            scale = np.sqrt(_squares(random, root_CK, df, size) / df)
        parts.append(np.abs(z_SC / scale).max(axis=1))
    largest = np.sort(np.concatenate(parts))
    largest.flags.writeable = False
    return largest


def _squares(random: np.random.Generator, root_CK: Floats, df: int, size: int) -> Floats:
    """Draw the diagonal of Wishart matrices, shape (size, C) (Bartlett 1933 where df allows)."""
    rank = root_CK.shape[1]
    if df < rank:
        noise = random.standard_normal((size, df, rank))
        drawn: Any = noise @ root_CK.T
        squares: Floats = (drawn**2).sum(axis=1)
        return squares
    # One product of matrices, which samples of a few contrasts each would not be.
    lower, places = np.zeros((rank, size, rank)), np.arange(rank)
    rows, columns = np.tril_indices(rank, -1)
    lower[rows, :, columns] = random.standard_normal((size, rows.size)).T
    lower[places, :, places] = np.sqrt(random.chisquare(df - places, (size, rank))).T
    factor = (root_CK @ lower.reshape(rank, -1)).reshape(-1, size, rank)
    diagonal: Floats = np.einsum("csk,csk->sc", factor, factor)
    return diagonal
