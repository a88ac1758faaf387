"""What the page says of how the number of replicates came about."""

from __future__ import annotations

import pytest

from synthtrial.report.basis import declared_sentences
from synthtrial.report.looks import with_looks
from synthtrial.targets import Look, Target, WidthRule

AT = "2025-01-01T00:00:00+00:00"
RULE = WidthRule(0.3, 10, 14)


@pytest.fixture
def said(fabricate):
    """The sentences about a study that has been replicated so."""

    def say(*looks, rule=None, ran=0):
        design = fabricate.design(replicates=12, draws=12)
        found = with_looks(design, Target(12, rule, tuple(looks), ran))
        assert found.pilot == (None if rule is None else rule.first)
        told = declared_sentences(found)
        assert told[len(told) - len(found.looks) :] == list(found.looks), "the page has them"
        return found.looks

    return say


def test_a_run_with_more_replicates_is_told_like_a_replication(said):
    (text,) = said(Look(6, 10, 6, "run", AT), Look(10, 12, 10, "--to 12", AT))
    assert text.startswith("The number of replicates was raised from 6 to 10 and 10 to 12 after")
    assert "no interval here is corrected for that" in text


def test_what_was_raised_before_there_was_anything_to_see_is_not_told(said):
    assert said(Look(6, 12, 0, "--to 12", AT)) == ()


def test_steps_of_a_rule_are_told_as_the_rule(said):
    (text,) = said(Look(10, 12, 10, "--until width<0.3 --max 14", AT), rule=RULE)
    assert "follows a rule about the width of the primary interval (0.3)" in text
    assert "the first 10" in text


def test_a_rule_that_was_given_anew_after_results_is_told(said):
    looks = (
        Look(6, 10, 4, "--until width<0.4 --max 14", AT),
        Look(10, 11, 10, "--until width<0.4 --max 14", AT),
        Look(11, 12, 11, "--until width<0.3 --max 14", AT),
    )
    assert len(said(*looks[:2], rule=RULE)) == 1, "steps of one rule"
    _, text = said(*looks, rule=RULE)
    assert "(--until width<0.4 --max 14, then --until width<0.3 --max 14)" in text
    assert "given anew after results could be seen" in text


def test_what_was_taken_back_is_told_with_what_had_been_seen(said):
    up, down = said(Look(6, 40, 6, "--to 40", AT), Look(40, 12, 23, "--back-to 12", AT))
    assert "raised from 6 to 40" in up
    assert "taken back from 40 to 12 when results of 23 could be seen" in down


def test_a_report_of_fewer_replicates_than_were_run_says_so(said):
    (text,) = said(ran=20)
    assert text == (
        "The study has been run with 20 replicates; this report is about the first 12 only."
    )
    assert said(ran=12) == ()


def test_nothing_remembered_says_nothing(fabricate):
    design = fabricate.design()
    assert with_looks(design, None) is design
