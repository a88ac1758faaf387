"""The chest X-ray study, from a made CheXpert folder to its report."""

from __future__ import annotations

import csv
import random
import subprocess
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from synthtrial.data.chexpert import NAMES
from synthtrial.data.lineage import check_lineage
from synthtrial.data.splits import read_split
from synthtrial.errors import ConfigError, LeakageError
from synthtrial.store.artifacts import Descent, list_artifacts, open_store, read_artifact
from synthtrial.store.records import read_records
from synthtrial.study import load
from synthtrial.testing.chexpert import MadeFolder, write_chexpert

LABELS = "real" if find_spec("torchxrayvision") else "simulated"
#: Seconds instead of months: small images, a small network, one point of the grid.
SMALL = (
    "dataset.size=16",
    "classifier={name: small_cnn}",
    "generator={name: projection, width: 8}",
    "gan_training={steps: 3, global_batch: 16, precision: fp32, channels_last: false}",
    "regimens=[1.0]",
    "split.test=0.3",
    "split.validation=0.2",
    "training.epochs=2",
    "training.precision=fp32",
    "grid={learning_rate: [0.003]}",
    "protocol.draws=1",
    "protocol.replicates=2",
    "cams.images=6",
    "engine.device=cpu",
)
ARMS = "arms={none: {}, gan: {synthetic: true}, oversample_matched: {repeat: gan}}"


def small(folder, place, *overrides):
    return [
        *SMALL,
        f"dataset.path={folder}",
        f"store.path={place / 'store'}",
        f"store.report_path={place / 'reports'}",
        f"store.cache_path={place / 'cache'}",
        *overrides,
    ]


def results(place):
    """Return the metrics of every trial by its id."""
    rows = read_records(open_store(place / "store", create=False)).to_pylist()
    return {row["trial_id"]: (row["status"], row["validation"], row["test"]) for row in rows}


@pytest.fixture(scope="module")
def run(synthtrial_command):
    def run(study, overrides):
        command = [*synthtrial_command, "run", str(study), *overrides]
        return subprocess.run(command, capture_output=True, text=True)

    return run


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A made folder with a few flaws."""
    place = tmp_path_factory.mktemp("chexpert") / "CheXpert-v1.0-small"
    options = MadeFolder(
        patients=120, side=40, labels=LABELS, missing=0.01, truncated=0.01, sixteen_bit=0.03
    )
    flaws = write_chexpert(place, options)
    assert flaws.missing
    assert flaws.truncated
    return place


@pytest.fixture(scope="module")
def finished(folder, run, tmp_path_factory):
    place = tmp_path_factory.mktemp("finished")
    done = run("chexpert", small(folder, place, ARMS, "dataset.unreadable=skip"))
    assert done.returncode == 0, done.stdout + done.stderr
    return place


def test_flaws_end_the_run_with_one_error_that_names_the_list(folder, run, tmp_path):
    done = run("chexpert", small(folder, tmp_path, ARMS))
    assert done.returncode == 1
    assert "Traceback" not in done.stdout + done.stderr
    assert "images are missing or unreadable" in done.stderr
    assert "dataset.unreadable=skip" in done.stderr
    (listed,) = tmp_path.glob("store/unfinished/*/unreadable.csv")
    assert str(listed) in done.stderr


def test_left_out_images_are_listed_in_the_store(folder, finished):
    store = open_store(finished / "store", create=False)
    (id_,) = list_artifacts(store, "dataset")
    artifact = read_artifact(store, "dataset", id_)
    with artifact.file("unreadable.csv").open(newline="") as file:
        listed = list(csv.DictReader(file))
    assert len(listed) == artifact.info["unreadable"] > 0
    assert artifact.restrictions  # of Stanford, and of all that is made of these images
    for kind in ("generator", "synthetic", "cams", "exhibits"):
        for made in list_artifacts(store, kind):
            assert read_artifact(store, kind, made).restrictions == artifact.restrictions


def test_every_finding_has_its_own_score_and_nothing_is_stamped(finished):
    rows = read_records(open_store(finished / "store", create=False)).to_pylist()
    tested = [row for row in rows if row["test"]]
    assert len(tested) == 3 * 2
    for row in tested:
        assert set(row["test"]["auc"]) == set(NAMES)
        assert row["stamps"] == []


def test_the_report_stands_beside_the_printed_values_and_shows_no_image(finished):
    page = (finished / "reports" / "chexpert" / "report.html").read_text()
    for text in ("2107.02970", "Lung Lesion", "restricted"):
        assert text in page
    scores = finished / "reports" / "chexpert" / "tables" / "printed-scores.csv"
    with scores.open(newline="") as file:
        rows = list(csv.DictReader(file))
    printed = {row["printed"] for row in rows if row["class_name"] == "Pleural Other"}
    assert {"0.721", "0.727"} <= printed


def test_permuted_columns_give_identical_results_for_every_class(folder, finished, run, tmp_path):
    other = tmp_path / "permuted"
    other.mkdir()
    for item in folder.iterdir():
        if item.suffix != ".csv":
            (other / item.name).symlink_to(item)
    with (folder / "train.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    columns = list(rows[0])
    random.Random(5).shuffle(columns)
    with (other / "train.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(rows)
    done = run("chexpert", small(other, tmp_path, ARMS, "dataset.unreadable=skip"))
    assert done.returncode == 0, done.stdout + done.stderr
    assert results(tmp_path) == results(finished)


def test_no_patient_crosses_sides(finished):
    store = open_store(finished / "store", create=False)
    for id_ in list_artifacts(store, "split"):
        split = read_split(read_artifact(store, "split", id_))
        sides = {}
        for group, role in zip(split.group_ids, split.roles, strict=True):
            sides.setdefault(group, set()).add(role)
        assert {len(roles) for roles in sides.values()} == {1}
        assert all(name.startswith("patient") for name in sides)


def test_a_generator_that_saw_a_test_patient_is_refused_by_the_patients_name(finished):
    store = open_store(finished / "store", create=False)
    (id_,) = list_artifacts(store, "split")
    split = read_split(read_artifact(store, "split", id_))
    train = set(split.sample_ids[split.rows("train")])

    def check(allow):
        descents = [Descent(id_, ("train", "test"), None)]
        return check_lineage(
            store, descents, split, training_ids=train, groups_known=True, allow=allow
        )

    with pytest.raises(LeakageError, match=r"'patient\d{5}'") as error:
        check(allow=False)
    named = str(error.value).split("'")[1]
    assert set(split.roles[split.group_ids == named]) == {"test"}
    assert "LEAKY" in check(allow=True)


@pytest.fixture(scope="module")
def made_elsewhere(tmp_path_factory):
    """A table of images that nobody knows the origin of, each with one of the rare findings."""
    place = tmp_path_factory.mktemp("elsewhere")
    noise = np.random.default_rng(0)
    classes = [name for name in NAMES if name != "No Finding"]
    with (place / "images.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", *classes])
        for number in range(900):
            rare = ("Lung Lesion", "Pleural Other", "Fracture")[number % 3]
            pixels = noise.integers(0, 255, (16, 16), dtype=np.uint8)
            Image.fromarray(pixels).save(place / f"{number}.png")
            writer.writerow([f"{number}.png", *(int(name == rare) for name in classes)])
    return place / "images.csv"


def test_the_study_as_its_code_ran_needs_leave_and_says_so_in_every_table(
    folder, made_elsewhere, run, tmp_path
):
    held_out = tmp_path / "patients.txt"
    held_out.write_text("".join(f"patient{number:05d}\n" for number in range(1, 13)))
    external = f"generator={{name: external, table: {made_elsewhere}, resize: true}}"
    overrides = small(folder, tmp_path, "dataset.unreadable=skip", "dataset.exclude=[No Finding]")
    overrides = [item for item in overrides if not item.startswith(("generator=", "gan_training"))]
    overrides += [external, f"split.test_groups={held_out}", "balance={target: null, count: 40}"]
    with pytest.raises(ConfigError, match="allow_leakage=true"):
        load("chexpert_as_run", [*overrides, "allow_leakage=false"])
    done = run("chexpert_as_run", overrides)
    assert done.returncode == 0, done.stdout + done.stderr
    store = open_store(tmp_path / "store", create=False)
    for row in read_records(store).to_pylist():
        assert "LEAKY" in row["stamps"], row["arm"]
        assert set(row["validation"]["auc"]) == set(NAMES) - {"No Finding"}
    (id_,) = list_artifacts(store, "split")
    split = read_split(read_artifact(store, "split", id_))
    tested = set(split.group_ids[split.rows("test")])
    assert tested <= set(held_out.read_text().split())
    assert set(split.group_ids[split.rows("train")]) & set(
        split.group_ids[split.rows("validation")]
    )
    assert "LEAKY" in (tmp_path / "reports" / "chexpert_as_run" / "report.html").read_text()


def test_densenet_121_at_224_pixels_goes_through_every_stage(run, tmp_path):
    folder = tmp_path / "CheXpert-v1.0-small"
    write_chexpert(folder, MadeFolder(patients=24, side=240))
    assert Path(folder / "train.csv").is_file()
    exclude = [n for n in NAMES if n not in ("Fracture", "Pleural Other", "Lung Lesion", "Edema")]
    overrides = small(
        folder,
        tmp_path,
        "dataset.size=224",
        f"dataset.exclude=[{', '.join(exclude)}]",
        "classifier={name: densenet121}",
        "training.epochs=1",
        "training.max_steps=1",
        "training.batch_size=8",
        "protocol.replicates=1",
        "gan_training.steps=1",
        "gan_training.global_batch=4",
        "balance={target: null, count: 4}",
        "arms={none: {}, gan: {synthetic: true}}",
    )
    done = run("chexpert", overrides)
    assert done.returncode == 0, done.stdout + done.stderr
    rows = read_records(open_store(tmp_path / "store", create=False)).to_pylist()
    assert {(row["arm"], row["status"]) for row in rows} == {("none", "done"), ("gan", "done")}
    assert rows[0]["parameters"] > 6_900_000
