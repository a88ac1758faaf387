"""Large datasets are prepared in parts: resumed, mended, and the same however often interrupted."""

import csv
import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import numpy as np
import pytest

from synthtrial.data.base import Sample, make_label_table
from synthtrial.errors import DataError, UnreadableImageError
from synthtrial.store.artifacts import draft, open_store, read_artifact
from synthtrial.store.images import iterate_images, read_labels, shard_files
from synthtrial.store.verification import verify_artifact
from synthtrial.study import load
from synthtrial.testing.chexpert import MadeFolder, write_chexpert
from synthtrial.testing.studies import run_here
from synthtrial.upstream import prepare_task
from synthtrial.work.parts import move_parts, prepare_parts

STUDY = """
name: parts
regimens: [1.0]
arms: {none: {}}
classifier: {name: small_cnn, width: 8}
statistics: {baseline: none}
protocol: {draws: 1, replicates: 1}
engine: {device: cpu}
"""
ROWS = 16  # of a part


class Place:
    """A made CheXpert, and a store that its images are prepared for."""

    def __init__(self, folder, options, *overrides, images=None):
        self.folder = folder
        folder.mkdir()
        self.images = images or folder / "images"
        self.flaws = None if images else write_chexpert(self.images, options)
        self.file = folder / "study.yaml"
        self.file.write_text(STUDY)
        self.overrides = [
            f"dataset={{name: chexpert, path: {self.images}, size: 32}}",
            f"store.path={folder / 'store'}",
            f"store.cache_path={folder / 'cache'}",
            f"store.shard_bytes={ROWS * 32 * 32}",
            *overrides,
        ]
        self.study = load(self.file, self.overrides)
        self.store = open_store(folder / "store")

    def prepare(self):
        plan = run_here(self.study, self.store, only=lambda task: task.kind == "prepare")
        (self.id,) = (task.id for task in plan.tasks.values() if task.kind == "prepare")
        return read_artifact(self.store, "dataset", self.id)

    @property
    def waiting(self):
        """The folder of unfinished work."""
        (folder,) = (self.store.root / "unfinished").iterdir()
        return folder

    def notes(self):
        folders = list((self.store.root / "unfinished").glob("*"))
        return sorted(path for folder in folders for path in folder.glob("shard-*.json"))


def listed(path):
    with path.open(newline="", encoding="utf-8") as file:
        header, *rows = csv.reader(file)
    assert header == ["sample_id", "reason"]
    return dict(rows)


def contents(artifact):
    return {name: (artifact.path / name).read_bytes() for name in artifact.files}


def shards(folder):
    return {path.name: path.stat().st_mtime_ns for path in folder.glob("shard-*.parquet")}


@pytest.fixture
def whole(tmp_path):
    return Place(tmp_path / "whole", MadeFolder(patients=40, side=40))


def test_the_shards_hold_what_the_dataset_gives_in_its_order(whole):
    artifact = whole.prepare()
    source = whole.study.dataset.load()
    table, stored = source.label_table(), read_labels(artifact)
    assert len(shard_files(artifact)) == -(-len(table) // ROWS) > 3
    assert stored.sample_ids.tolist() == table.sample_ids.tolist()
    assert stored.group_ids.tolist() == table.group_ids.tolist()
    assert stored.classes == table.classes
    np.testing.assert_array_equal(stored.labels_NK, table.labels_NK)
    for sample, image_CHW in zip(source.samples(), iterate_images(artifact), strict=True):
        np.testing.assert_array_equal(sample.image_HWC, image_CHW.transpose(1, 2, 0))
    assert artifact.info["unreadable"] == 0
    assert artifact.restrictions == (source.licence,)
    assert not (whole.store.root / "unfinished").exists() or not list(
        (whole.store.root / "unfinished").iterdir()
    )
    assert verify_artifact(whole.store, "dataset", artifact.id) == []


def test_threads_change_no_byte(whole, tmp_path, monkeypatch):
    one = whole.prepare()
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(5)))
    other = Place(tmp_path / "other", None, images=whole.images)
    assert contents(other.prepare()) == contents(one)


def test_stop_tries_all_lists_all_and_ends_in_one_error(tmp_path):
    flawed = Place(tmp_path / "flawed", MadeFolder(patients=40, side=40, missing=0.03))
    missing = flawed.flaws.missing
    torn, empty = (
        next(name for name in names if name not in missing)
        for names in (flawed.study.dataset.load().table.stems[at:] for at in (2, 100))
    )
    path = flawed.images / f"{torn}.jpg"
    path.write_bytes(path.read_bytes()[:400])
    (flawed.images / f"{empty}.jpg").write_bytes(b"")
    with pytest.raises(DataError) as caught:
        flawed.prepare()
    assert not isinstance(caught.value, UnreadableImageError)
    listing = flawed.waiting / "unreadable.csv"
    said = str(caught.value)
    assert f"{len(missing) + 2} of " in said
    assert str(listing) in said
    assert "dataset.unreadable=skip" in said
    reasons = listed(listing)
    assert set(reasons) == {*missing, torn, empty}
    assert reasons[missing[0]] == "the file is missing"
    assert reasons[empty] == "the file is empty"
    assert "cannot be decoded" in reasons[torn]
    progress = json.loads((flawed.waiting / "progress.json").read_text())
    assert progress["images"] == progress["of"] > 100


def test_once_mended_only_the_parts_concerned_are_made_again(whole, tmp_path):
    stems = whole.study.dataset.load().table.stems
    kept = {}
    for row in (3, 2 * ROWS, 2 * ROWS + 1):  # in parts 0 and 2
        kept[row] = (whole.images / f"{stems[row]}.jpg").read_bytes()
        (whole.images / f"{stems[row]}.jpg").unlink()
    with pytest.raises(DataError, match="3 of "):
        whole.prepare()
    first = shards(whole.waiting)
    for row in (3, 2 * ROWS):
        (whole.images / f"{stems[row]}.jpg").write_bytes(kept[row])
    with pytest.raises(DataError, match="1 of "):
        whole.prepare()
    second = shards(whole.waiting)
    changed = {name for name in first if first[name] != second[name]}
    assert changed == {"shard-00000.parquet", "shard-00002.parquet"}
    assert set(listed(whole.waiting / "unreadable.csv")) == {stems[2 * ROWS + 1]}
    (whole.images / f"{stems[2 * ROWS + 1]}.jpg").write_bytes(kept[2 * ROWS + 1])
    artifact = whole.prepare()
    third = shards(artifact.path)
    assert {n for n in third if third[n] != second[n]} == {"shard-00002.parquet"}
    assert "unreadable.csv" not in artifact.files
    other = Place(tmp_path / "other", None, images=whole.images)
    assert contents(other.prepare()) == contents(artifact)


def test_skip_leaves_out_what_is_unreadable_and_lists_it(tmp_path):
    options = MadeFolder(patients=40, side=40, missing=0.03, truncated=0.03, sixteen_bit=0.1)
    place = Place(tmp_path / "place", options, "dataset.unreadable=skip")
    artifact = place.prepare()
    bad = {*place.flaws.missing, *place.flaws.truncated}
    assert set(listed(artifact.file("unreadable.csv"))) == bad
    assert artifact.info["unreadable"] == len(bad) > 4
    stored = read_labels(artifact)
    stems = place.study.dataset.load().table.stems
    assert stored.sample_ids.tolist() == [stem for stem in stems if stem not in bad]
    assert set(place.flaws.sixteen_bit) <= set(stored.sample_ids)
    assert verify_artifact(place.store, "dataset", artifact.id) == []


def test_a_killed_preparation_goes_on_to_the_same_bytes(tmp_path):
    options = MadeFolder(patients=150, side=160)
    killed = Place(tmp_path / "killed", options)
    plan = run_here(killed.study, killed.store, only=lambda _: False)  # keeps the snapshot
    task = next(task for task in plan.tasks.values() if task.kind == "prepare")
    command = [sys.executable, "-m", "synthtrial", "task", str(killed.file), *killed.overrides]
    process = subprocess.Popen(
        [*command, "--id", task.id],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    deadline = time.monotonic() + 120
    while process.poll() is None and time.monotonic() < deadline and len(killed.notes()) < 6:
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL, said
    done = killed.notes()
    parts = -(-killed.study.dataset.load().expected_rows // ROWS)
    assert 6 <= len(done) < parts
    before = shards(killed.waiting)
    artifact = killed.prepare()
    after = shards(artifact.path)
    for note in done:
        name = f"{note.stem}.parquet"
        assert after[name] == before[name], "what was complete is not made again"
    other = Place(tmp_path / "other", None, images=killed.images)
    assert contents(other.prepare()) == contents(artifact)
    assert not list((killed.store.root / "unfinished").glob("*/*"))


class Fake:
    """A dataset of noise that may be read in any order."""

    classes = ("b", "a")
    multi_label = False
    groups_known = False
    licence = "CC0-1.0"
    image_shape = (1, 8, 8)
    unreadable = "stop"

    def __init__(self, names):
        self.names, self.read, self.error = names, [], None

    @property
    def expected_rows(self):
        return len(self.names)

    def label_table(self):
        n = len(self.names)
        return make_label_table(self.names, [None] * n, {"a": [1] * n, "b": [0] * n})

    def sample(self, row):
        self.read.append(row)
        if self.error is not None and row == 5:
            raise self.error
        image = np.full((8, 8, 1), row, dtype=np.uint8)
        return Sample(self.names[row], None, image, {"a": 1, "b": 0})


@pytest.fixture
def here(tmp_path):
    """What :func:`prepare_parts` asks of a context."""
    return SimpleNamespace(unfinished=lambda task: tmp_path / "unfinished" / task.id)


TASK = SimpleNamespace(id="t")


def prepared(here, source, rows=4):
    return prepare_parts(TASK, here, source, rows * 64)


def test_parts_of_another_size_are_not_taken_for_these(here):
    source = Fake([f"{k:03}" for k in range(20)])
    prepared(here, source, rows=8)
    source.read.clear()
    parts = prepared(here, source, rows=4)
    assert sorted(source.read) == list(range(20))
    assert parts.count == 5
    source.read.clear()
    prepared(here, source, rows=4)
    assert source.read == []


@pytest.mark.parametrize("damage", ["shard", "note"])
def test_a_part_that_is_torn_is_made_again(here, damage):
    source = Fake([f"{k:03}" for k in range(12)])
    parts = prepared(here, source)
    name = f"shard-00001.{'parquet' if damage == 'shard' else 'json'}"
    content = (parts.folder / name).read_bytes()
    (parts.folder / name).write_bytes(content[: len(content) // 2])
    source.read.clear()
    prepared(here, source)
    assert sorted(source.read) == [4, 5, 6, 7]


def test_what_is_wrong_with_a_dataset_itself_ends_at_once(here):
    source = Fake(["a", "b", "a"])
    with pytest.raises(DataError, match="lists a sample twice"):
        prepared(here, source)
    with pytest.raises(DataError, match="lists no image"):
        prepared(here, Fake([]))
    source = Fake([f"{k:03}" for k in range(12)])
    source.error = RuntimeError("a bug in a plug-in")
    with pytest.raises(RuntimeError, match="a bug"):
        prepared(here, source)
    assert not list((here.unfinished(TASK)).glob("*.tmp-*"))
    source.error = None
    table = source.label_table()
    source.label_table = lambda: dataclasses.replace(table, sample_ids=table.sample_ids[::-1])
    with pytest.raises(DataError, match="give both in the same order"):
        prepared(here, source)


def test_a_part_whose_images_are_all_unreadable_is_empty(here, tmp_path):
    source = Fake([f"{k:03}" for k in range(44)])
    source.unreadable = "skip"
    real = source.sample

    def sample(row):
        if 4 <= row < 8:
            raise UnreadableImageError("gone")
        return real(row)

    source.sample = sample
    parts = prepared(here, source)
    assert parts.unreadable == 4
    store = open_store(tmp_path / "store")
    with draft(store, "dataset", "d", inputs={}) as made:
        move_parts(parts, made.path)
    artifact = read_artifact(store, "dataset", "d")
    kept = [f"{k:03}" for k in (*range(4), *range(8, 44))]
    assert read_labels(artifact).sample_ids.tolist() == kept
    assert [image.flat[0] for image in iterate_images(artifact)] == [*range(4), *range(8, 44)]


def test_much_that_is_unreadable_is_no_flaw_of_single_images(here):
    """A disk that is not mounted must not become an empty dataset for ever."""
    source = Fake([f"{k:03}" for k in range(12)])
    source.unreadable = "skip"

    def sample(row):
        raise UnreadableImageError("the file is missing")

    source.sample = sample
    with pytest.raises(DataError, match=r"12 of 12 images .* leaves out no more than 10%"):
        prepared(here, source)


def test_parts_from_another_folder_are_not_taken_for_these(here):
    first, second = (Fake([f"{k:03}" for k in range(12)]) for _ in range(2))
    first.origin, second.origin = "/small", "/full"
    read = []
    real = second.sample
    second.sample = lambda row: read.append(row) or real(row)
    prepared(here, first)
    prepared(here, second)
    assert sorted(read) == list(range(12))
    read.clear()
    prepared(here, second)
    assert read == []


def test_a_process_killed_before_the_commit_has_lost_no_part(here, tmp_path):
    source = Fake([f"{k:03}" for k in range(12)])
    parts = prepared(here, source)
    moved = tmp_path / "draft"
    moved.mkdir()
    move_parts(parts, moved)  # and is killed
    source.read.clear()
    again = prepared(here, source)
    assert source.read == []
    again.remove()
    assert len(list(moved.iterdir())) == 3
    assert not parts.folder.exists()


def test_two_studies_that_share_a_dataset_prepare_it_once(whole):
    """Each in a process of its own, at the same time."""
    other = whole.folder / "other.yaml"
    other.write_text(STUDY.replace("name: parts", "name: other"))
    id_ = prepare_task(whole.study).id
    command = [sys.executable, "-m", "synthtrial", "task"]
    running = [
        subprocess.Popen(
            [*command, str(file), *whole.overrides, "--id", id_],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for file in (whole.file, other)
    ]
    said = [process.communicate(timeout=120)[0] for process in running]
    assert [process.returncode for process in running] == [0, 0], said
    assert not any("Traceback" in text for text in said), said
    assert verify_artifact(whole.store, "dataset", id_) == []
    assert not (whole.store.root / "unfinished" / id_).exists()
