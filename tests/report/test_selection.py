"""What the page says of choosing configurations: optimism, runners-up, fewer tried, own choices."""

import dataclasses
import math

import numpy as np
import pandas as pd
import pytest
import statsmodels.formula.api as smf
from scipy import stats

from synthtrial.report import selection, selection_figure, tables
from synthtrial.report.page import write_page
from synthtrial.stats.selection import expected_maximum


def score(facts, value_of):
    """Give grid trials validation scores by regimen, arm and place among their cell's points."""
    trials = facts.trials.copy()
    grid = trials[trials.stage == "grid"]
    places = grid.groupby(["regimen", "arm"]).cumcount()
    for index, place in places.items():
        row = trials.loc[index]
        trials.loc[index, "validation"] = value_of(row.regimen, row.arm, place)
    return dataclasses.replace(facts, trials=trials)


@pytest.fixture(scope="module")
def flipping(facts):
    """At 10 % gan wins by a single lucky configuration; elsewhere class_weights wins throughout."""

    def value(regimen, arm, place):
        if regimen == 0.1 and arm == "gan":
            return (0.9, 0.6)[place] if place < 2 else 0.4
        base = 0.7 if arm == "class_weights" else 0.5
        return base - 0.01 * place

    return score(facts, value)


def test_a_best_arm_that_hangs_on_one_configuration_is_flagged(flipping):
    table = selection.runners_up_table(flipping)
    assert len(table) == 20
    gan = table[(table.regimen == 0.1) & (table.arm == "gan")].iloc[0]
    assert (gan.score, gan.runner_up_score, gan.candidates, gan.lost) == (0.9, 0.6, 18, 0)
    assert gan.configuration != gan.runner_up
    (flip,), same = selection.runner_up_sentences(flipping, table)
    assert flip == (
        "At 10 %, gan is the best arm on validation with every arm's chosen configuration (0.900), "
        "but class_weights with every arm's second-best (0.690): which arm is best hangs on the "
        "configuration."
    )
    assert same.startswith("At 25 %, 50 % and 100 % the best arm on validation stays the best")


def test_an_arm_on_images_that_others_are_denied_is_no_rival(flipping):
    arms = [dataclasses.replace(arm, original=arm.name == "gan") for arm in flipping.design.arms]
    design = dataclasses.replace(flipping.design, arms=tuple(arms))
    facts = dataclasses.replace(flipping, design=design)
    flips, only = selection.runner_up_sentences(facts, selection.runners_up_table(facts))
    assert flips == []
    assert only.startswith("At 10 %, 25 %")


def test_arms_that_are_validated_on_unlike_images_are_not_compared(flipping):
    design = dataclasses.replace(flipping.design, unlike_validation=True)
    facts = dataclasses.replace(flipping, design=design)
    flips, only = selection.runner_up_sentences(facts, selection.runners_up_table(facts))
    assert flips == []
    assert "cannot be compared" in only


def test_a_cell_that_is_still_searching_has_no_runner_up_yet(flipping):
    trials = flipping.trials.copy()
    here = trials.index[(trials.stage == "grid") & (trials.arm == "gan")][:1]
    trials.loc[here, "status"] = "waiting"
    facts = dataclasses.replace(flipping, trials=trials)
    table = selection.runners_up_table(facts)
    assert len(table) == 19
    assert len(selection.expected_best_table(facts)) == 19 * 18
    assert selection.runner_up_sentences(facts, table)[0] == []


def test_the_expected_best_of_fewer_configurations_counts_what_was_lost_as_the_worst(facts):
    facts = score(facts, lambda regimen, arm, place: 0.5 + 0.01 * place)
    trials = facts.trials.copy()
    here = trials.index[(trials.stage == "grid") & (trials.arm == "gan") & (trials.regimen == 1.0)]
    trials.loc[here[-1], ["status", "validation"]] = ["diverged", np.nan]
    table = selection.expected_best_table(dataclasses.replace(facts, trials=trials))
    whole = table[(table.regimen == 1.0) & (table.arm == "none")].set_index("tried").expected_best
    # Of 18 evenly spaced scores the best of m is expected at place 19 m / (m + 1), from one.
    assert whole[1] == pytest.approx(0.5 + 0.01 * 8.5)
    assert whole[5] == pytest.approx(0.5 + 0.01 * (19 * 5 / 6 - 1))
    assert whole[18] == pytest.approx(0.67)
    lost = table[(table.regimen == 1.0) & (table.arm == "gan")].set_index("tried").expected_best
    assert lost[1] == pytest.approx(0.5 + 0.01 * (sum(range(17)) / 18))
    assert lost[18] == pytest.approx(0.66)
    cell = selection.runners_up_table(dataclasses.replace(facts, trials=trials))
    assert cell[(cell.regimen == 1.0) & (cell.arm == "gan")].iloc[0].lost == 1


def test_what_was_stopped_early_counts_as_what_it_had_reached_and_cannot_be_chosen(fabricate):
    facts = fabricate.stop_early(fabricate.study(regimens=(1.0,)))
    table = selection.runners_up_table(facts)
    assert set(table.candidates) == {2}
    assert set(table.lost) == {16}
    states = selection.candidates(facts)
    assert set(states[states.state == "stopped"].groupby("arm").size()) == {16}
    assert states.value.notna().all()


def test_the_figure_has_a_line_for_each_arm_at_the_smallest_and_largest_regimen(facts):
    table = selection.expected_best_table(facts)
    panels = selection_figure.expected_best_panels(facts, table)
    assert [panel.slug for panel in panels] == ["expected-best-10pct", "expected-best-100pct"]
    (axes,) = panels[0].figure.axes
    lines = [line for line in axes.lines if len(line.get_xdata()) == 18]
    assert len(lines) == 5
    mine = table[(table.regimen == 0.1) & (table.arm == "none")]
    assert lines[0].get_ydata().tolist() == pytest.approx(mine.expected_best.tolist())
    assert selection_figure.expected_best_panels(facts, table[table.tried < 3]) == []


def test_optimism_of_a_grid_on_one_of_several_draws_has_no_interval(facts):
    """What is special about the first draw is in the gaps of all cells and training sets."""
    found = selection.optimism(facts, tables.configurations_table(facts))
    assert found.interval is None
    assert "the grid ran on the first draw alone" in selection.optimism_text(found)


def test_optimism_has_an_interval_over_training_sets(facts):
    facts = dataclasses.replace(facts, design=dataclasses.replace(facts.design, draws=1))
    table = tables.configurations_table(facts)
    found = selection.optimism(facts, table)
    chosen = table[table.chosen > 0]
    gaps = (chosen.score - chosen.replicate_score).groupby(chosen.regimen).mean()
    low, high = stats.t.interval(0.95, 3, gaps.mean(), stats.sem(gaps))
    assert found.mean == pytest.approx(gaps.mean())
    assert (found.interval.low, found.interval.high) == pytest.approx((low, high))
    text = selection.optimism_text(found)
    assert "higher in the grid than in fresh replicates, on average over 20 cells (95 %" in text
    assert text.endswith("over 4 training sets)")


def test_with_few_training_sets_the_interval_is_over_cells(fabricate):
    facts = fabricate.study(draws=1, **fabricate.SMALL)
    found = selection.optimism(facts, tables.configurations_table(facts))
    assert (found.unit, found.interval.df) == ("2 cells", 1)
    other = fabricate.study(protocol="full_grid", **fabricate.SMALL)
    assert selection.optimism(other, tables.configurations_table(other)) is None
    assert selection.optimism_text(None) == ""


def test_the_yardstick_is_the_best_of_equals_times_the_spread_of_seeds(facts):
    done = facts.trials[(facts.trials.stage == "replicate") & (facts.trials.status == "done")]
    squares, df = 0.0, 0
    for _, mine in done.groupby("regimen"):
        fit = smf.ols("validation ~ C(arm) + C(replicate)", mine).fit()
        squares, df = squares + fit.ssr, df + fit.df_resid
    spread = math.sqrt(squares / df)
    assert selection.seed_spread(facts) == pytest.approx(spread)
    text = selection.yardstick_text(facts)
    assert f"by {1.82003 * spread:.3f}: 1.82 times {spread:.3f}" in text
    averaged = dataclasses.replace(facts.design, protocol="full_grid")
    text = selection.yardstick_text(dataclasses.replace(facts, design=averaged))
    assert f"by {expected_maximum(18) * spread / math.sqrt(6):.3f}: " in text
    assert "the mean of 6 trainings' validation scores" in text


def whole_grid(facts, protocol, noise=0.02, quality=0.03):
    """Give every replicate a grid of its own, whose points differ in quality."""
    random = np.random.default_rng(5)
    grid = facts.trials[facts.trials.stage == "grid"]
    values = random.normal(0.7, quality, len(grid))
    parts = [
        grid.assign(
            replicate=replicate,
            draw=replicate % facts.design.draws,
            validation=values + random.normal(0, noise, len(grid)),
            trial_id=[f"{id_}-{replicate}" for id_ in grid.trial_id],
        )
        for replicate in range(facts.design.replicates)
    ]
    others = facts.trials[facts.trials.stage == "replicate"]
    trials = pd.concat([*parts, others], ignore_index=True)
    scores = pd.DataFrame(np.nan, index=trials.index, columns=facts.class_scores.columns)
    scores.iloc[-len(others) :] = facts.class_scores.loc[others.index].to_numpy()
    design = dataclasses.replace(facts.design, protocol=protocol)
    return dataclasses.replace(facts, trials=trials, class_scores=scores, design=design)


def test_own_choices_widen_the_spread_by_what_the_records_say(facts):
    found = whole_grid(facts, "full_grid")
    table = selection.retuning_table(found)
    assert len(table) == 20
    assert set(table.replicates) == {6}
    assert (table.choices >= 1).all()
    factor = math.sqrt(1 + (table.added_sd**2).sum() / (table.fixed_sd**2).sum())
    assert factor > 1.05
    text = selection.retuning_text(found, table)
    assert f"{factor:.2f} times as widely as one choice for all, which no interval here" in text
    assert f"{table.choices.mean():.1f} different configurations in a cell" in text
    own = selection.retuning_text(whole_grid(facts, "retune"), table)
    assert "which the intervals hold: 6 replicates choose" in own


def test_where_one_configuration_is_far_the_best_own_choices_add_nothing(facts):
    table = selection.retuning_table(whole_grid(facts, "retune", noise=1e-6, quality=0.1))
    assert set(table.choices) == {1}
    assert set(table.factor) == {1.0}


def test_a_grid_that_ran_once_cannot_tell_what_retuning_would_do(facts):
    table = selection.retuning_table(facts)
    assert table.empty
    text = selection.retuning_text(facts, table)
    assert "cannot be known from a grid that was run once; protocol.kind=retune" in text


def test_captions_say_whether_intervals_hold_the_choice(fabricate):
    for protocol in ("grid_once", "full_grid"):
        text = selection.conditional_text(fabricate.design(protocol=protocol))
        assert text.startswith("Intervals are conditional on the chosen configurations")
    assert "is in the intervals" in selection.conditional_text(fabricate.design(protocol="retune"))
    assert selection.conditional_text(fabricate.design(configurations=1)) == ""


def test_classes_that_choose_for_themselves_have_no_common_runner_up(fabricate):
    facts = fabricate.study(select_over="per_class", **fabricate.SMALL)
    assert selection.selection_tables(facts) == {}
    assert selection.yardstick_text(facts) == selection.retuning_text(facts, pd.DataFrame()) == ""


@pytest.mark.parametrize("protocol", ["grid_once", "retune"])
def test_the_page_tells_what_hangs_on_the_choice(fabricate, tmp_path, protocol):
    facts = fabricate.study(**fabricate.SMALL)
    facts = facts if protocol == "grid_once" else whole_grid(facts, protocol)
    page = write_page(facts, tmp_path).read_text("utf-8")
    assert "What hangs on the choice" in page
    assert "Were all 18 equally good" in page
    assert ("protocol.kind=retune" in page) == (protocol == "grid_once")
    assert ("times as widely" in page) == (protocol == "retune")
    found = {path.name for path in (tmp_path / "tables").iterdir()}
    assert {"runners-up.csv", "expected-best.csv"} <= found
    assert ("retuning.csv" in found) == (protocol == "retune")
    assert (tmp_path / "figures" / "expected-best-100pct.svg").exists()
