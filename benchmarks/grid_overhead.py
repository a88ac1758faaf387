"""What synthtrial adds to the bare training loops of a grid.

    python benchmarks/grid_overhead.py                  # the digits grid, 72 trials, 1 thread
    python benchmarks/grid_overhead.py --trials 18

Both sides do the same work on the same rows: same network, initial weights, optimiser, epochs,
validation loss and accuracy after every epoch, best weights kept. The bare loop is written by hand
as one would for this one purpose. Trials alternate between the sides, and which goes first
alternates too, so that a busy machine slows both alike. Prints wall and processor seconds, and the
ratios.
"""

from __future__ import annotations

import argparse
import itertools
import time
from dataclasses import dataclass

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional as F

from synthtrial.classify.catalog import SMALL_CNN, SmallCnnConfig
from synthtrial.classify.rows import Rows
from synthtrial.classify.training import build_model, fit
from synthtrial.config import TrainingConfig

REGIMENS = (0.1, 0.25, 0.5, 1.0)
GRID = tuple(itertools.product((1e-2, 5e-3, 1e-3), (16, 32, 64), ("momentum", "adam")))
EPOCHS = 10


@dataclass(frozen=True)
class Digits:
    """scikit-learn's digits, split once."""

    images_NCHW: np.ndarray
    labels_N: np.ndarray
    train: np.ndarray
    validation: np.ndarray


@dataclass(frozen=True)
class Trial:
    """One training of the grid."""

    regimen: float
    learning_rate: float
    batch_size: int
    optimizer: str
    seed: int


def load() -> Digits:
    """Read the digits as 8-bit images and hold a tenth out for validation."""
    digits = load_digits()
    images_NCHW = np.round(digits.images * (255 / 16)).astype(np.uint8)[:, None]
    order = np.random.default_rng(0).permutation(len(images_NCHW))
    return Digits(images_NCHW, digits.target, train=order[630:], validation=order[450:630])


def trials(count: int) -> list[Trial]:
    """Return ``count`` trials: the grid at every regimen, from the largest regimen on."""
    points = itertools.product(reversed(REGIMENS), GRID)
    return [
        Trial(regimen, *configuration, seed=seed)
        for seed, (regimen, configuration) in enumerate(itertools.islice(points, count))
    ]


def build(seed: int) -> nn.Module:
    """Build the network that both sides train."""
    return build_model(
        SMALL_CNN, SmallCnnConfig(), channels=1, size=8, outputs=10, seed=seed, replicate=0
    )


def run_bare(digits: Digits, trial: Trial) -> float:
    """Train by hand and return the best validation accuracy."""
    train = digits.train[: round(len(digits.train) * trial.regimen)]
    x = torch.from_numpy(digits.images_NCHW[train]).float() / 127.5 - 1
    y = torch.from_numpy(digits.labels_N[train])
    x_validation = torch.from_numpy(digits.images_NCHW[digits.validation]).float() / 127.5 - 1
    y_validation = torch.from_numpy(digits.labels_N[digits.validation])
    model = build(trial.seed)
    torch.manual_seed(trial.seed)
    if trial.optimizer == "adam":
        optimizer: torch.optim.Optimizer = torch.optim.Adam(
            model.parameters(), trial.learning_rate, fused=True
        )
    else:
        optimizer = torch.optim.SGD(
            model.parameters(), trial.learning_rate, momentum=0.9, fused=True
        )
    best, best_weights = -1.0, {}
    train_losses, validation_losses = [], []
    for _epoch in range(EPOCHS):
        model.train()
        total = torch.zeros(())
        for rows in torch.split(torch.randperm(len(x)), trial.batch_size):
            loss = F.cross_entropy(model(x[rows]), y[rows])
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
            total += loss.detach() * len(rows)
        train_losses.append(total.item() / len(x))
        model.eval()
        with torch.no_grad():
            logits = model(x_validation)
            validation_losses.append(F.cross_entropy(logits, y_validation).item())
            accuracy = (logits.argmax(1) == y_validation).float().mean().item()
        if accuracy > best:
            best = accuracy
            best_weights = {name: value.clone() for name, value in model.state_dict().items()}
    model.load_state_dict(best_weights)
    return best


def run_fit(digits: Digits, trial: Trial) -> float:
    """Train with synthtrial's loop and return the best validation accuracy."""
    train = digits.train[: round(len(digits.train) * trial.regimen)]
    targets_NK = np.eye(10, dtype=np.float32)[digits.labels_N]
    result = fit(
        build(trial.seed),
        Rows([(digits.images_NCHW, train)], targets_NK[train]),
        Rows([(digits.images_NCHW, digits.validation)], targets_NK[digits.validation]),
        TrainingConfig(
            epochs=EPOCHS,
            learning_rate=trial.learning_rate,
            batch_size=trial.batch_size,
            optimizer="adam" if trial.optimizer == "adam" else "momentum",
        ),
        multi_label=False,
        classes=[str(digit) for digit in range(10)],
        metrics=["accuracy", "recall"],
        select_by="accuracy",
        seed=trial.seed,
        replicate=0,
    )
    assert result.validation is not None, result.message
    accuracy = result.validation["accuracy"]
    assert isinstance(accuracy, float)
    return accuracy


def main() -> None:
    """Time both sides and print the ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=len(GRID) * len(REGIMENS))
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    digits = load()
    sides = {"bare": run_bare, "fit": run_fit}
    seconds = dict.fromkeys(sides, 0.0)
    cpu_seconds = dict.fromkeys(sides, 0.0)
    accuracies: dict[str, list[float]] = {name: [] for name in sides}
    chosen = trials(arguments.trials)
    for run in sides.values():  # first calls pay for the libraries' warming up
        run(digits, chosen[-1])
    for number, trial in enumerate(chosen):
        for name in sorted(sides, reverse=number % 2 == 1):
            began, cpu_began = time.perf_counter(), time.process_time()
            accuracies[name].append(sides[name](digits, trial))
            seconds[name] += time.perf_counter() - began
            cpu_seconds[name] += time.process_time() - cpu_began
    print(f"{len(chosen)} trials, {arguments.threads} thread(s)")
    for name in sides:
        print(
            f"{name:5s} {seconds[name]:8.2f} s  processor {cpu_seconds[name]:8.2f} s  "
            f"mean best validation accuracy {np.mean(accuracies[name]):.3f}"
        )
    print(
        f"ratio {seconds['fit'] / seconds['bare']:8.3f}    processor "
        f"{cpu_seconds['fit'] / cpu_seconds['bare']:8.3f}"
    )


if __name__ == "__main__":
    main()
