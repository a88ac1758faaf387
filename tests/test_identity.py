from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pytest

from synthtrial.identity import canonical_json, code_digest, digest, non_default, stream, torch_seed


@dataclass(frozen=True)
class Knobs:
    rate: float = 0.1
    names: list[str] = field(default_factory=list)


def test_ids_are_pinned():
    # These very ids name results on users' disks: a change here orphans them all.
    assert digest({"b": [1, 2.5, None, True], "a": "é"}) == "0c187fb652afca8017b5"
    assert digest([]) == "4f53cda18c2baa0c0354"


def test_equal_meanings_give_equal_text():
    assert canonical_json({"a": 1, "b": 2.0}) == canonical_json({"b": 2, "a": 1.0})
    assert canonical_json(True) != canonical_json(1)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_ids_cannot_depend_on_numbers_that_equal_nothing(value):
    with pytest.raises(ValueError, match="non-finite"):
        canonical_json({"x": value})


@pytest.mark.parametrize("value", [{1: 2}, {"x": object()}, b"bytes"])
def test_ids_depend_on_plain_data_only(value):
    if isinstance(value, bytes):
        assert canonical_json(value) == "[98,121,116,101,115]"
    else:
        with pytest.raises(TypeError):
            canonical_json(value)


def test_settings_at_their_defaults_do_not_enter_an_id():
    assert non_default(Knobs()) == {}
    assert non_default(Knobs(rate=0.2)) == {"rate": 0.2}
    assert canonical_json(Knobs(names=["x"])) == '{"names":["x"]}'


def test_streams_are_pinned_and_independent_of_each_other():
    assert stream(0, "order", 1, 2).integers(0, 1000, 4).tolist() == [536, 5, 321, 630]
    first = stream(7, "order", 0).random(1000)
    second = stream(7, "order", 1).random(1000)
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.1
    assert (stream(7, "order", 0).random(1000) == first).all()


def test_torch_seeds_fit_into_63_bits():
    seeds = {torch_seed(0, "init", replicate) for replicate in range(100)}
    assert len(seeds) == 100
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_the_code_digest_names_the_source():
    assert len(code_digest()) == 20
