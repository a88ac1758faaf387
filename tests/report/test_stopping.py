"""What the report says of trials that were stopped early: no failures, and no results."""

import dataclasses

import pandas as pd
import pytest

from synthtrial.report import failures, figures, stopping, tables, verdict
from synthtrial.report.flow import stations
from synthtrial.report.page import write_page


@pytest.fixture(scope="module")
def stopped(fabricate):
    """A finished study; 16 of 18 grid trials of each of 20 cells ended after one of 10 epochs."""
    return fabricate.stop_early(fabricate.study())


def said(facts):
    return stopping.stopping_sentences(facts, stopping.stopping_table(facts))


def alter(facts, count, **columns):
    """Change grid trials that were not stopped."""
    trials = facts.trials.copy()
    here = trials.index[(trials.stage == "grid") & (trials.status == "done")][:count]
    for name, value in columns.items():
        trials.loc[here, name] = value
    return dataclasses.replace(facts, trials=trials)


def test_one_sentence_says_what_was_stopped_and_saved(stopped):
    assert said(stopped) == (
        "Early stopping ended 320 of 360 grid trials: 720 epochs were trained instead of 3,600 "
        "(80 % saved). What is stopped depends on the order in which trials ended."
    )


def test_epochs_are_counted_by_cell(stopped):
    table = stopping.stopping_table(stopped)
    assert len(table) == 20
    assert list(table.arm[:5]) == list(stopped.design.arm_names)
    numbers = table[["ended", "stopped", "epochs", "epochs_in_full"]]
    assert set(numbers.itertuples(index=False, name=None)) == {(18, 16, 16 + 20, 180)}
    first = stopping.stopping_view(stopped, table)[0]
    assert first == ("none", [("16 of 18", "36 of 180 epochs")] * 4)


def test_what_diverged_by_itself_was_not_saved_by_early_stopping(stopped):
    facts = alter(stopped, 1, status="diverged", epochs=3.0, validation=float("nan"))
    assert said(facts).startswith(
        "Early stopping ended 320 of 360 grid trials: 713 epochs were trained instead of 3,593 "
    )


def test_a_failed_trial_has_ended_without_any_epoch(stopped):
    facts = alter(stopped, 1, status="failed", epochs=float("nan"), validation=float("nan"))
    assert "320 of 360 grid trials: 710 epochs were trained instead of 3,590" in said(facts)


def test_while_trials_are_to_come_it_is_said_so_far(stopped):
    facts = alter(stopped, 4, status="waiting", epochs=float("nan"), validation=float("nan"))
    assert said(facts).startswith("So far, early stopping ended 320 of 356 grid trials")


def test_a_study_in_which_nothing_was_stopped_says_that(fabricate):
    facts = fabricate.study(early_stopping=fabricate.STOPPING)
    assert said(facts) == "Early stopping ended none of 360 grid trials."


def test_a_study_that_asks_for_no_early_stopping_has_no_word_of_it(facts, tmp_path, fabricate):
    assert said(facts) == ""
    assert "ASHA" not in verdict.study_paragraph(facts)
    write_page(fabricate.study(**fabricate.SMALL), tmp_path)
    html = (tmp_path / "report.html").read_text("utf-8")
    assert "topped early" not in html
    assert "early-stopping" not in html


def test_the_protocol_is_told_with_the_rules_of_stopping(stopped, fabricate):
    text = verdict.study_paragraph(stopped)
    assert f"once, on the first draw, with {fabricate.STOPPING}." in text
    assert "Of those trained to their end, the best by validation balanced accuracy" in text


@pytest.mark.parametrize("protocol", ["full_grid", "retune"])
def test_whoever_chooses_chooses_among_those_trained_to_their_end(fabricate, protocol):
    facts = fabricate.study(protocol=protocol, early_stopping=fabricate.STOPPING)
    assert "those " in verdict.study_paragraph(facts).partition(fabricate.STOPPING)[2]
    assert "trained to their end" in verdict.study_paragraph(facts)


def test_stopped_trials_leave_the_flow_by_their_own_name(stopped):
    boxes = {box.title.partition(":")[0]: box for box in stations(stopped)}
    assert boxes["Grid"].aside == ("320 stopped early",)
    assert boxes["Grid"].lines[-1] == "40 of 360 trials done"
    assert boxes["Replicates"].aside == ()


def test_a_stopped_trial_is_an_end_and_no_failure(stopped):
    assert stopped.finished
    assert "PROVISIONAL" not in tables.study_stamps(stopped)
    table = tables.failures_table(stopped)
    grid = table[table.stage == "grid"]
    assert set(grid.stopped) == {16}
    assert set(grid.done) == {2}
    assert (grid[["diverged", "failed", "blocked", "waiting"]] == 0).all(axis=None)
    assert (table.message == "").all()
    (title, rows), _ = failures.failure_view(stopped, failures.rates_table(stopped))
    assert (title, rows[0][0]) == ("Grid", "none")
    assert [cell.lines[0][0] for cell in rows[0][1]] == ["0 of 18"] * 4


def test_rates_of_failure_are_parts_of_all_that_ended_the_stopped_ones_too(stopped):
    facts = alter(stopped, 1, status="diverged", message="loss became nan")
    table = tables.failures_table(facts)
    (rate,) = table[table.diverged > 0].diverged_rate
    assert rate == pytest.approx(1 / 18)
    (_, rows), _ = failures.failure_view(facts, failures.rates_table(facts))
    assert rows[0][1][0].lines[0][0] == "1 of 18 diverged"


def test_what_was_stopped_by_other_code_is_stamped(stopped):
    trials = stopped.trials.copy()
    trials.loc[trials.status == "stopped", "code_digest"] = "other"
    facts = dataclasses.replace(stopped, trials=trials)
    assert "MIXED CODE" in tables.study_stamps(facts)


def test_scores_of_stopped_trials_are_kept_apart(stopped, facts):
    whole, table = (
        tables.configurations_table(each).set_index(["regimen", "arm", "configuration"])
        for each in (facts, stopped)
    )
    assert whole.index.equals(table.index), "every configuration is named"
    assert (whole.stopped == 0).all()
    assert whole.stopped_score.isna().all()
    early = table[table.stopped > 0]
    assert len(early) == 320
    assert early.score.isna().all()
    assert (early.trials == 0).all()
    assert early.stopped_score.to_numpy() == pytest.approx(0.3 * whole.score[early.index])
    finished = table[table.trials > 0]
    assert finished.score.equals(whole.score[finished.index])
    assert (table.chosen == whole.chosen).all()


def test_stopped_trials_are_drawn_apart_and_do_not_stretch_the_axis(stopped, facts):
    plain, drawn = (
        figures.configuration_spread(each, tables.configurations_table(each))[-1].figure.axes[0]
        for each in (facts, stopped)
    )
    finished = tables.configurations_table(stopped)
    scores = finished[["score", "replicate_score"]].stack()
    left, right = drawn.get_xlim()
    assert scores.min() - left < scores.max() - scores.min()
    assert right < plain.get_xlim()[1] + 0.05
    for arm in range(5):
        whole, early, *_ = drawn.collections[4 * arm : 4 * arm + 4]
        assert (left < early.get_offsets()[:, 0].compressed()).all()
        assert len(early.get_offsets()[:, 0].compressed()) == 16
        assert len(whole.get_offsets()[:, 0].compressed()) == 2
    labels = {text.get_text() for text in drawn.get_figure().legends[0].get_texts()}
    assert "stopped early" in labels


def test_while_only_stopped_trials_have_ended_they_are_drawn(fabricate):
    facts = fabricate.stop_early(fabricate.study(finished=0.0, **fabricate.SMALL), finishing=0)
    table = tables.configurations_table(facts)
    assert table.score.isna().all()
    (panel,) = figures.configuration_spread(facts, table)
    low, high = panel.figure.axes[0].get_xlim()
    assert low < table.stopped_score.min() < table.stopped_score.max() < high


def test_results_and_curves_are_those_of_replicates_alone(stopped, facts):
    assert tables.long_results(stopped).equals(tables.long_results(facts))
    assert tables.curves_table(stopped).equals(tables.curves_table(facts))


def test_the_page_says_all_that_once(fabricate, tmp_path):
    facts = fabricate.stop_early(fabricate.study(**fabricate.SMALL))
    write_page(facts, tmp_path)
    html = (tmp_path / "report.html").read_text("utf-8").replace("\u00a0", " ")
    assert html.count("Early stopping ended 32 of 36 grid trials") == 1
    assert "None of 48 trials diverged or failed." in html
    assert html.count("16 of 18<small>22 of 54 epochs</small>") == 2
    assert "Crosses stand at the best score" in html
    table = pd.read_csv(tmp_path / "tables" / "early-stopping.csv")
    assert list(table.stopped) == [16, 16]
    trials = pd.read_csv(tmp_path / "tables" / "trials.csv")
    assert set(trials[trials.status == "stopped"].epochs) == {1}
