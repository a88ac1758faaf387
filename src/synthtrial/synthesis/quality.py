"""Whether synthetic images of a class are good enough: the figures of a class, and thresholds.

The reference are held-out real images of the class, which no generator was trained on, so that
copying the training images is not rewarded. The training images serve as what real images reach:
beside coverage and kernel distance stands the same figure of them. That is fair where the features
do not come from a network fitted to those very images; with the features of the study's own
classifier, training images lie apart from held-out ones, and so do copies of them.

What too few images leave undefined is None, with the reason in :attr:`ClassQuality.undefined`.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from synthtrial.data.labels import class_index
from synthtrial.errors import ConfigError, DataError
from synthtrial.synthesis import measures, neighbourhoods
from synthtrial.synthesis.pairs import Array, check_pair


@dataclass(frozen=True)
class Sample:
    """What networks said about some images.

    Attributes:
        features_NF: what distances are measured in.
        logits_NK: of the classifier that is to recognise them, a column for each class of the
            study; None where there is none.
    """

    features_NF: Array
    logits_NK: Array | None = None

    def take(self, rows_N: np.ndarray) -> Sample:
        """Return some of the images."""
        logits_NK = None if self.logits_NK is None else self.logits_NK[rows_N]
        return Sample(self.features_NF[rows_N], logits_NK)


@dataclass(frozen=True)
class Yardstick:
    """How quality is measured; part of every figure.

    Attributes:
        features: name of what computed the features.
        recogniser: name of the classifier that computed the logits; None where there is none.
        multi_label: whether an image can have any number of classes.
        k: nearest neighbours of precision, recall, density and coverage.
        percentile: of held-out distances, below which a made image counts as memorised.
    """

    features: str
    recogniser: str | None = None
    multi_label: bool = False
    k: int = neighbourhoods.NEIGHBOURS
    percentile: float = 5.0

    def __post_init__(self) -> None:
        if self.k < 1 or not 0 < self.percentile <= 50:
            raise ConfigError(
                f"k is {self.k} and percentile is {self.percentile:g}; allowed: k of 1 or more, "
                "percentile above 0 up to 50"
            )


@dataclass(frozen=True)
class ClassQuality:
    """How good the made images of one class are; ``ClassQuality(**q.as_dict())`` is ``q`` again.

    A figure is None where it is undefined. Definitions and sources are in :mod:`.measures` and
    :mod:`.neighbourhoods`.

    Attributes:
        name: of the class.
        features, recogniser, k, percentile: as in :class:`Yardstick`.
        n_made, n_heldout, n_training: images of the class.
        recognisability: share of made images that the classifier sees the class in.
        recognisability_heldout: the same of the held-out images.
        recognisability_relative: the one over the other; 1 is as recognisable as real ones.
        kernel_distance: between held-out and made images; its scale depends on the features.
        kernel_distance_real: between held-out and training images, what 0 looks like here.
        frechet_distance: between held-out and made images.
        precision: share of made images among the held-out ones.
        recall: share of held-out images among the made ones.
        density: how densely held-out images surround made ones; about 1 for real ones.
        coverage: share of held-out images that have a made one near, by all made images.
        coverage_made: the same by ``coverage_n`` made images.
        coverage_real: the same by ``coverage_n`` training images.
        coverage_relative: ``coverage_made / coverage_real``; 1 covers as much as real ones.
        coverage_n: the number of made or training images, whichever is less.
        diversity: mean distance between two made images over that between two held-out ones.
        memorised: share of made images nearer to a training image than all but ``percentile`` % of
            the held-out ones are; near 1 means copies ...
        memorised_expected: ... and near this value, about ``percentile`` %, is as new as they are.
        distance_ratio: median distance to the nearest training image, made over held-out; 1 is as
            new as held-out images, 0 means copies.
        undefined: for each figure that is None, the reason.
    """

    name: str
    features: str
    recogniser: str | None
    k: int
    percentile: float
    n_made: int
    n_heldout: int
    n_training: int
    recognisability: float | None = None
    recognisability_heldout: float | None = None
    recognisability_relative: float | None = None
    kernel_distance: float | None = None
    kernel_distance_real: float | None = None
    frechet_distance: float | None = None
    precision: float | None = None
    recall: float | None = None
    density: float | None = None
    coverage: float | None = None
    coverage_made: float | None = None
    coverage_real: float | None = None
    coverage_relative: float | None = None
    coverage_n: int | None = None
    diversity: float | None = None
    memorised: float | None = None
    memorised_expected: float | None = None
    distance_ratio: float | None = None
    undefined: Mapping[str, str] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """Return the figures as a dictionary that JSON can hold."""
        return dataclasses.asdict(self)


@dataclass(frozen=True)
class QualityThresholds:
    """What images must reach to be good enough; None asks for nothing.

    Attributes:
        min_recognisability: least ``recognisability_relative``, such as .8.
        min_coverage: least ``coverage_relative``, such as .5.
        max_kernel_distance: largest ``kernel_distance``; depends on the features.
        max_memorised: largest ``memorised``, between 0 and 1; .05 is what real images have.
    """

    min_recognisability: float | None = None
    min_coverage: float | None = None
    max_kernel_distance: float | None = None
    max_memorised: float | None = None

    def __post_init__(self) -> None:
        for name, value in dataclasses.asdict(self).items():
            most = 1.0 if name == "max_memorised" else math.inf
            if value is not None and not (0 <= value <= most and math.isfinite(value)):
                allowed = "0 to 1" if most == 1 else "0 or more"
                raise ConfigError(
                    f"{name} is {value}; allowed: {allowed}, or null for no threshold"
                )


#: Of each threshold, the figure it is about and how sentences call it.
_JUDGED = {
    "min_recognisability": (
        "recognisability_relative",
        "the share of recognisable images over that of held-out ones",
    ),
    "min_coverage": ("coverage_relative", "the coverage over that by as many real images"),
    "max_kernel_distance": ("kernel_distance", "the kernel distance to held-out images"),
    "max_memorised": ("memorised", "the share of images suspiciously near to a training image"),
}


def shortfalls(quality: ClassQuality, thresholds: QualityThresholds) -> list[str]:
    """Say, in a sentence each, which thresholds a class does not reach or cannot be shown to."""
    sentences = []
    for threshold, (figure, words) in _JUDGED.items():
        limit, value = getattr(thresholds, threshold), getattr(quality, figure)
        if limit is None:
            continue
        if value is None:
            sentences.append(
                f"class '{quality.name}': {words} is unknown, so {threshold} = {limit:g} is not "
                f"shown to be met: {quality.undefined.get(figure, 'it was not computed')}"
            )
        elif value < limit if threshold.startswith("min") else value > limit:
            side = "at least" if threshold.startswith("min") else "at most"
            sentences.append(
                f"class '{quality.name}': {words} is {value:.3g}; {threshold} asks for {side} "
                f"{limit:g} ({quality.n_made:,} made, {quality.n_heldout:,} held-out and "
                f"{quality.n_training:,} training images; {quality.features})"
            )
    return sentences


def assess(
    made: tuple[Sample, np.ndarray],
    heldout: tuple[Sample, np.ndarray],
    training: tuple[Sample, np.ndarray],
    *,
    classes: Sequence[str],
    yardstick: Yardstick,
    of: Sequence[str] | None = None,
) -> dict[str, ClassQuality]:
    """Measure the quality of made images, class by class.

    Args:
        made: made images, and their intended labels_NK; an image counts for every class it has a
            1 for.
        heldout: real images that neither generator nor features were fitted to, and their labels
            or targets.
        training: real images that the generator was trained on, and theirs; needs no logits.
        classes: names of the columns of labels and logits.
        yardstick: how to measure.
        of: the classes of interest; by default all.

    Returns:
        The figures of each class of interest.

    Raises:
        DataError: arrays that do not fit, or an unknown class. Too few images are no error.
    """
    for sample, labels_NK in (made, heldout, training):
        if np.shape(labels_NK) != (len(sample.features_NF), len(classes)):
            raise DataError(
                f"{len(sample.features_NF)} images came with labels of shape "
                f"{np.shape(labels_NK)}; each needs one for each of the {len(classes)} classes"
            )
    found = {}
    for name in classes if of is None else of:
        column = class_index(classes, name)
        mine = [
            sample.take(np.flatnonzero(np.asarray(labels_NK)[:, column] == 1))
            for sample, labels_NK in (made, heldout, training)
        ]
        found[name] = assess_class(name, *mine, classes=classes, yardstick=yardstick)
    return found


def assess_class(
    name: str,
    made: Sample,
    heldout: Sample,
    training: Sample,
    *,
    classes: Sequence[str],
    yardstick: Yardstick,
) -> ClassQuality:
    """Measure the quality of the made images of one class.

    Args:
        name: of the class.
        made: images that are meant to show it.
        heldout: real images of it that neither generator nor features were fitted to.
        training: real images of it that the generator was trained on; needs no logits.
        classes: names of the columns of logits.
        yardstick: how to measure.

    Raises:
        DataError: arrays that do not fit, or an unknown class. Too few images are no error.
    """
    column = class_index(classes, name)
    x_made, x_heldout = check_pair(made.features_NF, heldout.features_NF)
    _, x_training = check_pair(x_made, training.features_NF)
    for sample in (made, heldout):
        _check_logits(sample, classes)
    k = yardstick.k

    def recognised(sample: Sample) -> float:
        if sample.logits_NK is None:
            raise DataError("no classifier has judged these images; give their logits")
        return measures.recognisability(sample.logits_NK, column, multi_label=yardstick.multi_label)

    def beside() -> tuple[float, float, int]:
        found = neighbourhoods.coverage_beside_real(x_heldout, x_made, x_training, k)
        return found.made, found.real, found.n

    def memorised() -> tuple[float, float, float]:
        found = measures.memorisation(x_training, x_heldout, x_made, yardstick.percentile)
        return found.share, found.expected, found.median_ratio

    def ratio(above: str, below: str) -> float:
        for figure in (above, below):
            if values[figure] is None:
                raise DataError(undefined[figure])
        if values[below] == 0:
            raise DataError(f"{below} is 0, so that nothing can be said relative to it")
        return float(values[above] / values[below])

    steps: list[tuple[tuple[str, ...], Callable[[], Any]]] = [
        (("recognisability",), lambda: recognised(made)),
        (("recognisability_heldout",), lambda: recognised(heldout)),
        (
            ("recognisability_relative",),
            lambda: ratio("recognisability", "recognisability_heldout"),
        ),
        (("kernel_distance",), lambda: measures.kernel_distance(x_heldout, x_made).value),
        (("kernel_distance_real",), lambda: measures.kernel_distance(x_heldout, x_training).value),
        (("frechet_distance",), lambda: measures.frechet_distance(x_heldout, x_made).value),
        (("precision",), lambda: neighbourhoods.precision(x_heldout, x_made, k)),
        (("recall",), lambda: neighbourhoods.precision(x_made, x_heldout, k)),
        (("density",), lambda: neighbourhoods.density(x_heldout, x_made, k)),
        (("coverage",), lambda: neighbourhoods.coverage(x_heldout, x_made, k)),
        (("coverage_made", "coverage_real", "coverage_n"), beside),
        (("coverage_relative",), lambda: ratio("coverage_made", "coverage_real")),
        (("diversity",), lambda: measures.diversity(x_heldout, x_made)),
        (("memorised", "memorised_expected", "distance_ratio"), memorised),
    ]
    values: dict[str, Any] = {}
    undefined: dict[str, str] = {}
    for figures, compute in steps:
        try:
            got = compute()
        except DataError as error:
            undefined.update(dict.fromkeys(figures, str(error)))
            values.update(dict.fromkeys(figures))
        else:
            values.update(zip(figures, got if len(figures) > 1 else (got,), strict=True))
    return ClassQuality(
        name=name,
        features=yardstick.features,
        recogniser=yardstick.recogniser,
        k=k,
        percentile=yardstick.percentile,
        n_made=len(x_made),
        n_heldout=len(x_heldout),
        n_training=len(x_training),
        undefined=undefined,
        **values,
    )


def _check_logits(sample: Sample, classes: Sequence[str]) -> None:
    if sample.logits_NK is None:
        return
    logits_NK, n = np.asarray(sample.logits_NK), len(sample.features_NF)
    if logits_NK.shape != (n, len(classes)):
        raise DataError(
            f"{n} images came with logits of shape {logits_NK.shape}; take them from a classifier "
            f"of the {len(classes)} classes of the study"
        )
    if not np.isfinite(logits_NK).all():
        raise DataError("some logits are not finite; look for NaN in the classifier")
