"""What is one difference under several names: it is counted once, and called one thing everywhere.

The mean over the classes of interest is the score of the only one where there is but one, and may
be what ``overall`` is. Both have rows in the tables, and are one question.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from synthtrial.report.facts import Design, records

if TYPE_CHECKING:
    from numpy.typing import NDArray

Target = tuple[str, str]  # scope, class name
_SAME_DIGITS = 12
#: What a row keeps; the declared question is one row under its own name.
_NAMES = ("regimen", "scope", "class_name", "metric", "arm", "baseline", "role")


def other_names(design: Design) -> dict[Target, Target]:
    """Return targets that are another one, with that other: the declared one, or the summary."""
    same = [("minority", "")] if design.minority else []
    same += [("class", design.minority[0])] if len(design.minority) == 1 else []
    same += [("overall", "")] if design.overall_is_minority else []
    asked = design.primary and (design.primary.scope, design.primary.class_name)
    first = asked if asked in same else next(iter(same), None)
    return {target: first for target in same if first is not None and target != first}


def first_places(table: pd.DataFrame, design: Design) -> NDArray[np.intp]:
    """Return for each row the place of the row that is the same difference under its first name.

    Args:
        table: regimen, arm, baseline, scope, class_name, difference.
        design: of the study.
    """
    names, rows = other_names(design), records(table)
    keys = [(row["regimen"], row["arm"], row["baseline"]) for row in rows]
    targets = [(row["scope"], row["class_name"]) for row in rows]
    known = {key: place for place, key in enumerate(zip(keys, targets, strict=True))}
    found = np.arange(len(rows))
    for place, (key, target) in enumerate(zip(keys, targets, strict=True)):
        first = known.get((key, names[target])) if target in names else None
        # Sides have scopes of these names too, and other scores.
        if first is not None and np.isclose(
            rows[first]["difference"], rows[place]["difference"], rtol=0.0, atol=1e-9
        ):
            found[place] = first
    return found


def said_once(table: pd.DataFrame, first_N: NDArray[np.intp]) -> pd.DataFrame:
    """Give each row what that of its first name has, but for the names themselves and the role."""
    kept = {
        name: column if name in _NAMES else column.to_numpy()[first_N]
        for name, column in table.items()
    }
    return pd.DataFrame(kept, index=table.index)


def as_decided(table: pd.DataFrame, whole: pd.DataFrame) -> pd.DataFrame:
    """Take over what is decided of the same difference elsewhere, so that it is called one thing.

    Args:
        table: of :func:`synthtrial.report.inference.differences_table`, of other targets.
        whole: of the same, of the study's own ones; those that are not corrected for the number of
            questions decide nothing.
    """
    whole = whole[whole.questions.notna()]
    keys, values = ["regimen", "arm", "baseline"], ["difference", "standard_error"]
    decided = ["p_holm", "questions", "outcome", "not_worse", "role", "shown_low", "shown_high"]
    same = table[[*keys, *values]].round(_SAME_DIGITS)
    there = whole[[*keys, *values]].round(_SAME_DIGITS).assign(place=whole.index)
    place = same.merge(there.drop_duplicates([*keys, *values]), how="left").place
    known = place.notna().to_numpy()
    table = table.copy()
    if not known.any():
        return table
    table.loc[known, decided] = whole.loc[place[known], decided].to_numpy()
    return table
