"""What ended without a score: how often, whether that goes with an arm, and what it may hide.

A trial that diverged or failed is an outcome. It is counted here, cell by cell, and nothing of it
is dropped silently: where rates go with arm or regimen the page says so, and where a table has no
number it says why.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from synthtrial.data.regimens import regimen_label
from synthtrial.report import tables
from synthtrial.report.facts import ENDED, UNSCORED, Facts, count_text, records
from synthtrial.report.missing import lacking
from synthtrial.report.numbers import number, p_text
from synthtrial.stats.rates import association, wilson_interval, worst_case_mean

STAGES = {"grid": "Grid", "replicate": "Replicates"}


def rates_table(facts: Facts) -> pd.DataFrame:
    """Return what became of the trials of each cell and stage, with intervals.

    Returns:
        The columns of :func:`tables.failures_table` and the ends of Wilson's interval of each rate:
        diverged_low, diverged_high, failed_low, failed_high.
    """
    table = tables.failures_table(facts)
    if table.empty:
        return table
    ended = table[list(ENDED)].sum(axis=1)
    for outcome in UNSCORED:
        ends = [
            wilson_interval(int(count), int(total), facts.design.confidence)
            for count, total in zip(table[outcome], ended, strict=True)
        ]
        table[f"{outcome}_low"], table[f"{outcome}_high"] = zip(*ends, strict=True)
    return table


def associations_table(facts: Facts) -> pd.DataFrame:
    """Test whether outcomes without a score go with an arm or a training set.

    Arms are compared within regimen, configuration and replicate, regimens within arm,
    configuration and replicate, so that a configuration that always diverges is held against
    nobody.

    Returns:
        A row for each stage, outcome and factor (``arm`` or ``regimen``) where there is such an
        outcome and more than one to compare; columns stage, outcome, factor, level (the one with
        most more than its share), count, total, other_count, other_total, statistic, df, p_value
        (NaN where nothing can be compared), flagged.
    """
    trials = facts.trials[facts.trials.status.isin(ENDED)]
    rows = []
    for stage in STAGES:
        mine = trials[trials.stage == stage]
        for outcome in UNSCORED:
            bad = (mine.status == outcome).to_numpy()
            for factor, other in (("arm", "regimen"), ("regimen", "arm")):
                if not bad.any() or mine[factor].nunique() < 2:
                    continue
                shared = [other, "replicate"] + (["configuration"] if stage == "grid" else [])
                strata = list(mine[shared].itertuples(index=False, name=None))
                names = mine[factor].astype(str).tolist()
                found = association(bad, names, strata)
                top = int(np.argmax(found.excess))
                count, total = int(found.counts[top]), int(found.totals[top])
                rows.append(
                    {
                        "stage": stage,
                        "outcome": outcome,
                        "factor": factor,
                        "level": found.groups[top],
                        "count": count,
                        "total": total,
                        "other_count": int(found.counts.sum()) - count,
                        "other_total": int(found.totals.sum()) - total,
                        "statistic": found.statistic,
                        "df": found.df,
                        "p_value": found.p_value,
                        "flagged": found.p_value < 1 - facts.design.confidence,
                    }
                )
    columns = (
        "stage outcome factor level count total other_count other_total statistic df p_value "
        "flagged"
    )
    return pd.DataFrame(rows, columns=columns.split())


def association_sentences(table: pd.DataFrame) -> tuple[list[str], str]:
    """Say which outcomes go with what.

    Args:
        table: of :func:`associations_table`.

    Returns:
        A sentence for each association that is flagged, and one on all others.
    """
    flagged = [_flag(row) for row in records(table[table.flagged.astype(bool)])]
    others = table[~table.flagged.astype(bool)]
    if others.empty:
        return flagged, ""
    tested = others.p_value.dropna()
    if tested.empty:
        return flagged, (
            "Whether this goes with arm or training set cannot be told: what is to be compared "
            "ended alike."
        )
    least = p_text(float(tested.min()))
    small = "p" if len(tested) == 1 else f"the smallest p of {len(tested)}"
    start = "Nothing else" if flagged else "Nothing of this"
    return flagged, (
        f"{start} goes with arm or training set more than chance would have it "
        f"({least if len(tested) == 1 else least.replace('p', small, 1)}), which few outcomes "
        "can hardly show."
    )


def _flag(row: dict[str, Any]) -> str:
    trials = "Grid trials" if row["stage"] == "grid" else "Replicates"
    counts = f"({row['count']} of {row['total']})"
    rest = f"({row['other_count']} of {row['other_total']}; {p_text(row['p_value'])})"
    if row["factor"] == "arm":
        text = (
            f"{trials} of {row['level']} {row['outcome']} more often {counts} than those of the "
            f"other arms {rest}"
        )
    else:
        place = regimen_label(float(row["level"]))
        text = (
            f"{trials} at {place} {row['outcome']} more often {counts} than those at other "
            f"training sets {rest}"
        )
    if row["stage"] == "grid":
        return f"{text}: what was chosen there was chosen among fewer."
    return f"{text}: means over what is left flatter it."


def worst_case_table(facts: Facts, results: pd.DataFrame) -> pd.DataFrame:
    """Return what means would be if trials without a score had scored as the worst of their cell.

    Args:
        facts: the study.
        results: of :func:`tables.long_results`.

    Returns:
        Cells of complete blocks that lack scores so; columns regimen, arm, scope, class_name, n,
        missing, mean, worst, mean_if_worst.
    """
    without = lacking(facts)
    rows = []
    keys = ["regimen", "arm", "scope", "class_name"]
    for key, group in results.groupby(keys, sort=False):
        missing = without.get((float(str(key[0])), str(key[1])), 0)
        if missing:
            values = group.value.to_numpy()
            mean = float(values.mean())
            found = worst_case_mean(values, missing)
            rows.append((*key, len(values), missing, mean, float(values.min()), found))
    columns = [*keys, "n", "missing", "mean", "worst", "mean_if_worst"]
    return pd.DataFrame(rows, columns=columns)


def worst_case_sentences(facts: Facts, results: pd.DataFrame, table: pd.DataFrame) -> list[str]:
    """Say what the means over the classes of interest, or all, would be at worst.

    Args:
        facts: the study.
        results: of :func:`tables.long_results`.
        table: of :func:`worst_case_table`.
    """
    scope, name = ("minority", "") if facts.design.minority else ("overall", "")
    scored = set(results.groupby(["regimen", "arm"]).groups)
    sentences = [
        f"{arm} at {regimen_label(regimen)}: no replicate has a score, so there is no mean at all."
        for (regimen, arm) in lacking(facts)
        if (regimen, arm) not in scored
    ]
    for row in records(table[(table.scope == scope) & (table.class_name == name)]):
        has = "has" if row["missing"] == 1 else "have"
        replicates = count_text(row["missing"], "replicate")
        sentences.append(
            f"{row['arm']} at {regimen_label(row['regimen'])}: {replicates} {has} no score. Had "
            f"{'it' if row['missing'] == 1 else 'they'} scored as the worst of the other "
            f"{row['n']} did, the mean would be {number(row['mean_if_worst'])} instead of "
            f"{number(row['mean'])}."
        )
    return sentences


def sound_sentence(facts: Facts, table: pd.DataFrame) -> str:
    """Say what a study without any failure cannot rule out; empty before any replicate has ended.

    Args:
        facts: the study.
        table: of :func:`rates_table`.
    """
    mine = table[table.stage == "replicate"] if len(table) else table
    ended = int(mine[list(ENDED)].sum(axis=1).max()) if len(mine) else 0
    if not ended:
        return ""
    _, high = wilson_interval(0, ended, facts.design.confidence)
    return (
        f"With {count_text(ended, 'replicate')} in a cell that is no proof: up to {_percent(high)} "
        "% might fail there, and none of so many do by luck."
    )


@dataclass(frozen=True)
class RateView:
    """What became of the trials of a cell: lines of text with their intervals."""

    lines: tuple[tuple[str, str], ...]
    bad: bool


def failure_view(facts: Facts, table: pd.DataFrame) -> list[tuple[str, list[Any]]]:
    """Lay rates out for people.

    Args:
        facts: the study.
        table: of :func:`rates_table`.

    Returns:
        For each stage its title and, for each arm, its name and a :class:`RateView` a regimen.
    """
    groups: list[tuple[str, list[Any]]] = []
    for stage, title in STAGES.items():
        mine = table[table.stage == stage] if len(table) else table
        if mine.empty:
            continue
        keyed = {(row["arm"], row["regimen"]): row for row in records(mine)}
        rows = [
            (arm, [_rate(keyed.get((arm, regimen))) for regimen in facts.design.regimens])
            for arm in facts.design.arm_names
        ]
        groups.append((title, rows))
    return groups


def _rate(row: dict[str, Any] | None) -> RateView:
    if row is None:
        return RateView((("no trials", ""),), bad=False)
    ended = sum(int(row[state]) for state in ENDED)
    lines = [
        (
            f"{row[outcome]} of {ended} {outcome}",
            _percents(row, outcome),
        )
        for outcome in UNSCORED
        if row[outcome]
    ]
    if row["blocked"]:
        lines.append((f"{row['blocked']} of {row['planned']} never started", ""))
    if lines:
        return RateView(tuple(lines), bad=True)
    if not ended:
        return RateView((("none yet", ""),), bad=False)
    return RateView(((f"0 of {ended}", f"up to {_percent(row['diverged_high'])} %"),), bad=False)


def _percents(row: dict[str, Any], outcome: str) -> str:
    rate, low, high = (_percent(row[f"{outcome}_{name}"]) for name in ("rate", "low", "high"))
    return f"{rate} % ({low} to {high})"


def _percent(rate: float) -> str:
    return f"{100 * rate:.1f}"


def messages(table: pd.DataFrame) -> Iterator[tuple[str, str, str, str]]:
    """Yield training set, arm, stage and message of each cell that has one."""
    for row in records(table[table.message != ""]) if len(table) else ():
        yield regimen_label(row["regimen"]), row["arm"], row["stage"], row["message"][:300]


def failure_tables(facts: Facts, results: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Return the tables of failures by the names of their files."""
    found = {"failures": rates_table(facts)}
    tests, worst = associations_table(facts), worst_case_table(facts, results)
    if len(tests):
        found["failure-associations"] = tests
    if len(worst):
        found["worst-case"] = worst
    return found


def failure_context(
    facts: Facts, results: pd.DataFrame, found: dict[str, pd.DataFrame]
) -> dict[str, Any]:
    """Return what the template shows of failures.

    Args:
        facts: the study.
        results: of :func:`tables.long_results`.
        found: of :func:`failure_tables`.
    """
    table, status = found["failures"], facts.trials.status
    tests = found.get("failure-associations", associations_table(facts).iloc[:0])
    flagged, others = association_sentences(tests)
    of_means, _ = association_sentences(tests[tests.stage == "replicate"])
    worst = found.get("worst-case", worst_case_table(facts, results.iloc[:0]))
    return {
        "failures": failure_view(facts, table),
        "failure_flags": flagged,
        "failure_flags_of_means": of_means,
        "failure_rest": others,
        "worst_cases": worst_case_sentences(facts, results, worst),
        "sound": sound_sentence(facts, table),
        "broken": int(status.isin([*UNSCORED, "blocked"]).sum()),
        "ended": int(status.isin(ENDED).sum()),
        "messages": list(messages(table)),
        "lost": [(label, message[:300]) for label, message in facts.lost],
    }
