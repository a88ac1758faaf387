"""What the page says of how the number of replicates came about."""

from __future__ import annotations

import pytest

from synthtrial.declared import Change, declared_of
from synthtrial.history import Given, History, Look, WidthRule
from synthtrial.report.basis import declared_sentences
from synthtrial.report.facts import Primary
from synthtrial.report.looks import with_looks
from synthtrial.study import load

AT = "2025-01-01T00:00:00+00:00"
RULE = WidthRule(0.3, 10, 14)


@pytest.fixture
def said(fabricate):
    """The sentences about a study that has been replicated so."""

    def say(*looks, rule=None, ran=0, given=(), changed=()):
        design = fabricate.design(replicates=12, draws=12)
        history = History(12, rule, tuple(looks), ran, given=tuple(given))
        found = with_looks(design, history, changed)
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


def test_a_rule_that_ran_into_its_limit_does_not_promise_its_width(said):
    rule = WidthRule(0.3, 10, 12)
    _, text = said(Look(10, 12, 10, "--until width<0.3 --max 12", AT), rule=rule)
    assert text == (
        "It allowed 12 replicates at most, and there are that many: the interval may be wider than "
        "was asked for."
    )


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


def test_a_rule_that_was_given_beforehand_keeps_its_coverage(said):
    by = "--until width<0.3 --max 14"
    (text,) = said(Look(10, 12, 10, by, AT), rule=RULE, given=[Given(by, 0, AT)])
    assert text.endswith("so that its coverage is kept (Stein 1945).")


def test_a_rule_that_was_first_given_after_results_is_told_with_what_was_seen(said):
    by = "--until width<0.3 --max 14"
    (text,) = said(Look(10, 12, 10, by, AT), rule=RULE, given=[Given(by, 10, AT)])
    assert "(0.3), first given when results of 10 replicates could be seen: it is found" in text
    assert "coverage is kept only if nobody decided to go on because of the differences" in text
    assert "so that its coverage is kept" not in text


def test_another_rule_after_results_is_told_even_if_the_first_raised_nothing_then(said):
    later = "2025-01-02T00:00:00+00:00"
    given = [
        Given("--until width<0.4 --max 14", 0, AT),
        Given("--until width<0.3 --max 14", 10, later),
    ]
    look = Look(10, 12, 10, "--until width<0.3 --max 14", later)
    first, text = said(look, rule=RULE, given=given)
    assert "first given" not in first
    assert "(--until width<0.4 --max 14, then --until width<0.3 --max 14)" in text


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (("margin", 0.02, 0.05), "The margin was changed from 0.02 to 0.05 {}."),
        (("margin", None, 0.05), "The margin of 0.05 was named {}."),
        (("margin", 0.05, None), "There was a margin, of 0.05, which was dropped {}."),
        (("baseline", "none", "standard"), "The baseline was changed from none to standard {}."),
        (
            ("arm", None, "gan"),
            "The primary question was named {}, so that it is exploratory too.",
        ),
        (
            ("arm", "gan", None),
            "There was a primary question, about gan, which was dropped {}.",
        ),
        (
            ("regimens", [0.1], [0.01]),
            "The list of training sets of the primary question was changed from 10 % to 1 % {}.",
        ),
        (
            ("family", [], ["a", "b"]),
            "The family of arms that are judged together was changed from all to a and b {}.",
        ),
        (
            ("minority", ["8", "9"], ["9"]),
            "The list of classes of interest was changed from 8 and 9 to 9 {}.",
        ),
    ],
)
def test_what_was_changed_after_results_is_told_from_what_to_what(said, change, text):
    (found,) = said(changed=[Change(*change, 6)])
    assert found == text.format("after results of 6 replicates could be seen")


def test_of_a_question_that_was_named_late_only_that_is_told(said):
    changed = [
        Change("arm", None, "gan", 1),
        Change("target", None, "minority", 1),
        Change("regimens", [], [0.1], 1),
    ]
    (text,) = said(changed=changed)
    assert "named after results of 1 replicate could be seen" in text


PRIMARY = Primary("gan", "minority", "", (0.1,))


@pytest.mark.parametrize(
    ("name", "late"),
    [
        ("arm", 6),
        ("regimens", 6),
        ("baseline", 6),
        ("minority", 6),
        ("per_class", 6),
        ("overall", 0),  # which this question is not about
        ("margin", 0),
        ("family", 0),
    ],
)
def test_a_question_that_became_another_one_after_results_is_not_called_declared(
    fabricate, name, late
):
    design = fabricate.design(primary=PRIMARY)
    before, *_ = declared_sentences(with_looks(design, History(12, None, ())))
    assert before.startswith("Declared as the primary question: does gan change ")
    found = with_looks(design, History(12, None, ()), [Change(name, "a", "b", 6)])
    assert found.asked_late == late
    text, *_ = declared_sentences(found)
    start = "Asked as the primary question, but only since results of 6 replicates could be seen"
    assert text == (before.replace("Declared as the primary question", start) if late else before)


def test_every_declared_setting_can_be_told(said):
    names = declared_of(load("digits"))
    (*texts,) = said(changed=[Change(name, "a", "b", 6) for name in names])
    assert len(set(texts)) == len(names) > 10
