"""Parts of the page that not every study has: claims on trial, and what others have printed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pandas as pd

from synthtrial.data.regimens import regimen_label
from synthtrial.report import beside, claim, gain, gaps, inference, same, sides, tables
from synthtrial.report.cams import maps_table
from synthtrial.report.claim_figure import MOST_CLASSES, gain_panels
from synthtrial.report.facts import TIMES, Facts, count_text, listing
from synthtrial.report.paper import paper_lines
from synthtrial.report.questions import readable
from synthtrial.report.sides_figure import dose_panels, quality_panels, side_panels
from synthtrial.report.style import Drawn


def extra_tables(
    facts: Facts,
    results: pd.DataFrame,
    means: pd.DataFrame,
    differences: pd.DataFrame,
    allocations: pd.DataFrame,
) -> dict[str, pd.DataFrame]:
    """Return the tables of these parts by the names of their files."""
    found = {"final-gap": gaps.gap_table(facts)} | _side_tables(facts, differences)
    tested = claim.claims(facts, results)
    if tested:
        found["central-claim"] = claim.claim_table(facts, tested)
    if facts.published is not None and facts.published.images:
        found["printed-counts"] = beside.counts_table(facts, allocations)
    if facts.published is not None and facts.published.scores:
        found["printed-scores"] = beside.scores_table(facts, means)
    if facts.maps is not None:
        found["activation-maps"] = maps_table(facts.maps)
    return found


def claim_context(
    facts: Facts, results: pd.DataFrame, differences: pd.DataFrame, drawn: Drawn
) -> dict[str, Any]:
    """Return what the template shows of the central claim."""
    tested = claim.claims(facts, results)
    design = facts.design
    blocks = count_text(design.draws if design.draws > 1 else design.replicates, design.unit)
    return {
        "claims": [(test.arm, claim.claim_sentences(facts, test)) for test in tested],
        "gains": drawn(gain_panels(facts, differences, tested)),
        "claim_blocks": blocks,
        "many_classes": len(design.minority) > MOST_CLASSES,
    }


def _side_tables(facts: Facts, differences: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Return what is told of the rare classes and the others, by the names of the files."""
    table = sides.sides(facts)
    if table.empty:
        return {}
    found = {
        "sides": tables.results_table(facts, table),
        "sides-differences": same.as_decided(
            inference.differences_table(facts, table), differences
        ),
    }
    doses = sides.dose_trends(facts, pd.concat([table, sides.learned(facts)]))
    if doses:
        found["dose-trends"] = sides.dose_table(facts, doses)
    graded = gain.gain_table(facts)
    if len(graded):
        found["gain-by-quality"] = graded
    return found


def sides_context(facts: Facts, found: Mapping[str, pd.DataFrame], drawn: Drawn) -> dict[str, Any]:
    """Return what the template shows of the rare classes and the others."""
    if "sides" not in found:
        return {"sides": [], "gain_lines": []}
    table = sides.sides(facts)
    followed = pd.concat([table, sides.learned(facts)])
    doses = sides.dose_trends(facts, followed)
    graded = found.get("gain-by-quality", pd.DataFrame())
    several = len(graded) > 0 and graded.arm.nunique() > 1
    return {
        "sides": sides.sides_view(facts, found["sides"], found["sides-differences"]),
        "side_stamps": sides.stamps_view(facts),
        "dose_zero": any(facts.design.baseline in item.arms[:1] for item in doses),
        "dose_gap": any(item.hypothesis.side == sides.GAP for item in doses),
        "side_titles": ["all classes", "classes of interest", "the others"],
        "side_metric": readable(sides.side_metric(facts)),
        "side_accuracy": sides.is_accuracy(facts),
        "side_figures": drawn(side_panels(facts, table, found["sides"])),
        "dose_lines": sides.dose_sentences(facts, doses),
        "dose_figures": drawn(dose_panels(facts, followed, doses)),
        "gain_lines": gain.gain_view(graded) if several else [],
        "gain_titles": list(gain.COMPARED.values()),
        "gain_sentences": gain.gain_sentences(facts, graded) if several else [],
        "gain_figures": drawn(quality_panels(facts, graded)) if several else [],
    }


def gap_context(
    facts: Facts, found: Mapping[str, pd.DataFrame], colours: Mapping[str, str]
) -> dict[str, Any]:
    """Return what the template shows of the gap between the losses."""
    table = found["final-gap"]
    return {
        "gaps": gaps.gap_view(facts, table, colours),
        "gap_sentences": gaps.gap_sentences(facts, table),
        "printed_gaps": gaps.printed_gap_text(facts),
    }


def published_context(facts: Facts, found: Mapping[str, pd.DataFrame]) -> dict[str, Any]:
    """Return what the template shows of printed results."""
    printed = facts.published
    if printed is None:
        return {"published": None}
    arms = beside.arms_of(facts, printed)
    counts, scores = found.get("printed-counts"), found.get("printed-scores")
    return {
        "published": printed,
        "paper_lines": paper_lines(printed),
        "mismatches": beside.mismatches(facts),
        "printed_classes": beside.classes_of(facts, printed),
        "printed_arms": arms,
        "printed_counts": [] if counts is None else beside.counts_view(counts),
        "several_counts": counts is not None and counts[counts.arms != ""].arms.nunique() > 1,
        "counted_arms": "" if counts is None else listing(sorted(set(counts.arms) - {""})),
        "printed_scores": [] if scores is None else beside.scores_view(scores, arms),
    }


def choices_view(facts: Facts) -> list[tuple[str, str, list[str]]]:
    """Return training set, arm and what each class of interest chose, where each does so."""
    design, lines = facts.design, []
    if design.select_over != "per_class":
        return []
    for regimen in design.regimens:
        for arm in design.arm_names:
            mine = facts.chosen[(facts.chosen.regimen == regimen) & (facts.chosen.arm == arm)]
            if len(mine):
                cells = [_choices(mine[mine.target == name]) for name in design.minority]
                lines.append((regimen_label(regimen), arm, cells))
    return lines


def _choices(mine: pd.DataFrame) -> str:
    """Return the configurations chosen for a class, each with how often where that varies."""
    counts = mine.configuration.value_counts()
    texts = []
    for point, times in counts.items():
        values = ", ".join(str(value) for value in json.loads(str(point)).values())
        texts.append(values + (f" ({times} {TIMES})" if len(counts) > 1 else ""))
    return "; ".join(texts)
