"""What :mod:`records` measures, each a process of its own.

    python records_sides.py SIDE FOLDER [NUMBER]

Prints one line of JSON: seconds, memory, and what was found. ``FOLDER`` holds the store and, once
``write`` has run, ``planned.parquet``: which trials the study has, as a report takes it from the
plan.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import scipy.optimize
import scipy.special  # noqa: F401 - what is timed would import it
from machine import Foreign

from synthtrial.plan import build
from synthtrial.report import tables
from synthtrial.report.description import describe
from synthtrial.report.facts import Facts
from synthtrial.report.inference import differences_table
from synthtrial.report.outcomes import read_outcomes
from synthtrial.report.planned import planned_trials
from synthtrial.report.sources import gather
from synthtrial.store.artifacts import draft, open_store
from synthtrial.store.records import compact, read_records
from synthtrial.store.records_schema import to_table
from synthtrial.store.segments import list_segments, segment_folder, write_segment
from synthtrial.study import Study, load

CELLS, POINTS = 20, 18  # 5 arms x 4 regimens; configurations of the grid
DRAWS = 100  # with a generator at each regimen; each has some 450 replicates
OTHER = 0.06  # rows of another study, whose metrics and classes differ
AGAIN = 0.04  # rows that a later attempt supersedes, or repeats
DIVERGED = 0.01
CLASSES = [str(digit) for digit in range(10)]
FINDINGS = [f"finding {number:02d}" for number in range(14)]
EPOCHS = 5
KEYS = ["regimen", "arm", "scope", "class_name"]


def study_of(folder: Path, records: int) -> Study:
    """Return a study of so many trials that with the other rows they make ``records``."""
    trials = round(records * (1 - OTHER - AGAIN))
    replicates = max(1, round(trials / CELLS) - POINTS)
    overrides = [f"protocol.replicates={replicates}", f"protocol.draws={DRAWS}"]
    return load("digits", [*overrides, f"store.path={folder / 'store'}"])


def write(folder: Path, number: str) -> dict[str, Any]:
    """Write the records as many sealed segments, ``planned.parquet``, and what a run leaves."""
    records, rows = (int(part) for part in number.split(","))
    study, store = study_of(folder, records), open_store(folder / "store")
    for select in build(study, None).selections.values():
        with draft(store, "selection", select, inputs={}) as made:
            made.info.update(configuration=dict(study.configurations[0]))
    planned = planned_trials(build(study, store), store)
    planned["status"] = "settled"
    planned.to_parquet(folder / "planned.parquet")
    random = np.random.default_rng(0)
    again = random.choice(len(planned), round(AGAIN * records), replace=False)
    order = np.concatenate([np.arange(len(planned)), again])
    attempts = np.repeat([1, 0], [len(planned), len(again)])
    foreign = records - len(order)
    order = np.concatenate([order, np.full(foreign, -1)])
    attempts = np.concatenate([attempts, np.zeros(foreign, dtype=int)])
    shuffled = random.permutation(records)
    parts = np.array_split(shuffled, max(1, round(records / rows)))
    jobs = [
        (folder, place, planned.iloc[np.maximum(order[part], 0)], order[part], attempts[part])
        for place, part in enumerate(parts)
    ]
    context = get_context("forkserver")
    with ProcessPoolExecutor(len(os.sched_getaffinity(0)), mp_context=context) as pool:
        list(pool.map(write_part, jobs, chunksize=1))
    return {"trials": len(planned), **files(folder)}


def write_part(job: tuple[Path, int, pd.DataFrame, Sequence[int], Sequence[int]]) -> None:
    """Write one segment."""
    folder, place, trials, order, attempts = job
    random = np.random.default_rng([1, place])
    rows = [
        record(row, int(number), int(attempt), random) if number >= 0 else foreign(random)
        for row, number, attempt in zip(trials.to_dict("records"), order, attempts, strict=True)
    ]
    write_segment(open_store(folder / "store"), f"{place:032x}", to_table(rows))


def record(
    trial: dict[str, Any], number: int, attempt: int, random: np.random.Generator
) -> dict[str, Any]:
    """Return a row of the study; an attempt 0 is one that failed, or that is superseded by none."""
    level = 0.5 + 0.3 * trial["regimen"] + 0.02 * len(trial["arm"]) / 10
    status = "diverged" if number % round(1 / DIVERGED) == 0 else "done"
    if attempt == 0:
        status = "failed" if number % 2 else status
    row = place_of(trial["trial_id"], status, attempt, random) | {
        "study": "digits",
        **{name: trial[name] for name in ("stage", "arm", "configuration")},
        "regimen": trial["regimen"],
        "draw": trial["draw"],
        "replicate": trial["replicate"],
        "message": "CUDA out of memory" if status == "failed" else None,
    }
    if status == "done":
        row["validation"] = scores(level, CLASSES, random)
        row["test"] = scores(level, CLASSES, random) if trial["stage"] == "replicate" else None
    return row


def scores(level: float, classes: list[str], random: np.random.Generator) -> dict[str, Any]:
    """Return metrics: recall and AUC of each class, and accuracy."""
    recall, auc = (level + random.normal(0, 0.02, (2, len(classes)))).round(6)
    return {
        "accuracy": float(recall.mean()),
        "recall": dict(zip(classes, recall.tolist(), strict=True)),
        "auc": dict(zip(classes, auc.tolist(), strict=True)),
    }


def foreign(random: np.random.Generator) -> dict[str, Any]:
    """Return a row of another study."""
    row = place_of(random.bytes(10).hex(), "done", 0, random)
    test = {"auc": scores(0.7, FINDINGS, random)["auc"], "neg_log_loss": -0.3}
    return row | {"study": "radiographs", "stage": "replicate", "test": test, "validation": test}


def place_of(
    trial_id: str, status: str, attempt: int, random: np.random.Generator
) -> dict[str, Any]:
    """Return what the rows of all studies have."""
    loss = random.normal(1, 0.1, (3, EPOCHS)).round(6).tolist()
    minute = int(random.integers(60))
    return {
        "trial_id": trial_id,
        "kind": "trial",
        "status": status,
        "attempt": attempt,
        "steps": 100,
        "epochs": EPOCHS,
        "best_epoch": EPOCHS,
        "n_real": 500,
        "n_added": 0,
        "parameters": 1000,
        "curves": {
            "epoch": list(range(1, EPOCHS + 1)),
            "train_loss": loss[0],
            "validation_loss": loss[1],
            "validation_score": loss[2],
        },
        "seconds": float(random.normal(30, 1)),
        "host": f"node{random.integers(64):03d}",
        "device": "NVIDIA H100 80GB HBM3",
        "threads": 1,
        "code_digest": "0" * 20,
        "stamps": ["GROUPS UNKNOWN"],
        "engine": "slurm",
        "started_at": f"2026-01-01T00:{minute:02d}:{random.integers(60):02d}+00:00",
    }


def files(folder: Path) -> dict[str, Any]:
    """Return how many files the segments are, and their size."""
    paths = list(segment_folder(open_store(folder / "store")).iterdir())
    return {"files": len(paths), "megabytes": sum(path.stat().st_size for path in paths) / 1e6}


def compacted(folder: Path, _: str) -> dict[str, Any]:
    """Compact the store, and delete what that supersedes as if an hour had passed."""
    store = open_store(folder / "store")
    clock = Clock()
    compact(store, force=True)
    found = clock.took()
    for path, _by in list_segments(store).superseded:
        path.unlink()
    return found | files(folder)


class Clock:
    """What this process has taken since this was made."""

    def __init__(self) -> None:
        self._foreign, self._busy = Foreign(), time.process_time()
        self._began = time.perf_counter()

    def seconds(self) -> float:
        """Return the seconds of wall time."""
        return time.perf_counter() - self._began

    def took(self) -> dict[str, float]:
        """Return wall and processor seconds, the most GB held, and cores that others took."""
        return {
            "seconds": self.seconds(),
            "processor": time.process_time() - self._busy,
            "memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9,
            "others": self._foreign.cores(),
        }


def deduplicated(folder: Path, _: str) -> dict[str, Any]:
    """Read all columns of the records, one row a trial."""
    clock = Clock()
    read_records(open_store(folder / "store"))
    return clock.took()


def tabled(folder: Path, number: str) -> dict[str, Any]:
    """Read the records, deduplicate them, and make the tables of means and differences."""
    study, store = study_of(folder, int(number)), open_store(folder / "store")
    design, planned = describe(study), pd.read_parquet(folder / "planned.parquet")
    planned = planned.astype({"planned_epochs": "float64"})
    steps, clock = {}, Clock()
    found = read_outcomes(store, planned, design, {})  # costs are no part of these tables
    steps["read, deduplicated, joined"] = clock.seconds()
    facts = Facts(design, found.trials, found.class_scores, **found.others)
    groups = tables.grouped_results(facts)
    steps["grouped"] = clock.seconds()
    means = tables.results_table(facts, groups)
    steps["means"] = clock.seconds()
    differences = differences_table(facts, groups)
    steps["differences"] = clock.seconds()
    taken = clock.took()
    return {
        **taken,
        "steps": steps,
        "values": int(means.n.sum()),
        "means": means[[*KEYS, "mean", "n", "pooled_sd"]].to_dict("list"),
        "differences": differences[[*KEYS, "difference"]].to_dict("list"),
    }


def queried(folder: Path, _: str) -> dict[str, Any]:
    """Make the same means, spreads and differences by SQL."""
    import duckdb

    database = duckdb.connect(config={"threads": len(os.sched_getaffinity(0))})
    segments = segment_folder(open_store(folder / "store"))
    targets = [("overall", "", "test.accuracy"), ("minority", "", _MINORITY)]
    targets += [("class", name, f'test.recall."{name}"') for name in CLASSES]
    names = [f"t{place}" for place in range(len(targets))]
    scores = ", ".join(
        f"{score} AS {name}" for name, (_scope, _class, score) in zip(names, targets, strict=True)
    )
    means = ", ".join(f"avg({t}) AS {t}, count({t}) AS n_{t}" for t in names)
    moments = ", ".join(
        f"avg({t}) AS {t}, count({t}) AS b_{t}, sum(n_{t}) AS n_{t}, var_pop({t}) AS v_{t}"
        for t in names
    )
    clock = Clock()
    database.execute(_ONE_EACH.format(path=f"{segments}/*.parquet", scores=scores))
    database.execute(_COMPLETE)
    blocks = f"SELECT regimen, arm, draw, {means} FROM reported GROUP BY ALL"
    database.execute(f"CREATE TEMP TABLE draws AS {blocks}")
    cells = database.sql(f"SELECT regimen, arm, {moments} FROM draws GROUP BY ALL").df()
    draws = database.sql("SELECT * FROM draws").df()
    found, apart = [], []
    for t, (scope, class_name, _score) in zip(names, targets, strict=True):
        place = {"scope": scope, "class_name": class_name}
        held = cells[f"b_{t}"]
        pooled = (cells[f"v_{t}"] * held).groupby(cells.regimen).sum()
        pooled = np.sqrt(pooled / (held - 1).groupby(cells.regimen).sum())
        mine = cells[["regimen", "arm"]].assign(**place, mean=cells[t], n=cells[f"n_{t}"])
        found.append(mine.assign(pooled_sd=cells.regimen.map(pooled)))
        wide = draws.pivot_table(index=["regimen", "draw"], columns="arm", values=t)
        gain = wide.sub(wide["none"], axis=0).drop(columns="none").groupby("regimen").mean()
        gain = gain.stack().rename("difference").reset_index()
        apart.append(gain.assign(**place))
    taken = clock.took()
    return {
        **taken,
        "means": pd.concat(found).to_dict("list"),
        "differences": pd.concat(apart).to_dict("list"),
    }


_MINORITY = """(test.recall."8" + test.recall."9") / 2"""
_ONE_EACH = """
CREATE TEMP TABLE trials AS
SELECT regimen, arm, draw, replicate, status, {scores} FROM read_parquet('{path}')
WHERE study = 'digits' AND stage = 'replicate'
QUALIFY row_number() OVER (PARTITION BY trial_id ORDER BY
    list_position(['done', 'diverged', 'stopped', 'failed'], status), attempt, started_at) = 1
"""
_COMPLETE = """
CREATE TEMP VIEW reported AS
SELECT trials.* FROM trials JOIN (
    SELECT regimen, replicate FROM trials WHERE status <> 'stopped'
    GROUP BY ALL HAVING count(DISTINCT arm) = 5
) USING (regimen, replicate) WHERE status = 'done'
"""


def reported(folder: Path, number: str) -> dict[str, Any]:
    """Do all that a report does before it draws: plan, facts, tables."""
    study, store = study_of(folder, int(number)), open_store(folder / "store")
    steps, clock = {}, Clock()
    plan = build(study, store)
    steps["plan"] = clock.seconds()
    facts = gather(study, store, plan)
    steps["facts"] = clock.seconds()
    groups = tables.grouped_results(facts)
    tables.results_table(facts, groups)
    differences_table(facts, groups)
    steps["tables"] = clock.seconds()
    return clock.took() | {"steps": steps}


SIDES = {
    "write": write,
    "compact": compacted,
    "read": deduplicated,
    "tables": tabled,
    "duckdb": queried,
    "report": reported,
}

if __name__ == "__main__":
    done = SIDES[sys.argv[1]](Path(sys.argv[2]), *(sys.argv[3:] or [""]))
    print(json.dumps(done))
