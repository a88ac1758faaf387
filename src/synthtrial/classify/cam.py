"""Class activation maps: where in an image a classifier finds a class, and how alike such maps are.

After Zhou et al. (2016, arXiv 1512.04150): where a network ends in a mean over positions and a
linear layer, the logit of a class is the mean, over positions, of the weighted sum of the last
feature maps, plus a constant. That sum is the map. Nothing is estimated, so whether a map adds up
to its logit is checked whenever one is made.

Two sets of maps are compared pair by pair. How alike maps of real and synthetic images are says
little by itself; :func:`mean_similarity` of real images among themselves is the measure for it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from synthtrial.errors import DataError, TrainingError

if TYPE_CHECKING:
    import torch
    from torch import nn

_TOLERANCE = 1e-3  # of a logit, in units of the largest one
_TOP = 0.1  # share of positions that count as the highest
_RESAMPLES = 2000

Maps = NDArray[np.floating]


@dataclass(frozen=True)
class Concentration:
    """How much of what speaks for a class lies in few places.

    Attributes:
        share: of the positive activation, in the highest tenth of the positions; NaN where nothing
            is positive.
        uniform: the same of a map that is equal everywhere.
    """

    share: float
    uniform: float


@dataclass(frozen=True)
class MeanSimilarity:
    """Mean correlation of the maps of pairs of images.

    Attributes:
        mean: over the pairs.
        low: end of the bootstrap interval over images.
        high: the other end.
        pairs: number of pairs.
        flat: maps that were left out because they are equal everywhere and correlate with nothing.
    """

    mean: float
    low: float
    high: float
    pairs: int
    flat: int


def class_activation_maps(
    model: nn.Module, x_BCHW: torch.Tensor, class_indices: Sequence[int]
) -> NDArray[np.float32]:
    """Compute exact class activation maps; the mean of a map plus the layer's bias is the logit.

    The last linear layer must see the mean over positions of some layer's output (or of its
    positive part), or all positions of a square map side by side, as in ``small_cnn``.

    Args:
        model: a classifier; it is run in evaluation mode and left in the mode it was in.
        x_BCHW: images in [-1, 1], where the model is.
        class_indices: the K classes that maps are wanted of.

    Returns:
        maps_BKHW, as large as the network's last feature maps.

    Raises:
        TrainingError: the network does not end in such a way.
        DataError: a class is none of the classifier's.
    """
    import torch

    from synthtrial.classify.hooks import last_linear, noted_maps

    was_training = model.training
    model.eval()
    try:
        with torch.inference_mode(), noted_maps(model) as seen, last_linear(model) as last:
            logits_BK = model(x_BCHW).float()
    finally:
        model.train(was_training)
    name = type(model).__name__
    if not last or last[0][1].shape != (len(x_BCHW), last[0][0].in_features):
        raise TrainingError(f"{name} does not end in a linear layer; {_advice()}")
    layer, inputs_BF = last[0][0], last[0][1].float()
    classes = list(class_indices)
    if not classes or not all(0 <= k < layer.out_features for k in classes):
        raise DataError(
            f"maps of the classes {classes} were asked for; allowed: one or more of 0 to "
            f"{layer.out_features - 1}"
        )
    with torch.inference_mode():
        weight_KF = layer.weight[classes].float()
        found = [m for maps in seen if (m := _maps(maps.float(), inputs_BF, weight_KF)) is not None]
        if not found:
            raise TrainingError(
                f"the last linear layer of {name} sees neither the mean nor all positions of any "
                f"layer's output; {_advice()}"
            )
        maps_BKHW = max(found, key=lambda maps: maps.shape[2] * maps.shape[3])
        wanted_BK = logits_BK[:, classes] if logits_BK.shape[1:] == (layer.out_features,) else None
        got_BK = maps_BKHW.mean((2, 3)) + (0 if layer.bias is None else layer.bias[classes])
        if wanted_BK is None or not bool(
            ((got_BK - wanted_BK).abs() <= _TOLERANCE * logits_BK.abs().max().clamp(min=1)).all()
        ):
            raise TrainingError(
                f"class activation maps are not exact for {name}: they do not add up to its "
                f"logits, so something follows the last linear layer; {_advice()}"
            )
        return maps_BKHW.cpu().numpy()


def similarity(map_a: Maps, map_b: Maps) -> float:
    """Return Pearson's correlation of two maps of one shape; NaN where one is equal everywhere."""
    if map_a.shape != map_b.shape:
        raise DataError(f"maps of shapes {map_a.shape} and {map_b.shape} cannot be compared")
    return float(similarities(map_a[None], map_b[None])[0, 0])


def similarities(maps_AHW: Maps, maps_BHW: Maps) -> NDArray[np.float64]:
    """Return the correlation of every map of one set with every one of another, shape (A, B)."""
    if maps_AHW.shape[1:] != maps_BHW.shape[1:]:
        raise DataError(
            f"maps of shapes {maps_AHW.shape[1:]} and {maps_BHW.shape[1:]} cannot be compared"
        )
    return np.clip(_standardised(maps_AHW) @ _standardised(maps_BHW).T, -1.0, 1.0)


def concentration(map_HW: Maps) -> Concentration:
    """Return the share of the positive activation that lies in the highest tenth of a map."""
    values_P = np.sort(np.maximum(np.asarray(map_HW, dtype=np.float64).ravel(), 0))[::-1]
    top = max(1, round(_TOP * len(values_P)))
    total = values_P.sum()
    share = float(values_P[:top].sum() / total) if total > 0 else math.nan
    return Concentration(share, top / len(values_P))


def mean_similarity(
    maps_AHW: Maps,
    maps_BHW: Maps | None,
    generator: np.random.Generator,
    *,
    resamples: int = _RESAMPLES,
    level: float = 0.95,
) -> MeanSimilarity:
    """Return the mean similarity of pairs of maps, with an interval over images.

    Pairs that share an image are not independent: images are resampled, not pairs, those of each
    set for themselves.

    Args:
        maps_AHW: one map for each image of a set.
        maps_BHW: of the other set; None compares the images of one set with each other, an image
            never with itself.
        generator: of the resampling.
        resamples: number of bootstrap samples.
        level: coverage of the interval, between its percentiles.

    Raises:
        DataError: fewer than two usable maps in a set, or maps of different shapes.
    """
    same = maps_BHW is None
    second_BHW = maps_AHW if maps_BHW is None else maps_BHW
    matrix_AB = similarities(maps_AHW, second_BHW)
    usable_A, usable_B = _varied(maps_AHW), _varied(second_BHW)
    flat = int((~usable_A).sum()) + (0 if same else int((~usable_B).sum()))
    matrix_AB = matrix_AB[np.ix_(usable_A, usable_B)]
    a, b = matrix_AB.shape
    if min(a, b) < 2:
        raise DataError(
            f"{a} and {b} maps that vary cannot be compared with an interval; each set needs two "
            "or more images"
        )
    pairs_AB = np.ones_like(matrix_AB)
    if same:
        np.fill_diagonal(pairs_AB, 0)
    draws_RA = generator.multinomial(a, np.full(a, 1 / a), size=resamples).astype(np.float64)
    draws_RB = draws_RA if same else generator.multinomial(b, np.full(b, 1 / b), size=resamples)
    sums_R = np.einsum("ra,ab,rb->r", draws_RA, matrix_AB * pairs_AB, draws_RB, optimize=True)
    counts_R = np.einsum("ra,ab,rb->r", draws_RA, pairs_AB, draws_RB, optimize=True)
    means_R = sums_R[counts_R > 0] / counts_R[counts_R > 0]  # a draw of one image alone has no pair
    low, high = np.quantile(means_R, [(1 - level) / 2, (1 + level) / 2])
    mean = float((matrix_AB * pairs_AB).sum() / pairs_AB.sum())
    return MeanSimilarity(
        mean, float(low), float(high), int(pairs_AB.sum()) // (2 if same else 1), flat
    )


def _maps(
    maps_BCHW: torch.Tensor, inputs_BF: torch.Tensor, weight_KF: torch.Tensor
) -> torch.Tensor | None:
    """Return maps_BKHW, if what entered the last layer came from these feature maps."""
    import torch

    b, f = inputs_BF.shape
    if len(maps_BCHW) != b:
        return None
    if maps_BCHW.shape[1] == f:
        for features_BCHW in (maps_BCHW, maps_BCHW.relu()):
            if _close(features_BCHW.mean((2, 3)), inputs_BF):
                return torch.einsum("bchw,kc->bkhw", features_BCHW, weight_KF)
    if maps_BCHW[0].numel() != f or not torch.equal(maps_BCHW.flatten(1), inputs_BF):
        return None
    channels_first, channels_last = (
        maps_BCHW.shape[2] == maps_BCHW.shape[3],
        maps_BCHW.shape[1] == maps_BCHW.shape[2],
    )
    if channels_first == channels_last:  # which axis holds the channels cannot be told
        return None
    axis = 1 if channels_first else 3
    weight_K = weight_KF.reshape(len(weight_KF), *maps_BCHW.shape[1:])
    products = (maps_BCHW[:, None] * weight_K).sum(axis + 1)
    return products * (products.shape[2] * products.shape[3])  # so that the mean is the sum


def _close(a: torch.Tensor, b: torch.Tensor) -> bool:
    return bool((a - b).abs().max() <= 1e-4 * b.abs().max().clamp(min=1e-6))


def _varied(maps_NHW: Maps) -> NDArray[np.bool_]:
    flat_NP = maps_NHW.reshape(len(maps_NHW), -1)
    return np.asarray(flat_NP.max(1) > flat_NP.min(1))


def _standardised(maps_NHW: Maps) -> NDArray[np.float64]:
    """Return maps of mean 0 and length 1 as rows; NaN where one is equal everywhere."""
    flat_NP = np.asarray(maps_NHW, dtype=np.float64).reshape(len(maps_NHW), -1)
    centred_NP = flat_NP - flat_NP.mean(1, keepdims=True)
    lengths_N = np.where(_varied(maps_NHW), np.linalg.norm(centred_NP, axis=1), math.nan)
    return np.asarray(centred_NP / lengths_N[:, None])


def _advice() -> str:
    return "use a network that ends in a mean over positions and one linear layer"
