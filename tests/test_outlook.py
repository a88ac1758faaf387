"""What labels say before anything has run."""

from __future__ import annotations

import json
import math
import subprocess

import numpy as np
import pytest

from synthtrial.outlook import ASSUMED_AUC, outlook
from synthtrial.plan import build
from synthtrial.stats.auc import hanley_mcneil_se
from synthtrial.store.artifacts import open_store, read_artifact
from synthtrial.study import load
from synthtrial.work import Context, run_task

STUDY = """
name: wards
dataset: {name: toy_multi, rows: 400, uncertain: 0.2}
split: {test: 0.25, validation: 0.15, validation_scope: proportional}
regimens: [0.5, 1.0]
balance: {classes: [ash, dent], target: 0.35}
arms:
  none: {}
  gan: {synthetic: true}
  oversample_matched: {repeat: gan}
generator: {name: projection, width: 8}
classifier: {name: small_cnn}
protocol: {draws: 1, replicates: 1, select_by: auc}
metrics: [auc]
statistics: {overall: auc, per_class: auc}
engine: {device: cpu}
"""


@pytest.fixture
def study(tmp_path):
    def make(*overrides):
        path = tmp_path / "wards.yaml"
        path.write_text(STUDY)
        places = [f"store.path={tmp_path / 'store'}", f"store.cache_path={tmp_path / 'cache'}"]
        return load(path, [*places, *overrides])

    return make


def test_it_is_what_the_study_then_does(study):
    """Rows, positives and added images are those of the split and the allocation that are made."""
    made = study()
    seen = outlook(made)
    plan = build(made, None)
    store = open_store(made.store_path, create=True)
    (store.root / "studies").mkdir()
    (store.root / "studies" / f"{made.digest}.yaml").write_text(made.snapshot())
    with Context(store, engine="test", device="cpu") as context:
        for task in plan.tasks.values():
            if task.kind in ("prepare", "split", "allocate"):
                run_task(store, task, context)
    for task in plan.tasks.values():
        if task.kind != "allocate":
            continue
        info = read_artifact(store, "allocation", task.id).info
        (mine,) = [r for r in seen.regimens if r.regimen == info["regimen"]]
        assert mine.images == info["n_rows"]
        assert dict(mine.positives) == info["counts_before"]
        assert mine.added == {"gan, oversample_matched": info["required"]}
    (split,) = [task for task in plan.tasks.values() if task.kind == "split"]
    assert seen.test.images == read_artifact(store, "split", split.id).info["rows"]["test"]


def test_classes_come_rarest_first_with_what_is_uncertain(study):
    made = study()
    table = made.dataset.load().label_table()
    seen = outlook(made)
    assert [item.prevalence for item in seen.classes] == sorted(i.prevalence for i in seen.classes)
    for item in seen.classes:
        raw_N = table.labels_NK[:, table.classes.index(item.name)]
        counts = [int((raw_N == value).sum()) for value in (1, -1, 0)]
        assert [item.positive, item.uncertain, item.negative] == counts
        assert item.prevalence == pytest.approx(np.isin(raw_N, (1, -1)).mean())


def test_standard_errors_are_those_of_the_positives_held_out(study):
    seen = outlook(study())
    for held in (seen.test, *(regimen.validation for regimen in seen.regimens)):
        for name, positives in held.positives.items():
            expected = hanley_mcneil_se(ASSUMED_AUC, positives, held.images - positives)
            assert held.se[name] == pytest.approx(float(expected))
    half, whole = (regimen.validation.images for regimen in seen.regimens)
    assert half < whole  # validation is thinned with the regimen


def test_a_class_without_a_positive_in_validation_has_no_standard_error(study):
    seen = outlook(study("regimens=[0.02,1.0]", "dataset.rows=1500"))
    thin = seen.regimens[0].validation
    lacking = [name for name, count in thin.positives.items() if not count]
    assert lacking
    assert all(math.isnan(thin.se[name]) for name in lacking)


def test_a_target_that_cannot_be_reached_is_said_and_not_raised(study):
    seen = outlook(study("balance.target=0.9"))
    assert "largest prevalence" in seen.regimens[0].refused["gan, oversample_matched"]


def test_plan_prints_it_and_gives_it_as_json(study, tmp_path, synthtrial_command):
    study()
    command = [*synthtrial_command, "plan", str(tmp_path / "wards.yaml"), "store.path=none"]
    text = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path).stdout
    assert "Data: 400 images of " in text
    assert "SE: standard error of an AUC of 0.75" in text
    json_ = subprocess.run([*command, "--json"], capture_output=True, text=True, check=True)
    data = json.loads(json_.stdout)["data"]
    assert data["images"] == 400
    assert [regimen["regimen"] for regimen in data["regimens"]] == [0.5, 1.0]


def test_plan_of_digits_shows_no_standard_errors_of_areas(synthtrial_command, tmp_path):
    command = [*synthtrial_command, "plan", "digits"]
    text = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path).stdout
    assert "Data: 1,797 images (GROUPS UNKNOWN); 451 to test on" in text
    assert "SE" not in text
    assert "uncertain" not in text


@pytest.mark.parametrize("own", [True, False], ids=["kept", "dealt anew"])
def test_plan_says_where_sides_that_the_data_come_with_are_not_kept(
    own, study, tmp_path, synthtrial_command
):
    study()
    for side, count in (("train", 8), ("test", 4)):
        for name in ("ash", "elm"):
            (tmp_path / "trees" / side / name).mkdir(parents=True)
            for n in range(count):
                (tmp_path / "trees" / side / name / f"{n}.png").touch()
    trees = [
        f"dataset={{name: image_folder, path: {tmp_path / 'trees'}, size: 16, channels: 1}}",
        "balance.classes=[ash]",
        "balance.target=0.6",
        f"split.own={str(own).lower()}",
    ]
    command = [*synthtrial_command, "plan", str(tmp_path / "wards.yaml"), "store.path=none", *trees]
    text = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path).stdout
    said = "comes with sides of its own (train 16, test 8), which split.own=true keeps"
    assert (said in " ".join(text.split())) is not own
