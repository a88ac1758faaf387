"""A million trial records: how many files, how fast they become tables, and beside DuckDB.

    python benchmarks/records.py                     # about 8 minutes, most of it writing
    python benchmarks/records.py --records 50000     # about a minute: see that it runs

The records are those of the study ``digits`` with so many replicates (five arms, four regimens; a
recall and an AUC of each of ten classes on validation and test, curves of five epochs), 4 % tried
again, 1 % diverged, and 6 % of another study with other classes and metrics. They are written as
sealed segments, in no order, and compacted. Then, each in a fresh process:

tables: the records are read, deduplicated, joined with the trials that the study has, and
    aggregated to the report's tables: mean and pooled interval of every cell and target, and the
    differences from the baseline, blocked by draw
DuckDB: the same means, spreads and differences by SQL over the same file, on as many threads; the
    numbers must agree
report: all that a report does before it draws, which begins with the plan: a million ids
read: all columns of all records

Import of libraries is not counted. *Once* is the first run of each side; then two sides take turns.
*Processor* is what both cores together worked in the fastest run. The last column says how many
cores other work on the machine took meanwhile: where that is not near 0, believe the processor
time, not the wall's.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

SECONDS_GOAL, GIGABYTES_GOAL = 3.0, 4.0
KEYS = ["regimen", "arm", "scope", "class_name"]
Found = dict[str, Any]


def main() -> None:
    """Write the records, measure all sides and print what they took."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--records", type=int, default=1_000_000)
    parser.add_argument("--segment", type=int, default=5000, help="rows of a sealed segment")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder", type=Path, help="keep the store here, or take it from here")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="records-") as made:
        folder = asked.folder or Path(made)
        folder.mkdir(parents=True, exist_ok=True)
        if not (folder / "planned.parquet").exists():
            written = run("write", folder, f"{asked.records},{asked.segment}")
            print(
                f"{asked.records:,} records in {written['files']} files, "
                f"{written['megabytes']:.0f} MB"
            )
            small = run("compact", folder)
            print(
                f"compacted to {small['files']} file, {small['megabytes']:.0f} MB: "
                f"{small['seconds']:.1f} s, {small['memory']:.2f} GB"
            )
        measure(folder, str(asked.records), asked.rounds)


def run(side: str, folder: Path, number: str = "") -> Found:
    """Run one side in a process of its own."""
    program = Path(__file__).with_name("records_sides.py")
    done = subprocess.run(
        [sys.executable, str(program), side, str(folder), number],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        sys.exit(f"{side} failed:\n{done.stderr}")
    found: Found = json.loads(done.stdout.splitlines()[-1])
    return found


def measure(folder: Path, number: str, rounds: int) -> None:
    """Let the sides take turns, compare their numbers and print what they took."""
    runs: dict[str, list[Found]] = {side: [] for side in ("tables", "duckdb", "report", "read")}
    for side in runs:
        runs[side].append(run(side, folder, number))
    agree(runs["tables"][0], runs["duckdb"][0])
    for _ in range(rounds - 1):
        for side in ("tables", "duckdb"):
            runs[side].append(run(side, folder, number))
    cores = len(os.sched_getaffinity(0))
    print(f"\n{cores} cores    once   median  fastest  processor  memory  others' cores")
    for side, found in runs.items():
        seconds = [one["seconds"] for one in found]
        print(
            f"{side:7} {seconds[0]:6.2f} s {statistics.median(seconds):6.2f} s "
            f"{min(seconds):6.2f} s "
            f"{min(one['processor'] for one in found):8.2f} s "
            f"{max(one['memory'] for one in found):5.2f} GB "
            f"{statistics.median(one['others'] for one in found):14.2f}"
        )
    for side in ("tables", "report"):
        steps = min(runs[side], key=lambda one: one["seconds"])["steps"]
        took = np.diff([0.0, *steps.values()])
        parts = (f"{name} {seconds:.2f} s" for name, seconds in zip(steps, took, strict=True))
        print(f"{side}, fastest: {', '.join(parts)}")
    typical = statistics.median(one["seconds"] for one in runs["tables"])
    ratio = statistics.median(
        ours["seconds"] / theirs["seconds"]
        for ours, theirs in zip(runs["tables"], runs["duckdb"], strict=True)
    )
    print(f"ratio tables / DuckDB: {ratio:.2f}")
    memory = max(one["memory"] for one in runs["tables"])
    goal = f"goals {SECONDS_GOAL:g} s and {GIGABYTES_GOAL:g} GB"
    print(f"{goal}: {'met' if typical <= SECONDS_GOAL and memory <= GIGABYTES_GOAL else 'MISSED'}")


def agree(ours: Found, theirs: Found) -> None:
    """End the program where the two have other numbers."""
    for table, columns in (("means", ["mean", "n", "pooled_sd"]), ("differences", ["difference"])):
        frames = [pd.DataFrame(side[table]).set_index(KEYS).sort_index() for side in (ours, theirs)]
        if not frames[0].index.equals(frames[1].index):
            sys.exit(f"{table}: {len(frames[0])} rows, by DuckDB {len(frames[1])}, or other ones")
        for name in columns:
            np.testing.assert_allclose(frames[0][name], frames[1][name], rtol=1e-9, atol=1e-12)
    print(f"{len(ours['means']['mean'])} means of {ours['values']:,} scores agree with DuckDB's")


if __name__ == "__main__":
    main()
