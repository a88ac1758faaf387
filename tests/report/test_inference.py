"""Declared questions by themselves, everything else corrected for its number."""

import dataclasses

import numpy as np
import pytest
from scipy import stats

from synthtrial.report import inference, tables
from synthtrial.report.facts import Primary

PRIMARY = Primary("gan", "minority", "", (0.1, 0.25, 0.5, 1.0))


@pytest.fixture(scope="module")
def facts(fabricate):
    return fabricate.study(draws=8, replicates=8, noise=0.06, primary=PRIMARY, margin=0.02)


@pytest.fixture(scope="module")
def table(facts):
    return inference.differences_table(facts)


def scores(facts, arm, regimen, scope="minority", name=""):
    results = tables.long_results(facts)
    mine = results[(results.arm == arm) & (results.regimen == regimen) & (results.scope == scope)]
    return mine[mine.class_name == name].sort_values("replicate").value.to_numpy()


def test_the_primary_question_is_a_paired_t_test_corrected_by_holm(facts, table):
    mine = table[table.role == inference.PRIMARY].set_index("regimen")
    assert list(mine.index) == [0.1, 0.25, 0.5, 1.0]
    assert set(zip(mine.arm, mine.scope, strict=True)) == {("gan", "minority")}
    p = {r: stats.ttest_rel(scores(facts, "gan", r), scores(facts, "none", r)) for r in mine.index}
    for regimen, test in p.items():
        assert mine.p_value[regimen] == pytest.approx(test.pvalue)
        interval = test.confidence_interval(1 - 0.05 / 4)
        assert mine.joint_low[regimen] == pytest.approx(interval.low)
    from statsmodels.stats.multitest import multipletests

    order = list(p)
    holm = multipletests([p[r].pvalue for r in order], method="holm")[1]
    assert mine.p_holm[order].to_numpy() == pytest.approx(holm)


def test_everything_else_is_exploratory_and_a_family_of_its_regimen_and_class(table):
    rest = table[table.role == inference.EXPLORATORY]
    assert {"standard", "class_weights"} <= set(rest[rest.scope == "minority"].arm)
    assert (rest.p_adjusted >= rest.p_value - 1e-12).all()
    known = rest.p_holm.notna()
    assert (rest.p_holm[known] >= rest.p_adjusted[known] - 1e-12).all()
    classes = rest[(rest.scope == "class") & known]
    assert set(classes.class_name) == {"8", "9"}  # others are in files only, and not corrected


def test_arms_outside_the_family_are_compared_alone(facts):
    design = dataclasses.replace(facts.design, family=("gan", "class_weights"))
    found = inference.differences_table(dataclasses.replace(facts, design=design))
    mine = found[(found.scope == "overall") & (found.regimen == 0.1)].set_index("arm")
    assert mine.p_adjusted["standard"] == mine.p_value["standard"]
    assert mine.p_adjusted["gan"] > mine.p_value["gan"]


def test_what_is_surely_below_the_margin_is_equal_and_what_is_wide_is_unclear(facts):
    for margin, outcome in ((1.0, inference.EQUAL), (1e-6, inference.UNCLEAR)):
        design = dataclasses.replace(facts.design, margin=margin)
        found = inference.differences_table(dataclasses.replace(facts, design=design))
        standard = found[(found.arm == "standard") & (found.regimen == 0.1)]
        assert set(standard[standard.scope == "overall"].outcome) == {outcome}


def test_a_rule_of_replication_takes_the_spread_of_the_first_blocks(facts):
    design = dataclasses.replace(facts.design, pilot=5)
    found = inference.differences_table(dataclasses.replace(facts, design=design))
    row = found[(found.role == inference.PRIMARY) & (found.regimen == 0.5)].iloc[0]
    delta = scores(facts, "gan", 0.5) - scores(facts, "none", 0.5)
    error = delta[:5].std(ddof=1) / np.sqrt(8)
    assert row.difference == pytest.approx(delta.mean())
    assert row.standard_error == pytest.approx(error)
    assert row.df == 4
    assert row.low == pytest.approx(delta.mean() - stats.t.ppf(0.975, 4) * error)
    other = found[(found.arm == "class_weights") & (found.regimen == 0.5)]
    assert set(other.df) == {7}


def test_several_replicates_of_a_generator_count_once(fabricate):
    few = fabricate.study(draws=2, replicates=8)
    found = inference.differences_table(few)
    assert set(found.blocks) == {2}
    assert set(found.df) == {4}  # five arms, two draws, one spread for all
    assert set(found.n) == {8}


def test_the_smallest_difference_that_is_found_is_statsmodels_one(table):
    from statsmodels.stats.power import TTestPower

    row = table.iloc[0]
    size = TTestPower().solve_power(nobs=8, power=0.8, alpha=0.05)
    deviation = row.standard_error * np.sqrt(8)
    assert row.detectable == pytest.approx(size * deviation, rel=1e-3)
