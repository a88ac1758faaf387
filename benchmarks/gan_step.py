"""What a step of ``train_gan`` costs beside a bare loop, written by hand for this one purpose.

    python benchmarks/gan_step.py             # about 3 minutes on a quiet machine
    python benchmarks/gan_step.py --quick     # a minute or two: see that it runs

*Bare loop* (:class:`Bare`) against *synthtrial*, on the same shapes in one process of one thread:
the same networks (projection GAN), hinge loss, fused Adam, DiffAugment and moving average, images
made once for both updates. Only synthtrial addresses its random numbers by step and place, checks
losses and gradients, keeps a history, looks whether a checkpoint is due and asks whether it should
stop. Bare rows come from ``torch.multinomial``, other numbers from ``torch.randn`` and ``rand``.

Then the same training shared by two processes of one thread (gloo), against one process of two
threads, and of one.

A busy machine is no place to measure wall time: both sides take turns, some steps each, and every
turn is compared with the turns of the other right before and after it. Shown are medians; processor
time stands beside wall time, and how many cores other work took meanwhile. Where that is not near
0, believe the processor time.
"""

from __future__ import annotations

import argparse
import copy
import multiprocessing
import os
import socket
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from machine import Foreign

from synthtrial.config import GanTrainingConfig
from synthtrial.store.checkpoints import Checkpoints
from synthtrial.synthesis.augment import diffaugment, numbers_needed
from synthtrial.synthesis.generators import PROJECTION, Networks, ProjectionConfig
from synthtrial.synthesis.networks import build_networks
from synthtrial.synthesis.ranks import ALONE, Heartbeat, Ranks, joined
from synthtrial.synthesis.training import Surroundings, train_gan

GOAL = 1.05
CLASSES = 10
STUCK_SECONDS = 600.0


@dataclass(frozen=True)
class Setting:
    """Shapes of a training, and how many of its steps are a turn."""

    title: str
    channels: int
    size: int
    rows: int
    batch: int
    width: int
    diffaugment: tuple[str, ...]
    turn: int

    def networks(self) -> Networks:
        """Build both networks, always the same."""
        options = ProjectionConfig(width=self.width)
        shape = {"channels": self.channels, "size": self.size, "classes": CLASSES}
        return build_networks(PROJECTION, options, **shape, multi_label=False, seed=0, draw=0)

    def data(self) -> tuple[np.ndarray, np.ndarray]:
        """Return images_NCHW and labels_N, some classes rarer than others."""
        random = np.random.default_rng(0)
        shape = (self.rows, self.channels, self.size, self.size)
        images_NCHW = random.integers(0, 256, shape, dtype=np.uint8)
        return images_NCHW, np.minimum(random.geometric(0.25, self.rows), CLASSES) - 1

    def config(self, steps: int) -> GanTrainingConfig:
        """Return the loop's settings."""
        names = list(self.diffaugment)
        return GanTrainingConfig(steps=steps, global_batch=self.batch, diffaugment=names)


SETTINGS = (
    Setting("8x8 grey, width 16, batch 32", 1, 8, 1300, 32, 16, ("translation",), 25),
    Setting("28x28 grey, width 32, batch 64", 1, 28, 6000, 64, 32, ("translation", "cutout"), 4),
    Setting("32x32 RGB, width 32, batch 64", 3, 32, 6000, 64, 32, ("translation", "cutout"), 4),
)


class Bare:
    """The bare loop."""

    def __init__(self, setting: Setting) -> None:
        networks, config, (images_NCHW, labels_N) = (
            setting.networks(),
            setting.config(1),
            setting.data(),
        )
        self.names, self.batch, self.latent = setting.diffaugment, setting.batch, networks.latent
        self.decay = config.ema
        self.images = torch.from_numpy(images_NCHW).float() / 127.5 - 1
        labels = torch.from_numpy(labels_N)
        self.targets = F.one_hot(labels, CLASSES).float()
        self.weights = (1 / labels.bincount(minlength=CLASSES))[labels]
        self.generator, self.discriminator = networks.generator, networks.discriminator
        self.averaged = copy.deepcopy(self.generator).requires_grad_(False)
        self.pair = (list(self.averaged.parameters()), list(self.generator.parameters()))
        betas = (config.beta1, config.beta2)
        self.generator_adam = torch.optim.Adam(
            self.generator.parameters(), config.generator_learning_rate, betas, fused=True
        )
        self.discriminator_adam = torch.optim.Adam(
            self.discriminator.parameters(), config.discriminator_learning_rate, betas, fused=True
        )
        self.losses: list[tuple[float, float]] = []

    def step(self) -> None:
        """Update the discriminator, the generator and its moving average."""
        rows = torch.multinomial(self.weights, self.batch, replacement=True)
        y, z = self.targets[rows], torch.randn(self.batch, self.latent)
        pair = torch.cat([self.images[rows], self.generator(z, y)])
        both = diffaugment(pair, torch.rand(len(pair), numbers_needed(self.names)), self.names)

        real, fake = self.discriminator(both.detach(), torch.cat([y, y])).chunk(2)
        discriminator_loss = F.relu(1 - real).mean() + F.relu(1 + fake).mean()
        self.discriminator_adam.zero_grad()
        discriminator_loss.backward()
        self.discriminator_adam.step()

        self.discriminator.requires_grad_(False)
        generator_loss = -self.discriminator(both[self.batch :], y).mean()
        self.generator_adam.zero_grad()
        generator_loss.backward()
        self.generator_adam.step()
        self.discriminator.requires_grad_(True)

        torch._foreach_lerp_(*self.pair, 1 - self.decay)
        self.losses.append((discriminator_loss.item(), generator_loss.item()))


def train(setting: Setting, steps: int, ranks: Ranks, at_step: Callable[[], bool]) -> None:
    """Run the product, given all that a study gives it."""
    images_NCHW, labels_N = setting.data()
    with tempfile.TemporaryDirectory(prefix="gan-step-") as folder:
        train_gan(
            setting.networks(),
            images_NCHW,
            np.arange(len(images_NCHW)),
            np.eye(CLASSES, dtype=np.float32)[labels_N],
            setting.config(steps),
            seed=0,
            draw=0,
            around=Surroundings(
                ranks=ranks,
                checkpoints=Checkpoints(Path(folder, "checkpoints")),
                heartbeat=Heartbeat(Path(folder, "ranks"), ranks, STUCK_SECONDS),
                report=lambda _step, _figures, _averaged: False,
                interrupted=at_step,
            ),
        )


Times = tuple[float, float]  # wall and processor seconds


def now() -> Times:
    """Return the present moment."""
    return time.perf_counter(), time.process_time()


def since(then: Times) -> Times:
    """Return the seconds since then."""
    wall, cpu = now()
    return wall - then[0], cpu - then[1]


@dataclass
class Turns:
    """Counts the product's steps, as what it asks at every step, and lets the other side in."""

    turn: int
    other: Callable[[], Times]
    between: Callable[[int], None] = lambda _turns: None
    ours: list[Times] = field(default_factory=list)
    others: list[Times] = field(default_factory=list)
    _step: int = 0
    _began: Times = (0.0, 0.0)

    def __call__(self) -> bool:
        """Ask for no interruption."""
        self._step += 1
        if self._step % self.turn == 0:
            if self._step > self.turn:  # the first turn warms up
                self.ours.append(since(self._began))
            self.others.append(self.other())
            self.between(len(self.ours))
            self._began = now()
        return False

    def ratios(self, which: int) -> list[float]:
        """Return ours over the mean of the others' before and after, of each turn."""
        beside = zip(self.ours, self.others[:-1], self.others[1:], strict=True)
        return [2 * a[which] / (b[which] + c[which]) for a, b, c in beside]


def against_bare(setting: Setting, turns: int) -> float:
    """Print a line of the first table, and return the ratio of processor times."""
    bare = Bare(setting)

    def other() -> Times:
        began = now()
        for _ in range(setting.turn):
            bare.step()
        return since(began)

    other()
    taken, foreign = Turns(setting.turn, other), Foreign()
    train(setting, setting.turn * (turns + 1), ALONE, taken)
    took = foreign.cores()
    assert np.isfinite(bare.losses).all()
    cells = [
        median_ms(side, which, setting) for which in (0, 1) for side in (taken.others, taken.ours)
    ]
    wall, cpu = taken.ratios(0), taken.ratios(1)
    print(
        f"{setting.title:32}{cells[0]:8.2f}{cells[1]:8.2f}{statistics.median(wall):8.3f}"
        f"{cells[2]:10.2f}{cells[3]:8.2f}{statistics.median(cpu):8.3f}  {spread(cpu)}{took:9.2f}",
        flush=True,
    )
    return statistics.median(cpu)


def median_ms(times: Sequence[Times], which: int, setting: Setting) -> float:
    """Return the median time of a step in milliseconds."""
    return 1e3 * statistics.median(each[which] for each in times) / setting.turn


def spread(values: Sequence[float]) -> str:
    """Return the quartiles."""
    low, _, high = statistics.quantiles(values, n=4)
    return f"{low:.3f}..{high:.3f}"


def processes_against_threads(setting: Setting, turns: int) -> None:
    """Print two lines of the second table."""
    with two_processes(setting, turns + 2) as shared:

        def other() -> Times:
            shared.send(None)
            return shared.recv()

        def between(done: int) -> None:
            torch.set_num_threads(1 + done % 2)

        other()
        taken, foreign = Turns(setting.turn, other, between), Foreign()
        train(setting, setting.turn * (turns + 1), ALONE, taken)
        took = foreign.cores()
    torch.set_num_threads(1)
    shared_ms = median_ms(taken.others, 0, setting)
    for threads in (2, 1):
        mine = slice(threads - 1, None, 2)
        ratios = [1 / ratio for ratio in taken.ratios(0)[mine]]
        print(
            f"{setting.title:32}{threads:10}{median_ms(taken.ours[mine], 0, setting):12.2f}"
            f"{shared_ms:12.2f}{statistics.median(ratios):8.3f}  {spread(ratios)}{took:9.2f}",
            flush=True,
        )


@contextmanager
def two_processes(setting: Setting, turns: int) -> Iterator[Connection]:
    """Start two processes that share a training; the first takes a turn whenever it is told to."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    spawn = multiprocessing.get_context("spawn")
    ours, theirs = spawn.Pipe()
    processes = [
        spawn.Process(target=train_as_rank, args=(setting, turns, rank, port, theirs))
        for rank in range(2)
    ]
    for process in processes:
        process.start()
    theirs.close()
    try:
        yield ours
        for process in processes:
            process.join(60)
            assert process.exitcode == 0
    finally:
        for process in processes:
            process.kill()


def train_as_rank(setting: Setting, turns: int, rank: int, port: int, pipe: Connection) -> None:
    """Take part in a training as one of two processes, as torchrun would start it."""
    place = {"RANK": rank, "WORLD_SIZE": 2, "LOCAL_RANK": rank, "MASTER_PORT": port}
    os.environ.update({name: str(value) for name, value in place.items()}, MASTER_ADDR="127.0.0.1")
    torch.set_num_threads(1)
    step, began = 0, (0.0, 0.0)

    def at_step() -> bool:
        nonlocal step, began
        step += 1
        if rank == 0 and step % setting.turn == 0:
            if step > setting.turn:
                pipe.send(since(began))
            if step < setting.turn * (turns + 1):
                pipe.recv()
            began = now()
        return False

    with joined("cpu", STUCK_SECONDS) as ranks:
        train(setting, setting.turn * (turns + 1), ranks, at_step)


def main() -> None:
    """Measure and print both tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--turns", type=int, default=10, help="of each side")
    parser.add_argument("--quick", action="store_true", help="few turns: see that it runs")
    parser.add_argument("--no-processes", action="store_true", help="leave out the second table")
    asked = parser.parse_args()
    turns = 4 if asked.quick else asked.turns
    torch.set_num_threads(1)
    print(f"ms a step, medians of {turns} turns; load {os.getloadavg()[0]:.1f}")
    print(f"{'':32}{'wall':>8}{'':16}{'cpu':>10}{'':16}{'quartiles':>14}{'foreign':>9}")
    heads = ("bare", "ours", "ratio")
    print(
        f"{'':32}{''.join(f'{head:>8}' for head in heads)}  {''.join(f'{h:>8}' for h in heads)}"
        f"{'':14}{'cores':>9}"
    )
    ratios = [against_bare(setting, turns) for setting in SETTINGS]
    verdict = "met" if max(ratios) <= GOAL else "missed"
    print(f"goal: at most {GOAL} x the bare loop's processor time: {max(ratios):.3f}, {verdict}")
    if asked.no_processes:
        return
    print("\nms a step (wall): one process, and two of one thread that share the batch (gloo)")
    heads = ("threads", "one process", "two", "ratio")
    print(
        f"{'':32}{heads[0]:>10}{heads[1]:>12}{heads[2]:>12}{heads[3]:>8}{'quartiles':>14}"
        f"{'foreign':>9}"
    )
    for setting in SETTINGS:
        processes_against_threads(setting, turns // 2 * 2)


if __name__ == "__main__":
    main()
