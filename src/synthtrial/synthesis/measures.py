"""How like real images made ones are: distances, diversity, memorisation, recognisability.

Pure functions on arrays of features, rows of numbers that a network computed from images
(:mod:`.features`). Every figure belongs to its network and cannot be compared with another's.
:mod:`.neighbourhoods` has those that look at nearest neighbours.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from synthtrial.errors import DataError
from synthtrial.synthesis.pairs import (
    Array,
    Floats,
    blocks,
    check_pair,
    check_some,
    nearest_distances,
    squared_distances,
)

FEWEST_HELDOUT = 5  # images whose distances say how far an unseen image is


@dataclass(frozen=True)
class Distance:
    """A distance between two sets of images.

    Attributes:
        value: in units that depend on the features.
        n_real, n_made: images it was computed from.
    """

    value: float
    n_real: int
    n_made: int


@dataclass(frozen=True)
class Memorisation:
    """How near made images are to training images, beside how near held-out images are.

    Attributes:
        share: of made images that are nearer to a training image than ``threshold``.
        expected: share that images like the held-out ones would have; .05 where there are enough
            held-out images to say so.
        threshold: distance of the held-out image whose rank belongs to the percentile asked for.
        median_ratio: median distance of made images over that of held-out ones: 1 where they are
            equally new, 0 for copies.
        n_made, n_heldout, n_training: images it was computed from.
    """

    share: float
    expected: float
    threshold: float
    median_ratio: float
    n_made: int
    n_heldout: int
    n_training: int


def kernel_distance(real_NF: Array, made_MF: Array) -> Distance:
    """Return the squared maximum mean discrepancy under the kernel ``(x.y / F + 1)^3``.

    The unbiased estimator of Gretton et al. (2012, lemma 6) with the kernel of Binkowski et al.
    (2018): the KID, from all pairs at once rather than from random subsets. Unbiased at any n, it
    scatters about 0, and below, where both sets come from one distribution.

    Raises:
        DataError: either set has fewer than 2 images.
    """
    real_NF, made_MF = check_pair(real_NF, made_MF)
    n, m = len(real_NF), len(made_MF)
    if min(n, m) < 2:
        raise DataError(
            f"kernel distance between sets of {n} and {m} images; each must hold at least 2"
        )
    within = _mean_kernel_within(real_NF) + _mean_kernel_within(made_MF)
    across = sum(_kernel(x_BF, y_CF).sum() for _, x_BF, _, y_CF in blocks(real_NF, made_MF))
    return Distance(float(within - 2 * across / (n * m)), n, m)


def frechet_distance(real_NF: Array, made_MF: Array) -> Distance:
    """Return the Frechet distance between Gaussians fitted to both sets (Heusel et al. 2017).

    That is ``|m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2))``. It is biased upwards, the more the
    fewer images there are (Binkowski et al. 2018), and meaningless where covariances are singular.

    Raises:
        DataError: a set has no more images than there are features.
    """
    real_NF, made_MF = check_pair(real_NF, made_MF)
    n, m, width = len(real_NF), len(made_MF), real_NF.shape[1]
    if min(n, m) <= width:
        raise DataError(
            f"Frechet distance between sets of {n} and {m} images with {width} features: "
            f"covariances need more than {width} images in each; use the kernel distance, which is "
            "sound for few images"
        )
    mean_1F, mean_2F = (x.mean(0, dtype=np.float64) for x in (real_NF, made_MF))
    cov_1FF, cov_2FF = (
        np.atleast_2d(np.cov(x, rowvar=False, dtype=np.float64)) for x in (real_NF, made_MF)
    )
    values_F, vectors_FF = np.linalg.eigh(cov_1FF)
    root_FF = (vectors_FF * np.sqrt(np.maximum(values_F, 0))) @ vectors_FF.T
    # C1 C2 has the eigenvalues of the symmetric R C2 R, where R is the square root of C1.
    both_F = np.linalg.eigvalsh(root_FF @ cov_2FF @ root_FF)
    traces = np.trace(cov_1FF) + np.trace(cov_2FF) - 2 * np.sqrt(np.maximum(both_F, 0)).sum()
    value = float(((mean_1F - mean_2F) ** 2).sum() + traces)
    return Distance(max(value, 0.0), n, m)  # below 0 by rounding only


def diversity(real_NF: Array, made_MF: Array) -> float:
    """Return the mean distance between two made images over that between two real ones.

    1 means as spread out as the real ones, less that they resemble each other, 0 that they are
    one image; more than 1 that they scatter beyond what is real. Odena et al. (2017) compare mean
    similarities within a class so. The number of images does not bias it. A few modes far from
    each other can pass for diverse; coverage tells them.

    Raises:
        DataError: fewer than 2 images of either kind, or real images that are all the same.
    """
    real_NF, made_MF = check_pair(real_NF, made_MF)
    n, m = len(real_NF), len(made_MF)
    if min(n, m) < 2:
        raise DataError(f"diversity of {n} real and {m} made images; it takes at least 2 of each")
    spread = _mean_distance(real_NF)
    if spread == 0:
        raise DataError(
            f"the {n} real images all have the same features, so that diversity cannot be measured "
            "against theirs; use more real images or other features"
        )
    return _mean_distance(made_MF) / spread


def memorisation(
    training_TF: Array, heldout_NF: Array, made_MF: Array, percentile: float = 5.0
) -> Memorisation:
    """Return how many made images are nearer to a training image than nearly all unseen ones are.

    Each image's distance to its nearest training image is what Meehan et al. (2020) compare. The
    threshold is the held-out distance of rank ``j = max(1, floor(percentile/100 (N+1)))``: an
    image of the held-out ones' distribution is nearer with a chance of exactly ``j / (N+1)``, the
    expected share. A share near that is no sign of copying; one near 1 means copies.

    Args:
        training_TF: images that the generator was trained on.
        heldout_NF: real images that it was not trained on.
        made_MF: made images.
        percentile: of held-out distances, above 0 and up to 50.

    Raises:
        DataError: no training or made images, too few held-out ones, held-out images that are
            themselves copies of training images, or an impossible percentile.
    """
    training_TF, made_MF = check_pair(training_TF, made_MF)
    _, heldout_NF = check_pair(training_TF, heldout_NF)
    if not 0 < percentile <= 50:
        raise DataError(f"percentile {percentile:g} of held-out distances; allowed: above 0 to 50")
    check_some(training_TF, "training images")
    check_some(made_MF, "made images")
    n = len(heldout_NF)
    if n < FEWEST_HELDOUT:
        raise DataError(
            f"{n} held-out images cannot say how far an unseen image is from training images; "
            f"at least {FEWEST_HELDOUT} are needed"
        )
    heldout_N, made_M = (nearest_distances(x, training_TF) for x in (heldout_NF, made_MF))
    rank = max(1, math.floor(percentile * (n + 1) / 100))
    threshold, median = float(np.sort(heldout_N)[rank - 1]), float(np.median(heldout_N))
    if threshold == 0:
        raise DataError(
            f"{int((heldout_N == 0).sum())} of {n} held-out images have the features of a training "
            "image, so that copies cannot be told; remove duplicates or use other features"
        )
    return Memorisation(
        share=float((made_M < threshold).mean()),
        expected=rank / (n + 1),
        threshold=threshold,
        median_ratio=float(np.median(made_M)) / median,
        n_made=len(made_MF),
        n_heldout=n,
        n_training=len(training_TF),
    )


def recognisability(logits_NK: Array, column: int, *, multi_label: bool) -> float:
    """Return the share of images that a classifier sees a class in.

    With one class an image, it is the class of the largest logit (the first of equal ones); with
    several, one whose probability is at least .5.

    Args:
        logits_NK: of images that are meant to show the class.
        column: of the class.
        multi_label: whether an image can have any number of classes.

    Raises:
        DataError: no images.
    """
    logits_NK = np.asarray(logits_NK)
    check_some(logits_NK, "images to recognise")
    seen_N = logits_NK[:, column] >= 0 if multi_label else logits_NK.argmax(1) == column
    return float(seen_N.mean())


def _kernel(x_BF: Floats, y_CF: Floats) -> Floats:
    return np.asarray((x_BF @ y_CF.T / x_BF.shape[1] + 1) ** 3)


def _mean_kernel_within(x_NF: Array) -> float:
    n, total = len(x_NF), 0.0
    for rows, x_BF, columns, y_CF in blocks(x_NF, x_NF):
        kernel_BC = _kernel(x_BF, y_CF)
        total += kernel_BC.sum() - (np.trace(kernel_BC) if rows == columns else 0.0)
    return total / (n * (n - 1))


def _mean_distance(x_NF: Array) -> float:
    n = len(x_NF)
    total = sum(np.sqrt(squared_distances(x, y)).sum() for _, x, _, y in blocks(x_NF, x_NF))
    return float(total / (n * (n - 1)))
