"""A forest plot: the difference of every arm from the baseline, with both its intervals."""

from __future__ import annotations

import math

import pandas as pd

from synthtrial.data.regimens import regimen_label
from synthtrial.report.facts import Facts, records
from synthtrial.report.figures import styles_of
from synthtrial.report.numbers import axis_reach
from synthtrial.report.questions import target_name, targets_of
from synthtrial.report.style import INK, MUTED, PAPER, SHADE, Panel, drawing, new_figure, shorten

_ROW_INCHES, _FRAME_INCHES, _WIDTH_INCHES = 0.235, 0.75, 5.4

#: Of the simultaneous interval, or the one that is shown in its place, and of the one alone.
_ENDS = ("shown_low", "shown_high", "low", "high")


def forest_panels(facts: Facts, differences: pd.DataFrame) -> list[Panel]:
    """Draw the differences in what is judged first and overall, a panel each.

    Thick lines are the intervals of each difference alone, thin ones the simultaneous ones; the
    band is what does not matter. Filled marks are clear of zero after all corrections.

    Args:
        facts: the study.
        differences: of :func:`synthtrial.report.inference.differences_table`.
    """
    design = facts.design
    shown = targets_of(design)[:2]
    mine = differences[differences.baseline == design.baseline]
    panels: list[Panel] = []
    for scope, class_name in shown:
        here = mine[(mine.scope == scope) & (mine.class_name == class_name)]
        if len(here):
            slug = f"forest-{len(panels) + 1}"
            panels.append(_panel(facts, here, target_name(design, scope, class_name), slug))
    return panels


def _panel(facts: Facts, rows: pd.DataFrame, title: str, slug: str) -> Panel:
    design, styles = facts.design, styles_of(facts)
    keyed = {(row["regimen"], row["arm"]): row for row in records(rows)}
    lines = []
    for regimen in design.regimens:
        held = [(regimen, arm) for arm in design.arm_names if (regimen, arm) in keyed]
        lines += [("", keyed[key]) for key in held]
        if held:
            lines[-len(held)] = (regimen_label(regimen), lines[-len(held)][1])
    height = _FRAME_INCHES + _ROW_INCHES * (len(lines) + 0.5 * len(design.regimens))
    ends = [row[end] for _, row in lines for end in _ENDS]
    reach = axis_reach([row["difference"] for _, row in lines], ends)
    with drawing():
        figure, axes = new_figure(_WIDTH_INCHES, height)
        place = 0.0
        ticks: list[tuple[float, str]] = []
        for label, row in lines:
            place -= 1.6 if label and ticks else 1.0
            style = styles[row["arm"]]
            name = shorten(row["arm"])
            ticks.append((place, f"{label}   {name}" if label else name))
            if not math.isnan(row["joint_low"]):
                for thickness, *names in ((1.0, *_ENDS[:2]), (3.2, *_ENDS[2:])):
                    cut = [max(-reach, min(reach, row[name])) for name in names]
                    axes.plot(
                        cut, [place] * 2, color=style.colour, lw=thickness, solid_capstyle="butt"
                    )
                for name, tip in zip(_ENDS, "<><>", strict=True):
                    if abs(row[name]) > reach:  # it goes on beyond the axis
                        edge = math.copysign(reach, row[name])
                        axes.plot([edge], [place], color=style.colour, marker=tip, ms=4)
            clear = row["outcome"] in ("higher", "lower")
            axes.plot(
                [row["difference"]],
                [place],
                color=style.colour,
                marker=style.marker,
                ms=6,
                mec=style.colour,
                mew=1.2,
                mfc=style.colour if clear else PAPER,
            )
        axes.axvline(0.0, color=MUTED, lw=1.0, zorder=0)
        if design.margin is not None:
            axes.axvspan(-design.margin, design.margin, color=SHADE, alpha=0.35, lw=0, zorder=-1)
        axes.set_yticks([p for p, _ in ticks], [text for _, text in ticks], fontsize=8.5)
        axes.set_ylim(place - 0.8, 0.0)
        axes.grid(axis="y", visible=False)
        axes.grid(axis="x", visible=True)
        axes.locator_params(axis="x", nbins=5)
        axes.set_xlabel(f"difference from {shorten(design.baseline)}", color=INK, fontsize=9)
        axes.set_title(f"{title[0].upper()}{title[1:]}")
    alt = f"Forest plot of differences from {design.baseline} in {title}, by training set and arm"
    return Panel(slug, alt, figure)
