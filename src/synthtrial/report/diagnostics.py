"""Whether what the intervals suppose is true, and how answers that suppose less compare."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pandas as pd

from synthtrial.data.regimens import regimen_label
from synthtrial.report.facts import DASH, MINUS, Facts, listing, records
from synthtrial.report.inference import deltas_of
from synthtrial.report.numbers import between, number, p_text, p_value
from synthtrial.report.questions import targets_of
from synthtrial.report.tables import Results, blocks_of, groups_of
from synthtrial.stats.assumptions import robustness, same_spread
from synthtrial.stats.contrasts import all_pairs
from synthtrial.stats.multiplicity import holm
from synthtrial.stats.welch import welch

_TAKEN = ("difference", "low", "high", "effect_size", "effect_low", "effect_high")
#: Most arms whose pairs are all compared: their number grows with the square.
MOST_ARMS = 16


def assumptions_table(
    facts: Facts, results: Results | None, differences: pd.DataFrame
) -> pd.DataFrame:
    """Return tests of what intervals suppose, for every difference that the page shows.

    Args:
        facts: the study.
        results: as in :func:`synthtrial.report.inference.differences_table`.
        differences: of :func:`synthtrial.report.inference.differences_table`.

    Returns:
        Columns regimen, arm, scope, class_name, spread_p (Brown and Forsythe, of what blocks and
        arms leave unexplained: the arms have one spread), spread_ratio (largest over smallest),
        difference, low, high (as in the differences), welch_low, welch_high, welch_p (of blocks,
        unpaired, unequal spreads: what the blog's comparison of groups becomes without one spread),
        p_normal (Shapiro and Wilk, of the differences between blocks), p_signed_rank (Wilcoxon, of
        no difference), low_without, high_without (range of the difference when any one block is
        left out), skewness, effect_size, effect_low, effect_high (as in the differences).
    """
    design, rows = facts.design, []
    keyed = {
        (row["regimen"], row["scope"], row["class_name"], row["arm"]): row
        for row in records(differences[differences.baseline == design.baseline])
    }
    for group in groups_of(facts, results):
        regimen, scope, class_name = group.regimen, group.scope, group.class_name
        if (scope, class_name) not in targets_of(design):
            continue
        table = blocks_of(group, design)
        scores, spread = table.by_arm, same_spread(table.values_BA)
        for arm in design.arm_names:
            row = keyed.get((regimen, scope, class_name, arm))
            if row is None:
                continue
            found = robustness(deltas_of(table, arm, design.baseline)[1])
            place = {"regimen": regimen, "arm": arm, "scope": scope, "class_name": class_name}
            place |= {"spread_p": spread.p_value, "spread_ratio": spread.ratio}
            place |= {name: row[name] for name in _TAKEN}
            apart = welch(scores[design.baseline], scores[arm], design.confidence)
            place |= {f"welch_{end}": getattr(apart, end) for end in ("low", "high")}
            place["welch_p"] = apart.p_value
            rows.append(place | vars(found))
    columns_ = (
        "regimen arm scope class_name spread_p spread_ratio difference low high welch_low "
        "welch_high welch_p p_normal p_signed_rank low_without high_without skewness effect_size "
        "effect_low effect_high"
    )
    return pd.DataFrame(rows, columns=columns_.split())


def pairs_table(facts: Facts, results: Results | None = None) -> pd.DataFrame:
    """Compare all pairs of arms in what is judged first (Tukey's family).

    Returns:
        Columns regimen, scope, class_name, metric, arm, baseline (the other arm), difference, low,
        high, joint_low, joint_high, p_value, p_adjusted (over the pairs of the training set),
        p_holm (over training sets as well), blocks, df, spread; empty for more than
        :data:`MOST_ARMS` arms.
    """
    design, rows = facts.design, []
    scope, class_name = design.judged
    few = len(design.arms) <= MOST_ARMS
    for group in groups_of(facts, results) if few else ():
        if (group.scope, group.class_name) != (scope, class_name):
            continue
        table = blocks_of(group, design)
        rows += [
            {
                **group.place,
                "arm": pair.arm,
                "baseline": pair.baseline,
                "difference": pair.estimate,
                "low": pair.low,
                "high": pair.high,
                "joint_low": pair.joint_low,
                "joint_high": pair.joint_high,
                "p_value": pair.p_value,
                "p_adjusted": pair.p_adjusted,
                "blocks": pair.n,
                "df": pair.df,
                "spread": pair.spread,
            }
            for pair in all_pairs(
                table.values_BA,
                table.arms,
                spread=design.spread,
                varying=design.varying_arms,
                confidence=design.confidence,
            )
        ]
    columns = (
        "regimen scope class_name metric arm baseline difference low high joint_low joint_high "
        "p_value p_adjusted p_holm blocks df spread"
    )
    found = pd.DataFrame(rows, columns=columns.split())
    found["p_holm"] = holm(found.p_adjusted, found.regimen.tolist())
    return found


def pair_sentences(facts: Facts, table: pd.DataFrame) -> list[str]:
    """Say for each training set which pairs of arms differ, all pairs taken together.

    Findings are about the pairs with the baseline, as a family of their own: these are left out.
    """
    alpha, baseline = 1.0 - facts.design.confidence, facts.design.baseline
    table = table[(table.arm != baseline) & (table.baseline != baseline)]
    sentences = []
    for regimen in facts.design.regimens:
        mine = table[table.regimen == regimen]
        if mine.empty:
            continue
        above: dict[str, list[str]] = {}
        for row in records(mine[mine.p_holm < alpha]):
            pair = (row["arm"], row["baseline"])
            better, worse = pair if row["difference"] > 0 else pair[::-1]
            above.setdefault(better, []).append(worse)
        parts = [
            f"{arm} above {listing(above[arm])}" for arm in facts.design.arm_names if arm in above
        ]
        text = "; ".join(parts) if parts else "no two arms can be told apart"
        sentences.append(f"{regimen_label(regimen)}: {text}.")
    return sentences


def assumptions_view(
    facts: Facts, table: pd.DataFrame
) -> list[tuple[str, str, list[tuple[str, list[tuple[str, str]]]]]]:
    """Lay out what is tested of the target that is judged first.

    Returns:
        For each training set its name, p of one spread for all arms, and a line for each arm: its
        name and, under :func:`view_headings`, texts with what stands below them.
    """
    scope, class_name = facts.design.judged
    mine = table[(table.scope == scope) & (table.class_name == class_name)]
    groups = []
    for regimen in facts.design.regimens:
        rows = records(mine[mine.regimen == regimen])
        lines = [
            (
                str(row["arm"]),
                [
                    (
                        number(row["difference"], signed=True),
                        between(row["low"], row["high"], unknown=""),
                    ),
                    (between(row["welch_low"], row["welch_high"]), ""),
                    (between(row["low_without"], row["high_without"]), ""),
                    (p_value(row["p_normal"]), ""),
                    (p_value(row["p_signed_rank"]), ""),
                    _effect(row["effect_size"], row["effect_low"], row["effect_high"]),
                ],
            )
            for row in rows
        ]
        if lines:
            groups.append((regimen_label(regimen), p_text(rows[0]["spread_p"]), lines))
    return groups


def doubts(facts: Facts, table: pd.DataFrame) -> list[str]:
    """Say in words where what the intervals suppose does not hold."""
    sentences = []
    alpha = 1.0 - facts.design.confidence
    scope, class_name = facts.design.judged
    mine = table[(table.scope == scope) & (table.class_name == class_name)]
    unlike = sorted({row["regimen"] for row in records(mine[mine.spread_p < alpha])})
    if unlike:
        places = listing([regimen_label(regimen) for regimen in unlike])
        sentences.append(
            f"At {places} the arms differ in spread (Brown and Forsythe), so that intervals from "
            "one spread for all do not hold there; those with a spread of their own do."
        )
    skewed = [
        f"{row['arm']} at {regimen_label(row['regimen'])}"
        for row in records(mine[mine.p_normal < alpha / 5])
    ]
    if skewed:
        sentences.append(
            f"The differences of {listing(skewed)} are not normal (Shapiro and Wilk, p < "
            f"{alpha / 5:g}); the signed ranks suppose less."
        )
    return sentences


def view_headings() -> Sequence[str]:
    """Return the headings of :func:`assumptions_view`'s texts."""
    return (
        "difference",
        "Welch, unpaired",
        "without any one",
        "normal, p",
        "signed ranks, p",
        "effect size",
    )


def _effect(size: float, low: float, high: float) -> tuple[str, str]:
    if math.isnan(size):
        return DASH, ""
    texts = [f"{value:+.2f}".replace("-", MINUS) for value in (size, low, high)]
    return texts[0], f"{texts[1]} to {texts[2]}"
