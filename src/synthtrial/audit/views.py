"""An audit as people read it, every table with a line of reading beneath, and as JSON."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.measure import Measurement
from rich.table import Table

from synthtrial.audit import Audit
from synthtrial.audit.claims import Cell, Verdict
from synthtrial.audit.counts import percent
from synthtrial.audit.differences import Difference

_INDENT = 2 * " "


def show_audit(console: Console, audit: Audit) -> None:
    """Print everything that was found."""
    table = audit.table
    console.print(table.title, style="bold")
    console.print(f"{table.source}; read from the table '{table.name}'")
    for part in (_show_sums, _show_prevalences, _show_differences, _show_verdicts):
        part(console, audit)
    if table.notes:
        _title(console, "Notes")
        for note in table.notes:
            console.print(f"{_INDENT}-> {note.strip()}")


def audit_json(audit: Audit) -> dict[str, Any]:
    """Return what an audit found, for programs; what cannot be told is null."""
    fields = ("sums", "shares", "prevalences", "fewest", "errors", "differences")
    found: dict[str, Any] = {
        "table": audit.table.name,
        "title": audit.table.title,
        "source": audit.table.source,
    }
    for name in fields:
        found[name] = [_plain(item) for item in getattr(audit, name)]
    found["claims"] = [_verdict_json(verdict) for verdict in audit.verdicts]
    found["notes"] = [note.strip() for note in audit.table.notes]
    return found


def _show_sums(console: Console, audit: Audit) -> None:
    if audit.sums:
        _title(console, "Sums")
        table = _table("regimen", "real", "synthetic", "sum", "printed", "")
        for row in audit.sums:
            printed = "-" if row.printed is None else f"{row.printed:,}"
            verdict = {True: "right", False: "WRONG", None: ""}[row.holds]
            numbers = (f"{value:,}" for value in (row.rows, row.added, row.total))
            table.add_row(row.regimen, *numbers, printed, verdict)
        _show_table(console, table)
        wrong = [
            f"{row.regimen} must be {row.total:,}, not {row.printed:,}"
            for row in audit.sums
            if row.holds is False
        ]
        _read(console, "; ".join(wrong) or "no printed total differs from the sum of its row")
    off = [row for row in audit.shares if not row.holds]
    if audit.shares:
        fits = len(audit.shares) - len(off)
        text = f"{fits} of {len(audit.shares)} sizes are the share that the text gives them"
        for size in off:
            text += (
                f"; {size.what}: {size.rows:,} of {size.of:,} rows are {percent(size.share, 1)}, "
                f"not {percent(size.claimed, 0)}"
            )
        _read(console, text)


def _show_prevalences(console: Console, audit: Audit) -> None:
    if not audit.prevalences:
        return
    target, known = audit.table.target, bool(audit.table.cooccurrence)
    _title(console, "What the synthetic counts reach")
    head = ("before %", "low %", "expected %", "high %", "printed", "needed", "")
    table = _table("regimen", "class", *head)
    needed = {row.regimen: row.needed for row in audit.fewest}
    for row in audit.prevalences:
        fewest = needed.get(row.regimen)
        expected = "-"
        if row.expected is not None:
            expected = f"{100 * row.expected:.2f} ±{100 * row.deviation:.2f}"
        table.add_row(
            *_once(audit, row.regimen, row.class_),
            f"{100 * row.before:.2f}",
            f"{100 * row.low:.2f}",
            expected,
            f"{100 * row.high:.2f}",
            f"{audit.table.images[row.regimen].synthetic[row.class_]:,}",
            f"{fewest[row.class_]:,}" if fewest else "-",
            row.standing.upper() if row.standing == "short" else row.standing,
        )
    _show_table(console, table)
    _read(
        console,
        "low: no image holds a second class; high: every image holds all; "
        + (
            "expected: with the co-occurrence of real labels, ± one standard deviation of the draws"
            if known
            else "the table gives no co-occurrence, so what lies between is open"
        ),
    )
    if target is None:
        return
    short = [row for row in audit.prevalences if row.standing == "short"]
    text = f"{percent(target, 0)} is claimed: "
    if short:
        gaps = [target - (row.high if row.expected is None else row.expected) for row in short]
        text += (
            f"{len(short)} of {len(audit.prevalences)} fall short, by {100 * min(gaps):.2f} to "
            f"{100 * max(gaps):.2f} points ({_places(row.regimen for row in short)})"
        )
        close = [row for row, gap in zip(short, gaps, strict=True) if gap < 2 * row.deviation]
        if close:
            names = ", ".join(f"{row.regimen} {row.class_}" for row in close)
            text += f", of which less than two deviations: {names}"
    else:
        text += "none falls short"
    _read(console, text)
    totals = [
        f"{row.regimen} {sum(row.printed.values()):,} / {sum(row.needed.values()):,}"
        for row in audit.fewest
        if row.needed is not None
    ]
    if totals:
        most = "" if known else ", if no image held a second class"
        _read(console, f"images printed / fewest that reach it{most}: {', '.join(totals)}")
    for why in dict.fromkeys(row.why for row in audit.fewest if row.why):
        _read(console, f"{_places(row.regimen for row in audit.fewest if row.why == why)}: {why}")


def _show_differences(console: Console, audit: Audit) -> None:
    if not audit.differences:
        return
    published = audit.table
    pairs = list(itertools.combinations(published.arms, 2))
    _title(console, "What the test set can tell")
    head = [f"{arm} - {than}" for than, arm in pairs]
    if not audit.errors:
        table = _table("regimen", "class", *head)
    else:
        r = f"r={published.correlation:g}"
        table = _table("regimen", "class", f"SE {published.arms[0]}", f"least {r}", "r=0", *head)
    errors = {(error.regimen, error.class_, error.arm): error for error in audit.errors}
    for (label, class_), group in itertools.groupby(
        audit.differences, key=lambda item: (item.regimen, item.class_)
    ):
        cells = list(group)
        columns: list[str] = []
        if audit.errors:
            columns = [
                f"{errors[label, class_, published.arms[0]].se:.4f}",
                f"{max(item.paired.detectable for item in cells if item.paired):.3f}",
                f"{max(item.independent.detectable for item in cells if item.independent):.3f}",
            ]
        row = _once(audit, label, class_)
        table.add_row(*row, *columns, *(_difference(item) for item in cells))
    _show_table(console, table)
    if not audit.errors:
        _read(console, "no standard errors: they need an AUC and the size of the test set")
        return
    test = published.test
    assert test is not None
    kind = "counted" if test.positives is not None else "expected from the prevalence"
    positives = ", ".join(
        f"{name} {published.test_positives(name):,.0f}" for name in published.classes
    )
    _read(
        console,
        f"SE: over test sets of {test.rows:,} independent rows (Hanley & McNeil 1982); positives, "
        f"{kind}: {positives}; in brackets z with r={published.correlation:g}",
    )
    _read(
        console,
        f"least: the smallest true difference that is found with power {published.power:g} at "
        f"alpha {published.alpha:g} if the two areas correlate by r; * printed difference at least "
        "that with the assumed r, ** even with r=0",
    )
    _read(console, _counts(audit))


def _counts(audit: Audit) -> str:
    """Say how many differences the test set can tell, regimen by regimen."""
    parts = []
    for label in audit.table.labels:
        here = [item for item in audit.differences if item.regimen == label]
        found = sum(item.paired.exceeds for item in here if item.paired)
        surely = sum(item.independent.exceeds for item in here if item.independent)
        parts.append(f"{found} of {len(here)} at {label} ({surely} with r=0)")
    spreads = [item.paired for item in audit.differences if item.paired]
    low = sum(spread.p_value < audit.table.alpha for spread in spreads)
    return (
        f"differences that the test set can tell: {', '.join(parts)}; p < {audit.table.alpha:g} "
        f"for {low} of {len(spreads)} with the assumed r and no allowance for their number"
    )


def _show_verdicts(console: Console, audit: Audit) -> None:
    if not audit.verdicts:
        return
    _title(console, "Claims against the printed numbers")
    for verdict in audit.verdicts:
        claim = verdict.claim
        word = "holds" if verdict.holds else "FAILS"
        console.print(f"{_INDENT}{word}  {claim.where}: {claim.says}{_tally(verdict)}")
        for cell in verdict.cells if len(verdict.cells) <= 2 else verdict.failed:
            console.print(f"{_INDENT}       {_place(verdict, cell)}: {cell.found}", style="dim")
    failed = [verdict for verdict in audit.verdicts if not verdict.holds]
    _read(
        console,
        f"{len(audit.verdicts) - len(failed)} of {len(audit.verdicts)} claims hold as inequalities "
        "of printed numbers, whatever the test set can tell",
    )


def _tally(verdict: Verdict) -> str:
    parts = []
    if verdict.failed:
        parts.append(f"{len(verdict.failed)} of {len(verdict.cells)} comparisons fail")
    if verdict.told is not None:
        parts.append(f"the test set can tell {verdict.told} of {len(verdict.cells)}")
    return f" ({'; '.join(parts)})" if parts else ""


def _place(verdict: Verdict, cell: Cell) -> str:
    if verdict.claim.kind in ("falls", "larger"):
        return cell.class_  # the regimens are in what was found
    return cell.regimen if cell.class_ == "all" else f"{cell.regimen}, {cell.class_}"


def _difference(item: Difference) -> str:
    if item.paired is None or item.independent is None:
        return f"{item.difference:+.3f}"
    stars = "*" * (item.paired.exceeds + item.independent.exceeds)
    return f"{item.difference:+.3f} ({item.paired.z:.1f}){stars:<2}"


def _once(audit: Audit, label: str, class_: str) -> tuple[str, str]:
    """Return the first two columns; a regimen is named in its first row alone."""
    return (label if class_ == audit.table.classes[0] else "", class_)


def _places(labels: Iterator[str]) -> str:
    return ", ".join(dict.fromkeys(labels))


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for column in columns:
        words = column in ("regimen", "class", "")
        table.add_column(column, justify="left" if words else "right", no_wrap=True)
    return table


def _show_table(console: Console, table: Table) -> None:
    """Print a table as wide as it is: a file or a narrow terminal would have it cut off."""
    options = console.options.update(max_width=1000)
    table.width = Measurement.get(console, options, table).maximum
    console.print(table, soft_wrap=True)


def _title(console: Console, text: str) -> None:
    console.print()
    console.print(text, style="bold")


def _read(console: Console, text: str) -> None:
    console.print(f"{_INDENT}-> {text}")


def _plain(item: Any) -> dict[str, Any]:
    """Return a finding with what it says of itself; a class is named ``class``."""
    found = {**dataclasses.asdict(item)}
    for name in ("holds", "standing", "share", "ratio"):
        if hasattr(item, name):
            found[name] = getattr(item, name)
    return {key.rstrip("_"): _sound(value) for key, value in found.items()}


def _sound(value: Any) -> Any:
    """Replace what JSON has no word for."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {key: _sound(inner) for key, inner in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_sound(inner) for inner in value]
    return value


def _verdict_json(verdict: Verdict) -> dict[str, Any]:
    claim = verdict.claim
    return {
        "says": claim.says,
        "where": claim.where,
        "kind": claim.kind,
        "holds": verdict.holds,
        "told": verdict.told,
        "cells": [_plain(cell) for cell in verdict.cells],
    }
