"""Replicates of which each class of interest has a training of its own, made one row each.

Where each class chooses a configuration for itself, a replicate is as many trainings as there are
different choices. For tables it must still be *one* replicate: the score of a class is that of the
training which was chosen for it, and nothing is counted twice.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from synthtrial.identity import canonical_json
from synthtrial.report.columns import CURVE_COLUMNS, TRIAL_COLUMNS
from synthtrial.report.tables import MIXED_CODE, order_stamps

#: Of parts that are not all done, what makes the whole.
_WORST = ("waiting", "failed", "diverged", "blocked")
_KEYS = ["arm", "regimen", "replicate"]


def compose(
    parts: pd.DataFrame, scores: pd.DataFrame, classes: Sequence[str]
) -> tuple[pd.DataFrame, pd.DataFrame, dict[str, tuple[str, ...]]]:
    """Join the trainings of each replicate.

    Args:
        parts: trials (``TRIAL_COLUMNS``) with a column ``target``, the class that each was chosen
            for; rows of the grid have none and stay as they are. ``overall`` and ``validation`` are
            those of the target.
        scores: test score of each class in each of these trials, same index.
        classes: those of interest.

    Returns:
        Trials and scores, one row a replicate, whose scores of other classes are NaN and whose
        ``overall`` and ``validation`` are means over the classes of interest; and by id of a
        joined trial the ids of its trainings.
    """
    whole = parts.target == ""
    rows, values, made = [], [], {}
    for _, mine in parts[~whole].groupby(_KEYS, sort=False):
        row, ids = _joined(mine)
        rows.append(row)
        made[str(row["trial_id"])] = ids
        own = dict.fromkeys(scores.columns, np.nan)
        if row["status"] == "done":
            for target in classes:
                own[target] = float(scores.loc[mine.index[mine.target == target], target].iloc[0])
        values.append(own)
    trials = pd.concat([parts[whole][list(TRIAL_COLUMNS)], _frame(rows)], ignore_index=True)
    found = pd.concat(
        [scores[whole], pd.DataFrame(values, columns=scores.columns, dtype=float)],
        ignore_index=True,
    )
    return trials, found, made


def _frame(rows: Sequence[dict[str, object]]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=list(TRIAL_COLUMNS)).astype(TRIAL_COLUMNS)


def _joined(mine: pd.DataFrame) -> tuple[dict[str, object], tuple[str, ...]]:
    """Return the row of one replicate and the ids of its trainings."""
    distinct = mine.drop_duplicates("trial_id") if (mine.trial_id != "").all() else mine
    ids = tuple(sorted(set(distinct.trial_id) - {""}))
    states = set(mine.status)
    status = "done" if states == {"done"} else next(s for s in _WORST if s in states)
    done = status == "done"
    row: dict[str, object] = dict(mine.iloc[0][["stage", *_KEYS, "draw"]])
    digests = sorted(set(mine.code_digest) - {""})
    stamps = {stamp for text in mine.stamps for stamp in text.split(",") if stamp}
    stamps |= {MIXED_CODE} if len(digests) > 1 else set()
    said = mine[(mine.status == status) & (mine.message != "")].message
    point = ""
    if (mine.configuration != "").all():
        point = mine.configuration.iloc[0]
        if mine.configuration.nunique() > 1:
            point = canonical_json(dict(zip(mine.target, mine.configuration, strict=True)))
    means = {name: distinct[name].mean() for name in ("epochs", "best_epoch", "steps")}
    row |= {
        "trial_id": "+".join(ids),
        "configuration": point,
        "status": status,
        "overall": mine.overall.mean() if done else np.nan,
        "validation": mine.validation.mean() if done else np.nan,
        "planned_epochs": distinct.planned_epochs.max(),
        **means,
        "n_real": mine.n_real.max(),
        "n_added": mine.n_added.max(),
        "seconds": distinct.seconds.sum(min_count=1),
        "spent_seconds": distinct.spent_seconds.sum(min_count=1),
        "threads": distinct.threads.max(),
        "device": max(distinct.device),
        "code_digest": ", ".join(digests),
        "stamps": ",".join(order_stamps(stamps)),
        "message": "" if done or said.empty else said.iloc[0],
    }
    return row, ids


def compose_curves(curves: pd.DataFrame, made: dict[str, tuple[str, ...]]) -> pd.DataFrame:
    """Return the curves of joined trials: epoch by epoch the mean over their trainings."""
    owners = pd.DataFrame(
        [(whole, part) for whole, ids in made.items() for part in ids],
        columns=["whole", "trial_id"],
    )
    joined = curves.merge(owners, on="trial_id").drop(columns="trial_id")
    means = joined.groupby(["whole", "epoch"], sort=False).mean().reset_index()
    return means.rename(columns={"whole": "trial_id"})[list(CURVE_COLUMNS)].astype(CURVE_COLUMNS)
