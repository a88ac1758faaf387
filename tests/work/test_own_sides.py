"""Studies that keep a dataset's own test set, from the files to the split."""

import numpy as np
import pytest
from PIL import Image

from synthtrial.data.splits import read_split
from synthtrial.errors import ConfigError, DataError
from synthtrial.outlook import outlook
from synthtrial.store.artifacts import open_store, read_artifact
from synthtrial.study import load
from synthtrial.testing.studies import run_here
from synthtrial.upstream import split_identity

STUDY = """
name: sides
regimens: [1.0]
arms: {none: {}}
classifier: {name: small_cnn, width: 8}
statistics: {baseline: none}
protocol: {draws: 2, replicates: 2}
engine: {device: cpu}
"""
EACH = {"train": 8, "val": 2, "test": 4}


@pytest.fixture
def study(tmp_path):
    folder = tmp_path / "pets"
    for number, (side, each) in enumerate(EACH.items()):
        for k, name in enumerate(("ant", "moth")):
            place = folder / side / name
            place.mkdir(parents=True)
            for row in range(each):
                image = np.random.default_rng([number, k, row]).integers(0, 256, (8, 8), np.uint8)
                Image.fromarray(image).save(place / f"{row}.png")
    (tmp_path / "sides.yaml").write_text(STUDY)

    def make(*overrides):
        return load(
            tmp_path / "sides.yaml",
            [
                f"dataset={{name: image_folder, path: {folder}}}",
                f"store.path={tmp_path / 'store'}",
                f"store.cache_path={tmp_path / 'cache'}",
                *overrides,
            ],
        )

    return make


def splits_of(study):
    store = open_store(study.store_path)
    plan = run_here(study, store, only=lambda task: task.kind in ("prepare", "split"))
    ids = {
        kind: [task.id for task in plan.tasks.values() if task.kind == kind]
        for kind in ("prepare", "split")
    }
    dataset = read_artifact(store, "dataset", ids["prepare"][0])
    return dataset, [read_split(read_artifact(store, "split", name)) for name in ids["split"]]


def test_a_study_keeps_the_sides_that_its_dataset_came_with(study):
    dataset, splits = splits_of(study("split.own=true"))
    assert "sides.parquet" in dataset.files
    assert len(splits) == 2
    for split in splits:
        for role, side in (("train", "train"), ("validation", "val"), ("test", "test")):
            names = split.sample_ids[split.rows(role)]
            assert len(names) == 2 * EACH[side]
            assert all(name.startswith(f"{side}/") for name in names)


def test_skipped_images_leave_the_sides_of_the_others(study, tmp_path):
    (tmp_path / "pets" / "test" / "ant" / "1.png").write_bytes(b"damaged")
    with pytest.raises(DataError, match=r"1 of 28 images .*test/ant/1\.png: it is none of PNG"):
        splits_of(study("split.own=true"))
    dataset, splits = splits_of(study("split.own=true", "dataset.unreadable=skip"))
    listed = dataset.file("unreadable.csv").read_text().splitlines()
    assert listed[1].startswith('test/ant/1.png,"it is none of PNG')
    names = splits[0].sample_ids[splits[0].rows("test")].tolist()
    assert len(names) == 7
    assert "test/ant/1.png" not in names
    assert all(name.startswith("test/") for name in names)


def test_the_outlook_is_that_of_the_own_sides(study):
    found = outlook(study("split.own=true"))
    assert found.test.images == 8
    assert found.regimens[0].images == 16
    assert found.regimens[0].validation.images == 4


def test_sides_that_a_dataset_lacks_are_missed_before_its_images_are_read(study, tmp_path):
    flat = tmp_path / "pets" / "train"
    asked = study("split.own=true", f"dataset.path={flat}")
    with pytest.raises(DataError, match=r"split\.own: the dataset has no sides of its own"):
        splits_of(asked)
    assert not list((tmp_path / "store" / "dataset").glob("*"))
    with pytest.raises(ConfigError, match="the dataset 'digits' has no test set of its own"):
        load("digits", ["split.own=true"])


@pytest.mark.parametrize(
    "other", ["split.test_groups=x.txt", "split.test_by=group", "split.validation_made=true"]
)
def test_own_sides_and_other_ways_to_deal_them_exclude_each_other(study, other):
    setting = other.partition("=")[0]
    with pytest.raises(ConfigError, match=f"split.own keeps the .*, and {setting} deals others"):
        study("split.own=true", "allow_leakage=true", other)


def test_ids_know_of_own_sides_only_where_they_are_kept(study):
    plain, own = study(), study("split.own=true")
    assert split_identity(plain.settings.split) == {"test": 0.25, "validation": 0.1}
    assert split_identity(own.settings.split) == {"own": True, "validation": 0.1}
