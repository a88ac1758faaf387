"""Figures of the report; each function returns one or more panels, drawn from plain frames."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from synthtrial.data.regimens import regimen_label
from synthtrial.report.facts import MINUS, Facts, records
from synthtrial.report.questions import readable
from synthtrial.report.style import (
    ACCENT,
    GRID,
    INK,
    MUTED,
    PAPER,
    SHADE,
    ArmStyle,
    Panel,
    arm_styles,
    drawing,
    handle,
    legend,
    new_figure,
    safe_label,
    shorten,
)

#: Most replicates that a panel of learning curves draws one by one; more would hide each other.
THIN_LINES = 30
#: Of the range of finished trials, what is added below it for those that were stopped early.
_EARLY_SHARE = 0.5


def styles_of(facts: Facts) -> dict[str, ArmStyle]:
    """Return the look of the study's arms."""
    design = facts.design
    return arm_styles(design.arm_names, design.baseline, design.synthetic_arms)


def regimen_slug(regimen: float) -> str:
    """Name a regimen in file names."""
    return f"{100 * regimen:g}pct" if regimen <= 1 else f"{regimen:.0f}"


def class_counts(facts: Facts) -> list[Panel]:
    """Draw the training images of each class before and after the imbalance (draw 0)."""
    design = facts.design
    counts = facts.counts[facts.counts.draw == 0]
    table = counts.pivot_table(
        index="class_name", columns="role", values="images", aggfunc="sum", fill_value=0
    ).reindex(list(design.classes), fill_value=0)
    if counts.empty:
        return []
    after = table.get("train", pd.Series(0, table.index))
    before = after + table.get("removed", pd.Series(0, table.index))
    with drawing():
        figure, axes = new_figure(5.6, 1.0 + 0.27 * len(design.classes))
        places = np.arange(len(design.classes))
        rare = [name in design.minority for name in design.classes]
        axes.barh(places, before, 0.66, color=GRID, edgecolor=SHADE, linewidth=0.8)
        axes.barh(places, after, 0.66, color=[ACCENT if r else MUTED for r in rare])
        for place, (old, new, is_rare) in enumerate(zip(before, after, rare, strict=True)):
            text = f"{new:,}" if old == new else f"{old:,} → {new:,}"
            axes.annotate(
                text,
                (max(old, new), place),
                (5, 0),
                textcoords="offset points",
                va="center",
                color=INK if is_rare else MUTED,
                fontweight="bold" if is_rare else "normal",
            )
        class_axis(axes, design.classes, places)
        axes.set_xlim(0, 1.22 * max(before.max(), 1))
        axes.set_xlabel("training images")
        legend(
            axes,
            [
                Line2D([], [], marker="s", ls="", ms=8, mfc=GRID, mec=SHADE),
                Line2D([], [], marker="s", ls="", ms=8, color=MUTED),
                Line2D([], [], marker="s", ls="", ms=8, color=ACCENT),
            ],
            ["before", "after", "after, minority class"],
        )
    listed = "; ".join(
        f"{n}: {o} to {a}" for n, o, a in zip(table.index, before, after, strict=True)
    )
    return [Panel("class-counts", f"Training images before and after imbalance. {listed}", figure)]


def synthetic_counts(facts: Facts, summary: pd.DataFrame) -> list[Panel]:
    """Draw real and added images of each class, one panel for each regimen and allocation."""
    panels = []
    classes = facts.design.classes
    several = summary.arms.nunique() > 1
    for number, (arms, mine) in enumerate(summary.groupby("arms", sort=False)):
        for regimen in facts.design.regimens:
            rows = mine[mine.regimen == regimen].set_index("class_name").reindex(list(classes))
            if rows.real.isna().all():
                continue
            title = regimen_label(regimen) + (f" · {arms}" if several else "")
            with drawing():
                figure, axes = new_figure(3.1, 0.9 + 0.2 * len(classes))
                places = np.arange(len(classes))
                real, added = rows.real.fillna(0), rows.added.fillna(0)
                axes.barh(places, real, 0.66, color=SHADE)
                axes.barh(places, added, 0.66, left=real, color=ACCENT)
                for place, row in enumerate(records(rows.fillna(0.0))):
                    if row["added"]:
                        axes.annotate(
                            f"+{row['added']:,.0f} ({100 * row['realised']:.1f} %)",
                            (row["real"] + row["added"], place),
                            (5, 0),
                            textcoords="offset points",
                            va="center",
                            fontsize=9,
                        )
                class_axis(axes, classes, places, 15)
                # Long names leave less room for bars and the numbers behind them.
                room = 1.62 if max(map(len, classes)) < 10 else 2.7
                axes.set_xlim(0, room * max(float((real + added).max()), 1.0))
                if several:  # names of arms need the room above the names of classes too
                    figure.suptitle(
                        shorten(title, 30), x=0.02, ha="left", size=10.5, weight="bold", color=INK
                    )
                else:
                    axes.set_title(title)
                handles = [
                    Line2D([], [], marker="s", ls="", ms=8, color=colour)
                    for colour in (SHADE, ACCENT)
                ]
                legend(axes, handles, ["real", "added (prevalence)"])
            slug = f"synthetic-counts-{regimen_slug(regimen)}" + (f"-{number}" if several else "")
            listed = "; ".join(
                f"{row['class_name']}: {row['real']:.0f} real, {row['added']:.0f} added"
                for row in records(rows.reset_index())
                if row["added"]
            )
            panels.append(Panel(slug, f"Real and added images at {title}. {listed}", figure))
    return panels


def cell_means(facts: Facts, means: pd.DataFrame) -> list[Panel]:
    """Draw cell means with pooled intervals: all classes, then the minority classes."""
    design = facts.design
    over = design.overall_scope
    scopes = (
        []
        if design.overall_is_minority
        else [("overall", f"{over[0].upper() + over[1:]}: {readable(design.overall_metric)}")]
    )
    if design.minority:
        names = ", ".join(shorten(name, 16) for name in design.minority)
        scopes.append(
            (
                "minority",
                f"Minority classes ({shorten(names, 30)}): {readable(design.class_metric)}",
            )
        )
    panels = []
    for scope, title in scopes:
        rows = means[means.scope == scope]
        if rows.empty:
            continue
        with drawing():
            figure, axes = new_figure(5.6, 3.9)
            _draw_means(axes, rows, design.regimens, styles_of(facts))
            axes.set_title(title)
            axes.set_xlabel("part of the training set")
            handles = [handle(style) for style in styles_of(facts).values()]
            legend(axes, handles, list(styles_of(facts)), columns=3)
        listed = "; ".join(
            f"{row['arm']} at {regimen_label(row['regimen'])}: {row['mean']:.3f}"
            for row in records(rows)
        )
        panels.append(Panel(f"cell-means-{scope}", f"{title}. {listed}", figure))
    return panels


def _draw_means(
    axes: Axes, rows: pd.DataFrame, regimens: Sequence[float], styles: Mapping[str, ArmStyle]
) -> None:
    step = 0.62 / max(len(styles), 1)
    for place, (arm, style) in enumerate(styles.items()):
        mine = rows[rows.arm == arm].set_index("regimen").reindex(list(regimens))
        x = np.arange(len(regimens)) + (place - (len(styles) - 1) / 2) * step
        axes.plot(x, mine["mean"], color=style.colour, lw=1.0, alpha=0.35, zorder=2)
        axes.errorbar(
            x,
            mine["mean"],
            yerr=mine.half_width.fillna(0.0),
            color=style.colour,
            fmt=style.marker,
            ms=6.5,
            mec=PAPER,
            mew=0.8,
            elinewidth=1.8,
            capsize=0,
            zorder=3,
        )
    axes.set_xticks(range(len(regimens)), [regimen_label(regimen) for regimen in regimens])
    axes.set_xlim(-0.5, len(regimens) - 0.5)
    for boundary in range(1, len(regimens)):
        axes.axvline(boundary - 0.5, color=GRID, lw=0.8, zorder=1)
    axes.tick_params(axis="x", length=0)


def learning_curves(facts: Facts, curves: pd.DataFrame) -> dict[float, list[Panel]]:
    """Draw the loss on real training rows and on validation, a panel for each arm.

    Returns:
        Panels of the smallest and the largest regimen; thin lines are single replicates, of which
        the first ``THIN_LINES`` are drawn, thick ones the mean of all.
    """
    found: dict[float, list[Panel]] = {}
    for regimen in sorted({min(facts.design.regimens), max(facts.design.regimens)}):
        here = curves[curves.regimen == regimen]
        if here.empty:
            continue
        losses = here[["train_loss", "validation_loss"]].to_numpy()
        # One wild replicate must not flatten all others.
        top = 1.05 * float(np.nanquantile(losses, 0.995)) if np.isfinite(losses).any() else 1.0
        for arm, style in styles_of(facts).items():
            mine = here[here.arm == arm]
            if mine.empty:
                continue
            with drawing():
                figure, axes = new_figure(2.75, 2.45)
                gap = _draw_curves(axes, mine, style)
                axes.set_ylim(0, top)
                axes.set_title(shorten(arm, 22), color=style.colour)
                axes.set_xlabel("epoch")
            slug = f"learning-curves-{regimen_slug(regimen)}-{_file_name(arm)}"
            alt = (
                f"{arm} at {regimen_label(regimen)}: validation minus training loss after the last "
                f"epoch {gap:+.3f}"
            )
            found.setdefault(regimen, []).append(Panel(slug, alt, figure))
    return found


def _draw_curves(axes: Axes, mine: pd.DataFrame, style: ArmStyle) -> float:
    shown = sorted(mine.replicate.unique())[:THIN_LINES]
    runs = [run for _, run in mine[mine.replicate.isin(shown)].groupby("replicate")]
    for column, dash in (("train_loss", "-"), ("validation_loss", "--")):
        lines = [run[["epoch", column]].to_numpy() for run in runs]
        axes.add_collection(
            LineCollection(lines, colors=style.colour, linewidths=0.7, alpha=0.22, linestyles=dash)
        )
    mean = mine.groupby("epoch")[["train_loss", "validation_loss"]].mean()
    axes.plot(mean.index, mean.train_loss, color=style.colour, lw=2.0)
    axes.plot(mean.index, mean.validation_loss, color=style.colour, lw=2.0, ls=(0, (3, 1.4)))
    gap = float(mean.validation_loss.iloc[-1] - mean.train_loss.iloc[-1])
    axes.text(
        0.97,
        0.95,
        f"gap {gap:+.2f}".replace("-", MINUS),
        transform=axes.transAxes,
        ha="right",
        va="top",
        fontsize=9,
        color=MUTED,
    )
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=5))
    axes.yaxis.set_major_locator(MaxNLocator(nbins=4))
    return gap


def configuration_spread(facts: Facts, table: pd.DataFrame) -> list[Panel]:
    """Draw every configuration's validation score, the chosen ones and their fresh replicates.

    What was stopped early is drawn apart, faintly: it had fewer epochs than the others. It does not
    stretch the axis either; what lies far below the others stands at its left end.
    """
    panels = []
    styles = styles_of(facts)
    scores = table[["score", "replicate_score"]].to_numpy(dtype=float)
    early = table.stopped_score.to_numpy(dtype=float)
    if not np.isfinite(scores).any():
        scores = early[:, None]
    if not np.isfinite(scores).any():
        return []
    low, high = float(np.nanmin(scores)), float(np.nanmax(scores))
    if np.isfinite(early).any():
        high = max(high, float(np.nanmax(early)))
        low = min(low, max(float(np.nanmin(early)), low - _EARLY_SHARE * (high - low)))
    margin = 0.05 * max(high - low, 0.02)
    for regimen in facts.design.regimens:
        here = table[table.regimen == regimen]
        if here.empty:
            continue
        with drawing():
            figure, axes = new_figure(5.6, 1.25 + 0.36 * len(styles))
            for place, (arm, style) in enumerate(styles.items()):
                mine = here[here.arm == arm].sort_values("configuration")
                jitter = 0.32 * (np.arange(len(mine)) * 0.618034 % 1.0 - 0.5)
                axes.scatter(
                    mine.score, place + jitter, s=20, color=style.colour, alpha=0.55, lw=0, zorder=2
                )
                axes.scatter(
                    mine.stopped_score.clip(lower=low),
                    place + jitter,
                    s=16,
                    marker="x",
                    color=style.colour,
                    alpha=0.4,
                    lw=0.9,
                    zorder=1,
                )
                chosen = (mine.chosen > 0).to_numpy()
                axes.scatter(
                    mine.score[chosen],
                    (place + jitter)[chosen],
                    s=70,
                    facecolor="none",
                    edgecolor=INK,
                    lw=1.3,
                    zorder=4,
                )
                axes.scatter(
                    mine.replicate_score[chosen],
                    np.full(chosen.sum(), place),
                    s=130,
                    marker="|",
                    color=INK,
                    lw=2.0,
                    zorder=3,
                )
            axes.set_yticks(range(len(styles)), [safe_label(shorten(arm)) for arm in styles])
            axes.set_ylim(len(styles) - 0.5, -0.5)
            axes.set_xlim(low - margin, high + margin)
            axes.grid(axis="x")
            axes.grid(visible=False, axis="y")
            axes.set_title(regimen_label(regimen))
            axes.set_xlabel(f"validation {readable(facts.design.selector)}")
            marks = {
                "configuration": Line2D([], [], marker="o", ls="", ms=5, color=MUTED),
                "chosen": Line2D([], [], marker="o", ls="", ms=8, mfc="none", mec=INK, mew=1.3),
            }
            if table.stopped.any():
                cross = Line2D([], [], marker="x", ls="", ms=5, color=MUTED, alpha=0.6)
                marks["stopped early"] = cross
            if table.replicate_score.notna().any():
                bar = Line2D([], [], marker="|", ls="", ms=11, color=INK, mew=2.0)
                marks["chosen, fresh replicates"] = bar
            legend(axes, list(marks.values()), list(marks))
        slug = f"configurations-{regimen_slug(regimen)}"
        panels.append(
            Panel(
                slug, f"Validation scores of all configurations at {regimen_label(regimen)}", figure
            )
        )
    return panels


def class_axis(axes: Axes, classes: Sequence[str], places: np.ndarray, length: int = 24) -> None:
    """Write the names of classes to the left of bars that carry their numbers themselves."""
    axes.set_yticks(places, [safe_label(shorten(name, length)) for name in classes])
    axes.set_ylim(len(classes) - 0.4, -0.6)
    axes.grid(visible=False)
    axes.spines["bottom"].set_visible(False)
    axes.set_xticks([])


def _file_name(text: str) -> str:
    return "".join(letter if letter.isalnum() or letter in "-_" else "-" for letter in text)
