"""Findings, forest plots and diagnostics as the page shows them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from synthtrial.data.regimens import regimen_label
from synthtrial.report import basis, diagnostics
from synthtrial.report.facts import Facts
from synthtrial.report.findings import Finding
from synthtrial.report.forest_figure import forest_panels
from synthtrial.report.held_out import floor_sentence
from synthtrial.report.inference import PRIMARY
from synthtrial.report.questions import target_name, targets_of
from synthtrial.report.style import Drawn
from synthtrial.report.tables import Results
from synthtrial.report.views import symbol_of


def finding_tables(
    facts: Facts, results: Results, differences: pd.DataFrame
) -> dict[str, pd.DataFrame]:
    """Return the tables of these parts by the names of their files."""
    return {
        "test-errors": facts.test_errors,
        "assumptions": diagnostics.assumptions_table(facts, results, differences),
        "all-pairs": diagnostics.pairs_table(facts, results),
    }


def finding_context(
    facts: Facts,
    differences: pd.DataFrame,
    found: Sequence[Finding],
    tables: Mapping[str, pd.DataFrame],
    drawn: Drawn,
) -> dict[str, Any]:
    """Return what the template shows of these parts."""
    design, tested = facts.design, tables["assumptions"]
    shown = differences[differences.baseline == design.baseline]
    return {
        "declared": basis.declared_sentences(design),
        "basis": basis.basis_text(facts, shown),
        "basis_means": basis.varied_text(design),
        "primary_findings": [_line(f) for f in found if f.role == PRIMARY],
        "finding_groups": _groups(facts, found),
        "forests": drawn(forest_panels(facts, differences)),
        "doubts": diagnostics.doubts(facts, tested),
        "assumptions_tested": bool(tested.p_normal.notna().any()),
        "assumptions": diagnostics.assumptions_view(facts, tested),
        "assumption_headings": diagnostics.view_headings(),
        "first_target": target_name(design, *design.judged),
        "pairs": diagnostics.pair_sentences(facts, tables["all-pairs"]),
        "margin": "" if design.margin is None else f"{design.margin:g}",
        "equal_text": basis.equal_text(design),
        "detectable_text": basis.detectable_text(design, shown),
        "floor_text": floor_sentence(facts, *design.judged),
        "floor_missing": facts.test_errors_missing,
    }


def _line(finding: Finding) -> tuple[str, str, str, str]:
    """Return symbol, outcome, verdict and sentence."""
    nan = float("nan")
    ends = (finding.low, finding.high)
    if finding.role != PRIMARY:
        ends = (finding.joint_low, finding.joint_high)
    low, high = (nan if end is None else end for end in ends)
    symbol = symbol_of(finding.outcome, low, high)
    return symbol, finding.outcome, finding.verdict, finding.sentence


def _groups(
    facts: Facts, found: Sequence[Finding]
) -> list[tuple[str, list[tuple[str, list[tuple[str, str, str, str]]]]]]:
    """Return for each arm and target what is found in each training set."""
    design, groups = facts.design, []
    for arm in design.arm_names:
        targets = []
        for scope, class_name in targets_of(design):
            mine = [f for f in found if (f.arm, f.scope, f.class_name) == (arm, scope, class_name)]
            mine.sort(key=lambda f: design.regimens.index(f.regimen))
            lines = [(regimen_label(f.regimen), *_line(f)[:2], _short(f)) for f in mine]
            if lines:
                targets.append((target_name(design, scope, class_name), lines))
        if targets:
            groups.append((arm, targets))
    return groups


def _short(finding: Finding) -> str:
    """Leave out where a sentence begins by saying in which training set."""
    rest = finding.sentence.split(", ", 1)[-1]
    return rest if rest.startswith(finding.arm) else rest[0].upper() + rest[1:]
