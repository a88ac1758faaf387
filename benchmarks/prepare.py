"""How fast radiographs become a dataset's shards, beside the machine's bound; memory; resuming.

    python benchmarks/prepare.py             # about 8 minutes on a quiet machine
    python benchmarks/prepare.py --quick     # about 2 minutes: see that it runs

A made CheXpert folder (grey JPEGs of 320x390 and the like) is prepared to 224x224, by each of the
two ways to resample:

synthtrial: ``run_task`` of a study's task ``prepare``, as any engine runs it: table read, images
    read, decoded, fitted, encoded, checked, written as shards with labels, flushed, hashed and
    committed
bound: the same files read, decoded by Pillow, cropped, resized by the same calls of SciPy or
    Pillow and encoded as PNG by the same library at the same level, in bundles by as many threads
    as there are processors; what comes out is measured and thrown away

A busy machine is no place to measure wall time: the sides take turns, and each run of synthtrial is
compared with the runs of the bound right before and after it. Shown are medians; processor time
stands beside wall time, and how many cores other work took meanwhile. What a run wrote is removed,
and the disk is flushed, before the next one's clock runs; files are in the page cache for both.

Then 20,000 images (a few files under many names) in a process of its own, with the memory it holds
as it goes on; the same killed half-way and resumed, whose shards must be the same bytes.
"""

from __future__ import annotations

import argparse
import csv
import io
import math
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from machine import Foreign
from PIL import Image
from scipy import ndimage

from synthtrial.driver import keep_snapshot
from synthtrial.plan import build
from synthtrial.store.artifacts import open_store
from synthtrial.study import load
from synthtrial.testing.chexpert import MadeFolder, write_chexpert
from synthtrial.work import Context, run_task

STUDY = """
name: prepare
regimens: [1.0]
arms: {none: {}}
classifier: {name: small_cnn}
statistics: {baseline: none}
protocol: {draws: 1}
engine: {device: cpu}
"""
GOAL = 0.9
FLAT = 1.1  # times the memory at a quarter of the way
SIZE = 224
BUNDLE = 32  # images that a thread of the bound is handed at once
SHORT_PARTS = ("store.shard_bytes=33554432",)  # so that there are quarters to see
DISTINCT = 300  # patients whose images are linked under many names
CORES = len(os.sched_getaffinity(0))


class Sides:
    """Both sides, over one folder of images."""

    def __init__(self, images: Path, folder: Path, resampling: str, *more: str) -> None:
        folder.mkdir()
        self.resampling, self.file = resampling, folder / "study.yaml"
        self.file.write_text(STUDY)
        dataset = f"{{name: chexpert, path: {images}, size: {SIZE}, resampling: {resampling}}}"
        self.overrides = [
            f"dataset={dataset}",
            f"store.path={folder / 'store'}",
            f"store.cache_path={folder / 'cache'}",
            *more,
        ]
        study = load(self.file, self.overrides)
        self.part_bytes = study.settings.store.shard_bytes
        self.store = open_store(study.store_path)
        keep_snapshot(study, self.store)
        self.context = Context(self.store, engine="benchmark", device="cpu")
        tasks = build(study, self.store).tasks.values()
        (self.task,) = (task for task in tasks if task.kind == "prepare")
        stems = study.dataset.load().label_table().sample_ids
        self.paths = [images / f"{stem}.jpg" for stem in stems]
        self.made = self.store.folder("dataset", self.task.id)
        self.waiting = self.context.unfinished(self.task)

    def synthtrial(self) -> Measured:
        """The product's path."""
        return measure(lambda: run_task(self.store, self.task, self.context), self.made)

    def bound(self) -> Measured:
        """Decode, fit and encode, and nothing else."""
        fit = fit_by_scipy if self.resampling == "torchxrayvision" else fit_by_pillow

        def work(paths: Sequence[Path]) -> int:
            return sum(len(encode(fit(decode(path)))) for path in paths)

        def run() -> None:
            bundles = [self.paths[k : k + BUNDLE] for k in range(0, len(self.paths), BUNDLE)]
            with ThreadPoolExecutor(CORES) as pool:
                assert sum(pool.map(work, bundles)) > 0

        return measure(run)


def decode(path: Path) -> np.ndarray:
    """Return the square in the middle of an image file."""
    with Image.open(io.BytesIO(path.read_bytes())) as image:
        pixels = np.asarray(image)
    height, width = pixels.shape
    side = min(height, width)
    top, left = height // 2 - side // 2, width // 2 - side // 2
    return pixels[top : top + side, left : left + side]


def fit_by_scipy(pixels: np.ndarray) -> np.ndarray:
    """Smooth and interpolate as scikit-image's ``resize``."""
    factor = len(pixels) / SIZE
    x = pixels.astype(np.float32)
    x = ndimage.gaussian_filter(x, (factor - 1) / 2, mode="grid-constant", cval=127.5)
    x = ndimage.zoom(x, 1 / factor, order=1, mode="grid-constant", cval=127.5, grid_mode=True)
    return np.clip(np.rint(x), 0, 255).astype(np.uint8)


def fit_by_pillow(pixels: np.ndarray) -> np.ndarray:
    """Resize by Pillow's bilinear filter."""
    picture = Image.fromarray(np.ascontiguousarray(pixels))
    return np.asarray(picture.resize((SIZE, SIZE), Image.Resampling.BILINEAR))


def encode(pixels: np.ndarray) -> bytes:
    """Return an image as PNG."""
    target = io.BytesIO()
    Image.fromarray(pixels).save(target, "png", compress_level=1)
    return target.getvalue()


@dataclass(frozen=True)
class Measured:
    """One run of one side, in seconds."""

    wall: float
    cpu: float


def measure(run: Callable[[], Any], made: Path | None = None) -> Measured:
    """Time one run; remove what it made."""
    os.sync()
    wall, cpu = time.perf_counter(), time.process_time()
    run()
    measured = Measured(time.perf_counter() - wall, time.process_time() - cpu)
    if made is not None:
        shutil.rmtree(made)
    return measured


def compare(images: Path, folder: Path, resampling: str, rounds: int) -> float:
    """Measure one way to resample, print its lines and return the share of the bound."""
    sides = Sides(images, folder, resampling)
    sides.bound()
    sides.synthtrial()
    foreign = Foreign()
    bound, ours = [sides.bound()], []
    for _ in range(rounds):
        ours.append(sides.synthtrial())
        bound.append(sides.bound())
    took = foreign.cores()
    shares = [
        statistics.median(
            (getattr(before, which) + getattr(after, which)) / 2 / getattr(mine, which)
            for mine, before, after in zip(ours, bound, bound[1:], strict=False)
        )
        for which in ("wall", "cpu")
    ]
    for title, runs in (("synthtrial", ours), ("bound", bound)):
        wall, cpu = (statistics.median(getattr(run, w) for run in runs) for w in ("wall", "cpu"))
        count = len(sides.paths)
        texts = [f"{share:.2f}" for share in shares] if runs is bound else ["", ""]
        print(
            f"{resampling:17}{title:12}{count:8,}{count / wall:10,.0f}{texts[0]:>9}"
            f"{1e3 * cpu / count:10.3f}{texts[1]:>9}{took:9.2f}",
            flush=True,
        )
    return shares[0]


def many_names(few: Path, folder: Path, count: int) -> None:
    """Link the images of a folder under so many names, each time as other patients."""
    folder.mkdir()
    with (few / "train.csv").open(newline="") as file:
        header, *rows = csv.reader(file)
    made: list[list[str]] = []
    for copy in range(math.ceil(count / len(rows))):
        for row in rows[: count - len(made)]:
            top, part, patient, study, view = row[0].split("/")
            other = f"patient{copy * DISTINCT + int(patient.removeprefix('patient')):05d}"
            target = folder / part / other / study / view
            target.parent.mkdir(parents=True, exist_ok=True)
            target.hardlink_to(few / part / patient / study / view)
            made.append([f"{top}/{part}/{other}/{study}/{view}", *row[1:]])
    with (folder / "train.csv").open("w", newline="") as file:
        csv.writer(file).writerows([header, *made])


def started(sides: Sides) -> subprocess.Popen[bytes]:
    """Start the task in a process of its own."""
    command = [sys.executable, "-m", "synthtrial", "task", str(sides.file), *sides.overrides]
    return subprocess.Popen([*command, "--id", sides.task.id], stdout=subprocess.DEVNULL)


def memory(process: int) -> tuple[float, float]:
    """Return the resident and the own (anonymous) memory of a process in MiB."""
    lines = dict(
        line.split(":", 1) for line in Path(f"/proc/{process}/status").read_text().splitlines()
    )
    resident, own = (int(lines[name].split()[0]) / 1024 for name in ("VmRSS", "RssAnon"))
    return resident, own


def watch(sides: Sides, stop_at: float = 1.0) -> tuple[list[tuple[float, float]], float]:
    """Run to a share of the way, then kill; return memory at each quarter, and images/s."""
    process, began = started(sides), time.perf_counter()
    parts = math.ceil(len(sides.paths) / (sides.part_bytes // SIZE**2))
    seen: list[tuple[float, float]] = []
    last = (0.0, 0.0)
    while process.poll() is None:
        done = len(list(sides.waiting.glob("shard-*.json"))) / parts
        try:
            last = memory(process.pid)
        except (OSError, KeyError):  # it has just ended
            break
        while len(seen) < 4 and done >= (len(seen) + 1) / 4:
            seen.append(last)
        if stop_at < 1 and done >= stop_at:
            process.send_signal(signal.SIGKILL)
        time.sleep(0.05)
    code = process.wait()
    assert code == (0 if stop_at == 1 else -signal.SIGKILL), code
    return seen + [last] * (4 - len(seen)), len(sides.paths) / (time.perf_counter() - began)


def shards(folder: Path) -> dict[str, bytes]:
    """Return the content of a dataset's files, but for its manifest."""
    return {path.name: path.read_bytes() for path in sorted(folder.glob("shard-*.parquet"))}


def at_length(images: Path, folder: Path) -> bool:
    """Print the memory over a long preparation, and what killing it half-way changes."""
    whole, killed = (
        Sides(images, folder / name, "torchxrayvision", *SHORT_PARTS)
        for name in ("whole", "killed")
    )
    seen, speed = watch(whole)
    print(f"\n{len(whole.paths):,} images, process and all: {speed:,.0f} images/s")
    print("  MiB at   " + "".join(f"{quarter:7} %" for quarter in (25, 50, 75, 100)))
    print("  resident " + "".join(f"{resident:9,.0f}" for resident, _ in seen))
    print("  own      " + "".join(f"{own:9,.0f}" for _, own in seen))
    flat = max(own for _, own in seen) <= FLAT * seen[0][1]
    print(f"goal: flat, at most {FLAT} x that at 25 %: {'met' if flat else 'missed'}")
    watch(killed, stop_at=0.5)
    done = len(list(killed.waiting.glob("shard-*.json")))
    began = time.perf_counter()
    watch(killed)
    seconds = time.perf_counter() - began
    same = shards(killed.made) == shards(whole.made)
    print(
        f"killed with {done} of {len(shards(whole.made))} parts done, resumed in {seconds:.0f} s "
        f"of {len(whole.paths) / speed:.0f} s; shards are {'equal' if same else 'NOT EQUAL'}"
    )
    return flat and same


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--quick", action="store_true", help="few rounds: see that it runs")
    asked = parser.parse_args()
    rounds, patients, count = (1, 150, 4000) if asked.quick else (asked.rounds, 900, 20_000)
    with tempfile.TemporaryDirectory(prefix="prepare-") as place:
        folder = Path(place)
        os.environ["SYNTHTRIAL_CACHE"] = str(folder / "cache")
        write_chexpert(folder / "images", MadeFolder(patients=patients))
        load_now = os.getloadavg()[0]
        print(
            f"medians of {rounds} rounds on {CORES} cores; load {load_now:.1f}; x: share of bound"
        )
        heads = ("images", "images/s", "x wall", "ms cpu", "x cpu")
        print(
            f"{'':29}{heads[0]:>8}{heads[1]:>10}{heads[2]:>9}{heads[3]:>10}{heads[4]:>9}"
            f"{'foreign':>9}"
        )
        shares = [
            compare(folder / "images", folder / name, name, rounds)
            for name in ("torchxrayvision", "antialias")
        ]
        verdict = "met" if min(shares) >= GOAL else "missed"
        print(f"goal: at least {GOAL} of the bound's images/s: {min(shares):.2f}, {verdict}")
        write_chexpert(folder / "few", MadeFolder(patients=DISTINCT, seed=1))
        many_names(folder / "few", folder / "many", count)
        at_length(folder / "many", folder)


if __name__ == "__main__":
    main()
