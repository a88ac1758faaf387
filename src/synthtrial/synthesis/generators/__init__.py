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
    from torch import nn


@dataclass(frozen=True)
class Networks:
    """What a family builds and the GAN loop trains.

    Attributes:
        generator: ``(z_BZ, y_BK) -> x_BCHW`` in [-1, 1]; ``z`` is standard normal, ``y`` a float
            vector of 0s and 1s, one entry a class in sorted order of names.
        discriminator: ``(x_BCHW, y_BK) -> score_B``, higher for real images.
        latent: length Z of a latent vector.
        loss: adversarial loss that these networks are trained with: ``hinge`` (Lim & Ye 2017) or
            ``logistic``, the non-saturating loss of Goodfellow et al. (2014).
    """

    generator: nn.Module
    discriminator: nn.Module
    latent: int
    loss: Literal["hinge", "logistic"] = "hinge"


class GeneratorFamily(Protocol):
    """The implementation of a generator component.

    An image's score and a made image must not depend on the rest of their batch (no batch norm, no
    minibatch statistics): then training is the same on one process and on many.
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
        loss: adversarial loss, ``hinge`` or ``logistic``.
    """

    latent: int = 64
    width: int = 32
    max_width: int = 512
    loss: Literal["hinge", "logistic"] = "hinge"


PROJECTION = Component(
    "projection",
    1,
    ProjectionConfig,
    "synthtrial.synthesis.generators.projection:build",
    step_milliseconds=20.0,
)
