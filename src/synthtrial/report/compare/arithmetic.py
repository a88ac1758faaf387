"""What differs between two studies, from two :class:`~synthtrial.report.facts.Facts` alone.

Where both have the seed, two trials of one arm, regimen, replicate and draw were given equal named
random streams: the same subset, initialisation and order. What these do to both cancels in the
difference within the pair, and the mean of such differences is tested with Student's t. Several
replicates of a draw share its subset and generator, so that they are averaged first and draws are
the pairs. Where there are no two pairs, the means are compared as those of independent groups
(Welch). Whether a difference is called one is decided by p values corrected for all rows of its
table (Holm).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import pandas as pd

from synthtrial.report.facts import Facts, listing, records
from synthtrial.report.inference import HIGHER, LOWER, UNCLEAR, UNTESTED
from synthtrial.report.tables import cell_stamps, long_results, order_stamps
from synthtrial.stats.contrasts import OWN_FROM, compare
from synthtrial.stats.multiplicity import holm
from synthtrial.stats.welch import welch

PAIRED, WELCH = "paired", "Welch"
SAME = "same"  # the outcome where every trial has the very same score in both
_PLACE = ["draw", "replicate"]
_KEYS = ["regimen", "arm", "scope", "class_name", "metric"]
_COLUMNS = (
    *("mean_a", "mean_b", "difference", "low", "high", "standard_error", "df", "p_value"),
    *("n_a", "n_b", "method", "units", "unit", "why", "equal"),
)
_DECIDED = ("p_holm", "outcome")


@dataclass(frozen=True)
class Common:
    """What two studies have in common, and what is left out because they have not.

    Attributes:
        arms, regimens: in the order of A.
        scopes: targets that mean the same in both: ``overall``, ``minority``, ``class``.
        classes: of interest in both.
        left_out: what is not compared, one sentence each.
    """

    arms: tuple[str, ...]
    regimens: tuple[float, ...]
    scopes: tuple[str, ...]
    classes: tuple[str, ...]
    left_out: tuple[str, ...]


def common(a: Facts, b: Facts) -> Common:
    """Say what of two studies can be compared."""
    mine, other = a.design, b.design
    left: list[str] = []
    for what, first, second in (
        ("arm", mine.arm_names, other.arm_names),
        ("regimen", tuple(map(str, mine.regimens)), tuple(map(str, other.regimens))),
    ):
        for side, here, there in (("A", first, second), ("B", second, first)):
            alone = [name for name in here if name not in there]
            if alone:
                many = "s" if len(alone) > 1 else ""
                left.append(f"only {side} has the {what}{many} {listing(alone)}")
    scopes = []
    if (mine.overall_metric, set(mine.overall_classes)) == (
        other.overall_metric,
        set(other.overall_classes),
    ):
        scopes.append("overall")
    else:
        left.append(
            f"overall is {mine.overall_metric} of {mine.overall_scope} in A and "
            f"{other.overall_metric} of {other.overall_scope} in B"
        )
    classes: tuple[str, ...] = ()
    if mine.class_metric != other.class_metric:
        left.append(
            f"classes are judged by {mine.class_metric} in A and by {other.class_metric} in B"
        )
    else:
        classes = tuple(name for name in mine.minority if name in other.minority)
        scopes.append("class")
        if set(mine.minority) == set(other.minority):
            scopes += ["minority"] if len(classes) > 1 else []
        else:
            left.append(
                f"the classes of interest are {listing(mine.minority) or 'none'} in A and "
                f"{listing(other.minority) or 'none'} in B, so their means are not compared"
            )
    return Common(
        tuple(name for name in mine.arm_names if name in other.arm_names),
        tuple(regimen for regimen in mine.regimens if regimen in other.regimens),
        tuple(scopes),
        classes,
        tuple(left),
    )


def scores_table(a: Facts, b: Facts, *, same_seed: bool) -> pd.DataFrame:
    """Return the scores of A and B and their difference, for each cell and target in both.

    Args:
        a: one study.
        b: the other; differences are B minus A.
        same_seed: whether both have one root of random streams.

    Returns:
        Columns regimen, arm, scope, class_name, metric; mean_a, mean_b (over what was compared),
        difference, low, high, standard_error, df, p_value; n_a, n_b (trials); method (``paired`` or
        ``Welch``), units (pairs, or values of the smaller side), unit (``draw`` or ``replicate``),
        why (it is not paired), equal (pairs of trials with the very same score), stamps (of either
        cell), p_holm (corrected for all rows of the table: Holm), outcome by it (``higher``,
        ``lower``, ``same``, ``unclear``, ``untested``). Low and high are NaN where no interval can
        be had.
    """
    shared = common(a, b)
    return _table(a, b, _scores(a, shared), _scores(b, shared), same_seed)


def gains_table(a: Facts, b: Facts, *, same_seed: bool) -> pd.DataFrame:
    """Return what each arm gains over the baseline in A and in B, and how that changed.

    A gain is the difference between arm and baseline within one replicate; changes of it are
    compared as scores are.

    Returns:
        The columns of :func:`scores_table`; means are mean gains. Empty where the two have other
        baselines.
    """
    baseline = a.design.baseline
    if baseline != b.design.baseline:
        return _table(a, b, _no_results(), _no_results(), same_seed)
    shared = common(a, b)
    mine, other = (_gains(_scores(facts, shared), baseline) for facts in (a, b))
    return _table(a, b, mine, other, same_seed)


def _scores(facts: Facts, shared: Common) -> pd.DataFrame:
    results = long_results(facts)
    wanted = results.arm.isin(shared.arms) & results.regimen.isin(shared.regimens)
    wanted &= results.scope.isin(shared.scopes)
    wanted &= (results.scope != "class") | results.class_name.isin(shared.classes)
    return results[wanted]


def _no_results() -> pd.DataFrame:
    return pd.DataFrame(columns=[*_KEYS, *_PLACE, "value"])


def _gains(results: pd.DataFrame, baseline: str) -> pd.DataFrame:
    place = [key for key in _KEYS if key != "arm"] + _PLACE
    base = results[results.arm == baseline][[*place, "value"]]
    merged = results[results.arm != baseline].merge(base, on=place, suffixes=("", "_of_baseline"))
    return merged.assign(value=merged.value - merged.value_of_baseline)


def _table(
    a: Facts, b: Facts, mine: pd.DataFrame, other: pd.DataFrame, same_seed: bool
) -> pd.DataFrame:
    stamps = [cell_stamps(facts) for facts in (a, b)]
    there = dict(iter(other.groupby(_KEYS, sort=False)))
    rows = []
    for key, part in mine.groupby(_KEYS, sort=False):
        if key not in there:
            continue
        place = dict(zip(_KEYS, key, strict=True))
        cell = str(place["arm"]), float(str(place["regimen"]))
        touched = [found.get(cell, "") for found in stamps]
        every = {stamp for text in touched for stamp in text.split(",") if stamp}
        units = a.design.unit, b.design.unit
        values = _compare(part, there[key], units, a.design.confidence, same_seed=same_seed)
        rows.append({**place, **values, "stamps": ",".join(order_stamps(every))})
    table = pd.DataFrame(rows, columns=[*_KEYS, *_COLUMNS, "stamps", *_DECIDED])
    table["p_holm"] = holm(table.p_value)
    alpha = 1.0 - a.design.confidence
    table["outcome"] = [_outcome(row, alpha) for row in records(table)]
    return table


def _outcome(row: dict[str, Any], alpha: float) -> str:
    """Say what a difference shows, all questions of the table counted."""
    if row["equal"] and row["equal"] == min(row["n_a"], row["n_b"]):
        return SAME
    flat = row["low"] == row["high"] and row["units"] < OWN_FROM  # of two pairs it may be chance
    if math.isnan(row["low"]) or flat:
        return UNTESTED
    if not row["p_holm"] < alpha:
        return UNCLEAR
    return HIGHER if row["difference"] > 0 else LOWER


def _compare(
    mine: pd.DataFrame,
    other: pd.DataFrame,
    units: tuple[str, str],
    confidence: float,
    *,
    same_seed: bool,
) -> dict[str, object]:
    """Compare the values of one cell and target; the frames have draw, replicate and value.

    What is independent, ``units``, is a matter of the designs: of several draws one that is left
    is one.
    """
    pairs = mine[[*_PLACE, "value"]].merge(other[[*_PLACE, "value"]], on=_PLACE)
    sizes = {"n_a": len(mine), "n_b": len(other)}
    equal = int((pairs.value_x == pairs.value_y).sum()) if same_seed else 0
    unit = "draw" if units == ("draw", "draw") else "replicate"
    blocks = pairs.groupby(unit)[["value_x", "value_y"]].mean()
    if same_seed and len(blocks) > 1:
        (found,) = compare(
            blocks.to_numpy(), ("A", "B"), [("B", "A")], spread="own", confidence=confidence
        )
        return {
            "mean_a": blocks.value_x.mean(),
            "mean_b": blocks.value_y.mean(),
            "difference": found.estimate,
            "low": found.low,
            "high": found.high,
            "standard_error": found.standard_error,
            "df": float(found.df),
            "p_value": found.p_value,
            **sizes,
            "method": PAIRED,
            "units": len(blocks),
            "unit": unit,
            "why": "",
            "equal": equal,
        }
    if not same_seed:
        why = "the seeds differ"
    elif len(pairs) == 0:
        why = "no draw and replicate in common"
    else:
        why = f"only one {unit} in common"
    first, second = mine.groupby(units[0]).value.mean(), other.groupby(units[1]).value.mean()
    apart = welch(first, second, confidence)
    return {
        "mean_a": first.mean(),
        "mean_b": second.mean(),
        "difference": apart.estimate,
        "low": apart.low,
        "high": apart.high,
        "standard_error": apart.standard_error,
        "df": apart.df,
        "p_value": apart.p_value,
        **sizes,
        "method": WELCH,
        "units": min(len(first), len(second)),
        "unit": units[0] if units[0] == units[1] else f"{units[0]} in A, {units[1]} in B",
        "why": why,
        "equal": equal,
    }


def equal_results(
    a: dict[str, dict[str, object]], b: dict[str, dict[str, object]]
) -> tuple[int, tuple[str, ...]]:
    """Count the trials that both ran, and name those of them whose results differ.

    Args:
        a: what was measured, by trial id.
        b: the same of the other; ids are digests of settings, so equal ids mean equal settings.

    Returns:
        The number of ids in both, and those with other values, sorted. A value that one table lacks
        counts as null.
    """
    both = sorted(a.keys() & b.keys())
    return len(both), tuple(id_ for id_ in both if _known(a[id_]) != _known(b[id_]))


def _known(value: object) -> object:
    if isinstance(value, dict):
        kept = {key: _known(item) for key, item in value.items()}
        return {key: item for key, item in kept.items() if item is not None} or None
    if isinstance(value, float) and math.isnan(value):
        return None
    return value
