import dataclasses

import numpy as np
import pytest

from synthtrial.data.base import check_classes, describe_source, image_rows, make_label_table
from synthtrial.errors import DataError
from synthtrial.store.images import MISSING
from synthtrial.testing.toys import Toy, ToyConfig, ToyMultiConfig, open_toy, open_toy_multi


class Altered:
    """A toy one of whose samples has been changed."""

    def __init__(self, toy, **changes):
        self.toy, self.changes = toy, changes

    def __getattr__(self, name):
        return getattr(self.toy, name)

    def samples(self):
        first, *rest = self.toy.samples()
        yield dataclasses.replace(first, **self.changes)
        yield from rest


@pytest.mark.parametrize("toy", [open_toy(ToyConfig()), open_toy_multi(ToyMultiConfig())])
def test_rows_for_the_store_agree_with_the_label_table(toy: Toy):
    rows, table = list(image_rows(toy)), toy.label_table()
    assert [row.sample_id for row in rows] == list(table.sample_ids)
    assert [row.group_id for row in rows] == list(table.group_ids)
    assert table.classes == tuple(sorted(toy.classes))
    for row, labels_K in zip(rows, table.labels_NK, strict=True):
        assert [
            MISSING if row.labels[name] is None else row.labels[name] for name in table.classes
        ] == labels_K.tolist()
    assert describe_source(toy)["classes"] == list(toy.classes)


def test_a_label_table_has_its_columns_by_name():
    table = make_label_table(["a", "b"], [None, "g"], {"z": [1, None], "b": np.array([0, -1])})
    assert table.classes == ("b", "z")
    assert table.labels_NK.tolist() == [[0, 1], [-1, MISSING]]
    assert table.labels_NK.dtype == np.int8


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"sample_id": ""}, "empty id"),
        ({"sample_id": "toy-00007"}, "two samples have the id 'toy-00007'"),
        ({"group_id": None}, "has no group"),
        ({"image_HWC": np.zeros((8, 8, 3), np.uint8)}, r"shape \(8, 8, 3\); expected"),
        ({"image_HWC": np.zeros((8, 8, 1), np.float32)}, "float32 image"),
        ({"labels": {"wolf": 1, "ant": 0}}, "no label for class 'moth'"),
        (
            {"labels": {"wolf": 1, "ant": 0, "moth": 0, "mot": 0}},
            "unknown class 'mot'.*did you mean 'moth'",
        ),
        ({"labels": {"wolf": 2, "ant": 0, "moth": 0}}, "2 for 'wolf'"),
        ({"labels": {"wolf": 1, "ant": 1, "moth": 0}}, "exactly one"),
        ({"labels": {"wolf": 0, "ant": 0, "moth": 0}}, "exactly one"),
        ({"labels": {"wolf": 1, "ant": -1, "moth": 0}}, "no uncertain"),
        ({"labels": {"wolf": 1, "ant": 0, "moth": 0}, "sample_id": "x"}, None),
    ],
)
def test_a_spoiled_sample_is_refused(changes, says):
    source = Altered(open_toy(ToyConfig()), **changes)
    if says is None:
        assert len(list(image_rows(source))) == 120
        return
    with pytest.raises(DataError, match=says):
        list(image_rows(source))


def test_an_incomplete_dataset_is_refused():
    class Short(Altered):
        def samples(self):
            yield from list(self.toy.samples())[:-1]

    with pytest.raises(DataError, match="119 samples where 120 are expected"):
        list(image_rows(Short(open_toy(ToyConfig()))))


@pytest.mark.parametrize("classes", [[], ["a", ""], ["a", "a"]])
def test_class_names_must_be_names(classes):
    with pytest.raises(DataError, match="at least one, none of them empty"):
        check_classes(classes)
