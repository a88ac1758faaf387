import pytest

from synthtrial.config import ImbalanceConfig, SplitConfig
from synthtrial.data.lineage import UNKNOWN_SPLIT, check_lineage
from synthtrial.data.splits import make_split, select, write_split
from synthtrial.errors import LeakageError, StoreError
from synthtrial.store.artifacts import Descent, draft, open_store
from synthtrial.testing.toys import ToyConfig, open_toy


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    store = open_store(tmp_path_factory.mktemp("lineage") / "store")
    table = open_toy(ToyConfig(rows=200)).label_table()
    splits = {}
    for draw in range(2):
        imbalance = ImbalanceConfig(["moth"], 0.5, "train+validation")
        split = make_split(table, SplitConfig(), imbalance, seed=0, draw=draw)
        with draft(store, "split", f"draw{draw}", inputs={}) as making:
            write_split(making.path, split)
        splits[draw] = split
    return store, splits


def check(place, *descents, regimen=0.5, groups_known=True, allow=False):
    store, splits = place
    training = splits[0].sample_ids[select(splits[0], role="train", regimen=regimen)]
    return check_lineage(
        store,
        descents,
        splits[0],
        training_ids=set(training),
        groups_known=groups_known,
        allow=allow,
        source="synthetic 1f",
    )


def test_a_generator_of_the_trial_s_own_rows_bears_no_stamp(place):
    assert check(place) == ()
    assert check(place, Descent("draw0", ("train",), 0.5)) == ()
    assert check(place, Descent("draw0", ("train",), 0.25)) == ()


def test_rows_that_the_classifier_was_denied_are_a_privilege(place):
    assert check(place, Descent("draw0", ("train",), None)) == ("PRIVILEGED",)
    original = Descent("draw0", ("train", "removed"), None)
    assert check(place, original, regimen=1.0) == ("PRIVILEGED",)


@pytest.mark.parametrize("role", ["test", "validation", "unused"])
def test_held_out_rows_are_a_leak(place, role):
    descent = Descent("draw0", ("train", role), None)
    with pytest.raises(LeakageError, match="synthetic 1f descends from group 'site-"):
        check(place, descent)
    assert check(place, descent, allow=True) == ("LEAKY", "PRIVILEGED")


def test_another_draw_s_training_rows_are_a_leak(place):
    with pytest.raises(LeakageError, match=r"draw1.*allow_leakage=true"):
        check(place, Descent("draw1", ("train",), 1.0))


def test_one_leak_among_many_is_found(place):
    with pytest.raises(LeakageError):
        check(place, Descent("draw0", ("train",), 0.5), Descent("draw0", ("test",), None))


def test_unknown_origin_counts_as_a_leak(place):
    descent = Descent(UNKNOWN_SPLIT, (), None)
    with pytest.raises(LeakageError, match="nobody knows"):
        check(place, descent)
    assert "LEAKY" in check(place, descent, allow=True)


def test_a_split_that_is_not_there_is_an_error(place):
    with pytest.raises(StoreError, match="has no split elsewhere"):
        check(place, Descent("elsewhere", ("train",), None))


def test_unknown_groups_are_stamped(place):
    assert check(place, groups_known=False) == ("GROUPS UNKNOWN",)


@pytest.fixture(scope="module")
def crossing(tmp_path_factory):
    """A split of single images, whose groups are on several sides."""
    store = open_store(tmp_path_factory.mktemp("crossing") / "store")
    table = open_toy(ToyConfig(rows=200)).label_table()
    split = make_split(table, SplitConfig(by="image"), ImbalanceConfig(), seed=0, draw=0)
    with draft(store, "split", "draw0", inputs={}) as making:
        write_split(making.path, split, crossing=True)
    return store, {0: split}


def test_a_group_that_is_trained_and_judged_on_is_a_leak_without_any_made_image(crossing):
    with pytest.raises(LeakageError, match=r"group 'site-.* is trained on and judged on.*split.by"):
        check(crossing)
    assert check(crossing, allow=True) == ("LEAKY",)


def test_groups_that_are_not_known_cannot_cross(crossing):
    assert check(crossing, groups_known=False) == ("GROUPS UNKNOWN",)


def test_a_regimen_that_shares_no_group_with_what_is_judged_is_no_leak(crossing):
    store, splits = crossing
    split = splits[0]
    judged = {split.group_ids[row] for row in split.rows(("validation", "unused", "test"))}
    clean = [
        split.sample_ids[row] for row in split.rows("train") if split.group_ids[row] not in judged
    ]
    assert clean
    stamps = check_lineage(
        store, (), split, training_ids=set(clean), groups_known=True, allow=False
    )
    assert stamps == ()


def test_made_images_of_a_crossing_split_leak_too(crossing):
    descent = Descent("draw0", ("train",), 0.5)
    assert check(crossing, descent, allow=True) == ("LEAKY",)
