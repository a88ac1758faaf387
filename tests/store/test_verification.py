from __future__ import annotations

import shutil

import pytest

from synthtrial.store.artifacts import draft
from synthtrial.store.records import RecordWriter
from synthtrial.store.verification import verify_artifact, verify_store


def commit(store, kind, name, inputs=None, text="hello"):
    with draft(store, kind, name, inputs=inputs or {}) as made:
        (made.path / "data.txt").write_text(text)
        made.info["text"] = text
    return store.folder(kind, name)


@pytest.fixture
def split(store):
    commit(store, "dataset", "d1")
    return commit(store, "split", "s1", {"dataset": "d1"})


def messages(store):
    return [problem.message for problem in verify_artifact(store, "split", "s1")]


def test_a_sound_store_has_no_problems(store, split, record):
    with RecordWriter(store) as writer:
        writer.append(record())
        writer.seal()
        writer.append(record("t2"))
        found = list(verify_store(store))
    assert [(kind, problems) for kind, _, problems in found] == [
        ("dataset", []),
        ("split", []),
        ("records", []),
        ("records", []),
    ]


def test_bytes_changed_in_place_are_found(store, split, alter):
    alter(split / "data.txt", 2)
    (problem,) = verify_artifact(store, "split", "s1")
    assert (problem.kind, problem.id, problem.file) == ("split", "s1", "data.txt")
    assert "was altered" in problem.message


def test_files_missing_and_foreign_are_found(store, split):
    (split / "data.txt").rename(split / "other.txt")
    missing, foreign = messages(store)
    assert "is missing" in missing
    assert "not in the manifest" in foreign


def test_a_lost_input_is_found(store, split):
    shutil.rmtree(store.folder("dataset", "d1"))
    (message,) = messages(store)
    assert "'dataset'" in message
    assert "not in the store any more" in message


def test_an_input_made_anew_matters_only_if_it_differs(store, split):
    shutil.rmtree(store.folder("dataset", "d1"))
    with draft(store, "dataset", "d1", inputs={}) as made:
        (made.path / "data.txt").write_text("hello")
    assert messages(store) == []
    shutil.rmtree(store.folder("dataset", "d1"))
    commit(store, "dataset", "d1", text="other")
    (message,) = messages(store)
    assert "made anew with other content" in message


def test_debris_and_damaged_manifests_are_found(store, split):
    (split / "manifest.json").write_text("{")
    (store.folder("dataset", "d1") / "manifest.json").unlink()
    found = {(kind, name): problems for kind, name, problems in verify_store(store)}
    assert "is not a manifest" in found["split", "s1"][0].message
    assert "not a committed artifact" in found["dataset", "d1"][0].message


def test_a_store_not_yet_used_is_sound(store):
    assert list(verify_store(store)) == []
