"""How fast a dataset's images reach the training loop, beside other ways to feed one.

    python benchmarks/feed.py             # about 5 minutes on a quiet machine
    python benchmarks/feed.py --quick     # about 2 minutes: see that it runs

Images a second, in shuffled batches of 64 float tensors in [-1, 1] with their labels, and nothing
done with them:

synthtrial: ``training_batches`` on the rows of a dataset artifact, as a trial without augmentation
    has them; the artifact's images were decoded once into the node's cache, which all trials of a
    machine share (the seconds that this took are shown)
ImageFolder: torchvision's, over loose PNG files, in a DataLoader of two workers
datasets: Hugging Face's, over the artifact's own Parquet shards, in a DataLoader of two workers
WebDataset: over tar files of the same PNG images, in a DataLoader of two workers, if installed
RAM: all pixels in one uint8 tensor; rows gathered by index and brought to floats batch by batch

All decode the same PNG bytes, or show the same pixels. Workers are started, and files read into the
page cache, before a clock runs. Every process computes on one thread. The sides take turns, some
batches each, and each turn of synthtrial is compared with those of the other right before and after
it; shown are medians, processor time (workers included), and how many cores other work took: where
that is not near 0, wall time says little. Two workers on two idle cores come to half of ``x cpu``.
"""

from __future__ import annotations

import argparse
import io
import os
import statistics
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from machine import Foreign, descendants
from PIL import Image
from torch.utils.data import DataLoader

from synthtrial.classify.rows import Rows, training_batches
from synthtrial.store.artifacts import draft, open_store, read_artifact
from synthtrial.store.cache import clear_process_cache, load_arrays
from synthtrial.store.images import ImageRow, write_shards
from synthtrial.store.shards import encode_png
from synthtrial.testing.radiographs import MARKS, draw_radiograph

BATCH, WORKERS = 64, 2
LOADERS_GOAL, RAM_GOAL = 20.0, 0.8
CLASSES = ("a", "b")
SHARD_BYTES = 16 * 2**20
DISTINCT = 500  # pictures; more rows show them again

IDLE = 0.5  # seconds that a loader's workers have to fill their queues
WORKING: dict[str, Any] = {"num_workers": WORKERS, "persistent_workers": True}

Batches = Iterator[Any]


@dataclass(frozen=True)
class Setting:
    """Size and number of the images; batches in a turn of the slow and of the fast sides."""

    title: str
    size: int
    channels: int
    images: int
    slow: int
    fast: int


SETTINGS = (
    Setting("224x224 grey", 224, 1, 6000, 20, 90),  # over 256 MiB: mapped and not in memory
    Setting("64x64 RGB", 64, 3, 8000, 30, 500),
)


def pictures(setting: Setting) -> np.ndarray:
    """Return images_NHWC, uint8."""
    nothing = dict.fromkeys(MARKS, 0)
    made = []
    for number in range(DISTINCT):
        name = f"train/patient{number:05d}/study1/view1_frontal"
        grey = Image.fromarray(draw_radiograph(name, nothing, False, setting.size, 0))
        grey = grey.resize((setting.size, setting.size))
        tint = Image.merge("RGB", [grey, grey.rotate(7), grey.rotate(-7)])
        made.append(np.asarray(grey if setting.channels == 1 else tint))
    stacked = np.stack(made)
    return stacked[..., None] if setting.channels == 1 else stacked


def to_floats(image: Image.Image) -> torch.Tensor:
    """Return a decoded image as the training loop wants it."""
    pixels = torch.from_numpy(np.array(image))
    pixels = pixels[None] if pixels.ndim == 2 else pixels.permute(2, 0, 1)
    return pixels.float().div_(127.5).sub_(1.0)


class Sides:
    """All sides over the same images."""

    def __init__(self, setting: Setting, folder: Path) -> None:
        self.setting, self.folder = setting, folder
        self.images_NHWC = pictures(setting)
        self.pngs = [encode_png(image) for image in self.images_NHWC]
        store = open_store(folder / "store")
        with draft(store, "dataset", "d", inputs={}) as made:
            write_shards(made.path, self.rows(), CLASSES, shard_bytes=SHARD_BYTES)
        self.artifact = read_artifact(store, "dataset", "d")
        began = time.perf_counter()
        self.arrays = load_arrays(self.artifact, str(folder / "cache"))
        self.seconds = time.perf_counter() - began

    def rows(self) -> Iterator[ImageRow]:
        """Yield the rows of the dataset."""
        for number in range(self.setting.images):
            image = self.images_NHWC[number % DISTINCT]
            yield ImageRow(f"i{number:06d}", None, image, {"a": number % 2, "b": 1 - number % 2})

    def synthtrial(self) -> Batches:
        """The product's path, as :func:`synthtrial.classify.training.fit` takes it."""
        targets = np.eye(2, dtype=np.float32)[np.arange(self.setting.images) % 2]
        index = np.arange(self.setting.images)
        device = torch.device("cpu")
        rows = Rows([(self.arrays.images_NCHW, index)], targets).to(device).normalised()
        batches = training_batches(
            rows,
            torch.from_numpy(targets),
            batch_size=BATCH,
            row_weights_N=None,
            augment=None,
            seed=0,
            replicate=0,
            device=device,
        )
        return ((x, y) for x, y, _ in batches)

    def ram(self) -> Batches:
        """Gather from a tensor."""
        pixels = torch.from_numpy(np.array(self.arrays.images_NCHW))  # copied out of the file
        labels = torch.arange(len(pixels)) % 2
        while True:
            for index in torch.randperm(len(pixels)).split(BATCH):
                yield pixels[index].float().div_(127.5).sub_(1.0), labels[index]

    def image_folder(self) -> Batches:
        """Loose files."""
        from torchvision.datasets import ImageFolder

        root = self.folder / "loose"
        for number in range(self.setting.images):
            place = root / CLASSES[number % 2]
            place.mkdir(parents=True, exist_ok=True)
            (place / f"{number:06d}.png").write_bytes(self.pngs[number % DISTINCT])
        mode = "L" if self.setting.channels == 1 else "RGB"
        dataset = ImageFolder(str(root), loader=Opener(mode), transform=to_floats)
        return without_end(DataLoader(dataset, BATCH, shuffle=True, **WORKING))

    def datasets(self) -> Batches:
        """Our own shards, read by Hugging Face's library."""
        import datasets

        datasets.disable_progress_bars()
        files = [str(self.artifact.path / name) for name in self.artifact.files]
        read = datasets.load_dataset(
            "parquet",
            data_files=[name for name in files if name.endswith(".parquet")],
            split="train",
            cache_dir=str(self.folder / "hf"),
        )
        read = read.select_columns(["image", "label.a"]).with_transform(as_tensors)
        return without_end(DataLoader(read, BATCH, shuffle=True, **WORKING))

    def webdataset(self) -> Batches:
        """Tar files."""
        import webdataset

        names = [self.folder / f"{k}.tar" for k in range(2 * WORKERS)]
        for k, name in enumerate(names):
            with tarfile.open(name, "w") as tar:
                for number in range(k, self.setting.images, len(names)):
                    label = str(number % 2).encode()
                    for suffix, content in (("png", self.pngs[number % DISTINCT]), ("cls", label)):
                        about = tarfile.TarInfo(f"{number:06d}.{suffix}")
                        about.size = len(content)
                        tar.addfile(about, io.BytesIO(content))
        mode = "l8" if self.setting.channels == 1 else "rgb8"
        dataset = (
            webdataset.WebDataset([str(name) for name in names], shardshuffle=len(names))
            .shuffle(1000)
            .decode("pill" if mode == "l8" else "pil")
            .to_tuple("png", "cls")
            .map_tuple(to_floats, int)
            .batched(BATCH)
        )
        return without_end(DataLoader(dataset, None, **WORKING))


class Opener:
    """Opens an image file in one mode, in any process."""

    def __init__(self, mode: str) -> None:
        self.mode = mode

    def __call__(self, path: str) -> Image.Image:
        """Open an image file."""
        with Image.open(path) as image:
            return image.convert(self.mode)


def as_tensors(rows: dict[str, list[Any]]) -> dict[str, list[Any]]:
    """Turn some rows of Hugging Face's library into tensors."""
    return {"image": [to_floats(image) for image in rows["image"]], "label": rows["label.a"]}


def without_end(loader: DataLoader[Any]) -> Batches:
    """Go through a loader again and again."""
    while True:
        yield from loader


@dataclass(frozen=True)
class Turn:
    """Images a second, and processor seconds an image in this process and its workers."""

    speed: float
    cpu: float


def turn(batches: Batches, count: int) -> Turn:
    """Take so many batches."""
    cpu, began, seen = family_seconds(), time.perf_counter(), 0
    for batch in islice(batches, count):
        x = batch["image"] if isinstance(batch, dict) else batch[0]
        seen += len(x)
    return Turn(seen / (time.perf_counter() - began), (family_seconds() - cpu) / seen)


def family_seconds() -> float:
    """Return the processor seconds of this process and its workers."""
    return sum(descendants(os.getpid()).values())


def ratio(ours: list[Turn], theirs: list[Turn], which: str) -> float:
    """Return the median of a figure of ours over the mean of theirs before and after it."""
    values = [[getattr(each, which) for each in side] for side in (ours, theirs)]
    beside = zip(values[0], values[1], values[1][1:], strict=False)
    return statistics.median(2 * own / (before + after) for own, before, after in beside)


def compare(setting: Setting, rounds: int) -> tuple[float, float]:
    """Measure one size; return its speed against the best loader, and against RAM."""
    with tempfile.TemporaryDirectory(prefix="feed-") as folder:
        sides = Sides(setting, Path(folder))
        others: dict[str, Callable[[], Batches]] = {
            "ImageFolder": sides.image_folder,
            "datasets": sides.datasets,
            "WebDataset": sides.webdataset,
            "RAM": sides.ram,
        }
        if find_spec("webdataset") is None:
            del others["WebDataset"]
            print(f"{setting.title:14}WebDataset is not installed")
        ours, ratios = sides.synthtrial(), {}
        turn(ours, setting.images // BATCH + setting.fast)  # a pass: into the page cache
        mine: list[Turn] = []
        for name, make in others.items():
            count = setting.fast if name == "RAM" else setting.slow
            theirs = make()
            turn(theirs, setting.images // BATCH + 1)  # starts workers, reads files
            foreign = Foreign()  # here, as it counts the work of living children as ours
            beside, between = [turn(theirs, count)], []
            for _ in range(rounds):
                time.sleep(IDLE if name != "RAM" else 0)  # its workers fill their queues, and rest
                between.append(turn(ours, setting.fast))
                drain(theirs, name)
                beside.append(turn(theirs, count))
            took = foreign.cores()
            del theirs
            ratios[name] = ratio(between, beside, "speed")
            cpu = 1 / ratio(between, beside, "cpu")
            print_line(setting, name, beside, f"{ratios[name]:8.2f}{cpu:8.2f}{took:9.2f}")
            mine += between
        clear_process_cache()
        note = f"   decoded once in {sides.seconds:.1f} s"
        print_line(setting, "synthtrial", mine, note)
    return min(ratio for name, ratio in ratios.items() if name != "RAM"), ratios["RAM"]


def drain(theirs: Batches, name: str) -> None:
    """Take what workers have made ahead, so that it is not counted."""
    if name != "RAM":
        for _ in islice(theirs, 2 * WORKERS + 1):
            pass


def print_line(setting: Setting, name: str, turns: list[Turn], rest: str) -> None:
    """Print the medians of a side."""
    speed, cpu = (statistics.median(getattr(t, which) for t in turns) for which in ("speed", "cpu"))
    print(f"{setting.title:14}{name:14}{speed:12,.0f}{1e3 * cpu:10.4f}{rest}", flush=True)


def main() -> None:
    """Measure both sizes and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="few rounds: see that it runs")
    asked = parser.parse_args()
    rounds = 1 if asked.quick else asked.rounds
    torch.set_num_threads(1)
    print(f"medians of {rounds} rounds; load {os.getloadavg()[0]:.1f}; x: synthtrial's / side's")
    heads = ("images/s", "ms cpu", "x wall", "x cpu", "foreign")
    print(f"{'':28}{heads[0]:>12}{heads[1]:>10}{heads[2]:>8}{heads[3]:>8}{heads[4]:>9}")
    shares = [compare(setting, rounds) for setting in SETTINGS]
    for goal, which, title in (
        (LOADERS_GOAL, 0, "the best of the loaders"),
        (RAM_GOAL, 1, "gathering from RAM"),
    ):
        for setting, share in zip(SETTINGS, shares, strict=True):
            verdict = "met" if share[which] >= goal else "missed"
            print(f"goal: {goal:g} x {title}, {setting.title}: {share[which]:.2f}, {verdict}")


if __name__ == "__main__":
    main()
