"""Early stopping in words and numbers: which grid trials were ended early, and what that saved.

A trial that was stopped is neither a failure nor a result: it took part in the search and is no
candidate, because its score is one of fewer epochs than the others'.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from synthtrial.report.facts import ENDED, Facts, count_text, records


def stopping_table(facts: Facts) -> pd.DataFrame:
    """Return what early stopping did to the grid of each cell, in the study's order.

    Returns:
        Columns regimen, arm, ended (grid trials that have), stopped (of them), epochs (that they
        were trained) and epochs_in_full (that they would have been without early stopping; what
        diverged or failed would have ended where it did).
    """
    grid = facts.trials[(facts.trials.stage == "grid") & facts.trials.status.isin(ENDED)]
    stopped = grid.status == "stopped"
    counted = pd.DataFrame(
        {
            "regimen": grid.regimen,
            "arm": grid.arm,
            "ended": 1,
            "stopped": stopped.astype(int),
            "epochs": grid.epochs.fillna(0),
            "epochs_in_full": np.where(stopped, grid.planned_epochs, grid.epochs.fillna(0)),
        }
    )
    table = counted.groupby(["regimen", "arm"]).sum().astype(int)
    order = [
        (regimen, arm)
        for regimen in facts.design.regimens
        for arm in facts.design.arm_names
        if (regimen, arm) in table.index
    ]
    return table.loc[order].reset_index()


def stopping_sentences(facts: Facts, table: pd.DataFrame) -> str:
    """Say how many trials were stopped early and how many epochs that saved; empty without it.

    Args:
        facts: the study.
        table: of :func:`stopping_table`.
    """
    if not facts.design.early_stopping or table.empty:
        return ""
    sums = table[["ended", "stopped", "epochs", "epochs_in_full"]].sum()
    trials = count_text(sums.ended, "grid trial")
    going_on = _is_going_on(facts)
    early = "So far, early stopping ended" if going_on else "Early stopping ended"
    if not sums.stopped:
        return f"{early} none of {trials}."
    saved = 1 - sums.epochs / sums.epochs_in_full
    were = "was" if sums.epochs == 1 else "were"
    return (
        f"{early} {sums.stopped:,} of {trials}: {count_text(sums.epochs, 'epoch')} {were} trained "
        f"instead of {sums.epochs_in_full:,} ({100 * saved:.0f} % saved). What is stopped depends "
        "on the order in which trials ended."
    )


def _is_going_on(facts: Facts) -> bool:
    grid = facts.trials[facts.trials.stage == "grid"]
    return bool((grid.status == "waiting").any())


def stopping_view(facts: Facts, table: pd.DataFrame) -> list[tuple[str, list[tuple[str, str]]]]:
    """Lay the table out for people.

    Returns:
        For each arm, at each regimen, how many of its grid trials were stopped, and epochs.
    """
    keyed = {(row["regimen"], row["arm"]): row for row in records(table)}
    lines = []
    for arm in facts.design.arm_names:
        texts = []
        for regimen in facts.design.regimens:
            row = keyed.get((regimen, arm))
            if row is None:
                texts.append(("none yet", ""))
                continue
            epochs = f"{row['epochs']:,} of {row['epochs_in_full']:,} epochs"
            texts.append((f"{row['stopped']} of {row['ended']}", epochs))
        lines.append((arm, texts))
    return lines
