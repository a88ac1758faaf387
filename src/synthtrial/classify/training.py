"""The classifier loop: the only one, for every arm, dataset and device.

A step is forward, backward and update, and nothing else: pixels arrive in prepared blocks
(:mod:`synthtrial.classify.rows`), and losses are read once an epoch. Results depend on the study's
seed, the replicate, the rows and the settings; on a processor, for equal numbers of threads, bit
for bit.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Literal

import numpy as np
import torch
from torch import nn

from synthtrial.classify import metrics as scoring
from synthtrial.classify.augment import Augmentation
from synthtrial.classify.evaluation import check_outputs, make_forward, make_judge
from synthtrial.classify.losses import make_labels, make_objective
from synthtrial.classify.progress import Progress
from synthtrial.classify.resuming import Saver
from synthtrial.classify.rows import Rows, training_batches
from synthtrial.config import TrainingConfig
from synthtrial.data.labels import balanced_row_weights
from synthtrial.errors import TrainingError
from synthtrial.identity import torch_seed
from synthtrial.registry import Component
from synthtrial.store.checkpoints import Checkpoints

Report = Callable[[int, Mapping[str, float]], bool]


@dataclass(frozen=True)
class FitResult:
    """What a training left behind, in the form of records.

    Attributes:
        status: ``diverged`` where a loss or a logit became NaN or infinite; ``stopped`` where
            ``report`` asked to end before the last epoch.
        steps: gradient steps taken.
        epochs: evaluations on validation.
        best_epoch: the one, counted from 1, whose weights the model holds now.
        curves: ``epoch``, ``train_loss`` (running mean over the real rows, unweighted for one class
            a row), ``validation_loss``, ``validation_score``: lists of equal length.
        validation: metrics at the kept epoch; None after divergence.
        message: what went wrong or had to be chosen otherwise, if anything.
        resumed_at: step that the last try began at; no part of what makes two results equal.
        earlier_seconds: wall time that the steps before it took, in earlier tries; alike.
    """

    status: Literal["done", "diverged", "stopped"]
    steps: int
    epochs: int
    best_epoch: int | None
    curves: dict[str, list[Any]]
    validation: dict[str, scoring.Values] | None
    message: str | None = None
    resumed_at: int = field(default=0, compare=False)
    earlier_seconds: float = field(default=0.0, compare=False)


def build_model(
    component: Component,
    options: Any,
    *,
    channels: int,
    size: int,
    outputs: int,
    seed: int,
    replicate: int,
) -> nn.Module:
    """Build a classifier on the CPU, initialised from the stream (init, replicate).

    Args:
        component: an installed classifier.
        options: instance of ``component.config``.
        channels: of the images.
        size: height and width of the images in pixels.
        outputs: number of classes.
        seed: of the study.
        replicate: number of the seed within the study.
    """
    with _seeded(torch_seed(seed, "init", replicate), torch.device("cpu")):
        model = component.load()(options, channels=channels, size=size, outputs=outputs)
    if not isinstance(model, nn.Module):
        raise TrainingError(
            f"the classifier '{component.name}' built a {type(model).__name__}; "
            "it must build a torch.nn.Module"
        )
    return model


def fit(
    model: nn.Module,
    train: Rows,
    validation: Rows,
    config: TrainingConfig,
    *,
    multi_label: bool,
    classes: Sequence[str],
    metrics: Sequence[str],
    select_by: str,
    select_over: Sequence[str] | None = None,
    sampler: Literal["shuffle", "balanced"] = "shuffle",
    class_weights: Literal["none", "balanced"] = "none",
    augment: Augmentation | None = None,
    steps: int | None = None,
    seed: int,
    replicate: int,
    device: torch.device | str = "cpu",
    report: Report | None = None,
    checkpoints: Checkpoints | None = None,
    interrupted: Callable[[], bool] | None = None,
) -> FitResult:
    """Train a classifier, from its newest checkpoint if any; leave the kept weights in ``model``.

    Validation is evaluated ``config.epochs`` times: after every pass over the rows or, where
    ``steps`` asks for another number of steps, evenly spaced. With ``checkpoint: best`` the epoch
    with the highest ``select_by`` is kept, the earliest of equals. Where that metric is undefined
    in every epoch, the one with the lowest validation loss is kept, and ``message`` says so.

    Args:
        model: from x_BCHW in [-1, 1] to logits_BK.
        train: training rows, real ones first.
        validation: validation rows.
        config: settings of the training; ``label_policy`` has been applied to the rows already.
        multi_label: whether a row may hold several classes.
        classes: names of the K columns.
        metrics: names of the metrics to compute at the kept epoch, beside ``select_by``.
        select_by: metric that chooses the epoch; higher is better.
        select_over: classes that a per-class ``select_by`` is the mean over; by default all.
        sampler: ``balanced`` draws rows so that every class is equally likely.
        class_weights: ``balanced`` weighs the loss by inverse class frequency.
        augment: random transforms of training images.
        steps: gradient steps in total; None for ``epochs`` passes.
        seed: of the study.
        replicate: number of the seed within the study.
        device: where to train.
        report: called after every epoch with its number, its losses and score, and the number of
            ``images`` that it visited; True ends the training.
        checkpoints: of this very training: equal arguments but for ``device`` and those below it.
        interrupted: asked after every step; True ends the training until it is resumed.

    Raises:
        DataError: rows whose labels do not suit the loss.
        TrainingError: settings that allow no step, or a model whose output has the wrong shape.
        InterruptedTrainingError: ``interrupted`` said so.
    """
    device = torch.device(device)
    evaluations = _evaluations(len(train), config, steps)
    train, validation = train.to(device), validation.to(device).normalised()
    if augment is None:
        train = train.normalised()
    model = _place(model, device)
    check_outputs(model, validation, classes, device)
    objective = make_objective(
        train.targets_NK,
        multi_label=multi_label,
        balanced=class_weights == "balanced",
        device=device,
    )
    loss_of = objective.loss
    forward = make_forward(model, config.precision, device)
    optimizer = _optimizer(model, config)
    judge = make_judge(validation, classes, multi_label, (select_by, select_over), device, forward)
    labels = make_labels(train.targets_NK, multi_label=multi_label, device=device)
    weights_N = balanced_row_weights(train.targets_NK) if sampler == "balanced" else None
    shares: dict[int, torch.Tensor] = {}  # d(mean loss) / d(loss of a row), by size of batch
    progress = Progress()
    saver = Saver(progress, model, optimizer, device, checkpoints, interrupted)
    with _seeded(torch_seed(seed, "dropout", replicate), device):
        saver.resume()
        batches = training_batches(
            train,
            labels,
            batch_size=config.batch_size,
            row_weights_N=weights_N,
            augment=augment,
            seed=seed,
            replicate=replicate,
            device=device,
            first=progress.steps,
        )
        for until in evaluations[progress.epochs :]:
            model.train()
            for x_BCHW, y_B, index_B in islice(batches, until - progress.steps):
                size = len(index_B)
                if size not in shares:
                    shares[size] = torch.full((size,), 1 / size, device=device)
                optimizer.zero_grad()
                loss_B = loss_of(forward(x_BCHW), y_B)
                torch.autograd.backward(loss_B, shares[size])  # the mean over the batch
                optimizer.step()
                progress.losses.append(loss_B.detach())
                progress.visited.append(index_B)
                progress.steps += 1
                saver.after_step()
            losses_N, index_N = progress.take_losses()
            model.eval()
            logits_NK, validation_loss, score = judge()
            if not (np.isfinite(losses_N).all() and math.isfinite(validation_loss)):
                return _diverged(progress, config, saver)
            if objective.weights_N is not None:
                losses_N = losses_N / objective.weights_N[index_N]
            real_N = losses_N[train.is_real[index_N]]
            train_loss = float(real_N.mean()) if len(real_N) else None
            progress.note(model, config.checkpoint, train_loss, validation_loss, score, logits_NK)
            figures = {**progress.latest(), "images": float(len(index_N))}
            if report is not None and report(progress.epochs, figures):
                break
    if progress.weights:
        model.load_state_dict(progress.weights)
    assert progress.logits_NK is not None
    names = list(dict.fromkeys([*metrics, select_by]))
    values = scoring.evaluate(
        names,
        progress.logits_NK,
        validation.targets_NK,
        classes,
        multi_label,
        validation.uncertain_NK,
    )
    stopped = progress.epochs < len(evaluations)
    return _finished(progress, config, values, saver, "stopped" if stopped else "done")


def _evaluations(n: int, config: TrainingConfig, steps: int | None) -> list[int]:
    """Return the numbers of steps after which validation is evaluated, rising."""
    if config.epochs < 1 or config.batch_size < 1:
        raise TrainingError(
            f"epochs is {config.epochs} and batch_size {config.batch_size}; both must be 1 or more"
        )
    total = config.epochs * math.ceil(n / config.batch_size) if steps is None else steps
    if config.max_steps is not None:
        total = min(total, config.max_steps)
    if total < 1:
        raise TrainingError(f"a training of {total} steps was asked for; it needs 1 or more")
    spaced = (math.ceil(total * k / config.epochs) for k in range(1, config.epochs + 1))
    return sorted(set(spaced))


def _place(model: nn.Module, device: torch.device) -> nn.Module:
    if device.type == "cuda":
        model.to(memory_format=torch.channels_last)
    return model.to(device)


def _optimizer(model: nn.Module, config: TrainingConfig) -> torch.optim.Optimizer:
    parameters = [p for p in model.parameters() if p.requires_grad]
    if config.optimizer == "adam":
        return torch.optim.Adam(
            parameters, config.learning_rate, weight_decay=config.weight_decay, fused=True
        )
    return torch.optim.SGD(
        parameters,
        config.learning_rate,
        momentum=config.momentum,
        weight_decay=config.weight_decay,
        fused=True,
    )


def _diverged(progress: Progress, config: TrainingConfig, saver: Saver) -> FitResult:
    epoch = progress.epochs + 1
    return FitResult(
        status="diverged",
        steps=progress.steps,
        epochs=epoch,
        best_epoch=None,
        curves=progress.curves,
        validation=None,
        message=f"the loss was no longer finite in epoch {epoch}; with a lower "
        f"learning_rate than {config.learning_rate:g} it may stay so",
        resumed_at=saver.resumed_at,
        earlier_seconds=saver.earlier_seconds,
    )


def _finished(
    progress: Progress,
    config: TrainingConfig,
    validation: dict[str, scoring.Values],
    saver: Saver,
    status: Literal["done", "stopped"],
) -> FitResult:
    assert progress.kept is not None
    undefined = config.checkpoint == "best" and not progress.kept[0]
    return FitResult(
        status=status,
        steps=progress.steps,
        epochs=progress.epochs,
        best_epoch=progress.epoch,
        curves=progress.curves,
        validation=validation,
        message="the selecting metric was undefined on validation in every epoch; "
        "the epoch with the lowest validation loss was kept"
        if undefined
        else None,
        resumed_at=saver.resumed_at,
        earlier_seconds=saver.earlier_seconds,
    )


@contextmanager
def _seeded(number: int, device: torch.device) -> Iterator[None]:
    """Seed torch's own generators for a while and restore them afterwards."""
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        if devices:
            torch.manual_seed(number)
        else:  # `torch.manual_seed` looks for GPUs, in vain, for the better part of a millisecond
            torch.default_generator.manual_seed(number)
        yield
