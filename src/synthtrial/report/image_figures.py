"""Figures about made images: how good they are, and how their generators were trained."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from synthtrial.data.regimens import regimen_label
from synthtrial.report.facts import Facts, records
from synthtrial.report.figures import THIN_LINES, styles_of
from synthtrial.report.style import (
    ACCENT,
    GRID,
    INK,
    MUTED,
    PAPER,
    SECOND,
    ArmStyle,
    Panel,
    drawing,
    handle,
    legend,
    new_figure,
    safe_label,
    shorten,
)

#: Rows of a figure of quality; a study of more shows its smallest and largest regimen only.
MOST_ROWS = 24

_SHOWN = (
    ("recognisability_relative", "min_recognisability", "Recognised, over held-out real images"),
    ("coverage_relative", "min_coverage", "Held-out images covered, over real ones"),
)


def quality_dots(facts: Facts, table: pd.DataFrame) -> list[Panel]:
    """Draw recognisability and coverage relative to real images, by class and regimen.

    Args:
        facts: the study.
        table: of :func:`synthtrial.report.quality.summary`.
    """
    design = facts.design
    regimens = [r for r in design.regimens if (table.regimen == r).any()]
    names = [name for name in design.classes if (table.class_name == name).any()]
    if len(regimens) * len(names) > MOST_ROWS:
        regimens = sorted({min(regimens), max(regimens)})
    places = [(name, regimen) for name in names for regimen in regimens]
    several = len(regimens) > 1
    labels = [shorten(n, 16) + (f" · {regimen_label(r)}" if several else "") for n, r in places]
    panels = []
    for figure, threshold, title in _SHOWN:
        if table[figure].isna().all():
            continue
        arms = list(dict.fromkeys(table.arms))
        with drawing():
            figure_, axes = new_figure(5.6, 1.2 + len(places) * (0.16 + 0.1 * len(arms)))
            limit = design.thresholds.get(threshold)
            _reference_lines(axes, limit)
            _dots(axes, facts, table, figure, places)
            axes.set_yticks(range(len(places)), [safe_label(label) for label in labels])
            axes.set_ylim(len(places) - 0.5, -0.5)
            axes.set_xlim(0, 1.06 * max(1.0, limit or 0.0, float(table[f"{figure}_high"].max())))
            axes.grid(axis="x")
            axes.grid(visible=False, axis="y")
            for row in range(len(regimens), len(places), len(regimens)):
                axes.axhline(row - 0.5, color=GRID, lw=0.8, zorder=1)
            axes.set_title(title)
            axes.set_xlabel("1 is as good as real images")
            marks = [handle(_style(facts, arm)) for arm in arms]
            if limit is not None:
                marks.append(Line2D([], [], color=INK, lw=1.2, ls=(0, (3, 2))))
            texts = [*arms, f"asked for: {limit:g}"] if limit is not None else arms
            legend(axes, marks, texts, columns=min(len(texts), 4))
        listed = "; ".join(
            f"{row['arms']}, class {row['class_name']} at {regimen_label(row['regimen'])}: "
            f"{row[figure]:.2f}"
            for row in records(table[table[figure].notna()])
        )
        slug = f"quality-{figure.removesuffix('_relative')}"
        panels.append(Panel(slug, f"{title}. {listed}", figure_))
    return panels


def _style(facts: Facts, arms: str) -> ArmStyle:
    """Return the look of the first of these arms."""
    styles = styles_of(facts)
    return styles.get(facts.design.named(arms)[0], next(iter(styles.values())))


def _reference_lines(axes: Axes, limit: float | None) -> None:
    axes.axvline(1.0, color=MUTED, lw=1.2, zorder=1.5)
    if limit is not None:
        axes.axvline(limit, color=INK, lw=1.2, ls=(0, (3, 2)), zorder=1.5)


def _dots(
    axes: Axes, facts: Facts, table: pd.DataFrame, figure: str, places: list[tuple[str, float]]
) -> None:
    arms = list(dict.fromkeys(table.arms))
    step = 0.58 / max(len(arms), 1)
    for place, arm in enumerate(arms):
        style = _style(facts, arm)
        mine = table[table.arms == arm].set_index(["class_name", "regimen"])
        rows = mine.reindex(pd.MultiIndex.from_tuples(places))
        y = np.arange(len(places)) + (place - (len(arms) - 1) / 2) * step
        axes.hlines(y, rows[f"{figure}_low"], rows[f"{figure}_high"], color=style.colour, lw=1.8)
        axes.plot(
            rows[figure], y, ls="", color=style.colour, marker=style.marker, ms=6.5, mec=PAPER
        )


def loss_curves(table: pd.DataFrame) -> list[Panel]:
    """Draw the losses of generators and discriminators, a panel for each kind of generator.

    Thin lines are single draws, of which the first ``THIN_LINES`` are drawn, thick ones the mean.
    """
    losses = table[["generator_loss", "discriminator_loss"]].to_numpy()
    if not np.isfinite(losses).any():
        return []
    low, high = np.nanquantile(losses, [0.003, 0.997])  # one wild step must not flatten the rest
    margin = 0.06 * max(high - low, 1e-3)
    panels = []
    places = table.groupby("place", sort=False)
    for number, (name, mine) in enumerate(places):
        place = str(name)
        with drawing():
            figure, axes = new_figure(2.75, 2.45)
            last = _draw_losses(axes, mine)
            axes.set_ylim(low - margin, high + margin)
            axes.set_title(shorten(place, 26))
            axes.set_xlabel("step")
        slug = "generator-losses" + (f"-{number + 1}" if len(places) > 1 else "")
        alt = f"Losses at {place}, at the last step: {last}"
        panels.append(Panel(slug, alt, figure))
    return panels


def _draw_losses(axes: Axes, mine: pd.DataFrame) -> str:
    shown = sorted(mine.draw.unique())[:THIN_LINES]
    runs = [run for _, run in mine[mine.draw.isin(shown)].groupby("draw")]
    last = []
    for name, colour, dash in (("generator", ACCENT, "-"), ("discriminator", SECOND, "--")):
        column = f"{name}_loss"
        if len(runs) > 1:
            lines = [run[["step", column]].to_numpy() for run in runs]
            thin = LineCollection(lines, colors=colour, linewidths=0.7, alpha=0.3, linestyles=dash)
            axes.add_collection(thin)
        mean = mine.groupby("step")[column].mean()
        axes.plot(mean.index, mean, color=colour, lw=1.6, ls="-" if dash == "-" else (0, (3, 1.4)))
        last.append(f"{name} {mean.iloc[-1]:.2f}")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=4))
    axes.yaxis.set_major_locator(MaxNLocator(nbins=4))
    return ", ".join(last)
