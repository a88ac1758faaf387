"""Trained networks on disk: weights beside a description of what to build before loading them.

``<stem>.safetensors`` holds the weights, ``<stem>.json`` names the component with its version and
options and the shape of its images. Nothing is unpickled, and no code is imported by a name in it
that is not an installed plug-in.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from synthtrial.classify.pretrained import without_pretrained
from synthtrial.errors import DamagedArtifactError, StoreError
from synthtrial.registry import Component, Kind, find

CLASSIFIER = "classifier"


class Files(Protocol):
    """A committed artifact, as far as it matters here."""

    def file(self, name: str) -> Path:
        """Return the path of a file of the artifact."""
        ...


def write_network(
    folder: Path,
    stem: str,
    component: Component,
    options: Any,
    state: Mapping[str, Tensor],
    *,
    channels: int,
    size: int,
    classes: Sequence[str],
    multi_label: bool,
) -> None:
    """Write a network's weights and description.

    Args:
        folder: an existing folder, usually that of a draft artifact.
        stem: of the two files' names.
        component: what built it.
        options: the instance of its config dataclass that built it.
        state: its ``state_dict``, on the CPU.
        channels: of the images.
        size: height and width in pixels.
        classes: names, sorted.
        multi_label: whether the data are multi-label.
    """
    description = {
        "component": component.name,
        "version": component.version,
        "options": dataclasses.asdict(options),
        "channels": channels,
        "size": size,
        "classes": list(classes),
        "multi_label": multi_label,
    }
    text = json.dumps(description, indent=2, ensure_ascii=False)
    (folder / f"{stem}.json").write_text(text + "\n", encoding="utf-8")
    kept = {name: value.contiguous() for name, value in state.items()}
    save_file(kept, folder / f"{stem}.safetensors")


def read_description(artifact: Files, stem: str, kind: Kind) -> tuple[Component, dict[str, Any]]:
    """Return the installed component that built a network, and the network's description.

    Raises:
        StoreError: it was made by another version of the component than the installed one.
        ConfigError: the component is not installed.
        DamagedArtifactError: the description is missing or cannot be read.
    """
    path = artifact.file(f"{stem}.json")
    try:
        description: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DamagedArtifactError(
            f"{path} is no JSON ({error}). Run `synthtrial verify`, delete the folder "
            f"{path.parent} and run the study again."
        ) from error
    component = find(kind, description["component"])
    if component.version != description["version"]:
        raise StoreError(
            f"{path} was made by version {description['version']} of the {kind} "
            f"'{component.name}'; version {component.version} is installed. Run the study again "
            "to train a new one, or install the package that made it."
        )
    return component, description


def load_weights(module: nn.Module, artifact: Files, stem: str) -> None:
    """Load a network's weights into a freshly built one.

    Raises:
        DamagedArtifactError: they are missing, cannot be read, or belong to another network.
    """
    path = artifact.file(f"{stem}.safetensors")
    try:
        module.load_state_dict(load_file(path))
    except (SafetensorError, RuntimeError) as error:
        raise DamagedArtifactError(
            f"{path} does not hold the weights of this {stem} ({error}). Run "
            f"`synthtrial verify`, delete the folder {path.parent} and run the study again."
        ) from error


def read_classifier(artifact: Files, device: torch.device | str = "cpu") -> nn.Module:
    """Return a trained classifier, in evaluation mode.

    Pretrained weights that its training began at are not looked for: its own replace them.

    Raises:
        StoreError, ConfigError, DamagedArtifactError: as :func:`read_description`.
    """
    component, description = read_description(artifact, CLASSIFIER, "classifier")
    with torch.random.fork_rng(devices=[]), without_pretrained():
        model: nn.Module = component.load()(
            component.config(**description["options"]),
            channels=description["channels"],
            size=description["size"],
            outputs=len(description["classes"]),
        )
    load_weights(model, artifact, CLASSIFIER)
    return model.to(device).eval().requires_grad_(False)
