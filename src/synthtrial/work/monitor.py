"""What a person can see of a GAN training while it runs: figures and sheets of samples."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from synthtrial.identity import stream
from synthtrial.store.files import write_file
from synthtrial.store.root import PROGRESS_FILE
from synthtrial.synthesis.sampling import to_pixels
from synthtrial.work.pictures import write_sheet

COLUMNS = 8  # samples of each class on a sheet
ROWS = 12  # classes on a sheet, at most
SHEETS = 8  # sheets of a training, at most
_SECONDS = 2.0  # between two writings of the progress

#: From images_NCHW (uint8) and classes to the share that is recognised, by class.
Recognise = Callable[[np.ndarray, Sequence[str]], Mapping[str, float]]


class Monitor:
    """Reports of one training, written under a folder of its own.

    ``progress.json`` says how far it is; ``samples/step-<n>.png`` shows images of the averaged
    generator, a row for each class, the same latents in every sheet.

    Args:
        folder: of the training.
        steps: that it takes.
        classes: all names, in the order of label vectors.
        shown: names of the classes to show, in order; the first :data:`ROWS` of them.
        latent: length of a latent vector.
        seed: of the study.
        draw: number of the draw.
        device: where the generator is.
        recognise: judges samples, if there is a judge.
        tensorboard: folder that figures and sheets are written to for TensorBoard too.
    """

    def __init__(
        self,
        folder: Path,
        *,
        steps: int,
        classes: Sequence[str],
        shown: Sequence[str],
        latent: int,
        seed: int,
        draw: int,
        device: str,
        recognise: Recognise | None = None,
        tensorboard: Path | None = None,
    ) -> None:
        self._folder, self._steps, self._recognise = folder, steps, recognise
        self._shown = list(shown)[:ROWS]
        count = COLUMNS * len(self._shown)
        latents = stream(seed, "gan-samples", draw).standard_normal((COLUMNS, latent))
        z_SZ = np.tile(latents.astype(np.float32), (len(self._shown), 1))
        y_SK = np.zeros((count, len(classes)), dtype=np.float32)
        for row, name in enumerate(self._shown):
            y_SK[row * COLUMNS : (row + 1) * COLUMNS, classes.index(name)] = 1
        self._z_SZ = torch.from_numpy(z_SZ).to(device)
        self._y_SK = torch.from_numpy(y_SK).to(device)
        self._last_written = 0.0
        self._last_sheet = 0
        self._recognised: dict[str, float] = {}
        self._writer = _tensorboard(tensorboard) if tensorboard else None

    @property
    def shown(self) -> list[str]:
        """The class of each row of a sheet."""
        return list(self._shown)

    @property
    def sheets(self) -> list[Path]:
        """The sheets so far, in the order of steps."""
        return sorted((self._folder / "samples").glob("step-*.png"))

    def report(self, step: int, figures: Mapping[str, float], averaged: nn.Module) -> None:
        """Take in the figures of a training."""
        due = step - self._last_sheet >= self._steps / SHEETS or step == self._steps
        if due:
            self._last_sheet = step
            self._show(step, averaged)
        now = time.monotonic()
        if due or now - self._last_written >= _SECONDS:
            self._last_written = now
            known: dict[str, Any] = {"step": step, "steps": self._steps, **figures}
            known["recognised"] = self._recognised
            self._folder.mkdir(parents=True, exist_ok=True)
            write_file(self._folder / PROGRESS_FILE, json.dumps(known).encode())
        if self._writer is not None:
            for name, value in figures.items():
                self._writer.add_scalar(name, value, step)
            if due:
                for name, share in self._recognised.items():
                    self._writer.add_scalar(f"recognised/{name}", share, step)

    def close(self) -> None:
        """Write out what TensorBoard is still to get."""
        if self._writer is not None:
            self._writer.close()

    @torch.inference_mode()
    def _show(self, step: int, averaged: nn.Module) -> None:
        images_NCHW = to_pixels(averaged(self._z_SZ, self._y_SK))
        (self._folder / "samples").mkdir(parents=True, exist_ok=True)
        path = self._folder / "samples" / f"step-{step:09d}.png"
        sheet_HWC = write_sheet(path, images_NCHW, COLUMNS)
        if self._recognise is not None:
            names = [name for name in self._shown for _ in range(COLUMNS)]
            self._recognised = dict(self._recognise(images_NCHW, names))
        if self._writer is not None:
            self._writer.add_image("samples", sheet_HWC, step, dataformats="HWC")


def _tensorboard(folder: Path) -> Any:
    from tensorboardX import SummaryWriter

    return SummaryWriter(str(folder))
