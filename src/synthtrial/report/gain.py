"""How good must made images be before they help? Their quality beside the gain that they bring.

The gain is the difference from the baseline in the classes of interest. What is decided, such as
which arm to prefer, is decided by the gain on validation; the gain on test is what that was worth.
Within one draw the arms share training set and validation set, so it is within draws that quality
and gain are compared: by the rank correlation of the arms (Spearman), whose mean over draws is what
can be generalised.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from synthtrial.data.regimens import regimen_label
from synthtrial.report.facts import DASH, Facts, count_text, listing, records
from synthtrial.report.inference import HIGHER, differences_table
from synthtrial.report.numbers import between, number
from synthtrial.report.questions import readable
from synthtrial.report.sides import MINORITY, side_metric, sides, stamps_of
from synthtrial.stats.pooled import student_quantile

#: Figures of quality that are set beside the gain, with what they are called.
COMPARED: Mapping[str, str] = {
    "recognisability_relative": "recognised",
    "kernel_distance": "kernel distance",
    "coverage_relative": "covered",
    "diversity": "diversity",
}
#: Arms that a rank correlation needs, at least.
_LEAST_ARMS = 3
_VANISHES = 1e-9


@dataclass(frozen=True)
class RankCorrelation:
    """Whether arms with more of a figure gain more.

    Attributes:
        figure: of quality.
        rho: Spearman's, mean over draws; NaN where no draw has enough arms.
        low, high: t interval of that mean over draws; NaN with fewer than two, or where all are the
            same, as ranks of a few arms often are: that is no sign that others would be.
        draws: that count.
        arms: in each draw, at most.
    """

    figure: str
    rho: float
    low: float
    high: float
    draws: int
    arms: int


def gain_table(facts: Facts) -> pd.DataFrame:
    """Return quality beside gain for each arm with made images and each draw.

    Returns:
        Columns regimen, arm, draw, the figures of :data:`COMPARED` (means over the classes of
        interest), validation_gain, test_gain (in the classes of interest, against the baseline of
        the same draw, means over replicates), stamps; empty unless quality was measured and gains
        on validation are known. Arms that give made images each other's labels are left out.
    """
    columns = ["regimen", "arm", "draw", *COMPARED, "validation_gain", "test_gain", "stamps"]
    rated = _by_arm(facts)
    if rated.empty:
        return pd.DataFrame(columns=columns)
    table = rated
    for role in ("validation", "test"):
        table = table.merge(_gains(facts, role), on=["regimen", "arm", "draw"], how="left")
    known = table[["validation_gain", "test_gain"]].notna().any(axis=1)
    if table.validation_gain.isna().all():
        return pd.DataFrame(columns=columns)
    table["stamps"] = [stamps_of(facts, row["regimen"], (row["arm"],)) for row in records(table)]
    order = {name: place for place, name in enumerate(facts.design.arm_names)}
    table = table[known].sort_values(["regimen", "draw"], kind="stable")
    table = table.sort_values("arm", key=lambda names: names.map(order), kind="stable")
    return table[columns].reset_index(drop=True)


def _by_arm(facts: Facts) -> pd.DataFrame:
    """Return the figures of each arm, regimen and draw, as means over the classes of interest."""
    design = facts.design
    mine = facts.quality[facts.quality.class_name.isin(design.minority or design.classes)]
    shuffled = {arm.name for arm in design.arms if arm.shuffled}
    rows = []
    for (arms, regimen, draw), part in mine.groupby(["arms", "regimen", "draw"], sort=False):
        means = part[list(COMPARED)].mean(skipna=False)
        place = {"regimen": float(str(regimen)), "draw": int(str(draw))}
        own = [arm for arm in design.named(str(arms)) if arm not in shuffled]
        rows += [{"arm": arm, **place, **means} for arm in own]
    return pd.DataFrame(rows, columns=["arm", "regimen", "draw", *COMPARED])


def _gains(facts: Facts, role: str) -> pd.DataFrame:
    table = sides(facts, role)
    mine = table[table.scope == MINORITY].astype({"regimen": float, "draw": int, "value": float})
    means = mine.groupby(["regimen", "draw", "arm"]).value.mean().unstack("arm")
    if facts.design.baseline not in means:
        return pd.DataFrame(columns=["regimen", "arm", "draw", f"{role}_gain"])
    gains = means.sub(means[facts.design.baseline], axis=0)
    long = gains.reset_index().melt(id_vars=["regimen", "draw"], value_name=f"{role}_gain")
    return long.dropna(subset=f"{role}_gain")


def correlations(table: pd.DataFrame, confidence: float) -> list[RankCorrelation]:
    """Correlate each figure with the gain on validation, within draws.

    Args:
        table: of :func:`gain_table`, of one regimen.
        confidence: of the intervals.
    """
    found = []
    for figure in COMPARED:
        rhos, most = [], 0
        for _, mine in table.groupby("draw"):
            pairs = mine[[figure, "validation_gain"]].dropna()
            varied = pairs.nunique().min() if len(pairs) else 0
            if len(pairs) >= _LEAST_ARMS and varied > 1:
                from scipy.stats import spearmanr

                rhos.append(float(spearmanr(pairs[figure], pairs.validation_gain).statistic))
                most = max(most, len(pairs))
        rho, low, high = _mean_interval(rhos, confidence)
        found.append(RankCorrelation(figure, rho, low, high, len(rhos), most))
    return found


def _mean_interval(values: Sequence[float], confidence: float) -> tuple[float, float, float]:
    """Return the mean of correlations with its t interval, NaN without a spread of them."""
    if not values:
        return math.nan, math.nan, math.nan
    mean = float(np.mean(values))
    if len(values) < 2 or max(values) - min(values) < _VANISHES:
        return mean, math.nan, math.nan
    error = float(np.std(values, ddof=1)) / math.sqrt(len(values))
    half_width = student_quantile(confidence, len(values) - 1) * error
    return mean, max(mean - half_width, -1.0), min(mean + half_width, 1.0)


def gain_sentences(facts: Facts, table: pd.DataFrame) -> list[str]:
    """Say what quality was enough, which arm validation prefers, and what that was worth."""
    if table.empty:
        return []
    found = []
    regimens = sorted(set(table.regimen))
    for regimen in regimens:
        mine = table[table.regimen == regimen]
        place = f"At {regimen_label(regimen)}: " if len(regimens) > 1 else ""
        words = _decision(facts, mine, float(regimen))
        words += _rank_text(correlations(mine, facts.design.confidence))
        found += [place + words[0], *words[1:]]
    return found


def _decision(facts: Facts, table: pd.DataFrame, regimen: float) -> list[str]:
    """Decide on validation, then tell what test says of it."""
    named = set(table.arm)
    apart = {}
    for role in ("validation", "test"):
        mine = differences_table(facts, sides(facts, role))
        mine = mine[(mine.scope == MINORITY) & (mine.regimen == regimen) & mine.arm.isin(named)]
        apart[role] = {row["arm"]: row for row in records(mine)}
    chosen = apart["validation"]
    if not chosen:
        return ["No arm has a gain on validation yet."]
    name, metric = facts.design.baseline, readable(side_metric(facts))
    best = max(chosen, key=lambda arm: float(chosen[arm]["difference"]))
    text = (
        f"On validation {best} gains most over {name} in the classes of interest "
        f"({metric} {_shown(chosen[best])})"
    )
    if best in apart["test"]:
        text += f"; on test its gain is {_shown(apart['test'][best])}"
    sentences = [f"{text}."]
    helping = [arm for arm, row in chosen.items() if row["outcome"] == HIGHER]
    rated = table.groupby("arm")[list(COMPARED)].mean()
    if not helping:
        sentences.append(
            "No arm's gain on validation is clear of zero, so no quality that was reached can be "
            "called enough."
        )
        return sentences
    least = rated.loc[helping]
    parts = []
    for figure, text in COMPARED.items():
        values = least[figure].dropna()
        if len(values):
            worst = values.max() if figure == "kernel_distance" else values.min()
            parts.append(f"{text} {worst:.2g}")
    sentences.append(
        f"Clear of zero on validation {'is' if len(helping) == 1 else 'are'} {listing(helping)}: "
        f"the lowest quality among {'it' if len(helping) == 1 else 'them'} was {listing(parts)}."
    )
    return sentences


def _shown(row: Mapping[str, Any]) -> str:
    """Write a gain with the interval that holds for all arms at once, so for the best."""
    value = number(float(row["difference"]), signed=True)
    low, high = float(row["shown_low"]), float(row["shown_high"])
    return value if math.isnan(low) else f"{value}, {between(low, high)}"


def _rank_text(found: Sequence[RankCorrelation]) -> list[str]:
    known = [item for item in found if item.draws]
    if not known:
        return []
    parts = []
    for item in known:
        interval = "" if math.isnan(item.low) else f", {_two(item.low)} to {_two(item.high)}"
        parts.append(f"{COMPARED[item.figure]} {_two(item.rho)}{interval}")
    most, draws = max(item.arms for item in known), max(item.draws for item in known)
    over = f"over up to {most} arms within a draw, mean of {count_text(draws, 'draw')}"
    return [f"Rank correlation of quality with the gain on validation, {over}: {'; '.join(parts)}."]


def _two(value: float) -> str:
    return f"{value:+.2f}".replace("-", "\N{MINUS SIGN}")


def gain_view(table: pd.DataFrame) -> list[tuple[str, str, list[str], list[str]]]:
    """Return a line for each arm and regimen, its figures and gains as means over draws.

    Returns:
        Name of the arm, the regimen in words (empty where there is one only), the stamps, and the
        texts of figures and gains.
    """
    lines = []
    several = table.regimen.nunique() > 1
    for (regimen, arm), mine in table.groupby(["regimen", "arm"], sort=False):
        means = mine[[*COMPARED, "validation_gain", "test_gain"]].mean()
        cells = [DASH if math.isnan(means[name]) else f"{means[name]:.2g}" for name in COMPARED]
        cells += [number(float(means[f"{r}_gain"]), signed=True) for r in ("validation", "test")]
        place = regimen_label(float(str(regimen))) if several else ""
        stamps = [stamp for stamp in str(mine.stamps.iloc[0]).split(",") if stamp]
        lines.append((str(arm), place, stamps, cells))
    return lines


def points(table: pd.DataFrame, figure: str) -> list[tuple[str, list[tuple[float, float]]]]:
    """Return for each arm its (figure, gain on validation) in each draw, those that are known."""
    kept = table.dropna(subset=[figure, "validation_gain"])
    found: dict[str, list[tuple[float, float]]] = {}
    for row in records(kept):
        found.setdefault(row["arm"], []).append((row[figure], row["validation_gain"]))
    return list(found.items())
