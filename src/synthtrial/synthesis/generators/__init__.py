"""Generator families, a file each: what a family is, and those that synthtrial brings.

A family is installed as a :class:`~synthtrial.registry.Component` in the entry-point group
``synthtrial.generators``; its implementation is a :class:`GeneratorFamily`. This module imports no
torch, so that a study can be planned from the config dataclasses alone. An author of a new family
runs :mod:`synthtrial.testing.generators` over it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

from synthtrial.registry import Component

if TYPE_CHECKING:
    from torch import Tensor, nn


Loss = Literal["hinge", "logistic", "wgan_gp"]


@dataclass(frozen=True)
class Networks:
    """What a family builds and the GAN loop trains.

    Attributes:
        generator: ``(z_BZ, y_BK) -> x_BCHW`` in [-1, 1]; ``z`` is standard normal, ``y`` a float
            vector with an entry for each class in sorted order of names: 1 or 0, or a fraction of
            that where conditioning is phased in.
        discriminator: ``(x_BCHW, y_BK) -> score_B``, higher for real images; or, of a family with
            an auxiliary label loss, ``-> scores_BD``: the score, then one logit for each class.
        latent: length Z of a latent vector.
        loss: adversarial loss that these networks are trained with: ``hinge`` (Lim & Ye 2017),
            ``logistic``, the non-saturating loss of Goodfellow et al. (2014), or ``wgan_gp``
            (Gulrajani et al. 2017).
        label_loss: of the logits of ``scores_BD``: ``softmax`` for one class an image, ``sigmoid``
            for any number; None where there are none.
        label_loss_on: images that the discriminator's label loss counts.
        group: how many neighbours in the global batch are judged together (minibatch statistics);
            scores must not depend on any other image.
        growing: whether both networks grow while they train: they are :class:`Growing`, and the
            discriminator is :class:`Showing`. Freshly built ones are fully grown.
    """

    generator: nn.Module
    discriminator: nn.Module
    latent: int
    loss: Loss = "hinge"
    label_loss: Literal["softmax", "sigmoid"] | None = None
    group: int = 1
    growing: bool = False
    label_loss_on: Literal["reals", "both"] = "reals"


class Growing(Protocol):
    """A network that starts at a low resolution and grows (Karras et al. 2018).

    It takes or makes images of full size all the time; what it computes inside is of the present
    resolution.
    """

    def grow(self, progress: float) -> None:
        """Take the form that it has after this fraction of the training, from 0 to 1."""
        ...


class Showing(Growing, Protocol):
    """A growing discriminator."""

    def show(self, x_BCHW: Tensor) -> Tensor:
        """Return real images as coarse as the made images of the present form."""
        ...


class GeneratorFamily(Protocol):
    """The implementation of a generator component.

    A made image must not depend on the rest of its batch, and a score only on the ``group``
    neighbours that the networks announce (no batch norm): then training is the same on one process
    and on many.
    """

    def __call__(
        self, config: object, *, channels: int, size: int, classes: int, multi_label: bool
    ) -> Networks:
        """Build freshly initialised networks from torch's global random state, on the CPU.

        Args:
            config: an instance of the component's config dataclass.
            channels: 1 or 3.
            size: height and width of the images in pixels.
            classes: number of classes K.
            multi_label: whether a label vector may hold any number of positives.

        Raises:
            ConfigError: the family cannot make images of this size with this config.
        """
        ...


@dataclass(frozen=True)
class ProjectionConfig:
    """Knobs of the projection GAN.

    Attributes:
        latent: length of a latent vector.
        width: channels at full resolution; doubled with every halving of the resolution.
        max_width: channels at most, at any resolution.
        loss: adversarial loss, ``hinge``, ``logistic`` or ``wgan_gp``; the last goes without
            spectral normalisation, as its penalty takes that place.
    """

    latent: int = 64
    width: int = 32
    max_width: int = 512
    loss: Loss = "hinge"


@dataclass(frozen=True)
class ConcatConfig:
    """Knobs of the plain conditional GAN.

    Attributes:
        latent: length of a latent vector.
        width: channels at full resolution; doubled with every halving of the resolution.
        max_width: channels at most, at any resolution.
        upsampling: how the generator doubles the resolution.
        loss: adversarial loss, ``hinge``, ``logistic`` or ``wgan_gp``.
    """

    latent: int = 128
    width: int = 64
    max_width: int = 256
    upsampling: Literal["nearest", "bilinear", "transposed", "pixel_shuffle"] = "transposed"
    loss: Loss = "logistic"


@dataclass(frozen=True)
class ProgressiveConfig:
    """Knobs of the progressive GAN; the defaults are the published ones for 256 pixels.

    Attributes:
        latent: length of a latent vector.
        feature_base: channels after k doublings of the resolution are ``feature_base / 2**(k + 1)``
            (of the published base of 4, ``2 * feature_base / R`` at R pixels) ...
        feature_max: ... and this at most.
        base: lowest resolution in pixels, 4 to 15: the image's size halved once or more, as 7 or 14
            for 28 pixels.
        grown_at: fraction of the training that is spent growing. Every resolution takes an equal
            share of it (the first one half of that, as it does not fade in), of which the first
            half fades it in. The published 600,000 + 600,000 images a resolution, of 12 million,
            are .65.
        group: images whose deviation the discriminator sees together (minibatch standard
            deviation).
        label_loss: how the discriminator's label logits are judged: ``softmax`` for one class an
            image; ``sigmoid`` for any number, as the chest X-ray paper's; ``auto`` takes what fits
            the dataset.
        label_loss_on: which images the discriminator's label loss counts: ``reals``, as the chest
            X-ray paper's generator was trained, or ``both``.
    """

    latent: int = 512
    feature_base: int = 8192
    feature_max: int = 512
    base: int = 4
    grown_at: float = 0.65
    group: int = 4
    label_loss: Literal["auto", "sigmoid", "softmax"] = "auto"
    label_loss_on: Literal["reals", "both"] = "reals"


CONCAT = Component(
    "concat",
    1,
    ConcatConfig,
    "synthtrial.synthesis.generators.concat:build",
    step_milliseconds=30.0,
    pixel_nanoseconds=4000.0,
    gpu_pixel_nanoseconds=30.0,
)
PROGRESSIVE = Component(
    "progressive",
    1,
    ProgressiveConfig,
    "synthtrial.synthesis.generators.progressive:build",
    step_milliseconds=100.0,
    pixel_nanoseconds=8000.0,
    gpu_pixel_nanoseconds=60.0,
)
PROJECTION = Component(
    "projection",
    1,
    ProjectionConfig,
    "synthtrial.synthesis.generators.projection:build",
    step_milliseconds=20.0,
    pixel_nanoseconds=4000.0,
    gpu_pixel_nanoseconds=30.0,
)
