"""Trained generators, and the images they make.

A generator is kept as :mod:`synthtrial.classify.saving` keeps networks. Image i of shard s is made
from its label vector and from the i-th latent of the stream (seed, draw, s): never from what else
was made, or where.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from synthtrial.classify.saving import Files, load_weights, read_description
from synthtrial.errors import DataError
from synthtrial.identity import stream

GENERATOR = "generator"  # stem of its files
# Images at once. On a processor maps of more pixels than this leave its caches: at 64x64 pixels
# batches of 16 take half the time of 256. Fixed, as other batches may round differently.
_BATCH = 256
_PROCESSOR_PIXELS = 2**14


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


def read_generator(artifact: Files, device: torch.device | str = "cpu") -> TrainedGenerator:
    """Build a generator and load its weights.

    Raises:
        StoreError: it was made by another version of its family than the installed one.
        ConfigError: its family is not installed.
        DamagedArtifactError: a file is missing or cannot be read.
    """
    component, description = read_description(artifact, GENERATOR, "generator")
    with torch.random.fork_rng(devices=[]):
        networks = component.load()(
            component.config(**description["options"]),
            channels=description["channels"],
            size=description["size"],
            classes=len(description["classes"]),
            multi_label=description["multi_label"],
        )
    load_weights(networks.generator, artifact, GENERATOR)
    return TrainedGenerator(
        networks.generator.to(device).eval().requires_grad_(False),
        networks.latent,
        tuple(description["classes"]),
        description["channels"],
        description["size"],
    )


@torch.inference_mode()
def sample_shard(
    generator: TrainedGenerator,
    vectors_MK: npt.NDArray[Any],
    *,
    seed: int,
    draw: int,
    shard: int,
    device: torch.device | str = "cpu",
) -> Iterator[npt.NDArray[np.uint8]]:
    """Make the images of one shard, batch by batch.

    Args:
        generator: from :func:`read_generator`, on ``device``.
        vectors_MK: label vectors of 0 and 1, classes as in ``generator.classes``.
        seed: of the study.
        draw: number of the draw.
        shard: number of the shard.
        device: where the generator is.

    Yields:
        images_BHWC, uint8, in the order of the vectors.

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
    batch = _BATCH
    if torch.device(device).type == "cpu":
        batch = max(8, min(batch, _PROCESSOR_PIXELS // generator.size**2))
    for start in range(0, count, batch):
        part = slice(start, start + batch)
        x_BCHW = generator.module(z_MZ[part].to(device), y_MK[part].to(device))
        yield to_pixels(x_BCHW).transpose(0, 2, 3, 1)


def to_pixels(x_BCHW: Tensor) -> npt.NDArray[np.uint8]:
    """Return images in [-1, 1] as uint8; what lies outside is clipped."""
    pixels_BCHW = ((x_BCHW + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
    return pixels_BCHW.cpu().numpy()
