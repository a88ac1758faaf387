"""Choose the configuration of a cell among its grid trials that were trained to their end."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np

from synthtrial.classify.metrics import score
from synthtrial.errors import TrainingError
from synthtrial.store.artifacts import draft
from synthtrial.store.files import write_file
from synthtrial.store.records import read_records
from synthtrial.tasks import Task, metric_name
from synthtrial.work.context import Context


def select(task: Task, context: Context) -> None:
    """Commit the winner: the best mean validation score over the replicates that each trial had.

    The choice is among configurations whose trials were all trained to their end. One with a trial
    that diverged, failed or was stopped early ranks behind all others, without a score: what a
    stopped trial had reached is the best of fewer epochs, and says nothing beside the best of all.
    The ranking says how many trials of a configuration were stopped. Equal scores go to the
    configuration that comes first in canonical order, so that the choice does not depend on the
    order in which trials ended.

    Raises:
        TrainingError: no configuration of the cell has a defined score.
    """
    metric, wanted = metric_name(task.payload["select_by"]), task.payload["trials"]
    names = ["trial_id", "status", "configuration", f"validation.{metric}"]
    mine = read_records(context.store, columns=names, trial_ids=wanted)
    scores: dict[str, list[float]] = defaultdict(list)
    stopped: Counter[str] = Counter()
    place = {id_: number for number, id_ in enumerate(wanted)}
    for row in sorted(mine.to_pylist(), key=lambda row: place[row["trial_id"]]):
        value = _score(row, metric, task.payload.get("select_over"))
        scores[row["configuration"]].append(-np.inf if value is None else value)
        stopped[row["configuration"]] += row["status"] == "stopped"
    ranking = sorted(
        ((float(np.mean(values)), configuration) for configuration, values in scores.items()),
        key=lambda pair: (-pair[0], pair[1]),
    )
    if not ranking or not np.isfinite(ranking[0][0]):
        raise TrainingError(f"{task.label}: {_no_choice(metric, len(wanted), stopped.total())}")
    result = {
        "configuration": json.loads(ranking[0][1]),
        "score": ranking[0][0],
        "ranking": [
            {
                "configuration": json.loads(text),
                "score": value if np.isfinite(value) else None,
                **({"stopped": stopped[text]} if stopped[text] else {}),
            }
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


def _no_choice(metric: str, trials: int, stopped: int) -> str:
    """Say why no configuration can be chosen, and what to do about it."""
    if stopped:
        return (
            f"no configuration has a validation {metric} of trials that were all trained to their "
            f"end: {stopped} of {trials} trials were stopped early. With protocol.search=grid they "
            "are trained to their end; larger protocol.asha.grace_epochs stop fewer"
        )
    return (
        f"none of its {trials} trials has a validation {metric}; all diverged, failed or had it "
        "undefined. Look at their messages with `synthtrial status`"
    )


def _score(row: dict[str, Any], metric: str, over: Sequence[str] | None) -> float | None:
    if row["status"] != "done" or not row["validation"]:
        return None
    return score({metric: row["validation"][metric]}, metric, over)
