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
class Densenet121Config:
    """DenseNet-121 (Huang et al. 2017, arXiv 1608.06993), torchvision's, from 29 pixels on.

    Attributes:
        weights: where training begins: ``none`` (random weights) or ``imagenet`` (torchvision's
            IMAGENET1K_V1, which ``synthtrial fetch`` downloads).
        input_scale: factor on pixels in [-1, 1] before the first layer; 1024 is the custom of
            TorchXRayVision. With ``imagenet`` it stays 1: pixels are scaled as ImageNet's were.
    """

    weights: Literal["none", "imagenet"] = "none"
    input_scale: float = 1.0


@dataclass(frozen=True)
class TxrvDensenet121Config:
    """DenseNet-121 as TorchXRayVision builds it (Cohen et al. 2022, arXiv 2111.00595).

    Weights are random and outputs are logits. It needs the extra ``xray``.

    Attributes:
        input_scale: factor on pixels in [-1, 1] before the first layer.
    """

    input_scale: float = 1024.0


@dataclass(frozen=True)
class EfficientnetB2Config:
    """EfficientNet-B2 (Tan & Le 2019, arXiv 1905.11946), torchvision's, from 29 pixels on.

    Attributes:
        weights: where training begins: ``none`` (random weights) or ``imagenet`` (torchvision's
            IMAGENET1K_V1, which ``synthtrial fetch`` downloads).
        dropout: chance that a feature is dropped before the last layer, in training.
    """

    weights: Literal["none", "imagenet"] = "none"
    dropout: float = 0.3


@dataclass(frozen=True)
class EfficientnetLite0Config:
    """EfficientNet-Lite0 (Liu 2020, after Tan & Le 2019, arXiv 1905.11946).

    It needs the extra ``quality``.

    Attributes:
        weights: where training begins: ``none`` (random weights) or ``embedded`` (of ImageNet; they
            come with the extra).
        freeze: train the last layer only; the others stay as they were for ImageNet.
        min_size: smaller images are enlarged to this many pixels.
    """

    weights: Literal["none", "embedded"] = "none"
    freeze: bool = False
    min_size: int = 64


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


@dataclass(frozen=True)
class BlurConfig:
    """Blur images with a Gaussian whose width is drawn for each of them.

    Attributes:
        probability: that an image is blurred.
        low: smallest standard deviation in pixels.
        high: largest standard deviation in pixels.
    """

    probability: float = 0.5
    low: float = 0.1
    high: float = 2.0


@dataclass(frozen=True)
class IntensityConfig:
    """Change brightness, then contrast, by factors drawn evenly around 1 for each image.

    Attributes:
        brightness: largest deviation of brightness' factor from 1.
        contrast: largest deviation of contrast's factor from 1.
    """

    brightness: float = 0.1
    contrast: float = 0.1


SMALL_CNN = Component(
    "small_cnn",
    1,
    SmallCnnConfig,
    "synthtrial.classify.models:build_small_cnn",
    step_milliseconds=2.0,
)

DENSENET121 = Component(
    "densenet121",
    1,
    Densenet121Config,
    "synthtrial.classify.torchvision_models:build_densenet121",
    step_milliseconds=200.0,
    pixel_nanoseconds=4700.0,
    gpu_pixel_nanoseconds=30.0,
    fetch="synthtrial.classify.torchvision_models:fetch_densenet121",
)
TXRV_DENSENET121 = Component(
    "txrv_densenet121",
    1,
    TxrvDensenet121Config,
    "synthtrial.classify.torchvision_models:build_txrv_densenet121",
    step_milliseconds=200.0,
    pixel_nanoseconds=4700.0,
    gpu_pixel_nanoseconds=30.0,
)
EFFICIENTNET_B2 = Component(
    "efficientnet_b2",
    1,
    EfficientnetB2Config,
    "synthtrial.classify.torchvision_models:build_efficientnet_b2",
    step_milliseconds=100.0,
    pixel_nanoseconds=4000.0,
    gpu_pixel_nanoseconds=30.0,
    fetch="synthtrial.classify.torchvision_models:fetch_efficientnet_b2",
)
EFFICIENTNET_LITE0 = Component(
    "efficientnet_lite0",
    1,
    EfficientnetLite0Config,
    "synthtrial.classify.efficientnet:build_efficientnet_lite0",
    step_milliseconds=100.0,
    pixel_nanoseconds=2000.0,
    gpu_pixel_nanoseconds=15.0,
)

FLIP = Component("flip", 1, FlipConfig, "synthtrial.classify.augment:make_flip")
SHIFT = Component("shift", 1, ShiftConfig, "synthtrial.classify.augment:make_shift")
BLUR = Component("blur", 1, BlurConfig, "synthtrial.classify.augment:make_blur")
INTENSITY = Component("intensity", 1, IntensityConfig, "synthtrial.classify.augment:make_intensity")

ACCURACY = Component("accuracy", 1, EmptyConfig, "synthtrial.classify.metrics:accuracy")
AUC = Component("auc", 1, EmptyConfig, "synthtrial.classify.metrics:auc")
AUPRC = Component("auprc", 1, EmptyConfig, "synthtrial.classify.metrics:auprc")
AUC_CERTAIN = Component(
    "auc_certain", 1, EmptyConfig, "synthtrial.classify.metrics:auc", certain=True
)
AUPRC_CERTAIN = Component(
    "auprc_certain", 1, EmptyConfig, "synthtrial.classify.metrics:auprc", certain=True
)
NEG_LOG_LOSS = Component("neg_log_loss", 1, EmptyConfig, "synthtrial.classify.metrics:neg_log_loss")
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
