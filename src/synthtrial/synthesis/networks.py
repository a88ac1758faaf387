"""Freshly built networks of a generator family."""

from __future__ import annotations

from typing import Any

import torch

from synthtrial.identity import torch_seed
from synthtrial.registry import Component
from synthtrial.synthesis.generators import Networks


def build_networks(
    component: Component,
    options: Any,
    *,
    channels: int,
    size: int,
    classes: int,
    multi_label: bool,
    seed: int,
    draw: int,
) -> Networks:
    """Build the networks of a generator component, initialised by the stream of (seed, draw).

    Args:
        component: an installed generator.
        options: an instance of its config dataclass.
        channels: image channels.
        size: height and width in pixels.
        classes: number of classes K.
        multi_label: whether label vectors may hold any number of positives.
        seed: of the study.
        draw: number of the draw.

    Raises:
        ConfigError: the family cannot make such images with these options.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(torch_seed(seed, "gan-init", draw))
        networks: Networks = component.load()(
            options, channels=channels, size=size, classes=classes, multi_label=multi_label
        )
    return networks
