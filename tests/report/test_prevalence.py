"""For images of several classes the page shows shares, the uncertain ones beside the certain."""

import dataclasses

import numpy as np
import pytest

from synthtrial.data.splits import describe_split, make_split
from synthtrial.report.page import write_page
from synthtrial.report.prevalence import prevalence, prevalence_table
from synthtrial.study import load
from synthtrial.testing.toys import ToyMultiConfig, open_toy_multi


@pytest.fixture(scope="module")
def several(fabricate):
    return fabricate.study(multi_label=True, **fabricate.SMALL)


def test_shares_are_of_the_training_images_that_are_left(several):
    table = prevalence_table(several)
    train = several.counts.query("draw == 0 and role == 'train' and class_name == ''").images.item()
    assert table.positive["8"] == pytest.approx(18 / train)
    assert table.uncertain["8"] == pytest.approx(4 / train)
    removed = several.counts.query("draw == 0 and role == 'removed' and class_name == ''")
    assert table.before["8"] == pytest.approx(118 / (train + removed.images.item()))


def test_the_figure_says_both_shares(several):
    (panel,) = prevalence(several)
    texts = [text.get_text() for text in panel.figure.axes[0].texts]
    assert len(texts) == 10
    assert all(" + " in text for text in texts)
    assert "positive" in panel.alt
    assert "uncertain" in panel.alt


def test_a_split_that_did_not_count_them_has_no_uncertain_share(several):
    counts = several.counts.assign(uncertain=np.nan)
    (panel,) = prevalence(dataclasses.replace(several, counts=counts))
    assert not any(" + " in text.get_text() for text in panel.figure.axes[0].texts)
    assert "uncertain" not in panel.alt


def test_nothing_is_drawn_before_the_split(several):
    assert prevalence(dataclasses.replace(several, counts=several.counts.iloc[:0])) == []


def test_the_page_of_a_study_of_several_classes_shows_shares(several, tmp_path):
    html = write_page(several, tmp_path).read_text(encoding="utf-8")
    assert "How common the classes are" in html
    assert "In training an uncertain label counts as negative." in html
    assert (tmp_path / "figures" / "class-counts.svg").is_file()


def test_a_split_counts_the_uncertain_labels_of_every_role():
    settings = load("digits").settings
    table = open_toy_multi(ToyMultiConfig(rows=400, uncertain=0.3)).label_table()
    split = make_split(table, settings.split, type(settings.imbalance)(), seed=0, draw=0)
    counts = describe_split(split, table)["uncertain_counts"]
    assert set(counts) == {"train", "removed", "validation", "unused", "test"}
    for k, name in enumerate(table.classes):
        found = sum(by_class[name] for by_class in counts.values())
        assert found == int((table.labels_NK[:, k] == -1).sum()) > 0
