"""What choosing a configuration did: how it flatters, and what hangs on it.

All of it is about validation scores, the only ones that choose; no test score is looked at.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from synthtrial.data.regimens import regimen_label
from synthtrial.report.facts import Design, Facts, count_text, listing, records
from synthtrial.report.numbers import between, number
from synthtrial.stats.blocks import fit_blocks
from synthtrial.stats.pooled import Interval
from synthtrial.stats.selection import (
    Retuning,
    clustered_mean,
    expected_best,
    expected_maximum,
    retuning,
    widening,
)

#: Training sets from which on the optimism's interval is over them, and not over cells.
_ENOUGH_REGIMENS = 3


def conditional_text(design: Design) -> str:
    """Say whether intervals hold the choice of configurations: a sentence for captions."""
    if design.configurations < 2:
        return ""
    if design.protocol == "retune":
        return "Every replicate chose its own configuration, so the choice is in the intervals."
    return (
        "Intervals are conditional on the chosen configurations: how another choice would have "
        "come out is in none of them."
    )


def candidates(facts: Facts) -> pd.DataFrame:
    """Return how each configuration of each cell did in the grid, those without a score included.

    Returns:
        Columns regimen, arm, configuration, state (``whole``, where all its trials were trained to
        their end; ``waiting``; ``stopped`` early, some of them; ``lost``), value: the mean
        validation score of those that have one, what stopped ones had reached included; NaN
        without any.
    """
    grid = facts.trials[facts.trials.stage == "grid"]
    scored = grid.validation.notna()
    frame = pd.DataFrame(
        {
            "regimen": grid.regimen,
            "arm": grid.arm,
            "configuration": grid.configuration,
            "waiting": grid.status == "waiting",
            "whole": (grid.status == "done") & scored,
            "stopped": grid.status == "stopped",
            "value": grid.validation.where(scored & grid.status.isin(["done", "stopped"])),
        }
    )
    keys = ["regimen", "arm", "configuration"]
    table = (
        frame.groupby(keys)
        .agg(
            waiting=("waiting", "any"),
            whole=("whole", "all"),
            stopped=("stopped", "any"),
            value=("value", "mean"),
        )
        .reset_index()
    )
    table["state"] = np.select(
        [table.waiting, table.whole, table.stopped], ["waiting", "whole", "stopped"], "lost"
    )
    return table[[*keys, "state", "value"]]


def _cells(facts: Facts, table: pd.DataFrame) -> list[tuple[float, str, pd.DataFrame]]:
    """Return the candidates of cells whose grid is complete, in the study's order."""
    found = {(float(str(k[0])), str(k[1])): g for k, g in table.groupby(["regimen", "arm"])}
    return [
        (regimen, arm, found[regimen, arm])
        for regimen in facts.design.regimens
        for arm in facts.design.arm_names
        if (regimen, arm) in found and not (found[regimen, arm].state == "waiting").any()
    ]


def runners_up_table(facts: Facts) -> pd.DataFrame:
    """Return the best and the second-best configuration of each cell whose grid is complete.

    Returns:
        Columns regimen, arm, candidates (that could be chosen), lost (that ended without a score,
        or were stopped), configuration, score, runner_up, runner_up_score (mean validation score;
        NaN where only one could be chosen). Empty where each class chooses for itself, by scores
        of its own.
    """
    rows = []
    choosing = facts.design.select_over != "per_class"
    for regimen, arm, cell in _cells(facts, candidates(facts)) if choosing else ():
        able = cell[cell.state == "whole"].sort_values(
            ["value", "configuration"], ascending=[False, True]
        )
        if able.empty:
            continue
        second = able.iloc[1] if len(able) > 1 else None
        rows.append(
            {
                "regimen": regimen,
                "arm": arm,
                "candidates": len(able),
                "lost": len(cell) - len(able),
                "configuration": able.iloc[0].configuration,
                "score": able.iloc[0].value,
                "runner_up": "" if second is None else second.configuration,
                "runner_up_score": np.nan if second is None else second.value,
            }
        )
    columns = "regimen arm candidates lost configuration score runner_up runner_up_score"
    return pd.DataFrame(rows, columns=columns.split())


def runner_up_sentences(facts: Facts, table: pd.DataFrame) -> tuple[list[str], str]:
    """Say where the best arm on validation is another one with every arm's second-best choice.

    Args:
        facts: the study.
        table: of :func:`runners_up_table`.

    Returns:
        A sentence for each training set where it is another, and one on all others.
    """
    design = facts.design
    if design.unlike_validation:
        rest = "Arms are validated on unlike images: their validation scores cannot be compared."
        return [], rest
    denied = {arm.name for arm in design.arms if arm.original}
    flips, same = [], []
    for regimen in design.regimens:
        mine = table[(table.regimen == regimen) & ~table.arm.isin(denied)]
        whole = len(mine) == len(design.arms) - len(denied)
        if not whole or len(mine) < 2 or mine.runner_up_score.isna().any():
            continue
        first = mine.sort_values("score", ascending=False, kind="stable").iloc[0]
        second = mine.sort_values("runner_up_score", ascending=False, kind="stable").iloc[0]
        place = regimen_label(regimen)
        if first.arm == second.arm:
            same.append(place)
            continue
        flips.append(
            f"At {place}, {first.arm} is the best arm on validation with every arm's chosen "
            f"configuration ({number(first.score)}), but {second.arm} with every arm's second-best "
            f"({number(second.runner_up_score)}): which arm is best hangs on the configuration."
        )
    rest = (
        f"At {listing(same)} the best arm on validation stays the best when every arm is given its "
        "second-best configuration instead."
    )
    return flips, rest if same else ""


def expected_best_table(facts: Facts) -> pd.DataFrame:
    """Return the expected best validation score had fewer configurations been tried.

    A configuration that was lost counts as the worst of its cell; one that was stopped early, as
    what it had reached, which is the least that it would have come to.

    Returns:
        Columns regimen, arm, tried, expected_best; of cells whose grid is complete.
    """
    rows = []
    choosing = facts.design.select_over != "per_class"
    for regimen, arm, cell in _cells(facts, candidates(facts)) if choosing else ():
        if cell.value.isna().all():
            continue
        scores = cell.value.fillna(cell.value.min()).to_numpy()
        rows += [(regimen, arm, m, best) for m, best in enumerate(expected_best(scores), start=1)]
    return pd.DataFrame(rows, columns=["regimen", "arm", "tried", "expected_best"])


@dataclass(frozen=True)
class Optimism:
    """By how much chosen configurations look better in the grid than in fresh replicates.

    Attributes:
        mean: of the cells' gaps.
        cells: how many.
        interval: of the mean; None where there is but one group, or several draws.
        unit: what the interval is over, with its number.
        first_draw: whether the grid ran on the first of several draws. What is special about that
            one is in all gaps alike, so that cells are no independent evidence, nor are training
            sets.
    """

    mean: float
    cells: int
    interval: Interval | None
    unit: str
    first_draw: bool = False


def optimism(facts: Facts, configurations: pd.DataFrame) -> Optimism | None:
    """Return the optimism of the choice; None where nothing fresh was trained.

    Args:
        facts: the study.
        configurations: of :func:`tables.configurations_table`.
    """
    chosen = configurations[(configurations.chosen > 0) & configurations.replicate_score.notna()]
    gaps = chosen.score - chosen.replicate_score
    chosen, gaps = chosen[gaps.notna()], gaps.dropna()
    if gaps.empty:
        return None
    groups = [group.to_numpy() for _, group in gaps.groupby(chosen.regimen)]
    unit = count_text(len(groups), "training set")
    if len(groups) < _ENOUGH_REGIMENS:
        groups, unit = [np.array([gap]) for gap in gaps], count_text(len(gaps), "cell")
    several = facts.design.draws > 1
    found = None if several else clustered_mean(groups, facts.design.confidence)
    return Optimism(float(gaps.mean()), len(gaps), found, unit, several)


def optimism_text(found: Optimism | None) -> str:
    """Say it: what follows ``here the chosen ones scored``; empty where nobody knows."""
    if found is None:
        return ""
    size, way = number(abs(found.mean)), "higher" if found.mean >= 0 else "lower"
    cells = count_text(found.cells, "cell")
    text = f"{size} {way} in the grid than in fresh replicates, on average over {cells}"
    if found.interval is not None:
        ends = between(found.interval.low, found.interval.high)
        text += f" ({100 * found.interval.confidence:g} % interval {ends}, over {found.unit})"
    if found.first_draw:
        text += (
            "; the grid ran on the first draw alone, and what is special about that is in this "
            "number too, so it has no interval"
        )
    return text


def seed_spread(facts: Facts) -> float:
    """Return the spread of one training's validation score that draws do not explain.

    Returns:
        Residual standard deviation of arm + replicate over the chosen configurations' replicates,
        pooled over training sets; NaN where there is nothing to tell it from.
    """
    trials = facts.trials[(facts.trials.stage == "replicate") & (facts.trials.status == "done")]
    trials = trials[trials.validation.notna()]
    squares, df = 0.0, 0
    for _, mine in trials.groupby("regimen"):
        fit = fit_blocks(mine.validation, mine.arm.tolist(), mine.replicate.tolist())
        if fit.df:
            squares, df = squares + fit.variance * fit.df, df + fit.df
    return math.sqrt(squares / df) if df else math.nan


def yardstick_text(facts: Facts) -> str:
    """Say by how much the best would look better than it is, were all configurations equal."""
    design, spread = facts.design, seed_spread(facts)
    if math.isnan(spread) or design.configurations < 2 or design.select_over == "per_class":
        return ""
    averaged = design.replicates if design.protocol == "full_grid" else 1
    factor = expected_maximum(design.configurations)
    what = "one training's validation score"
    if averaged > 1:
        what = f"the mean of {averaged} trainings' validation scores"
    spread /= math.sqrt(averaged)
    return (
        f"Were all {design.configurations} equally good, the best would look better than it is by "
        f"{number(factor * spread)}: {factor:.2f} times {number(spread)}, the spread of {what}."
    )


def retuning_table(facts: Facts) -> pd.DataFrame:
    """Compare a choice within each replicate with one for all, where every replicate has a grid.

    Returns:
        Columns regimen, arm, replicates, choices, shift, fixed_sd, added_sd, factor: see
        :class:`synthtrial.stats.selection.Retuning`.
    """
    columns = ["regimen", "arm", "replicates", "choices", "shift"]
    columns += ["fixed_sd", "added_sd", "factor"]
    design = facts.design
    if design.protocol == "grid_once" or design.select_over == "per_class":
        return pd.DataFrame(columns=columns)
    grid = facts.trials[(facts.trials.stage == "grid") & (facts.trials.status == "done")]
    rows = []
    for regimen in design.regimens:
        for arm in design.arm_names:
            mine = grid[(grid.regimen == regimen) & (grid.arm == arm)]
            scores = mine.pivot_table(
                index="replicate", columns="configuration", values="validation"
            )
            found = retuning(scores.to_numpy()) if scores.size else None
            if found is not None:
                numbers = (found.replicates, found.choices, found.shift)
                spreads = (math.sqrt(found.fixed_variance), math.sqrt(found.added_variance))
                rows.append((regimen, arm, *numbers, *spreads, widening([found])))
    return pd.DataFrame(rows, columns=columns)


def retuning_text(facts: Facts, table: pd.DataFrame) -> str:
    """Say how much wider scores spread when every replicate chooses for itself.

    Args:
        facts: the study.
        table: of :func:`retuning_table`.
    """
    design = facts.design
    if design.configurations < 2 or design.select_over == "per_class":
        return ""
    if design.protocol == "grid_once":
        return (
            "How much wider the intervals would be had every replicate chosen for itself cannot be "
            "known from a grid that was run once; protocol.kind=retune would tell."
        )
    factor = widening([_retuning(row) for row in records(table)])
    if table.empty or math.isnan(factor):
        return ""
    own = design.protocol == "retune"
    choices = f"{table.choices.mean():.1f} different configurations in a cell, on average"
    start = (
        "That every replicate chose for itself spreads"
        if own
        else "Had every replicate chosen for itself, that would have spread"
    )
    end = "which the intervals hold" if own else "which no interval here holds"
    verb = "choose" if own else "would have chosen"
    replicates = count_text(design.replicates, "replicate")
    return (
        f"{start} validation scores {factor:.2f} times as widely as one choice for all, {end}: "
        f"{replicates} {verb} {choices}."
    )


def _retuning(row: dict[str, float]) -> Retuning:
    variances = (row["fixed_sd"] ** 2, row["added_sd"] ** 2)
    return Retuning(*variances, row["shift"], int(row["choices"]), int(row["replicates"]))


def selection_tables(facts: Facts) -> dict[str, pd.DataFrame]:
    """Return the tables of the choice by the names of their files, where there is one."""
    found = {
        "runners-up": runners_up_table(facts),
        "expected-best": expected_best_table(facts),
        "retuning": retuning_table(facts),
    }
    several = facts.design.configurations > 1
    return {name: table for name, table in found.items() if several and len(table)}


def shown_regimens(regimens: Sequence[float]) -> list[float]:
    """Return the smallest and the largest training set."""
    return sorted({min(regimens), max(regimens)})
