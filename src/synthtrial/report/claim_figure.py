"""The gain of each arm with made images over the number of real training images."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pandas as pd
from matplotlib.lines import Line2D

from synthtrial.data.regimens import regimen_label
from synthtrial.report.claim import ArmClaim, regimen_sizes
from synthtrial.report.facts import Facts, records
from synthtrial.report.figures import styles_of
from synthtrial.report.questions import readable
from synthtrial.report.style import (
    INK,
    MARKERS,
    MUTED,
    PAPER,
    SHADE,
    Panel,
    drawing,
    legend,
    new_figure,
    safe_label,
    shorten,
)

#: Most classes that are drawn one by one; more would hide each other.
MOST_CLASSES = 6
#: Room beside the outermost sizes, as a factor; and how far apart lines stand at one size, as a
#: share of the axis.
_MARGIN, _SHIFT = 1.3, 0.012
_DASHES: tuple[Any, ...] = (
    "-",
    (0, (4, 1.6)),
    (0, (1.4, 1.4)),
    (0, (6, 1.4, 1.4, 1.4)),
    "-",
    (0, (4, 1.6)),
)


def gain_panels(facts: Facts, differences: pd.DataFrame, found: Sequence[ArmClaim]) -> list[Panel]:
    """Draw the gain over the baseline, each class by itself and their mean, with intervals.

    Args:
        facts: the study.
        differences: of :func:`synthtrial.report.inference.differences_table`.
        found: of :func:`synthtrial.report.claim.claims`.
    """
    design, sizes = facts.design, regimen_sizes(facts)
    panels = []
    for claim in found:
        mine = differences[(differences.arm == claim.arm) & differences.regimen.isin(sizes)]
        lines = _lines(mine, claim)
        if not lines:
            continue
        style = styles_of(facts)[claim.arm]
        metric = readable(design.class_metric if claim.classes else design.overall_metric)
        with drawing():
            figure, axes = new_figure(5.6, 3.4)
            axes.axhline(0.0, color=MUTED, lw=1.0, zorder=1)
            handles = []
            width = math.log(max(sizes.values()) / min(sizes.values()) * _MARGIN**2)
            apart = math.exp(_SHIFT * width)
            for place, (name, rows) in enumerate(lines):
                mean = place == len(lines) - 1
                shift = apart ** (place - (len(lines) - 1) / 2)
                x = [sizes[regimen] * shift for regimen in rows.regimen]
                half = (rows.high - rows.difference).fillna(0.0)
                line = Line2D(
                    x,
                    rows.difference.to_list(),
                    color=style.colour if mean else MUTED,
                    marker=style.marker if mean else MARKERS[place % len(MARKERS)],
                    linestyle="-" if mean else _DASHES[place % len(_DASHES)],
                    linewidth=2.0 if mean else 1.1,
                    markersize=6.5 if mean else 5,
                    markeredgecolor=PAPER,
                    zorder=4 if mean else 3,
                )
                colour = style.colour if mean else SHADE
                axes.vlines(x, rows.difference - half, rows.difference + half, colour, lw=1.6)
                axes.add_line(line)
                handles.append((line, name))
            axes.set_xscale("log")
            axes.minorticks_off()
            known = [regimen for regimen in design.regimens if regimen in sizes]
            axes.set_xticks(
                [sizes[regimen] for regimen in known],
                [_tick(regimen, sizes[regimen]) for regimen in known],
            )
            axes.set_xlim(min(sizes.values()) / _MARGIN, max(sizes.values()) * _MARGIN)
            axes.set_xlabel("real training images")
            axes.set_title(
                safe_label(f"{shorten(claim.arm)} less {shorten(design.baseline)}: {metric}")
            )
            axes.tick_params(axis="y", labelcolor=INK)
            legend(axes, [_key(line) for line, _ in handles], [name for _, name in handles], 4)
        listed = "; ".join(
            f"{regimen_label(row['regimen'])}: {row['difference']:+.3f}"
            for row in records(lines[-1][1])
        )
        alt = f"Gain of {claim.arm} over {design.baseline} in {metric}, {lines[-1][0]}. {listed}"
        number = design.synthetic_arms.index(claim.arm)
        panels.append(Panel(f"gain-by-images-{number}", alt, figure))
    return panels


def _lines(mine: pd.DataFrame, claim: ArmClaim) -> list[tuple[str, pd.DataFrame]]:
    """Return what is drawn, the mean or the only line last."""
    if not claim.classes:
        found = [("overall", mine[mine.scope == "overall"])]
    elif len(claim.classes) == 1:
        found = [(claim.classes[0], mine[mine.scope == "minority"])]
    else:
        drawn = claim.classes if len(claim.classes) <= MOST_CLASSES else ()
        found = [(n, mine[(mine.scope == "class") & (mine.class_name == n)]) for n in drawn]
        found.append((f"mean of {len(claim.classes)} classes", mine[mine.scope == "minority"]))
    return [] if found[-1][1].empty else [(n, r.sort_values("regimen")) for n, r in found]


def _key(line: Line2D) -> Line2D:
    """Return what stands for a line in the legend: without its data."""
    key = Line2D([], [])
    key.update_from(line)
    return key


def _tick(regimen: float, images: int) -> str:
    return f"{images:,}\n{regimen_label(regimen)}" if regimen <= 1 else f"{images:,}"
