from __future__ import annotations

import os

import pytest

from synthtrial.errors import StoreBusyError
from synthtrial.store.artifacts import draft, exists, list_artifacts
from synthtrial.store.attempts import hold
from synthtrial.store.maintenance import collect_garbage, garbage, usage
from synthtrial.store.records import RecordWriter
from synthtrial.store.verification import verify_store


def commit(store, kind, name, inputs=None, text="hello"):
    with draft(store, kind, name, inputs=inputs or {}) as made:
        (made.path / "data.txt").write_text(text)


@pytest.fixture
def family(store):
    commit(store, "dataset", "d1")
    commit(store, "split", "s1", {"dataset": "d1"})
    commit(store, "generator", "g1", {"split": "s1"}, "x" * 1000)
    commit(store, "generator", "g2", {"split": "s1"})
    return store


def test_usage_adds_up_to_the_disk(family, record):
    with RecordWriter(family) as writer:
        writer.append(record())
    (family.root / "generator" / "g3.tmp-0123").mkdir()
    (family.root / "generator" / "g3.tmp-0123" / "half").write_bytes(b"12345")
    found = {item.kind: item for item in usage(family)}
    assert set(found) == {"dataset", "split", "generator", "records", "unfinished", "other"}
    assert found["generator"].files == 4
    assert found["generator"].bytes > 1000
    assert (found["unfinished"].files, found["unfinished"].bytes) == (1, 5)
    on_disk = [path for path in family.root.rglob("*") if path.is_file()]
    assert sum(item.files for item in found.values()) == len(on_disk)
    assert sum(item.bytes for item in found.values()) == sum(p.stat().st_size for p in on_disk)


def test_artifacts_stay_unless_asked(family):
    assert garbage(family) == []


def test_what_kept_artifacts_were_made_from_is_kept(family):
    (item,) = collect_garbage(family, {("generator", "g1")}, dry_run=True)
    assert item.path == family.root / "generator" / "g2"
    assert item.bytes > 0
    assert exists(family, "generator", "g2")
    collect_garbage(family, {("generator", "g1")}, dry_run=False)
    assert list_artifacts(family, "generator") == ["g1"]
    assert [problems for _, _, problems in verify_store(family)] == [[], [], []]
    assert len(list((family.root / "generator").iterdir())) == 1


def test_artifacts_are_not_deleted_under_a_live_run(family):
    with hold(family, "digits", "local"):
        assert len(collect_garbage(family, set(), dry_run=True)) == 4
        with pytest.raises(StoreBusyError, match=rf"digits \(process {os.getpid()}"):
            collect_garbage(family, set(), dry_run=False)
    assert exists(family, "generator", "g2")


def test_fresh_unfinished_files_stay(store):
    (store.root / "store.json.tmp-0123").write_text("")
    assert garbage(store) == []
    os.utime(store.root / "store.json.tmp-0123", (0, 0))
    (item,) = collect_garbage(store, dry_run=False)
    assert item.reason == "left unfinished"
    assert not item.path.exists()


def test_what_was_begun_for_no_kept_study_goes_after_a_day(store):
    for name in ("abandoned", "wanted", "fresh"):
        folder = store.root / "unfinished" / name
        folder.mkdir(parents=True)
        (folder / "shard-00000.parquet").write_text("half")
    for name in ("abandoned", "wanted"):
        for path in (store.root / "unfinished" / name).iterdir():
            os.utime(path, (0, 0))
        os.utime(store.root / "unfinished" / name, (0, 0))
    assert garbage(store) == []  # nobody has said what is kept
    (item,) = collect_garbage(store, {("dataset", "wanted")}, dry_run=False)
    assert (item.path.name, item.reason) == ("abandoned", "begun for no kept study")
    left = {path.name for path in (store.root / "unfinished").iterdir()}
    assert left == {"wanted", "fresh"}
