"""Whether intervals can be trusted: tests of what they assume, and other pairs of arms."""

import dataclasses

import numpy as np
import pytest
from scipy import stats

from synthtrial.report import diagnostics, inference, tables
from synthtrial.report.held_out import with_test_set


def test_diagnostics_are_those_of_scipy(whole, differences):
    results = tables.long_results(whole)
    table = diagnostics.assumptions_table(whole, results, differences)
    mine = results[(results.regimen == 0.1) & (results.scope == "minority")]
    arms = {
        arm: part.sort_values("replicate").value.to_numpy() for arm, part in mine.groupby("arm")
    }
    row = table[(table.regimen == 0.1) & (table.scope == "minority") & (table.arm == "gan")].iloc[0]
    middle = np.mean(list(arms.values()), axis=0)
    within = [values - middle for values in arms.values()]
    assert row.spread_p == pytest.approx(stats.levene(*within, center="median").pvalue)
    welch = stats.ttest_ind(arms["gan"], arms["none"], equal_var=False)
    assert row.welch_p == pytest.approx(welch.pvalue)
    assert row.p_signed_rank == pytest.approx(stats.wilcoxon(arms["gan"] - arms["none"]).pvalue)


def test_all_pairs_of_what_is_judged_first_are_compared(whole):
    table = diagnostics.pairs_table(whole, tables.long_results(whole))
    assert len(table) == 4 * 10
    assert set(table.scope) == {"minority"}
    (first, *_) = diagnostics.pair_sentences(whole, table)
    assert first.startswith("10 %: ")
    assert "gan above standard" in first
    assert "none" not in first, "the findings are about these pairs, and may say another thing"
    families = [table[table.regimen == regimen].p_adjusted for regimen in whole.design.regimens]
    smallest = table.p_adjusted.idxmin()
    assert table.p_holm[smallest] == pytest.approx(min(1.0, 4 * table.p_adjusted[smallest]))
    assert all((table.p_holm[family.index] >= family).all() for family in families)


def test_unlike_spreads_are_said_in_words(fabricate):
    facts = fabricate.study(draws=12, replicates=12, noise=0.05)
    scores = facts.class_scores.copy()
    wild = facts.trials[(facts.trials.arm == "gan") & (facts.trials.stage == "replicate")].index
    scores.loc[wild] += np.random.default_rng(0).normal(0, 0.5, (len(wild), 1))
    facts = dataclasses.replace(facts, class_scores=scores)
    differences = with_test_set(facts, inference.differences_table(facts))
    table = diagnostics.assumptions_table(facts, tables.long_results(facts), differences)
    assert "the arms differ in spread" in " ".join(diagnostics.doubts(facts, table))
