"""Trained generators on disk, and the images they make.

A generator is kept as ``generator.safetensors`` (the averaged weights) beside ``generator.json``
(what to build before loading them). Image i of shard s is made from its label vector and from the
i-th latent of the stream (seed, draw, s): never from what else was made, or where.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from synthtrial.errors import DamagedArtifactError, DataError, StoreError
from synthtrial.identity import stream
from synthtrial.registry import Component, find

WEIGHTS = "generator.safetensors"
DESCRIPTION = "generator.json"
_BATCH = 256  # images at once; fixed, as other batches may round differently


class Files(Protocol):
    """A committed artifact, as far as it matters here."""

    def file(self, name: str) -> Path:
        """Return the path of a file of the artifact."""
        ...


@dataclass(frozen=True)
class TrainedGenerator:
    """A generator ready to make images.

    Attributes:
        module: ``(z_BZ, y_BK) -> x_BCHW`` in [-1, 1], in evaluation mode.
        latent: length of a latent vector.
        classes: names of the classes, in the order of label vectors (sorted).
        channels: of the images.
        size: height and width of the images in pixels.
    """

    module: nn.Module
    latent: int
    classes: tuple[str, ...]
    channels: int
    size: int


def write_generator(
    folder: Path,
    component: Component,
    options: Any,
    state: Mapping[str, Tensor],
    *,
    channels: int,
    size: int,
    classes: Sequence[str],
    multi_label: bool,
) -> None:
    """Write a generator's averaged weights and description.

    Args:
        folder: an existing folder, usually that of a draft artifact.
        component: the generator family.
        options: the instance of its config dataclass that built it.
        state: ``GanResult.ema_state``.
        channels: of the images.
        size: height and width in pixels.
        classes: names in the order of label vectors (sorted).
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
    (folder / DESCRIPTION).write_text(text + "\n", encoding="utf-8")
    save_file({name: value.contiguous() for name, value in state.items()}, folder / WEIGHTS)


def read_generator(artifact: Files, device: torch.device | str = "cpu") -> TrainedGenerator:
    """Build a generator and load its weights.

    Raises:
        StoreError: it was made by another version of its family than the installed one.
        ConfigError: its family is not installed.
        DamagedArtifactError: a file is missing or cannot be read.
    """
    description = _describe(artifact.file(DESCRIPTION))
    component = find("generator", description["component"])
    if component.version != description["version"]:
        raise StoreError(
            f"{artifact.file(DESCRIPTION)} was made by version {description['version']} of the "
            f"generator '{component.name}'; version {component.version} is installed. Run the "
            "study again to train a new one, or install the package that made it."
        )
    with torch.random.fork_rng(devices=[]):
        networks = component.load()(
            component.config(**description["options"]),
            channels=description["channels"],
            size=description["size"],
            classes=len(description["classes"]),
            multi_label=description["multi_label"],
        )
    weights = artifact.file(WEIGHTS)
    try:
        networks.generator.load_state_dict(load_file(weights))
    except (SafetensorError, RuntimeError) as error:
        raise DamagedArtifactError(
            f"{weights} does not hold the weights of this generator ({error}). Run "
            f"`synthtrial verify`, delete the folder {weights.parent} and run the study again."
        ) from error
    return TrainedGenerator(
        networks.generator.to(device).eval().requires_grad_(False),
        networks.latent,
        tuple(description["classes"]),
        description["channels"],
        description["size"],
    )


def _describe(path: Path) -> dict[str, Any]:
    try:
        description: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DamagedArtifactError(
            f"{path} is no JSON ({error}). Run `synthtrial verify`, delete the folder "
            f"{path.parent} and run the study again."
        ) from error
    return description


@torch.inference_mode()
def sample_shard(
    generator: TrainedGenerator,
    vectors_MK: npt.NDArray[Any],
    *,
    seed: int,
    draw: int,
    shard: int,
    device: torch.device | str = "cpu",
) -> npt.NDArray[np.uint8]:
    """Make the images of one shard.

    Args:
        generator: from :func:`read_generator`, on ``device``.
        vectors_MK: label vectors of 0 and 1, classes as in ``generator.classes``.
        seed: of the study.
        draw: number of the draw.
        shard: number of the shard.
        device: where the generator is.

    Returns:
        images_MHWC, uint8.

    Raises:
        DataError: the vectors are not of this generator's classes, or not 0 and 1.
    """
    count = len(vectors_MK)
    if vectors_MK.shape != (count, len(generator.classes)) or not np.isin(vectors_MK, (0, 1)).all():
        raise DataError(
            f"label vectors of shape {vectors_MK.shape} cannot be sampled: this generator needs 0 "
            f"or 1 for each of its {len(generator.classes)} classes: {', '.join(generator.classes)}"
        )
    latents = stream(seed, "synthesis", draw, shard)
    z_MZ = torch.from_numpy(latents.standard_normal((count, generator.latent), dtype=np.float32))
    y_MK = torch.from_numpy(np.asarray(vectors_MK, dtype=np.float32))
    shape = (count, generator.size, generator.size, generator.channels)
    images_MHWC = np.empty(shape, dtype=np.uint8)
    for start in range(0, count, _BATCH):
        part = slice(start, start + _BATCH)
        x_BCHW = generator.module(z_MZ[part].to(device), y_MK[part].to(device))
        pixels_BCHW = ((x_BCHW + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
        images_MHWC[part] = pixels_BCHW.permute(0, 2, 3, 1).cpu().numpy()
    return images_MHWC
