"""How common each class of multi-label images is, and how much of that is uncertain."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.lines import Line2D

from synthtrial.report.facts import Facts
from synthtrial.report.figures import class_axis
from synthtrial.report.style import (
    ACCENT,
    GRID,
    INK,
    MUTED,
    SHADE,
    Panel,
    drawing,
    legend,
    new_figure,
)


def prevalence_table(facts: Facts) -> pd.DataFrame:
    """Return shares of the training images of draw 0, by class in the dataset's order.

    Returns:
        Columns positive (certain, after images were taken away), uncertain (NaN where not counted),
        before (positive, before that); empty while nothing has been counted.
    """
    counts = facts.counts[facts.counts.draw == 0]
    totals = counts[counts.class_name == ""].groupby("role").images.sum()
    if not totals.get("train", 0):
        return pd.DataFrame(columns=["positive", "uncertain", "before"], dtype=float)
    classes = list(facts.design.classes)

    def held(role: str, column: str) -> pd.Series:
        return counts[counts.role == role].set_index("class_name")[column].reindex(classes)

    train, removed = held("train", "images"), held("removed", "images").fillna(0)
    whole = totals["train"] + totals.get("removed", 0)
    return pd.DataFrame(
        {
            "positive": train / totals["train"],
            "uncertain": held("train", "uncertain") / totals["train"],
            "before": (train + removed) / whole,
        }
    )


def prevalence(facts: Facts) -> list[Panel]:
    """Draw these shares as stacked bars."""
    design, table = facts.design, prevalence_table(facts)
    if table.empty:
        return []
    unsure = table.uncertain.fillna(0.0)
    counted = bool(table.uncertain.notna().any())
    thinned = not np.allclose(table.before, table.positive)
    with drawing():
        figure, axes = new_figure(5.6, 1.0 + 0.27 * len(design.classes))
        places = np.arange(len(design.classes))
        rare = [name in design.minority for name in design.classes]
        colours = [ACCENT if r else MUTED for r in rare]
        if thinned:
            axes.barh(places, table.before, 0.86, color="none", edgecolor=SHADE, linewidth=1.0)
        axes.barh(places, table.positive, 0.66, color=colours)
        axes.barh(places, unsure, 0.66, left=table.positive, color=GRID, edgecolor=colours, lw=0.9)
        for place, (positive, uncertain, before) in enumerate(
            zip(table.positive, unsure, table.before, strict=True)
        ):
            text = f"{100 * positive:.1f} %"
            text += f" + {100 * uncertain:.1f} %" if counted else ""
            axes.annotate(
                text,
                (max(positive + uncertain, before if thinned else 0.0), place),
                (5, 0),
                textcoords="offset points",
                va="center",
                color=INK if rare[place] else MUTED,
                fontweight="bold" if rare[place] else "normal",
            )
        class_axis(axes, design.classes, places)
        reach = max(float((table.positive + unsure).max()), float(table.before.max()))
        axes.set_xlim(0, 1.35 * reach)
        axes.set_xlabel("share of the training images")
        marks = {
            "positive": Line2D([], [], marker="s", ls="", ms=8, color=MUTED),
            "positive, class of interest": Line2D([], [], marker="s", ls="", ms=8, color=ACCENT),
        }
        if counted:
            marks["uncertain"] = Line2D([], [], marker="s", ls="", ms=8, mfc=GRID, mec=MUTED)
        if thinned:
            marks["before"] = Line2D([], [], marker="s", ls="", ms=8, mfc="none", mec=SHADE)
        legend(axes, list(marks.values()), list(marks), columns=4)
    listed = "; ".join(
        f"{name}: {100 * positive:.1f} % positive"
        + (f", {100 * uncertain:.1f} % uncertain" if counted else "")
        for name, positive, uncertain in zip(table.index, table.positive, unsure, strict=True)
    )
    return [Panel("class-counts", f"Share of the training images. {listed}", figure)]
