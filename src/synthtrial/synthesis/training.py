"""The GAN loop, the only one: alternating updates, an averaged generator, one process or many.

Every random number is addressed by (seed, draw, stream, update, place in the *global* batch), and
each process takes its slice of the global batch. Under ``torch.distributed`` gradients, losses and
the decision to skip a step are those of the global batch, so that training does not depend on how
many processes share it, but for the order of floating-point sums.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from synthtrial.config import GanTrainingConfig
from synthtrial.data.labels import balanced_row_weights
from synthtrial.errors import ConfigError, NonFiniteLossError, TrainingError
from synthtrial.identity import stream, torch_seed
from synthtrial.registry import Component
from synthtrial.synthesis.augment import check_names, diffaugment, numbers_needed
from synthtrial.synthesis.generators import Networks

HISTORY_POINTS = 100  # entries of a history, and reports, at most
RESIDENT_BYTES = 256 * 2**20  # training sets up to this size are kept on the device

Report = Callable[[int, Mapping[str, float]], bool]


@dataclass(frozen=True)
class GanResult:
    """What a GAN training leaves.

    Attributes:
        ema_state: state of the averaged generator, on the CPU.
        history: ``step``, ``generator_loss`` and ``discriminator_loss``: means over the steps since
            the entry before.
        steps: generator steps taken, fewer than configured where ``report`` asked to stop.
        skipped: steps skipped because a loss was not finite.
        images_seen: real images shown to the discriminator, by all processes.
        seconds: wall time.
    """

    ema_state: dict[str, Tensor]
    history: dict[str, list[float]]
    steps: int
    skipped: int
    images_seen: int
    seconds: float


def build_networks(
    component: Component,
    options: Any,
    *,
    channels: int,
    size: int,
    classes: int,
    multi_label: bool,
    seed: int,
    draw: int,
) -> Networks:
    """Build the networks of a generator component, initialised by the stream of (seed, draw).

    Args:
        component: an installed generator.
        options: an instance of its config dataclass.
        channels: image channels.
        size: height and width in pixels.
        classes: number of classes K.
        multi_label: whether label vectors may hold any number of positives.
        seed: of the study.
        draw: number of the draw.

    Raises:
        ConfigError: the family cannot make such images with these options.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(torch_seed(seed, "gan-init", draw))
        networks: Networks = component.load()(
            options, channels=channels, size=size, classes=classes, multi_label=multi_label
        )
    return networks


def train_gan(
    networks: Networks,
    images_NCHW: npt.NDArray[np.uint8],
    index: npt.NDArray[np.integer[Any]],
    targets_NK: npt.NDArray[np.float32],
    config: GanTrainingConfig,
    *,
    seed: int,
    draw: int,
    device: torch.device | str = "cpu",
    rank: int = 0,
    world_size: int = 1,
    report: Report | None = None,
) -> GanResult:
    """Train a conditional GAN.

    Where ``torch.distributed`` is initialised, call this with the same arguments (but ``rank``) on
    every rank. Only rank 0 calls ``report``.

    Args:
        networks: freshly built; trained in place.
        images_NCHW: all images of the dataset, uint8 (a memory map will do).
        index: rows of ``images_NCHW`` that the generator may see.
        targets_NK: 0 and 1 for every row of ``images_NCHW``; NaN (unknown) conditions as 0.
        config: the loop's settings.
        seed: of the study.
        draw: number of the draw.
        device: where to train.
        rank: of this process.
        world_size: number of processes.
        report: called about a hundred times with (steps done, losses); True asks to stop.

    Raises:
        NonFiniteLossError: more than ``max_bad_steps`` consecutive losses were not finite.
        ConfigError: a setting is out of its range.
        TrainingError: there is no row to train on, or the processes are not as announced.
    """
    _check(config, index, rank, world_size)
    device = torch.device(device)
    began = time.perf_counter()
    batches = _Batches(networks.latent, images_NCHW, index, targets_NK, config, seed, draw, device)
    first = rank * config.global_batch // world_size
    last = (rank + 1) * config.global_batch // world_size
    # DDP averages over ranks; this makes the average that of the images, whatever the slices.
    scale = world_size / config.global_batch

    generator, discriminator = networks.generator.to(device), networks.discriminator.to(device)
    generator.train()
    discriminator.train()
    shared_generator, shared_discriminator = _shared(generator), _shared(discriminator)
    averaged = copy.deepcopy(generator).requires_grad_(False)
    weights, averaged_weights = list(generator.parameters()), list(averaged.parameters())
    generator_adam = _adam(generator, config.generator_learning_rate, config)
    discriminator_adam = _adam(discriminator, config.discriminator_learning_rate, config)
    judge_real, judge_fake, persuade = _LOSSES[networks.loss]

    history: dict[str, list[float]] = {"step": [], "generator_loss": [], "discriminator_loss": []}
    every = -(-config.steps // HISTORY_POINTS)
    losses: list[tuple[float, float]] = []  # of the healthy steps since the last entry
    skipped = bad = updates = step = 0
    for step in range(1, config.steps + 1):
        healthy, generator_loss, discriminator_loss = True, float("nan"), float("nan")
        for turn in range(config.discriminator_steps):
            real, y, z, u = batches.draw(updates, first, last)
            updates += 1
            # The last turn's images serve the generator's update as well: its one forward pass.
            with torch.set_grad_enabled(turn == config.discriminator_steps - 1):
                make = shared_generator if torch.is_grad_enabled() else generator
                both = diffaugment(torch.cat([real, make(z, y)]), u, config.diffaugment)
            scores = shared_discriminator(both.detach(), torch.cat([y, y]))
            real_score, fake_score = scores.chunk(2)
            loss = (judge_real(real_score) + judge_fake(fake_score)).sum() * scale
            healthy, discriminator_loss = _backward(loss, discriminator_adam, world_size)
            if not healthy:
                break
            discriminator_adam.step()
        if healthy:
            discriminator.requires_grad_(False)
            loss = persuade(discriminator(both[len(real) :], y)).sum() * scale
            healthy, generator_loss = _backward(loss, generator_adam, world_size)
            discriminator.requires_grad_(True)
        if healthy:
            bad = 0
            generator_adam.step()
            # An average that began at the untrained weights would remember them too long.
            decay = min(config.ema, (1 + step) / (10 + step))
            average = get_ema_multi_avg_fn(decay)  # type: ignore[no-untyped-call]
            average(averaged_weights, weights, step)
            losses.append((generator_loss, discriminator_loss))
        else:
            bad, skipped = bad + 1, skipped + 1
            if bad > config.max_bad_steps or skipped == config.steps:
                raise _diverged(step, bad, generator_loss, discriminator_loss, config)
        if losses and (step % every == 0 or step == config.steps):
            metrics = dict(
                zip(("generator_loss", "discriminator_loss"), _means(losses), strict=True)
            )
            losses = []
            for name, value in {"step": step, **metrics}.items():
                history[name].append(value)
            wish = report is not None and rank == 0 and report(step, metrics)
            if _any_rank(wish, device, world_size):
                break

    for kept, buffer in zip(averaged.buffers(), generator.buffers(), strict=True):
        kept.copy_(buffer)
    return GanResult(
        ema_state={name: value.cpu() for name, value in averaged.state_dict().items()},
        history=history,
        steps=step,
        skipped=skipped,
        images_seen=updates * config.global_batch,
        seconds=time.perf_counter() - began,
    )


class _Batches:
    """Real rows, latents and augmentation numbers of every update, by place in the global batch."""

    def __init__(
        self,
        latent: int,
        images_NCHW: npt.NDArray[np.uint8],
        index: npt.NDArray[np.integer[Any]],
        targets_NK: npt.NDArray[np.float32],
        config: GanTrainingConfig,
        seed: int,
        draw: int,
        device: torch.device,
    ) -> None:
        self.latent, self.seed, self.number, self.device = latent, seed, draw, device
        self.batch = config.global_batch
        self.uniforms = numbers_needed(config.diffaugment)
        self.images_NCHW, self.index = images_NCHW, index
        targets_MK = np.nan_to_num(targets_NK[index], nan=0.0).astype(np.float32)
        self.targets_MK = torch.from_numpy(targets_MK)
        even_M = np.full(len(index), 1 / len(index))
        weights_M = balanced_row_weights(targets_MK) if config.balanced_sampling else even_M
        self.edges_M = np.cumsum(weights_M)
        self.resident: Tensor | None = None
        if index.size * images_NCHW[:1].nbytes <= RESIDENT_BYTES:
            self.resident = torch.from_numpy(np.ascontiguousarray(images_NCHW[index])).to(device)

    def draw(self, update: int, first: int, last: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return real images, label vectors, latents, and numbers for real and made images."""
        part = slice(first, last)
        u_B = stream(self.seed, "gan-rows", self.number, update).random(self.batch)[part]
        rows_B = np.searchsorted(self.edges_M, u_B, side="right").clip(max=len(self.index) - 1)
        latents = stream(self.seed, "gan-latents", self.number, update)
        z_BZ = latents.standard_normal((self.batch, self.latent), dtype=np.float32)[part]
        numbers = stream(self.seed, "gan-augment", self.number, update)
        u_2BD = numbers.random((2, self.batch, self.uniforms), dtype=np.float32)[:, part]
        u = torch.from_numpy(u_2BD.reshape(2 * (last - first), -1)).to(self.device)
        rows = torch.from_numpy(rows_B)
        y_BK = self.targets_MK[rows].to(self.device)
        return self._images(rows), y_BK, torch.from_numpy(z_BZ).to(self.device), u

    def _images(self, rows_B: Tensor) -> Tensor:
        if self.resident is not None:
            x_BCHW = self.resident[rows_B.to(self.device)]
        else:
            x_BCHW = torch.from_numpy(self.images_NCHW[self.index[rows_B.numpy()]]).to(self.device)
        return x_BCHW.float().div_(127.5).sub_(1.0)


def _check(
    config: GanTrainingConfig, index: npt.NDArray[np.integer[Any]], rank: int, world_size: int
) -> None:
    check_names(config.diffaugment)
    for name in ("steps", "global_batch", "discriminator_steps"):
        if getattr(config, name) < 1:
            raise ConfigError(
                f"gan_training.{name} is {getattr(config, name)}; at least 1 is needed"
            )
    if not 0.0 <= config.ema < 1.0:
        raise ConfigError(f"gan_training.ema is {config.ema}; it must be in [0, 1)")
    if config.global_batch < world_size:
        raise ConfigError(
            f"gan_training.global_batch is {config.global_batch}, less than one image for each of "
            f"{world_size} processes; raise it or use fewer processes"
        )
    if index.size == 0:
        raise TrainingError("the generator has no image to learn from: its regimen is empty")
    found = (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)
    if found != (rank, world_size):
        raise TrainingError(
            f"train_gan was called as rank {rank} of {world_size}, but torch.distributed says rank "
            f"{found[0]} of {found[1]}; initialise the process group first"
        )


def _shared(module: nn.Module) -> nn.Module:
    if not dist.is_initialized():
        return module
    return nn.parallel.DistributedDataParallel(module)


def _adam(
    module: nn.Module, learning_rate: float, config: GanTrainingConfig
) -> torch.optim.Optimizer:
    betas = (config.beta1, config.beta2)
    return torch.optim.Adam(module.parameters(), lr=learning_rate, betas=betas, fused=True)


def _backward(
    loss: Tensor, optimizer: torch.optim.Optimizer, world_size: int
) -> tuple[bool, float]:
    """Fill the gradients; return whether loss and gradients are finite, and the global loss."""
    optimizer.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    gradients = [
        parameter.grad
        for group in optimizer.param_groups
        for parameter in group["params"]
        if parameter.grad is not None
    ]
    # A ReLU's backward pass turns a NaN into 0, so finite gradients do not prove a finite loss.
    norm = nn.utils.get_total_norm(gradients)
    signs = torch.stack([loss.detach(), norm.to(loss.device)])
    if world_size > 1:
        dist.all_reduce(signs)
    total, norm_sum = signs.tolist()
    return bool(np.isfinite(total) and np.isfinite(norm_sum)), total / world_size


def _means(rows: list[tuple[float, float]]) -> list[float]:
    return [sum(column) / len(rows) for column in zip(*rows, strict=True)]


def _any_rank(wish: bool, device: torch.device, world_size: int) -> bool:
    if world_size == 1:
        return wish
    flag = torch.tensor(float(wish), device=device)
    dist.all_reduce(flag, op=dist.ReduceOp.MAX)
    return bool(flag.item())


def _diverged(
    step: int, bad: int, generator_loss: float, discriminator_loss: float, config: GanTrainingConfig
) -> NonFiniteLossError:
    return NonFiniteLossError(
        f"GAN training diverged: the losses of {bad} consecutive steps up to step {step} of "
        f"{config.steps} were not finite (generator {generator_loss}, discriminator "
        f"{discriminator_loss}); gan_training.max_bad_steps allows {config.max_bad_steps}, and at "
        f"least one good step is needed. Try smaller learning rates "
        f"(generator {config.generator_learning_rate:g}, discriminator "
        f"{config.discriminator_learning_rate:g}) or a larger gan_training.global_batch."
    )


# Loss of each real score, of each made image's score, and of the generator for each made image.
_LOSSES: dict[str, tuple[Callable[[Tensor], Tensor], ...]] = {
    "hinge": (lambda s: F.relu(1 - s), lambda s: F.relu(1 + s), lambda s: -s),
    "logistic": (lambda s: F.softplus(-s), F.softplus, lambda s: F.softplus(-s)),
}
