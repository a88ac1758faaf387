"""Why a table of results has no number, or fewer than planned."""

from __future__ import annotations

import pandas as pd

from synthtrial.report import tables
from synthtrial.report.facts import UNSCORED, Facts
from synthtrial.report.views import Column, columns_of

#: Letters of a message that a table has room for.
_SHORT = 120


def lacking(facts: Facts) -> dict[tuple[float, str], int]:
    """Count the trials of complete blocks that ended, or never started, without a score."""
    trials = facts.trials[
        (facts.trials.stage == "replicate") & facts.trials.status.isin([*UNSCORED, "blocked"])
    ]
    complete = tables.blocks_table(facts).query("complete")[["regimen", "replicate"]]
    counts = trials.merge(complete, on=["regimen", "replicate"]).groupby(["regimen", "arm"]).size()
    return _by_cell(counts)


def _by_cell(counts: pd.Series) -> dict[tuple[float, str], int]:
    places = counts.index.to_list()
    return {(float(p[0]), str(p[1])): int(n) for p, n in zip(places, counts, strict=True)}


class Missing:
    """Why a table of results has no number, or fewer than planned.

    Args:
        facts: the study.
        results: of :func:`tables.long_results`.

    Attributes:
        complete: regimens with a complete block.
    """

    complete: frozenset[float]

    def __init__(self, facts: Facts, results: pd.DataFrame) -> None:
        self._facts = facts
        keys = results[["regimen", "arm", "scope", "class_name"]].drop_duplicates()
        self._known = set(keys.itertuples(index=False, name=None))
        self._lacking = lacking(facts)
        blocks = tables.blocks_table(facts)
        self.complete = frozenset(blocks.regimen[blocks.complete].unique().tolist())
        reported = tables.reported_trials(facts)
        self._scored = _by_cell(reported.groupby(["regimen", "arm"]).size())
        replicates = facts.trials[facts.trials.stage == "replicate"]
        self._cells = {
            (float(str(key[0])), str(key[1])): group
            for key, group in replicates.groupby(["regimen", "arm"])
        }

    def of_row(self, regimen: float, arm: str, against: str = "") -> tuple[str, tuple[str, ...]]:
        """Return why a row of results lacks what it lacks.

        Args:
            regimen: of the row.
            arm: of the row.
            against: arm that it is compared with, if any.

        Returns:
            Why it has fewer replicates than planned, and what to say of each column of
            :func:`views.columns_of` where that has no score.
        """
        columns, cell = columns_of(self._facts.design), self.of_cell(regimen, arm)
        reasons = [self.of_column(regimen, arm, column) for column in columns]
        if against:
            theirs = [self.of_column(regimen, against, column) for column in columns]
            theirs = [
                f"{against}: {reason}" if reason else f"no block is shared with {against}"
                for reason in theirs
            ]
            reasons = [own or their for own, their in zip(reasons, theirs, strict=True)]
        return cell, tuple(reasons)

    def of_cell(self, regimen: float, arm: str) -> str:
        """Say what became of the trials of a cell that gave no score; empty where all did."""
        trials = self._cells.get((regimen, arm))
        if trials is None:
            return "no such trials"
        if self._scored.get((regimen, arm), 0):
            if not self._lacking.get((regimen, arm)):
                return ""
            trials = trials[trials.status.isin([*UNSCORED, "blocked"])]
            return _became(trials, self._facts.design.replicates, quoting=False)
        return _became(trials, self._facts.design.replicates)

    def of_column(self, regimen: float, arm: str, column: Column) -> str:
        """Say why a cell has no score of a target; empty where it has one."""
        if (regimen, arm, column.scope, column.class_name) in self._known:
            return ""
        scored = int(self._scored.get((regimen, arm), 0))
        if not scored:
            return self.of_cell(regimen, arm)
        design, name = self._facts.design, column.class_name
        if name and design.select_over == "per_class" and name not in design.minority:
            return "no configuration was chosen for it"
        what = f"undefined in {'its trial' if scored == 1 else f'all {scored} trials'}"
        counts = self._facts.counts[self._facts.counts.role == "test"]
        holding = counts[counts.class_name == name].images
        everything = counts[counts.class_name == ""].images
        if name and len(holding) and holding.max() == 0:
            return f"{what}: no test image holds it"
        if name and len(holding) and len(everything) and holding.min() == everything.max():
            return f"{what}: every test image holds it"
        return what


def _became(trials: pd.DataFrame, planned: int, *, quoting: bool = True) -> str:
    counts = {str(status): int(count) for status, count in trials.status.value_counts().items()}
    parts = []
    waiting = counts.get("waiting", 0)
    if waiting:
        parts.append(f"waiting: {waiting} of {planned} to come")
    for status in (*UNSCORED, "blocked"):
        if counts.get(status):
            whole = f"all {planned}" if counts[status] == planned else str(counts[status])
            said = _said(trials, status) if quoting else ""
            parts.append(f"{whole} {'never started' if status == 'blocked' else status}{said}")
    if counts.get("done") and not waiting:
        parts.append(f"{counts['done']} done, in blocks that other arms are still to complete")
    return "; ".join(parts)


def _said(trials: pd.DataFrame, status: str) -> str:
    """Return the first message of what ended so, in one line and not too long."""
    said = trials[(trials.status == status) & (trials.message != "")].message
    if said.empty or status == "diverged":
        return ""
    text = str(said.iloc[0]).strip().removeprefix("never started: ")
    line = text.splitlines()[-1 if status == "failed" else 0]  # a traceback ends with the error
    return f": {line if len(line) <= _SHORT else line[: _SHORT - 1] + '…'}"
