"""Large classifiers: torchvision's DenseNet-121 and EfficientNet-B2, TorchXRayVision's DenseNet.

All end in a mean over positions and one linear layer, so that maps of class activation
(:mod:`synthtrial.classify.cam`) are exact.
"""

from __future__ import annotations

import math
import pickle
import re
import warnings
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import ModuleType

import torch
from torch import nn

from synthtrial.classify.batchnorm import steady
from synthtrial.classify.catalog import (
    Densenet121Config,
    EfficientnetB2Config,
    TxrvDensenet121Config,
)
from synthtrial.classify.pretrained import pretrained_wanted
from synthtrial.errors import ConfigError

_SMALLEST = 29  # pixels; less and nothing is left after five halvings
_CHANNELS = (1, 3)
_NOTHING = "nothing needs to be fetched"
_MEAN, _DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet's pixels in [0, 1]
#: The published file has names of a time when they might hold dots: ``norm.1``, now ``norm1``.
_DOTTED = re.compile(r"^(.*denselayer\d+\.(?:norm|relu|conv))\.([12]\..*)$")


class Scaled(nn.Module):
    """A network that wants its pixels on another scale than [-1, 1].

    Args:
        network: from scaled images to logits.
        scale: factor on the pixels.
    """

    def __init__(self, network: nn.Module, scale: float) -> None:
        super().__init__()
        self.network = network
        self.scale = scale

    def forward(self, x_BCHW: torch.Tensor) -> torch.Tensor:
        """Return logits_BK of images in [-1, 1]."""
        logits_BK: torch.Tensor = self.network(x_BCHW if self.scale == 1 else x_BCHW * self.scale)
        return logits_BK


class AsImageNet(nn.Module):
    """A network that wants RGB, each colour less ImageNet's mean over its deviation.

    Grey images are repeated for red, green and blue. One kernel, the sum of three, would give the
    same but at the border, which is padded with ImageNet's mean: three different greys.

    Args:
        network: from normalised RGB images to logits.
    """

    _factor: torch.Tensor
    _offset: torch.Tensor

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        mean, deviation = (torch.tensor(v).view(1, 3, 1, 1) for v in (_MEAN, _DEVIATION))
        self.register_buffer("_factor", 0.5 / deviation, persistent=False)
        self.register_buffer("_offset", (0.5 - mean) / deviation, persistent=False)

    def forward(self, x_BCHW: torch.Tensor) -> torch.Tensor:
        """Return logits_BK of images in [-1, 1], grey or RGB."""
        logits_BK: torch.Tensor = self.network(x_BCHW * self._factor + self._offset)
        return logits_BK


def build_densenet121(
    config: Densenet121Config, *, channels: int, size: int, outputs: int
) -> nn.Module:
    """Build torchvision's DenseNet-121.

    Args:
        config: its weights, and the scale of its input.
        channels: 1 or 3.
        size: height and width of the images in pixels.
        outputs: number of classes.

    Returns:
        A module from images in [-1, 1], shape (B, channels, size, size), to logits (B, outputs).

    Raises:
        ConfigError: the shapes or options are not usable, or the pretrained weights are not there.
    """
    from torchvision.models import densenet121

    _check("densenet121", config.input_scale, channels, size, outputs)
    if config.weights == "imagenet":
        if config.input_scale != 1:
            raise ConfigError(
                f"densenet121: input_scale is {config.input_scale:g}; with weights=imagenet it "
                "must be 1, because pixels are scaled as ImageNet's were. Leave it out, or take "
                "weights=none"
            )
        network: nn.Module = densenet121(num_classes=outputs)
        if pretrained_wanted():
            _load_imagenet(network, DENSENET121)
        return AsImageNet(steady(network))
    network = densenet121(num_classes=outputs)
    if channels != 3:
        first = nn.Conv2d(channels, 64, kernel_size=7, stride=2, padding=3, bias=False)
        nn.init.kaiming_normal_(first.weight)  # as torchvision's other convolutions
        network.get_submodule("features").register_module("conv0", first)
    return Scaled(steady(network), config.input_scale)


def build_txrv_densenet121(
    config: TxrvDensenet121Config, *, channels: int, size: int, outputs: int
) -> nn.Module:
    """Build TorchXRayVision's DenseNet-121 with random weights.

    Args:
        config: the scale of its input.
        channels: 1 or 3.
        size: height and width of the images in pixels; its authors' is 224.
        outputs: number of classes.

    Returns:
        A module from images in [-1, 1], shape (B, channels, size, size), to logits (B, outputs).

    Raises:
        ConfigError: the package is not installed, or the shapes or the scale are not usable.
    """
    _check("txrv_densenet121", config.input_scale, channels, size, outputs)
    network = _torchxrayvision().models.DenseNet(num_classes=outputs, in_channels=channels)
    return Scaled(steady(network), config.input_scale)


def build_efficientnet_b2(
    config: EfficientnetB2Config, *, channels: int, size: int, outputs: int
) -> nn.Module:
    """Build torchvision's EfficientNet-B2.

    Args:
        config: its weights and dropout.
        channels: 1 or 3.
        size: height and width of the images in pixels; those of ImageNet had 288.
        outputs: number of classes.

    Returns:
        A module from images in [-1, 1], shape (B, channels, size, size), to logits (B, outputs).

    Raises:
        ConfigError: the shapes or options are not usable, or the pretrained weights are not there.
    """
    from torchvision.models import efficientnet_b2

    _check("efficientnet_b2", 1.0, channels, size, outputs)
    if not 0 <= config.dropout < 1:
        raise ConfigError(f"efficientnet_b2: dropout is {config.dropout}; allowed: 0 to below 1")
    network: nn.Module = efficientnet_b2(num_classes=outputs, dropout=config.dropout)
    if config.weights == "imagenet":
        if pretrained_wanted():
            _load_imagenet(network, EFFICIENTNET_B2)
        return AsImageNet(steady(network))
    if channels != 3:
        first = nn.Conv2d(channels, 32, kernel_size=3, stride=2, padding=1, bias=False)
        nn.init.kaiming_normal_(first.weight, mode="fan_out")  # as torchvision's others
        network.get_submodule("features.0").register_module("0", first)
    return Scaled(steady(network), 1.0)


def fetch_densenet121(config: Densenet121Config) -> str:
    """Download ImageNet's weights of DenseNet-121, if they are asked for: see :func:`fetch`."""
    return fetch(DENSENET121) if config.weights == "imagenet" else _NOTHING


def fetch_efficientnet_b2(config: EfficientnetB2Config) -> str:
    """Download ImageNet's weights of EfficientNet-B2, if they are asked for: see :func:`fetch`."""
    return fetch(EFFICIENTNET_B2) if config.weights == "imagenet" else _NOTHING


@dataclass(frozen=True)
class Released:
    """Weights that torchvision has released.

    Attributes:
        name: of the classifier.
        weights: torchvision's name of them.
        head: what names of the last layer begin with: it has other classes.
    """

    name: str
    weights: str
    head: str

    @property
    def url(self) -> str:
        """Where they can be downloaded."""
        from torchvision.models import get_weight

        url: str = get_weight(self.weights).url
        return url

    @property
    def path(self) -> Path:
        """Where torch keeps them once they are downloaded."""
        return Path(torch.hub.get_dir(), "checkpoints", self.url.rpartition("/")[2])


DENSENET121 = Released("densenet121", "DenseNet121_Weights.IMAGENET1K_V1", "classifier.")
EFFICIENTNET_B2 = Released(
    "efficientnet_b2", "EfficientNet_B2_Weights.IMAGENET1K_V1", "classifier."
)


def fetch(released: Released) -> str:
    """Download released weights to where torch looks for them.

    Raises:
        ConfigError: they cannot be had.
    """
    url, path = released.url, released.path
    if path.is_file():
        return f"its weights are there: {path}"
    prefix = path.stem.rpartition("-")[2]  # the first digits of the file's SHA-256
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(url, str(path), hash_prefix=prefix, progress=False)
    except (OSError, RuntimeError) as error:  # no network, no space; another SHA-256
        raise ConfigError(
            f"{released.name}: {url} cannot be downloaded ({error}). Where there is a network, get "
            f"it and put it at {path}"
        ) from error
    return f"fetched its weights: {path}"


def _load_imagenet(network: nn.Module, released: Released) -> None:
    """Load all layers but the last, which has other classes."""
    path, head = released.path, released.head
    if not path.is_file():
        raise ConfigError(
            f"{released.name}: weights=imagenet needs the file {path}, which is not there. Run "
            "`synthtrial fetch STUDY` where there is a network; $TORCH_HOME says where it goes"
        )
    try:
        state: dict[str, torch.Tensor] = torch.load(path, map_location="cpu", weights_only=True)
        body = {_DOTTED.sub(r"\1\2", name): value for name, value in state.items()}
    except (AttributeError, EOFError, RuntimeError, TypeError, pickle.UnpicklingError) as error:
        raise _useless(released, "it is no dictionary of tensors") from error
    body = {name: v for name, v in body.items() if not name.startswith(head)}
    try:
        found = network.load_state_dict(body, strict=False)
    except RuntimeError as error:
        raise _useless(released, "layers have other shapes") from error
    # Files older than torch 0.4.1 do not count batches.
    missing = {n for n in found.missing_keys if not n.endswith("num_batches_tracked")}
    missing = {name for name in missing if not name.startswith(head)}
    if missing or found.unexpected_keys:
        raise _useless(
            released, f"{len(missing)} values are missing and {len(found.unexpected_keys)} unknown"
        )


def _useless(released: Released, reason: str) -> ConfigError:
    return ConfigError(
        f"{released.name}: {released.path} does not hold {released.weights} ({reason}). "
        "Delete it, and run `synthtrial fetch STUDY` where there is a network"
    )


def _check(name: str, scale: float, channels: int, size: int, outputs: int) -> None:
    if not (math.isfinite(scale) and scale > 0):
        raise ConfigError(f"{name}: input_scale is {scale}; it must be a number above 0")
    if channels not in _CHANNELS or size < _SMALLEST or outputs < 1:
        raise ConfigError(
            f"{name}: cannot map {channels} channels of {size}x{size} pixels to {outputs} classes; "
            f"it needs 1 or 3 channels, {_SMALLEST}x{_SMALLEST} pixels or more, and a class. For "
            "smaller images take small_cnn"
        )


def _torchxrayvision() -> ModuleType:
    try:
        with warnings.catch_warnings():  # it switches off all warnings of the process
            return import_module("torchxrayvision")
    except ImportError as error:
        raise ConfigError(
            "txrv_densenet121 needs the package torchxrayvision; run: "
            "pip install 'synthtrial[xray]'"
        ) from error
