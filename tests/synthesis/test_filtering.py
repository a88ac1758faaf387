from types import SimpleNamespace

import numpy as np
import pytest

from synthtrial.errors import DataError
from synthtrial.synthesis.filtering import (
    KEPT_FILE,
    Acceptance,
    accept,
    first_of_each,
    keep,
    read_kept,
    write_kept,
)

INTENDED = np.array(list("ababaabb"), dtype=object)


def test_with_one_class_an_image_the_intended_one_must_be_most_probable():
    logits_MK = np.array([[2.0, 1.0], [2.0, 1.0], [-3.0, -2.0]])
    accepted = accept(logits_MK, np.array([0, 1, 1]), multi_label=False, threshold=0.9)
    assert accepted.tolist() == [True, False, True]


def test_with_several_the_intended_one_must_reach_the_threshold():
    logit = np.log(0.7 / 0.3)
    logits_MK = np.array([[logit, 9.0], [-9.0, logit], [-logit, 9.0]])
    columns = np.array([0, 1, 0])
    assert accept(logits_MK, columns, multi_label=True, threshold=0.69).tolist() == [1, 1, 0]
    assert accept(logits_MK, columns, multi_label=True, threshold=0.71).tolist() == [0, 0, 0]


def test_the_first_accepted_of_each_class_are_kept_in_latent_order():
    accepted = np.array([1, 0, 1, 1, 1, 0, 1, 1], dtype=bool)
    rows, found = keep(INTENDED, accepted, {"a": 2, "b": 2}, "refuse")
    assert rows.tolist() == [0, 2, 3, 6]
    assert found["a"] == Acceptance(candidates=4, accepted=3, wanted=2, kept=2, filled=0)
    assert found["b"] == Acceptance(candidates=4, accepted=3, wanted=2, kept=2, filled=0)


def test_too_few_accepted_are_refused_with_the_numbers():
    accepted = np.array([1, 0, 1, 1, 1, 0, 0, 0], dtype=bool)
    with pytest.raises(
        DataError, match=r"class 'b': 3 wanted, 1 of 4 accepted \(25%\).*candidates"
    ):
        keep(INTENDED, accepted, {"a": 3, "b": 3}, "refuse")


def test_too_few_accepted_are_filled_up_where_asked_for():
    accepted = np.array([1, 0, 1, 1, 1, 0, 0, 0], dtype=bool)
    rows, found = keep(INTENDED, accepted, {"a": 3, "b": 3}, "fill")
    assert rows.tolist() == [0, 1, 2, 3, 4, 6]
    assert (found["a"].filled, found["b"].filled) == (0, 2)


def test_a_smaller_dose_is_the_beginning_of_each_class():
    assert first_of_each(INTENDED, {"a": 1, "b": 3}).tolist() == [0, 1, 3, 6]
    larger = first_of_each(INTENDED, {"a": 3, "b": 4}).tolist()
    assert set(first_of_each(INTENDED, {"a": 2, "b": 2}).tolist()) <= set(larger)
    with pytest.raises(DataError, match=r"dose of 5 images of class 'a'.*holds 4"):
        first_of_each(INTENDED, {"a": 5})


def test_the_list_of_kept_images_survives_the_disk(tmp_path):
    ids = np.array([f"x{i}" for i in range(8)], dtype=object)
    write_kept(tmp_path, ids, INTENDED, np.array([1, 2, 6]))
    artifact = SimpleNamespace(file=lambda name: tmp_path / name, path=tmp_path)
    rows, intended = read_kept(artifact)
    assert rows.tolist() == [1, 2, 6]
    assert intended.tolist() == ["b", "a", "b"]
    assert (tmp_path / KEPT_FILE).is_file()
