"""Both widths of the primary interval in words, and the width that is refused."""

from __future__ import annotations

import re

import pytest

from synthtrial.errors import ConfigError
from synthtrial.report import inference
from synthtrial.report.facts import Primary
from synthtrial.report.held_out import with_test_set
from synthtrial.report.widths import has_floor, refuse_below_floor, width_lines


@pytest.fixture
def primary(fabricate):
    """The rows of the primary question, with the test set's errors or without."""

    def rows(*, known, **changes):
        facts = fabricate.study(primary=Primary("gan", "minority", "", (0.1, 0.5)), **changes)
        facts = fabricate.with_test_errors(facts) if known else facts
        table = with_test_set(facts, inference.differences_table(facts))
        return table[table.role == inference.PRIMARY]

    return rows


def test_a_width_below_the_floor_is_refused_and_the_one_to_ask_for_is_not(primary):
    rows = primary(known=True)
    floor = rows.floor.max()
    with pytest.raises(ConfigError) as refused:
        refuse_below_floor(rows, floor * 0.999)
    text = str(refused.value)
    assert "is the width of the interval over draws and seeds alone" in text
    assert f"for other test images cannot be narrower than {floor:.4g}, as " in text
    assert re.search(r"as \d+ draws estimate it, however many", text)
    asked = float(re.search(r"Ask for (\S+) or more", text)[1])
    assert floor <= asked < 1.002 * floor
    refuse_below_floor(rows, asked)


def test_where_the_floor_is_not_known_nothing_is_refused(primary):
    rows = primary(known=False)
    assert not has_floor(rows)
    refuse_below_floor(rows, 1e-9)


def test_both_widths_are_those_of_the_table(primary):
    rows = primary(known=True)
    assert has_floor(rows)
    lines = width_lines(rows)
    assert len(lines) == len(rows) == 2
    for line, row in zip(lines, rows.itertuples(), strict=True):
        alone, both, floor = re.findall(r" (0\.\d+)", line)
        assert float(alone) == pytest.approx(row.high - row.low, rel=1e-3)
        assert float(both) == pytest.approx(row.both_high - row.both_low, rel=1e-3)
        assert float(floor) == pytest.approx(row.floor, rel=1e-3)


def test_without_the_test_set_s_error_only_one_width_is_known(primary):
    lines = width_lines(primary(known=False, draws=1))
    assert len(lines) == 2
    for line in lines:
        assert re.search(r"wide over seeds alone; over other test images too: not known$", line)


def test_one_replicate_has_no_width(primary):
    rows = primary(known=False, draws=1, replicates=1)
    assert len(rows) == 2
    assert width_lines(rows) == ()
