"""What a table of differences rests on: the declared questions, what varied, and how often."""

from __future__ import annotations

import numpy as np
import pandas as pd

from synthtrial.report.facts import Design, Facts, count_text, listing
from synthtrial.report.inference import PRIMARY
from synthtrial.report.numbers import number, span
from synthtrial.report.questions import target_name, targets_of, training_text
from synthtrial.report.same import other_names

#: What differs from draw to draw and from replicate to replicate, as the protocol has it.
_OF_DRAWS = ("the subset of the training images", "the validation set")
_OF_MADE = ("the generator", "its images")
_UNDECLARED = (
    "The study declares no primary question (the setting statistics.primary), so everything here "
    "is exploratory: it suggests what to test, and proves nothing."
)
_OF_SEEDS = ("initialisation", "order of images", "random transforms")


def declared_sentences(design: Design) -> list[str]:
    """Say what the study declares to ask, and that all else is exploratory."""
    if design.primary is None:
        return [_UNDECLARED, *design.looks]
    asked = design.primary
    what = target_name(design, asked.scope, asked.class_name)
    start = "Declared as the primary question"
    if design.asked_late:
        seen = count_text(design.asked_late, "replicate")
        start = f"Asked as the primary question, but only since results of {seen} could be seen"
    text = (
        f"{start}: does {asked.arm} change {what} against "
        f"{design.baseline}, with {training_text(asked.regimens)}? {margin_text(design)}"
    )
    if len(asked.regimens) > 1:
        text += f" It is asked {len(asked.regimens)} times, and corrected for that."
    what = "All answers are" if design.asked_late else "Everything else is"
    rest = f"{what} exploratory: hints for the next study, and no proof."
    return [text, rest, *design.looks]


def margin_text(design: Design) -> str:
    """Say below what differences do not matter."""
    if design.margin is None:
        return (
            "The study names no margin (statistics.margin) below which a difference would not "
            "matter, so nothing is called no difference."
        )
    return f"Differences below {design.margin:g} do not matter."


def equal_text(design: Design) -> str:
    """Say what the mark of no difference means."""
    if design.margin is None:
        return f"the very same in every {design.unit}"
    return f"surely less than {design.margin:g}"


def basis_text(facts: Facts, table: pd.DataFrame) -> str:
    """Say what a replicate varied, how many there are, and the degrees of freedom.

    Args:
        facts: the study.
        table: rows of :func:`synthtrial.report.inference.differences_table`.
    """
    design, varied = facts.design, varied_text(facts.design)
    if table.empty:
        return varied
    others = other_names(design)  # of the same rows, which count once
    names = zip(table.scope, table.class_name, strict=True)
    table = table[[name not in others for name in names]]
    by_rule = (table.role == PRIMARY) if design.pilot is not None else table.role.isna()
    first = table[by_rule]
    table = table[~by_rule] if len(first) < len(table) else table
    unit = str(table.unit.iloc[0])
    counts, freedom = span(table.blocks), span(table.df)
    spreads = set(table.spread)
    if spreads == {"own"}:
        how = "each difference with the spread of its own blocks"
    elif spreads == {"pooled"}:
        how = "one spread for all arms, as there are too few blocks for one each"
        how = how if design.spread == "auto" else "one spread for all arms"
        if design.varying_arms:
            how += (
                "; if generators add a spread of their own, intervals of their arms are too narrow"
            )
    else:
        how = (
            "arms whose generators differ from draw to draw have spreads of their own, the others "
            "one for all, as there are too few blocks for one each"
        )
    noun = unit if counts == "1" else f"{unit}s"
    text = f"{varied} n = {counts} {noun}, {freedom} degrees of freedom ({how})."
    if len(first):
        text += (
            " The primary question has the spread of the first blocks, as its rule has it: "
            f"{span(first.df)} degrees of freedom."
        )
    return text


def detectable_text(design: Design, table: pd.DataFrame) -> str:
    """Say which differences so many blocks find, of the primary question or, without, of all arms.

    Args:
        design: the study's.
        table: rows of :func:`synthtrial.report.inference.differences_table`.
    """
    mine = table[table.role == PRIMARY]
    if mine.empty:
        scope, class_name = targets_of(design)[0]
        mine = table[(table.scope == scope) & (table.class_name == class_name)]
    mine = mine[np.isfinite(mine.detectable.astype(float))]
    if mine.empty:
        return ""
    low, high = number(mine.detectable.min()), number(mine.detectable.max())
    size = low if low == high else f"{low} to {high}"
    places = ", by training set," if mine.regimen.nunique() > 1 else ""
    blocks = f"{span(mine.blocks)} {mine.unit.iloc[0]}s"
    return (
        f"With {blocks} this study would notice a difference of {size}{places} in four cases of "
        "five (before any correction), and most likely miss much smaller ones."
    )


def varied_text(design: Design) -> str:
    """Say what differs from one independent repetition to the next."""
    seeds = [*_OF_SEEDS]
    if design.draws == 1:
        held = "subset and validation set"
        held += ", generator and made images" if design.synthetic_arms else ""
        varied = f"Between replicates varied {listing(seeds)}. They share one draw, with one {held}"
        varied += ": all that is said holds for these and no others."
    else:
        drawn = [*_OF_DRAWS, *(_OF_MADE if design.trains_generators else ())]
        varied = f"Between draws varied {listing([*drawn, *seeds])}."
        if design.synthetic_arms and not design.trains_generators:
            varied += (
                " Made images come from one collection throughout: what is said holds for it, and "
                "says nothing of another."
            )
        if design.replicates > design.draws:
            varied += (
                f" The {count_text(design.replicates, 'replicate')} of "
                f"{count_text(design.draws, 'draw')} are averaged within each draw first: they "
                "share its generator, which counts once."
                if design.trains_generators
                else f" The {count_text(design.replicates, 'replicate')} are averaged within "
                f"each of {count_text(design.draws, 'draw')} first."
            )
    return varied
