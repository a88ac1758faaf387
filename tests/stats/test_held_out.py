"""Errors over test sets, and over seeds and test sets, against simulated truth."""

import math

import numpy as np
import pytest
from scipy import stats

from synthtrial.stats.held_out import combine, floor_width, held_out_error
from synthtrial.stats.influence import auc_influence, grouping, ratio_influence

Z = stats.norm.ppf(0.975)


def test_paired_intervals_of_areas_cover_the_truth():
    """Two classifiers of one test set, in patients of several images; truth from the model."""
    random = np.random.default_rng(0)
    groups = np.repeat(np.arange(120), 3)
    rows = grouping(groups)
    covered = naive = 0
    studies = 600
    # The classes differ by d in one and by e in the other; all scores have variance 1.
    d, e = 1.2, 0.9
    truth = stats.norm.cdf(d / math.sqrt(2)) - stats.norm.cdf(e / math.sqrt(2))
    for _ in range(studies):
        targets = (random.random(120) < 0.4)[groups].astype(float)  # a patient is ill or not
        patient = random.normal(size=(120, 2))[groups]
        shared = random.normal(size=(360, 1))
        own = random.normal(size=(360, 2))
        noise = math.sqrt(0.5) * patient + math.sqrt(0.25) * shared + math.sqrt(0.25) * own
        scores = noise + targets[:, None] * np.array([d, e])
        found = auc_influence(scores, targets[:, None], rows)
        areas = found.estimates_R
        error = math.sqrt(np.array([1, -1]) @ found.covariance() @ np.array([1, -1]))
        covered += abs(areas[0] - areas[1] - truth) < Z * error
        wrong = auc_influence(scores, targets[:, None], grouping(np.arange(360))).covariance()
        error = math.sqrt(np.array([1, -1]) @ wrong @ np.array([1, -1]))
        naive += abs(areas[0] - areas[1] - truth) < Z * error
    assert 0.925 < covered / studies < 0.97
    assert naive / studies < 0.9, "images of a patient are not independent"


def crossed(random, *, rows, seeds, by_seed, by_row, by_both):
    """Differences of two arms, seed by row, whose truth is 0."""
    return (
        by_seed * random.normal(size=(1, seeds))
        + by_row * random.normal(size=(rows, 1))
        + by_both * random.normal(size=(rows, seeds))
    )


def coverage(studies=1500, **model):
    """How often intervals from seeds, from both, and from the cautious sum hold the truth."""
    random = np.random.default_rng(1)
    held = np.zeros(3)
    floors = []
    for _ in range(studies):
        y = crossed(random, **model)
        n = y.shape[1]
        means = y.mean(axis=0)
        seed = float(means.std(ddof=1)) / math.sqrt(n)
        influence = ratio_influence(y, np.ones_like(y), grouping(np.arange(len(y))))
        error = held_out_error(influence.sums_GR)
        floors.append(error.shared**2)
        for place, test in enumerate((0.0, error.shared, error.standard_error)):
            found = combine(float(means.mean()), seed, n - 1, test, error.df)
            held[place] += found.low < 0 < found.high
    return held / studies, float(np.mean(floors))


def test_an_interval_of_both_sources_covers_and_one_of_seeds_does_not():
    model = {"rows": 60, "seeds": 8, "by_seed": 0.1, "by_row": 1.0, "by_both": 1.0}
    (seeds, both, cautious), floor = coverage(**model)
    assert seeds < 0.8
    assert 0.93 < both < 0.97
    assert cautious >= both
    assert floor == pytest.approx(1.0 / 60, rel=0.05), "what rows have in common over all seeds"


def test_where_rows_have_nothing_in_common_the_floor_is_low_and_the_sum_too_wide():
    model = {"rows": 60, "seeds": 8, "by_seed": 0.0, "by_row": 0.0, "by_both": 1.0}
    (seeds, both, cautious), floor = coverage(**model)
    assert seeds == pytest.approx(0.95, abs=0.02)
    assert 0.94 < both < 0.98
    assert cautious > 0.98
    assert floor < 0.2 / (60 * 8), "a tenth of what the rows' mean over seeds would say"


def test_the_shared_part_is_the_covariance_of_different_seeds():
    random = np.random.default_rng(2)
    sums = random.normal(size=(40, 1)) + random.normal(size=(40, 5))
    error = held_out_error(sums)
    products = sums.T @ sums
    others = ~np.eye(5, dtype=bool)
    assert error.shared**2 == pytest.approx(products[others].mean())
    assert error.standard_error**2 == pytest.approx(products.mean())
    assert error.shared < error.standard_error


def test_one_seed_cannot_tell_its_own_noise_from_the_test_set_s():
    error = held_out_error(np.array([[0.1], [-0.1], [0.2], [-0.2]]))
    assert error.shared == error.standard_error == pytest.approx(math.sqrt(0.1))
    assert (error.n, error.df) == (1, 3)


def test_seeds_that_contradict_each_other_share_nothing():
    error = held_out_error(np.array([[0.1, -0.1], [-0.1, 0.1], [0.1, -0.1]]))
    assert (error.standard_error, error.shared) == (0.0, 0.0)
    assert math.isnan(held_out_error(np.full((4, 2), np.nan)).shared)
    assert math.isnan(held_out_error(np.ones((4, 2)), groups=1).standard_error)


def test_degrees_of_freedom_are_those_of_the_groups_that_matter():
    random = np.random.default_rng(3)
    normal = held_out_error(random.normal(size=(4000, 1)))
    assert normal.df == pytest.approx(3999, rel=0.1)
    few = np.zeros((200, 1))
    few[:5] = random.choice([-1.0, 1.0], (5, 1))
    assert 5 < held_out_error(few).df < 15
    assert held_out_error(np.resize([1.0, -1.0], (50, 1))).df == 49


def test_sources_add_in_closed_form():
    found = combine(0.1, 0.03, 9, 0.04)
    assert found.standard_error == pytest.approx(0.05)
    # Satterthwaite: (0.0025)^2 / (0.0009^2 / 9)
    assert found.df == pytest.approx(0.0025**2 / (0.0009**2 / 9))
    half = stats.t.ppf(0.975, found.df) * 0.05
    assert (found.low, found.high) == pytest.approx((0.1 - half, 0.1 + half))
    seeds = combine(0.1, 0.03, 9, 0.0)
    assert seeds.high - 0.1 == pytest.approx(stats.t.ppf(0.975, 9) * 0.03)
    rows = combine(0.1, 0.0, 9, 0.04)
    assert rows.high - rows.low == pytest.approx(floor_width(0.04))
    assert floor_width(0.01, 0.99) == pytest.approx(2 * 2.5758293 * 0.01)


def test_more_seeds_narrow_an_interval_towards_the_floor_and_not_past_it():
    widths = []
    for n in (3, 10, 100, 10_000, 10**8):
        found = combine(0.0, 0.05 / math.sqrt(n), n - 1, 0.02)
        widths.append(found.high - found.low)
    assert widths == sorted(widths, reverse=True)
    assert widths[-1] == pytest.approx(floor_width(0.02), rel=1e-4)
    assert min(widths) >= floor_width(0.02)


@pytest.mark.parametrize(("df", "share"), [(1, 0.95), (2, 0.8), (2, 0.9), (2, 0.3), (4, 0.9)])
def test_few_seeds_that_prevail_do_not_make_an_interval_too_narrow(df, share):
    """Normal estimates whose variances are estimated with so many degrees of freedom and 40."""
    random, studies = np.random.default_rng(5), 4000
    held = satterthwaite = 0
    for _ in range(studies):
        seed = math.sqrt(share * random.chisquare(df) / df)
        test = math.sqrt((1 - share) * random.chisquare(40) / 40)
        found = combine(random.normal(), seed, df, test, 40)
        held += found.low < 0 < found.high
        half = stats.t.ppf(0.975, found.df) * found.standard_error
        satterthwaite += abs(found.estimate) < half
        least = max(stats.t.ppf(0.975, df) * seed, stats.t.ppf(0.975, 40) * test)
        assert found.high - found.estimate == pytest.approx(max(half, least))
    assert 0.94 < held / studies < 0.965
    if df <= 2 and share > 0.5:
        assert satterthwaite / studies < 0.935


@pytest.mark.parametrize("gone", [{"se_seed": math.nan}, {"se_test": math.nan}, {"df_seed": 0}])
def test_with_a_source_unknown_there_is_no_interval(gone):
    known = {"se_seed": 0.03, "df_seed": 9, "se_test": 0.04} | gone
    found = combine(0.1, **known)
    assert found.estimate == 0.1
    assert math.isnan(found.low)
    assert math.isnan(found.standard_error)


def test_a_confidence_that_is_none_is_refused():
    with pytest.raises(ValueError, match="between 0 and 1, got 95"):
        floor_width(0.1, 95)
    with pytest.raises(ValueError, match="between 0 and 1, got 1"):
        combine(0.1, 0.1, 9, 0.1, confidence=1)


def test_two_sources_leave_no_narrower_interval_than_one():
    alone = stats.t.ppf(0.975, 2) * 0.02
    found = combine(0.0, 0.02, 2, 0.02, 200)
    satterthwaite = stats.t.ppf(0.975, found.df) * found.standard_error
    assert satterthwaite < alone, "the sum has more degrees of freedom"
    assert found.high == pytest.approx(alone)
