"""The flow figure: from all images to the trials that are reported, as clinical trials draw it.

The layout follows the CONSORT statement (Schulz, Altman & Moher 2010): what goes on runs down the
page, what leaves stands to the side.
"""

from __future__ import annotations

from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.patches import FancyBboxPatch

from synthtrial.data.regimens import regimen_label
from synthtrial.report.facts import TERMINAL, TIMES, Design, Facts, count_text, listing
from synthtrial.report.questions import readable
from synthtrial.report.style import ACCENT, INK, MUTED, PAPER, Panel, drawing, new_figure
from synthtrial.report.tables import reported_trials

_LINE, _TITLE, _GAP = 0.185, 0.21, 0.28  # inches: a line of text, a title, the space for an arrow
_WIDTH = 5.45  # inches: boxes, and asides of 26 characters

#: Of the states in which trials leave the study, what they are called.
_LEAVING = {
    "stopped": "stopped early",
    "diverged": "diverged",
    "failed": "failed",
    "blocked": "blocked",
}


@dataclass(frozen=True)
class Box:
    """A station: title and further lines, with what leaves there to its right."""

    title: str
    lines: tuple[str, ...] = ()
    aside: tuple[str, ...] = ()
    accent: bool = False

    @property
    def height(self) -> float:
        """Height in inches."""
        return 0.2 + _TITLE + _LINE * len(self.lines)


def stations(facts: Facts) -> list[Box]:
    """Return what happens on the way from images to results."""
    design = facts.design
    counts = facts.counts[(facts.counts.class_name == "") & (facts.counts.draw == 0)]
    rows = counts.groupby("role").images.sum()
    images = {role: int(rows.get(role, 0)) for role in ("train", "removed", "validation", "test")}
    known = bool(len(rows))

    def number(role: str) -> str:
        return f"{images[role]:,} " if known else ""

    total = f"{sum(images.values()):,} images, " if known else ""
    boxes = [
        Box(
            design.dataset,
            (f"{total}{len(design.classes)} classes",),
            (f"{number('test')}test, fixed", f"{number('validation')}validation, per draw"),
        )
    ]
    removed: tuple[str, ...] = ()
    if design.reduced and design.removed_fraction:
        percent = f"{100 * design.removed_fraction:g} % of {listing(list(design.reduced))}"
        removed = (f"{number('removed')}taken away:", _fit(percent, 26))
    boxes.append(Box("Training set", (f"{number('train')}images",) if known else (), removed))
    parts = [
        regimen_label(regimen)
        + (f" ({facts.regimen_images[regimen]:,})" if regimen in facts.regimen_images else "")
        for regimen in design.regimens
    ]
    regimens, draws = (len(design.regimens), "regimen"), (design.draws, "draw")
    boxes.append(
        Box(
            f"{count_text(*regimens)} {TIMES} {count_text(*draws)}",
            tuple(_wrap(parts)),
            _makers(design),
            accent=bool(design.synthetic_arms),
        )
    )
    arms = tuple(_wrap(list(design.arm_names)))
    boxes.append(Box(count_text(len(design.arms), "arm"), arms, _filtered(facts)))
    boxes += _trial_boxes(facts)
    return boxes


def _makers(design: Design) -> tuple[str, ...]:
    """Say what makes and judges images."""
    if not design.synthetic_arms:
        return ()
    each = {True: "regimen and draw", False: "draw"}  # whether fitted on a regimen's own rows
    if not design.trains_generators:
        lines = ["images made elsewhere"]
    else:
        kinds = design.generator_kinds
        many = "one generator" if kinds == 1 else f"{kinds} generators"
        lines = [f"{many} for each", each[design.fit_on in ("subset", "several")]]
    if not design.reference:
        return tuple(lines)
    together = (design.fit_on == "subset") == (design.reference == "subset")
    if design.trains_generators and design.generator_kinds == 1 and together:
        return "one generator and one", "reference classifier for", f"each {lines[1]}"
    return *lines, "one reference classifier", f"for each {each[design.reference == 'subset']}"


def _filtered(facts: Facts) -> tuple[str, ...]:
    """Say what leaves with filters: the images that were not accepted."""
    if not facts.design.filtered_arms:
        return ()
    sums = facts.acceptance[["candidates", "accepted"]].sum()
    if not sums.candidates:
        return ("made images filtered",)
    left = f"{sums.candidates - sums.accepted:,} of {sums.candidates:,}"
    return f"{left} made", "images not recognised"


def _trial_boxes(facts: Facts) -> list[Box]:
    design = facts.design
    trials = facts.trials
    cells = len(design.arms) * len(design.regimens)
    metrics = dict.fromkeys((readable(design.overall_metric), readable(design.class_metric)))
    judged = ", ".join(metrics)
    over = {
        "macro_chosen": ("mean over the classes of interest",),
        "per_class": ("for each class of interest by itself",),
    }
    replicates = count_text(design.replicates, "replicate")
    wins = {
        "full_grid": (f"by its mean over {replicates}",),
        "retune": (f"in each of {replicates}",),
    }
    boxes = []
    for stage, title, lines in (
        (
            "grid",
            f"Grid: {count_text(design.configurations, 'configuration')} {TIMES} {cells} cells",
            (
                f"best validation {readable(design.selector)} wins",
                *over.get(design.select_over, ()),
                *wins.get(design.protocol, ()),
                *(("of those trained to their end",) if design.early_stopping else ()),
            ),
        ),
        (
            "replicate",
            f"Replicates: {design.replicates} {TIMES} {cells} cells",
            (f"judged on test: {judged}",),
        ),
    ):
        mine = trials[trials.stage == stage]
        done = int((mine.status == "done").sum())
        states = [
            f"{count:,} {words}"
            for state, words in _LEAVING.items()
            if (count := int((mine.status == state).sum()))
        ]
        waiting = int((~mine.status.isin(TERMINAL)).sum())
        states += [f"{waiting:,} to do"] if waiting else []
        done_text = f"{done:,} of {len(mine):,} trials done"
        boxes.append(Box(title, (*lines, done_text), tuple(states)))
    shown = len(reported_trials(facts))
    boxes.append(Box("Reported", (f"{count_text(shown, 'trial')} in complete blocks",)))
    return boxes


def flow(facts: Facts) -> Panel:
    """Draw the study's flow."""
    boxes = stations(facts)
    height = sum(box.height for box in boxes) + _GAP * (len(boxes) - 1) + 0.1
    with drawing():
        figure, axes = new_figure(_WIDTH, height)
        axes.set_xlim(0, _WIDTH)
        axes.set_ylim(height, 0)
        axes.set_axis_off()
        figure.set_layout_engine("none")
        axes.set_position((0.0, 0.0, 1.0, 1.0))
        top = 0.05
        for place, box in enumerate(boxes):
            _draw(axes, box, top, last=place == len(boxes) - 1)
            top += box.height + _GAP
    told = "; ".join(f"{box.title}: {', '.join((*box.lines, *box.aside))}" for box in boxes)
    return Panel("study-flow", f"Flow of the study. {told}", figure)


def _draw(axes: Axes, box: Box, top: float, *, last: bool) -> None:
    left, width = 0.05, 3.1
    edge = INK if last else MUTED
    patch = FancyBboxPatch(
        (left + 0.06, top + 0.06),
        width - 0.12,
        box.height - 0.12,
        boxstyle="round,pad=0.06",
        facecolor=PAPER,
        edgecolor=edge,
        linewidth=1.6 if last else 0.9,
    )
    axes.add_patch(patch)
    centre = left + width / 2
    axes.text(
        centre, top + 0.2, box.title, ha="center", va="center", fontweight="bold", fontsize=10.5
    )
    for number, line in enumerate(box.lines):
        y = top + 0.2 + _TITLE + _LINE * number
        axes.text(centre, y, line, ha="center", va="center", fontsize=9.6, color=MUTED)
    if box.aside:
        colour = ACCENT if box.accent else MUTED
        middle = top + box.height / 2
        start = left + width
        axes.plot([start, start + 0.22], [middle, middle], color=colour, lw=0.9)
        for number, line in enumerate(box.aside):
            y = middle + _LINE * (number - (len(box.aside) - 1) / 2)
            axes.text(start + 0.29, y, line, va="center", fontsize=9.6, color=INK)
    if not last:
        axes.annotate(
            "",
            (centre, top + box.height + _GAP - 0.02),
            (centre, top + box.height),
            arrowprops={"arrowstyle": "-|>", "color": MUTED, "lw": 0.9, "shrinkA": 0, "shrinkB": 0},
        )


def _wrap(parts: list[str], width: int = 38) -> list[str]:
    """Set a list in lines, breaking between its parts only."""
    lines = [""]
    for part in parts:
        part = _fit(part, width)
        joined = f"{lines[-1]} · {part}" if lines[-1] else part
        if len(joined) <= width:
            lines[-1] = joined
        else:
            lines.append(part)
    return lines if len(lines) <= 4 else [*lines[:3], f"… {len(parts)} in all"]


def _fit(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"
