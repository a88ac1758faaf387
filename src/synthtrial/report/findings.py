"""What the study found: one plain sentence for each arm, training set and target.

A sentence says what the intervals allow and nothing else: that an arm helps, that it hurts, that it
makes no difference larger than the declared margin, or that there are not enough seeds, and then
about how many more would settle it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import pandas as pd

from synthtrial.report.facts import Design, Facts, records
from synthtrial.report.finding_sentences import sentence_of, units_of
from synthtrial.report.inference import (
    EQUAL,
    HIGHER,
    LOWER,
    MISSING,
    PRIMARY,
    UNCLEAR,
    UNTESTED,
)
from synthtrial.report.questions import target_name, targets_of, training_text
from synthtrial.stats.contrasts import OWN_FROM
from synthtrial.stats.power import blocks_for_difference, upper_deviation

#: The verdicts of the sentences, by outcome.
VERDICTS = {
    HIGHER: "helps",
    LOWER: "hurts",
    EQUAL: "no difference",
    UNCLEAR: "not enough {units}",
    UNTESTED: "not enough {units}",
    MISSING: "unknown",
}


#: What is nearer than this to where it is to be told from, in standard errors, is not told.
_LEAST_REACH = 1e-3


@dataclass(frozen=True)
class Finding:
    """What is known of one difference.

    Attributes:
        role: ``primary`` or ``exploratory``.
        regimen, arm, baseline, scope, class_name, metric: what is compared where.
        outcome: as in :func:`synthtrial.report.inference.differences_table`.
        verdict: the outcome as people say it.
        sentence: in full.
        difference, low, high: with the interval of this one alone; None where unknown.
        joint_low, joint_high: with the simultaneous interval.
        p_value, p_corrected: of no difference, alone and corrected for all that is asked.
        margin: below which differences do not matter; None where none was declared.
        not_worse: whether it is surely not worse by the margin, all questions counted; with its p
            value alone, ``p_not_worse``, and that of being equivalent, ``p_equivalent``.
        effect_size, effect_low, effect_high: the difference in units of its own standard deviation
            between blocks (Cohen's d_z with Hedges' correction), with its interval.
        detectable: the smallest difference that so many blocks find four times in five.
        both_low, both_high, both_holds: the interval over other test sets as well, and what it
            holds; None and empty where the test set's own error is unknown.
        floor: width that this interval cannot go below, however many seeds.
        blocks, unit, df, n: what the intervals rest on.
        more: further blocks that would about settle it; None where nothing is to be settled or the
            number is unknown.
        stamps: of either arm.
    """

    role: str
    regimen: float
    arm: str
    baseline: str
    scope: str
    class_name: str
    metric: str
    outcome: str
    verdict: str
    sentence: str
    difference: float | None = None
    low: float | None = None
    high: float | None = None
    joint_low: float | None = None
    joint_high: float | None = None
    p_value: float | None = None
    p_corrected: float | None = None
    margin: float | None = None
    not_worse: bool = False
    p_not_worse: float | None = None
    p_equivalent: float | None = None
    effect_size: float | None = None
    effect_low: float | None = None
    effect_high: float | None = None
    detectable: float | None = None
    both_low: float | None = None
    both_high: float | None = None
    both_holds: str = ""
    floor: float | None = None
    blocks: int = 0
    unit: str = "replicate"
    df: int = 0
    n: int = 0
    more: int | None = None
    stamps: tuple[str, ...] = ()


def findings(facts: Facts, differences: pd.DataFrame) -> list[Finding]:
    """Return the findings of every arm, training set and target that the page shows.

    Args:
        facts: the study.
        differences: of :func:`synthtrial.report.inference.differences_table`, with the test set's
            part (:func:`synthtrial.report.held_out.with_test_set`).

    Returns:
        The primary ones first, then by arm, training set and target, in the study's order.
    """
    design = facts.design
    keyed = {
        (row["arm"], row["regimen"], row["scope"], row["class_name"]): row
        for row in records(differences[differences.baseline == design.baseline])
    }
    found = [
        _finding(design, row)
        for arm in design.arm_names
        for regimen in design.regimens
        for scope, class_name in targets_of(design)
        if (row := keyed.get((arm, regimen, scope, class_name))) is not None
    ]
    found += [_absent(design, regimen) for regimen in _unanswered(design, found)]
    order = {regimen: place for place, regimen in enumerate(design.regimens)}
    # Stable: the primary ones by training set, then the others as they are.
    return sorted(found, key=lambda f: (0, order[f.regimen]) if f.role == PRIMARY else (1, 0))


def _unanswered(design: Design, found: Sequence[Finding]) -> list[float]:
    """Return the training sets in which the primary question has no row to be answered from."""
    asked = design.primary.regimens if design.primary is not None else ()
    known = {finding.regimen for finding in found if finding.role == PRIMARY}
    return [regimen for regimen in asked if regimen not in known]


def _absent(design: Design, regimen: float) -> Finding:
    """Return the primary finding of a training set where nothing can be compared."""
    assert design.primary is not None
    asked, baseline = design.primary, design.baseline
    what = target_name(design, asked.scope, asked.class_name)
    sentence = (
        f"With {training_text([regimen])}, {asked.arm} cannot be compared with {baseline} in "
        f"{what}: no block has scores of both. The results say why."
    )
    return Finding(
        role=PRIMARY,
        regimen=regimen,
        arm=asked.arm,
        baseline=baseline,
        scope=asked.scope,
        class_name=asked.class_name,
        metric=design.metric_of(asked.scope),
        outcome=MISSING,
        verdict=VERDICTS[MISSING],
        sentence=sentence,
        margin=design.margin,
        unit=design.unit,
    )


def more_blocks(design: Design, row: Mapping[str, Any]) -> int | None:
    """Return about how many further blocks would settle what an interval leaves open.

    Settled is what is told from zero, or what is surely below the margin: whichever takes fewer,
    with a power of four in five, if the difference is as it was estimated. Its spread is taken at
    the end that it lies below four times in five, as `synthtrial power` does: few blocks know it
    badly. What is corrected for is corrected for there as well.

    Returns:
        None where there is no spread to go by.
    """
    error, blocks = float(row["standard_error"]), int(row["blocks"])
    if not error > 0 or blocks < 2:
        return None
    deviation = upper_deviation(error * math.sqrt(blocks), float(row["df"]))
    size = abs(float(row["difference"]))
    alone, joint = row["high"] - row["low"], row["joint_high"] - row["joint_low"]
    inside = row["role"] != PRIMARY and alone > 0  # the primary is corrected by alpha alone
    wider = max(1.0, float(joint / alone)) if inside else 1.0
    asked = float(row["questions"])
    alpha = (1.0 - design.confidence) / (1.0 if math.isnan(asked) else asked)
    aims = [(size, 0.8)]
    if design.margin is not None:  # both one-sided tests must succeed: nine times in ten each
        aims.append((design.margin - size, 0.9))
    needed = [
        blocks_for_difference(deviation * wider, reach, alpha=alpha, power=power)
        for reach, power in aims
        if reach > _LEAST_REACH * error
    ]
    if not needed:
        return None
    return max(min(needed), OWN_FROM, blocks + 1) - blocks


def _finding(design: Design, row: Mapping[str, Any]) -> Finding:
    outcome = str(row["outcome"])
    more = more_blocks(design, row) if outcome in (UNCLEAR, UNTESTED) else None
    return Finding(
        role=row["role"],
        regimen=row["regimen"],
        arm=row["arm"],
        baseline=row["baseline"],
        scope=row["scope"],
        class_name=row["class_name"],
        metric=row["metric"],
        outcome=outcome,
        verdict=VERDICTS[outcome].format(units=units_of(design, row)),
        sentence=sentence_of(design, row, more),
        difference=_known(row["difference"]),
        low=_known(row["low"]),
        high=_known(row["high"]),
        joint_low=_known(row["joint_low"]),
        joint_high=_known(row["joint_high"]),
        p_value=_known(row["p_value"]),
        p_corrected=_known(row["p_holm"]),
        margin=design.margin,
        not_worse=bool(row["not_worse"]),
        p_not_worse=_known(row["p_not_worse"]),
        p_equivalent=_known(row["p_equivalent"]),
        effect_size=_known(row["effect_size"]),
        effect_low=_known(row["effect_low"]),
        effect_high=_known(row["effect_high"]),
        detectable=_known(row["detectable"]),
        both_low=_known(row["both_low"]),
        both_high=_known(row["both_high"]),
        both_holds=str(row["both_holds"]),
        floor=_known(row["floor"]),
        blocks=int(row["blocks"]),
        unit=row["unit"],
        df=int(row["df"]),
        n=int(row["n"]),
        more=more,
        stamps=tuple(stamp for stamp in str(row["stamps"]).split(",") if stamp),
    )


def _known(value: float) -> float | None:
    return None if math.isnan(value) else float(value)


def as_json(facts: Facts, found: Sequence[Finding]) -> str:
    """Write findings for programs, with the design that they answer.

    ``history`` tells what came after results, in sentences; beside it stand the replicates whose
    results could be seen when the primary question and the margin became what they are.
    """
    design = facts.design
    declared = None if design.primary is None else asdict(design.primary)
    whole = {
        "study": design.name,
        "baseline": design.baseline,
        "primary": declared,
        "family": list(design.family) or [a for a in design.arm_names if a != design.baseline],
        "margin": design.margin,
        "confidence": design.confidence,
        "history": list(design.looks),
        "primary_after_results_of": design.asked_late,
        "margin_after_results_of": design.margin_late,
        "finished": facts.finished,
        "findings": [asdict(finding) for finding in found],
    }
    return json.dumps(whole, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
