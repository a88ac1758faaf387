"""Sides that a dataset comes with: kept whole, stored beside the images, refused where useless."""

import dataclasses

import numpy as np
import pytest

from synthtrial.config import ImbalanceConfig, SplitConfig
from synthtrial.data.sides import check_sides, own_sides_of, read_sides, write_sides
from synthtrial.data.splits import make_split, select
from synthtrial.errors import DataError
from synthtrial.store.artifacts import draft, open_store, read_artifact
from synthtrial.testing.toys import ToyConfig, open_toy

OWN = SplitConfig(own=True)


@pytest.fixture(scope="module")
def table():
    return open_toy(ToyConfig(rows=300, groups=False)).label_table()


def sides_of(table, *names):
    return np.array([names[row % len(names)] for row in range(len(table))], dtype=object)


def dealt(table, sides, split=OWN, imbalance=None, **address):
    return make_split(
        table,
        split,
        imbalance or ImbalanceConfig(),
        **{"seed": 0, "draw": 0, **address},
        sides=sides,
    )


def roles(split):
    return dict(zip(split.sample_ids, split.roles, strict=True))


def test_own_sides_are_the_roles_whatever_the_seed_the_draw_and_the_order(table):
    sides = sides_of(table, "train", "test", "train", "validation")
    expected = dict(zip(table.sample_ids, sides, strict=True))
    for seed, draw in ((0, 0), (1, 0), (0, 3)):
        assert roles(dealt(table, sides, seed=seed, draw=draw)) == expected
    order = np.random.default_rng(0).permutation(len(table))
    turned = dataclasses.replace(
        table,
        sample_ids=table.sample_ids[order],
        group_ids=table.group_ids[order],
        labels_NK=table.labels_NK[order],
    )
    one, other = dealt(table, sides), dealt(turned, sides[order])
    assert roles(one) == roles(other) == expected
    np.testing.assert_array_equal(one.ranks, other.ranks)


def test_without_an_own_validation_set_one_is_dealt_from_training_by_draw(table):
    sides = sides_of(table, "train", "train", "train", "test")
    splits = [dealt(table, sides, draw=draw) for draw in range(2)]
    held = set(table.sample_ids[sides == "test"])
    chosen = []
    for split in splits:
        assert set(split.sample_ids[split.rows("test")]) == held
        chosen.append(set(split.sample_ids[split.rows("validation")]))
        assert abs(len(chosen[-1]) - 0.1 * len(table)) <= len(table.classes)
    assert chosen[0] != chosen[1]


def test_imbalance_and_regimens_thin_own_training_sets_alone(table):
    sides = sides_of(table, "train", "test", "train", "validation")
    name = table.classes[0]
    split = dealt(table, sides, imbalance=ImbalanceConfig([name], 0.5))
    removed = split.rows("removed")
    assert len(removed)
    assert set(split.sample_ids[split.rows(("train", "removed"))]) == set(
        table.sample_ids[sides == "train"]
    )
    assert set(split.sample_ids[split.rows("test")]) == set(table.sample_ids[sides == "test"])
    half = select(split, role="train", regimen=0.5)
    assert 0 < len(half) < len(split.rows("train"))


def test_sides_are_not_looked_at_unless_a_study_keeps_them(table):
    sides = sides_of(table, "train", "test")
    plain = SplitConfig()
    assert roles(dealt(table, sides, plain)) == roles(dealt(table, None, plain))


@pytest.mark.parametrize(
    ("names", "says"),
    [
        (None, r"no sides of its own; set split\.own=false"),
        (("train", "test", None), r"100 of 300 images, such as '.*', are on no side"),
        (("train", "validation"), r"no image for 'test' \(train: 150, validation: 150, test: 0\)"),
        (("test", "validation"), "no image for 'train'"),
    ],
)
def test_sides_that_cannot_be_kept_are_refused(table, names, says):
    sides = None if names is None else sides_of(table, *names)
    with pytest.raises(DataError, match=says):
        dealt(table, sides)


def test_a_dataset_must_name_one_of_three_sides_for_each_image(table):
    toy = open_toy(ToyConfig(rows=300))

    class Divided(type(toy)):
        def own_sides(self):
            return self.given

        given = None

    divided = Divided(**{f.name: getattr(toy, f.name) for f in dataclasses.fields(toy)})
    assert own_sides_of(toy) is None
    assert own_sides_of(divided) is None
    Divided.given = sides_of(table, "train", "exam")
    with pytest.raises(DataError, match="has a side 'exam': allowed: test, train, validation"):
        own_sides_of(divided)
    Divided.given = sides_of(table, "train", "test")[:-1]
    with pytest.raises(DataError, match="299 sides for 300 images"):
        own_sides_of(divided)


def test_sides_go_through_the_store_by_sample(table, tmp_path):
    sides = sides_of(table, "train", "test", None)
    store = open_store(tmp_path / "store")
    for name, given in (("with", sides), ("without", None)):
        with draft(store, "dataset", name, inputs={}) as made:
            (made.path / "other.txt").write_bytes(b"x")
            if given is not None:
                write_sides(made.path, table.sample_ids, given)
    found = read_sides(read_artifact(store, "dataset", "with"), table.sample_ids[::-1])
    assert found.tolist() == sides[::-1].tolist()
    assert read_sides(read_artifact(store, "dataset", "without"), table.sample_ids) is None
    kept = sides_of(table, "train", "test")
    assert check_sides(kept, table.sample_ids) is kept
