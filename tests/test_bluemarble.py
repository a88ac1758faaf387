"""The satellite studies that run anywhere, on the real images, two steps of each task."""

from __future__ import annotations

from pathlib import Path

import pytest

from synthtrial.data.splits import read_split
from synthtrial.report.page import write_report
from synthtrial.store.artifacts import list_artifacts, open_store, read_artifact
from synthtrial.store.records import read_records
from synthtrial.study import load
from synthtrial.testing.studies import run_here, smallest

ZONES = {"arid", "cold", "ocean", "polar", "temperate", "tropical"}
#: What would take a minute at two steps: thousands of made images, maps, features at 128 pixels.
FEW = (
    "balance.count=4",
    "quality.features=reference",
    "cams.arm=null",
    "reference.training={max_steps: 2}",
    "engine.device=cpu",
)


def made(place, name, *overrides):
    """Run a shipped study at two steps a task in this process; return its plan and store."""
    study = smallest(name, *FEW, f"store.path={place / 'store'}", *overrides)
    store = open_store(Path(study.settings.store.path), create=True)
    plan = run_here(study, store)
    assert plan.complete
    return study, plan, store


@pytest.fixture(scope="module")
def zones(tmp_path_factory):
    place = tmp_path_factory.mktemp("zones")
    arms = (
        "arms={none: {}, original: {fit_on: original}, class_weights: {}, oversample: {sampler: "
        "balanced}, augmented4: {synthetic: true, filter: {candidates: 2, on_shortfall: fill}}, "
        "augmented2: {synthetic: true, dose_of: augmented4, balance: {count: 2}}, "
        "oversample_matched: {repeat: augmented4}}"
    )
    return made(place, "bluemarble_zones", arms)


def test_several_zones_an_image_go_through_the_same_arms(zones):
    _, _, store = zones
    tested = [row for row in read_records(store).to_pylist() if row["test"] is not None]
    assert {row["arm"] for row in tested} == {
        "none",
        "original",
        "class_weights",
        "oversample",
        "augmented4",
        "augmented2",
        "oversample_matched",
    }
    for row in tested:
        assert set(row["test"]["auc"]) == ZONES
        assert all(0 <= value <= 1 for value in row["test"]["auc"].values())


def test_no_block_of_patches_is_in_two_roles(zones):
    _, _, store = zones
    (split,) = (read_artifact(store, "split", id_) for id_ in list_artifacts(store, "split"))
    table = read_split(split)
    roles = {}
    for group, role in zip(table.group_ids, table.roles, strict=True):
        side = "train" if role == "removed" else role
        roles.setdefault(group, set()).add(side)
    assert len(roles) > 800
    assert all(len(sides) == 1 for sides in roles.values())


def test_only_training_images_are_taken_away(zones):
    study, _, store = zones
    (split,) = (read_artifact(store, "split", id_) for id_ in list_artifacts(store, "split"))
    counts = split.info["class_counts"]
    assert counts["removed"]["arid"] > 5 * counts["train"]["arid"]
    untouched = smallest(
        "bluemarble_zones", "imbalance.remove=0", "arms={none: {}}", "reference.arm=null", *FEW
    )
    other = open_store(Path(study.settings.store.path), create=False)
    plan = run_here(
        untouched.replace([f"store.path={other.root}"]),
        other,
        only=lambda task: task.kind in ("prepare", "split"),
    )
    (task,) = [task for task in plan.tasks.values() if task.kind == "split"]
    whole = read_artifact(other, "split", task.id).info["class_counts"]
    for role in ("validation", "test"):
        assert counts[role] == whole[role]


def test_the_report_tells_the_areas_of_both_sides(zones, tmp_path):
    study, plan, store = zones
    page = write_report(study, store, plan, tmp_path).read_text()
    assert "The rare classes and the others" in page
    assert "Means over a side" in page
    sides = (tmp_path / "tables" / "sides.csv").read_text()
    assert ",minority,,auc," in sides
    assert ",majority,,auc," in sides


def test_generators_along_their_training_are_one_study(tmp_path):
    study = load("bluemarble_quality")
    steps = [training.steps for training in study.gan_trainings]
    assert steps == [125, 250, 500, 1000, 2000]
    assert {training.fit_on for training in study.gan_trainings} == {"subset"}
    shared = load("bluemarble")
    assert study.arms["gan2000"].gan_training == shared.arms["unfiltered500"].gan_training
