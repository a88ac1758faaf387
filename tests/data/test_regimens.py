import numpy as np
import pytest

from synthtrial.config import ImbalanceConfig, SplitConfig
from synthtrial.data.labels import class_counts
from synthtrial.data.regimens import held_out_rows, regimen_label, regimen_rows
from synthtrial.data.splits import make_split
from synthtrial.errors import DataError
from synthtrial.testing.toys import ToyConfig, open_toy


def drawn(**options):
    table = open_toy(ToyConfig(rows=200, groups=False, **options)).label_table()
    imbalance = ImbalanceConfig(["moth"], 0.8)
    return table, make_split(table, SplitConfig(), imbalance, seed=0, draw=0)


@pytest.mark.parametrize(
    ("regimen", "label"),
    [(0.1, "10 %"), (0.005, "0.5 %"), (0.29, "29 %"), (1.0, "100 %"), (2050, "2,050 images")],
)
def test_regimens_are_read_by_people(regimen, label):
    assert regimen_label(regimen) == label


def test_a_regimen_without_a_class_is_refused_with_what_it_has():
    table, split = drawn()
    with pytest.raises(DataError, match=r"regimen of 2 % has no image of class 'moth'.*wolf: \d"):
        regimen_rows(split, 0.02, table)
    assert len(regimen_rows(split, 0.02, table, classes=["wolf"])) > 0


def test_rows_are_those_of_the_dataset_whatever_its_order():
    table, split = drawn()
    turned, _ = drawn(row_order=7)
    assert list(table.sample_ids) != list(turned.sample_ids)
    for find in (
        lambda table: regimen_rows(split, 0.5, table),
        lambda table: held_out_rows(split, "validation", table),
        lambda table: held_out_rows(split, "test", table),
    ):
        rows, same = find(table), find(turned)
        assert list(table.sample_ids[rows]) == list(turned.sample_ids[same])
        np.testing.assert_array_equal(table.labels_NK[rows], turned.labels_NK[same])


def test_a_proportional_validation_set_is_a_part_of_the_shared_one():
    table, split = drawn()
    shared = held_out_rows(split, "validation", table, regimen=0.3)
    part = held_out_rows(split, "validation", table, regimen=0.3, scope="proportional")
    assert set(part) < set(shared)
    counts = class_counts(table.labels_NK[part], table.classes)
    everything = class_counts(table.labels_NK[shared], table.classes)
    assert all(abs(counts[name] - 0.3 * everything[name]) <= 0.5 for name in counts)
    test = held_out_rows(split, "test", table, regimen=0.3, scope="proportional")
    assert len(test) == len(split.rows("test"))
