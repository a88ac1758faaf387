"""A comparison as it is printed."""

from __future__ import annotations

import itertools

from rich.console import Console
from rich.measure import Measurement
from rich.table import Table

from synthtrial.report.compare import SideBySide
from synthtrial.report.compare.arithmetic import SAME
from synthtrial.report.compare.texts import Row, headline, method, rows_of
from synthtrial.report.facts import listing
from synthtrial.report.tables import study_stamps

_LONGEST = 40  # characters of a setting


def show(console: Console, found: SideBySide) -> None:
    """Print everything that was found."""
    for side in (found.a, found.b):
        stamps = "".join(f"  [{stamp}]" for stamp in study_stamps(side.facts))
        console.print(f"{side.name}  {side.title}{stamps}", style="bold")
    images = f"{found.test_set.images:,} images"
    console.print(f"test set: {images} ({found.test_set.how})")
    for line in headline(found):
        console.print(line)
    for line in found.shared.left_out:
        console.print(f"not compared: {line}")
    _show_settings(console, found)
    _show_rows(console, "Scores", rows_of(found, found.scores))
    baseline = found.a.facts.design.baseline
    gains = rows_of(found, found.gains, gains=True)
    _show_rows(console, f"Gain over {baseline}", gains)
    console.print()
    for line in method(found):
        console.print(f"-> {line}")


def _show_settings(console: Console, found: SideBySide) -> None:
    rows = [row for row in found.origins if row[1] != row[2]]
    if rows:
        _title(console, "What made them")
        table = _table("", "A", "B")
        for row in rows:
            table.add_row(*row)
        _show(console, table)
    _title(console, "Settings that differ")
    if not found.settings:
        console.print("  none")
        return
    table = _table("setting", "A", "B", "touches")
    for item in found.settings:
        table.add_row(item.key, _short(item.a), _short(item.b), item.touches)
    _show(console, table)


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."


def _show_rows(console: Console, title: str, rows: list[Row]) -> None:
    for regimen, part in itertools.groupby(rows, lambda row: row.regimen):
        here = list(part)
        equal = [arm for arm in dict.fromkeys(row.arm for row in here) if _is_equal(arm, here)]
        told = [row for row in here if row.arm not in equal]
        _title(console, f"{title}, regimen {regimen}")
        table = _table("", "arm", "A", "B", "B - A", "interval", "", "p (Holm)", "from")
        last = ""
        for row in told:
            texts = (row.a, row.b, row.difference, row.interval, f"{row.symbol} {row.word}")
            shown = "" if row.target == last else row.target
            table.add_row(shown, row.arm, *texts, row.p_value, row.basis)
            last = row.target
        if told:
            _show(console, table)
        if equal:
            console.print(f"equal in every pair: {listing(equal)}")


def _is_equal(arm: str, rows: list[Row]) -> bool:
    return all(row.outcome == SAME for row in rows if row.arm == arm)


def _title(console: Console, text: str) -> None:
    console.print()
    console.print(text, style="bold")


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for name in columns:
        table.add_column(name, no_wrap=True)
    return table


def _show(console: Console, table: Table) -> None:
    """Print a table as wide as it is: a file or a narrow terminal would have it cut off."""
    options = console.options.update(max_width=1000)
    table.width = Measurement.get(console, options, table).maximum
    console.print(table, soft_wrap=True)
