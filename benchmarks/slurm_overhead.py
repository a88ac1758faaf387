"""What a trial costs beyond its training on SLURM: in packs, and one job a trial by submitit.

    python benchmarks/slurm_overhead.py             # on a private cluster; about 3 minutes
    python benchmarks/slurm_overhead.py --trials 18 --subset 6

The same trials (rows, network, optimiser, epochs, validation) run

(a*) as bare loops on as many processes as there are workers, without SLURM,
packs: as a study by the SLURM engine, in one job of as many workers,
submitit: one job a trial in one array, bare loops, as many at a time as there are workers.

*Per worker* is wall time x workers / trials, from the first trial's beginning to the last one's
end; what is beyond (a*) is overhead. The time from submission to the first trial is paid once by
packs and stands apart; submitit pays it for every trial. The private cluster has nodes of one
machine: a real one adds its own waiting to every job.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import grid_overhead
import grid_sides
from machine import Foreign

from synthtrial.engines import submissions as subs
from synthtrial.engines.local import available_processors
from synthtrial.progress import RunProgress
from synthtrial.store.artifacts import open_store

sys.path.insert(0, str(Path(__file__).parents[1] / "cluster" / "devslurm"))

Record = dict[str, Any]


def main() -> None:
    """Bring up a cluster, run the three sides and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--trials", type=int, default=108)
    parser.add_argument("--subset", type=int, default=12, help="trials by submitit")
    parser.add_argument("--regimen", type=float, default=0.25, help="share of the training rows")
    parser.add_argument("--workers", type=int, default=available_processors())
    parser.add_argument("--rounds", type=int, default=2, help="of (a*) and packs")
    asked = parser.parse_args()
    from devslurm import DevSlurm

    with (
        tempfile.TemporaryDirectory(prefix="slurm-bench-", ignore_cleanup_errors=True) as tmp,
        DevSlurm(f"{tmp}/cluster", cpus=max(4, asked.workers)) as cluster,
    ):
        os.environ |= cluster.environment
        spec = grid_overhead.prepare(Path(tmp), asked)
        bare, packed = [], []
        for number in range(asked.rounds):
            bare.append(timed(run_bare, spec, range(len(spec["trials"])), asked.workers, tmp))
            packed.append(timed(run_packs, spec, number, asked.workers, tmp))
        alone = timed(run_submitit, spec, range(asked.subset), asked.workers, tmp)
    show(bare, packed, alone)


def timed(side: Any, *arguments: Any) -> tuple[float, float, float]:
    """Return ms per trial and worker, seconds before the first trial, and cores taken by others."""
    foreign, submitted = Foreign(), time.time()
    workers = arguments[2]
    spans: Sequence[tuple[float, float]] = side(*arguments)
    first, last = min(began for began, _ in spans), max(ended for _, ended in spans)
    each = 1e3 * (last - first) * workers / len(spans)
    print(f"{side.__name__}: {each:.1f} ms per trial and worker", flush=True)
    return each, first - submitted, foreign.cores()


def run_bare(
    spec: Record, numbers: Sequence[int], workers: int, _tmp: str
) -> list[tuple[float, float]]:
    """(a*) as many processes as workers, without SLURM."""
    offset = time.time() - time.monotonic()
    part = {**spec, "numbers": list(numbers), "workers": workers}
    records = grid_sides.run_bare_on_every_core(part)
    return [(record["began"] + offset, record["ended"] + offset) for record in records]


def run_packs(spec: Record, number: int, workers: int, tmp: str) -> list[tuple[float, float]]:
    """The grid of a study through the queue."""
    import shutil

    from rich.console import Console

    from synthtrial.driver import run
    from synthtrial.study import load

    store = Path(tmp, f"store-{number}")
    shutil.copytree(Path(tmp, "prepared"), store)
    overrides = [
        *spec["overrides"],
        f"store.path={store}",
        "engine.site=devslurm",
        "engine.slurm.max_jobs=1",
        f"engine.slurm.cpus={workers}",
    ]
    study = load(spec["study"], overrides, "slurm")
    with Path(os.devnull).open("w") as nowhere, RunProgress(Console(file=nowhere)) as listener:
        run(study, open_store(store), listener, {"stage": "grid"})
    return spans_of(store, study.name)


def spans_of(store: Path, study: str) -> list[tuple[float, float]]:
    """Return when trials began and ended, by what their jobs wrote."""
    spans = []
    for submission in subs.read_submissions(open_store(store), study):
        for index, _ in enumerate(submission.packs):
            for path in subs.event_files(submission, index):
                began = {}
                for event in subs.read_events(path)[0]:
                    if event["event"] == "start":
                        began[event["task"]] = event["at"]
                    elif event["event"] == "outcome":
                        spans.append((began[event["task_id"]], event["at"]))
    return spans


def run_submitit(
    spec: Record, numbers: Sequence[int], workers: int, tmp: str
) -> list[tuple[float, float]]:
    """One job a trial."""
    import submitit

    executor = submitit.AutoExecutor(folder=f"{tmp}/submitit", cluster="slurm")
    executor.update_parameters(
        timeout_min=10,
        cpus_per_task=1,
        slurm_array_parallelism=workers,
        slurm_setup=[f"export PYTHONPATH={Path(__file__).parent}:{Path(__file__).parents[1]}/src"],
    )
    submitted = time.time()
    jobs = executor.map_array(grid_sides.train_bare, [spec] * len(numbers), list(numbers))
    for job in jobs:
        job.result()
    return [(submitted, time.time())] * len(jobs)


def show(
    bare: list[tuple[float, float, float]],
    packed: list[tuple[float, float, float]],
    alone: tuple[float, float, float],
) -> None:
    """Print the table as Markdown."""
    base = statistics.median(each for each, _, _ in bare)
    rows = {
        "(a*) bare loops": bare,
        "packs": packed,
        "submitit, one job a trial": [alone],
    }
    print(
        "| | per worker, ms | beyond the bare loops, ms | x | before the first, s | others, cores |"
    )
    print("|---|---|---|---|---|---|")
    for name, runs in rows.items():
        each, before, foreign = (statistics.median(values) for values in zip(*runs, strict=True))
        print(
            f"| {name} | {each:.1f} | {each - base:.1f} | {each / base:.2f} | {before:.1f} | "
            f"{foreign:.2f} |"
        )


if __name__ == "__main__":
    main()
