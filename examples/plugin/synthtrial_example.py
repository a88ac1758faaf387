"""One plug-in of each kind for synthtrial: small enough to read, real enough to run a study.

Planning a study imports this module, so torch is imported inside the functions that need it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from synthtrial.config import ArmConfig
from synthtrial.data.base import Sample, make_label_table
from synthtrial.errors import ConfigError
from synthtrial.identity import stream
from synthtrial.registry import Component
from synthtrial.store.images import LabelTable

if TYPE_CHECKING:
    import torch
    from torch import nn

    from synthtrial.classify.augment import Augmentation
    from synthtrial.synthesis.generators import Networks

# --- A dataset -----------------------------------------------------------------------------------

_KINDS = ("circle", "square", "triangle")
_PER_HAND = 4


@dataclass(frozen=True)
class ShapesConfig:
    """Drawn shapes.

    Attributes:
        hands: how many people drew; each drew four copies of one shape.
        size: height and width of the images in pixels.
    """

    hands: int = 90
    size: int = 16


@dataclass(frozen=True)
class Shapes:
    """The opened dataset: grey images of circles, squares and triangles, grouped by hand."""

    hands: int
    size: int
    classes: tuple[str, ...] = _KINDS
    multi_label: bool = False
    groups_known: bool = True
    licence: str = "CC0-1.0"

    @property
    def expected_rows(self) -> int:
        """Number of images."""
        return self.hands * _PER_HAND

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Channels, height and width."""
        return (1, self.size, self.size)

    def samples(self) -> Iterator[Sample]:
        """Yield the images, each drawn when it is asked for."""
        for hand in range(self.hands):
            kind = _KINDS[hand % len(_KINDS)]
            labels = {name: int(name == kind) for name in _KINDS}
            for copy in range(_PER_HAND):
                image_HWC = _draw(kind, hand, copy, self.size)
                yield Sample(f"shape-{hand:03d}-{copy}", f"hand-{hand:03d}", image_HWC, labels)

    def label_table(self) -> LabelTable:
        """Return ids, hands and labels without drawing anything."""
        hands = np.repeat(np.arange(self.hands), _PER_HAND)
        return make_label_table(
            [f"shape-{hand:03d}-{i % _PER_HAND}" for i, hand in enumerate(hands)],
            [f"hand-{hand:03d}" for hand in hands],
            {name: (hands % len(_KINDS) == k).astype(np.int8) for k, name in enumerate(_KINDS)},
        )


def open_shapes(config: ShapesConfig) -> Shapes:
    """Open the dataset; nothing is drawn yet.

    Raises:
        ConfigError: there is no hand for each shape, or the images are too small to draw on.
    """
    if config.hands < len(_KINDS) or config.size < 8:
        raise ConfigError(
            f"shapes: {config.hands} hands and {config.size} pixels; "
            f"allowed: at least {len(_KINDS)} hands and 8 pixels"
        )
    return Shapes(config.hands, config.size)


def _draw(kind: str, hand: int, copy: int, size: int) -> np.ndarray:
    """Return image_HWC, uint8. A hand has its own darkness and size; every copy lies elsewhere."""
    style = stream(0, "shapes", hand)
    radius, ink = style.uniform(0.45, 0.7), style.uniform(120, 230)
    random = stream(0, "shapes", hand, copy)
    across, down = random.uniform(-0.25, 0.25, size=2)
    grid = np.linspace(-1, 1, size)
    x_HW, y_HW = grid[None, :] - across, grid[:, None] - down
    distance = {
        "circle": np.hypot(x_HW, y_HW),
        "square": np.maximum(abs(x_HW), abs(y_HW)),
        "triangle": np.maximum(y_HW, 1.8 * abs(x_HW) - y_HW),
    }[kind]
    inside_HW = np.clip((radius - distance) * size / 2, 0, 1)  # edges one pixel soft
    image_HW = ink * inside_HW + random.normal(15, 8, size=(size, size))
    image_HWC: np.ndarray = np.clip(image_HW, 0, 255).astype(np.uint8)[:, :, None]
    return image_HWC


SHAPES = Component("shapes", 1, ShapesConfig, "synthtrial_example:open_shapes")

# --- A generator family --------------------------------------------------------------------------


@dataclass(frozen=True)
class TinyGanConfig:
    """Two small fully connected networks.

    Attributes:
        latent: length of a latent vector.
        width: hidden units.
    """

    latent: int = 16
    width: int = 128


def build_tiny_gan(
    config: TinyGanConfig, *, channels: int, size: int, classes: int, multi_label: bool
) -> Networks:
    """Build both networks; labels enter the score by projection (Miyato & Koyama 2018)."""
    import torch
    from torch import nn

    from synthtrial.synthesis.generators import Networks

    del multi_label  # a sum of class vectors serves both kinds of labels
    pixels, width = channels * size * size, config.width

    class Generator(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.start = nn.Linear(config.latent + classes, width)
            self.end = nn.Linear(width, pixels)

        def forward(self, z_BZ: torch.Tensor, y_BK: torch.Tensor) -> torch.Tensor:
            hidden_BW = nn.functional.leaky_relu(self.start(torch.cat([z_BZ, y_BK], dim=1)), 0.2)
            return torch.tanh(self.end(hidden_BW)).view(-1, channels, size, size)

    class Discriminator(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.start = nn.utils.parametrizations.spectral_norm(nn.Linear(pixels, width))
            self.score = nn.Linear(width, 1)
            self.project = nn.Linear(classes, width, bias=False)

        def forward(self, x_BCHW: torch.Tensor, y_BK: torch.Tensor) -> torch.Tensor:
            hidden_BW = nn.functional.leaky_relu(self.start(x_BCHW.flatten(1)), 0.2)
            projected_B = (self.project(y_BK) * hidden_BW).sum(dim=1)
            score_B: torch.Tensor = self.score(hidden_BW).squeeze(1) + projected_B
            return score_B

    return Networks(Generator(), Discriminator(), config.latent)


TINY_GAN = Component(
    "tiny_gan", 1, TinyGanConfig, "synthtrial_example:build_tiny_gan", step_milliseconds=3.0
)

# --- A classifier --------------------------------------------------------------------------------


@dataclass(frozen=True)
class TinyMlpConfig:
    """One hidden layer.

    Attributes:
        width: hidden units.
    """

    width: int = 64


def build_tiny_mlp(config: TinyMlpConfig, *, channels: int, size: int, outputs: int) -> nn.Module:
    """Build the network: images in [-1, 1] of (B, channels, size, size) to logits (B, outputs)."""
    from torch import nn

    if config.width < 1:
        raise ConfigError(f"tiny_mlp: width is {config.width}; it must be at least 1")
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(channels * size * size, config.width),
        nn.ReLU(),
        nn.Linear(config.width, outputs),
    )


TINY_MLP = Component(
    "tiny_mlp", 1, TinyMlpConfig, "synthtrial_example:build_tiny_mlp", step_milliseconds=1.0
)

# --- An augmentation, and an arm that uses it ----------------------------------------------------


@dataclass(frozen=True)
class QuarterTurnConfig:
    """Turn square images by 90, 180 or 270 degrees.

    Attributes:
        probability: that an image is turned at all.
    """

    probability: float = 0.75


def make_quarter_turn(config: QuarterTurnConfig) -> Augmentation:
    """Make the transform; every image decides with two random numbers of its own."""
    import torch

    from synthtrial.classify.augment import Augmentation

    if not 0 <= config.probability <= 1:
        raise ConfigError(f"quarter_turn: probability is {config.probability}; allowed: 0 to 1")

    def apply(x_BCHW: torch.Tensor, u_BD: torch.Tensor) -> torch.Tensor:
        turns_B = torch.where(u_BD[:, 0] < config.probability, 1 + (3 * u_BD[:, 1]).long(), 0)
        turned_BCHW = x_BCHW.clone()
        for turns in (1, 2, 3):
            chosen = turns_B == turns
            turned_BCHW[chosen] = torch.rot90(x_BCHW[chosen], turns, dims=(2, 3))
        return turned_BCHW

    return Augmentation(2, apply)


QUARTER_TURN = Component(
    "quarter_turn", 1, QuarterTurnConfig, "synthtrial_example:make_quarter_turn"
)

TURNED_ARM = ArmConfig(augment=[{"name": "quarter_turn"}])
TURNED = Component("turned", 1, ArmConfig, "synthtrial_example:TURNED_ARM")

# --- A metric ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class WorstRecallConfig:
    """The metric has no options."""


def worst_recall(scores_NK: np.ndarray, targets_NK: np.ndarray, *, multi_label: bool) -> float:
    """Return the recall of the class that is recognised worst; NaN where none is defined."""
    from synthtrial.classify.metrics import recall

    values_K = recall(scores_NK, targets_NK, multi_label=multi_label)
    defined = values_K[~np.isnan(values_K)]
    return float(defined.min()) if len(defined) else float("nan")


WORST_RECALL = Component("worst_recall", 1, WorstRecallConfig, "synthtrial_example:worst_recall")
