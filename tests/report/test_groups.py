"""Tables from groups of scores, beside plain pandas, on fifty thousand trials."""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
import pytest

from synthtrial.report import inference, tables
from synthtrial.report.columns import TRIAL_COLUMNS
from synthtrial.report.facts import Facts
from synthtrial.report.groups import by_column, by_target
from synthtrial.stats.blocks import Labels, block_table, fit_blocks

KEYS = ["regimen", "arm", "scope", "class_name"]
REPLICATES = 2500  # of 5 arms and 4 regimens


@pytest.fixture(scope="module", params=[1, 3, REPLICATES], ids="{} draws".format)
def facts(request, fabricate):
    """Fifty thousand trials in no order, some of them not done, some scores undefined."""
    plan = fabricate.design(replicates=REPLICATES, draws=request.param)
    random = np.random.default_rng(request.param)
    place = [plan.regimens, plan.arm_names, range(REPLICATES)]
    index = pd.MultiIndex.from_product(place, names=["regimen", "arm", "replicate"])
    trials = index.to_frame(index=False).sample(frac=1, random_state=0, ignore_index=True)
    trials = trials.reindex(columns=list(TRIAL_COLUMNS))
    trials["stage"] = "replicate"
    trials["draw"] = trials.replicate % plan.draws
    states, odds = ["done", "diverged", "failed", "waiting"], [0.96, 0.02, 0.015, 0.005]
    trials["status"] = random.choice(states, len(trials), p=odds)
    trials["overall"] = random.normal(0.5, 0.1, len(trials)).round(3)
    for name in ("trial_id", "configuration", "message", "code_digest", "stamps"):
        trials[name] = ""
    scores = random.normal(0.5, 0.1, (len(trials), len(plan.classes)))
    scores[random.random(scores.shape) < 0.01] = np.nan
    scores = pd.DataFrame(scores, columns=list(plan.classes), index=trials.index)
    return Facts(plan, trials.astype(TRIAL_COLUMNS), scores)


def complete_of(facts):
    """The trials that are reported, by plain pandas."""
    ended = facts.trials[facts.trials.status != "waiting"]
    whole = ended.groupby(["regimen", "replicate"]).arm.transform("nunique") == 5
    mine = ended[whole & (ended.status == "done")]
    assert 30_000 < len(mine) < len(ended)
    return mine


def plain(facts):
    """One row a score, by plain pandas."""
    mine = complete_of(facts)
    scores = facts.class_scores.loc[mine.index]
    wide = mine[["regimen", "arm", "draw", "replicate"]].assign(
        overall=mine.overall, minority=scores[["8", "9"]].mean(axis=1), **scores
    )
    keys = ["regimen", "arm", "draw", "replicate"]
    long = wide.melt(id_vars=keys, var_name="target").dropna()
    single = long.target.isin(list(facts.design.classes))
    long["scope"] = np.where(single, "class", long.target)
    long["class_name"] = np.where(single, long.target, "")
    return long


def test_the_reported_trials_are_those_of_complete_blocks(facts):
    assert tables.reported_trials(facts).index.equals(complete_of(facts).index)


def test_means_are_those_of_a_plain_groupby(facts):
    found = tables.results_table(facts, tables.grouped_results(facts)).set_index(KEYS).sort_index()
    long = plain(facts)
    block = "draw" if facts.design.draws > 1 else "replicate"
    np.testing.assert_array_equal(found.n, long.groupby(KEYS).size())
    blocks = long.groupby([*KEYS, block]).value.mean().rename("value").reset_index()
    cells = blocks.groupby(KEYS).value
    expected = cells.agg(["mean", "size"])
    assert found.index.equals(expected.index)
    np.testing.assert_allclose(found["mean"], expected["mean"], rtol=1e-12)
    np.testing.assert_array_equal(found.blocks, expected["size"])
    blocks["square"] = (blocks.value - cells.transform("mean")) ** 2
    targets = ["regimen", "scope", "class_name"]
    squares = blocks.groupby(targets).square.sum()
    df = blocks.groupby(targets).size() - len(facts.design.arms)
    place = pd.MultiIndex.from_frame(found.reset_index()[targets])
    most = df.reindex(place).to_numpy()
    if block == "draw":  # arms that share draws have fewer, and never less than one of them
        least = most // len(facts.design.arms)
        assert ((least <= found.df) & (found.df <= most)).all()
        assert (found.df < most).any()
    else:
        np.testing.assert_array_equal(found.df, most)
    pooled = np.sqrt(squares / df).reindex(place)
    np.testing.assert_allclose(found.pooled_sd, pooled, rtol=1e-12)


def test_differences_are_those_of_a_plain_pivot(facts):
    from scipy import stats

    found = inference.differences_table(facts, tables.grouped_results(facts))
    found = found.set_index(["regimen", "scope", "class_name", "arm"])
    assert len(found) == 4 * 12 * 4
    block = "draw" if facts.design.draws > 1 else "replicate"
    for place, part in plain(facts).groupby(["regimen", "scope", "class_name"]):
        wide = part.pivot_table(index=block, columns="arm", values="value")
        for arm in ("gan", "standard"):
            mine, delta = found.loc[(*place, arm)], (wide[arm] - wide["none"]).dropna()
            assert mine.difference == pytest.approx(delta.mean(), rel=1e-9, abs=1e-12)
            assert (mine.blocks, mine.unit) == (len(delta), block)
            if mine.spread == "own":
                interval = stats.ttest_1samp(delta, 0.0).confidence_interval(0.95)
                assert (mine.low, mine.high) == pytest.approx((interval.low, interval.high))


def test_one_row_a_score_and_scores_beside_trials_give_the_same_tables(facts):
    results, groups = tables.long_results(facts), tables.grouped_results(facts)
    assert len(results) == sum(group.value_N.size for group in groups)
    for table in (tables.results_table, inference.differences_table):
        pd.testing.assert_frame_equal(table(facts, results), table(facts, groups))
        pd.testing.assert_frame_equal(table(facts), table(facts, groups))


def scores(group):
    """Return arm and score of each trial, in their order."""
    return list(zip(group.arms.names[group.arms.codes], group.value_N, strict=True))


def test_groups_come_as_they_appear_and_keep_the_order_of_trials():
    results = pd.DataFrame(
        [
            (1.0, "b", 2, "overall", "", 0.1, "accuracy"),
            (0.5, "a", 1, "overall", "", 0.2, "accuracy"),
            (1.0, "a", 1, "class", "x", 0.3, "recall"),
            (1.0, "a", 2, "overall", "", 0.4, "accuracy"),
            (1.0, "b", 1, "overall", "", 0.5, "accuracy"),
        ],
        columns=["regimen", "arm", "draw", "scope", "class_name", "value", "metric"],
    ).assign(replicate=[3, 4, 5, 6, 7])
    first, second, third = by_target(results)
    assert first.place == {
        "regimen": 1.0,
        "scope": "overall",
        "class_name": "",
        "metric": "accuracy",
    }
    assert (second.regimen, third.class_name, third.metric) == (0.5, "x", "recall")
    assert scores(first) == [("a", 0.4), ("b", 0.1), ("b", 0.5)]
    assert first.sizes == {"a": 1, "b": 2}
    assert scores(second) == [("a", 0.2)]
    assert first.draws.names[first.draws.codes].tolist() == [2, 2, 1]
    assert first.replicates.names[first.replicates.codes].tolist() == [6, 3, 7]
    kept = np.array([True, False, True, True, True])
    columns = [
        ("s", "", "m", results.value.to_numpy()),
        ("s", "none", "m", np.full(5, np.nan)),
        ("s", "some", "m", np.array([np.nan, 1.0, np.nan, np.nan, 2.0])),
    ]
    group, other = by_column(results, kept, columns)
    assert scores(group) == [("a", 0.3), ("a", 0.4), ("b", 0.1), ("b", 0.5)]
    assert scores(other) == [("b", 2.0)]


def test_a_study_without_results_has_no_groups(facts):
    nothing = dataclasses.replace(
        facts, trials=facts.trials.iloc[:0], class_scores=facts.class_scores.iloc[:0]
    )
    assert tables.grouped_results(nothing) == []
    assert list(by_target(tables.long_results(nothing))) == []


def test_numbered_labels_are_what_texts_are():
    random = np.random.default_rng(0)
    arms = random.choice(["gan", "none", "weights"], 200)
    draws = random.choice([0, 1, 5], 200)
    values = random.normal(size=200)
    codes = Labels(
        np.array(["absent", "gan", "none", "weights"]),
        np.searchsorted(["absent", "gan", "none", "weights"], arms),
    )
    places = Labels(np.array([0, 1, 5, 9]), np.searchsorted([0, 1, 5, 9], draws))
    texts = (values, arms.tolist(), draws.tolist())
    one, other = fit_blocks(*texts), fit_blocks(values, codes, places)
    assert (one.arms, one.df, one.n_blocks) == (other.arms, other.df, other.n_blocks)
    assert one.contrast("gan", "none") == other.contrast("gan", "none")
    order, replicates = ("none", "gan", "weights", "more"), list(range(200))
    plain_table = block_table(*texts, replicates, order)
    coded = block_table(values, codes, places, replicates, order)
    assert plain_table.blocks.tolist() == coded.blocks.tolist() == [0, 1, 5]
    np.testing.assert_array_equal(plain_table.values_BA, coded.values_BA)
    expected = pd.DataFrame({"arm": arms, "draw": draws, "value": values})
    expected = expected.pivot_table(index="draw", columns="arm", values="value")
    np.testing.assert_allclose(coded.values_BA[:, :3], expected[list(order[:3])], rtol=1e-12)
    assert np.isnan(coded.values_BA[:, 3]).all()
