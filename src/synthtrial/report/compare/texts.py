"""A comparison in words and as plain data: what terminal and page show alike."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from synthtrial.data.regimens import regimen_label
from synthtrial.report.compare import SideBySide
from synthtrial.report.compare.arithmetic import PAIRED, SAME
from synthtrial.report.facts import count_text, listing, records
from synthtrial.report.inference import HIGHER, LOWER, UNCLEAR, UNTESTED
from synthtrial.report.numbers import between, number, p_value
from synthtrial.report.questions import readable
from synthtrial.report.tables import study_stamps
from synthtrial.report.views import HINTS, WORDS, symbol_of

_WORDS = {**WORDS, SAME: "equal in every pair"}
_NAMED = 3


@dataclass(frozen=True)
class Row:
    """One difference, ready to be shown.

    Attributes:
        regimen, arm, target: what is compared.
        a, b: means.
        difference, interval: of B minus A.
        outcome: ``higher``, ``lower``, ``unclear``, ``untested`` or ``same``.
        symbol, word: for it.
        p_value: corrected for all rows, as text; empty where there is none.
        basis: from what: ``6 pairs of draws``, ``Welch, 3 or more a side (draw)``.
        stamps: of either cell.
        estimate, ends: the difference and its interval as numbers; NaN where there is none.
    """

    regimen: str
    arm: str
    target: str
    a: str
    b: str
    difference: str
    interval: str
    outcome: str
    symbol: str
    word: str
    p_value: str
    basis: str
    stamps: tuple[str, ...]
    estimate: float
    ends: tuple[float, float]


def rows_of(found: SideBySide, table: pd.DataFrame, *, gains: bool = False) -> list[Row]:
    """Return a table of scores or gains as rows to show, in the order of A's study."""
    order = {target: place for place, target in enumerate(_targets(found))}
    regimens, arms = found.shared.regimens, found.shared.arms
    wanted = [row for row in records(table) if (str(row["scope"]), str(row["class_name"])) in order]
    wanted.sort(
        key=lambda row: (
            regimens.index(row["regimen"]),
            order[row["scope"], row["class_name"]],
            arms.index(row["arm"]),
        )
    )
    return [_row(found, row, gains) for row in wanted]


def _targets(found: SideBySide) -> list[tuple[str, str]]:
    targets = [("class", name) for name in found.shared.classes]
    targets += [("minority", "")] if "minority" in found.shared.scopes else []
    return [*targets, ("overall", "")]


def _row(found: SideBySide, row: Mapping[str, Any], gains: bool) -> Row:
    design = found.a.facts.design
    titles = {"minority": "minority mean", "overall": design.overall_scope}
    target = titles.get(row["scope"], f"class {row['class_name']}")
    low, high = float(row["low"]), float(row["high"])
    outcome = row["outcome"]
    interval = between(low, high, unknown="no interval")
    return Row(
        regimen_label(row["regimen"]),
        row["arm"],
        f"{target}, {readable(row['metric'])}",
        number(row["mean_a"], signed=gains),
        number(row["mean_b"], signed=gains),
        number(row["difference"], signed=True),
        "no pair differs" if outcome == SAME else interval,
        outcome,
        "=" if outcome == SAME else symbol_of(outcome, low, high),
        _WORDS[outcome],
        "" if math.isnan(row["p_holm"]) else p_value(row["p_holm"]),
        _basis(row),
        tuple(stamp for stamp in row["stamps"].split(",") if stamp),
        float(row["difference"]),
        (low, high),
    )


def _basis(row: Mapping[str, Any]) -> str:
    if row["method"] == PAIRED:
        return count_text(row["units"], f"pair of {row['unit']}s", f"pairs of {row['unit']}s")
    return f"Welch, {row['units']} or more a side ({row['unit']}): {row['why']}"


def headline(found: SideBySide) -> list[str]:
    """Say in a few sentences what came out."""
    rows = rows_of(found, found.scores)
    gains = rows_of(found, found.gains, gains=True)
    lines: list[str] = []
    told = [row for row in rows if row.outcome not in (UNCLEAR, UNTESTED, SAME)]
    if not rows:
        return ["No cell is finished in both: nothing can be compared yet.", _bits(found)]
    unsure = sum(row.outcome == UNCLEAR for row in rows)
    untested = sum(row.outcome == UNTESTED for row in rows)
    same = sum(row.outcome == SAME for row in rows)
    if same == len(rows):
        return ["Every score is the same in A and B.", _bits(found)]
    parts = [f"{n} {text}" for n, text in ((unsure, "not clear"), (same, "equal")) if n]
    parts += [f"{untested} without an interval"] if untested else []
    rest = f"; {listing(parts)}" if parts else ""
    lines.append(
        f"Of {count_text(len(rows), 'score')}, {len(told)} differ{'s' if len(told) == 1 else ''} "
        f"clearly between A and B{rest}."
    )
    changed = [row for row in gains if row.outcome not in (UNCLEAR, UNTESTED, SAME)]
    if gains:
        baseline = found.a.facts.design.baseline
        named = [f"{row.arm} at {row.regimen} ({row.target})" for row in changed[:_NAMED]]
        more = f" and {len(changed) - _NAMED} more" if len(changed) > _NAMED else ""
        lines.append(
            f"The gain over {baseline} changed clearly for {listing(named)}{more}."
            if changed
            else f"For no arm the gain over {baseline} changed clearly."
        )
    return [*lines, _bits(found)]


def _bits(found: SideBySide) -> str:
    if not found.both:
        return "No trial is in both by id: some setting that trials depend on differs everywhere."
    if not found.changed:
        return (
            f"All {found.both:,} trials that both ran (equal ids) have identical results, to the "
            "last bit."
            if found.both > 1
            else "The one trial that both ran (equal ids) has identical results, to the last bit."
        )
    text = ", ".join(found.changed[:_NAMED]) + (", ..." if len(found.changed) > _NAMED else "")
    same = found.both - len(found.changed)
    return (
        f"Of {count_text(found.both, 'trial')} that both ran (equal ids), {same:,} have identical "
        f"results; {len(found.changed):,} differ ({text}): the code, the machine or a library's "
        "version did not give equal bits."
    )


def method(found: SideBySide) -> list[str]:
    """Say how differences were taken, and what their intervals hold."""
    table = found.scores
    paired = table[table.method == PAIRED]
    lines = []
    if len(paired):
        unit = listing(sorted(set(paired.unit)))
        what = (
            "subset, generator, initialisation and order"
            if "draw" in unit
            else "initialisation, order and augmentation"
        )
        lines.append(
            f"Paired by {unit}: both have seed {found.a.study.settings.seed}, so the same {unit} "
            f"has the same random streams ({what}) in A and B, and the difference is taken within "
            "the pair (paired t)."
        )
    apart = table[table.method != PAIRED]
    if len(apart):
        reasons = listing(sorted(set(apart.why)))
        many = "Where that cannot be" if len(paired) else "Not paired"
        lines.append(f"{many} ({reasons}), the two are independent groups (Welch's t).")
    single = [side.name for side in (found.a, found.b) if side.facts.design.draws == 1]
    if single:
        lines.append(
            f"{listing(single)} {'has' if len(single) == 1 else 'have'} a single draw, with one "
            "subset and one generator: what is said holds for just these, and says nothing of how "
            "another generator of the same settings would compare."
        )
    confidence = 100 * found.a.facts.design.confidence
    lines.append(
        f"Each interval holds by itself with {confidence:g} %. What is called higher or lower is "
        "told by p values corrected for all rows of its table (Holm), so that a false alarm "
        f"anywhere in it has {100 - confidence:g} % at most. {HINTS[HIGHER]} {HINTS[LOWER]}: the "
        "interval is clear of zero, but not once all rows are counted. No interval holds the "
        "sampling error of the test set, which is one for both."
    )
    if found.test_set.note:
        lines.append(f"{found.test_set.note[0].upper()}{found.test_set.note[1:]}.")
    return lines


def plain(found: SideBySide) -> dict[str, Any]:
    """Return a comparison for programs; what cannot be told is null."""
    sides = {
        side.name: {
            "study": side.study.name,
            "digest": side.study.digest,
            "store": str(side.store.root),
            "code": list(side.code_digests),
            "stamps": study_stamps(side.facts),
        }
        for side in (found.a, found.b)
    }
    return {
        **sides,
        "test_set": {
            "images": found.test_set.images,
            "equal": found.test_set.how,
            "note": found.test_set.note,
        },
        "left_out": list(found.shared.left_out),
        "settings": [dataclasses.asdict(item) for item in found.settings],
        "origins": [dict(zip(("what", "a", "b"), row, strict=True)) for row in found.origins],
        "trials_in_both": found.both,
        "trials_that_differ": list(found.changed),
        "summary": headline(found),
        "method": method(found),
        "scores": _records(found.scores),
        "gains": _records(found.gains),
    }


def _records(table: pd.DataFrame) -> list[dict[str, Any]]:
    def known(value: Any) -> Any:
        value = value.item() if hasattr(value, "item") else value
        return None if isinstance(value, float) and not math.isfinite(value) else value

    return [{name: known(value) for name, value in row.items()} for row in records(table)]
