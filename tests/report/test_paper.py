"""What printed numbers can and cannot show is worked out from them, in sentences."""

import dataclasses

import pytest

from synthtrial.published import load_published
from synthtrial.report.facts import MINUS
from synthtrial.report.paper import paper_lines


@pytest.fixture(scope="module")
def paper():
    return load_published("chexpert_paper")


@pytest.fixture(scope="module")
def lines(paper):
    return paper_lines(paper)


def text_of(lines, title):
    (line,) = (line for line in lines if line.title == title)
    return line.text


@pytest.mark.parametrize(
    ("title", "said"),
    [
        ("Arithmetic", "add up to 31,371, not to the printed 49,829."),
        ("Arithmetic", "3 of 4 printed totals are the sum of their row"),
        ("Sizes", "The test set is 22,023 of 223,414 images, which is 9.9 % and not 5 %."),
        ("Prevalence reached", "6 of 12 reach it (1 % and 10 %: 15.5 to 18.7 %)"),
        ("Prevalence reached", "6 of 12 stay below it (50 % and 100 %: 14.4 to 14.9 %)"),
        ("Images needed", "1 % 1,550 printed, 1,008 needed"),
        ("Differences", "A test set of 22,023 images finds a difference of 0.022 to 0.034 AUC"),
        ("Differences", "5 of 9 at 1 %, 2 of 9 at 10 %, 0 of 9 at 50 % and 0 of 9 at 100 %"),
        ("Claims", "12 of 19 claims hold"),
    ],
)
def test_the_paper_is_told_what_its_own_numbers_say(lines, title, said):
    assert said in text_of(lines, title)


def test_claims_that_fail_are_listed_with_an_example(lines):
    (claims,) = (line for line in lines if line.title == "Claims")
    assert len(claims.details) == 7
    text = "; ".join(claims.details)
    assert "at 1 % standard augmentation also improves on none" in text
    assert f"1 %, Pleural Other: standard 0.550, none 0.566 ({MINUS}0.016)" in text


def test_the_notes_say_how_many_trainings_a_number_is_of(lines):
    notes = [line.text for line in lines if line.title == "Note"]
    assert any(note.startswith("One training for each cell") for note in notes)


def test_a_table_of_scores_without_a_test_set_says_what_is_missing(paper):
    bare = dataclasses.replace(paper, test=None, images={}, claims=[], notes=[])
    (line,) = paper_lines(bare)
    assert line.title == "Differences"
    assert "not known" in line.text


def test_a_table_of_counts_alone_says_nothing_of_differences(paper):
    bare = dataclasses.replace(paper, scores={}, claims=[], cooccurrence={})
    titles = [line.title for line in paper_lines(bare)]
    assert "Differences" not in titles
    assert "of 6 of 12" not in titles
    text = text_of(paper_lines(bare), "Prevalence reached")
    assert "whatever labels occur together" in text


def test_right_totals_are_said_to_be_right(paper):
    images = dict(paper.images)
    images["10 %"] = dataclasses.replace(images["10 %"], total=31_371)
    mended = dataclasses.replace(paper, images=images)
    assert text_of(paper_lines(mended), "Arithmetic") == (
        "4 of 4 printed totals are the sum of their row."
    )
