"""Does a gain grow as data shrink and as a class gets rarer? The central claim, as a test.

A gain is the difference of an arm and the baseline in one block; what is tested is the spread of
whole blocks (:mod:`synthtrial.stats.trend`). Replicates that share a draw share its subset and its
generator, so a block is a draw, with the mean over its replicates; where all replicates share one
draw there is nothing but seeds to go by, and the sentences say so.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from synthtrial.data.regimens import regimen_label
from synthtrial.report.facts import Facts, count_text, listing
from synthtrial.report.numbers import between, number, p_text
from synthtrial.report.questions import readable
from synthtrial.report.verdict import target_text
from synthtrial.stats.trend import Interaction, Trend, interaction, trend

#: Prevalences nearer to each other than by this factor cannot carry a slope.
LEAST_RATIO = 1.5
_FEW = 3


@dataclass(frozen=True)
class ArmClaim:
    """What the gains of one arm say.

    Attributes:
        arm: that adds made images.
        classes: that the gains are of; empty where they are of the overall metric.
        regimens: that have gains, in the study's order.
        size: slope over log10 of the real training images, mean over the classes.
        rarity: slope over log10 of the prevalence, mean over the regimens; None where the classes
            do not allow one.
        no_rarity: why there is none.
        between: whether the gain is the same in all regimens.
        unit: what a block is: ``draw`` or ``replicate``.
    """

    arm: str
    classes: tuple[str, ...]
    regimens: tuple[float, ...]
    size: Trend
    rarity: Trend | None
    no_rarity: str
    between: Interaction
    unit: str


def regimen_sizes(facts: Facts) -> dict[float, int]:
    """Return the real training images of each regimen, as far as they are known."""
    rows = facts.counts[(facts.counts.class_name == "") & (facts.counts.role == "train")]
    known = dict(facts.regimen_images)
    for regimen in facts.design.regimens:
        if regimen > 1:
            known.setdefault(regimen, round(regimen))
        elif len(rows):
            known.setdefault(regimen, round(regimen * float(rows.images.mean())))
    return {r: known[r] for r in facts.design.regimens if known.get(r, 0) > 0}


def prevalences(facts: Facts) -> dict[str, float]:
    """Return the share of each class in the training images, mean over draws.

    Uncertain labels count where training takes them for positive ones, if they were counted.
    """
    train = facts.counts[facts.counts.role == "train"]
    totals = train[train.class_name == ""].set_index("draw").images
    found = {}
    for name, mine in train[train.class_name != ""].groupby("class_name", sort=False):
        held = mine.set_index("draw").images.astype(float)
        if facts.design.uncertain_counts:
            held += mine.set_index("draw").uncertain.fillna(0)
        found[str(name)] = float((held / totals).mean())
    return {name: share for name, share in found.items() if share > 0}


def claims(facts: Facts, results: pd.DataFrame) -> list[ArmClaim]:
    """Test the central claim for each arm that adds made images, and for the declared question's.

    Args:
        facts: the study.
        results: of :func:`synthtrial.report.tables.long_results`.

    Returns:
        Nothing where the study has fewer than two regimens or no such arm.
    """
    if len(facts.design.regimens) < 2:
        return []
    asked = (facts.design.primary.arm,) if facts.design.primary is not None else ()
    arms = dict.fromkeys((*facts.design.synthetic_arms, *asked))
    return [_claim(facts, results, arm) for arm in arms]


def _claim(facts: Facts, results: pd.DataFrame, arm: str) -> ArmClaim:
    design, sizes = facts.design, regimen_sizes(facts)
    classes = design.minority
    scope = "class" if classes else "overall"
    mine = results[(results.scope == scope) & results.arm.isin([arm, design.baseline])]
    mine = mine[mine.class_name.isin(classes or ("",))]
    unit = design.unit
    table = mine.pivot_table(
        index=["draw", "replicate", "regimen", "class_name"], columns="arm", values="value"
    ).reindex(columns=[arm, design.baseline])
    single = (table[arm] - table[design.baseline]).dropna().rename("gain").reset_index()
    gain = single.groupby([unit, "regimen", "class_name"]).gain.mean()
    held = set(gain.index.get_level_values("regimen"))
    regimens = tuple(r for r in design.regimens if r in held and r in sizes)
    blocks = sorted(set(gain.index.get_level_values(unit)))
    names = classes or ("",)
    shape = (len(blocks), len(regimens), len(names))
    gain_BRK = gain.reindex(pd.MultiIndex.from_product([blocks, regimens, names])).to_numpy()
    gain_BRK = gain_BRK.reshape(shape)
    images = np.log10([sizes[regimen] for regimen in regimens])
    shares, why = _shares(facts, classes)
    rarity = None
    if not why:
        rarity = trend(gain_BRK.mean(axis=1), np.log10(shares), design.confidence)
    mean_BR = gain_BRK.mean(axis=2)
    size = trend(mean_BR, images, design.confidence)
    return ArmClaim(arm, classes, regimens, size, rarity, why, interaction(mean_BR), unit)


def _shares(facts: Facts, classes: Sequence[str]) -> tuple[list[float], str]:
    """Return the prevalence of each class, and why there can be no slope over them."""
    known = prevalences(facts)
    shares = [known[name] for name in classes if name in known]
    if len(classes) < 2:
        return shares, "that takes two classes of interest or more"
    if len(shares) < len(classes):
        return shares, "the classes have not been counted yet"
    if max(shares) < LEAST_RATIO * min(shares):
        each = ", ".join(f"{n}: {100 * known[n]:.3g} %" for n in classes)
        return shares, f"the classes of interest are too alike in how common they are ({each})"
    return shares, ""


def claim_table(facts: Facts, found: Sequence[ArmClaim]) -> pd.DataFrame:
    """Return the tests as rows: of each arm those over size, over rarity and between regimens.

    Returns:
        Columns arm, baseline, metric, classes, question, slope_over, slope, low, high,
        standard_error, df, p_value, p_falling (one-sided), f, df_regimens, df_residual, epsilon,
        n, unit (what n counts), dropped, why (something is missing).
    """
    design, rows = facts.design, []
    for claim in found:
        metric = design.class_metric if claim.classes else design.overall_metric
        place = {
            "arm": claim.arm,
            "baseline": design.baseline,
            "metric": metric,
            "classes": ", ".join(claim.classes),
            "unit": claim.unit,
        }
        over = {
            "size": ("log10 of real training images", claim.size),
            "rarity": ("log10 of prevalence", claim.rarity),
        }
        for question, (x, test) in over.items():
            row = place | {"question": question, "slope_over": x, "why": claim.no_rarity}
            rows.append(row if test is None else row | _fields(test))
        rows.append(place | {"question": "between regimens"} | _fields(claim.between))
    columns = (
        "arm baseline metric classes question slope_over slope low high standard_error df p_value "
        "p_falling f df_regimens df_residual epsilon n unit dropped why"
    )
    return pd.DataFrame(rows, columns=columns.split())


def _fields(test: Trend | Interaction) -> dict[str, object]:
    return {name: value for name, value in vars(test).items() if name != "confidence"}


def claim_sentences(facts: Facts, claim: ArmClaim) -> list[str]:
    """Say what the intervals of one arm allow."""
    if len(claim.regimens) < 2:
        return ["Nothing can be said yet: gains in two regimens are needed."]
    words = [_size_text(facts, claim), _rarity_text(facts, claim)]
    if len(claim.regimens) > 2:  # of two regimens it is the same test as that of the slope
        words.append(_between_text(facts, claim.between))
    if claim.size.n and claim.size.dropped:
        words.append(
            f"{count_text(claim.size.dropped, claim.unit)} without all gains "
            f"{'is' if claim.size.dropped == 1 else 'are'} left out."
        )
    missing = [regimen_label(r) for r in facts.design.regimens if r not in claim.regimens]
    if missing:
        words.append(f"At {listing(missing)} there are no gains to compare.")
    return words


def _size_text(facts: Facts, claim: ArmClaim) -> str:
    design = facts.design
    gain = f"the gain of {claim.arm} over {design.baseline} in {target_text(facts)}"
    test, step = claim.size, "for each tenfold more images"
    if math.isnan(test.low):
        size = "the size of the training set cannot be told"
        return f"Whether {gain} depends on {size}: {_why(claim, test)}."
    amount, shown = _amount(facts, claim, test, 1.0)
    falls = test.slope < 0
    verb = "falls" if falls else "grows"
    if test.low <= 0 <= test.high:
        return (
            f"Whether {gain} falls as the training set grows cannot be told: it {verb} by {amount} "
            f"{step}, and the interval holds zero ({shown}).{_few(claim, test)}"
        )
    end = "larger in small training sets" if falls else "larger in large training sets"
    capital = gain[0].upper() + gain[1:]
    return f"{capital} {verb} by {amount} {step} ({shown}): it is {end}."


def _rarity_text(facts: Facts, claim: ArmClaim) -> str:
    test = claim.rarity
    if test is None:
        return f"Whether it depends on how rare a class is cannot be told: {claim.no_rarity}."
    if math.isnan(test.low):
        return f"Whether it depends on how rare a class is cannot be told: {_why(claim, test)}."
    amount, shown = _amount(facts, claim, test, math.log10(2.0))
    verb, step = "grows" if test.slope < 0 else "falls", "for each halving of a class's share"
    if test.low <= 0 <= test.high:
        return (
            f"Whether rarer classes gain more cannot be told: the gain {verb} by {amount} {step}, "
            f"and the interval holds zero ({shown}).{_few(claim, test)}"
        )
    end = "rarer classes gain more" if test.slope < 0 else "rarer classes gain less"
    return f"It {verb} by {amount} {step} ({shown}): {end}."


def _between_text(facts: Facts, test: Interaction) -> str:
    if math.isnan(test.p_value):
        return f"Whether it is the same in all training sets cannot be tested: {test.why}."
    freedom = [test.epsilon * df for df in (test.df_regimens, test.df_residual)]
    shown = f"F({freedom[0]:.1f}, {freedom[1]:.1f}) = {test.f:.2f}, {p_text(test.p_value)}"
    if test.p_value < 1 - facts.design.confidence:
        return f"It is not the same in all training sets: {shown}."
    return f"Without asking for a direction, no difference between training sets is clear: {shown}."


def _amount(facts: Facts, claim: ArmClaim, test: Trend, step: float) -> tuple[str, str]:
    """Write the size of a slope for one step, and its interval in the same direction."""
    sign = step if test.slope >= 0 else -step
    low, high = sorted((sign * test.low, sign * test.high))
    metric = readable(facts.design.class_metric if claim.classes else facts.design.overall_metric)
    shown = f"{100 * test.confidence:g} % interval {between(low, high, signed=False)}, n = "
    return f"{number(sign * test.slope)} {metric}", shown + count_text(test.n, claim.unit)


def _why(claim: ArmClaim, test: Trend) -> str:
    if not test.n:
        return f"no {claim.unit} has a gain in every training set"
    return f"an interval needs two {claim.unit}s and there is one" if test.n < 2 else test.why


def _few(claim: ArmClaim, test: Trend) -> str:
    few = f" With so few {claim.unit}s only a large and even change would show."
    return few if test.n <= _FEW else ""
