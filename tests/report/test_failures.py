"""What ended without a score is counted, tested, bounded, and named where a number is missing."""

import dataclasses
import math

import numpy as np
import pandas as pd
import pytest
from statsmodels.stats.proportion import proportion_confint

from synthtrial.report import failures, inference, tables, views
from synthtrial.report.figures import styles_of
from synthtrial.report.missing import Missing
from synthtrial.report.page import write_page


def break_trials(facts, status, message="", count=None, **where):
    """Have trials of a cell end without a score."""
    trials, scores = facts.trials.copy(), facts.class_scores.copy()
    mine = np.logical_and.reduce([trials[name] == value for name, value in where.items()])
    here = trials.index[mine][:count]
    trials.loc[here, ["status", "message"]] = [status, message]
    trials.loc[here, ["overall", "validation"]] = np.nan
    scores.loc[here] = np.nan
    return dataclasses.replace(facts, trials=trials, class_scores=scores)


@pytest.fixture(scope="module")
def broken(facts):
    """At 10 %, 12 of 18 grid trials and 3 of 6 replicates of gan diverged; more elsewhere."""
    gan = {"arm": "gan", "regimen": 0.1}
    found = break_trials(facts, "diverged", "nan at step 3", 12, stage="grid", **gan)
    found = break_trials(found, "diverged", "nan at step 9", 3, stage="replicate", **gan)
    cell = {"stage": "replicate", "arm": "class_weights", "regimen": 0.25}
    found = break_trials(found, "failed", "Traceback\n  ...\nOSError: no disk", None, **cell)
    cell = {"stage": "replicate", "arm": "gan", "regimen": 1.0}
    return break_trials(found, "blocked", "never started: GAN failed: no memory", **cell)


def row_of(table, **where):
    mine = table[np.logical_and.reduce([table[name] == value for name, value in where.items()])]
    assert len(mine) == 1
    return mine.iloc[0]


def test_every_cell_has_its_rates_with_intervals(broken):
    table = failures.rates_table(broken)
    assert len(table) == 2 * 5 * 4
    row = row_of(table, regimen=0.1, arm="gan", stage="grid")
    assert (row.diverged, row.diverged_rate) == (12, pytest.approx(2 / 3))
    expected = proportion_confint(12, 18, 0.05, method="wilson")
    assert (row.diverged_low, row.diverged_high) == pytest.approx(expected)
    other = row_of(table, regimen=0.1, arm="none", stage="grid")
    assert (other.diverged, other.diverged_low) == (0, 0.0)
    assert other.diverged_high == pytest.approx(proportion_confint(0, 18, 0.05, "wilson")[1])


def test_what_never_started_has_no_rate(broken):
    row = row_of(failures.rates_table(broken), regimen=1.0, arm="gan", stage="replicate")
    assert (row.blocked, row.planned) == (6, 6)
    assert math.isnan(row.failed_rate)
    assert math.isnan(row.failed_high)
    view = failures._rate(row.to_dict())
    assert view == failures.RateView((("6 of 6 never started", ""),), bad=True)


def test_divergence_that_goes_with_an_arm_is_flagged(broken):
    table = failures.associations_table(broken)
    row = row_of(table, stage="grid", outcome="diverged", factor="arm")
    assert (row.level, row["count"], row.total) == ("gan", 12, 72)
    assert (row.other_count, row.other_total) == (0, 288)
    assert row.p_value < 0.001
    assert row.flagged
    sentences, _ = failures.association_sentences(table)
    assert sentences[0] == (
        "Grid trials of gan diverged more often (12 of 72) than those of the other arms (0 of 288; "
        "p < 0.001): what was chosen there was chosen among fewer."
    )
    place = row_of(table, stage="replicate", outcome="failed", factor="regimen")
    assert (float(place.level), place["count"], place.other_count) == (0.25, 6, 0)
    text = "Replicates at 25 % failed more often (6 of 30) than those at other training sets"
    assert any(text in sentence for sentence in sentences)
    assert any("means over what is left flatter it" in sentence for sentence in sentences)


def test_a_configuration_that_always_diverges_is_held_against_no_arm(facts):
    point = facts.trials[facts.trials.stage == "grid"].configuration.iloc[0]
    found = break_trials(facts, "diverged", stage="grid", configuration=point)
    table = failures.associations_table(found)
    assert len(table) == 2
    assert table.p_value.isna().all()
    assert not table.flagged.any()
    flagged, rest = failures.association_sentences(table)
    assert flagged == []
    assert "cannot be told" in rest


def test_a_single_failure_is_evidence_of_nothing(facts):
    found = break_trials(facts, "failed", count=1, stage="replicate", arm="none")
    flagged, rest = failures.association_sentences(failures.associations_table(found))
    assert flagged == []
    assert rest.startswith("Nothing of this goes with arm or training set more than chance")
    assert "p of 2 = 1.00" in rest


def test_a_study_without_failures_has_no_tests_and_says_what_is_still_possible(facts):
    assert failures.associations_table(facts).empty
    assert failures.association_sentences(failures.associations_table(facts)) == ([], "")
    sentence = failures.sound_sentence(facts, failures.rates_table(facts))
    assert "With 6 replicates in a cell that is no proof" in sentence
    assert "up to 39.0 %" in sentence


def test_the_worst_case_counts_missing_replicates_as_the_worst_of_their_cell(broken):
    results = tables.long_results(broken)
    table = failures.worst_case_table(broken, results)
    row = row_of(table, regimen=0.1, arm="gan", scope="minority", class_name="")
    mine = results[(results.regimen == 0.1) & (results.arm == "gan")]
    values = mine[mine.scope == "minority"].value
    assert (row.n, row.missing) == (3, 3)
    assert row.mean_if_worst == pytest.approx((values.sum() + 3 * values.min()) / 6)
    assert set(zip(table.regimen, table.arm, strict=True)) == {(0.1, "gan")}
    said = failures.worst_case_sentences(broken, results, table)
    assert len(said) == 3
    assert "class_weights at 25 %: no replicate has a score, so there is no mean at all." in said
    assert f"would be {row.mean_if_worst:.3f} instead of {row['mean']:.3f}" in said[-1]


def rows_at(facts, regimen, *, differences=False):
    results = tables.long_results(facts)
    table = (inference.differences_table if differences else tables.results_table)(facts, results)
    colours = {arm: style.colour for arm, style in styles_of(facts).items()}
    groups = views.results_view(
        facts, table, colours, differences=differences, missing=Missing(facts, results)
    )
    (group,) = [g for g in groups if g.regimen == regimen]
    return {row.arm: row for row in group.rows}


def test_an_arm_without_any_score_has_a_row_that_says_why(broken):
    for differences in (False, True):
        rows = rows_at(broken, "25 %", differences=differences)
        assert rows["class_weights"].reason == "all 6 failed: OSError: no disk"
        assert rows["class_weights"].n == "0"
        assert rows["gan"].reason == rows["gan"].lost == ""
        rows = rows_at(broken, "100 %", differences=differences)
        assert rows["gan"].reason == "all 6 never started: GAN failed: no memory"
        assert ("none" in rows) is not differences


def test_a_cell_that_lost_some_replicates_says_how_many(broken):
    row = rows_at(broken, "10 %")["gan"]
    assert (row.n, row.lost, row.reason) == ("3", "3 diverged", "")
    assert all(row.cells)


def test_a_baseline_without_a_score_is_why_there_is_no_difference(facts):
    found = break_trials(facts, "diverged", stage="replicate", arm="none", regimen=0.5)
    rows = rows_at(found, "50 %", differences=True)
    assert set(rows) == set(facts.design.arm_names) - {"none"}
    assert rows["gan"].reason == "none: all 6 diverged"


def test_a_metric_that_is_undefined_says_what_the_test_set_lacks(facts):
    here = facts.trials.regimen == 1.0
    scores = facts.class_scores.copy()
    scores.loc[here, "8"] = np.nan
    found = dataclasses.replace(facts, class_scores=scores)
    row = rows_at(found, "100 %")["gan"]
    assert row.reasons == ("undefined in all 6 trials", "", "", "")
    assert row.cells[0] is None
    counts = facts.counts.copy()
    counts.loc[(counts.role == "test") & (counts.class_name == "8"), "images"] = 0
    row = rows_at(dataclasses.replace(found, counts=counts), "100 %")["gan"]
    assert row.reasons[0] == "undefined in all 6 trials: no test image holds it"


def test_what_is_still_to_come_is_said_to_be_waited_for(fabricate):
    facts = fabricate.study(finished=0.5)
    missing = Missing(facts, tables.long_results(facts))
    late = break_trials(facts, "waiting", stage="replicate", arm="gan", regimen=0.1)
    assert missing.of_cell(0.1, "gan") == ""
    nothing = Missing(late, tables.long_results(late))
    assert nothing.of_cell(0.1, "gan") == "waiting: 6 of 6 to come"
    assert 0.1 not in nothing.complete
    assert rows_at(late, "10 %") == {}, "no block of the training set is complete"


def test_the_page_tells_all_of_it(broken, tmp_path):
    page = write_page(broken, tmp_path).read_text("utf-8")
    assert "all 6 failed: OSError: no disk" in page
    assert "66.7\u00a0% (43.7 to 83.7)" in page
    assert page.count('class="prose flag"') == 5 + 3, "those of replicates beside the results too"
    found = {path.name for path in (tmp_path / "tables").iterdir()}
    assert {"failures.csv", "failure-associations.csv", "worst-case.csv"} <= found
    assert "diverged_high" in pd.read_csv(tmp_path / "tables" / "failures.csv").columns
