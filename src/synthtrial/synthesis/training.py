"""The GAN loop, the only one: alternating updates, an averaged generator, one process or many.

Every random number is addressed by its place in the *global* batch (:mod:`.batches`), and each
process takes its slice. Gradients, losses, and the decisions to skip a step, to save and to stop
are those of the global batch, so that training does not depend on how many processes share it, but
for the order of floating-point sums. All state is in a checkpoint: N steps give the bits of k
steps, a kill, and N - k steps.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from synthtrial.config import GanTrainingConfig
from synthtrial.errors import ConfigError, InterruptedTrainingError, TrainingError
from synthtrial.store.checkpoints import Checkpoints
from synthtrial.synthesis.augment import check_names
from synthtrial.synthesis.batches import Batches
from synthtrial.synthesis.divergence import diverged
from synthtrial.synthesis.generators import Growing, Networks
from synthtrial.synthesis.ranks import ALONE, Heartbeat, Ranks
from synthtrial.synthesis.updates import Updates

HISTORY_POINTS = 100  # entries of a history, and reports, at most

#: Called with (steps done, figures, the averaged generator); True asks to stop.
Report = Callable[[int, Mapping[str, float], nn.Module], bool]


@dataclass(frozen=True)
class Surroundings:
    """Where and how a training runs; nothing here changes what it computes.

    Attributes:
        ranks: the processes that share it; ``torch.distributed`` is initialised where several do.
        micro_batch: images of one process at once; a larger share of the global batch is
            accumulated. None for all at once.
        checkpoints: where it is saved and resumed from.
        heartbeat: names a process that keeps the others waiting.
        report: called about a hundred times, by the first process.
        interrupted: asked at every step; True has the state saved and the training ended.
    """

    ranks: Ranks = ALONE
    micro_batch: int | None = None
    checkpoints: Checkpoints | None = None
    heartbeat: Heartbeat | None = None
    report: Report | None = None
    interrupted: Callable[[], bool] | None = None


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
        seconds: wall time, of all tries together.
        resumed_at: step that the last try began at.
    """

    ema_state: dict[str, Tensor]
    history: dict[str, list[float]]
    steps: int
    skipped: int
    images_seen: int
    seconds: float
    resumed_at: int


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
    around: Surroundings | None = None,
) -> GanResult:
    """Train a conditional GAN, from its newest checkpoint if there is one.

    Where several processes share the training, each calls this with equal arguments but for
    ``around.ranks``.

    Args:
        networks: freshly built; trained in place.
        images_NCHW: all images of the dataset, uint8 (a memory map will do).
        index: rows of ``images_NCHW`` that the generator may see.
        targets_NK: 0 and 1 for every row of ``images_NCHW``; NaN (unknown) conditions as 0.
        config: the loop's settings.
        seed: of the study.
        draw: number of the draw.
        device: where to train.
        around: where and how it runs; by default alone and without checkpoints.

    Raises:
        NonFiniteLossError: more than ``max_bad_steps`` consecutive losses were not finite.
        InterruptedTrainingError: ``around.interrupted`` said so; the state is saved.
        ConfigError: a setting is out of its range.
        TrainingError: there is no row to train on, or the processes are not as announced.
    """
    around = around or Surroundings()
    _check(networks, config, index, around.ranks)
    device = torch.device(device)
    batches = Batches(
        networks.latent, images_NCHW, index, targets_NK, config, seed=seed, draw=draw, device=device
    )
    training = _Training(networks, batches, config, device, around)
    with around.heartbeat or nullcontext():
        training.run()
    return training.result()


class _Training:
    """The state of a training, and its steps."""

    def __init__(
        self,
        networks: Networks,
        batches: Batches,
        config: GanTrainingConfig,
        device: torch.device,
        around: Surroundings,
    ) -> None:
        self._began = time.perf_counter()
        self._networks, self._batches, self._config = networks, batches, config
        self._device, self._around, self._ranks = device, around, around.ranks
        self._both = Updates(
            networks,
            batches,
            config,
            device=device,
            ranks=around.ranks,
            micro_batch=around.micro_batch,
            heartbeat=around.heartbeat,
        )
        self._generator = self._both.generator
        self._averaged = copy.deepcopy(self._generator).requires_grad_(False).eval()
        # Listed once: walking through the modules takes longer than averaging their weights.
        self._average_of = (
            list(self._averaged.parameters()),
            list(self._generator.parameters()),
        )
        self._history: dict[str, list[float]] = {
            "step": [],
            "generator_loss": [],
            "discriminator_loss": [],
        }
        self._pending: list[tuple[float, float]] = []  # of the healthy steps since the last entry
        self._step = self._updates = self._bad = self._skipped = 0
        self._earlier_seconds = 0.0
        self._resume()
        self._resumed_at, self._resumed_updates = self._step, self._updates
        self._both.share()

    def run(self) -> None:
        """Take the steps that are left."""
        config, around = self._config, self._around
        every = -(-config.steps // HISTORY_POINTS)
        while self._step < config.steps:
            self._advance()
            stop = False
            if self._pending and (self._step % every == 0 or self._step == config.steps):
                stop = self._report()
            due = around.checkpoints is not None and around.checkpoints.is_due(self._step)
            interrupted = around.interrupted is not None and around.interrupted()
            first = self._ranks.rank == 0
            stop, due, interrupted = self._any(stop and first, due and first, interrupted)
            if stop or self._step == config.steps:
                break
            if due or interrupted:
                self._save()
            if interrupted:
                kept = "its state is saved" if around.checkpoints else "nothing of it is kept"
                raise InterruptedTrainingError(
                    f"GAN training was asked to stop after step {self._step} of {config.steps}; "
                    f"{kept}. Run the study again to go on."
                )

    def result(self) -> GanResult:
        """Return what the training leaves."""
        self._refresh_buffers()
        return GanResult(
            ema_state={name: value.cpu() for name, value in self._averaged.state_dict().items()},
            history=self._history,
            steps=self._step,
            skipped=self._skipped,
            images_seen=self._updates * self._config.global_batch,
            seconds=self._seconds(),
            resumed_at=self._resumed_at,
        )

    def _advance(self) -> None:
        """Take one step: some updates of the discriminator, one of the generator."""
        self._grow()
        self._step += 1
        strength = self._conditioning()
        healthy, generator_loss, discriminator_loss = True, float("nan"), float("nan")
        for turn in range(self._config.discriminator_steps):
            last = turn == self._config.discriminator_steps - 1
            healthy, discriminator_loss, made = self._both.update_discriminator(
                self._updates, strength, keep=last
            )
            self._updates += 1
            if not healthy:
                break
        if healthy:
            healthy, generator_loss = self._both.update_generator(self._updates - 1, strength, made)
        if healthy:
            self._bad = 0
            self._average()
            self._pending.append((generator_loss, discriminator_loss))
            return
        self._bad, self._skipped = self._bad + 1, self._skipped + 1
        if self._bad > self._config.max_bad_steps or self._skipped == self._config.steps:
            checkpoints = self._around.checkpoints
            raise diverged(
                self._networks,
                self._config,
                {"generator": generator_loss, "discriminator": discriminator_loss},
                self._history,
                step=self._step,
                bad=self._bad,
                folder=checkpoints.folder if checkpoints and self._ranks.rank == 0 else None,
            )

    def _any(self, *wishes: bool) -> list[bool]:
        if self._ranks.size == 1:
            return list(wishes)
        votes = torch.tensor([float(wish) for wish in wishes], device=self._device)
        return [total > 0 for total in self._ranks.total(votes)]

    def _grow(self) -> None:
        if self._networks.growing:
            progress = self._step / self._config.steps
            for network in (self._generator, self._both.discriminator, self._averaged):
                cast(Growing, network).grow(progress)

    def _conditioning(self) -> float:
        """Return how much of the label vectors is shown (Shahbazi et al. 2022, equation 5)."""
        begin, end = self._config.conditional_from, self._config.conditional_at
        done = (self._step - 1) / self._config.steps
        if done >= end:
            return 1.0
        return max(0.0, (done - begin) / (end - begin)) if end > begin else 0.0

    def _average(self) -> None:
        # An average that began at the untrained weights would remember them too long.
        decay = min(self._config.ema, (1 + self._step) / (10 + self._step))
        average = get_ema_multi_avg_fn(decay)  # type: ignore[no-untyped-call]
        average(*self._average_of, self._step)

    def _refresh_buffers(self) -> None:
        for kept, buffer in zip(self._averaged.buffers(), self._generator.buffers(), strict=True):
            kept.copy_(buffer)

    def _report(self) -> bool:
        generator_loss, discriminator_loss = np.mean(self._pending, axis=0).tolist()
        self._pending = []
        figures = {"generator_loss": generator_loss, "discriminator_loss": discriminator_loss}
        for name, value in {"step": float(self._step), **figures}.items():
            self._history[name].append(value)
        if self._around.report is None or self._ranks.rank:
            return False
        self._refresh_buffers()
        images = (self._updates - self._resumed_updates) * self._config.global_batch
        figures["images_per_second"] = images / (time.perf_counter() - self._began)
        return self._around.report(self._step, figures, self._averaged)

    def _save(self) -> None:
        checkpoints = self._around.checkpoints
        if checkpoints is None or self._ranks.rank:
            return
        state = {**self._both.state(), "averaged": self._averaged.state_dict()}
        for name in _COUNTED:
            state[name] = getattr(self, name)
        state["seconds"] = self._seconds()
        checkpoints.save(self._step, state)

    def _resume(self) -> None:
        checkpoints = self._around.checkpoints
        if checkpoints is None:
            return
        # The first process chooses: others may not see its newest file yet.
        mine = 0 if self._ranks.rank else (checkpoints.newest() or 0)
        total = torch.tensor([mine], dtype=torch.float64, device=self._device)
        (step,) = self._ranks.total(total)
        if step == 0:
            return
        state = checkpoints.load(int(step), self._device)
        self._both.load(state)
        self._averaged.load_state_dict(state["averaged"])
        for name in _COUNTED:
            setattr(self, name, state[name])
        self._earlier_seconds = state["seconds"]

    def _seconds(self) -> float:
        return self._earlier_seconds + time.perf_counter() - self._began


_COUNTED = ("_step", "_updates", "_bad", "_skipped", "_history", "_pending")


def _check(
    networks: Networks,
    config: GanTrainingConfig,
    index: npt.NDArray[np.integer[Any]],
    ranks: Ranks,
) -> None:
    check_names(config.diffaugment)
    unit = networks.group
    if config.global_batch % unit or config.global_batch < unit * ranks.size:
        raise ConfigError(
            f"gan_training.global_batch is {config.global_batch}; these networks judge {unit} "
            f"images at a time and {ranks.size} processes share the batch, so it must be a "
            f"multiple of {unit} and at least {unit * ranks.size}"
        )
    if index.size == 0:
        raise TrainingError("the generator has no image to learn from: its regimen is empty")
    found = (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)
    if found != (ranks.rank, ranks.size):
        raise TrainingError(
            f"train_gan was called as rank {ranks.rank} of {ranks.size}, but torch.distributed "
            f"says rank {found[0]} of {found[1]}; initialise the process group first"
        )
