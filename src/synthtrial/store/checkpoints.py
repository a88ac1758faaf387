"""Checkpoints of a training: complete or absent, verified, the newest sound one wins.

A checkpoint is one file ``step-<step>-<digest>.pt``. It is read back, hashed, written
under a temporary name, hashed again and renamed. The digest in its name is that of its content, so
that damage shows before anything is trained on it. Only tensors and plain data are in it
(``weights_only``).
"""

from __future__ import annotations

import hashlib
import io
import logging
import pickle
import re
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from synthtrial.errors import StoreError, TrainingError
from synthtrial.store.files import entries, publish, sha256_of, storage_errors, temporary_name

if TYPE_CHECKING:  # the store is read without torch
    import torch

State = Mapping[str, Any]

_NAME = re.compile(r"step-(\d{9})-([0-9a-f]{16})\.pt")
_logger = logging.getLogger(__name__)


@dataclass
class Checkpoints:
    """The checkpoints of one training.

    Attributes:
        folder: of its own, on storage that every process of the training sees.
        keep: how many stay.
        every_seconds: time between two.
        every_steps: steps between two, instead of a time.
    """

    folder: Path
    keep: int = 2
    every_seconds: float = 300.0
    every_steps: int | None = None
    _last_saved: float = field(default_factory=time.monotonic)

    def is_due(self, step: int) -> bool:
        """Say whether it is time for another."""
        if self.every_steps is not None:
            return step % self.every_steps == 0
        return self.unsaved_seconds >= self.every_seconds

    @property
    def unsaved_seconds(self) -> float:
        """Time since the last one was saved, or since this training began."""
        return time.monotonic() - self._last_saved

    def save(self, step: int, state: State) -> Path:
        """Write the state after ``step`` steps and keep it and the newest of the older ones.

        What claims to be of a later step is damaged, or was refused when the training began.

        Raises:
            StoreError: the disk is full or the folder read-only; older checkpoints are kept.
            TrainingError: there is more in the state than tensors and plain data.
        """
        import torch

        buffer = io.BytesIO()  # torch.save hides what the disk says when it writes to a file
        torch.save(dict(state), buffer)
        _read(buffer, "cpu", f"the checkpoint of step {step}")
        digest = hashlib.sha256(buffer.getbuffer()).hexdigest()
        final = self.folder / f"step-{step:09d}-{digest[:16]}.pt"
        with storage_errors(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            temporary = temporary_name(final)
            try:
                temporary.write_bytes(buffer.getbuffer())
                if sha256_of(temporary) != digest:
                    raise StoreError(f"{temporary} does not hold what was written to it")
                publish(temporary, final)
            finally:
                with suppress(OSError):
                    temporary.unlink(missing_ok=True)
            older = [path for path in self._files() if _step(path) < step]
            kept = {final, *older[: self.keep - 1]}
            for path in self._files():
                if path not in kept:
                    path.unlink(missing_ok=True)
        self._last_saved = time.monotonic()
        return final

    def newest(self) -> int | None:
        """Return the step of the newest sound checkpoint, saying which newer ones are not."""
        for path in self._files():
            if _is_sound(path):
                return _step(path)
            _logger.warning("%s is damaged: an older checkpoint is used", path)
        return None

    def load(self, step: int, device: torch.device | str) -> dict[str, Any]:
        """Return the state after ``step`` steps.

        Raises:
            TrainingError: this process does not see a sound checkpoint of that step.
        """
        for path in self._files():
            if _step(path) == step and _is_sound(path):
                return _read(path, device, str(path))
        raise TrainingError(
            f"this process finds no sound checkpoint of step {step} in {self.folder}, where "
            "another process of the same training does: the store must be on storage that all "
            "nodes share"
        )

    def _files(self) -> list[Path]:
        """Return the checkpoints, newest first."""
        found = [path for path in entries(self.folder) if _NAME.fullmatch(path.name)]
        return sorted(found, key=_step, reverse=True)


def _step(path: Path) -> int:
    match = _NAME.fullmatch(path.name)
    assert match is not None
    return int(match[1])


def _is_sound(path: Path) -> bool:
    try:
        return sha256_of(path).startswith(path.stem.rpartition("-")[2])
    except OSError:
        return False


def _read(source: Path | io.BytesIO, device: torch.device | str, name: str) -> dict[str, Any]:
    import torch

    if isinstance(source, io.BytesIO):
        source.seek(0)
    try:
        state: dict[str, Any] = torch.load(source, map_location=device, weights_only=True)
    except (RuntimeError, pickle.UnpicklingError, EOFError) as error:
        raise TrainingError(f"{name} cannot be read back: {error}") from error
    return state
