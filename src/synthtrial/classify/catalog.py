"""Names the classifiers, augmentations, metrics and arm presets that ship with synthtrial.

Only configs and versions live here, so that planning a study reads them without importing torch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from synthtrial.config import ArmConfig
from synthtrial.registry import Component


@dataclass(frozen=True)
class EmptyConfig:
    """The config of a component without options."""


@dataclass(frozen=True)
class SmallCnnConfig:
    """A small convolutional network for images of 8 to 256 pixels.

    Attributes:
        width: channels after the first convolution; later stages have up to four times as many.
    """

    width: int = 32


@dataclass(frozen=True)
class FlipConfig:
    """Mirror images at random; the chest X-ray paper's setting is one half for both.

    Attributes:
        horizontal: probability of a left-right flip.
        vertical: probability of a top-bottom flip.
    """

    horizontal: float = 0.5
    vertical: float = 0.5


@dataclass(frozen=True)
class ShiftConfig:
    """Move images by whole pixels, each offset up to the limit equally likely.

    Attributes:
        pixels: largest move along either axis.
        padding_mode: what fills the border: ``constant`` (black), ``edge`` or ``reflect``.
    """

    pixels: int = 1
    padding_mode: Literal["constant", "edge", "reflect"] = "constant"


SMALL_CNN = Component(
    "small_cnn",
    1,
    SmallCnnConfig,
    "synthtrial.classify.models:build_small_cnn",
    step_milliseconds=2.0,
)

FLIP = Component("flip", 1, FlipConfig, "synthtrial.classify.augment:make_flip")
SHIFT = Component("shift", 1, ShiftConfig, "synthtrial.classify.augment:make_shift")

ACCURACY = Component("accuracy", 1, EmptyConfig, "synthtrial.classify.metrics:accuracy")
AUC = Component("auc", 1, EmptyConfig, "synthtrial.classify.metrics:auc")
BALANCED_ACCURACY = Component(
    "balanced_accuracy", 1, EmptyConfig, "synthtrial.classify.metrics:balanced_accuracy"
)
RECALL = Component("recall", 1, EmptyConfig, "synthtrial.classify.metrics:recall")

NONE_ARM = ArmConfig()
STANDARD_ARM = ArmConfig(augment=[{"name": "flip"}])
CLASS_WEIGHTS_ARM = ArmConfig(class_weights="balanced")
BALANCED_SAMPLER_ARM = ArmConfig(sampler="balanced")

NONE = Component("none", 1, ArmConfig, "synthtrial.classify.catalog:NONE_ARM")
STANDARD = Component("standard", 1, ArmConfig, "synthtrial.classify.catalog:STANDARD_ARM")
CLASS_WEIGHTS = Component(
    "class_weights", 1, ArmConfig, "synthtrial.classify.catalog:CLASS_WEIGHTS_ARM"
)
BALANCED_SAMPLER = Component(
    "balanced_sampler", 1, ArmConfig, "synthtrial.classify.catalog:BALANCED_SAMPLER_ARM"
)
