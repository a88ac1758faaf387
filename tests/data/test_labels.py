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
    smooth,
)
from synthtrial.errors import DataError
from synthtrial.store.images import MISSING

RAW = np.array([[1, 0, -1, MISSING]], dtype=np.int8)


@pytest.mark.parametrize(
    ("policy", "uncertain"), [("ones", 1), ("zeros", 0), ("ignore", np.nan), ("smooth", 1)]
)
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


def smoothed_table(order, names):
    n = len(order)
    labels = {
        "a": np.array([-1 if k % 3 == 0 else k % 2 for k in range(n)]),
        "b": np.array([-1 if k % 4 else 1 for k in range(n)]),
    }
    ids = [f"s{k:03}" for k in range(n)]
    return make_label_table(
        [ids[k] for k in order], [None] * n, {name: labels[name][order] for name in names}
    )


def test_smoothing_touches_uncertain_labels_only_and_stays_in_its_range():
    table = smoothed_table(np.arange(200), ["a", "b"])
    targets_NK = apply_policy(table.labels_NK, "smooth")
    smoothed_NK = smooth(targets_NK, table, (0.55, 0.85), seed=0)
    uncertain_NK = table.labels_NK == -1
    assert smoothed_NK.dtype == np.float32
    np.testing.assert_array_equal(smoothed_NK[~uncertain_NK], targets_NK[~uncertain_NK])
    drawn = smoothed_NK[uncertain_NK]
    assert 0.55 <= drawn.min() < 0.57 < 0.83 < drawn.max() <= 0.85
    assert len(np.unique(drawn)) == len(drawn)
    assert (targets_NK[uncertain_NK] == 1).all(), "what was given is left as it was"
    other_NK = smooth(targets_NK, table, (0.55, 0.85), seed=1)
    assert (other_NK[uncertain_NK] != drawn).all()


def test_what_a_label_is_smoothed_to_does_not_depend_on_the_order_of_rows_or_classes():
    order = np.random.default_rng(0).permutation(60)
    plain, turned = smoothed_table(np.arange(60), ["a", "b"]), smoothed_table(order, ["b", "a"])
    one, other = (
        smooth(apply_policy(table.labels_NK, "smooth"), table, (0, 0.3), seed=4)
        for table in (plain, turned)
    )
    np.testing.assert_array_equal(one[order], other)


def test_a_smoothed_label_weighs_as_what_it_leans_to():
    hard_NK = np.array([[1, 0], [1, 0], [0, 1], [0, 0]], dtype=np.float32)
    leaning_NK = np.array([[0.7, 0], [1, 0.2], [0, 0.55], [0.4, 0.1]], dtype=np.float32)
    np.testing.assert_allclose(balanced_row_weights(leaning_NK), balanced_row_weights(hard_NK))
