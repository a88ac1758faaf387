"""What the study took, cell by cell and for each point of gain, generators included.

Time on processors is wall time times processes times threads; time on GPUs is wall time times
processes, and shares of a GPU where trials share one. What several arms need (a generator, a
reference classifier) counts whole for each of them, because whoever adopts one arm alone pays all
of it, and once in the study's total. What nobody recorded is said to be unknown, and never 0.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from synthtrial.data.regimens import regimen_label
from synthtrial.report.facts import DASH, ENDED, Facts, count_text, listing, records
from synthtrial.report.inference import HIGHER, LOWER, UNTESTED
from synthtrial.report.numbers import number

#: A point of gain.
POINT = 0.01
PARTS = ("grid", "replicates", "images")
_WORDS = {
    "reference": "training of a reference classifier",
    "train_gan": "training of a generator",
    "synthesize": "making of images",
    "filter": "filtering of images",
    "assess": "measurement of images",
}
_MANY = {
    "reference": "trainings of reference classifiers",
    "train_gan": "trainings of generators",
    "synthesize": "makings of images",
    "filter": "filterings of images",
    "assess": "measurements of images",
}


def items_table(facts: Facts) -> pd.DataFrame:
    """Return what each trial and each task behind the images took.

    Returns:
        A row for each trial, and for each task and cell that needs it; columns task_id, part
        (``grid``, ``replicates`` or ``images``), kind (``trial`` or that of the task), arm,
        regimen, ended, cpu_hours and gpu_hours (one of them 0; NaN where it is unknown), unknown.
    """
    trials, work = facts.trials, facts.work
    known = trials[(trials.device != "") & trials.threads.notna()]
    # A record of a failure names no device: it is counted as the other trials of the study are.
    usual = known.device.mode().iloc[0] if len(known) else ""
    threads = float(known.threads.median()) if len(known) else math.nan
    parts = pd.DataFrame(
        {
            "task_id": trials.trial_id,
            "part": np.where(trials.stage == "grid", "grid", "replicates"),
            "kind": "trial",
            "arm": trials.arm,
            "regimen": trials.regimen,
            "ended": trials.status.isin(ENDED),
            "seconds": trials.spent_seconds,
            "processes": 1.0,
            "threads": trials.threads.fillna(threads),
            "device": trials.device.where(trials.device != "", usual),
            "share": 1.0 / max(1, facts.tariff.trials_per_gpu),
        }
    )
    images = pd.DataFrame(
        {
            "task_id": work.task_id,
            "part": "images",
            "kind": work.kind,
            "arm": work.arm,
            "regimen": work.regimen,
            "ended": work.state.isin(["done", "failed"]),
            "seconds": work.seconds,
            "processes": work.processes.where(work.state != "failed", 1.0),
            "threads": work.threads.fillna(threads),
            "device": work.device.where(work.device != "", usual),
            "share": 1.0,
        }
    )
    table = pd.concat([parts, images], ignore_index=True) if len(images) else parts
    on_gpu = table.device.str.startswith("cuda")
    hours = table.seconds * table.processes / 3600
    unknown = table.ended & ((table.device == "") | hours.isna())
    hours = hours.where(table.ended, 0.0)
    table["cpu_hours"] = (hours * table.threads).where(~on_gpu, 0.0).mask(unknown)
    table["gpu_hours"] = (hours * table.share).where(on_gpu, 0.0).mask(unknown)
    return table[
        ["task_id", "part", "kind", "arm", "regimen", "ended", "cpu_hours", "gpu_hours"]
    ].assign(unknown=unknown)


@dataclass(frozen=True)
class Spent:
    """What something took; ``unknown`` counts the things that nobody recorded, beyond it."""

    cpu_hours: float
    gpu_hours: float
    unknown: int = 0

    def price(self, facts: Facts) -> float:
        """Return what that costs; NaN where a price that it needs is not known."""
        total = 0.0
        for hours, price in (
            (self.cpu_hours, facts.tariff.cpu_hour),
            (self.gpu_hours, facts.tariff.gpu_hour),
        ):
            if hours:
                total += math.nan if price is None else hours * price
        return total

    def less(self, other: Spent) -> Spent:
        """Return what it took beyond another."""
        return Spent(
            self.cpu_hours - other.cpu_hours,
            self.gpu_hours - other.gpu_hours,
            self.unknown + other.unknown,
        )


def spent(items: pd.DataFrame) -> Spent:
    """Add up rows of :func:`items_table`."""
    return Spent(
        float(items.cpu_hours.sum()), float(items.gpu_hours.sum()), int(items.unknown.sum())
    )


def total_spent(items: pd.DataFrame) -> Spent:
    """Return what the whole study took, everything counted once."""
    trials = items[items.kind == "trial"]
    return spent(pd.concat([trials, items[items.kind != "trial"].drop_duplicates("task_id")]))


def cost_table(facts: Facts, items: pd.DataFrame, differences: pd.DataFrame) -> pd.DataFrame:
    """Return what each cell took and what a point of gain over the baseline costs.

    Args:
        facts: the study.
        items: of :func:`items_table`.
        differences: of :func:`inference.differences_table`.

    Returns:
        Columns regimen, arm; of each of ``PARTS`` its cpu_hours, gpu_hours and unknown (things that
        nobody recorded: the sums are then too low); total_cpu_hours, total_gpu_hours, total_price
        (NaN where no price is known), unknown (in the total), extra_unknown (in it or the
        baseline's), extra_cpu_hours, extra_gpu_hours, extra_price (beyond the baseline's cell),
        gain (over the baseline in the classes of interest, else overall), low, high,
        per_point_cpu_hours, per_point_gpu_hours, per_point_price (of the extra, for each
        ``POINT`` of gain; NaN unless the outcome is ``higher``), outcome.
    """
    design = facts.design
    scope = design.summary_scope
    gains = {
        (row["regimen"], row["arm"]): row
        for row in records(differences[differences.scope == scope])
    }
    groups = {(k[0], k[1]): group for k, group in items.groupby(["regimen", "arm"])}
    rows = []
    for regimen in design.regimens:
        for arm in design.arm_names:
            mine = groups.get((regimen, arm), items.iloc[:0])
            theirs = groups.get((regimen, design.baseline), items.iloc[:0])
            whole = spent(mine)
            row: dict[str, Any] = {"regimen": regimen, "arm": arm}
            for part in PARTS:
                taken = spent(mine[mine.part == part])
                row |= {
                    f"{part}_cpu_hours": taken.cpu_hours,
                    f"{part}_gpu_hours": taken.gpu_hours,
                    f"{part}_unknown": taken.unknown,
                }
            row |= _columns("total_", whole, facts)
            row["unknown"] = whole.unknown
            row["extra_unknown"] = whole.unknown + spent(theirs).unknown
            row |= _gained(facts, whole.less(spent(theirs)), gains.get((regimen, arm)))
            rows.append(row)
    return pd.DataFrame(rows)


def _columns(prefix: str, taken: Spent, facts: Facts) -> dict[str, float]:
    return {
        f"{prefix}cpu_hours": taken.cpu_hours,
        f"{prefix}gpu_hours": taken.gpu_hours,
        f"{prefix}price": taken.price(facts),
    }


def _gained(facts: Facts, extra: Spent, gain: Mapping[str, Any] | None) -> dict[str, Any]:
    row = _columns("extra_", extra, facts)
    names = {"gain": "difference", "low": "shown_low", "high": "shown_high"}
    row |= {name: math.nan if gain is None else float(gain[of]) for name, of in names.items()}
    outcome = UNTESTED if gain is None else gain["outcome"]
    points = row["gain"] / POINT if outcome == HIGHER else math.nan
    row |= {
        f"per_point_{name}": row[f"extra_{name}"] / points
        for name in ("cpu_hours", "gpu_hours", "price")
    }
    return row | {"outcome": outcome}


def time_text(hours: float) -> str:
    """Write a time so that it can be read: ``3.2 h``, ``14 min``, ``2.1 s``."""
    size = abs(hours)
    if size == 0:
        return "0"
    if size >= 0.995:
        return f"{hours:,.0f} h" if size >= 99.5 else f"{hours:.1f} h"
    if size * 60 >= 0.995:
        return f"{60 * hours:.0f} min" if size * 60 >= 9.95 else f"{60 * hours:.1f} min"
    seconds = 3600 * hours
    if abs(seconds) < 0.05:
        return "under 0.1 s"
    return f"{seconds:.0f} s" if size * 3600 >= 9.95 else f"{seconds:.1f} s"


def _both(cpu_hours: float, gpu_hours: float, *, named: bool) -> str:
    """Write the time on both kinds of device; named where a study has used both."""
    times = (("GPU", gpu_hours), ("CPU", cpu_hours))
    parts = [time_text(hours) + (f" {name}" if named else "") for name, hours in times if hours]
    return " + ".join(parts) or "0"


@dataclass(frozen=True)
class CostRow:
    """A line of the table, as texts."""

    arm: str
    parts: tuple[str, ...]
    total: str
    price: str
    gain: str
    per_point: str
    small: str


def cost_view(facts: Facts, table: pd.DataFrame) -> list[tuple[str, list[CostRow]]]:
    """Lay the table out for people.

    Args:
        facts: the study.
        table: of :func:`cost_table`.

    Returns:
        For each training set its name and its rows.
    """
    named = bool(table.total_cpu_hours.any() and table.total_gpu_hours.any())
    making = set(facts.design.synthetic_arms)
    groups = []
    for regimen in facts.design.regimens:
        rows = []
        for row in records(table[table.regimen == regimen]):
            parts = [
                _part(row, part, named=named) if part != "images" or row["arm"] in making else DASH
                for part in PARTS
            ]
            least = "at least " if row["unknown"] else ""
            total = _both(row["total_cpu_hours"], row["total_gpu_hours"], named=named)
            price = row["total_price"]
            per_point, small = _per_point(facts, row, named=named)
            rows.append(
                CostRow(
                    row["arm"],
                    tuple(parts),
                    least + total if total != "0" or not row["unknown"] else "unknown",
                    "" if math.isnan(price) else f"{least}{price:,.2f}",
                    number(row["gain"], signed=True) if row["gain"] == row["gain"] else DASH,
                    per_point,
                    small,
                )
            )
        groups.append((regimen_label(regimen), rows))
    return groups


def _part(row: Mapping[str, Any], part: str, *, named: bool) -> str:
    text = _both(row[f"{part}_cpu_hours"], row[f"{part}_gpu_hours"], named=named)
    if not row[f"{part}_unknown"]:
        return text
    return "unknown" if text == "0" else f"at least {text}"


def _per_point(facts: Facts, row: Mapping[str, Any], *, named: bool) -> tuple[str, str]:
    """Return what a point of gain costs, and below it the price, or why there is no such number."""
    if row["arm"] == facts.design.baseline:
        return DASH, ""
    reason = ""
    if math.isnan(row["gain"]):
        reason = "no gain known"
    elif math.isnan(row["low"]):
        reason = "gain without interval"
    elif row["outcome"] != HIGHER:
        reason = "no gain: it did worse" if row["outcome"] == LOWER else "no sure gain"
    elif row["extra_unknown"]:
        reason = "partly unknown"
    cpu, gpu = row["per_point_cpu_hours"], row["per_point_gpu_hours"]
    if not reason and cpu <= 0 and gpu <= 0:
        reason = "no extra cost"
    if reason:
        return "", reason
    price = row["per_point_price"]
    return _both(cpu, gpu, named=named), "" if math.isnan(price) else f"{price:,.2f}"


def unknown_sentences(items: pd.DataFrame) -> list[str]:
    """Say which times nobody recorded."""
    lost = items[items.unknown].drop_duplicates("task_id")
    sentences = []
    for kind, mine in lost.groupby("kind", sort=False):
        ended = items[items.ended & (items.kind == kind)].drop_duplicates("task_id")
        if kind == "trial":
            what = count_text(len(ended), "trial")
        else:
            what = count_text(len(ended), _WORDS[str(kind)], _MANY[str(kind)])
        sentences.append(f"The time of {len(mine):,} of {what} was not recorded.")
    return sentences


def cost_tables(facts: Facts, differences: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Return the tables of cost by the names of their files."""
    items = items_table(facts)
    if not items.ended.any():
        return {}
    return {"cost": cost_table(facts, items, differences)}


def cost_context(facts: Facts, found: Mapping[str, pd.DataFrame]) -> dict[str, Any]:
    """Return what the template shows of cost.

    Args:
        facts: the study.
        found: of :func:`cost_tables`.
    """
    if "cost" not in found:
        return {"costs": []}
    items = items_table(facts)
    total = total_spent(items)
    price = total.price(facts)
    parts = [
        f"{time_text(hours)} of one {device}"
        for device, hours in (("GPU", total.gpu_hours), ("processor", total.cpu_hours))
        if hours
    ]
    least = "at least " if total.unknown else ""
    return {
        "costs": cost_view(facts, found["cost"]),
        "cost_total": (least + listing(parts) if parts else "a time that nobody recorded")
        + ("" if math.isnan(price) else f", a cost of {least}{price:,.2f}"),
        "cost_unknown": unknown_sentences(items),
        "cost_processors": bool(total.cpu_hours),
        "cost_priced": bool(found["cost"].total_price.notna().any()),
        "cost_images": bool(len(facts.work)),
        "cost_shared": facts.tariff.trials_per_gpu if total.gpu_hours else 1,
    }
