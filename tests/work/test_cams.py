"""Class activation maps of a trained classifier, as a task of a study."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from synthtrial.errors import ConfigError
from synthtrial.graph import cam_task
from synthtrial.plan import build
from synthtrial.store.artifacts import exists, read_artifact
from synthtrial.work.cams import CAMS_FILE, TILES


def to_maps(bench):
    """Run a study as far as its maps; return their task."""
    cell = next(c for c in bench.plan.selections if (c.arm, c.regimen) == ("gan", 1.0))
    select = bench.run(bench.plan.tasks[bench.plan.selections[cell]])
    chosen = read_artifact(bench.store, "selection", select.id).info["configuration"]
    added = bench.plan.expand(cell, chosen)
    (maps,) = [task for task in added if task.kind == "cams"]
    return maps


@pytest.fixture
def cams(wards):
    def make(*overrides):
        bench = wards("cams={arm: gan, images: 8}", *overrides)
        return bench, to_maps(bench)

    return make


def test_maps_are_drawn_of_real_and_made_images_of_each_class_of_interest(cams):
    bench, task = cams()
    bench.run(task)
    artifact = read_artifact(bench.store, "cams", task.id)
    found = json.loads(artifact.file(CAMS_FILE).read_text())["classes"]
    assert [entry["class"] for entry in found] == ["crack", "dent"]
    for entry in found:
        assert entry["images"] == {"real": 8, "made": 8}
        for pair in ("real_made", "real_real", "made_made"):
            assert -1 <= entry[pair]["low"] <= entry[pair]["mean"] <= entry[pair]["high"] <= 1
        assert entry["real_made"]["pairs"] == 64 - 8 * entry["real_made"]["flat"]
        assert 0 < entry["concentration_uniform"] < 1
        for file in entry["pictures"].values():
            with Image.open(artifact.file(file)) as image:
                sheet_HWC = np.asarray(image)
            assert sheet_HWC.shape == (2 * 8, TILES * 8, 3)  # images of 8 x 8 pixels, maps below
            plain, over = sheet_HWC[:8], sheet_HWC[8:]
            assert (plain[..., 0] == plain[..., 2]).all()  # grey
            assert (over[..., 0] != over[..., 2]).any()  # coloured
    assert artifact.lineage  # of the made images


def test_the_classifier_is_that_of_the_trial(cams):
    """Trained anew where it was not kept, it has the same weights, and so draws the same maps."""
    bench, task = cams()
    bench.run(task)
    maps = read_artifact(bench.store, "cams", task.id)
    assert exists(bench.store, "weights", task.payload["place"]["trial_id"])
    kept = maps.file(CAMS_FILE).read_bytes()
    for kind, id_ in (("cams", task.id), ("weights", task.payload["place"]["trial_id"])):
        bench.store.folder(kind, id_).rename(bench.store.root / f"gone-{kind}")
    bench.run(task)
    assert read_artifact(bench.store, "cams", task.id).file(CAMS_FILE).read_bytes() == kept


def test_only_the_first_replicate_at_the_largest_regimen_is_drawn(cams):
    bench, task = cams("protocol.replicates=3", "regimens=[0.5,1.0]")
    assert task.payload["place"]["replicate"] == 0
    assert task.payload["place"]["regimen"] == 1.0
    added = [
        other
        for cell in bench.plan.selections
        for other in bench.plan.expand(cell, bench.study.configurations[0])
    ]
    drawn = [other for other in added if other.kind == "trial" and cam_task(bench.study, other)]
    assert {(o.trial.arm, o.trial.regimen, o.trial.replicate) for o in drawn} <= {("gan", 1.0, 0)}


def test_where_classes_choose_for_themselves_maps_are_of_the_first(cams):
    bench, _ = cams("protocol.select_over=per_class")
    added = [
        task
        for cell in bench.plan.selections
        for task in bench.plan.expand(cell, bench.study.configurations[1])
        if task.kind == "cams"
    ]
    assert len(added) <= 1


def test_maps_change_no_id_of_anything_else(wards):
    plain = set(build(wards().study, None).tasks)
    assert set(build(wards("cams.arm=gan").study, None).tasks) == plain


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["cams.arm=none"], "not an arm that adds synthetic images"),
        (["cams.arm=gan", "cams.images=1"], r"cams\.images is 1; allowed: at least 2"),
    ],
)
def test_maps_that_cannot_be_are_refused(wards, overrides, message):
    with pytest.raises(ConfigError, match=message):
        wards(*overrides)
