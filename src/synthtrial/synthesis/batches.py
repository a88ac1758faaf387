"""What each update of the GAN loop is shown: real rows, label vectors and random numbers.

Everything is addressed by (seed, draw, stream, update, place in the *global* batch) and computed
without memory of earlier updates. Any process can take any part of any update, so a checkpoint
holds no random state and training resumes with another number of processes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from synthtrial.config import GanTrainingConfig
from synthtrial.data.labels import balanced_row_weights
from synthtrial.identity import stream, stream_key
from synthtrial.synthesis.augment import numbers_needed

RESIDENT_BYTES = 256 * 2**20  # training sets up to this size are kept on the device


@dataclass(frozen=True)
class Batch:
    """A part of a global batch, on the device.

    Attributes:
        real_BCHW: real images in [-1, 1].
        y_BK: their label vectors, which the made images are given too.
        z_BZ: latents of the made images.
        u_2BD: uniform numbers of the augmentation: of the real images, then of the made ones.
        mix_B: uniform numbers that place the gradient penalty between real and made images.
        weight_B: of each image's losses, 1 on average over the training rows; None for 1.
    """

    real_BCHW: Tensor
    y_BK: Tensor
    z_BZ: Tensor
    u_2BD: Tensor
    mix_B: Tensor
    weight_B: Tensor | None


class Batches:
    """The batches of one GAN training.

    Args:
        latent: length of a latent vector.
        images_NCHW: all images of the dataset, uint8 (a memory map will do).
        index: rows of ``images_NCHW`` that the generator may see.
        targets_NK: 0 and 1 for every row of ``images_NCHW``; NaN (unknown) conditions as 0.
        config: the loop's settings.
        seed: of the study.
        draw: number of the draw.
        device: where batches are wanted.
    """

    def __init__(
        self,
        latent: int,
        images_NCHW: npt.NDArray[np.uint8],
        index: npt.NDArray[np.integer[Any]],
        targets_NK: npt.NDArray[np.float32],
        config: GanTrainingConfig,
        *,
        seed: int,
        draw: int,
        device: torch.device,
    ) -> None:
        self._latent, self._seed, self._draw, self._device = latent, seed, draw, device
        self._random = stream(seed)  # put at the beginning of one stream after another
        self._fresh = self._random.bit_generator.state
        self._batch = config.global_batch
        self._uniforms = numbers_needed(config.diffaugment)
        self._images_NCHW, self._index = images_NCHW, index
        targets_MK = np.nan_to_num(targets_NK[index], nan=0.0).astype(np.float32)
        self._targets_MK = torch.from_numpy(targets_MK)
        weights_M = balanced_row_weights(targets_MK)
        even_M = np.full(len(index), 1 / len(index))
        # Where one row's share of [0, 1) ends and the next one's begins.
        self._edges = np.cumsum(weights_M if config.balanced_sampling else even_M)[:-1]
        self._weights_M: Tensor | None = None
        if config.class_weights == "balanced":
            self._weights_M = torch.from_numpy((weights_M * len(index)).astype(np.float32))
        self._format = torch.channels_last if config.channels_last else torch.contiguous_format
        self._resident: Tensor | None = None
        size = index.size * images_NCHW[:1].nbytes
        if size <= RESIDENT_BYTES:
            resident = torch.from_numpy(np.ascontiguousarray(images_NCHW[index])).to(device)
            self._resident = _scaled(resident) if 4 * size <= RESIDENT_BYTES else resident

    def draw(self, update: int, part: slice) -> Batch:
        """Return a part of the global batch of an update, a slice of its places."""
        size = self._batch
        rows_B = self._rows(update)[part]
        z_BZ = self._stream("gan-latents", update).standard_normal(
            (size, self._latent), dtype=np.float32
        )[part]
        numbers = self._stream("gan-augment", update)
        u_2BD = numbers.random((2, size, self._uniforms), dtype=np.float32)[:, part]
        mix_B = self._stream("gan-penalty", update).random(size, dtype=np.float32)[part]
        rows = torch.from_numpy(rows_B)
        return Batch(
            real_BCHW=self._images(rows),
            y_BK=self._targets_MK[rows].to(self._device),
            z_BZ=self._to_device(z_BZ),
            u_2BD=self._to_device(u_2BD),
            mix_B=self._to_device(mix_B),
            weight_B=None if self._weights_M is None else self._weights_M[rows].to(self._device),
        )

    def _rows(self, update: int) -> npt.NDArray[np.int64]:
        u_B = self._stream("gan-rows", update).random(self._batch)
        return self._edges.searchsorted(u_B, side="right")

    def _stream(self, name: str, update: int) -> np.random.Generator:
        """Return what :func:`stream` would, in a fifth of the time; it ends the stream before."""
        key = stream_key(self._seed, name, self._draw, update)
        self._fresh["state"]["key"] = np.array([key & (2**64 - 1), key >> 64], dtype=np.uint64)
        self._random.bit_generator.state = self._fresh
        return self._random

    def _to_device(self, array: npt.NDArray[np.float32]) -> Tensor:
        tensor = torch.from_numpy(np.ascontiguousarray(array))
        if self._device.type == "cuda":  # copied while the device still works on the last update
            return tensor.pin_memory().to(self._device, non_blocking=True)
        return tensor

    def _images(self, rows_B: Tensor) -> Tensor:
        if self._resident is not None:
            x_BCHW = self._resident[rows_B.to(self._device)]
        else:
            gathered = torch.from_numpy(self._images_NCHW[self._index[rows_B.numpy()]])
            x_BCHW = gathered.to(self._device)
        if x_BCHW.dtype == torch.uint8:
            x_BCHW = _scaled(x_BCHW)
        return x_BCHW.contiguous(memory_format=self._format)


def _scaled(pixels_NCHW: Tensor) -> Tensor:
    return pixels_NCHW.float().div_(127.5).sub_(1.0)
