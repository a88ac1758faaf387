"""Figures of the choice of configurations, and what the page shows of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd
from matplotlib.ticker import MaxNLocator

from synthtrial.data.regimens import regimen_label
from synthtrial.report import selection
from synthtrial.report.facts import Facts
from synthtrial.report.figures import regimen_slug, styles_of
from synthtrial.report.questions import readable
from synthtrial.report.style import Drawn, Panel, drawing, handle, legend, new_figure


def expected_best_panels(facts: Facts, table: pd.DataFrame) -> list[Panel]:
    """Draw the expected best score by the number of configurations tried, a line for each arm.

    Args:
        facts: the study.
        table: of :func:`selection.expected_best_table`.

    Returns:
        Panels of the smallest and the largest training set, on one scale.
    """
    ends = selection.shown_regimens(facts.design.regimens)
    shown = table[table.regimen.isin(ends)]
    if shown.empty or shown.tried.max() < 3:
        return []
    styles, panels = styles_of(facts), []
    metric = readable(facts.design.selector)
    for regimen in ends:
        here = shown[shown.regimen == regimen]
        if here.empty:
            continue
        said = []
        with drawing():
            figure, axes = new_figure(5.6, 3.4)
            for arm, style in styles.items():
                mine = here[here.arm == arm]
                if mine.empty:
                    continue
                axes.plot(mine.tried, mine.expected_best, color=style.colour, lw=1.8, zorder=2)
                ends_at = mine.iloc[[0, -1]]
                axes.plot(
                    ends_at.tried,
                    ends_at.expected_best,
                    color=style.colour,
                    marker=style.marker,
                    ms=6,
                    ls="",
                    zorder=3,
                )
                first, last = ends_at.expected_best
                said.append(f"{arm} {first:.3f} with one, {last:.3f} with all")
            axes.set_title(regimen_label(regimen))
            axes.set_xlabel("configurations tried")
            axes.set_ylabel(f"expected best {metric}")
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
            legend(axes, [handle(style) for style in styles.values()], list(styles), columns=3)
        alt = f"Expected best validation {metric} at {regimen_label(regimen)}: {'; '.join(said)}"
        panels.append(Panel(f"expected-best-{regimen_slug(regimen)}", alt, figure))
    return panels


def selection_context(
    facts: Facts,
    configurations: pd.DataFrame,
    found: Mapping[str, pd.DataFrame],
    drawn: Drawn,
) -> dict[str, Any]:
    """Return what the template shows of the choice.

    Args:
        facts: the study.
        configurations: of :func:`tables.configurations_table`.
        found: of :func:`selection.selection_tables`.
        drawn: draws panels.
    """
    curves = found.get("expected-best", pd.DataFrame(columns=["regimen", "tried"]))
    retuned = found.get("retuning", pd.DataFrame(columns=["choices"]))
    runners = found.get("runners-up")
    flips, rest = ([], "") if runners is None else selection.runner_up_sentences(facts, runners)
    return {
        "conditional": selection.conditional_text(facts.design),
        "optimism": selection.optimism_text(selection.optimism(facts, configurations))
        if facts.design.configurations > 1
        else "",
        "yardstick": selection.yardstick_text(facts),
        "retuned": selection.retuning_text(facts, retuned),
        "choice_flags": flips,
        "choice_rest": rest,
        "tried_figures": drawn(expected_best_panels(facts, curves)),
    }
