import numpy as np
import pytest

from synthtrial.data.base import make_label_table
from synthtrial.data.labels import (
    apply_policy,
    balanced_row_weights,
    by_rarity,
    check_single_label,
    class_counts,
    class_index,
    locate,
    rarest_class,
)
from synthtrial.errors import DataError
from synthtrial.store.images import MISSING

RAW = np.array([[1, 0, -1, MISSING]], dtype=np.int8)


@pytest.mark.parametrize(("policy", "uncertain"), [("ones", 1), ("zeros", 0), ("ignore", np.nan)])
def test_the_policy_decides_uncertain_labels_only(policy, uncertain):
    targets = apply_policy(RAW, policy)
    assert targets.dtype == np.float32
    np.testing.assert_array_equal(targets, [[1, 0, uncertain, 0]])


def test_what_is_no_label_or_no_policy_is_refused():
    with pytest.raises(DataError, match="a label is 3"):
        apply_policy(np.array([[3]]), "ones")
    with pytest.raises(DataError, match="did you mean 'ones'"):
        apply_policy(RAW, "onez")


def test_a_class_is_found_by_name():
    assert class_index(("ant", "moth"), "moth") == 1
    with pytest.raises(DataError, match=r"no class 'mot': did you mean 'moth'.*ant, moth"):
        class_index(("ant", "moth"), "mot")


def test_a_row_of_two_or_uncertain_classes_is_not_single_label():
    good = make_label_table(["a", "b"], [None, None], {"x": [1, 0], "y": [None, 1]})
    check_single_label(good)
    for column in ([1, 1], [0, -1], [0, 0]):
        bad = make_label_table(["a", "b"], [None, None], {"x": [1, 0], "y": column})
        if column == [0, 0]:
            says = r"'b' .* has the classes \[\]"
        else:
            says = r"sample '[ab]' \(one of [12]\)"
        with pytest.raises(DataError, match=says):
            check_single_label(bad)


def test_the_rarest_class_is_judged_by_count_then_name():
    classes = ("ant", "moth", "wolf")
    labels = np.array([[1, 1, 1], [1, 0, 1], [1, 1, 0], [0, 0, 0], [0, 1, 0], [0, -1, 0]])
    counts = class_counts(labels, classes)
    assert counts == {"ant": 3, "moth": 3, "wolf": 2}
    assert by_rarity(counts) == ["wolf", "ant", "moth"]
    rarest = rarest_class(labels, classes, counts)
    assert rarest.tolist() == ["wolf", "wolf", "ant", None, "moth", None]


def test_samples_are_located_by_id():
    table = make_label_table(["c", "a", "b"], [None] * 3, {"x": [1, 0, 0]})
    assert locate(table, ["a", "b", "c", "a"]).tolist() == [1, 2, 0, 1]
    assert locate(table, []).tolist() == []
    with pytest.raises(DataError, match=r"no sample 'zz' \(one of 2\)"):
        locate(table, ["a", "zz", "0"])
    with pytest.raises(DataError, match="no sample 'a'"):
        locate(make_label_table([], [], {"x": []}), ["a"])


def test_balanced_weights_draw_single_label_classes_alike():
    targets_NK = np.repeat(np.eye(2), [9, 1], axis=0)
    np.testing.assert_allclose(balanced_row_weights(targets_NK) @ targets_NK, [1 / 2] * 2)


def test_balanced_weights_raise_rows_with_rare_labels_and_rows_without_any():
    targets_NK = np.array([[1, 0], [1, 0], [1, 1], [0, 0]])
    expected_N = np.array([1 / 3, 1 / 3, 1 / 3 + 1, 1])
    np.testing.assert_allclose(balanced_row_weights(targets_NK), expected_N / expected_N.sum())
