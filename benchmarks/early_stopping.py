"""What early stopping by ASHA costs and saves: the same study with and without it.

    python benchmarks/early_stopping.py                     # digits, about 8 minutes on two cores
    python benchmarks/early_stopping.py --rungs 1:2 2:3 --study my-study.yaml

The study is run with its full grid, then again with ``protocol.search=asha`` for each pair of
first rung and reduction factor, on the same splits and generators. For each pair it prints

epochs: trained in the grid, against all of it;
same: cells whose winner is that of the full grid;
difference: of the winners' test score, replicates' mean against mean, over all cells: mean, and the
worst cell; and how many cells differ by more than twice the standard error of that difference
(cells with the same winner do not differ at all: the same seeds give the same bits).

Which trials are stopped depends on the order in which they end, so two runs may differ.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from synthtrial.classify.metrics import score
from synthtrial.store.artifacts import open_store
from synthtrial.store.records import read_records
from synthtrial.study import load

Cell = tuple[str, float]


@dataclass
class Grid:
    """What one run found.

    Attributes:
        epochs: trained in the grid.
        stopped: trials of the grid that were stopped.
        winners: configuration of each cell.
        scores: of its replicates on the test set.
    """

    epochs: int = 0
    stopped: int = 0
    winners: dict[Cell, str] = field(default_factory=dict)
    scores: dict[Cell, list[float]] = field(default_factory=lambda: defaultdict(list))


def main() -> None:
    """Run the study as often as is asked for and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--study", default="digits")
    parser.add_argument("--rungs", nargs="+", default=["1:2", "1:3", "2:2", "2:3"])
    parser.add_argument("overrides", nargs="*", help="of the study")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="early-stopping-") as name:
        folder = Path(name)
        run(asked.study, folder / "grid", asked.overrides)
        whole = read(asked.study, folder / "grid" / "store")
        print("| rung:factor | stopped | epochs | same | difference: mean | worst | > 2 se |")
        print("|---|---|---|---|---|---|---|")
        for pair in asked.rungs:
            place = folder / pair.replace(":", "-")
            shutil.copytree(folder / "grid", place)
            for kind in ("records", "selection"):  # splits, generators and images stay
                shutil.rmtree(place / "store" / kind)
            first, factor = pair.split(":")
            asha = ["protocol.search=asha", f"protocol.asha.grace_epochs={first}"]
            asha.append(f"protocol.asha.reduction_factor={factor}")
            run(asked.study, place, [*asked.overrides, *asha])
            print(compared(pair, whole, read(asked.study, place / "store")), flush=True)


def run(study: str, place: Path, overrides: Sequence[str]) -> None:
    """Run a study by the engine ray, in a store of its own."""
    where = [f"store.path={place / 'store'}", f"store.report_path={place / 'reports'}"]
    command = [sys.executable, "-m", "synthtrial", "run", study, "--engine", "ray"]
    subprocess.run([*command, *overrides, *where], check=True, stdout=sys.stderr)


def read(study: str, root: Path) -> Grid:
    """Read what a run found."""
    found = Grid()
    records = read_records(open_store(root, create=False))
    metric = load(study).settings.statistics.overall
    columns = ["stage", "status", "arm", "regimen", "configuration", "epochs", "test"]
    for row in records.select(columns).to_pylist():
        cell = (row["arm"], row["regimen"])
        if row["stage"] == "grid":
            found.epochs += row["epochs"] or 0
            found.stopped += row["status"] == "stopped"
        elif row["status"] == "done":
            found.winners[cell] = row["configuration"]
            value = score(row["test"], metric)
            if value is not None:
                found.scores[cell].append(value)
    return found


def compared(pair: str, whole: Grid, stopped: Grid) -> str:
    """Return a row of the table."""
    differences, errors = [], []
    for cell, scores in whole.scores.items():
        other = stopped.scores[cell]
        differences.append(np.mean(other) - np.mean(scores))
        variances = np.var(scores, ddof=1) / len(scores) + np.var(other, ddof=1) / len(other)
        errors.append(np.sqrt(variances))
    far = sum(abs(d) > 2 * e for d, e in zip(differences, errors, strict=True))
    same = sum(whole.winners[cell] == winner for cell, winner in stopped.winners.items())
    return (
        f"| {pair} | {stopped.stopped} | {stopped.epochs:,} of {whole.epochs:,} "
        f"({stopped.epochs / whole.epochs:.0%}) | {same} of {len(whole.winners)} | "
        f"{np.mean(differences):+.4f} | {min(differences):+.4f} | {far} |"
    )


if __name__ == "__main__":
    main()
