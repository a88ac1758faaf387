"""Classifier trainings that survive interruption: saved while they run, and gone on with.

Order and augmentation of the rows are addressed by pass and place, so the number of steps says
where the batches go on. What else a step depends on is in the checkpoint: weights, optimiser,
:class:`~synthtrial.classify.progress.Progress`, and the state of torch's generators, from which
dropout draws. On a processor N steps give the bits of k steps, a kill, and N - k steps.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from synthtrial.classify.progress import Progress
from synthtrial.errors import InterruptedTrainingError
from synthtrial.identity import code_digest
from synthtrial.store.checkpoints import Checkpoints

#: A training that is asked to stop saves its state only where more than this would be lost.
WORTH_SAVING_SECONDS = 5.0

_logger = logging.getLogger(__name__)


class Saver:
    """Saves a training from time to time, and ends it when it is asked to stop.

    Args:
        progress: of the training; it changes while the training runs.
        model: in training.
        optimizer: of the model.
        device: where the model is.
        checkpoints: where the state is saved and resumed from; None for nowhere.
        interrupted: asked after every step; True ends the training.
    """

    def __init__(
        self,
        progress: Progress,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        device: torch.device,
        checkpoints: Checkpoints | None,
        interrupted: Callable[[], bool] | None,
    ) -> None:
        self._progress, self._model, self._optimizer = progress, model, optimizer
        self._device, self._checkpoints, self._interrupted = device, checkpoints, interrupted
        self._began = time.perf_counter()
        self.resumed_at = 0  # step that this try began at
        self.earlier_seconds = 0.0  # wall time that the steps before it took

    def resume(self) -> None:
        """Go on from the newest sound checkpoint, if there is one.

        One that other source code left is not used: the record names the code that made a result,
        and half of it would be another's.
        """
        step = self._checkpoints.newest() if self._checkpoints is not None else None
        if self._checkpoints is None or step is None:
            return
        state = self._checkpoints.load(step, "cpu")
        if state["code"] != code_digest():
            _logger.warning(
                "the checkpoint of step %d in %s was left by another version of synthtrial: the "
                "training begins again",
                step,
                self._checkpoints.folder,
            )
            return
        self._progress.load(state["progress"], self._device)
        self._model.load_state_dict(state["model"])
        self._optimizer.load_state_dict(state["optimizer"])
        torch.random.set_rng_state(state["generator"])
        if self._device.type == "cuda" and state["device_generator"] is not None:
            torch.cuda.set_rng_state(state["device_generator"], self._device)
        self.resumed_at, self.earlier_seconds = step, state["seconds"]

    def after_step(self) -> None:
        """Save the state if it is time; end the training if it was asked to stop.

        Raises:
            InterruptedTrainingError: it was.
            StoreError: the state cannot be written.
        """
        checkpoints = self._checkpoints
        if self._interrupted is not None and self._interrupted():
            if checkpoints is not None and checkpoints.unsaved_seconds > WORTH_SAVING_SECONDS:
                self._save(checkpoints)
                kept = "its state is saved"
            else:
                kept = "what it did since it was last saved, or began, was too little to save"
            raise InterruptedTrainingError(
                f"the training of a classifier was asked to stop after step "
                f"{self._progress.steps}; {kept}. Run the study again to go on."
            )
        if checkpoints is not None and checkpoints.is_due(self._progress.steps):
            self._save(checkpoints)

    def _save(self, checkpoints: Checkpoints) -> None:
        on_gpu = self._device.type == "cuda"
        state: dict[str, Any] = {
            "code": code_digest(),
            "progress": self._progress.state(),
            "model": self._model.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "generator": torch.random.get_rng_state(),
            "device_generator": torch.cuda.get_rng_state(self._device) if on_gpu else None,
            "seconds": self.earlier_seconds + time.perf_counter() - self._began,
        }
        checkpoints.save(self._progress.steps, state)
