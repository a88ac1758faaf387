"""How generators were trained, worked out for the page: what it took, and samples on the way."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd
from PIL import Image

from synthtrial.data.regimens import regimen_label
from synthtrial.report.facts import DASH, Design, Facts, listing
from synthtrial.report.pictures import Sheet

#: Sheets of a training that are shown, the last one among them.
SHEETS = 4
#: Rows of a sheet that are shown, those of the classes of interest first.
ROWS = 4
#: Pixels of a sample in the page, at most: the store keeps all of them.
TILE = 96


@dataclass(frozen=True)
class SheetView:
    """Samples after a step, as a data URI."""

    step: str
    image: str
    alt: str
    pixelated: bool


@dataclass(frozen=True)
class SheetsView:
    """The samples of one training."""

    title: str
    rows: str
    sheets: tuple[SheetView, ...]


def fitted_text(design: Design) -> str:
    """Say what a generator is fitted on, in a sentence."""
    if design.generator_kinds > 1:
        words = "Arms have generators of their own, each fitted on the images that the table names."
        if design.fit_on != "subset":
            words += (
                " Where these are more than the training set of a trial, its generator has seen "
                "images that the trial has not."
            )
        return words
    return {
        "subset": "Each is fitted on the part of the training set that its trials see.",
        "train": "There is one for each draw, fitted on the whole training set; it serves every "
        "regimen, so at small ones it has seen images that its trials have not.",
        "original": "There is one for each draw, fitted on the training set before images were "
        "taken away; it serves every regimen and has seen images that its trials have not.",
    }.get(design.fit_on, "")


def place_text(regimen: float | None, fit_on: str) -> str:
    """Name what a generator was fitted on."""
    if regimen is not None and regimen == regimen:  # NaN is not equal to itself
        return regimen_label(regimen)
    return {"train": "whole training set", "original": "before imbalance"}.get(fit_on, "all")


def generator_rows(facts: Facts) -> list[dict[str, str]]:
    """Return what the trainings took, over draws, as texts."""
    rows = []
    for place, mine in facts.generators.groupby("place", sort=False):
        rows.append(
            {
                "place": str(place),
                "generators": str(len(mine)),
                "images": _range(mine.images),
                "steps": _range(mine.steps),
                "skipped": _range(mine.skipped),
                "seen": _range(mine.images_seen),
                "seconds": _range(mine.seconds.round(1 if mine.seconds.max() < 10 else 0)),
                "processes": _range(mine.processes),
            }
        )
    return rows


def _range(values: pd.Series) -> str:
    low, high = (f"{value:,}".removesuffix(".0") for value in (values.min(), values.max()))
    return low if low == high else f"{low}{DASH}{high}"


def losses_table(facts: Facts) -> pd.DataFrame:
    """Return the losses with the place and the draw of their generator.

    Returns:
        Columns place, draw, step, generator_loss, discriminator_loss.
    """
    table = facts.losses.merge(facts.generators[["generator_id", "place", "draw"]])
    return table[["place", "draw", "step", "generator_loss", "discriminator_loss"]]


def sheet_views(facts: Facts) -> list[SheetsView]:
    """Return a few of the sheets of each training, the first and the last among them."""
    design, found = facts.design, []
    for place in dict.fromkeys(sheet.place for sheet in facts.sheets):
        mine = [sheet for sheet in facts.sheets if sheet.place == place]
        mine.sort(key=lambda sheet: sheet.step)
        count = min(SHEETS, len(mine))
        chosen = [mine[round(i * (len(mine) - 1) / max(count - 1, 1))] for i in range(count)]
        chosen[-1] = mine[-1]
        rows = _rows(chosen[-1].classes, design.minority)
        names = [chosen[-1].classes[row] for row in rows] if chosen[-1].classes else []
        views = []
        for sheet in chosen:
            image, pixelated = _picture(sheet, rows, design.image_shape)
            alt = f"Samples after step {sheet.step:,}"
            alt += f", a row for each of {listing(names)}" if names else ""
            views.append(SheetView(f"{sheet.step:,}", image, alt, pixelated))
        found.append(SheetsView(place, listing(names), tuple(views)))
    return found


def _rows(classes: Sequence[str], minority: Sequence[str]) -> list[int]:
    """Return the rows to show: of the classes of interest, or the first ones."""
    mine = [row for row, name in enumerate(classes) if name in minority]
    return (mine or list(range(ROWS)))[:ROWS]


def _picture(sheet: Sheet, rows: Sequence[int], shape: tuple[int, int, int]) -> tuple[str, bool]:
    """Set some rows of a sheet with gaps between the samples.

    Returns:
        A PNG as data URI, and whether its pixels should stay sharp.
    """
    _, height, width = shape
    buffer = io.BytesIO()
    with Image.open(sheet.path) as whole:
        columns = max(1, whole.width // width)
        shown = [row for row in rows if (row + 1) * height <= whole.height] or [0]
        scale = min(1.0, TILE / width)
        wide, high = max(1, round(width * scale)), max(1, round(height * scale))
        gap = max(1, wide // 12)
        mode = "LA" if whole.mode == "L" else "RGBA"
        size = (columns * (wide + gap) - gap, len(shown) * (high + gap) - gap)
        page = Image.new(mode, size)
        for line, row in enumerate(shown):
            for column in range(columns):
                left, top = column * width, row * height
                tile = whole.crop((left, top, left + width, top + height))
                if scale < 1:
                    tile = tile.resize((wide, high), Image.Resampling.LANCZOS)
                place = (column * (wide + gap), line * (high + gap))
                page.paste(tile.convert(mode), place)
        page.save(buffer, "PNG", optimize=True)
    data = base64.b64encode(buffer.getvalue()).decode()
    return f"data:image/png;base64,{data}", width < 64
