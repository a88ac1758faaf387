"""What the intervals allow one to say, in plain words.

Nothing is claimed that an interval does not carry: an interval that holds zero is called *no clear
difference*, never *no difference*, and a single replicate gives no verdict.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from synthtrial.data.regimens import regimen_label
from synthtrial.report.facts import TIMES, Design, Facts, count_text, listing, rows_text
from synthtrial.report.inference import (
    EQUAL,
    HIGHER,
    LOWER,
    MISSING,
    UNCLEAR,
    UNTESTED,
)
from synthtrial.report.questions import readable, target_name
from synthtrial.report.tables import blocks_table, study_stamps


@dataclass(frozen=True)
class Versus:
    """One arm against another, in words.

    Attributes:
        outcome: ``higher``, ``lower``, ``equal``, ``unclear``, ``untested`` (no interval) or
            ``missing``.
        difference, low, high: in units of the metric, with the interval that is shown; NaN where
            unknown.
        against: the arm compared with.
    """

    outcome: str
    difference: float = math.nan
    low: float = math.nan
    high: float = math.nan
    against: str = ""


@dataclass(frozen=True)
class Answer:
    """What one arm with made images did at one regimen.

    Attributes:
        arm, regimen: the cell.
        first: in what is judged first (``Design.judged``), against the baseline.
        overall: in all classes, against the baseline.
        rival: in what is judged first, against the best arm that makes no images
            (``Design.rivals``), which may be the baseline; missing where there is none.
    """

    arm: str
    regimen: float
    first: Versus
    overall: Versus
    rival: Versus


def answers(facts: Facts, differences: pd.DataFrame, means: pd.DataFrame) -> list[Answer]:
    """Return the answer of each synthetic arm at each regimen, in the study's order.

    Args:
        facts: the study.
        differences: of :func:`synthtrial.report.inference.differences_table`, rivals included.
        means: of :func:`synthtrial.report.tables.results_table`.
    """
    design = facts.design
    scope, class_name = first = design.judged
    found: list[Answer] = []
    for regimen in design.regimens:
        here = means[
            (means.regimen == regimen) & (means.scope == scope) & (means.class_name == class_name)
        ].set_index("arm")["mean"]
        ranked = here.reindex(design.rivals).dropna().sort_values(ascending=False, kind="stable")
        rival = str(ranked.index[0]) if len(ranked) else ""
        found += [
            Answer(
                arm,
                regimen,
                _find(differences, regimen, arm, design.baseline, first),
                _find(differences, regimen, arm, design.baseline, ("overall", "")),
                _find(differences, regimen, arm, rival, first),
            )
            for arm in design.synthetic_arms
        ]
    return found


def _find(
    table: pd.DataFrame, regimen: float, arm: str, against: str, target: tuple[str, str]
) -> Versus:
    scope, class_name = target
    rows = table[
        (table.regimen == regimen)
        & (table.arm == arm)
        & (table.baseline == against)
        & (table.scope == scope)
        & (table.class_name == class_name)
    ]
    if rows.empty:
        return Versus(MISSING, against=against)
    row = rows.iloc[0]
    low, high = float(row.shown_low), float(row.shown_high)
    return Versus(str(row.outcome), float(row.difference), low, high, against)


def headline(facts: Facts, found: Sequence[Answer]) -> list[str]:
    """Return the report's first words: one short sentence each, the most important first."""
    design = facts.design
    if not design.synthetic_arms:
        return ["No arm of this study adds synthetic images; the arms are compared below."]
    if all(answer.first.outcome == MISSING for answer in found):
        if facts.finished:
            making = listing(list(design.synthetic_arms), "or")
            reason = f"At no regimen do both {making} and {design.baseline} have a score to compare"
            return ["Nothing can be said.", f"{reason}; what went wrong is listed below."]
        blocks = blocks_table(facts)
        progress = (
            f"{blocks.complete.sum()} of {len(blocks)} blocks (one replicate of every arm at one "
            "regimen) are complete."
        )
        return ["Nothing can be said yet.", progress]
    sentences: list[str] = []
    alike: dict[tuple[object, ...], list[str]] = {}
    for arm in design.synthetic_arms:
        mine = [answer for answer in found if answer.arm == arm]
        alike.setdefault(_outcomes(mine), []).append(arm)
    for arms in alike.values():  # what is the same of several arms is said once
        mine = [answer for answer in found if answer.arm == arms[0]]
        sentences += _sentences(facts, listing(arms), mine)
    asked = design.primary is not None and design.primary.arm in design.synthetic_arms
    declared = asked and not design.asked_late
    told = {answer.first.outcome for answer in found}
    late = design.margin_late and any(_is_small(answer.first, design) for answer in found)
    if (
        told & {HIGHER, LOWER, EQUAL}
        and (late or not declared)
        and "LEAKY" not in study_stamps(facts)
    ):
        sentences[0] = f"Exploratory: {sentences[0][0].lower()}{sentences[0][1:]}"
    if "LEAKY" in study_stamps(facts):
        sentences[0] = f"At face value: {sentences[0][0].lower()}{sentences[0][1:]}"
        warning = "These numbers are no evidence: images descend from held-out groups."
        sentences.insert(0, warning)
    if not facts.finished:
        sentences[0] = f"So far: {sentences[0][0].lower()}{sentences[0][1:]}"
    return list(dict.fromkeys(sentences))


def _is_small(versus: Versus, design: Design) -> bool:
    """Whether it is the margin that says how little a difference matters."""
    if versus.outcome == HIGHER:
        return design.margin is not None and versus.high < design.margin
    return versus.outcome == EQUAL


def _outcomes(found: Sequence[Answer]) -> tuple[object, ...]:
    """Return all that the first words depend on."""
    return tuple(
        (a.regimen, a.first.outcome, a.overall.outcome, a.rival.outcome, a.rival.against)
        for a in found
    )


def _sentences(facts: Facts, arm: str, found: Sequence[Answer]) -> list[str]:
    design = facts.design
    what = first_text(facts)
    subject = "the synthetic images" if len(design.synthetic_arms) == 1 else f"the images of {arm}"
    first = {answer.regimen: answer.first for answer in found}
    higher, lower = _where(first, HIGHER), _where(first, LOWER)
    unclear, untested = _where(first, UNCLEAR), _where(first, UNTESTED)
    missing, equal = _where(first, MISSING), _where(first, EQUAL)
    words = []
    if higher and not lower:
        everywhere = len(higher) == len(found) > 1
        one = len(design.synthetic_arms) == 1
        start = "Yes, they helped" if one else f"Yes, {arm} helped"
        gains = [answer.first for answer in found if answer.first.outcome == HIGHER]
        if all(_is_small(gain, design) for gain in gains):
            start = f"They helped less than matters ({design.margin:g})"
        words.append(
            f"{start} at {'every regimen' if everywhere else listing(higher)}: "
            f"{what} was higher than with {design.baseline}."
        )
    elif lower and not higher:
        words.append(f"No: {subject} made {what} worse than {design.baseline} at {listing(lower)}.")
    elif higher and lower:
        words.append(
            f"It depends: {subject} raised {what} at {listing(higher)} and lowered it at "
            f"{listing(lower)}."
        )
    elif unclear:
        words.append(
            f"No clear effect of {subject} on {what}: at {_places(unclear, found)} the "
            f"difference from {design.baseline} cannot be told from zero."
        )
    if equal:
        small = "it is the same" if design.margin is None else f"it is below {design.margin:g}"
        words.append(
            f"At {_places(equal, found)} {subject} made no difference in {what} that matters: "
            f"{small}."
        )
    if unclear and (higher or lower):
        words.append(f"At {listing(unclear)} there is no clear difference.")
    if untested:
        one = design.replicates == 1
        reason = "one replicate" if one else "one block, or few that all agree exactly"
        words.append(f"At {listing(untested)} the spread is unknown ({reason}), so no verdict.")
    if missing:
        words.append(
            f"At {listing(missing)} no scores of both {arm} and {design.baseline} are there to "
            "judge by."
        )
    worse = _where({answer.regimen: answer.overall for answer in found}, LOWER)
    if worse and shows_overall(design):
        words.append(
            f"It has a price: {readable(design.overall_metric)} over {design.overall_scope} was "
            f"lower at {listing(worse)}."
        )
    subject = arm if len(design.synthetic_arms) > 1 else "they"
    return words + _rival_sentences(facts, subject, found)


def _places(regimens: Sequence[str], found: Sequence[Answer]) -> str:
    """Name regimens, or all that were tested."""
    tested = [a for a in found if a.first.outcome not in (UNTESTED, MISSING)]
    everywhere = len(regimens) == len(tested) > 1
    return "every regimen tested" if everywhere else listing(list(regimens))


def _rival_sentences(facts: Facts, subject: str, found: Sequence[Answer]) -> list[str]:
    baseline = facts.design.baseline
    best = "the best arm that makes no images"
    if any(arm.original for arm in facts.design.arms):
        best = "the best arm without made images or the original data"
    tested = [a for a in found if a.rival.outcome in (HIGHER, LOWER, UNCLEAR, EQUAL)]
    told = [regimen_label(a.regimen) for a in tested if a.rival.against == baseline]
    tested = [a for a in tested if a.rival.against != baseline]
    sentences = []
    if told:
        sentences.append(f"At {listing(told)} {best} was the baseline itself.")
    if not tested:
        return sentences
    parts = []
    for outcome, verb in ((HIGHER, "beat"), (LOWER, "fell behind"), (UNCLEAR, "")):
        same = (outcome, EQUAL) if outcome == UNCLEAR else (outcome,)
        mine = [answer for answer in tested if answer.rival.outcome in same]
        if not mine:
            continue
        if outcome == UNCLEAR:
            places = listing([regimen_label(answer.regimen) for answer in mine])
            parts.append(f"could not be told from it at {places}")
        else:
            pairs = [f"{a.rival.against} at {regimen_label(a.regimen)}" for a in mine]
            parts.append(f"{verb} {listing(pairs)}")
    return [f"Against {best}, {subject} {listing(parts)}.", *sentences]


def _where(found: dict[float, Versus], outcome: str) -> list[str]:
    return [regimen_label(r) for r, versus in found.items() if versus.outcome == outcome]


def shows_overall(design: Design) -> bool:
    """Whether all classes are told of beside what is judged first."""
    same = design.overall_is_minority and design.judged[0] == "minority"
    return design.judged[0] != "overall" and not same


def first_text(facts: Facts) -> str:
    """Name what is judged first: what the primary question asks, or the summary."""
    design = facts.design
    if design.judged == (design.summary_scope, ""):
        return target_text(facts)
    return target_name(design, *design.judged)


def target_text(facts: Facts) -> str:
    """Name what sums up the study: the mean over the minority classes, or the overall metric."""
    design = facts.design
    if not design.minority:
        return readable(design.overall_metric)
    classes = listing(list(design.minority))
    noun = "class " if len(design.minority) == 1 else ""
    return f"{readable(design.class_metric)} on {noun}{classes}"


def study_paragraph(facts: Facts) -> str:
    """Tell in one paragraph what was done, from images to test."""
    design = facts.design
    channels, height, width = design.image_shape
    colour = "colour" if channels == 3 else "grey"
    total = facts.counts[(facts.counts.class_name == "") & (facts.counts.draw == 0)].images.sum()
    images = f"{total:,} {colour} images" if total else f"{colour} images"
    several = ", several at once" if design.multi_label else ""
    question = f"The study asks whether made images help a classifier ({design.classifier}) of "
    size = f"{height}{TIMES}{width} pixels in {len(design.classes)} classes{several}"
    parts = [f"{question}{design.dataset}: {images} of {size}."]
    if design.reduced and design.removed_fraction:
        parts.append(
            f"{100 * design.removed_fraction:g} % of the training images of "
            f"{listing(list(design.reduced))} were taken away; the test set keeps all of its own."
        )
    arms = listing([f"{arm.name} ({arm.text})" for arm in design.arms])
    regimens = listing([regimen_label(regimen) for regimen in design.regimens])
    parts.append(
        f"{count_text(len(design.arms), 'arm')} deal with the imbalance: {arms}. "
        f"Each is trained on {regimens} of the training set."
    )
    return " ".join([*parts, *_images_text(facts), *_protocol_text(facts)])


def _images_text(facts: Facts) -> list[str]:
    """Say where made images come from, who judges them and how many there are."""
    design = facts.design
    if not design.generator:
        return []
    if not design.trains_generators:
        parts = [f"The images were made elsewhere: nothing was fitted here; {design.balance}."]
    else:
        seen = f"fitted on {rows_text(design.fit_on)}"
        if design.fit_on == "several":
            seen = "fitted as each arm says"
        elif design.generator_kinds > 1:
            seen += ", and trained as each arm says"
        parts = [f"The images come from {design.generator}, {seen}; {design.balance}."]
    if design.reference:
        rows = rows_text(design.reference)
        use = ["decides which are accepted"] if design.filtered_arms else []
        use += ["serves to measure how good they are"] if design.features else []
        parts.append(
            f"A reference classifier ({design.classifier}) {listing(use)}: it is trained on real "
            f"images only, on {rows}."
        )
    return parts


def _protocol_text(facts: Facts) -> list[str]:
    """Say which trainings there are, which of them choose, and which are judged."""
    design = facts.design
    metric = f"validation {readable(design.selector)}"
    interest = listing(list(design.minority))
    if design.select_over == "macro_chosen":
        metric += f" (mean over {interest})"
    replicates, draws = count_text(design.replicates, "replicate"), count_text(design.draws, "draw")
    times = f"{replicates} on {draws}"
    axes = listing([f"{len(v)} {TIMES} {k.replace('_', ' ')}" for k, v in design.grid.items()])
    grid = (
        f"a grid of {count_text(design.configurations, 'configuration')} ({axes})"
        if axes
        else "one setting"
    )
    once = f"is run for up to {count_text(design.epochs, 'epoch')}"
    test = "the test set, which is the same for all and holds real images only"
    where = (
        ", once, on the first draw" if design.protocol == "grid_once" else f" in each of {times}"
    )
    best, own = "The best", "its own best"
    if design.early_stopping:
        where += f", with {design.early_stopping}"
        best = "Of those trained to their end, the best"
        own = "the best of those it trained to their end"
    if design.select_over == "per_class":
        metric += " of that class"
        best = f"Each of {interest} chooses by itself: {best[0].lower() + best[1:]}"
        own = f"for each of {interest} by itself {own}"
    then = {
        "grid_once": f"{best} by {metric} is trained afresh in {times} and only then judged on",
        "full_grid": f"{best} by mean {metric} over the replicates is chosen; these trainings of "
        "it, none of them afresh, are judged on",
        "retune": f"Each replicate chooses {own} by {metric}; this very training, and no fresh "
        "one, is judged on",
    }[design.protocol]
    if design.select_over == "per_class":
        test += f", each class on the training that was chosen for it; scores of {interest} only"
    over = []
    if design.overall_classes and design.select_over != "per_class":
        metric = readable(design.overall_metric)
        over = [f"The overall {metric} is the mean over {design.overall_scope}."]
    run = f"In each cell (arm {TIMES} regimen) {grid} {once}{where}."
    return [run, f"{then} {test}.", *over]
