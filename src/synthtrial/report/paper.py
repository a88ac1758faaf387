"""What printed numbers can and cannot show, in plain sentences: all follow from the audit."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from synthtrial.audit import Audit, audit
from synthtrial.audit.counts import percent
from synthtrial.published import Published
from synthtrial.report.facts import MINUS, count_text, listing
from synthtrial.report.numbers import number
from synthtrial.report.questions import readable


@dataclass(frozen=True)
class PaperLine:
    """One finding: its subject, a sentence or two, and particulars."""

    title: str
    text: str
    details: tuple[str, ...] = ()


def paper_lines(published: Published) -> list[PaperLine]:
    """Return what an audit of the printed numbers finds."""
    found = audit(published)
    return [
        *_sums(found),
        *_shares(found),
        *_prevalences(found),
        *_fewest(found),
        *_differences(found),
        *_claims(found),
        *(PaperLine("Note", note.strip()) for note in published.notes),
    ]


def _sums(found: Audit) -> Iterator[PaperLine]:
    rows = [row for row in found.sums if row.holds is not None]
    if not rows:
        return
    wrong = [
        f"at {row.regimen} {row.rows:,} real and {row.added:,} synthetic images add up to "
        f"{row.total:,}, not to the printed {row.printed:,}"
        for row in rows
        if not row.holds
    ]
    right = f"{len(rows) - len(wrong)} of {len(rows)} printed totals are the sum of their row"
    yield PaperLine("Arithmetic", f"{right}; {listing(wrong)}." if wrong else f"{right}.")


def _shares(found: Audit) -> Iterator[PaperLine]:
    off = [
        f"{row.what} is {row.rows:,} of {row.of:,} images, which is {percent(row.share, 1)} and "
        f"not {percent(row.claimed, 0)}"
        for row in found.shares
        if not row.holds
    ]
    if off:
        text = listing(off)
        yield PaperLine("Sizes", f"The {text}." if text.startswith("test") else f"{text}.")


def _prevalences(found: Audit) -> Iterator[PaperLine]:
    target, rows = found.table.target, found.prevalences
    if target is None or not rows:
        return
    parts = []
    for standing, words in (
        ("reached", "{n} of {all} reach it ({places}: {span})"),
        ("short", "{n} of {all} stay below it ({places}: {span})"),
        ("open", "of {n} of {all} the printed numbers cannot tell ({places})"),
    ):
        mine = [row for row in rows if row.standing == standing]
        if not mine:
            continue
        shares = [row.expected for row in mine if row.expected is not None]
        shares = shares or [row.high if standing == "short" else row.low for row in mine]
        low, high = percent(min(shares), 1), percent(max(shares), 1)
        places = listing(list(dict.fromkeys(row.regimen for row in mine)))
        span = low if low == high else f"{low.removesuffix(' %')} to {high}"
        parts.append(words.format(n=len(mine), all=len(rows), places=places, span=span))
    how = "with labels occurring together as in the data" if found.table.cooccurrence else ""
    how = how or "whatever labels occur together"
    text = (
        f"Each class is said to be brought to {percent(target, 0)} of the images. Of these shares, "
        f"{how}: {listing(parts)}."
    )
    yield PaperLine("Prevalence reached", text)


def _fewest(found: Audit) -> Iterator[PaperLine]:
    parts = [
        f"{row.regimen} {sum(row.printed.values()):,} printed, {sum(row.needed.values()):,} needed"
        for row in found.fewest
        if row.needed is not None
    ]
    parts += [f"{row.regimen} no number reaches it" for row in found.fewest if row.needed is None]
    if parts:
        text = f"The fewest images that reach the target: {'; '.join(parts)}."
        yield PaperLine("Images needed", text)


def _differences(found: Audit) -> Iterator[PaperLine]:
    table, rows = found.table, found.differences
    if not rows:
        return
    if not found.errors or table.test is None:
        text = (
            "Which differences the test set can tell is not known: that takes areas under the ROC "
            "curve and the size of the test set."
        )
        yield PaperLine("Differences", text)
        return
    least = [row.paired.detectable for row in rows if row.paired]
    told = [row for row in rows if row.paired and row.paired.exceeds]
    surely = [row for row in rows if row.independent and row.independent.exceeds]
    low = sum(row.paired.p_value < table.alpha for row in rows if row.paired)
    parts = []
    for label in table.labels:
        here = [row for row in rows if row.regimen == label]
        parts.append(f"{sum(row in told for row in here)} of {len(here)} at {label}")
    text = (
        f"A test set of {table.test.rows:,} images finds a difference of {number(min(least))} to "
        f"{number(max(least))} {readable(table.metric)} (by class and size) with power "
        f"{table.power:g}, if two areas on it correlate by {table.correlation:g}. Of {len(rows)} "
        f"printed differences between two arms {len(rows) - len(told)} are smaller than that, and "
        "a true difference of such a size would be missed more often. As large or "
        f"larger: {listing(parts)}; were the areas not correlated, {len(surely)} in all. p < "
        f"{table.alpha:g} for {low} of {len(rows)}, with no allowance for their number."
    )
    yield PaperLine("Differences", text)


def _claims(found: Audit) -> Iterator[PaperLine]:
    failed = [verdict for verdict in found.verdicts if not verdict.holds]
    if not found.verdicts:
        return
    held = len(found.verdicts) - len(failed)
    text = (
        f"{held} of {count_text(len(found.verdicts), 'claim')} hold as inequalities of the printed "
        "numbers, whatever the test set can tell"
    )
    text += "; these do not:" if failed else "."
    details = []
    for verdict in failed:
        cell = verdict.failed[0]
        more = len(verdict.failed) - 1
        example = f"{cell.regimen}, {cell.class_}: {cell.found}"
        example = example.replace(", all:", ":")
        if verdict.claim.kind in ("falls", "larger"):
            example = f"{cell.class_}: {cell.found}"
        example = re.sub(r"(?<!\w)-(?=[\d\s])", MINUS, example)
        others = f" and {more} more" if more else ""
        count = f"{len(verdict.failed)} of {count_text(len(verdict.cells), 'comparison')} fail"
        details.append(f"{verdict.claim.says} ({verdict.claim.where}); {count}: {example}{others}")
    yield PaperLine("Claims", text, tuple(details))
