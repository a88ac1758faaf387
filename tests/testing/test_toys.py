import numpy as np
import pytest

from synthtrial.data.base import image_rows
from synthtrial.errors import ConfigError
from synthtrial.testing.toys import TOY, TOY_MULTI, ToyConfig


@pytest.mark.parametrize("component", [TOY, TOY_MULTI])
def test_a_sample_is_the_same_in_any_order(component):
    plain = component.load()(component.config())
    order = sorted(plain.classes)
    turned = component.load()(component.config(class_order=order, row_order=1))
    assert turned.classes == tuple(order) != plain.classes
    rows = {row.sample_id: row for row in image_rows(turned)}
    assert list(rows) != [row.sample_id for row in image_rows(plain)]
    for row in image_rows(plain):
        same = rows[row.sample_id]
        assert (same.group_id, same.labels) == (row.group_id, row.labels)
        np.testing.assert_array_equal(same.image_HWC, row.image_HWC)


def test_the_multi_label_toy_has_every_kind_of_label():
    rows = list(image_rows(TOY_MULTI.load()(TOY_MULTI.config())))
    values = {value for row in rows for value in row.labels.values()}
    assert values == {1, 0, -1, None}
    positives = [sum(value == 1 for value in row.labels.values()) for row in rows]
    assert min(positives) == 0
    assert max(positives) > 1


def test_colour_and_size_are_options():
    toy = TOY.load()(ToyConfig(rows=5, size=16, channels=3))
    assert {row.image_HWC.shape for row in image_rows(toy)} == {(16, 16, 3)}


def test_a_class_order_that_is_none_is_refused():
    with pytest.raises(ConfigError, match="must hold each of"):
        TOY.load()(ToyConfig(class_order=["ant"]))
