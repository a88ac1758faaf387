"""What an arm gives to the rare classes and takes from the others, and how that goes with the dose.

The blog post *A Conditional GAN for Data Augmentation: A Cautionary Tale* judges by the accuracy on
all test images, on those of its minority classes and, in its hypothesis, on the others: the more
made images, the lower the one and the higher the other. Its own figure, group means with one pooled
spread, stands here beside differences blocked by draw; and its hypothesis is tested as a trend over
the number of made images within each draw (:mod:`synthtrial.stats.trend`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from synthtrial.data.regimens import regimen_label
from synthtrial.report.facts import DASH, Facts, count_text, listing, records
from synthtrial.report.numbers import between, number
from synthtrial.report.questions import readable
from synthtrial.report.tables import (
    GROUPS_UNKNOWN,
    PROVISIONAL,
    cell_stamps,
    order_stamps,
    reported_trials,
)
from synthtrial.report.views import symbol_of
from synthtrial.stats.trend import Trend, trend

#: Scopes of :func:`sides`, in their order.
ALL, MINORITY, MAJORITY = "all", "minority", "majority"
SIDES = (ALL, MINORITY, MAJORITY)
#: Images that a slope is told for.
STEP = 100
_FEW = 3


@dataclass(frozen=True)
class Hypothesis:
    """One part of what the post supposes.

    Attributes:
        side: whose score is followed; ``gap`` for the recall on made training images less that on
            real test images.
        rises: whether the score is supposed to rise with the dose, or to fall.
        text: what is supposed, as a clause.
    """

    side: str
    rises: bool
    text: str


GAP = "gap"
HYPOTHESES = (
    Hypothesis(MINORITY, False, "the rare classes lose"),
    Hypothesis(MAJORITY, True, "the other classes gain"),
    Hypothesis(GAP, True, "the gap between made training images and real test images widens"),
)


@dataclass(frozen=True)
class DoseTrend:
    """How a score goes with the number of made images, in one regimen and series of arms.

    Attributes:
        arms: of the series, by the number of images they add, which are ``doses``.
        mean_D: score at each dose, mean over all replicates.
        test: slope for one more image; None where there are no two doses.
        p_supposed: one-sided, small where the score goes the supposed way; NaN if unknown.
        unit: what the test counts: ``draw`` or ``replicate``.
    """

    regimen: float
    arms: tuple[str, ...]
    doses: tuple[float, ...]
    hypothesis: Hypothesis
    mean_D: tuple[float, ...]
    test: Trend
    unit: str

    @property
    def p_supposed(self) -> float:
        """One-sided p value of the supposed direction."""
        p = self.test.p_falling
        return 1.0 - p if self.hypothesis.rises else p


def is_accuracy(facts: Facts) -> bool:
    """Whether sides are told as accuracy: the share of their images that is recognised."""
    return facts.design.class_metric == "recall" and not facts.design.multi_label


def side_metric(facts: Facts) -> str:
    """Name the score of a side: accuracy, or the mean over its classes of the class metric."""
    return "accuracy" if is_accuracy(facts) else facts.design.class_metric


def majority(facts: Facts) -> tuple[str, ...]:
    """Return the classes that are not of interest."""
    return tuple(name for name in facts.design.classes if name not in facts.design.minority)


def sides(facts: Facts, role: str = "test") -> pd.DataFrame:
    """Return the score of each side in each reported trial.

    Of data with one label an image it is the accuracy on the side's images, which follows from the
    recall of its classes and their counts; else the mean of the class metric over its classes.

    Args:
        facts: the study.
        role: images that are judged: ``test`` or ``validation``.

    Returns:
        Columns as of :func:`synthtrial.report.tables.long_results`, with the sides as scopes; empty
        where the study has no classes of interest or no others.
    """
    design = facts.design
    trials = reported_trials(facts)
    columns = ["regimen", "arm", "draw", "replicate", "scope", "class_name", "value", "metric"]
    others = majority(facts)
    known = facts.class_scores if role == "test" else facts.validation_scores
    if not design.minority or not others or known.empty:
        return pd.DataFrame(columns=columns)
    scores = known.reindex(index=trials.index, columns=list(design.classes))
    keys = trials[["regimen", "arm", "draw", "replicate"]]
    parts = []
    for side, names in ((ALL, design.classes), (MINORITY, design.minority), (MAJORITY, others)):
        value = _mean(facts, scores, trials.draw, names, role)
        parts.append(keys.assign(scope=side, class_name="", value=value))
    table = pd.concat(parts, ignore_index=True).assign(metric=side_metric(facts))
    return table.dropna(subset="value").reset_index(drop=True)[columns]


def _mean(
    facts: Facts, scores: pd.DataFrame, draws: pd.Series, names: Sequence[str], role: str
) -> pd.Series:
    """Return the mean over classes: of accuracies weighted by their images, else plain."""
    mine = scores[list(names)]
    if not is_accuracy(facts):
        return mine.mean(axis=1, skipna=False)
    counts = facts.counts[facts.counts.role == role]
    held = counts.pivot_table(index="draw", columns="class_name", values="images", aggfunc="first")
    weights = held.reindex(index=draws.to_numpy(), columns=list(names)).to_numpy(dtype=float)
    present = weights > 0  # a class without an image has no recall, and no part in the accuracy
    values = np.where(present, mine.to_numpy(dtype=float) * weights, 0.0)
    total = weights.sum(axis=1)
    share = np.full(len(mine), np.nan)
    np.divide(values.sum(axis=1), total, out=share, where=total > 0)
    return pd.Series(share, index=scores.index)


def learned(facts: Facts) -> pd.DataFrame:
    """Return how much better the rare classes are recognised in made training images.

    Returns:
        Columns as of :func:`sides`, scope ``gap``: the mean over the classes of interest of the
        class metric on the made images that a classifier was trained on, less that on real test
        images; of trials that were taught none there is no row, nor for metrics other than recall.
    """
    trials, design = reported_trials(facts), facts.design
    names = list(design.minority)
    keys = trials[["regimen", "arm", "draw", "replicate"]].assign(scope=GAP, class_name="")
    # Metrics that set images against each other, such as AUC, are not comparable between sets.
    if not names or facts.made_scores.empty or design.class_metric != "recall":
        return keys.assign(value=np.nan, metric="").iloc[:0]
    made = facts.made_scores.reindex(index=trials.index, columns=names)
    real = facts.class_scores.reindex(index=trials.index, columns=names)
    value = (made - real).mean(axis=1, skipna=True)
    table = keys.assign(value=value, metric=design.class_metric)
    return table.dropna(subset="value").reset_index(drop=True)


def series(facts: Facts) -> list[tuple[str, ...]]:
    """Return the arms that differ in nothing but the number of made images, at least two each.

    The baseline is the dose of none for arms that do what it does otherwise.
    """
    found: dict[tuple[str, str], list[str]] = {}
    for arm in facts.design.arms:
        if arm.images:
            found.setdefault((arm.images, arm.treatment), []).append(arm.name)
    baseline = next((a for a in facts.design.arms if a.name == facts.design.baseline), None)
    lines = []
    for (_, treatment), arms in found.items():
        if len(arms) > 1:
            zero = baseline is not None and (baseline.images, baseline.treatment) == ("", treatment)
            lines.append((facts.design.baseline, *arms) if zero else tuple(arms))
    return lines


def dose_trends(facts: Facts, table: pd.DataFrame) -> list[DoseTrend]:
    """Test the post's hypothesis over each series of doses.

    Args:
        facts: the study.
        table: of :func:`sides` and :func:`learned`, one below the other.
    """
    unit = facts.design.unit
    found = []
    for arms in series(facts):
        for regimen in facts.design.regimens:
            trials = reported_trials(facts)
            mine = trials[(trials.regimen == regimen) & trials.arm.isin(arms)]
            doses = mine.groupby("arm").n_added.mean().sort_values(kind="stable")
            if doses.nunique() < 2:
                continue
            for hypothesis in HYPOTHESES:
                rows = table[(table.scope == hypothesis.side) & (table.regimen == regimen)]
                rows = rows[rows.arm.isin(doses.index)]
                known = doses[doses.index.isin(rows.arm)]
                if known.nunique() < 2:
                    continue
                block = rows.pivot_table(index=unit, columns="arm", values="value")
                score_BD = block[list(known.index)].to_numpy()
                means = rows.groupby("arm").value.mean()
                found.append(
                    DoseTrend(
                        regimen,
                        tuple(str(name) for name in known.index),
                        tuple(float(dose) for dose in known),
                        hypothesis,
                        tuple(float(means[name]) for name in known.index),
                        trend(score_BD, known.to_numpy(), facts.design.confidence),
                        unit,
                    )
                )
    return found


def dose_table(facts: Facts, found: Sequence[DoseTrend]) -> pd.DataFrame:
    """Return the tests as rows.

    Returns:
        Columns regimen, arms, images (that each adds), score (what is followed), supposed (to rise
        or to fall), metric, slope (for ``STEP`` images), low, high, p_supposed (one-sided), n, unit
        (what n counts), df, dropped, why (something is missing), stamps (of any of the arms).
    """
    rows = []
    for item in found:
        test = item.test
        rows.append(
            {
                "regimen": item.regimen,
                "arms": ", ".join(item.arms),
                "images": ", ".join(f"{dose:g}" for dose in item.doses),
                "score": item.hypothesis.side,
                "supposed": "rises" if item.hypothesis.rises else "falls",
                "metric": _metric(facts, item.hypothesis),
                "slope": STEP * test.slope,
                "low": STEP * test.low,
                "high": STEP * test.high,
                "p_supposed": item.p_supposed,
                "n": test.n,
                "unit": item.unit,
                "df": test.df,
                "dropped": test.dropped,
                "why": test.why,
                "stamps": stamps_of(facts, item.regimen, item.arms),
            }
        )
    columns = (
        "regimen arms images score supposed metric slope low high p_supposed n unit df dropped why "
        "stamps"
    )
    return pd.DataFrame(rows, columns=columns.split())


def stamps_of(facts: Facts, regimen: float, arms: Sequence[str]) -> str:
    """Return the stamps of any of these arms at a regimen, joined by commas."""
    known = cell_stamps(facts)
    found = {s for arm in arms for s in known.get((arm, regimen), "").split(",") if s}
    return ",".join(order_stamps(found))


def dose_sentences(facts: Facts, found: Sequence[DoseTrend]) -> list[tuple[str, list[str]]]:
    """Say of each series which parts of the hypothesis the intervals bear out."""
    several = len(facts.design.regimens) > 1
    lines: dict[str, list[str]] = {}
    for item in found:
        title = listing([name for name in item.arms if name != facts.design.baseline])
        title += f" at {regimen_label(item.regimen)}" if several else ""
        lines.setdefault(title, []).append(_sentence(facts, item))
    return list(lines.items())


def _metric(facts: Facts, hypothesis: Hypothesis) -> str:
    return facts.design.class_metric if hypothesis.side == GAP else side_metric(facts)


def _sentence(facts: Facts, item: DoseTrend) -> str:
    test, hypothesis = item.test, item.hypothesis
    supposed = hypothesis.text[0].upper() + hypothesis.text[1:]
    if math.isnan(test.low):
        return f"{supposed}: cannot be told, {test.why}."
    name = readable(_metric(facts, hypothesis))
    shown = (
        f"{name} {number(STEP * test.slope, signed=True)} for each {STEP} made images "
        f"({100 * test.confidence:g} % interval {between(STEP * test.low, STEP * test.high)}, "
        f"n = {count_text(test.n, item.unit)})"
    )
    if test.low <= 0 <= test.high:
        few = f"; with so few {item.unit}s only an even change would show" if test.n <= _FEW else ""
        return f"{supposed}: not shown, {shown}{few}{_seeds(item)}."
    goes_so = (test.slope > 0) is hypothesis.rises
    return (
        f"{supposed}: {'borne out' if goes_so else 'the contrary is seen'}, {shown}{_seeds(item)}."
    )


def _seeds(item: DoseTrend) -> str:
    return "" if item.unit == "draw" else "; of one draw, so that only seeds vary"


@dataclass(frozen=True)
class SideCell:
    """The score of one side in one cell, as ready texts.

    Attributes:
        value: mean and pooled standard deviation.
        difference: from the baseline, with its interval; empty for the baseline itself.
        mark: ``higher``, ``lower``, ``unclear``, ``untested`` or empty.
    """

    value: str
    difference: str = ""
    mark: str = ""


def sides_view(
    facts: Facts, means: pd.DataFrame, differences: pd.DataFrame
) -> list[tuple[str, list[tuple[str, list[SideCell]]]]]:
    """Lay out means and differences of the sides: by regimen and arm, a cell for each side."""
    keys = ["regimen", "arm", "scope"]
    apart = {tuple(row[key] for key in keys): row for row in records(differences)}
    known = {tuple(row[key] for key in keys): row for row in records(means)}
    groups = []
    for regimen in facts.design.regimens:
        rows = []
        for arm in facts.design.arm_names:
            places = [(regimen, arm, side) for side in SIDES]
            if any(place in known for place in places):
                cells = [_cell(known.get(place), apart.get(place)) for place in places]
                rows.append((arm, cells))
        if rows:
            groups.append((_place(regimen), rows))
    return groups


def stamps_view(facts: Facts) -> dict[tuple[str, str], list[str]]:
    """Return the stamps to show beside an arm, by place of :func:`sides_view` and arm."""
    hidden = ("", GROUPS_UNKNOWN, PROVISIONAL)  # these are said once for all
    return {
        (_place(regimen), arm): [stamp for stamp in text.split(",") if stamp not in hidden]
        for (arm, regimen), text in cell_stamps(facts).items()
    }


def _place(regimen: float) -> str:
    return f"{regimen_label(regimen)} of the training set"


def _cell(mean: dict[str, Any] | None, apart: dict[str, Any] | None) -> SideCell:
    if mean is None:
        return SideCell(DASH)
    value = number(mean["mean"])
    if not math.isnan(mean["pooled_sd"]):
        value += f" ± {number(mean['pooled_sd'])}"
    if apart is None:
        return SideCell(value)
    mark, low, high = apart["outcome"], apart["shown_low"], apart["shown_high"]
    text = f"{symbol_of(mark, low, high)} {number(apart['difference'], signed=True)}"
    if not math.isnan(low):
        text += f" ({between(low, high)})"
    return SideCell(value, text, mark)
