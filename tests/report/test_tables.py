"""Which trials are reported, and what the tables say of them."""

import dataclasses

import numpy as np
import pytest
from scipy import stats

from synthtrial.report import inference, tables


def cell(table, **where):
    for column, value in where.items():
        table = table[table[column] == value]
    assert len(table) == 1
    return table.iloc[0]


def test_a_cell_is_mean_and_pooled_interval_of_its_replicates(facts):
    results = tables.long_results(facts)
    found = cell(
        tables.results_table(facts, results), regimen=0.1, arm="gan", scope="class", class_name="8"
    )
    mine = results[(results.regimen == 0.1) & (results.class_name == "8")]
    draws = mine.groupby(["arm", "draw"]).value.mean()  # replicates of a draw share its generator
    groups = [part.to_numpy() for _, part in draws.groupby("arm")]
    mse = sum(((g - g.mean()) ** 2).sum() for g in groups) / sum(len(g) - 1 for g in groups)
    gan = mine[mine.arm == "gan"].value
    wide = draws.unstack("arm").to_numpy()
    spreads = np.linalg.eigvalsh(np.cov(wide.T))  # arms share draws: Satterthwaite's weights
    df = int(2 * spreads.sum() ** 2 / (spreads**2).sum())
    half = stats.t.ppf(0.975, df) * np.sqrt(mse / 3)
    assert (found["n"], found.blocks, found.df) == (6, 3, df)
    assert found["mean"] == pytest.approx(gan.mean())
    assert found.half_width == pytest.approx(half)
    assert found.metric == "recall"


def test_arms_on_one_draw_pool_all_their_replicates_as_the_post_does(fabricate):
    found = tables.results_table(fabricate.study(draws=1, replicates=3, regimens=(1.0,)))
    assert set(found.df) == {10}, "5 arms of 3 replicates"


def test_differences_are_blocked_by_draw(facts):
    from statsmodels.formula.api import ols

    results = tables.long_results(facts)
    apart = inference.differences_table(facts, results)
    found = cell(apart, regimen=0.5, arm="standard", scope="minority")
    mine = results[(results.regimen == 0.5) & (results.scope == "minority")]
    means = mine.groupby(["arm", "draw"]).value.mean().reset_index()
    steady = means[means.arm != "gan"]  # generators add a spread of their own
    golden = ols("value ~ C(arm, Treatment('none')) + C(draw)", steady).fit()
    name = "C(arm, Treatment('none'))[T.standard]"
    low, high = golden.conf_int().loc[name]
    assert found.difference == pytest.approx(golden.params[name])
    assert (found.low, found.high) == (pytest.approx(low), pytest.approx(high))
    assert (found.df, found.blocks, found.varies_with) == (6, 3, "draw and seed")
    gan = cell(apart, regimen=0.5, arm="gan", scope="minority")
    wide = means.pivot(index="draw", columns="arm", values="value")
    paired = stats.ttest_rel(wide.gan, wide.none)
    assert (gan.df, gan.p_value) == (2, pytest.approx(paired.pvalue))


def test_with_one_draw_the_difference_holds_seeds_only(fabricate):
    found = inference.differences_table(fabricate.study(draws=1))
    assert set(found.varies_with) == {"seed"}
    assert set(found.unit) == {"replicate"}
    assert set(found.df) == {5}  # six seeds, each difference with a spread of its own


def test_one_replicate_gives_means_without_intervals(fabricate):
    facts = fabricate.study(draws=1, replicates=1)
    table = tables.results_table(facts)
    assert len(table)
    assert table.low.isna().all()
    assert set(table["n"]) == {1}
    assert inference.differences_table(facts).low.isna().all()


def test_every_regimen_and_target_has_a_best_arm(facts):
    table = tables.results_table(facts)
    for _, group in table.groupby(["regimen", "scope", "class_name"]):
        best = group[group.best]
        assert len(best) >= 1
        assert (best["mean"] == group["mean"].max()).all()


def test_equal_means_are_both_best(fabricate):
    facts = fabricate.study()
    trials = facts.trials.assign(
        overall=facts.trials.overall.where(facts.trials.overall.isna(), 0.5)
    )
    table = tables.results_table(dataclasses.replace(facts, trials=trials))
    assert table[table.scope == "overall"].best.all()


def test_an_unfinished_study_reports_complete_blocks_only(fabricate):
    facts = fabricate.study(finished=0.6)
    blocks = tables.blocks_table(facts)
    assert 0 < blocks.complete.sum() < len(blocks)
    counts = (
        tables.long_results(facts).query("scope == 'overall'").groupby(["regimen", "arm"]).size()
    )
    assert counts.nunique() == 1, "no arm is ahead of the others"
    assert counts.iloc[0] == blocks.groupby("regimen").complete.sum().iloc[0]
    assert set(tables.results_table(facts).stamps) == {"GROUPS UNKNOWN,PROVISIONAL"}
    assert tables.study_stamps(facts) == ["GROUPS UNKNOWN", "PROVISIONAL"]


def test_a_diverged_trial_leaves_its_block_complete_and_is_listed_as_a_rate(fabricate):
    facts = fabricate.study()
    trials = facts.trials.copy()
    here = trials.index[(trials.arm == "gan") & (trials.regimen == 1) & (trials.replicate == 0)][0]
    trials.loc[here, ["status", "message", "overall"]] = ["diverged", "loss became nan", np.nan]
    facts = dataclasses.replace(facts, trials=trials)
    assert tables.blocks_table(facts).complete.all()
    assert facts.finished
    table = tables.results_table(facts)
    assert cell(table, regimen=1.0, arm="gan", scope="overall")["n"] == 5
    assert cell(table, regimen=1.0, arm="none", scope="overall")["n"] == 6
    failure = cell(tables.failures_table(facts), regimen=1.0, arm="gan", stage="replicate")
    assert (failure.diverged, failure.planned) == (1, 6)
    assert failure.diverged_rate == pytest.approx(1 / 6)
    assert failure.message == "loss became nan"
    assert not inference.differences_table(facts).empty


def test_an_undefined_class_score_is_left_out(fabricate):
    facts = fabricate.study()
    scores = facts.class_scores.copy()
    first = facts.trials.index[(facts.trials.stage == "replicate")][0]
    scores.loc[first, "8"] = np.nan
    table = tables.results_table(dataclasses.replace(facts, class_scores=scores))
    trial = facts.trials.loc[first]
    mine = {"regimen": trial.regimen, "arm": trial.arm, "scope": "class"}
    assert cell(table, class_name="8", **mine)["n"] == 5
    assert cell(table, class_name="9", **mine)["n"] == 6


def test_trials_of_two_versions_are_stamped_mixed_code(fabricate):
    facts = fabricate.study()
    trials = facts.trials.copy()
    mine = (trials.stage == "replicate") & (trials.regimen == 0.1) & (trials.replicate == 3)
    trials.loc[mine, "code_digest"] = "other"
    facts = dataclasses.replace(facts, trials=trials)
    stamps = tables.cell_stamps(facts)
    assert "MIXED CODE" in stamps["none", 0.1]
    assert "MIXED CODE" not in stamps["none", 0.5]
    assert "MIXED CODE" in tables.study_stamps(facts)


def test_stamps_of_records_reach_their_cells_and_every_comparison_with_them(fabricate):
    facts = fabricate.study(groups_known=True)
    trials = facts.trials.copy()
    trials.loc[(trials.arm == "gan") & (trials.regimen == 0.5), "stamps"] = "PRIVILEGED,LEAKY"
    facts = dataclasses.replace(facts, trials=trials)
    table = tables.results_table(facts)
    assert set(table[(table.arm == "gan") & (table.regimen == 0.5)].stamps) == {"LEAKY,PRIVILEGED"}
    assert set(table[table.arm == "none"].stamps) == {""}
    differences = inference.differences_table(facts)
    assert set(differences[differences.stamps != ""].arm) == {"gan"}


def test_the_order_of_the_classes_changes_no_number(fabricate):
    facts = fabricate.study()
    design = dataclasses.replace(facts.design, classes=facts.design.classes[::-1])
    permuted = dataclasses.replace(facts, design=design)
    keys = ["regimen", "arm", "scope", "class_name"]
    one = tables.results_table(facts).sort_values(keys).reset_index(drop=True)
    two = tables.results_table(permuted).sort_values(keys).reset_index(drop=True)
    assert one.equals(two)


def test_the_chosen_configuration_is_shown_with_its_fresh_replicates(facts):
    table = tables.configurations_table(facts)
    chosen = table[table.chosen > 0]
    assert len(table) == 18 * 20
    assert len(chosen) == 20
    assert chosen.replicate_score.notna().all()
    best = table.groupby(["regimen", "arm"]).score.max()
    assert (chosen.set_index(["regimen", "arm"]).score.sort_index() == best.sort_index()).all()


def test_allocations_are_averaged_over_draws_with_their_range(facts):
    row = cell(
        tables.synthetic_summary(facts), regimen=1.0, class_name="8", arms="gan, oversample_matched"
    )
    assert (row.real, row.added, bool(row.chosen)) == (18, 100, True)
    assert row.realised_low - 1e-9 <= row.realised <= row.realised_high + 1e-9


def test_ten_thousand_trials_become_tables(fabricate):
    facts = fabricate.study(replicates=482, draws=482)
    assert len(facts.trials) == 10_000
    results = tables.long_results(facts)
    assert set(tables.results_table(facts, results)["n"]) == {482}
    assert set(inference.differences_table(facts, results).df) == {481}


def test_a_study_without_any_trial_gives_empty_tables(fabricate):
    facts = fabricate.study(finished=0.0)
    assert tables.long_results(facts).empty
    assert tables.results_table(facts).empty
    assert inference.differences_table(facts).empty
    assert tables.curves_table(facts).empty
