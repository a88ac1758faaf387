"""Replicating by a rule, for real on a study of seconds; and what so many replicates can show."""

from __future__ import annotations

import json
import re
import shutil
import subprocess

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from synthtrial.errors import ConfigError
from synthtrial.history import WidthRule, raise_replicates, read_history
from synthtrial.replication import assumed_power, decide, make_rule, width_of
from synthtrial.store.artifacts import open_store
from synthtrial.study import load

SECONDS = [
    "arms={none: {}, gan: {synthetic: true}}",
    "grid={learning_rate: [0.01], batch_size: [64]}",
    "regimens=[0.25]",
    "training.epochs=2",
    "gan_training.steps=3",
    "protocol.draws=1",
    "protocol.replicates=2",
    "engine.device=cpu",
]


@pytest.fixture(scope="module")
def replicated(tmp_path_factory, synthtrial_command):
    """A study that was replicated by a rule: its folder, and what was printed each time."""
    place = tmp_path_factory.mktemp("replicated")
    words = ["digits", *SECONDS, f"store.path={place / 'store'}"]
    words += [f"store.report_path={place / 'reports'}", f"store.cache_path={place / 'cache'}"]
    printed = []
    for options in (
        ["--until", "width<0.00001"],
        ["--until", "width<0.3", "--max", "14"],
        ["--to", "11"],
    ):
        command = [*synthtrial_command, "replicate", *words, *options]
        printed.append(subprocess.run(command, capture_output=True, text=True))
    return place, printed


def test_a_width_below_what_the_test_set_allows_is_refused_with_the_number(replicated):
    refused = replicated[1][0]
    assert refused.returncode != 0
    assert "width<1e-05 is the width of the interval over seeds alone" in refused.stderr
    assert (
        "The one that also holds for other test images cannot be narrower than 0." in refused.stderr
    )
    assert "Traceback" not in refused.stderr


def test_the_rule_begins_with_ten_replicates_and_says_how_many_it_takes(replicated):
    place, (first, second, _) = replicated
    assert "the rule begins with 10 replicates; going on" in first.stdout
    assert second.returncode == 0
    assert "a width of 0.3 takes 10 replicates (by the spread of the first 10" in second.stdout
    target = read_history(load("digits", SECONDS), open_store(place / "store"))
    assert target.rule == WidthRule(0.3, 10, 14)


def test_both_widths_are_said_and_are_those_of_the_report(replicated):
    second = replicated[1][1]
    line = re.search(
        r"  at 25 %: (\S+) wide over seeds alone; over other test images too: (\S+), and never "
        r"below about (\S+)\n",
        second.stdout,
    )
    alone, both, floor = map(float, line.groups())
    assert floor < both
    assert alone < both
    assert alone <= 0.3
    assert "logits" not in second.stdout, "they were kept"


def test_the_interval_keeps_the_spread_of_the_first_replicates(replicated):
    tables = replicated[0] / "reports" / "digits" / "tables"
    scores = pd.read_csv(tables / "replicates.csv").query("scope == 'minority'")
    wide = scores.pivot_table(index="replicate", columns="arm", values="value")
    delta = (wide.gan - wide.none).to_numpy()
    assert delta.size == 11
    row = pd.read_csv(tables / "differences.csv").query("role == 'primary'").iloc[0]
    half = stats.t.ppf(0.975, 9) * delta[:10].std(ddof=1) / np.sqrt(11)
    assert row.difference == pytest.approx(delta.mean())
    assert (row.low, row.high) == pytest.approx((delta.mean() - half, delta.mean() + half))
    assert row.df == 9


def test_looks_are_remembered_and_the_report_says_so(replicated):
    place, printed = replicated
    assert printed[2].returncode == 0
    store = open_store(place / "store")
    target = read_history(load("digits", SECONDS), store)
    assert [(look.before, look.after, look.seen) for look in target.looks] == [
        (2, 10, 0),
        (10, 11, 10),
    ]
    page = (place / "reports" / "digits" / "report.html").read_text(encoding="utf-8")
    assert "follows a rule about the width of the primary interval (0.3)" in page
    assert "raised from 10 to 11 after results could be seen" in page


@pytest.fixture
def copied(replicated, tmp_path, synthtrial_command):
    """A verb about a copy of the replicated study; returns what was printed, and the study."""
    shutil.copytree(replicated[0] / "store", tmp_path / "store")
    words = [*SECONDS, f"store.path={tmp_path / 'store'}"]
    words += [f"store.report_path={tmp_path / 'reports'}", f"store.cache_path={tmp_path / 'cache'}"]

    def verb(name, *more):
        command = [*synthtrial_command, name, "digits", *words, *more]
        return subprocess.run(command, capture_output=True, text=True)

    def state():
        target = read_history(load("digits", words), open_store(tmp_path / "store"))
        report = tmp_path / "reports" / "digits" / "report.html"
        page = report.read_text(encoding="utf-8") if report.exists() else ""
        looks = [(look.before, look.after, look.seen, look.by) for look in target.looks]
        return looks, " ".join(page.split())

    return verb, state


def test_an_edited_study_that_is_run_again_has_looked_too(copied):
    verb, state = copied
    before = state()[0]
    done = verb("run", "protocol.replicates=12")
    assert done.returncode == 0, done.stderr
    looks, page = state()
    assert looks == [*before, (11, 12, 11, "run")]
    assert "raised from 10 to 11 and 11 to 12 after results could be seen" in page


def test_a_margin_that_is_changed_in_the_report_alone_is_told(copied):
    verb, state = copied
    done = verb("report", "statistics.margin=0.123")
    assert done.returncode == 0, done.stderr
    page = state()[1]
    assert re.search(
        r"The margin (was changed from \S+ to 0.123|of 0.123 was named) after results of 11 "
        r"replicates could be seen\.",
        page,
    )
    verb("report")
    assert "The margin" not in state()[1]


def test_there_is_a_way_back_to_fewer_replicates(copied):
    verb, state = copied
    before = state()[0]
    told = verb("status").stderr
    assert "(the study says 2; `replicate --back-to 2` goes back to that)" in told
    done = verb("replicate", "--back-to", "10")
    assert done.returncode == 0, done.stderr
    assert "the study has 10 replicates again; results of more stay in the store" in done.stdout
    looks, page = state()
    assert looks == [*before, (11, 10, 11, "--back-to 10")]
    assert "taken back from 11 to 10 when results of 11 could be seen" in page
    refused = verb("replicate", "--back-to", "1")
    assert refused.returncode != 0
    assert "allowed: 2 to 9" in refused.stderr
    both = verb("replicate", "--back-to", "5", "--to", "12")
    assert "give one of --to N" in both.stderr
    assert "got --to and --back-to" in both.stderr


def test_where_no_logits_are_kept_the_rule_says_that_it_knows_no_floor(tmp_path):
    store, rule = open_store(tmp_path / "store"), WidthRule(1e-6, 10, 50)
    decision = decide(load("digits", ["store.keep_logits=false"]), store, rule)
    assert "is not known, as the study keeps no logits (store.keep_logits)" in decision.note
    assert decision.replicates == 10
    assert not decide(load("digits"), store, rule).note


@pytest.mark.parametrize(
    ("overrides", "rule", "most", "message"),
    [
        ([], "width<0", 50, "give the width of the primary interval"),
        ([], "width<1e", 50, "give the width of the primary interval"),
        ([], "p<0.05", 50, "give the width of the primary interval"),
        (["statistics.primary.arm=null"], "width<0.1", 50, "set statistics.primary.arm"),
        (["protocol.draws=3"], "width<0.1", 50, "Set protocol.draws=null"),
        (
            ["protocol.draws=6"],  # as many as replicates: more of these make no more draws
            "width<0.1",
            50,
            "protocol.draws is 6",
        ),
        ([], "width<0.1", 9, "allowed: 10 or more"),
    ],
)
def test_rules_that_cannot_be_followed_are_refused(tmp_path, overrides, rule, most, message):
    study, store = load("digits", overrides), open_store(tmp_path / "store")
    with pytest.raises(ConfigError, match=message):
        make_rule(width_of(rule), study, store, most)


def test_another_width_keeps_the_first_replicates_of_the_rule_before(tmp_path):
    study, store = load("digits"), open_store(tmp_path / "store")
    rule = make_rule(width_of("width < 2e-1"), study, store, 50)
    assert (rule.width, rule.first) == (0.2, 10)
    study = raise_replicates(study, store, 30, rule=rule, by="--until width<0.2 --max 50")
    assert make_rule(0.1, study, store, 50).first == 10


def test_power_is_that_of_the_paired_t_test_corrected_for_the_regimens():
    from statsmodels.stats.power import TTestPower

    (found,) = assumed_power(load("digits"), 0.05, 0.03, 0.8)
    exact = TTestPower().solve_power(effect_size=0.6, power=0.8, alpha=0.05 / 4)
    assert found.needed == int(np.ceil(exact))
    line = next(line for line in found.lines if line.blocks == 10)
    assert line.width == pytest.approx(2 * stats.t.ppf(0.975, 9) * 0.05 / np.sqrt(10))


def test_power_by_a_pilot_says_what_the_spread_was(replicated, synthtrial_command):
    place = replicated[0]
    words = ["digits", *SECONDS, f"store.path={place / 'store'}"]
    command = [*synthtrial_command, "power", *words, "--json"]
    (found,) = json.loads(subprocess.run(command, capture_output=True, text=True).stdout)
    assert (found["where"], found["pilot"]) == ("25 %", 10)
    assert found["upper"] > found["deviation"] > 0


def test_power_without_results_or_an_assumption_is_refused(tmp_path, synthtrial_command):
    command = [*synthtrial_command, "power", "digits", f"store.path={tmp_path / 'none'}"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode != 0
    assert "give --sd" in done.stderr
