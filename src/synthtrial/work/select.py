"""Choose the configuration of a cell among its finished grid trials."""

from __future__ import annotations

import json
from collections import defaultdict
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from synthtrial.classify.metrics import score
from synthtrial.errors import TrainingError
from synthtrial.store.artifacts import draft
from synthtrial.store.files import write_file
from synthtrial.store.records import read_records
from synthtrial.tasks import Task, metric_name
from synthtrial.work.context import Context


def select(task: Task, context: Context) -> None:
    """Commit the winner: the best mean validation score over the replicates that each trial had.

    Configurations with a trial that diverged or failed rank behind all others. Equal scores go to
    the configuration that comes first in canonical order, so that the choice does not depend on
    the order in which trials ended.

    Raises:
        TrainingError: no trial of the cell has a defined score.
    """
    metric, wanted = metric_name(task.payload["select_by"]), task.payload["trials"]
    table = read_records(context.store)
    mine = table.filter(pc.is_in(table["trial_id"], pa.array(wanted)))
    scores: dict[str, list[float]] = defaultdict(list)
    rows = mine.select(["trial_id", "status", "configuration", "validation"]).to_pylist()
    for row in sorted(rows, key=lambda row: wanted.index(row["trial_id"])):
        value = _score(row, metric)
        scores[row["configuration"]].append(-np.inf if value is None else value)
    ranking = sorted(
        ((float(np.mean(values)), configuration) for configuration, values in scores.items()),
        key=lambda pair: (-pair[0], pair[1]),
    )
    if not ranking or not np.isfinite(ranking[0][0]):
        raise TrainingError(
            f"{task.label}: none of its {len(wanted)} trials has a validation {metric}; all "
            "diverged, failed or had it undefined. Look at their messages with `synthtrial status`"
        )
    result = {
        "configuration": json.loads(ranking[0][1]),
        "score": ranking[0][0],
        "ranking": [
            {"configuration": json.loads(text), "score": value if np.isfinite(value) else None}
            for value, text in ranking
        ],
    }
    with draft(context.store, "selection", task.id, inputs={}) as made:
        write_file(made.path / "selection.json", json.dumps(result, indent=1).encode())
        made.info.update(
            configuration=result["configuration"],
            score=result["score"],
            select_by=metric,
            cell=task.payload["cell"],
            trials=len(wanted),
        )


def _score(row: dict[str, Any], metric: str) -> float | None:
    if row["status"] != "done" or not row["validation"]:
        return None
    return score({metric: row["validation"][metric]}, metric)
