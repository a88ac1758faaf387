"""How generators were trained: what it took, their losses, samples on the way."""

import base64
import dataclasses
import io

import numpy as np
import pytest
from PIL import Image

from synthtrial.report import generators
from synthtrial.report.facts import DASH
from synthtrial.report.figures import THIN_LINES
from synthtrial.report.image_figures import loss_curves
from synthtrial.report.pictures import Sheet


@pytest.fixture(scope="module")
def judged(fabricate, tmp_path_factory):
    facts = fabricate.study(regimens=(0.1, 0.5, 1.0), **fabricate.JUDGED)
    return fabricate.judge(facts, tmp_path_factory.mktemp("sheets"))


def opened(sheet):
    return Image.open(io.BytesIO(base64.b64decode(sheet.image.partition(",")[2])))


def test_what_the_trainings_took_is_told_over_draws(judged):
    rows = generators.generator_rows(judged)
    assert [row["place"] for row in rows] == ["10 %", "50 %", "100 %"]
    assert rows[0] == {
        "place": "10 %",
        "generators": "3",
        "images": "500",
        "steps": "600",
        "skipped": f"0{DASH}2",
        "seen": "19,200",
        "seconds": "4.2",
        "processes": "1",
    }


@pytest.mark.parametrize(
    ("fit_on", "words"),
    [
        ("train", "fitted on the whole training set; it serves every"),
        ("original", "before images were taken away; it serves every"),
    ],
)
def test_a_generator_that_serves_all_regimens_is_told_as_such(judged, fit_on, words):
    place = generators.place_text(None, fit_on)
    first = judged.generators.drop_duplicates("draw").assign(regimen=np.nan, place=place)
    design = dataclasses.replace(judged.design, fit_on=fit_on)
    facts = dataclasses.replace(judged, generators=first, design=design)
    (row,) = generators.generator_rows(facts)
    assert (row["place"], row["generators"]) == (place, "3")
    assert words in generators.fitted_text(design)
    (panel,) = loss_curves(generators.losses_table(facts))
    assert panel.slug == "generator-losses"


def test_losses_are_drawn_for_each_regimen_with_draws_as_thin_lines(judged):
    table = generators.losses_table(judged)
    panels = loss_curves(table)
    assert [panel.slug.removeprefix("generator-losses-") for panel in panels] == [
        "1",
        "2",
        "3",
    ]
    (axes,) = panels[0].figure.axes
    assert [len(lines.get_segments()) for lines in axes.collections] == [3, 3]
    mean = table[table.place == "10 %"].groupby("step").generator_loss.mean()
    assert axes.lines[0].get_ydata().tolist() == pytest.approx(mean.tolist())


def test_a_single_draw_and_a_hundred_draws_are_drawn_too(fabricate):
    for draws, lines in ((1, []), (100, [THIN_LINES] * 2)):
        place = {"regimens": (1.0,), "draws": draws, "replicates": draws}
        facts = fabricate.judge(fabricate.study(**place, **fabricate.JUDGED))
        (panel,) = loss_curves(generators.losses_table(facts))
        (axes,) = panel.figure.axes
        assert [len(c.get_segments()) for c in axes.collections] == lines


def test_losses_that_are_not_numbers_are_not_drawn(judged):
    nothing = judged.losses.assign(generator_loss=np.nan, discriminator_loss=np.nan)
    facts = dataclasses.replace(judged, losses=nothing)
    assert loss_curves(generators.losses_table(facts)) == []


def test_a_few_sheets_of_a_training_are_shown_with_the_first_and_the_last(judged):
    low, high = generators.sheet_views(judged)
    assert (low.title, high.title) == ("10 %", "100 %")
    assert [sheet.step for sheet in low.sheets] == ["75", "225", "450", "600"]
    assert all(sheet.pixelated for sheet in low.sheets)
    (one,) = generators.sheet_views(dataclasses.replace(judged, sheets=judged.sheets[:1]))
    assert [sheet.step for sheet in one.sheets] == ["75"]


def test_a_sheet_shows_the_classes_of_interest_with_gaps(judged):
    view = generators.sheet_views(judged)[0]
    assert view.rows == "8 and 9"
    with opened(view.sheets[-1]) as page, Image.open(judged.sheets[7].path) as whole:
        assert page.size == (8 * 9 - 1, 2 * 9 - 1)
        shown, real = np.asarray(page), np.asarray(whole)
        assert (shown[9:17, 9:17, 0] == real[8:16, 8:16]).all()
        assert (shown[8, :, 1] == 0).all(), "the gap is see-through"


def test_rows_of_unknown_classes_are_shown_without_names(judged):
    sheets = tuple(dataclasses.replace(sheet, classes=()) for sheet in judged.sheets)
    view = generators.sheet_views(dataclasses.replace(judged, sheets=sheets))[0]
    assert view.rows == ""
    assert opened(view.sheets[0]).height == 3 * 9 - 1


def test_large_samples_are_made_smaller_and_smooth(judged, tmp_path):
    path = tmp_path / "large.png"
    Image.new("RGB", (8 * 256, 12 * 256), "red").save(path)
    design = dataclasses.replace(judged.design, image_shape=(3, 256, 256))
    sheet = Sheet(path, "all", 9, tuple("0123456789"))
    (view,) = generators.sheet_views(dataclasses.replace(judged, design=design, sheets=(sheet,)))
    assert not view.sheets[0].pixelated
    gap = generators.TILE // 12
    wide = 8 * (generators.TILE + gap) - gap
    assert opened(view.sheets[0]).size == (wide, 2 * (generators.TILE + gap) - gap)
    assert len(view.sheets[0].image) < 50_000
