import numpy as np
import pytest

from synthtrial.config import ImbalanceConfig
from synthtrial.data.imbalance import removed_rows, share
from synthtrial.errors import DataError

CLASSES = ("a", "b")


def remove(labels, classes, fraction, eligible=None, order=None):
    n = len(labels)
    eligible = np.ones(n, bool) if eligible is None else eligible
    order = np.arange(n) if order is None else order
    config = ImbalanceConfig(classes, fraction)
    return removed_rows(np.asarray(labels), CLASSES, eligible, order, config)


def test_shares_are_rounded_half_up_in_decimal():
    assert [share(0.1, n) for n in (4, 5, 14, 15, 25)] == [0, 1, 1, 2, 3]
    assert share(0.85, 113) == 96
    assert share(0.15, 10) == 2  # 1.5, though the nearest double of 0.15 lies below
    assert share(0.29, 50) == 15  # 14.5 likewise


def test_the_fraction_of_the_eligible_positives_goes():
    labels = [[1, 0]] * 10 + [[0, 1]] * 10
    eligible = np.arange(20) != 0
    removed = remove(labels, ["a"], 0.5, eligible)
    assert np.flatnonzero(removed).tolist() == [1, 2, 3, 4, 5]


def test_what_goes_follows_the_random_order_not_the_rows():
    labels = np.array([[1, 0]] * 10)
    order = np.random.default_rng(0).permutation(10)
    removed = remove(labels, ["a"], 0.3, order=order)
    assert set(order[removed]) == {0, 1, 2}


def test_reducing_another_class_changes_nothing_for_exclusive_ones():
    labels = np.array([[1, 0]] * 10 + [[0, 1]] * 10)
    order = np.random.default_rng(1).permutation(20)
    both, one = (remove(labels, names, 0.7, order=order) for names in (["a", "b"], ["a"]))
    assert (both[:10] == one[:10]).all()
    assert both.sum() == 14


def test_a_row_of_two_reduced_classes_counts_for_both():
    labels = np.array([[1, 1]] * 10)
    assert remove(labels, ["a", "b"], 0.6).sum() == 6


@pytest.mark.parametrize(
    ("classes", "fraction", "says"),
    [(["c"], 0.5, "no class 'c'"), (["a"], 1.0, "below 1"), (["a", "a"], 0.5, "twice")],
)
def test_unusable_settings_are_refused(classes, fraction, says):
    with pytest.raises(DataError, match=says):
        remove([[1, 0]], classes, fraction)
