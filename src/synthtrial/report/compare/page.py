"""A comparison as a page that stands alone, with its tables beside it."""

from __future__ import annotations

import itertools
import json
import math
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd

from synthtrial import __version__
from synthtrial.report import templating
from synthtrial.report.compare import SideBySide
from synthtrial.report.compare.arithmetic import SAME
from synthtrial.report.compare.texts import Row, headline, method, plain, rows_of
from synthtrial.report.facts import listing, records
from synthtrial.report.tables import study_stamps
from synthtrial.store.files import storage_errors, write_file

PAGE = "comparison.html"


@dataclass(frozen=True)
class Line:
    """A row with its interval placed on an axis, in percent; ``low`` is None without interval."""

    row: Row
    low: float | None
    width: float
    point: float


def write_comparison(found: SideBySide, out: Path) -> Path:
    """Write ``comparison.html``, ``comparison.json`` and CSV tables into a folder.

    Returns:
        The path of the page.

    Raises:
        StoreError: the folder cannot be written, or the disk is full.
    """
    out = Path(out).absolute()
    with storage_errors(out, "--out"):
        out.mkdir(parents=True, exist_ok=True)
        for name, table in _tables(found).items():
            text = table.to_csv(index=False, float_format="%.10g")
            write_file(out / f"{name}.csv", text.encode())
        text = json.dumps(plain(found), indent=1, ensure_ascii=False, allow_nan=False)
        write_file(out / "comparison.json", text.encode() + b"\n")
        write_file(out / PAGE, render(found).encode())
    return out / PAGE


def _tables(found: SideBySide) -> dict[str, pd.DataFrame]:
    return {
        "scores": found.scores,
        "gains": found.gains,
        "settings": pd.DataFrame([vars(item) for item in found.settings], columns=_SETTING),
        "origins": pd.DataFrame(found.origins, columns=["what", "a", "b"]),
    }


_SETTING = ["key", "a", "b", "touches"]


def render(found: SideBySide) -> str:
    """Return the page."""
    scores, gains = found.scores, found.gains
    return templating.render(
        "comparison.html.j2",
        title=f"{found.a.study.name} and {found.b.study.name} · synthtrial",
        sides=[
            (side.name, side.study.name, str(side.store.root), study_stamps(side.facts))
            for side in (found.a, found.b)
        ],
        headline=headline(found),
        test_set=found.test_set,
        left_out=found.shared.left_out,
        settings=found.settings,
        origins=found.origins,
        score_groups=_groups(found, scores, gains=False),
        gain_groups=_groups(found, gains, gains=True),
        baseline=found.a.facts.design.baseline,
        other_baseline=found.b.facts.design.baseline,
        method=method(found),
        version=__version__,
        generated=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
    )


def _groups(
    found: SideBySide, table: pd.DataFrame, *, gains: bool
) -> list[tuple[str, str, list[Line], str]]:
    """Return rows by regimen and target, and the arms that are the same in both.

    The intervals are on one axis for all of them.
    """
    ends = [abs(x) for row in records(table) for x in (row["low"], row["high"], row["difference"])]
    reach = max((x for x in ends if not math.isnan(x)), default=0.0) or 0.1
    groups = []
    for place, part in itertools.groupby(
        rows_of(found, table, gains=gains), lambda row: (row.regimen, row.target)
    ):
        here = list(part)
        same = listing([row.arm for row in here if row.outcome == SAME])
        groups.append((*place, [_line(row, reach) for row in here if row.outcome != SAME], same))
    return groups


def _line(row: Row, reach: float) -> Line:
    def place(value: float) -> float:
        return 50 + 48 * value / reach

    point, (low, high) = place(row.estimate), row.ends
    if math.isnan(low):
        return Line(row, None, 0.0, point)
    return Line(row, place(low), place(high) - place(low), point)
