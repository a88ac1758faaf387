"""What is remembered of the number of replicates, for whom, and what is no look."""

from __future__ import annotations

import dataclasses
import json

import pytest

from synthtrial.data.imported import describe_as_imported
from synthtrial.driver import keep_snapshot
from synthtrial.errors import ConfigError, StoreError
from synthtrial.history import (
    WidthRule,
    as_replicated,
    changed_questions,
    history_file,
    raise_replicates,
    read_history,
    remember_run,
    study_key,
    take_back,
)
from synthtrial.identity import canonical_json
from synthtrial.plan import build
from synthtrial.store.artifacts import open_store
from synthtrial.study import load
from synthtrial.testing.studies import run_here


def steps(study, store):
    """Looks as (before, after, seen, by)."""
    return [
        (look.before, look.after, look.seen, look.by) for look in read_history(study, store).looks
    ]


def test_a_number_of_replicates_is_remembered_and_never_lowered(tmp_path):
    study, store = load("digits"), open_store(tmp_path / "store")
    assert as_replicated(study, store) is study
    assert raise_replicates(study, store, 20).settings.protocol.replicates == 20
    assert as_replicated(study, store).settings.protocol.replicates == 20
    assert raise_replicates(study, store, 10).settings.protocol.replicates == 20


@pytest.mark.parametrize(
    "other",
    [
        "name=other",
        "arms={none: {}, gan: {synthetic: true}}",
        "seed=1",
        "regimens=[0.5]",
        "training.epochs=3",
        "metrics=[accuracy,recall,auc]",
        "protocol.draws=1",
        "protocol.select_by=recall",
        "dataset.class_order=['9','8','7','6','5','4','3','2','1','0']",
        "generator.width=8",
    ],
)
def test_histories_belong_to_what_is_measured(tmp_path, other):
    store = open_store(tmp_path / "store")
    raise_replicates(load("digits"), store, 20)
    changed = load("digits", [other])
    assert study_key(changed) != study_key(load("digits"))
    assert as_replicated(changed, store).settings.protocol.replicates == 6


@pytest.mark.parametrize(
    "same",
    [
        "protocol.replicates=9",
        "statistics.margin=0.5",
        "statistics.primary.arm=standard",
        "engine.workers=1",
        "store.report_path=/elsewhere",
        "store.keep_logits=false",
        "description=the same",
        "allow_leakage=true",
        "training.epochs=10",  # the default, spelled out
    ],
)
def test_a_key_knows_nothing_but_what_is_measured(same):
    assert study_key(load("digits", [same])) == study_key(load("digits"))


def test_a_study_whose_dataset_stayed_elsewhere_keeps_its_key():
    study = load("digits")
    known = describe_as_imported(study.dataset.name, study.dataset.identity, study.dataset.load())
    assert study_key(study.replace([f"dataset={canonical_json(known)}"])) == study_key(study)


def test_a_spoiled_history_is_an_error_that_says_what_to_do(tmp_path):
    study, store = load("digits"), open_store(tmp_path / "store")
    raise_replicates(study, store, 20)
    history_file(study, store).write_text("{}")
    with pytest.raises(StoreError, match="remove it and run `synthtrial replicate digits --to N`"):
        as_replicated(study, store)


def test_more_than_a_study_can_have_is_refused_and_not_remembered(tmp_path):
    study, store = load("digits"), open_store(tmp_path / "store")
    with pytest.raises(ConfigError, match=r"replicates is 100,000,000: 5 arms, 4 regimens and 18"):
        raise_replicates(study, store, 10**8)
    assert read_history(study, store) is None


def test_looks_are_kept_with_what_was_seen(tmp_path):
    study, store = load("digits"), open_store(tmp_path / "store")
    raise_replicates(study, store, 20, seen=6, by="--to 20")
    raise_replicates(study, store, 15, seen=6, by="--to 15")  # changes nothing
    raise_replicates(study, store, 30, seen=20, by="--to 30")
    assert steps(study, store) == [(6, 20, 6, "--to 20"), (20, 30, 20, "--to 30")]


def test_a_file_of_the_name_alone_is_read_and_kept_when_more_is_asked_for(tmp_path):
    study, store = load("digits"), open_store(tmp_path / "store")
    old = store.root / "studies" / "digits.replicates.json"
    old.parent.mkdir()
    look = {"before": 6, "after": 12, "seen": 6, "by": "--to 12", "at": "2025-01-01T00:00:00"}
    old.write_text(json.dumps({"replicates": 12, "rule": None, "looks": [look]}))
    assert history_file(study, store) == old
    assert as_replicated(study, store).settings.protocol.replicates == 12
    raise_replicates(study, store, 15, seen=12, by="--to 15")
    assert history_file(study, store) != old
    assert history_file(study, store).name.endswith(".replicates.json")
    assert steps(study, store) == [(6, 12, 6, "--to 12"), (12, 15, 12, "--to 15")]
    assert old.exists(), "another study of that name may be the one that asked"


def test_a_history_of_before_looks_were_kept_is_read(tmp_path):
    study, store = load("digits"), open_store(tmp_path / "store")
    raise_replicates(study, store, 20)
    history_file(study, store).write_text('{"replicates": 12}')
    assert read_history(study, store).looks == ()
    assert as_replicated(study, store).settings.protocol.replicates == 12


@pytest.fixture
def toy(toy_study, tmp_path):
    """Two replicates of the toy study, each a draw of its own, and a function to run it so."""
    study = toy_study(
        tmp_path, "protocol.replicates=2", "protocol.draws=null", "store.keep_logits=false"
    )
    store = open_store(study.store_path)

    def ran(replicates, *overrides, kinds=None):
        """Begin a run as the driver does, and run what is missing, or what of it is wanted."""
        mine = study.replace([f"protocol.replicates={replicates}", *overrides])
        keep_snapshot(mine, store)
        remember_run(mine, store)
        run_here(mine, store, only=lambda task: kinds is None or task.kind in kinds)
        return mine

    return study, store, ran


def test_more_replicates_in_an_edited_study_are_a_look_that_is_remembered_once(toy):
    study, store, ran = toy
    ran(2)
    ran(2)  # goes on
    assert steps(study, store) == []
    ran(3, kinds=())  # stopped at once
    ran(3)
    ran(2)
    ran(3, "engine.workers=1")
    assert steps(study, store) == [(2, 3, 2, "run")]
    raised = raise_replicates(study, store, 4, seen=3, by="--to 4")
    remember_run(raised, store)
    assert steps(study, store) == [(2, 3, 2, "run"), (3, 4, 3, "--to 4")]


def test_nothing_is_seen_before_there_are_results(toy):
    study, store, ran = toy
    ran(2, kinds=("prepare", "split"))
    ran(3, kinds=("prepare", "split"))
    assert steps(study, store) == []
    assert read_history(study, store).ran == 3


def test_another_study_of_the_name_looks_at_nothing(toy):
    study, store, ran = toy
    ran(2)
    other = ran(3, "arms={none: {}, more: {synthetic: true}}")
    assert steps(other, store) == []
    assert read_history(study, store).ran == 2


def test_a_run_from_before_runs_were_remembered_counts(toy):
    study, store, ran = toy
    ran(2)
    history_file(study, store).unlink()  # a store of before: the snapshot is all there is
    ran(3)
    assert steps(study, store) == [(2, 3, 2, "run")]


def test_a_fixed_number_of_draws_may_be_raised_with_the_replicates(toy):
    study, store, ran = toy
    ran(2, "protocol.draws=2")
    ran(3, "protocol.draws=3")
    assert steps(study, store) == [(2, 3, 2, "run")]


def test_what_was_asked_for_is_taken_back_as_a_look(tmp_path):
    study, store = load("digits"), open_store(tmp_path / "store")
    remember_run(raise_replicates(study, store, 40, seen=6, by="--to 40"), store)
    assert take_back(study, store, 20, seen=23, by="--back-to 20").draws == 20
    assert as_replicated(study, store).settings.protocol.replicates == 20
    assert take_back(study, store, 6, seen=20, by="--back-to 6") is study
    assert as_replicated(study, store) is study
    raise_replicates(study, store, 20, seen=6, by="--to 20")  # on again: a look like any other
    assert steps(study, store) == [
        (6, 40, 6, "--to 40"),
        (40, 20, 23, "--back-to 20"),
        (20, 6, 20, "--back-to 6"),
        (6, 20, 6, "--to 20"),
    ]


def test_a_rule_stays_while_the_blocks_that_it_began_with_do(tmp_path):
    study, store = load("digits"), open_store(tmp_path / "store")
    rule = WidthRule(0.1, 10, 50)
    raise_replicates(study, store, 30, rule=rule)
    take_back(study, store, 10, seen=12, by="--back-to 10")
    assert read_history(study, store).rule == rule
    take_back(study, store, 9, seen=12, by="--back-to 9")
    assert read_history(study, store).rule is None


@pytest.mark.parametrize(
    ("asked", "back_to", "message"),
    [
        (None, 4, "nothing asked for more than the 6 replicates that the study names"),
        (20, 4, "allowed: 6 to 19"),
        (20, 20, "allowed: 6 to 19"),
    ],
)
def test_no_more_can_be_taken_back_than_was_asked_for(tmp_path, asked, back_to, message):
    study, store = load("digits"), open_store(tmp_path / "store")
    if asked:
        raise_replicates(study, store, asked)
    before = read_history(study, store)
    with pytest.raises(ConfigError, match=message):
        take_back(study, store, back_to, seen=6, by=f"--back-to {back_to}")
    assert read_history(study, store) == before


def test_what_is_written_is_read_back(tmp_path):
    study, store = load("digits"), open_store(tmp_path / "store")
    raise_replicates(study, store, 20, seen=6, by="--to 20", rule=WidthRule(0.1, 10, 50))
    remember_run(as_replicated(study, store), store)
    known = read_history(study, store)
    assert (known.replicates, known.ran, len(known.looks)) == (20, 20, 1)
    assert json.loads(history_file(study, store).read_text()) == json.loads(
        json.dumps(dataclasses.asdict(known))
    )


def changed(study, store, *overrides):
    """Changes of the questions as (name, before, after, seen), if it is reported so."""
    mine = study.replace(overrides)
    found = changed_questions(mine, store, build(mine, store))
    return [(change.name, change.before, change.after, change.seen) for change in found]


MARGIN, WIDER = "statistics.margin=0.02", "statistics.margin=0.05"


def test_a_question_that_is_changed_after_results_is_told_whether_or_not_it_is_run(toy):
    _, store, ran = toy
    asked = ran(2, MARGIN)
    assert changed(asked, store) == []
    change = ("margin", 0.02, 0.05, 2)
    assert changed(asked, store, WIDER) == [change]
    assert changed(asked, store) == [], "to report is not to run"
    ran(3, WIDER)
    assert changed(asked, store, WIDER) == [change], "two could be seen when it was changed"
    assert changed(asked, store) == [], "what was declared first"
    assert changed(asked, store, "statistics.confidence=0.9") == [("confidence", 0.95, 0.9, 3)], (
        "three were run, though this reports two"
    )


def test_a_question_that_is_named_or_changed_after_results_is_one_choice(toy):
    study, store, ran = toy
    ran(2)
    named = ["statistics.primary.arm=gan", "statistics.primary.target=overall"]
    assert [change[0] for change in changed(study, store, *named)] == ["arm", "target", "regimens"]
    assert {change[3] for change in changed(study, store, *named)} == {2}
    ran(2, *named)
    ran(3)
    assert {change[3] for change in changed(study, store, *named)} == {2}
    other = changed(study, store, named[0], "statistics.primary.target=minority")
    assert {change[3] for change in other} == {3}, "another target is another question"


def test_what_is_changed_before_there_are_results_leaves_no_trace(toy):
    study, store, ran = toy
    ran(2, MARGIN, kinds=("prepare", "split"))
    raise_replicates(study.replace(["statistics.margin=0.03"]), store, 2)
    asked = ran(2, WIDER)
    assert changed(asked, store) == []
    assert [record.seen for record in read_history(study, store).declared] == [0]
    assert changed(asked, store, MARGIN) == [("margin", 0.05, 0.02, 2)]


def test_a_store_that_does_not_say_what_was_declared_tells_of_no_change(toy):
    study, store, ran = toy
    ran(2, MARGIN)
    history_file(study, store).write_text('{"replicates": 0, "ran": 2}')
    assert changed(study, store, WIDER) == []
    ran(2, WIDER)
    assert changed(study, store, WIDER) == [], "nobody knows what it was before"
    assert changed(study, store, MARGIN) == [("margin", 0.05, 0.02, 2)]
    history_file(study, store).unlink()
    assert changed(study, store, WIDER) == []


def test_what_means_the_same_is_no_change(toy):
    study, store, ran = toy
    ran(2, "statistics.primary.arm=gan")
    regimens = canonical_json([float(regimen) for regimen in reversed(study.settings.regimens)])
    arms = [name for name in study.arms if name != "none"]
    same = [f"statistics.primary.regimens={regimens}", f"statistics.family={canonical_json(arms)}"]
    same += [f"statistics.minority={canonical_json(study.minority)}"]
    assert changed(study, store, "statistics.primary.arm=gan", *same) == []


def test_a_rule_is_kept_with_what_could_be_seen_when_it_was_first_given(tmp_path):
    study, store = load("digits"), open_store(tmp_path / "store")

    def given(by, seen, rule=None):
        raise_replicates(study, store, 10, seen=seen, by=by, rule=rule, by_rule=True)
        return [(one.by, one.seen) for one in read_history(study, store).given]

    assert given("--until width<1 --max 20", 0) == [("--until width<1 --max 20", 0)]
    assert given("--until width<0.5 --max 20", 0) == [("--until width<0.5 --max 20", 0)]
    first = [("--until width<0.5 --max 20", 0)]
    assert given("--until width<0.5 --max 20", 10, WidthRule(0.5, 10, 20)) == first
    second = [*first, ("--until width<0.2 --max 20", 10)]
    assert given("--until width<0.2 --max 20", 10) == second
    take_back(study, store, 8, seen=10, by="--back-to 8")
    assert [(one.by, one.seen) for one in read_history(study, store).given] == second


def test_nobody_knows_when_a_rule_of_before_was_given(tmp_path):
    study, store = load("digits"), open_store(tmp_path / "store")
    rule, by = WidthRule(0.5, 10, 20), "--until width<0.5 --max 20"
    raise_replicates(study, store, 12, seen=10, by=by, rule=rule)
    assert read_history(study, store).given == ()
    raise_replicates(study, store, 12, seen=10, by=by, rule=rule, by_rule=True)
    assert read_history(study, store).given == ()
