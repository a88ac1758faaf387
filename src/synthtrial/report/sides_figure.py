"""Figures of both sides: the post's group means, scores over the dose, gain over quality."""

from __future__ import annotations

import pandas as pd
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from synthtrial.report.facts import Facts, listing, records
from synthtrial.report.figures import THIN_LINES, regimen_slug, styles_of
from synthtrial.report.gain import COMPARED, points
from synthtrial.report.questions import readable
from synthtrial.report.sides import (
    ALL,
    GAP,
    MAJORITY,
    MINORITY,
    SIDES,
    DoseTrend,
    majority,
    side_metric,
)
from synthtrial.report.style import (
    ACCENT,
    GRID,
    INK,
    MUTED,
    PAPER,
    SECOND,
    Panel,
    drawing,
    handle,
    legend,
    new_figure,
    safe_label,
    shorten,
)

_NAMED = 3  # classes that a title names; more are counted


def side_panels(facts: Facts, table: pd.DataFrame, means: pd.DataFrame) -> list[Panel]:
    """Draw group means with one pooled standard deviation, as the post does, and every replicate.

    Args:
        facts: the study.
        table: of :func:`synthtrial.report.sides.sides`.
        means: of it, by :func:`synthtrial.report.tables.results_table`.

    Returns:
        A panel for each side, at the largest regimen: all classes, minority, majority.
    """
    panels: list[Panel] = []
    if means.empty:
        return panels
    regimen = max(means.regimen, key=lambda value: (value == 1, value))
    arms = [name for name in facts.design.arm_names if (means.arm == name).any()]
    for side in SIDES:
        mine = means[(means.scope == side) & (means.regimen == regimen)].set_index("arm")
        if mine.empty:
            continue
        with drawing():
            figure, axes = new_figure(3.75, 0.95 + 0.3 * len(arms))
            for place, arm in enumerate(arms):
                if arm not in mine.index:
                    continue
                style, row = styles_of(facts)[arm], mine.loc[arm]
                shown = table[(table.scope == side) & (table.regimen == regimen)]
                values = shown[shown.arm == arm].value
                axes.plot(values, [place] * len(values), "|", color=style.colour, ms=9, alpha=0.5)
                spread = 0.0 if pd.isna(row["pooled_sd"]) else float(row["pooled_sd"])
                axes.errorbar(
                    row["mean"],
                    place,
                    xerr=spread,
                    color=style.colour,
                    fmt=style.marker,
                    ms=6.5,
                    mec=PAPER,
                    elinewidth=1.8,
                    zorder=3,
                )
            axes.set_yticks(range(len(arms)), [safe_label(shorten(name, 20)) for name in arms])
            axes.set_ylim(len(arms) - 0.5, -0.5)
            axes.grid(axis="x")
            axes.grid(visible=False, axis="y")
            axes.xaxis.set_major_locator(MaxNLocator(nbins=4))
            axes.set_title(_title(facts, side))
            axes.set_xlabel(readable(side_metric(facts)))
        listed = "; ".join(
            f"{arm}: {mine.loc[arm, 'mean']:.3f}" for arm in arms if arm in mine.index
        )
        alt = f"{_title(facts, side)}: group means with the pooled standard deviation. {listed}"
        panels.append(Panel(f"sides-{side}", alt, figure))
    return panels


def _title(facts: Facts, side: str) -> str:
    if side == ALL:
        return "All classes"
    names = facts.design.minority if side == MINORITY else majority(facts)
    if len(names) > _NAMED:
        return f"{'Minority' if side == MINORITY else 'Majority'}: {len(names)} classes"
    return shorten(f"Only {listing(list(names))}", 38)


def dose_panels(facts: Facts, table: pd.DataFrame, found: list[DoseTrend]) -> list[Panel]:
    """Draw each side's score and the gap over the number of made images, a panel a series.

    Thin lines are single draws, of which the first ``THIN_LINES`` are drawn, thick ones the mean.
    """
    panels = []
    places = dict.fromkeys((item.regimen, _made_arms(facts, item)) for item in found)
    looks = {MINORITY: (ACCENT, "o", "-"), MAJORITY: (SECOND, "s", "--"), GAP: (INK, "D", ":")}
    for count, (regimen, arms) in enumerate(places, 1):
        mine = [i for i in found if (i.regimen, _made_arms(facts, i)) == (regimen, arms)]
        with drawing():
            figure, axes = new_figure(5.6, 3.2)
            handles, names = [], []
            for item in mine:
                side = item.hypothesis.side
                colour, marker, dash = looks[side]
                rows = table[(table.scope == side) & (table.regimen == regimen)]
                block = rows.pivot_table(index=item.unit, columns="arm", values="value")
                for line in block[list(item.arms)].to_numpy()[:THIN_LINES]:
                    axes.plot(item.doses, line, color=colour, lw=0.7, alpha=0.4)
                axes.plot(item.doses, item.mean_D, color=colour, lw=1.9, ls=dash, marker=marker)
                handles.append(Line2D([], [], color=colour, marker=marker, ls=dash, lw=1.9))
                names.append("gap, made to real" if side == GAP else side)
            axes.set_xticks(mine[0].doses)
            axes.set_xlabel("made images in the training set")
            axes.set_title(safe_label(shorten(", ".join(arms), 60)))
            legend(axes, handles, names)
        listed = "; ".join(
            f"{name}: "
            + ", ".join(f"{d:g} images {m:.3f}" for d, m in zip(i.doses, i.mean_D, strict=True))
            for name, i in zip(names, mine, strict=True)
        )
        slug = f"dose-{regimen_slug(regimen)}-{count}"
        panels.append(Panel(slug, f"Scores over the dose, {listing(list(arms))}. {listed}", figure))
    return panels


def _made_arms(facts: Facts, item: DoseTrend) -> tuple[str, ...]:
    return tuple(name for name in item.arms if name != facts.design.baseline)


def quality_panels(facts: Facts, table: pd.DataFrame) -> list[Panel]:
    """Draw the gain on validation over each figure of quality, a point for each arm and draw."""
    panels: list[Panel] = []
    styles = styles_of(facts)
    for figure_name, text in COMPARED.items():
        lines = points(table, figure_name)
        if sum(len(pairs) for _, pairs in lines) < 2:
            continue
        with drawing():
            figure, axes = new_figure(3.75, 3.0)
            axes.axhline(0.0, color=MUTED, lw=1.0, zorder=1)
            for arm, pairs in lines:
                style = styles[arm]
                axes.plot(
                    *zip(*pairs, strict=True),
                    ls="",
                    color=style.colour,
                    marker=style.marker,
                    ms=6.5,
                    mec=PAPER,
                )
            axes.grid(axis="x", color=GRID)
            axes.xaxis.set_major_locator(MaxNLocator(nbins=5))
            axes.set_xlabel(text)
            axes.set_ylabel("gain on validation")
            axes.set_title(text[0].upper() + text[1:])
            legend(axes, [handle(styles[arm]) for arm, _ in lines], [arm for arm, _ in lines], 2)
        means = table.groupby("arm", sort=False)[[figure_name, "validation_gain"]].mean()
        listed = "; ".join(
            f"{row['arm']}: {row[figure_name]:.2f}, gain {row['validation_gain']:+.3f}"
            for row in records(means.reset_index())
        )
        panels.append(Panel(f"gain-by-{figure_name}", f"Gain over {text}. {listed}", figure))
    return panels
