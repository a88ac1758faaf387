from __future__ import annotations

import dataclasses

import pytest

from synthtrial.data.digits import DIGITS, DigitsConfig
from synthtrial.registry import Component
from synthtrial.testing.datasets import DatasetContract
from synthtrial.testing.toys import TOY, TOY_MULTI, Toy, ToyConfig, ToyMultiConfig, open_toy


class TestDigits(DatasetContract):
    component = DIGITS


class TestDigitsInAnotherOrder(DatasetContract):
    component = DIGITS
    options = DigitsConfig(class_order=list("9876543210"))


class TestToy(DatasetContract):
    component = TOY


class TestColourToyWithoutGroups(DatasetContract):
    component = TOY
    options = ToyConfig(rows=40, size=16, channels=3, groups=False)


class TestMultiLabelToy(DatasetContract):
    component = TOY_MULTI


class TestShuffledMultiLabelToy(DatasetContract):
    component = TOY_MULTI
    options = ToyMultiConfig(rows=80, row_order=1)


class Forgetful(Toy):
    """Its table of labels lacks a group that its samples have."""

    def label_table(self):
        table = super().label_table()
        table.group_ids[3] = None
        return table


def open_forgetful(config):
    plain = open_toy(config)
    return Forgetful(**{f.name: getattr(plain, f.name) for f in dataclasses.fields(plain)})


def test_the_contract_notices_a_table_that_does_not_agree(monkeypatch):
    class Contract(DatasetContract):
        component = Component("forgetful", 1, ToyConfig, "nowhere:at_all")

        def open(self):
            return open_forgetful(ToyConfig())

    with pytest.raises(AssertionError):
        Contract().test_the_label_table_agrees_with_the_samples()
