"""Class activation maps on the page."""

from __future__ import annotations

import dataclasses
import json
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from synthtrial.errors import DamagedArtifactError
from synthtrial.report.cams import ClassMaps, Likeness, Maps, find_maps, maps_context, maps_table
from synthtrial.report.facts import DASH, MINUS
from synthtrial.store.artifacts import draft, open_store


def alike(mean, low, high):
    return Likeness(mean, low, high, 30)


def maps_of(mixed, real):
    likeness = {"real_made": mixed, "real_real": real, "made_made": alike(0.3, 0.2, 0.4)}
    images = {"real": 6, "made": 6}
    return Maps(
        "gan",
        1.0,
        (ClassMaps("Fracture", images, likeness, {"real": 0.25, "made": None}, 0.1),),
    )


@pytest.mark.parametrize(
    ("mixed", "real", "said"),
    [
        (alike(0.1, 0.0, 0.2), alike(0.6, 0.5, 0.7), "it looks elsewhere in them"),
        (alike(0.9, 0.8, 1.0), alike(0.6, 0.5, 0.7), "more like those of real ones"),
        (alike(0.5, 0.4, 0.6), alike(0.6, 0.5, 0.7), "cannot be told; the intervals overlap"),
        (None, alike(0.6, 0.5, 0.7), "hardly a map differs from place to place"),
    ],
)
def test_a_sentence_says_what_the_intervals_allow(mixed, real, said):
    shown = maps_context(maps_of(mixed, real), None)["maps"]
    (sentence,) = shown["sentences"]
    assert sentence.startswith("Fracture: ")
    assert said in sentence


def test_few_images_are_said():
    maps = maps_of(None, None)
    few = dataclasses.replace(maps.classes[0], images={"real": 1, "made": 6})
    (sentence,) = maps_context(dataclasses.replace(maps, classes=(few,)), None)["maps"]["sentences"]
    assert "too few images" in sentence
    assert "1 real image, 6 made" in sentence


def test_figures_and_their_lack_are_in_table_and_page():
    maps = maps_of(None, alike(-0.25, -0.5, 0.1))
    (row,) = maps_context(maps, None)["maps"]["rows"]
    assert row["likeness"][0] == DASH
    assert row["likeness"][1] == f"{MINUS}0.25 ({MINUS}0.50 to 0.10)"
    assert row["concentration"] == ["25 %", DASH, "10 %"]
    table = maps_table(maps)
    assert list(table.pair) == ["real_made", "real_real", "made_made"]
    assert np.isnan(table.likeness.astype(float)[0])
    assert table.likeness[1] == -0.25


def test_no_maps_are_no_section():
    assert maps_context(None, None) == {"maps": None}


@pytest.fixture
def stored(tmp_path):
    """A store with maps of one class, and a plan in which they are done."""

    def make(content=None, restrictions=()):
        store = open_store(tmp_path / "store", create=True)
        pair = {"mean": 0.5, "low": 0.4, "high": 0.6, "pairs": 4, "flat": 0}
        entry = {
            "class": "Fracture",
            "pictures": {"real": "00-real.png"},
            "images": {"real": 2, "made": 1},
            "real_made": pair,
            "real_real": pair,
            "made_made": {"why": "1 map"},
            "concentration_real": 0.3,
            "concentration_made": None,
            "concentration_uniform": 0.1,
        }
        with draft(store, "cams", "c", inputs={}, restrictions=restrictions) as made:
            Image.fromarray(np.zeros((16, 16, 3), np.uint8)).save(made.path / "00-real.png")
            text = json.dumps({"classes": [entry]}) if content is None else content
            (made.path / "cams.json").write_text(text)
            made.info.update(arm="gan", regimen=1.0, tiles=6)
        plan = SimpleNamespace(tasks={"c": SimpleNamespace(kind="cams", id="c")}, done={"c"})
        return store, plan

    return make


def test_they_are_read_from_the_store(stored):
    maps = find_maps(*stored(), shown=False)
    assert (maps.arm, maps.regimen) == ("gan", 1.0)
    (item,) = maps.classes
    assert item.likeness["made_made"] is None
    assert dataclasses.astuple(item.likeness["real_made"]) == (0.5, 0.4, 0.6, 4)
    (picture,) = item.pictures
    assert (picture.role, picture.tiles) == ("real", 2)


def test_restricted_pictures_are_shown_only_where_that_is_asked_for(stored):
    place = stored(restrictions=["a licence"])
    assert find_maps(*place, shown=False).classes[0].pictures == ()
    assert find_maps(*place, shown=True).classes[0].pictures


def test_what_is_not_done_is_not_there(stored):
    store, plan = stored()
    assert find_maps(store, SimpleNamespace(tasks=plan.tasks, done=set()), shown=True) is None


def test_damaged_maps_are_named(stored):
    with pytest.raises(DamagedArtifactError, match=r"cams\.json is damaged"):
        find_maps(*stored(content="{}"), shown=True)
