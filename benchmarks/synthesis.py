"""How fast images are made into Parquet shards, beside the machine's bound and loose PNG files.

    python benchmarks/synthesis.py             # about 3 minutes on a quiet machine
    python benchmarks/synthesis.py --quick     # about 2 minutes: see that it runs

One run compares, for the same generator (projection GAN of the default width) and label vectors:

synthtrial: ``run_task`` of a study's task ``synthesize``, as any engine runs it on processors:
    generator read, images made, encoded, checked, written as shards with labels and provenance,
    flushed, hashed and committed
(a) the bound: the generator in memory and nothing but its forward pass on one thread, in batches of
    the size that a trial beforehand finds fastest, while a pool of as many threads as synthtrial
    may use encodes the images as PNG by the same library at the same level; the encoded images are
    measured and thrown away
(b) loose files: the same forward pass, then encoding and ``open(...).write(...)`` image by image,
    all on one thread; nothing is flushed, hashed or described

A busy machine is no place to measure wall time: the sides take turns, and each run of synthtrial is
compared with the runs of the others right before and after it. Shown are medians; processor time
stands beside wall time, and how many cores other work took meanwhile. What a run wrote is removed,
and the disk is flushed, before the next one's clock runs.
"""

from __future__ import annotations

import argparse
import io
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from machine import Foreign
from PIL import Image

from synthtrial.driver import keep_snapshot
from synthtrial.plan import build
from synthtrial.store.artifacts import open_store, read_artifact
from synthtrial.study import load
from synthtrial.synthesis.balance import read_allocation
from synthtrial.synthesis.sampling import TrainedGenerator, read_generator
from synthtrial.work import Context, run_task

STUDY = """
name: synthesis
regimens: [1.0]
arms: {none: {}, gan: {synthetic: true}}
generator: {name: projection}
gan_training: {global_batch: 8, diffaugment: [translation]}
classifier: {name: small_cnn}
statistics: {baseline: none}
protocol: {draws: 1}
"""
GOAL = 0.9
BATCHES = (4, 16, 64)  # images made at once, of which the bound takes what is fastest
BUNDLE = 64  # images handed to an encoding thread at once, at most
PREPARED = ("prepare", "split", "allocate", "train_gan")


@dataclass(frozen=True)
class Setting:
    """Size and number of the images; steps of a training that makes them look like images."""

    title: str
    channels: int
    size: int
    images: int
    steps: int


SETTINGS = (
    Setting("28x28 grey", 1, 28, 2048, 60),
    Setting("64x64 RGB", 3, 64, 512, 20),
    Setting("128x128 RGB", 3, 128, 192, 8),
)


@dataclass(frozen=True)
class Measured:
    """One run of one side."""

    wall: float
    cpu: float
    files: int
    size: int


class Sides:
    """The three sides, over one store."""

    def __init__(self, setting: Setting, folder: Path) -> None:
        self.folder = folder
        (folder / "study.yaml").write_text(STUDY)
        shape = f"{{name: toy, rows: 120, size: {setting.size}, channels: {setting.channels}}}"
        overrides = [
            f"dataset={shape}",
            f"balance={{classes: [ant, moth], count: {setting.images}, count_mode: total}}",
            f"gan_training.steps={setting.steps}",
            f"store.path={folder / 'store'}",
            f"store.cache_path={folder / 'cache'}",
            "engine.device=cpu",
        ]
        study = load(folder / "study.yaml", overrides)
        self.store = open_store(study.store_path)
        keep_snapshot(study, self.store)
        self.context = Context(self.store, engine="benchmark", device="cpu")
        tasks = build(study, self.store).tasks.values()
        for task in tasks:
            if task.kind in PREPARED:
                run_task(self.store, task, self.context)
        (self.task,) = (task for task in tasks if task.kind == "synthesize")
        payload = self.task.payload
        allocation = read_artifact(self.store, "allocation", payload["allocation"])
        self.vectors = np.maximum(read_allocation(allocation).vectors_MK, 0).astype(np.float32)
        self.generator = read_artifact(self.store, "generator", payload["generator"])
        assert len(self.vectors) == setting.images
        self.batch = self.fastest_batch()

    def fastest_batch(self) -> int:
        """Return the number of images that are best made at once."""
        model, whole = read_generator(self.generator), self.vectors
        self.vectors = whole[: max(BATCHES)]
        seconds = {}
        for self.batch in (*BATCHES, *BATCHES):  # the first time warms up
            seconds[self.batch] = measure(lambda: list(self.made_by(model))).cpu
        self.vectors = whole
        return min(seconds, key=seconds.__getitem__)

    def synthtrial(self) -> Measured:
        """The product's path."""
        made = self.store.folder("synthetic", self.task.id)
        return measure(lambda: run_task(self.store, self.task, self.context), made)

    def bound(self) -> Measured:
        """(a) Forward pass on one thread, encoding behind its back."""
        model = read_generator(self.generator)

        def run() -> None:
            with ThreadPoolExecutor(self.context.encoders) as pool:
                bundles = [
                    pool.submit(encode_all, pixels[start : start + BUNDLE])
                    for pixels in self.made_by(model)
                    for start in range(0, len(pixels), BUNDLE)
                ]
                assert sum(bundle.result() for bundle in bundles) > 0

        return measure(run)

    def loose(self) -> Measured:
        """(b) One file an image."""
        model = read_generator(self.generator)
        made = self.folder / "loose"

        def run() -> None:
            made.mkdir()
            number = 0
            for pixels in self.made_by(model):
                for image in pixels:
                    with (made / f"{number:07d}.png").open("wb") as file:
                        file.write(encode(image))
                    number += 1

        return measure(run, made)

    @torch.inference_mode()
    def made_by(self, model: TrainedGenerator) -> Iterator[np.ndarray]:
        """Yield images_BHWC, or of grey ones images_BHW, uint8."""
        for start in range(0, len(self.vectors), self.batch):
            y = torch.from_numpy(self.vectors[start : start + self.batch])
            x = model.module(torch.randn(len(y), model.latent), y)
            pixels = ((x + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
            yield (pixels[:, 0] if pixels.shape[1] == 1 else pixels.permute(0, 2, 3, 1)).numpy()


def encode(pixels: np.ndarray) -> bytes:
    """Return an image as PNG."""
    target = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(target, "png", compress_level=1)
    return target.getvalue()


def encode_all(pixels_N: np.ndarray) -> int:
    """Encode some images and return their size."""
    return sum(len(encode(pixels)) for pixels in pixels_N)


def measure(run: Callable[[], Any], made: Path | None = None) -> Measured:
    """Time one run; count and remove what it made."""
    os.sync()
    wall, cpu = time.perf_counter(), time.process_time()
    run()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    if made is None:
        return Measured(wall, cpu, 0, 0)
    sizes = [path.stat().st_size for path in made.iterdir()]
    shutil.rmtree(made)
    return Measured(wall, cpu, len(sizes), sum(sizes))


def compare(setting: Setting, rounds: int) -> float:
    """Measure one size, print its lines and return the share of the bound that is reached."""
    with tempfile.TemporaryDirectory(prefix="synthesis-") as folder:
        sides = Sides(setting, Path(folder))
        for warm_up in (sides.synthtrial, sides.bound, sides.loose):
            warm_up()
        foreign = Foreign()
        bound, loose, ours = [sides.bound()], [sides.loose()], []
        for number in range(rounds):
            ours.append(sides.synthtrial())
            # In turns, so that neither always follows synthtrial.
            for other in (bound, loose) if number % 2 else (loose, bound):
                other.append(sides.bound() if other is bound else sides.loose())
        took = foreign.cores()
    print_line(setting, "synthtrial", ours, "", "", took)
    shares = {}
    for title, others in (("(a) bound", bound), ("(b) loose files", loose)):
        wall, cpu = (
            [
                (before[which] + after[which]) / 2 / mine[which]
                for mine, before, after in zip(
                    map(times, ours), map(times, others), map(times, others[1:]), strict=False
                )
            ]
            for which in (0, 1)
        )
        shares[title] = statistics.median(wall)
        texts = f"{shares[title]:.2f}", f"{statistics.median(cpu):.2f}"
        print_line(setting, title, others, *texts, took)
    return shares["(a) bound"]


def times(measured: Measured) -> tuple[float, float]:
    """Return wall and processor seconds."""
    return measured.wall, measured.cpu


def print_line(
    setting: Setting, title: str, runs: list[Measured], wall: str, cpu: str, took: float
) -> None:
    """Print the medians of a side."""
    seconds = statistics.median(run.wall for run in runs)
    processor = statistics.median(run.cpu for run in runs)
    print(
        f"{setting.title:14}{title:18}{setting.images:8,}{setting.images / seconds:10,.0f}{wall:>9}"
        f"{1e3 * processor / setting.images:10.3f}{cpu:>9}{runs[-1].files:8,}{runs[-1].size:13,}"
        f"{took:9.2f}",
        flush=True,
    )


def main() -> None:
    """Measure all sizes and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--quick", action="store_true", help="few rounds: see that it runs")
    asked = parser.parse_args()
    rounds = 1 if asked.quick else asked.rounds
    torch.set_num_threads(1)
    print(
        f"medians of {rounds} rounds; load {os.getloadavg()[0]:.1f}; x: synthtrial's speed / side's"
    )
    heads = ("images", "images/s", "x wall", "ms cpu", "x cpu")
    print(
        f"{'':32}" + f"{heads[0]:>8}{heads[1]:>10}{heads[2]:>9}{heads[3]:>10}{heads[4]:>9}"
        f"{'files':>8}{'bytes':>13}{'foreign':>9}"
    )
    shares = [compare(setting, rounds) for setting in SETTINGS]
    verdict = "met" if min(shares) >= GOAL else "missed"
    print(f"goal: at least {GOAL} of the bound's images/s: {min(shares):.2f}, {verdict}")


if __name__ == "__main__":
    main()
