"""What is said and kept when a GAN training diverges."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import nn

from synthtrial.config import GanTrainingConfig
from synthtrial.errors import NonFiniteLossError
from synthtrial.store.files import write_file
from synthtrial.synthesis.generators import Networks

DIAGNOSIS = "diagnosis.json"
_TAIL = 20  # entries of the history that a diagnosis holds


def diverged(
    networks: Networks,
    config: GanTrainingConfig,
    losses: Mapping[str, float],
    history: Mapping[str, Sequence[float]],
    *,
    step: int,
    bad: int,
    folder: Path | None,
) -> NonFiniteLossError:
    """Return the error that ends a diverged training, having saved a diagnosis of it.

    Args:
        networks: as the last step left them.
        config: of the loop.
        losses: of ``generator`` and ``discriminator`` in that step.
        history: so far.
        step: number of that step.
        bad: consecutive steps that were not finite.
        folder: where ``diagnosis.json`` goes; None saves nothing.
    """
    where = ""
    if folder is not None:
        diagnosis = {
            "step": step,
            "consecutive_bad_steps": bad,
            "losses": {name: repr(value) for name, value in losses.items()},
            "generator": _describe(networks.generator),
            "discriminator": _describe(networks.discriminator),
            "history": {name: list(values)[-_TAIL:] for name, values in history.items()},
            "settings": dataclasses.asdict(config),
        }
        folder.mkdir(parents=True, exist_ok=True)
        write_file(folder / DIAGNOSIS, json.dumps(diagnosis, indent=1).encode())
        where = f" {folder / DIAGNOSIS} says which weights and gradients went wrong."
    return NonFiniteLossError(
        f"GAN training diverged: the losses of {bad} consecutive steps up to step {step} of "
        f"{config.steps} were not finite (generator {losses['generator']}, discriminator "
        f"{losses['discriminator']}); gan_training.max_bad_steps allows {config.max_bad_steps}, "
        f"and at least one good step is needed. Try smaller learning rates "
        f"(generator {config.generator_learning_rate:g}, discriminator "
        f"{config.discriminator_learning_rate:g}) or a larger gan_training.global_batch.{where}"
    )


def _describe(module: nn.Module) -> dict[str, object]:
    weights = {name: p.detach() for name, p in module.named_parameters()}
    gradients = {n: p.grad for n, p in module.named_parameters() if p.grad is not None}
    finite = {n: float(w.abs().max()) for n, w in weights.items() if bool(w.isfinite().all())}
    largest = sorted(finite, key=finite.__getitem__, reverse=True)[:5]
    return {
        "weights_not_finite": [n for n, w in weights.items() if not bool(w.isfinite().all())],
        "gradients_not_finite": [
            n for n, g in gradients.items() if not bool(torch.isfinite(g).all())
        ],
        "largest_weights": {name: finite[name] for name in largest},
    }
