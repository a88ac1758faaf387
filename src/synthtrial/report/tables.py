"""Tables: from one row a trial to means, intervals and differences.

A *block* is one replicate of one regimen; it is complete when no arm is still to come, and only
complete blocks are reported, so that an unfinished study compares like with like. A trial that
diverged or failed for good leaves its block complete and its value missing. Grid trials that were
stopped early have ended and are no failures; what they scored is kept apart.

*Targets* are the columns of the results: ``overall``, the mean over the ``minority`` classes, and
each class.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from synthtrial.report.facts import TERMINAL, Design, Facts
from synthtrial.report.groups import Group, by_column, by_target
from synthtrial.stats.assumptions import brown_forsythe
from synthtrial.stats.blocks import BlockTable, block_table
from synthtrial.stats.pooled import interval, pooled_variance, shared_df

if TYPE_CHECKING:
    from numpy.typing import NDArray

PROVISIONAL = "PROVISIONAL"
MIXED_CODE = "MIXED CODE"
GROUPS_UNKNOWN = "GROUPS UNKNOWN"
STAMP_ORDER = ("LEAKY", "PRIVILEGED", GROUPS_UNKNOWN, PROVISIONAL, MIXED_CODE)


def blocks_table(facts: Facts) -> pd.DataFrame:
    """Return, for each regimen and replicate, how many arms are finished.

    Returns:
        Columns regimen, replicate, finished, arms, complete.
    """
    design, trials = facts.design, facts.trials
    block_N = _blocks(facts)
    ended_N = (block_N >= 0) & trials.status.isin(TERMINAL).to_numpy()
    arms, names = pd.factorize(trials.arm)
    shape = (len(design.regimens) * design.replicates, len(names))
    finished_BA = np.zeros(shape, dtype=bool)
    finished_BA[block_N[ended_N], arms[ended_N]] = True
    table = pd.DataFrame(
        {
            "regimen": np.repeat(np.array(design.regimens, dtype=float), design.replicates),
            "replicate": np.tile(np.arange(design.replicates), len(design.regimens)),
            "finished": finished_BA.sum(axis=1),
            "arms": len(design.arms),
        }
    )
    table["complete"] = table.finished == table.arms
    return table


def _blocks(facts: Facts) -> NDArray[np.intp]:
    """Return the row of each trial in the table of blocks, -1 for those that are in no block."""
    design, trials = facts.design, facts.trials
    regimen_N = pd.Index(design.regimens).get_indexer(pd.Index(trials.regimen))
    replicate_N = trials.replicate.to_numpy()
    inside_N = (trials.stage == "replicate").to_numpy() & (regimen_N >= 0)
    inside_N &= (replicate_N >= 0) & (replicate_N < design.replicates)
    return np.where(inside_N, regimen_N * design.replicates + replicate_N, -1)


def _reported(facts: Facts) -> NDArray[np.bool_]:
    """Say of each trial whether it is a finished replicate of a complete block."""
    block_N = _blocks(facts)
    reported_N: NDArray[np.bool_] = (block_N >= 0) & (facts.trials.status == "done").to_numpy()
    complete_B = blocks_table(facts).complete.to_numpy()
    reported_N[reported_N] = complete_B[block_N[reported_N]]
    return reported_N


def reported_trials(facts: Facts) -> pd.DataFrame:
    """Return the finished replicate trials of complete blocks; the index is that of ``trials``."""
    return facts.trials[_reported(facts)]


def long_results(facts: Facts) -> pd.DataFrame:
    """Return one row for each reported trial and target whose score is defined.

    Returns:
        Columns regimen, arm, draw, replicate, scope (``overall``, ``minority`` or ``class``),
        class_name (empty unless scope is ``class``), metric, value.
    """
    kept_N, names = _reported(facts), ["regimen", "arm", "draw", "replicate"]
    keys = facts.trials.loc[kept_N, names]
    parts = [
        keys.assign(scope=scope, class_name=name, value=value_N[kept_N], metric=metric)
        for scope, name, metric, value_N in _score_columns(facts)
    ]
    table = pd.concat(parts, ignore_index=True)
    return table.dropna(subset="value").reset_index(drop=True)


def grouped_results(facts: Facts) -> list[Group]:
    """Return what :func:`long_results` does, in the form that the tables are made from.

    Where there are a million trials, this spares ten million rows.
    """
    return list(by_column(facts.trials, _reported(facts), _score_columns(facts)))


def _score_columns(facts: Facts) -> Iterator[tuple[str, str, str, NDArray[np.float64]]]:
    """Yield of each target its scope, class name, metric, and the score of every trial."""
    design, trials = facts.design, facts.trials
    scores = facts.class_scores
    if not scores.index.equals(trials.index) or not set(design.classes) <= set(scores.columns):
        scores = scores.reindex(index=trials.index, columns=list(design.classes))
    yield "overall", "", design.overall_metric, trials.overall.to_numpy()
    if design.minority:
        mean = scores[list(design.minority)].mean(axis=1).to_numpy()
        yield "minority", "", design.class_metric, mean
    for name in design.classes:
        yield "class", name, design.class_metric, scores[name].to_numpy()


Results = pd.DataFrame | Sequence[Group]


def groups_of(facts: Facts, results: Results | None) -> Iterable[Group]:
    """Return the groups of results in either form; without any, of the study's own."""
    if isinstance(results, pd.DataFrame):
        return by_target(results)
    return grouped_results(facts) if results is None else results


def blocks_of(group: Group, design: Design) -> BlockTable:
    """Lay the scores of one regimen and target out by blocks and arms."""
    places = (group.arms, group.draws, group.replicates)
    return block_table(group.value_N, *places, design.arm_names, design.unit)


def results_table(facts: Facts, results: Results | None = None) -> pd.DataFrame:
    """Return mean and pooled interval of every cell and target.

    Each arm is a group of what is independent: of replicates or, where several share a draw, of the
    means of these draws. The variance is pooled over the arms of one regimen and target; where arms
    share draws it has fewer degrees of freedom than as many independent groups. Arms whose
    generators differ from draw to draw vary by more: they are in no pool, and their interval is
    from their own spread. Whether the others have one spread is tested (Brown and Forsythe), and
    each mean has the interval from its own spread beside it.

    Returns:
        Columns regimen, arm, scope, class_name, metric, mean, low, high, half_width, n
        (replicates), blocks (draws or replicates), df, pooled_sd (of all arms, as the blog post has
        it), spread_p (small where the spreads of the pool differ; NaN outside of it), own_low,
        own_high (with blocks - 1 degrees of freedom), best (no arm of the regimen has a higher
        mean; one on the original data does not count), stamps.
    """
    confidence = facts.design.confidence
    apart = facts.design.pooled_apart
    stamps = cell_stamps(facts)
    rows = []
    for group in groups_of(facts, results):
        table, sizes = blocks_of(group, facts.design), group.sizes
        values = table.by_arm
        whole = pooled_variance(list(values.values()))
        inside = [scores for arm, scores in values.items() if arm not in apart]
        pooled, spread_p = pooled_variance(inside), brown_forsythe(inside).p_value
        if table.unit == "draw":  # arms go up and down with the draws that they share
            held = [place for place, arm in enumerate(table.arms) if arm not in apart]
            pooled = dataclasses.replace(pooled, df=shared_df(table.values_BA[:, held]))
        denied = {arm.name for arm in facts.design.arms if arm.original}
        rivals = {arm: scores for arm, scores in values.items() if arm not in denied} or values
        best = max(float(scores.mean()) for scores in rivals.values())
        for arm in facts.design.arm_names:
            if arm not in values:
                continue
            mean, n = float(values[arm].mean()), values[arm].size
            alone = pooled_variance([values[arm]])
            pool = alone if arm in apart else pooled
            found, own = (interval(mean, n, each, confidence) for each in (pool, alone))
            rows.append(
                {
                    **group.place,
                    "arm": arm,
                    "mean": mean,
                    "low": found.low if found else np.nan,
                    "high": found.high if found else np.nan,
                    "half_width": found.half_width if found else np.nan,
                    "n": sizes[arm],
                    "blocks": n,
                    "df": pool.df,
                    "pooled_sd": whole.deviation,
                    "spread_p": np.nan if arm in apart else spread_p,
                    "own_low": own.low if own else np.nan,
                    "own_high": own.high if own else np.nan,
                    "best": arm in rivals and mean >= best - 1e-12,
                    "stamps": stamps.get((arm, group.regimen), ""),
                }
            )
    columns = (
        "regimen arm scope class_name metric mean low high half_width n blocks df pooled_sd "
        "spread_p own_low own_high best stamps"
    )
    return pd.DataFrame(rows, columns=columns.split())


def cell_stamps(facts: Facts) -> dict[tuple[str, float], str]:
    """Return the stamps of each cell, joined by commas, in ``STAMP_ORDER``."""
    trials = facts.kinds
    done = trials[trials.status == "done"]
    mixed = done[done.code_digest != ""].groupby("regimen").code_digest.nunique() > 1
    waiting = (~trials.status.isin(TERMINAL)).groupby(trials.regimen).any()
    found = {}
    for key, group in trials.groupby(["arm", "regimen"]):
        arm, regimen = str(key[0]), float(str(key[1]))
        stamps = {stamp for text in group.stamps.unique() for stamp in text.split(",") if stamp}
        if mixed.get(regimen, False):
            stamps.add(MIXED_CODE)
        if waiting.get(regimen, False):
            stamps.add(PROVISIONAL)
        if not facts.design.groups_known:
            stamps.add(GROUPS_UNKNOWN)
        found[arm, regimen] = ",".join(order_stamps(stamps))
    return found


def study_stamps(facts: Facts) -> list[str]:
    """Return every stamp that touches the study's tables."""
    stamps = {stamp for text in cell_stamps(facts).values() for stamp in text.split(",") if stamp}
    ended = facts.trials.status.isin(["done", "stopped"])
    done = facts.trials[ended & (facts.trials.code_digest != "")]
    if done.code_digest.nunique() > 1:
        stamps.add(MIXED_CODE)
    if not facts.finished:
        stamps.add(PROVISIONAL)
    if not facts.design.groups_known:
        stamps.add(GROUPS_UNKNOWN)
    return order_stamps(stamps)


def order_stamps(stamps: Iterable[str]) -> list[str]:
    """Return stamps in ``STAMP_ORDER``, unknown ones last."""
    known = {stamp: place for place, stamp in enumerate(STAMP_ORDER)}
    return sorted(set(stamps), key=lambda stamp: (known.get(stamp, len(known)), stamp))


def failures_table(facts: Facts) -> pd.DataFrame:
    """Return what became of the trials of each cell and stage.

    Returns:
        Columns regimen, arm, stage, planned, done, stopped (early), diverged, failed, blocked,
        waiting, diverged_rate, failed_rate (of those that ended, stopped ones included; a blocked
        trial never started), message (of the first that failed, else what kept the first of the
        blocked).
    """
    trials = facts.trials
    if trials.empty:
        return pd.DataFrame()
    counts = trials.groupby(["regimen", "arm", "stage"]).status.value_counts().unstack(fill_value=0)
    states = ["done", "stopped", "diverged", "failed", "blocked", "waiting"]
    table = counts.reindex(columns=states, fill_value=0).astype(int)
    table.insert(0, "planned", table.sum(axis=1))
    ended = (table.done + table.stopped + table.diverged + table.failed).replace(0, np.nan)
    table["diverged_rate"] = table.diverged / ended
    table["failed_rate"] = table.failed / ended
    broken = trials[trials.status.isin(["failed", "diverged", "blocked"]) & (trials.message != "")]
    broken = broken.sort_values("status", key=lambda s: s == "blocked", kind="stable")
    first = broken.groupby(["regimen", "arm", "stage"]).message.first()
    table["message"] = first.reindex(table.index).fillna("")
    order = [
        (regimen, arm, stage)
        for regimen in facts.design.regimens
        for arm in facts.design.arm_names
        for stage in ("grid", "replicate")
        if (regimen, arm, stage) in table.index
    ]
    return table.loc[order].rename_axis(["regimen", "arm", "stage"]).reset_index()


def configurations_table(facts: Facts) -> pd.DataFrame:
    """Return the grid's validation score of each configuration of each cell.

    Returns:
        Columns regimen, arm, configuration, score (mean over the grid's trials of it that were
        trained to their end; NaN without any), trials (that were), stopped (that were stopped
        early), stopped_score (mean of the best that these had reached, which is no score of equal
        epochs and chooses nothing), chosen (number of choices that fell on it: one in a cell, or
        one in each of its replicates, and of these one for each class where each chooses for
        itself), chosen_for (the classes that chose it, where they do), replicate_score (validation
        score of the fresh replicates of a chosen configuration: lower than ``score`` by the
        optimism of having chosen). Only the protocol ``grid_once`` has fresh ones; the others would
        repeat trainings of the grid bit by bit. Nor is there one where classes choose for
        themselves, as ``score`` is their mean.
    """
    keys = ["regimen", "arm", "configuration"]
    done = facts.trials[(facts.trials.status == "done") & facts.trials.validation.notna()]
    grid = done[done.stage == "grid"].groupby(keys).validation.agg(["mean", "size"])
    grid = grid.rename(columns={"mean": "score", "size": "trials"})
    early = facts.trials[(facts.trials.status == "stopped") & (facts.trials.stage == "grid")]
    ended = early.groupby(keys).validation.agg(["size", "mean"])
    ended = ended.rename(columns={"size": "stopped", "mean": "stopped_score"})
    table = grid.join(ended, how="outer").reset_index()
    counts = ["trials", "stopped"]
    table[counts] = table[counts].fillna(0).astype(int)
    fresh = done[done.stage == "replicate"].groupby(keys).validation.mean().rename("fresh")
    grouped = facts.chosen.groupby(keys)
    chosen = grouped.size().rename("chosen")
    targets = grouped.target.agg(lambda names: ", ".join(dict.fromkeys(n for n in names if n)))
    table = table.join(chosen, on=keys).join(targets, on=keys).join(fresh, on=keys)
    table["chosen"] = table.chosen.fillna(0).astype(int)
    table["chosen_for"] = table.pop("target").astype(object).fillna("").astype("str")
    # What one class chose was not chosen by the mean that is the score.
    one_choice = facts.design.select_over != "per_class"
    fresh_ones = (table.chosen > 0) & (facts.design.protocol == "grid_once") & one_choice
    table["replicate_score"] = table.fresh.where(fresh_ones)
    return table.drop(columns="fresh")


def synthetic_summary(facts: Facts) -> pd.DataFrame:
    """Return the allocations averaged over draws, with the range of the realised prevalence.

    Returns:
        Columns arms, regimen, class_name, chosen, real, intended, added, expected, realised,
        realised_low, realised_high.
    """
    keys = ["arms", "regimen", "class_name"]
    table = facts.synthetic.groupby(keys, sort=False).agg(
        chosen=("chosen", "max"),
        real=("real", "mean"),
        intended=("intended", "mean"),
        added=("added", "mean"),
        expected=("expected", "mean"),
        realised=("realised", "mean"),
        realised_low=("realised", "min"),
        realised_high=("realised", "max"),
    )
    return table.reset_index()


def curves_table(facts: Facts) -> pd.DataFrame:
    """Return the loss curves of reported trials with their cell.

    Returns:
        Columns regimen, arm, replicate, epoch, train_loss (real rows), validation_loss.
    """
    keys = reported_trials(facts)[["trial_id", "regimen", "arm", "replicate"]]
    table = facts.curves.merge(keys, on="trial_id")
    return table[["regimen", "arm", "replicate", "epoch", "train_loss", "validation_loss"]]
