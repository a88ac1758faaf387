"""How wide the interval of the primary question is: over seeds alone, and over test sets too.

They are two intervals, and have two widths. More seeds make the one over seeds (and draws) as
narrow as anybody likes; the one that also holds for other test images never gets below a floor.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from synthtrial.data.regimens import regimen_label
from synthtrial.errors import ConfigError
from synthtrial.report.facts import count_text, records

if TYPE_CHECKING:
    import pandas as pd

#: Said where the floor cannot be known, however many the replicates.
FLOOR_UNKNOWN = (
    "note: the floor that the test set puts under intervals is not known, as the study keeps no "
    "logits (store.keep_logits); a width below it would be of no use for other test images"
)


def refuse_below_floor(primary: pd.DataFrame, width: float) -> None:
    """Refuse a width that says no more about other test images, with the number.

    Args:
        primary: rows of :func:`synthtrial.report.held_out.with_test_set`.
        width: that the interval over seeds alone is to have, from end to end.

    Raises:
        ConfigError: the floor is known and above ``width``.
    """
    known = [row for row in records(primary) if not math.isnan(row["floor"])]
    row = max(known, key=lambda row: float(row["floor"]), default=None)
    if row is None or width >= row["floor"]:
        return
    varied = _varied(row)
    raise ConfigError(
        f"--until width<{width:g} is the width of the interval over {varied} alone. The one that "
        f"also holds for other test images cannot be narrower than {row['floor']:.4g}, as "
        f"{count_text(row['blocks'], row['unit'])} estimate it, however many the {varied} (at "
        f"{regimen_label(row['regimen'])}, with a test set of {row['test_images']:.0f} images that "
        "count): below that, more of them say nothing more about other images. Ask for "
        f"{_rounded_up(row['floor'])} or more, or have more test images"
    )


def has_floor(primary: pd.DataFrame) -> bool:
    """Whether the test set's floor is known of any regimen."""
    return bool(primary.floor.notna().any())


def width_lines(primary: pd.DataFrame) -> tuple[str, ...]:
    """Say both widths, from end to end, a line for each regimen that has an interval.

    Args:
        primary: rows of :func:`synthtrial.report.held_out.with_test_set`.
    """
    return tuple(
        f"  at {regimen_label(row['regimen'])}: {row['high'] - row['low']:.4g} wide over "
        f"{_varied(row)} alone; over other test images too: {_with_test_set(row)}"
        for row in records(primary)
        if math.isfinite(row["high"] - row["low"])
    )


def _with_test_set(row: Mapping[str, Any]) -> str:
    both = row["both_high"] - row["both_low"]
    if not math.isfinite(both):
        return "not known"
    floor = row["floor"]
    return f"{both:.4g}" + (f", and never below about {floor:.4g}" if floor > 0 else "")


def _varied(row: Mapping[str, Any]) -> str:
    return "draws and seeds" if "draw" in row["varies_with"] else "seeds"


def _rounded_up(floor: float) -> str:
    """Return a number of four digits that is not below the floor."""
    unit = 10.0 ** (math.floor(math.log10(floor)) - 3)
    return f"{math.ceil(floor / unit) * unit:.4g}"
