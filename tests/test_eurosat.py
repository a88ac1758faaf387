"""The trial of the satellite images, from made Parquet files of EuroSAT's layout to its report."""

from __future__ import annotations

import csv
import io
import json
import subprocess
from collections import Counter

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from synthtrial.data.splits import read_split
from synthtrial.errors import ConfigError
from synthtrial.graph import trial_task
from synthtrial.outlook import outlook
from synthtrial.plan import build
from synthtrial.store.artifacts import list_artifacts, open_store, read_artifact
from synthtrial.store.images import read_labels
from synthtrial.store.records import read_records
from synthtrial.study import load
from synthtrial.synthesis.filtering import read_kept
from synthtrial.tasks import Cell
from synthtrial.testing.eurosat import CLASSES, MadeEurosat, class_sizes, draw, write_eurosat
from synthtrial.testing.studies import run_here
from synthtrial.work import Context
from synthtrial.work.images import made_images

MADE = MadeEurosat(scale=0.01)
RARE = ("Highway", "River")
#: The post's counts of added images, and these tests'.
COUNTS = {"500": 5, "300": 3, "100": 1}
POOLS = ("augmented", "seen")
#: Seconds instead of GPU-hours: small networks, few steps, one draw.
SMALL = (
    "classifier={name: small_cnn, width: 8}",
    "generator={name: projection, width: 8, latent: 16}",
    "gan_training.steps=3",
    "gan_training.global_batch=8",
    "gan_training.precision=fp32",
    "gan_training.channels_last=false",
    "quality.features=reference",
    "training.epochs=2",
    "training.batch_size=32",
    "training.learning_rate=0.003",
    "protocol.draws=1",
    "protocol.replicates=1",
    "cams.images=2",
    "engine.device=cpu",
)
#: What such generators make is recognised by nobody.
FILLED = [f"arms.{pool}500.filter={{candidates: 2, on_shortfall: fill}}" for pool in POOLS]
FEWER = [f"balance.count={COUNTS['500']}"] + [
    f"arms.{pool}{post}.balance.count={count}"
    for pool in ("unfiltered", *POOLS)
    for post, count in COUNTS.items()
    if post != "500"
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("eurosat") / "EuroSAT_RGB"
    write_eurosat(place, MADE)
    return place


def places(folder, place):
    return [
        f"dataset.path={folder}",
        f"store.path={place / 'store'}",
        f"store.report_path={place / 'reports'}",
        f"store.cache_path={place / 'cache'}",
    ]


@pytest.fixture(scope="module")
def run(synthtrial_command):
    def run(verb, *overrides):
        command = [*synthtrial_command, verb, "eurosat", *overrides]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return run


class Finished:
    """The finished study with all its arms, cut down."""

    def __init__(self, folder, place, run):
        overrides = [*places(folder, place), *SMALL, *FILLED, *FEWER]
        run("run", *overrides)
        self.study = load("eurosat", overrides)
        self.store = open_store(place / "store", create=False)
        self.plan = build(self.study, self.store)
        self.report = place / "reports" / "eurosat"
        rows = read_records(self.store).to_pylist()
        self.tested = {row["arm"]: row for row in rows if row["test"]}

    def table(self, name):
        with (self.report / "tables" / name).open(newline="") as file:
            return list(csv.DictReader(file))

    def images(self, arm):
        """Return ids and classes of the images that an arm's replicate is trained on."""
        trial = trial_task(self.study, Cell(arm, 1.0), "replicate", 0, {})
        with Context(self.store, engine="none", device="cpu") as context:
            found = made_images(trial.payload["treatment"], context, self.study)
            labels = found.arrays.labels
            ids, meant = labels.sample_ids[found.rows], labels.intended[found.rows]
        return {name: ids[meant == name].tolist() for name in RARE}


@pytest.fixture(scope="module")
def finished(folder, run, tmp_path_factory):
    return Finished(folder, tmp_path_factory.mktemp("finished"), run)


def test_the_made_files_have_the_layout_of_the_true_ones(folder):
    assert [sum(sizes.values()) for sizes in class_sizes(MadeEurosat()).values()] == [
        16_200,
        5_400,
        5_400,
    ]
    assert sorted(path.name for path in folder.rglob("*.parquet")) == [
        f"{side}-00000-of-00001.parquet" for side in ("test", "train", "validation")
    ]
    for side, sizes in class_sizes(MADE).items():
        table = pq.read_table(folder / "data" / f"{side}-00000-of-00001.parquet")
        assert [str(field.type) for field in table.schema] == [
            "struct<bytes: binary, path: string>",
            "int64",
        ]
        info = json.loads(table.schema.metadata[b"huggingface"])["info"]["features"]
        assert info["label"]["names"] == list(CLASSES)
        labels = table["label"].to_pylist()
        assert labels != sorted(labels)
        assert Counter(list(CLASSES)[label] for label in labels) == sizes
        first = table["image"][0].as_py()
        with Image.open(io.BytesIO(first["bytes"])) as image:
            assert (image.format, image.mode, image.size) == ("JPEG", "RGB", (64, 64))


def test_a_made_picture_depends_on_its_name_alone(folder, tmp_path):
    write_eurosat(tmp_path, MADE)
    for path in folder.rglob("*.parquet"):
        assert path.read_bytes() == (tmp_path / "data" / path.name).read_bytes()
    one = draw("River", "train", 3, seed=0)
    np.testing.assert_array_equal(one, draw("River", "train", 3, seed=0))
    for other in (("River", "test", 3, 0), ("River", "train", 4, 0), ("River", "train", 3, 1)):
        assert (one != draw(*other)).any()
    with pytest.raises(ConfigError, match="scale is 0"):
        write_eurosat(tmp_path, MadeEurosat(scale=0))


def test_made_pictures_of_each_class_can_be_told_apart():
    """By colours and by how much neighbours differ, nearest to the means of twenty of a class."""

    def seen(name, number):
        x_HWC = draw(name, "train", number, seed=0).astype(np.float64)
        rough = [np.abs(np.diff(x_HWC, n=1, axis=axis)).mean() for axis in (0, 1)]
        return np.array([*x_HWC.mean((0, 1)), *x_HWC.std((0, 1)), *rough])

    known = {name: np.mean([seen(name, row) for row in range(20)], axis=0) for name in CLASSES}
    spread = np.std(list(known.values()), axis=0)
    right = [
        min(known, key=lambda other: (((known[other] - seen(name, row)) / spread) ** 2).sum())
        == name
        for name in CLASSES
        for row in range(20, 30)
    ]
    assert np.mean(right) > 0.8


def test_a_plan_names_who_is_rare_and_who_is_given_what(folder, run, tmp_path):
    said = run("plan", *places(folder, tmp_path), "classifier.weights=none")
    sizes = class_sizes(MADE)
    assert f"{sum(sum(side.values()) for side in sizes.values())} images" in said
    assert "14 arms" in said
    adding = [arm.name for arm in load("eurosat").arms.values() if arm.adds_images]
    for name in (*CLASSES, *adding):
        assert name in said, "neither classes nor arms are cut off"
    study = load("eurosat", places(folder, tmp_path))
    (regimen,) = outlook(study).regimens
    assert regimen.added == {
        "oversample_matched, augmented500, unfiltered500, seen500": dict.fromkeys(RARE, 500),
        "augmented300, unfiltered300, seen300": dict.fromkeys(RARE, 300),
        "augmented100, unfiltered100, seen100": dict.fromkeys(RARE, 100),
    }
    kinds = Counter(task.kind for task in build(study, None).to_do())
    assert kinds["train_gan"] == 3 * 2  # of each draw one for the subset, one that saw all of it


def test_only_training_is_made_imbalanced(finished):
    (id_,) = list_artifacts(finished.store, "split")
    split = read_split(read_artifact(finished.store, "split", id_))
    (dataset,) = list_artifacts(finished.store, "dataset")
    labels = read_labels(read_artifact(finished.store, "dataset", dataset))
    names = np.array(labels.classes, dtype=object)[labels.labels_NK.argmax(axis=1)]
    named = dict(zip(labels.sample_ids, names, strict=True))

    def counts(*roles):
        return Counter(named[id_] for id_ in split.sample_ids[split.rows(roles)])

    sizes = class_sizes(MADE)
    for side in ("validation", "test"):
        assert counts(side) == sizes[side]
        rows = split.sample_ids[split.rows(side)]
        assert all(name.startswith(f"{side}-") for name in rows), "the dataset's own side"
    assert counts("train", "removed") == sizes["train"]
    left = counts("train")
    for name, size in sizes["train"].items():
        assert left[name] == (round(0.15 * size) if name in RARE else size)
    assert finished.tested["none"]["n_real"] == left.total()
    assert finished.tested["original"]["n_real"] == sum(sizes["train"].values())


def test_every_arm_is_tested_and_only_those_that_saw_more_are_privileged(finished):
    arms = list(finished.study.arms)
    assert len(arms) == 14
    assert set(finished.tested) == set(arms)
    for arm, row in finished.tested.items():
        seen = arm.startswith("seen")
        assert set(row["stamps"]) == ({"PRIVILEGED"} if seen else set()) | {"GROUPS UNKNOWN"}, arm
        each = 5 if arm == "oversample_matched" else COUNTS.get(arm[-3:], 0)
        assert row["n_added"] == len(RARE) * each, arm
    generators = {row["place"] for row in finished.table("generators.csv")}
    assert generators == {"100 %", "before imbalance"}


@pytest.mark.parametrize("pool", POOLS)
def test_smaller_doses_are_the_first_of_the_same_accepted_images(finished, pool):
    trial = trial_task(finished.study, Cell(f"{pool}500", 1.0), "replicate", 0, {})
    kept = read_artifact(finished.store, "filtered", trial.payload["treatment"]["kept"])
    _, intended = read_kept(kept)
    largest = finished.images(f"{pool}500")
    for name in RARE:
        facts = kept.info["classes"][name]
        assert facts["kept"] == len(largest[name]) == COUNTS["500"] == (intended == name).sum()
        for post in ("300", "100"):
            assert finished.images(f"{pool}{post}")[name] == largest[name][: COUNTS[post]]


def test_what_the_filter_accepted_is_in_a_table_and_on_the_page(finished):
    rows = finished.table("filter-acceptance.csv")
    assert {(row["arms"], row["class_name"]) for row in rows} == {
        (f"{pool}500, {pool}300, {pool}100", name) for pool in POOLS for name in RARE
    }
    for row in rows:
        numbers = {key: int(row[key]) for key in ("candidates", "accepted", "kept", "filled")}
        assert numbers["candidates"] == 2 * COUNTS["500"]
        assert numbers["kept"] == COUNTS["500"]
        assert numbers["filled"] == max(0, numbers["kept"] - numbers["accepted"])
    page = (finished.report / "report.html").read_text()
    for text in ("What the filter accepted", "filter-acceptance.csv", "PRIVILEGED", *RARE):
        assert text in page


def test_the_original_data_are_what_arms_aspire_to_and_no_rival(finished):
    page = (finished.report / "report.html").read_text()
    assert "original, on images that the others are denied, is no rival" in page
    assert "than original" not in page


def test_efficientnet_b2_at_64_pixels_is_trained_without_and_with_made_images(folder, tmp_path):
    filled = "{candidates: 1, on_shortfall: fill}"
    overrides = [
        *places(folder, tmp_path),
        *(item for item in SMALL if not item.startswith("classifier=")),
        "classifier.weights=none",  # ImageNet's cannot be fetched everywhere
        f"arms={{none: {{}}, augmented: {{synthetic: true, filter: {filled}}}}}",
        "balance.count=2",
        "cams.arm=null",
        "gan_training.steps=1",
        "quality.features=none",
        "training.epochs=1",
        "training.max_steps=2",
        "training.batch_size=4",
    ]
    study = load("eurosat", overrides)
    store = open_store(study.store_path, create=True)
    run_here(study, store, only=lambda task: task.kind != "exhibits")
    tested = {row["arm"]: row for row in read_records(store).to_pylist() if row["test"]}
    assert {arm: row["n_added"] for arm, row in tested.items()} == {"none": 0, "augmented": 4}
    for row in tested.values():
        assert (row["status"], row["steps"]) == ("done", 2)
        assert 7_000_000 < row["parameters"] < 8_000_000
        assert set(row["test"]["recall"]) == set(CLASSES)
