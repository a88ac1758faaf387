import itertools
import math
from fractions import Fraction

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from synthtrial.errors import InfeasibleTargetError
from synthtrial.synthesis.minimum import (
    Demand,
    exact_fraction,
    fewest,
    fewest_by_program,
    largest_target,
)


def points_of_sum(k, total):
    for bars in itertools.combinations(range(total + k - 1), k - 1):
        edges = [-1, *bars, total + k - 1]
        yield tuple(edges[i + 1] - edges[i] - 1 for i in range(k))


def brute_force(demand, at_most):
    """Return the least sum that meets the demand, by trying every point."""
    for total in range(at_most + 1):
        if any(demand.is_met(point) for point in points_of_sum(len(demand.names), total)):
            return total
    return None


def disjoint(counts, n_rows, target):
    k = len(counts)
    identity = tuple(tuple(Fraction(p == q) for p in range(k)) for q in range(k))
    names = tuple(f"c{i}" for i in range(k))
    return Demand(names, tuple(counts), n_rows, identity, exact_fraction(target))


def overlapping(rows, k, target):
    """Build the demand of real label vectors: ``rows`` are sets of class numbers."""
    counts = [sum(q in row for row in rows) for q in range(k)]
    share = tuple(
        tuple(Fraction(sum(p in row and q in row for row in rows), counts[p]) for p in range(k))
        for q in range(k)
    )
    names = tuple(f"c{i}" for i in range(k))
    return Demand(names, tuple(counts), len(rows), share, exact_fraction(target))


targets = st.sampled_from([0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.33, 0.4, 0.45])


@given(counts=st.lists(st.integers(1, 30), min_size=1, max_size=3), others=st.integers(0, 40))
@settings(max_examples=25, deadline=None, derandomize=True)
def test_exclusive_classes_get_the_fewest_images_that_will_do(counts, others):
    demand = disjoint(counts, sum(counts) + others, 0.3)
    found = fewest(demand)
    assert demand.is_met(found)
    if sum(found) <= 40:
        assert brute_force(demand, sum(found)) == sum(found)


@given(
    rows=st.lists(st.sets(st.integers(0, 2), max_size=3), min_size=3, max_size=40), target=targets
)
@settings(max_examples=40, deadline=None, derandomize=True)
def test_overlapping_classes_get_the_fewest_images_that_will_do(rows, target):
    assume(all(any(q in row for row in rows) for q in range(3)))
    demand = overlapping(rows, 3, target)
    try:
        found = fewest(demand)
    except InfeasibleTargetError:
        assert brute_force(demand, 40) is None
        assert target >= largest_target(demand) - 1e-9
        return
    assert demand.is_met(found)
    assert target <= largest_target(demand) + 1e-9
    if sum(found) <= 40:
        assert brute_force(demand, sum(found)) == sum(found)
    else:
        assert brute_force(demand, 40) is None


@given(
    counts=st.lists(st.integers(1, 500), min_size=1, max_size=5),
    others=st.integers(0, 5000),
    target=targets,
)
@settings(max_examples=30, deadline=None, derandomize=True)
def test_the_closed_solution_and_the_program_agree(counts, others, target):
    demand = disjoint(counts, sum(counts) + others, target)
    try:
        found = fewest(demand)
    except InfeasibleTargetError:
        with pytest.raises(InfeasibleTargetError):
            fewest_by_program(demand)
        return
    if any(found):
        assert sum(fewest_by_program(demand)) == sum(found)
        assert found == fewest_by_program(demand)


def test_one_class_by_hand():
    # 10 of 100; (10 + n) / (100 + n) >= 1/4  <=>  n >= 20
    assert fewest(disjoint([10], 100, 0.25)) == (20,)
    assert fewest(disjoint([25], 100, 0.25)) == (0,)
    assert fewest(disjoint([24], 100, 0.25)) == (2,)


def test_two_classes_dilute_each_other():
    # n images each: (5 + n) / (100 + 2 n) >= 0.2  <=>  n >= 25
    assert fewest(disjoint([5, 5], 100, 0.2)) == (25, 25)


def test_a_class_that_comes_along_needs_no_image_of_its_own():
    rows = [{0, 1}] * 5 + [{1}] * 5 + [set()] * 90
    demand = overlapping(rows, 2, 0.1)
    assert fewest(demand) == (6, 0)  # (5 + 6) / 106 and (10 + 6) / 106


def solve_exactly(matrix, right):
    """Solve a 3 x 3 system over the rationals by Cramer's rule."""

    def det(m):
        return sum(
            m[0][i]
            * (m[1][(i + 1) % 3] * m[2][(i + 2) % 3] - m[1][(i + 2) % 3] * m[2][(i + 1) % 3])
            for i in range(3)
        )

    columns = range(3)
    return [
        det([[right[r] if c == k else matrix[r][c] for c in columns] for r in columns])
        / det(matrix)
        for k in columns
    ]


def test_awkward_shares_of_many_rows_are_decided_exactly():
    counts, n_rows = (9186, 3523, 9040), 201391
    share = (
        (Fraction(1), Fraction(311, 3523), Fraction(402, 9040)),
        (Fraction(311, 9186), Fraction(1), Fraction(95, 9040)),
        (Fraction(402, 9186), Fraction(95, 3523), Fraction(1)),
    )
    demand = Demand(("a", "b", "c"), counts, n_rows, share, Fraction(3, 20))
    found = fewest(demand)
    assert demand.is_met(found)
    gain = [[part - demand.target for part in parts] for parts in share]
    short = [demand.target * n_rows - count for count in counts]
    prices = solve_exactly([list(column) for column in zip(*gain, strict=True)], [1, 1, 1])
    assert all(price >= 0 for price in prices)  # so their combination bounds every solution
    bound = math.ceil(sum(price * need for price, need in zip(prices, short, strict=True)))
    real = solve_exactly(gain, short)
    assert bound == math.ceil(sum(real))
    assert bound <= sum(found) <= bound + 3
    near = [range(math.floor(value) - 5, math.ceil(value) + 6) for value in real]
    assert not any(
        demand.is_met(point) for point in itertools.product(*near) if sum(point) < sum(found)
    )


@given(
    rows=st.lists(st.sets(st.integers(0, 2), max_size=2), max_size=40),
    target=st.sampled_from([0.15, 0.2, 0.25]),
    margin=st.sampled_from([0.3, 1.0]),
)
@settings(max_examples=10, deadline=None, derandomize=True)
def test_where_the_bounds_do_not_meet_the_gap_is_searched(rows, target, margin):
    demand = overlapping([*rows, {0}, {1}, {2}, *[set()] * 20], 3, target)
    assert target < largest_target(demand)
    exact = sum(fewest_by_program(demand))
    with pytest.MonkeyPatch.context() as patch:  # a coarse margin sends every case to the search
        patch.setattr("synthtrial.synthesis.minimum._MARGIN", margin)
        assert sum(fewest_by_program(demand)) == exact


@pytest.mark.parametrize(
    ("counts", "target", "largest"), [((5, 5), 0.5, "0.5"), ((5,) * 4, 0.3, "0.25")]
)
def test_an_unreachable_target_is_refused_with_the_largest_that_is_not(counts, target, largest):
    with pytest.raises(InfeasibleTargetError, match=rf"can approach is {largest}\. Lower"):
        fewest(disjoint(counts, 100, target))


def test_the_largest_target_counts_what_comes_along():
    rows = [{0, 1}] * 10 + [{0}] * 10 + [{1}] * 30 + [set()] * 50
    # a brings b half of the time, b brings a a quarter: w + (1-w)/4 = w/2 + (1-w) at w = 3/5
    demand = overlapping(rows, 2, 0.75)
    assert largest_target(demand) == pytest.approx(0.7)
    with pytest.raises(InfeasibleTargetError, match=r"approach is 0\.7\."):
        fewest(demand)
    reachable = overlapping(rows, 2, 0.69)
    assert reachable.is_met(fewest(reachable))


def test_all_classes_can_be_made_equal_exactly():
    assert fewest(disjoint([100, *[90] * 9], 910, 0.1)) == (0, *[10] * 9)
    with pytest.raises(InfeasibleTargetError):
        fewest(disjoint([100, *[90] * 9], 911, 0.1))


def test_an_absurd_number_of_images_is_refused():
    with pytest.raises(InfeasibleTargetError, match="more than 100,000,000"):
        fewest(disjoint([5, 5], 10**6, 0.49999999))
