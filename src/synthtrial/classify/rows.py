"""Training and evaluation rows: where their pixels are, and in which order they are visited.

Pixels stay uint8 until a block of batches is needed. Small sets live whole on the device; larger
ones are gathered block by block from memory-mapped arrays. A block holds many batches, so that
gathering, augmentation and normalisation cost next to nothing a step.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from copy import copy

import numpy as np
import torch
from numpy.typing import NDArray

from synthtrial.classify.augment import Augmentation
from synthtrial.errors import DataError
from synthtrial.identity import stream

RESIDENT_BYTES = 256 * 2**20  # sets up to this size are kept whole on the device
_BLOCK_BYTES = 16 * 2**20  # of normalised pixels that are prepared at a time
_EVALUATION_BYTES = 8 * 2**20  # of normalised pixels in one evaluation batch
_EVALUATION_ROWS = 1024

Part = tuple[NDArray[np.uint8], NDArray[np.integer]]
Batch = tuple[torch.Tensor, torch.Tensor, NDArray[np.intp]]


class Rows:
    """Images with targets, put together from several arrays without copying them.

    Args:
        parts: arrays of images (uint8, NCHW, memory-mapped or not), each with the indices of the
            rows in use; the rows of the first part come first, and so on.
        targets_NK: float32; 1, 0, or NaN where a label is ignored.
        is_real: which rows are real images; by default all of them.
        augmented_N: which rows random transforms are applied to; None for all.
        uncertain_NK: which labels are uncertain in the raw data, for metrics that leave them out;
            None where that is not known.

    Raises:
        DataError: no rows, images of different shapes, or as many targets as do not fit.
    """

    def __init__(
        self,
        parts: Sequence[Part],
        targets_NK: NDArray[np.float32],
        is_real: NDArray[np.bool_] | None = None,
        *,
        augmented_N: NDArray[np.bool_] | None = None,
        uncertain_NK: NDArray[np.bool_] | None = None,
    ) -> None:
        self.parts = [(images, np.asarray(index)) for images, index in parts if len(index)]
        self.targets_NK = np.asarray(targets_NK, dtype=np.float32)
        n = sum(len(index) for _, index in self.parts)
        self.is_real = np.ones(n, dtype=bool) if is_real is None else np.asarray(is_real)
        self.augmented_N, self.uncertain_NK = augmented_N, uncertain_NK
        shapes = {images.shape[1:] for images, _ in self.parts}
        if not n:
            raise DataError("there are no rows to train or to evaluate on; use a larger regimen")
        if len(shapes) != 1:
            raise DataError(f"images of different shapes {sorted(shapes)} cannot share a training")
        if self.targets_NK.shape[:1] != (n,) or self.is_real.shape != (n,):
            raise DataError(
                f"{n} images came with {len(self.targets_NK)} targets and {len(self.is_real)} "
                "marks of what is real; every image needs one of each"
            )
        self._starts = np.cumsum([0] + [len(index) for _, index in self.parts])
        self._resident: torch.Tensor | None = None

    def __len__(self) -> int:
        return len(self.targets_NK)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width of an image."""
        channels, height, width = self.parts[0][0].shape[1:]
        return channels, height, width

    @property
    def bytes_per_image(self) -> int:
        """Size of one image as uint8."""
        return int(np.prod(self.shape))

    def to(self, device: torch.device | str) -> Rows:
        """Return these rows with their pixels on ``device``, where they fit; else unchanged."""
        if len(self) * self.bytes_per_image > RESIDENT_BYTES:
            return self
        return self._with(torch.from_numpy(self._gather(np.arange(len(self)))).to(device))

    def normalised(self) -> Rows:
        """Return resident rows with pixels already in [-1, 1], where they fit; else unchanged."""
        pixels = self._resident
        if pixels is None or len(self) * self.bytes_per_image * 4 > RESIDENT_BYTES:
            return self
        return self._with(normalise(pixels))

    def _with(self, pixels: torch.Tensor) -> Rows:
        moved = copy(self)
        moved._resident = pixels
        return moved

    def images(self, index_B: NDArray[np.intp], device: torch.device | str) -> torch.Tensor:
        """Return some images, uint8 (float32 in [-1, 1] after :meth:`normalised`), BCHW."""
        if self._resident is not None:
            index = torch.from_numpy(index_B).to(self._resident.device)
            return self._resident.index_select(0, index).to(device)
        pixels = torch.from_numpy(self._gather(index_B))
        if torch.device(device).type == "cuda":
            return pixels.pin_memory().to(device, non_blocking=True)
        return pixels.to(device)

    def _gather(self, index_B: NDArray[np.intp]) -> NDArray[np.uint8]:
        images_BCHW = np.empty((len(index_B), *self.shape), dtype=np.uint8)
        part_B = np.searchsorted(self._starts, index_B, side="right") - 1
        for number, (images, index) in enumerate(self.parts):
            mine = np.flatnonzero(part_B == number)
            if len(mine):
                images_BCHW[mine] = images[index[index_B[mine] - self._starts[number]]]
        return images_BCHW


def normalise(x_BCHW: torch.Tensor) -> torch.Tensor:
    """Map uint8 pixels to [-1, 1]; pixels that are floats already are returned as they are."""
    if x_BCHW.dtype != torch.uint8:
        return x_BCHW
    return x_BCHW.float().div_(127.5).sub_(1.0)


def training_batches(
    rows: Rows,
    labels: torch.Tensor,
    *,
    batch_size: int,
    row_weights_N: NDArray[np.float64] | None,
    augment: Augmentation | None,
    seed: int,
    replicate: int,
    device: torch.device,
    first: int = 0,
) -> Iterator[Batch]:
    """Visit the rows pass after pass, without end.

    Order and augmentation of pass ``p`` come from the streams (order, replicate, p) and (augment,
    replicate, p). A row's augmentation depends on its place among the rows, not on its batch; real
    rows come first, so that arms that add rows transform the real ones alike.

    Args:
        rows: to train on.
        labels: of all rows, on ``device``, in the form that the loss takes.
        batch_size: rows a step; the last batch of a pass may be smaller.
        row_weights_N: draw rows with replacement with these probabilities; None visits every row
            once a pass.
        augment: random transforms.
        seed: of the study.
        replicate: number of the seed within the study.
        device: where the batches go.
        first: number of the batch to begin with, counted from 0 through all passes.

    Yields:
        x_BCHW in [-1, 1], the labels of the batch, and the indices of its rows.
    """
    n = len(rows)
    pass_number, skipped = divmod(first, -(-n // batch_size))
    begin = skipped * batch_size
    block = batch_size * max(1, _BLOCK_BYTES // (4 * rows.bytes_per_image * batch_size))
    while True:
        generator = stream(seed, "order", replicate, pass_number)
        if row_weights_N is None:
            order_N = generator.permutation(n)
        else:
            order_N = generator.choice(n, size=n, p=row_weights_N)
        if augment is not None:
            draws = stream(seed, "augment", replicate, pass_number)
            u_ND = draws.random((n, augment.draws), dtype=np.float32)
            if row_weights_N is None:  # repeats of a row within a pass get numbers of their own
                u_ND = u_ND[order_N]
        for start in range(begin - begin % block, n, block):  # whole blocks: the same bits
            index = order_N[start : start + block]
            x = rows.images(index, device)
            if augment is not None:
                u = torch.from_numpy(u_ND[start : start + block]).to(device)
                x = _augmented(x, u, augment, rows.augmented_N, index)
            x = _layout(normalise(x))
            y = labels.index_select(0, torch.from_numpy(index).to(device))
            places = range(0, len(index), batch_size)
            for place, x_B, y_B in zip(
                places, torch.split(x, batch_size), torch.split(y, batch_size), strict=True
            ):
                if start + place >= begin:
                    yield x_B, y_B, index[place : place + batch_size]
        pass_number, begin = pass_number + 1, 0


def _augmented(
    x_BCHW: torch.Tensor,
    u_BD: torch.Tensor,
    augment: Augmentation,
    augmented_N: NDArray[np.bool_] | None,
    index_B: NDArray[np.intp],
) -> torch.Tensor:
    """Apply the transforms to those rows that are to be transformed."""
    changed = augment.apply(x_BCHW, u_BD)
    if augmented_N is None:
        return changed
    mine_B = torch.from_numpy(augmented_N[index_B]).to(x_BCHW.device)
    return torch.where(mine_B.view(-1, 1, 1, 1), changed, x_BCHW)


def evaluation_batches(rows: Rows, device: torch.device) -> Iterator[torch.Tensor]:
    """Yield all images in order, normalised, in batches whose size depends on the rows alone."""
    size = max(1, min(_EVALUATION_ROWS, _EVALUATION_BYTES // (4 * rows.bytes_per_image)))
    for start in range(0, len(rows), size):
        index = np.arange(start, min(start + size, len(rows)))
        yield _layout(normalise(rows.images(index, device)))


def _layout(x_BCHW: torch.Tensor) -> torch.Tensor:
    """Put channels last on a GPU, where tensor cores want them."""
    if x_BCHW.device.type == "cuda":
        return x_BCHW.contiguous(memory_format=torch.channels_last)
    return x_BCHW
