"""A study of images that hold several classes, with patients, through the same path."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from synthtrial.store.artifacts import list_artifacts, open_store, read_artifact
from synthtrial.store.records import read_records

STUDY = """
name: wards
dataset: {name: toy_multi, rows: 400}
split: {test: 0.25, validation: 0.15}
regimens: [0.5, 1.0]
balance: {classes: [ash, dent], target: 0.35}
arms:
  none: {}
  standard: {augment: [{name: flip, horizontal: 0.5, vertical: 0.5}]}
  gan: {synthetic: true}
  class_weights: {}
  oversample_matched: {repeat: gan}
generator: {name: projection, width: 8}
gan_training: {steps: 10}
classifier: {name: small_cnn}
training: {epochs: 2, label_policy: ones}
grid: {learning_rate: [1.0e-2], optimizer: [adam], batch_size: [32]}
protocol: {draws: 2, replicates: 2, select_by: auc}
metrics: [accuracy, auc]
statistics: {overall: accuracy, per_class: auc, minority: [ash, dent]}
engine: {device: cpu}
"""


@pytest.fixture(scope="module")
def wards(tmp_path_factory, synthtrial_command):
    place = tmp_path_factory.mktemp("wards")
    study = place / "wards.yaml"
    study.write_text(STUDY)
    overrides = [
        f"store.path={place / 'store'}",
        f"store.report_path={place / 'reports'}",
        f"store.cache_path={place / 'cache'}",
    ]
    done = subprocess.run(
        [*synthtrial_command, "run", str(study), *overrides], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return open_store(place / "store", create=False), place / "reports" / "wards"


def test_every_class_has_an_area_under_its_curve(wards):
    store, _ = wards
    tested = [row for row in read_records(store).to_pylist() if row["test"] is not None]
    assert len(tested) == 5 * 2 * 2
    for row in tested:
        assert set(row["test"]["auc"]) == {"rust", "crack", "ash", "dent"}
        assert all(0 <= value <= 1 for value in row["test"]["auc"].values())


def test_known_groups_need_no_stamp(wards):
    store, _ = wards
    assert all(row["stamps"] == [] for row in read_records(store).to_pylist())


def test_added_label_vectors_hold_what_occurs_together_and_reach_the_target(wards):
    store, _ = wards
    for id_ in list_artifacts(store, "allocation"):
        info = read_artifact(store, "allocation", id_).info
        assert min(info["realised"]["ash"], info["realised"]["dent"]) >= 0.35
        assert (
            0 < info["images"] == sum(info["required"].values()) + sum(info["topped_up"].values())
        )


def test_the_report_is_written(wards):
    _, folder = wards
    page = Path(folder / "report.html").read_text()
    assert "Did the synthetic images help?" in page
    assert "ash and dent" in page
