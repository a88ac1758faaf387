"""The look of the figures, and how they become files and part of the page.

Figures are drawn in a few fixed colours. In the page those are replaced by CSS variables, so that
one drawing serves light, dark and print; the PNG and SVG files keep the light colours.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

INK, MUTED, GRID, PAPER, SHADE = "#1b1f24", "#667085", "#e4e7ec", "#fffffe", "#c3c9d3"
ACCENT, SECOND = "#d55e00", "#0072b2"

# Okabe & Ito (2008): told apart with all common forms of colour blindness; markers differ as well.
_BASELINE = "#6b7484"
_SYNTHETIC = ("#d55e00", "#e69f00", "#b8860b")
_OTHERS = ("#0072b2", "#009e73", "#cc79a7", "#56b4e9", "#7a5195")
MARKERS = ("o", "s", "D", "^", "v", "P", "X", "p")

#: Colours of the files by CSS variable of the page.
VARIABLES = {
    INK: "--ink",
    MUTED: "--muted",
    GRID: "--rule",
    PAPER: "--paper",
    SHADE: "--shade",
    _BASELINE: "--arm-baseline",
    **{colour: f"--arm-synthetic-{place}" for place, colour in enumerate(_SYNTHETIC)},
    **{colour: f"--arm-{place}" for place, colour in enumerate(_OTHERS)},
}

_RC = {
    "axes.axisbelow": True,
    "axes.edgecolor": MUTED,
    "axes.facecolor": "none",
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.labelcolor": MUTED,
    "axes.linewidth": 0.8,
    "axes.spines.left": False,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlecolor": INK,
    "axes.titlelocation": "left",
    "axes.titlesize": 10.5,
    "axes.titleweight": "bold",
    "figure.facecolor": PAPER,
    "font.family": "sans-serif",
    "font.size": 9.5,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "legend.fontsize": 9,
    "legend.frameon": False,
    "legend.labelcolor": INK,
    "savefig.facecolor": PAPER,
    "svg.fonttype": "none",  # text stays text: searchable, and in the page's own typeface
    "svg.hashsalt": "synthtrial",
    "text.color": INK,
    "text.parse_math": False,  # a class may be called $5
    "xtick.color": MUTED,
    "xtick.labelcolor": INK,
    "xtick.major.size": 3,
    "ytick.color": MUTED,
    "ytick.labelcolor": INK,
    "ytick.major.size": 0,
}


@dataclass(frozen=True)
class Panel:
    """One drawing.

    Attributes:
        slug: file name without ending; unique in a report.
        alt: what it shows, for those who cannot see it.
        figure: the drawing.
    """

    slug: str
    alt: str
    figure: Figure


#: Draws panels into the report's folder; returns of each what the page shows.
Drawn = Callable[[list[Panel]], list[dict[str, Any]]]


@dataclass(frozen=True)
class ArmStyle:
    """Colour and marker that an arm keeps throughout a report."""

    colour: str
    marker: str


def arm_styles(arms: Sequence[str], baseline: str, synthetic: Sequence[str]) -> dict[str, ArmStyle]:
    """Give each arm a colour and a marker: grey the baseline, warm the synthetic arms."""
    found: dict[str, ArmStyle] = {}
    warm = cold = 0
    for place, arm in enumerate(arms):
        if arm == baseline:
            colour = _BASELINE
        elif arm in synthetic:
            colour = _SYNTHETIC[warm % len(_SYNTHETIC)]
            warm += 1
        else:
            colour = _OTHERS[cold % len(_OTHERS)]
            cold += 1
        found[arm] = ArmStyle(colour, MARKERS[place % len(MARKERS)])
    return found


@contextmanager
def drawing() -> Iterator[None]:
    """Use the report's look within the block; matplotlib's own settings come back after it."""
    look: Any = {
        # A user's matplotlibrc must not change the figures, nor may the figures the backend.
        **{key: mpl.rcParamsDefault[key] for key in mpl.rcParamsDefault if key != "backend"},
        **_RC,
    }
    with mpl.rc_context(look), warnings.catch_warnings():
        # Scripts that the bundled font lacks: the SVG keeps the text, the page has the font.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        yield


def new_figure(width_inches: float, height_inches: float) -> tuple[Figure, Axes]:
    """Return an empty figure with one set of axes, apart from any window system."""
    figure = Figure(figsize=(width_inches, height_inches), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.add_subplot()


def safe_label(text: str) -> str:
    """Return a text that matplotlib does not take for a private label."""
    return "\u200b" + text if text.startswith("_") else text


def shorten(text: str, length: int = 24) -> str:
    """Cut a long name in the middle."""
    if len(text) <= length:
        return text
    return text[: length // 2] + "…" + text[-(length - length // 2 - 1) :]


def handle(style: ArmStyle) -> Line2D:
    """Return what stands for an arm in a legend."""
    return Line2D([], [], color=style.colour, marker=style.marker, ms=6.5, lw=1.8, mec=PAPER)


def legend(
    axes: Axes, handles: Sequence[Line2D], labels: Sequence[str], columns: int | None = None
) -> None:
    """Set a legend below the axes."""
    figure = axes.get_figure(root=True)
    assert figure is not None
    figure.legend(
        list(handles),
        [safe_label(shorten(label, 30)) for label in labels],
        loc="outside lower left",
        ncols=columns or len(labels),
        handletextpad=0.5,
        columnspacing=1.4,
    )


def save(panel: Panel, folder: Path) -> str:
    """Write ``<slug>.png`` and ``<slug>.svg`` and return the drawing for the page.

    Returns:
        An ``<svg>`` element without size, with CSS variables for colours and ids of its own.
    """
    figure, buffer = panel.figure, io.StringIO()
    with drawing():
        canvas: Any = FigureCanvasSVG(figure)  # its methods are not annotated
        canvas.print_svg(buffer, metadata={"Date": None, "Creator": None})
        figure.set_layout_engine("none")  # laid out once for both files: it takes most of the time
        figure.set_dpi(200)
        canvas = FigureCanvasAgg(figure)
        canvas.print_png(folder / f"{panel.slug}.png", metadata={"Software": None})
    text = buffer.getvalue()
    (folder / f"{panel.slug}.svg").write_text(text, encoding="utf-8")
    return inline(text, panel.slug, panel.alt)


def inline(svg: str, slug: str, alt: str) -> str:
    """Turn a standalone SVG into one that lives among others in a page."""
    svg = svg[svg.index("<svg") :]
    # matplotlib's style element would rule the whole page; report.css has the same for .panel.
    for element in ("metadata", "style"):
        svg = re.sub(rf"<{element}\b.*?</{element}>", "", svg, flags=re.DOTALL)
    head, body = svg.split(">", 1)
    head = re.sub(r'\s(width|height|version|xmlns(:\w+)?)="[^"]*"', "", head)
    body = re.sub(r'\bid="([^"]+)"', rf'id="{slug}-\1"', body)
    body = re.sub(r'href="#([^"]+)"', rf'href="#{slug}-\1"', body)
    body = body.replace("xlink:href=", "href=")
    body = re.sub(r"url\(#([^)]+)\)", rf"url(#{slug}-\1)", body)
    for colour, variable in VARIABLES.items():
        body = body.replace(colour, f"var({variable})")
    label = alt.replace("&", "&amp;").replace("<", "&lt;").replace('"', "&quot;")
    return f'{head} role="img" aria-label="{label}">{body}'
