"""What synthtrial adds to the bare training loops of a grid, beside other ways to run one.

    python benchmarks/grid_overhead.py                        # all cores, about 6 minutes on two
    python benchmarks/grid_overhead.py --trials 18 --rounds 1 --no-ray

One run compares, on the same trials (rows, network, optimiser, epochs, validation):

(a) the bare loops, one after another in one process
(a*) the same on every core at once: what the machine itself loses when all cores are busy (the
    trainings' own time, without waiting for the last core)
(b) a fresh process for each trial
(c) Ray Tune with its defaults
(d) Ray Tune with ``reuse_actors=True``
    synthtrial: the grid stage of a study by the local engine, records, fsync and display included
    synthtrial by the engine ray: the same on a private cluster, by Tune; like those of (c) and (d),
    it has no dashboard

*Per core* is wall time x workers / trials. What is paid once, before the first trial and after the
last (imports, Ray's cluster and its processes, the fork server, the end of all these), stands in a
column of its own; what is paid for every trial, as in (b) and (c), does not. A busy machine is no
place to measure wall time: the sides take turns, each is compared with the runs of (a) right before
and after it, medians are shown, and processor time stands beside wall time. The last column says
how many cores other work on the machine took meanwhile: where that is not near 0, believe the
processor time. Times are sampled from ``/proc``: Linux only.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from machine import busy_seconds, descendants

from synthtrial.driver import keep_snapshot
from synthtrial.engines.base import attempt
from synthtrial.engines.local import available_processors
from synthtrial.plan import build
from synthtrial.store.artifacts import open_store
from synthtrial.study import load
from synthtrial.tasks import Task
from synthtrial.work import Context

STUDY = """
name: grid
dataset: {name: digits}
imbalance: {classes: [8, 9], remove: 0.85}
arms: {none: {}}
classifier: {name: small_cnn}
training: {epochs: 10}
grid:
  learning_rate: [1.0e-2, 5.0e-3, 1.0e-3]
  batch_size: [16, 32, 64]
  optimizer: [momentum, adam]
protocol: {kind: full_grid, draws: 1}
metrics: [accuracy, recall]
statistics: {baseline: none, minority: [8, 9]}
"""
GRID = 18
TITLES = {
    "bare": "(a) bare loops, one process",
    "bare_on_every_core": "(a*) bare loops, every core",
    "fresh": "(b) fresh process a trial",
    "tune": "(c) Ray Tune, defaults",
    "tune_reused": "(d) Ray Tune, reused actors",
    "synthtrial": "synthtrial, local engine",
    "synthtrial_ray": "synthtrial, engine ray",
}
PAID_PER_TRIAL = ("fresh", "tune")  # so slow that a part of the trials must do
ON_RAY = ("tune", "tune_reused", "synthtrial_ray")
RATIO_GOAL = 1.15  # of the local engine
OWN_GOALS_MS = {"synthtrial": 10.0, "synthtrial_ray": 50.0}
SAMPLE_SECONDS = 0.5


@dataclass(frozen=True)
class Measured:
    """One run of one side; seconds, of processors where so named."""

    side: str
    numbers: tuple[int, ...]
    once: float
    wall: float
    driver_cpu: float
    other_cpu: float
    foreign: float
    each: dict[int, float]
    accuracy: float


@dataclass(frozen=True)
class Row:
    """A side's run beside the bare loops; times per trial in milliseconds."""

    measured: Measured
    per_core: float
    bare: float
    bare_cpu: float

    @property
    def driver_cpu(self) -> float:
        """Processor time of the process that runs the others."""
        return 1e3 * self.measured.driver_cpu / len(self.measured.numbers)

    @property
    def other_cpu(self) -> float:
        """Processor time of all processes below it."""
        return 1e3 * self.measured.other_cpu / len(self.measured.numbers)


def main() -> None:
    """Measure all sides and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--trials", type=int, default=108, help=f"rounded up to {GRID}s")
    parser.add_argument("--regimen", type=float, default=0.25, help="share of the training rows")
    parser.add_argument("--workers", type=int, default=available_processors())
    parser.add_argument("--subset", type=int, default=4, help="trials of (b) and (c)")
    parser.add_argument("--rounds", type=int, default=2, help="of (a), (d) and both engines")
    parser.add_argument("--no-ray", action="store_true", help="leave out all on Ray")
    asked = parser.parse_args()
    # Ray's sockets need a short path.
    with tempfile.TemporaryDirectory(prefix="grid-", dir="/tmp", ignore_cleanup_errors=True) as tmp:
        spec = prepare(Path(tmp), asked)
        everything = range(len(spec["trials"]))
        step = max(1, len(everything) // asked.subset)
        subset = everything[step // 2 :: step][: asked.subset]
        in_turn = ["synthtrial", "tune_reused", "bare", "synthtrial_ray", "bare"] * asked.rounds
        schedule = ["fresh", "tune", "bare_on_every_core", "bare", *in_turn]
        if asked.no_ray:
            schedule = [side for side in schedule if side not in ON_RAY]
        runs = []
        for side in schedule:
            numbers = subset if side in PAID_PER_TRIAL else everything
            runs.append(measure(side, spec, tuple(numbers)))
            print(f"{TITLES[side]}: {runs[-1].wall:.1f} s, foreign {runs[-1].foreign:.2f}")
        show(runs, asked)


def prepare(folder: Path, asked: argparse.Namespace) -> dict[str, Any]:
    """Make the store with dataset and split, and the same rows as plain arrays."""
    (folder / "study.yaml").write_text(STUDY)
    overrides = [
        f"regimens=[{asked.regimen}]",
        f"protocol.replicates={math.ceil(asked.trials / GRID)}",
        f"engine.workers={asked.workers}",
        "engine.device=cpu",
        f"store.cache_path={folder / 'cache'}",
        f"store.path={folder / 'prepared'}",
    ]
    study = load(folder / "study.yaml", overrides)
    store = open_store(folder / "prepared")
    keep_snapshot(study, store)
    tasks = build(study, store).tasks.values()
    with Context(store, engine="none", device="cpu") as context:
        for task in tasks:
            if task.kind in ("prepare", "split"):
                outcome = attempt(store, task, context)
                assert outcome.state == "done", outcome.message
        grid = [task for task in tasks if task.trial and task.trial.stage == "grid"]
        payload = grid[0].payload
        place = (payload["dataset"], payload["split"], asked.regimen)
        images = context.images("dataset", payload["dataset"], study)
        np.savez(
            folder / "rows.npz",
            images_NCHW=images.images_NCHW,
            labels_N=images.labels.labels_NK.argmax(1),
            validation=context.held_out("validation", *place, study),
            train=context.rows(*place, study),
        )
    return {
        "folder": str(folder),
        "arrays": str(folder / "rows.npz"),
        "study": str(folder / "study.yaml"),
        "overrides": overrides,
        "trials": [describe(task) for task in grid],
        "epochs": study.settings.training.epochs,
        "workers": asked.workers,
    }


def describe(task: Task) -> dict[str, Any]:
    """Return what the bare loop needs to know of a trial."""
    assert task.trial is not None
    return {"replicate": task.trial.replicate, **task.trial.configuration}


def measure(side: str, spec: dict[str, Any], numbers: Sequence[int]) -> Measured:
    """Run one side in a process of its own, with a fresh store."""
    folder = Path(spec["folder"])
    store = folder / "store"
    shutil.rmtree(store, ignore_errors=True)
    shutil.copytree(folder / "prepared", store)
    given, result = folder / "spec.json", folder / "result.json"
    overrides = [*spec["overrides"], f"store.path={store}"]
    given.write_text(json.dumps({**spec, "numbers": list(numbers), "overrides": overrides}))
    command = [sys.executable, str(Path(__file__).with_name("grid_sides.py")), side]
    launched = time.monotonic()
    with (folder / f"{side}.log").open("w") as log:
        process = subprocess.Popen(
            [*command, str(given), str(result)],
            stdout=log,
            stderr=subprocess.STDOUT,
            env={**os.environ, "OMP_NUM_THREADS": "1", "RAY_USAGE_STATS_ENABLED": "0"},
        )
        samples = sample(process)
        exited = time.monotonic()
    if process.returncode:
        sys.exit(f"{TITLES[side]} failed:\n{(folder / f'{side}.log').read_text()[-4000:]}")
    found = json.loads(result.read_text())
    records, over = found["records"], found["over"]
    assert len(records) == len(numbers)
    began = min(record.get("ready", record["began"]) for record in records)
    if side == "tune_reused":  # its actors start once, and import torch once
        began = min(record["began"] for record in records)
    times, *columns = np.array(samples).T
    driver_cpu, other_cpu, busy = (
        float(np.interp(over, times, values) - np.interp(began, times, values))
        for values in columns
    )
    foreign = max(0.0, busy - driver_cpu - other_cpu) / (over - began)
    each = {r["number"]: r["ended"] - r["began"] for r in records if "number" in r}
    once, wall = began - launched + exited - over, over - began
    if side == "bare_on_every_core":
        wall = sum(each.values()) / spec["workers"]
        other_cpu = sum(record["cpu"] for record in records)
    accuracy = statistics.mean(record["accuracy"] for record in records)
    times_of = (once, wall, driver_cpu, other_cpu, foreign)
    return Measured(side, tuple(numbers), *times_of, each, accuracy)


def sample(process: subprocess.Popen[bytes]) -> list[tuple[float, float, float, float]]:
    """Return (moment, processor seconds of the process, of its descendants, of all) to its end."""
    seen: dict[int, float] = {}
    samples = [(time.monotonic(), 0.0, 0.0, busy_seconds())]
    while process.poll() is None:
        found = descendants(process.pid)
        seen.update(found)
        own = seen.get(process.pid, 0.0)
        samples.append((time.monotonic(), own, sum(seen.values()) - own, busy_seconds()))
        time.sleep(SAMPLE_SECONDS)
    return samples


def compare(runs: Sequence[Measured], workers: int) -> dict[str, list[Row]]:
    """Set each run beside the runs of (a) right before and after it, on the same trials."""
    rows: dict[str, list[Row]] = {}
    bare_at = [place for place, run in enumerate(runs) if run.side == "bare"]
    for place, run in enumerate(runs):
        before = [at for at in bare_at if at <= place][-1:]
        after = [at for at in bare_at if at >= place][:1]
        beside = [runs[at] for at in {*before, *after}]
        bare = statistics.mean(statistics.mean(b.each[n] for n in run.numbers) for b in beside)
        cpu = statistics.mean(b.driver_cpu / sum(b.each.values()) for b in beside)
        cores = 1 if run.side == "bare" else workers
        per_core = 1e3 * run.wall * cores / len(run.numbers)
        rows.setdefault(run.side, []).append(Row(run, per_core, 1e3 * bare, 1e3 * bare * cpu))
    return rows


def show(runs: Sequence[Measured], asked: argparse.Namespace) -> None:
    """Print the table, and whether the goals are met."""
    rows = compare(runs, asked.workers)
    count = max(len(run.numbers) for run in runs)
    print(
        f"\n{count} trials of 10 epochs on {asked.regimen:.0%} of the digits' training rows, "
        f"{asked.workers} workers; load {os.getloadavg()[0]:.1f}; medians of {asked.rounds} rounds"
    )
    heads = (
        "once",
        "wall",
        "a trial",
        "x (a)",
        "over (a)",
        "driver",
        "others",
        "x (a)",
        "foreign",
    )
    units = ("s", "s", "ms", "per core", "ms", "ms cpu", "ms cpu", "cpu", "cores")
    print(f"{'':29}" + "".join(f"{head:>10}" for head in heads))
    print(f"{'':29}" + "".join(f"{unit:>10}" for unit in units))
    found: dict[str, tuple[float, float]] = {}
    for side, title in TITLES.items():
        if side not in rows:
            continue

        def middle(value: Any, side: str = side) -> float:
            return float(statistics.median(value(row) for row in rows[side]))

        own = middle(lambda row: row.per_core - row.bare)
        ratio = middle(lambda row: row.per_core / row.bare)
        found[side] = ratio, own
        wall = middle(lambda row: row.measured.wall)
        trials = len(rows[side][0].measured.numbers)
        mark = " "
        if trials < count:  # what (a) takes for all, and what this side adds to each
            mark = "~"
            all_bare = middle(lambda row: row.bare) * count
            whole = statistics.median(1e3 * sum(r.measured.each.values()) for r in rows["bare"])
            wall = (max(whole, all_bare) + own * count) / 1e3 / asked.workers
        cells = (
            f"{middle(lambda row: row.measured.once):10.1f}{wall:9.1f}{mark}",
            f"{1e3 * wall / count:10.1f}{ratio:10.2f}{own:10.1f}",
            f"{middle(lambda row: row.driver_cpu):10.1f}",
            f"{middle(lambda row: row.other_cpu):10.1f}",
            f"{middle(lambda row: (row.driver_cpu + row.other_cpu) / row.bare_cpu):10.2f}",
            f"{middle(lambda row: row.measured.foreign):10.2f}",
        )
        print(f"{title:29}" + "".join(cells))
    if any(side in rows for side in PAID_PER_TRIAL):
        print(f"~ extrapolated from {asked.subset} of the trials, by what each adds to (a)'s time")
    ratio, _ = found["synthtrial"]
    verdict = "met" if ratio <= RATIO_GOAL else "missed"
    local = TITLES["synthtrial"]
    print(f"goal of {local}: at most {RATIO_GOAL} x (a) per core: {ratio:.2f}, {verdict}")
    for side, goal in OWN_GOALS_MS.items():
        if side in found:
            _, own = found[side]
            verdict = "met" if own <= goal else "missed"
            text = f"at most {goal:g} ms a trial of our own, beside what is paid once: {own:.1f} ms"
            print(f"goal of {TITLES[side]}: {text}, {verdict}")
    crowd = statistics.median(row.per_core for row in rows["bare_on_every_core"])
    ours = statistics.median(row.per_core for row in rows["synthtrial"])
    print(
        f"beside the bare loops on every core at once (a*): {ours / crowd:.2f} x, "
        f"{ours - crowd:.1f} ms a trial"
    )
    for side in ("bare", *OWN_GOALS_MS):
        if side not in rows:
            continue
        accuracy = statistics.mean(row.measured.accuracy for row in rows[side])
        print(f"mean best validation accuracy, {TITLES[side]}: {accuracy:.4f}")


if __name__ == "__main__":
    main()
