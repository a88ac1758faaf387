"""Numbers in one way, whoever writes them."""

import math

import pytest

from synthtrial.report.facts import DASH, MINUS
from synthtrial.report.numbers import axis_reach, between, number, p_text, p_value, span


@pytest.mark.parametrize(
    ("value", "signed", "text"),
    [
        (0.12345, False, "0.123"),
        (-0.12345, True, f"{MINUS}0.123"),
        (0.00049, True, "+0.0005"),
        (-0.000021, True, f"{MINUS}0.00002"),
        (1e-9, True, "+0.000"),
        (-1e-9, False, "0.000"),
        (0.0, True, "+0.000"),
        (math.nan, True, DASH),
    ],
)
def test_a_score_has_the_digits_that_its_first_one_takes(value, signed, text):
    assert number(value, signed=signed) == text


def test_an_interval_is_its_ends_or_what_stands_for_none():
    assert between(-0.012, 0.03) == f"{MINUS}0.012 to +0.030"
    assert between(0.5, 0.75, signed=False) == "0.500 to 0.750"
    assert between(math.nan, math.nan) == DASH
    assert between(math.nan, math.nan, unknown="no interval") == "no interval"


@pytest.mark.parametrize(
    ("value", "cell", "words"),
    [
        (0.0123, "0.012", "p = 0.012"),
        (0.5, "0.500", "p = 0.500"),
        (0.0009, "< 0.001", "p < 0.001"),
        (math.nan, DASH, "p unknown"),
    ],
)
def test_a_p_value_is_written_alike_in_tables_and_sentences(value, cell, words):
    assert (p_value(value), p_text(value)) == (cell, words)


def test_counts_that_differ_are_a_range():
    assert span([6, 6.0]) == "6"
    assert span([5, 3, 6]) == f"3{DASH}6"
    assert span([]) == DASH


def test_an_axis_reaches_to_the_farthest_end_unless_few_are_far_beyond_the_rest():
    assert axis_reach([0.1, -0.05], [0.0, 0.2, -0.15, 0.05]) == 0.2
    ends = [-0.1, 0.1, -0.12, 0.12, -0.09, 0.11, -1.2, 1.3]
    assert axis_reach([0.0, 0.05], ends) == pytest.approx(0.36), "three times the middle one"
    assert axis_reach([0.7, 0.05], ends) == pytest.approx(0.84), "and no point is beyond it"
    assert axis_reach([0.9, 0.05], ends) == 1.3, "a little room is worth a whole interval"
    assert axis_reach([0.3], [math.nan, math.nan]) == 0.3
    assert axis_reach([], []) == 0.1
