"""Intervals that hold the test set too, and the floor in words."""

import dataclasses
import math

import numpy as np
import pytest
from scipy import stats

from synthtrial.report import inference
from synthtrial.report.held_out import ADDED, floor_sentence, with_test_set


@pytest.fixture(scope="module")
def sure(fabricate):
    return fabricate.with_test_errors(fabricate.study(draws=6))


def cell(table, **where):
    for column, value in where.items():
        table = table[table[column] == value]
    assert len(table) == 1
    return table.iloc[0]


def test_the_interval_of_both_sources_is_wider_and_names_them(sure):
    plain = inference.differences_table(sure)
    table = with_test_set(sure, plain)
    assert table[list(plain.columns)].equals(plain)
    assert (table.both_low < table.low).all()
    assert (table.both_high > table.high).all()
    assert set(table.both_holds) == {"draw, seed and test set"}
    found = cell(table, regimen=0.5, arm="gan", scope="minority")
    shared = 0.012 / math.sqrt(0.2) * 1.5
    error = math.hypot(found.standard_error, shared)
    df = error**4 / (found.standard_error**4 / found.df + shared**4 / 89)
    half = stats.t.ppf(0.975, df) * error
    assert (found.shared_error, found.test_error) == pytest.approx((shared, 1.3 * shared))
    assert (found.both_error, found.both_df) == pytest.approx((error, df))
    assert (found.both_low, found.both_high) == pytest.approx(
        (found.difference - half, found.difference + half)
    )
    assert found.floor == pytest.approx(2 * stats.norm.ppf(0.975) * shared)
    assert found.both_high - found.both_low > found.floor
    assert (found.test_images, found.test_groups) == (90, 90)


def test_with_one_draw_it_holds_the_seed_and_the_test_set(fabricate):
    facts = fabricate.with_test_errors(fabricate.study(draws=1))
    table = with_test_set(facts, inference.differences_table(facts))
    assert set(table.both_holds) == {"seed and test set"}


def test_where_the_test_set_s_part_is_unknown_nothing_is_claimed(sure, fabricate):
    some = sure.test_errors[sure.test_errors.arm != "gan"]
    facts = dataclasses.replace(sure, test_errors=some)
    table = with_test_set(facts, inference.differences_table(facts))
    gone = table[table.arm == "gan"]
    assert gone[["test_error", "both_low", "floor"]].isna().all(axis=None)
    assert set(gone.both_holds) == {""}
    assert table[table.arm != "gan"].both_low.notna().all()
    nobody = fabricate.study()
    assert with_test_set(nobody, inference.differences_table(nobody)).both_low.isna().all()
    assert floor_sentence(nobody, "overall") == ""


def test_one_replicate_has_no_interval_and_no_floor(fabricate):
    facts = fabricate.with_test_errors(fabricate.study(draws=1, replicates=1))
    table = with_test_set(facts, inference.differences_table(facts))
    assert table.test_error.notna().all()
    assert table[["both_low", "both_error", "floor"]].isna().all(axis=None)
    assert set(table.both_holds) == {""}
    assert floor_sentence(facts, "minority") == ""


def test_no_differences_still_have_the_columns(sure):
    none = inference.differences_table(sure).iloc[:0]
    assert set(ADDED) <= set(with_test_set(sure, none).columns)


def test_the_floor_is_told_with_what_it_rests_on(sure):
    assert floor_sentence(sure, "minority") == (
        "However many seeds: with this test set (90 images that count here, each by itself, as the "
        "data name no groups) an interval of a difference in recall on 8 and 9 that holds for "
        "other test sets too cannot be narrower than about ±0.100 for oversample_matched at 10 %, "
        "and ±0.053 for standard at 100 %."
    )
    assert "(45 images" in floor_sentence(sure, "class", "8")
    assert "difference in recall on 8 that" in floor_sentence(sure, "class", "8")


def test_groups_are_counted_where_there_are_any(fabricate):
    facts = fabricate.study(regimens=(1.0,), arms=fabricate.design().arms[:2])
    grouped = fabricate.with_test_errors(facts, method="DeLong by group", images=1200)
    assert floor_sentence(grouped, "overall") == (
        "However many seeds: with this test set (1,200 images that count here, in 1,200 groups) an "
        "interval of a difference in accuracy over all classes that holds for other test sets too "
        "cannot be narrower than about ±0.024 for standard."
    )


def test_differences_that_show_no_floor_are_counted_and_not_called_zero(sure):
    table = sure.test_errors.copy()
    table.loc[(table.arm == "standard") & (table.regimen == 1.0), "shared_error"] = 0.0
    text = floor_sentence(dataclasses.replace(sure, test_errors=table), "minority")
    assert "and ±0.053 for gan at 100 %; for 1 of 16 differences no floor shows yet." in text


def test_where_replicates_share_no_error_no_floor_is_claimed(fabricate):
    facts = fabricate.with_test_errors(fabricate.study(), shared=0.0)
    assert "sets no floor that these replicates could show" in floor_sentence(facts, "overall")
    table = with_test_set(facts, inference.differences_table(facts))
    width = table.both_high - table.both_low
    np.testing.assert_allclose(width, table.high - table.low, rtol=1e-9)
