"""The gap of the losses is taken in every replicate and compared with the baseline's."""

import dataclasses

import numpy as np
import pytest

from synthtrial.published import load_published
from synthtrial.report import tables
from synthtrial.report.gaps import gap_sentences, gap_table, gap_view, printed_gap_text

COLOURS = {"none": "#6b7484", "gan": "#d55e00"}


@pytest.fixture(scope="module")
def small(fabricate):
    arms = (fabricate.design().arms[0], fabricate.design().arms[2])
    return fabricate.study(arms=arms, regimens=(0.01, 0.1, 1.0), epochs=3)


def test_every_regimen_has_its_gap_and_it_is_that_of_the_last_epoch(small):
    table = gap_table(small)
    assert table.regimen.tolist() == [0.01, 0.01, 0.1, 0.1, 1.0, 1.0]
    curves = tables.curves_table(small).query("arm == 'gan' and regimen == 0.1 and epoch == 3")
    gaps = curves.validation_loss - curves.train_loss
    mine = table.query("arm == 'gan' and regimen == 0.1").iloc[0]
    assert mine.gap == pytest.approx(gaps.mean())
    assert mine.n == len(gaps) == 6
    assert mine.low < mine.gap < mine.high


def test_the_difference_is_that_to_the_baseline(small):
    table = gap_table(small).set_index(["regimen", "arm"])
    for regimen in (0.01, 0.1, 1.0):
        gan, none = table.loc[(regimen, "gan")], table.loc[(regimen, "none")]
        assert gan.difference == pytest.approx(gan.gap - none.gap)
        assert np.isnan(none.difference)


def test_a_clearly_smaller_gap_is_said_and_an_unclear_one_is_not(small):
    curves = small.curves.copy()
    mine = curves.trial_id.str.startswith("gan-0.01-")
    curves.loc[mine, "validation_loss"] = curves.loc[mine, "train_loss"]
    six_draws = small.trials.assign(draw=small.trials.replicate.clip(0))
    facts = dataclasses.replace(small, curves=curves, trials=six_draws)
    (text,) = gap_sentences(facts, gap_table(facts))
    assert text.startswith("Against none, the gap of gan is smaller at 1 %")
    (_, _, cells) = gap_view(facts, gap_table(facts), COLOURS)[1]
    assert cells[0].mark == "lower"
    assert cells[0].value == "0.000"
    assert cells[0].difference.startswith("▼ ")


def test_printed_gaps_stand_beside_ours(small):
    facts = dataclasses.replace(small, published=load_published("chexpert_paper"))
    table = gap_table(facts).set_index(["regimen", "arm"])
    assert table.printed[0.01, "none"] == 0.06
    assert table.printed_difference[0.01, "gan"] == pytest.approx(-0.03)
    assert np.isnan(table.printed[1.0, "gan"])
    cells = gap_view(facts, table.reset_index(), COLOURS)[0][2]
    assert [cell.printed for cell in cells] == ["printed 0.06", "printed 0.04", ""]
    text = printed_gap_text(facts)
    assert "at 1 % none 0.06, gan 0.03; at 10 % none 0.04, gan 0.03." in text
    assert "Without a counterpart" not in text


def test_a_printed_gap_without_a_counterpart_is_said(fabricate):
    facts = fabricate.study(**fabricate.SMALL)
    facts = dataclasses.replace(facts, published=load_published("chexpert_paper"))
    assert "Without a counterpart here: none at 1 %, gan at 1 %, none at 10 % and gan at 10 %" in (
        printed_gap_text(facts)
    )


def test_without_curves_there_is_an_empty_table(small):
    facts = dataclasses.replace(small, curves=small.curves.iloc[:0])
    table = gap_table(facts)
    assert table.empty
    assert gap_view(facts, table, COLOURS) == []
    assert gap_sentences(facts, table) == []
