"""Printed numbers stand beside ours by name; what only one side has is a dash, and said."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
import yaml

from synthtrial.published import load_published
from synthtrial.report import tables
from synthtrial.report.beside import (
    arms_of,
    counts_table,
    counts_view,
    mismatches,
    scores_table,
    scores_view,
)
from synthtrial.report.facts import DASH
from synthtrial.report.page import write_page

REGIMENS = (0.1, 1.0)


@pytest.fixture(scope="module")
def printed(tmp_path_factory):
    """A table about the digits 8 and 9 and a class that digits do not have."""
    by_arm = {"none": 0.1, "flips": 0.2, "gan": 0.4}
    classes = ("8", "9", "x")
    table = {
        "name": "small",
        "title": "A small <table>",
        "source": "nowhere",
        "dataset": "digits",
        "metric": "recall",
        "rows": 2000,
        "positives": dict.fromkeys(classes, 100),
        "arms": list(by_arm),
        "regimens": [
            {"label": "1 %", "rows": 10, "share": 0.01},
            {"label": "10 %", "rows": 100, "share": 0.1},
            {"label": "100 %", "rows": 1000, "share": 1.0},
        ],
        "target": 0.1,
        "images": {
            "1 %": {"synthetic": dict.fromkeys(classes, 1), "total": 13},
            "10 %": {"synthetic": dict.fromkeys(classes, 12), "total": 140},
            "100 %": {"synthetic": dict.fromkeys(classes, 120), "total": 1360},
        },
        "scores": {label: dict.fromkeys(classes, by_arm) for label in ("1 %", "10 %", "100 %")},
    }
    path = tmp_path_factory.mktemp("printed") / "small.yaml"
    path.write_text(yaml.safe_dump(table))
    return load_published(path)


@pytest.fixture(scope="module")
def facts(fabricate, printed):
    plain = fabricate.study(**{**fabricate.MIDDLING, "regimens": (0.1, 0.25, 1.0)})
    synthetic = plain.synthetic.assign(arms="gan")
    return dataclasses.replace(plain, published=printed, synthetic=synthetic)


def scores_of(facts):
    return scores_table(facts, tables.results_table(facts))


def test_a_difference_is_ours_less_the_printed_with_our_interval(facts):
    table = scores_of(facts).set_index(["training_set", "class_name", "arm"])
    mine = table.loc[("10 %", "8", "gan")]
    means = tables.results_table(facts).query("scope == 'class' and class_name == '8'")
    ours = means.query("arm == 'gan' and regimen == 0.1").iloc[0]
    assert (mine.printed, mine.ours, mine.low, mine.high) == (
        0.4,
        ours["mean"],
        ours.low,
        ours.high,
    )
    assert mine.difference == pytest.approx(ours["mean"] - 0.4)
    assert mine.difference_low == pytest.approx(ours.low - 0.4)
    assert mine.difference_high == pytest.approx(ours.high - 0.4)


@pytest.mark.parametrize(
    ("place", "theirs", "ours"),
    [
        (("1 %", "8", "gan"), True, False),
        (("25 %", "8", "gan"), False, True),
        (("10 %", "x", "gan"), True, False),
        (("10 %", "8", "flips"), True, False),
        (("10 %", "8", "standard"), False, True),
        (("25 %", "x", "flips"), False, False),
    ],
)
def test_what_one_side_lacks_keeps_its_place(facts, place, theirs, ours):
    row = scores_of(facts).set_index(["training_set", "class_name", "arm"]).loc[place]
    assert (row[["printed", "ours"]].notna() == [theirs, ours]).all()
    assert np.isnan(row.difference)


def test_regimens_of_both_sides_are_in_order(facts):
    labels = scores_of(facts).training_set.drop_duplicates()
    assert labels.tolist() == ["1 %", "10 %", "25 %", "100 %"]


def test_a_row_that_neither_side_has_is_not_shown(facts):
    shown = scores_view(scores_of(facts), arms_of(facts, facts.published))
    assert [[name for name, _ in lines] for _, lines in shown] == [
        ["8", "9", "x"],
        ["8", "9", "x"],
        ["8", "9"],
        ["8", "9", "x"],
    ]
    cell = dict(shown[1][1])["8"][0]
    assert cell.printed == "0.100"
    assert cell.mark in {"higher", "lower", "unclear"}
    assert (cell.difference[0], cell.mark) in {("▲", "higher"), ("▼", "lower"), ("?", "unclear")}


def test_counts_are_means_over_draws_and_totals_are_summed(facts):
    table = counts_table(facts, tables.synthetic_summary(facts))
    here = table[table.training_set == "10 %"]
    made = here[here.what == "made"].set_index("class_name")
    assert made.ours["8"] == 10
    assert made.printed["8"] == 12
    assert np.isnan(made.ours["x"])
    total = here[here.what == "total"].iloc[0]
    assert total.ours == facts.regimen_images[0.1] + 20
    assert (total.printed, total.printed_adds_up_to) == (140, 136)
    assert set(table.arms) == {"", "gan"}


def test_a_wrong_printed_total_is_marked(facts):
    lines = counts_view(counts_table(facts, tables.synthetic_summary(facts)))
    marks = {label: cells[-1].wrong for label, _, cells in lines}
    assert marks == {"1 %": "", "10 %": "adds up to 136", "25 %": "", "100 %": ""}
    assert {label: cells[0].ours for label, _, cells in lines}["1 %"] == DASH


def test_what_does_not_belong_together_is_said(facts):
    text = " ".join(mismatches(facts))
    assert "Classes that only the publication has: x." in text
    assert "Arms that only the publication has: flips" in text
    assert "Arms that only this study has: standard and class_weights." in text
    assert "Training sets that only the publication has: 1 %." in text
    assert "Training sets that only this study has: 25 %." in text
    assert "other images" not in text


def test_another_dataset_other_classes_and_another_metric_are_said(facts):
    other = dataclasses.replace(facts, published=load_published("chexpert_paper"))
    text = " ".join(mismatches(other))
    assert "printed numbers are of chexpert, those of this study of digits: other images" in text
    assert "The printed scores are AUC and those of this study recall" in text
    assert "No printed class is one of this study's" in text
    assert "Classes of interest that only this study has: 8 and 9." in text
    assert scores_of(other).difference.isna().all()


def test_only_the_images_of_a_printed_arm_are_compared(facts):
    more = facts.synthetic.assign(arms="another", intended=7)
    both = dataclasses.replace(facts, synthetic=pd.concat([facts.synthetic, more]))
    arms = set(counts_table(both, tables.synthetic_summary(both)).arms) - {""}
    assert arms == {"gan"}
    none = dataclasses.replace(facts, synthetic=more)
    assert set(counts_table(none, tables.synthetic_summary(none)).arms) - {""} == {"another"}


def test_the_page_has_both_tables_and_the_box(facts, tmp_path):
    page = write_page(facts, tmp_path).read_text(encoding="utf-8")
    assert "Beside the printed numbers" in page
    assert "A small &lt;table&gt;" in page
    assert "What the printed numbers can and cannot show" in page
    names = {path.name for path in (tmp_path / "tables").iterdir()}
    assert {"printed-counts.csv", "printed-scores.csv", "final-gap.csv"} <= names
    assert len(pd.read_csv(tmp_path / "tables" / "printed-scores.csv")) == 4 * 3 * 5


def test_without_printed_numbers_there_is_no_such_part(fabricate, tmp_path):
    page = write_page(fabricate.study(**fabricate.SMALL), tmp_path).read_text(encoding="utf-8")
    assert "printed" not in page.split("</style>")[1]
    names = {path.name for path in (tmp_path / "tables").iterdir()}
    assert not {"printed-counts.csv", "printed-scores.csv"} & names


def test_a_study_that_has_just_begun_shows_the_printed_side(fabricate, printed, tmp_path):
    facts = fabricate.study(finished=0.0, **fabricate.SMALL)
    none = {name: getattr(facts, name).iloc[:0] for name in ("counts", "synthetic", "curves")}
    facts = dataclasses.replace(facts, published=printed, regimen_images={}, **none)
    page = write_page(facts, tmp_path).read_text(encoding="utf-8")
    assert "printed 0.400" in page
