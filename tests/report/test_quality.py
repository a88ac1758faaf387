"""How good made images are, in a table, in sentences and as figures."""

import dataclasses
import json

import numpy as np
import pytest

from synthtrial.report import quality
from synthtrial.report.columns import FIGURES
from synthtrial.report.facts import DASH
from synthtrial.report.image_figures import MOST_ROWS, quality_dots


@pytest.fixture(scope="module")
def judged(fabricate):
    return fabricate.judge(fabricate.study(regimens=(0.1, 1.0), **fabricate.JUDGED))


def view_of(facts):
    return quality.quality_view(facts, quality.summary(facts))


def cell(view, figure, arm, name, group=0):
    place = [column.name for column in quality.SHOWN].index(figure)
    (row,) = [r for r in view.groups[group][1] if r.arms == (arm,) and r.class_name == name]
    return row.cells[place]


def change(facts, where, **values):
    table = facts.quality.copy()
    for column, value in values.items():
        table.loc[where(table), column] = value
    return dataclasses.replace(facts, quality=table)


def test_a_figure_is_the_mean_over_draws_with_their_range(judged):
    found = cell(view_of(judged), "recognisability_relative", "big", "9")
    assert (found.value, found.span, found.beside) == ("0.97", "0.95 to 0.99", "78 % ÷ 80 %")
    assert found.missed == ""


def test_what_a_figure_is_to_be_compared_with_stands_beside_it(judged):
    view = view_of(judged)
    assert cell(view, "kernel_distance", "big", "8").beside == "real \N{MINUS SIGN}0.0100"
    assert cell(view, "memorised", "gan", "9").beside == "expected 5.0 %"
    assert cell(view, "memorised", "gan", "9").span == "0 % to 4.0 %"


def test_an_undefined_figure_is_a_dash_with_its_reason(judged, fabricate):
    view = view_of(judged)
    found = cell(view, "kernel_distance", "gan", "8")
    assert (found.value, found.span, found.reasons) == (DASH, "", (1,))
    assert found.title == fabricate.WHY
    assert view.reasons == (fabricate.WHY,), "that of a figure which is not shown is in the CSV"


def test_a_figure_that_one_draw_leaves_undefined_is_the_mean_of_the_others(judged):
    where = lambda t: (t.arms == "big") & (t.draw == 0) & (t.regimen == 0.1)  # noqa: E731
    facts = change(judged, where, precision=np.nan, undefined=json.dumps({"precision": "too few"}))
    found = cell(view_of(facts), "precision", "big", "8")
    assert (found.value, found.span) == ("0.92", "0.91 to 0.92")
    assert found.title == "too few"


def test_a_missed_threshold_is_marked_in_words_and_told_in_a_sentence(judged, fabricate):
    view = view_of(judged)
    found = cell(view, "recognisability_relative", "gan", "8")
    assert found.missed.replace("\N{NO-BREAK SPACE}", " ") == "below 0.9 in 1 of 3 draws"
    assert view.shortfalls == (("gan at 10 %, in 1 of 3 draws", fabricate.SENTENCE.format(0.25)),)
    assert quality.shortfall_sentence(judged) == (
        "Made images of gan fall short of the study's own thresholds, and are used all the same"
    )
    design = dataclasses.replace(judged.design, refused=True)
    assert "are refused" in quality.shortfall_sentence(dataclasses.replace(judged, design=design))


def test_of_several_draws_that_miss_a_threshold_the_worst_is_told(judged):
    row = judged.shortfalls.iloc[0]
    rows = [{"draw": d, "value": v, "text": f"{v}"} for d, v in ((0, 0.4), (1, 0.2), (2, np.nan))]
    short = judged.shortfalls.iloc[[0] * 3].assign(**{k: [r[k] for r in rows] for k in rows[0]})
    view = view_of(dataclasses.replace(judged, shortfalls=short))
    assert view.shortfalls == (("gan at 10 %, in 3 of 3 draws, at worst", "0.2"),)
    most = {"threshold": "max_memorised", "class_name": row.class_name}
    design = dataclasses.replace(judged.design, thresholds={"max_memorised": 0.1})
    facts = dataclasses.replace(judged, shortfalls=short.assign(**most), design=design)
    assert view_of(facts).shortfalls[0][1] == "0.4"
    assert cell(view_of(facts), "memorised", "gan", "8").missed.startswith("above 0.1")


def test_a_threshold_that_cannot_be_checked_counts_as_missed(judged):
    facts = dataclasses.replace(judged, shortfalls=judged.shortfalls.assign(value=np.nan))
    found = cell(view_of(facts), "recognisability_relative", "gan", "8")
    assert found.missed.startswith("unknown, 0.9 asked")


def test_arms_with_the_same_images_share_a_row(judged):
    arms = judged.quality.arms.replace({"big": "big, small"})
    keep = judged.quality.arms != "small"
    facts = dataclasses.replace(judged, quality=judged.quality.assign(arms=arms)[keep])
    rows = view_of(facts).groups[0][1]
    assert {row.arms for row in rows} == {("gan",), ("big", "small")}
    assert len(quality_dots(facts, quality.summary(facts))) == 2


def test_nothing_measured_is_no_row_no_figure_and_no_claim(judged):
    facts = dataclasses.replace(
        judged, quality=judged.quality.iloc[:0], shortfalls=judged.shortfalls.iloc[:0]
    )
    table = quality.summary(facts)
    assert view_of(facts) == quality.QualityView((), (), ())
    assert quality_dots(facts, table) == []
    assert quality.shortfall_sentence(facts) == ""


def test_the_figure_shows_each_class_at_each_regimen_and_what_is_asked(judged):
    panels = quality_dots(judged, quality.summary(judged))
    assert [panel.slug for panel in panels] == ["quality-recognisability", "quality-coverage"]
    (axes,) = panels[0].figure.axes
    labels = [label.get_text() for label in axes.get_yticklabels()]
    assert labels == ["8 · 10 %", "8 · 100 %", "9 · 10 %", "9 · 100 %"]
    assert {line.get_xdata()[0] for line in axes.lines[:2]} == {1.0, 0.9}
    assert "gan, class 8 at 10 %: 0.74" in panels[0].alt


def test_a_figure_that_no_image_defines_is_not_drawn(judged):
    facts = change(judged, lambda t: t.index >= 0, **dict.fromkeys(FIGURES[:3], np.nan))
    panels = quality_dots(facts, quality.summary(facts))
    assert [panel.slug for panel in panels] == ["quality-coverage"]


def test_many_classes_are_drawn_at_two_regimens_only(fabricate):
    regimens = (0.1, 0.25, 0.5, 1.0)
    many = {**fabricate.JUDGED, "minority": tuple("0123456"), "regimens": regimens}
    facts = fabricate.judge(fabricate.study(**many))
    assert len(regimens) * 7 > MOST_ROWS
    (axes,) = quality_dots(facts, quality.summary(facts))[0].figure.axes
    assert len(axes.get_yticks()) == 14


def test_a_filter_is_shown_with_the_share_it_accepted(judged):
    rows = quality.acceptance_rows(judged)
    assert len(rows) == 4
    first = {"arms": "big, small", "regimen": "10 %", "class_name": "8", "candidates": "400"}
    last = {"accepted": "80 %", "span": "75 % to 85 %", "kept": "100", "filled": "0"}
    assert rows[0] == first | last


def test_a_filter_without_candidates_has_no_share(judged):
    none = judged.acceptance.assign(candidates=0, accepted=0)
    rows = quality.acceptance_rows(dataclasses.replace(judged, acceptance=none))
    assert {(row["accepted"], row["span"]) for row in rows} == {(DASH, "")}
