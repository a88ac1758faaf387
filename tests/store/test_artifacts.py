from __future__ import annotations

import json
import os
import signal

import pytest

from synthtrial.errors import DamagedArtifactError, StoreError, StoreSchemaError
from synthtrial.store.artifacts import (
    Descent,
    draft,
    exists,
    list_artifacts,
    open_store,
    read_artifact,
)
from synthtrial.store.maintenance import collect_garbage, garbage
from synthtrial.store.verification import verify_artifact


def commit(store, kind="split", name="a1", text="hello", **options):
    with draft(store, kind, name, inputs=options.pop("inputs", {}), **options) as made:
        (made.path / "data.txt").write_text(text)
        made.info["words"] = 1
    return read_artifact(store, kind, name)


def test_a_committed_artifact_reads_back_whole(store):
    source = commit(store, "dataset", "d1")
    descent = Descent(split="s1", roles=("train", "removed"), regimen=0.1)
    made = commit(store, inputs={"dataset": "d1"}, lineage=[descent], restrictions=["private"])
    assert made.file("data.txt").read_text() == "hello"
    assert made.info == {"words": 1}
    assert made.inputs == {"dataset": "d1"}
    assert made.lineage == (descent,)
    assert made.restrictions == ("private",)
    assert made.files == ("data.txt",)
    assert made.content_digest == source.content_digest
    assert exists(store, "split", "a1")
    assert list_artifacts(store, "split") == ["a1"]
    assert verify_artifact(store, "split", "a1") == []


def test_files_in_folders_keep_their_relative_names(store):
    with draft(store, "exhibits", "e1", inputs={}) as made:
        (made.path / "pictures").mkdir()
        (made.path / "pictures" / "one.png").write_bytes(b"1")
        (made.path / "exhibits.json").write_text("{}")
    artifact = read_artifact(store, "exhibits", "e1")
    assert artifact.files == ("exhibits.json", "pictures/one.png")
    assert artifact.file("pictures/one.png").read_bytes() == b"1"


def test_an_input_under_another_name_is_given_with_its_kind(store):
    commit(store, "dataset", "d1")
    assert commit(store, inputs={"images": "dataset/d1"}).inputs == {"images": "d1"}
    with pytest.raises(StoreError, match="not in the store"):
        commit(store, name="a2", inputs={"dataset": "d2"})


def test_an_exception_leaves_nothing(store):
    def interrupted():
        with draft(store, "split", "a1", inputs={}) as made:
            (made.path / "data.txt").write_text("x")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert list((store.root / "split").iterdir()) == []
    assert not exists(store, "split", "a1")


def test_a_draft_that_links_elsewhere_is_refused(store):
    with pytest.raises(StoreError, match="plain files only"):  # noqa: SIM117
        with draft(store, "split", "a1", inputs={}) as made:
            (made.path / "link").symlink_to("/etc/hosts")


@pytest.mark.parametrize("name", ["../x", "a/b", "", ".hidden", "a.tmp-1"])
def test_an_id_cannot_leave_its_folder(store, name):
    with pytest.raises(StoreError, match="cannot name an artifact"):
        exists(store, "split", name)


KILLED = """
import sys, os
from pathlib import Path
from synthtrial.store.artifacts import open_store, draft
with draft(open_store(Path(sys.argv[1])), "split", "a1", inputs={}) as made:
    (made.path / "data.txt").write_text("half")
    print("writing", flush=True)
    sys.stdin.read()
"""


def test_a_killed_maker_leaves_only_garbage(store, process):
    child = process(KILLED, store.root)
    assert child.stdout.readline() == "writing\n"
    (folder,) = (store.root / "split").iterdir()
    for path in [folder, *folder.iterdir()]:
        os.utime(path, (0, 0))
    assert garbage(store) == []  # old, but its maker is alive
    child.send_signal(signal.SIGKILL)
    child.wait()
    assert not exists(store, "split", "a1")
    assert list_artifacts(store, "split") == []
    assert [item.path for item in collect_garbage(store, dry_run=True)] == [folder]
    assert folder.exists()
    collect_garbage(store, dry_run=False)
    assert not folder.exists()
    assert commit(store).file("data.txt").read_text() == "hello"


RACE = """
import sys
from pathlib import Path
from synthtrial.store.artifacts import open_store, draft
store = open_store(Path(sys.argv[1]))
print("ready", flush=True)
sys.stdin.readline()
for i in range(40):
    with draft(store, "split", f"r{i}", inputs={}) as made:
        (made.path / "data.txt").write_text(sys.argv[2])
"""


def test_of_racing_committers_the_first_wins_and_none_fails(tmp_path, process):
    root = tmp_path / "new"
    children = [process(RACE, root, name) for name in ("one", "two")]  # they race for the store too
    for child in children:
        assert child.stdout.readline() == "ready\n"
    for child in children:
        child.stdin.write("go\n")
        child.stdin.flush()
    for child in children:
        assert child.wait(60) == 0, child.stderr.read()
    store = open_store(root, create=False)
    assert len(list((root / "split").iterdir())) == 40
    for name in list_artifacts(store, "split"):
        assert verify_artifact(store, "split", name) == []


def test_losing_the_race_is_success_and_changes_nothing(store):
    with draft(store, "split", "a1", inputs={}) as slow:
        (slow.path / "data.txt").write_text("second")
        commit(store, text="first")
    assert read_artifact(store, "split", "a1").file("data.txt").read_text() == "first"
    assert [path.name for path in (store.root / "split").iterdir()] == ["a1"]


def test_a_folder_that_lost_its_manifest_is_replaced(store):
    artifact = commit(store)
    (artifact.path / "manifest.json").unlink()
    assert not exists(store, "split", "a1")
    with pytest.raises(DamagedArtifactError, match=r"manifest.json is missing.*run the study"):
        read_artifact(store, "split", "a1")
    assert commit(store, text="anew").file("data.txt").read_text() == "anew"


def test_a_missing_or_truncated_file_is_named_with_the_way_out(store):
    artifact = commit(store)
    path = artifact.path / "data.txt"
    path.write_text("hell")
    with pytest.raises(DamagedArtifactError, match=r"data.txt has 4 bytes.*says 5.*delete") as got:
        artifact.file("data.txt")
    assert "synthtrial verify" in str(got.value)
    path.unlink()
    with pytest.raises(DamagedArtifactError, match=r"data.txt is missing"):
        artifact.file("data.txt")
    with pytest.raises(DamagedArtifactError, match="no file 'other'"):
        artifact.file("other")


def test_an_altered_manifest_is_refused(store):
    path = commit(store).path / "manifest.json"
    sound = path.read_text()
    for damaged in (sound.replace('"words": 1', '"words": 2'), sound[:50], "[]", "{}", "\x00"):
        path.write_text(damaged)
        with pytest.raises(DamagedArtifactError, match=r"manifest.json (was altered|is not)"):
            read_artifact(store, "split", "a1")
    path.write_text(sound)
    path.parent.rename(path.parent.with_name("a2"))
    with pytest.raises(DamagedArtifactError, match="was altered"):
        read_artifact(store, "split", "a2")


def test_an_absent_artifact_is_no_damage(store):
    with pytest.raises(StoreError, match="has no split a1") as got:
        read_artifact(store, "split", "a1")
    assert not isinstance(got.value, DamagedArtifactError)


def test_a_newer_schema_is_refused(store):
    path = commit(store).path / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"schema": 2}))
    with pytest.raises(StoreSchemaError, match=r"schema 2.*reads up to 1"):
        read_artifact(store, "split", "a1")
    (store.root / "store.json").write_text('{"schema": 2}')
    with pytest.raises(StoreSchemaError, match=r"store.json has schema 2"):
        open_store(store.root)


def test_what_is_no_store_is_refused(tmp_path):
    with pytest.raises(StoreError, match="no store at"):
        open_store(tmp_path / "absent", create=False)
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(StoreError, match=r"other files \(notes.txt\)"):
        open_store(tmp_path)
    with pytest.raises(StoreError, match="is a file"):
        open_store(tmp_path / "notes.txt")
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "store.json").write_text("{")
    with pytest.raises(StoreError, match="is damaged"):
        open_store(tmp_path / "bad")


def test_a_store_whose_making_was_cut_short_is_made(tmp_path):
    root = tmp_path / "store"
    root.mkdir()
    (root / "store.json.tmp-0123").write_text("")
    assert open_store(root).root == root
    assert open_store(root, create=False).root == root


def test_a_full_disk_is_one_clear_error_and_loses_nothing(mount):
    store = open_store(mount("size=256k") / "store")
    commit(store)
    for _ in range(2):
        with pytest.raises(StoreError, match=r"disk that holds .* is full"):  # noqa: SIM117
            with draft(store, "split", "big", inputs={}) as made:
                (made.path / "data.txt").write_bytes(b"x" * 400_000)
    assert [path.name for path in (store.root / "split").iterdir()] == ["a1"]
    assert verify_artifact(store, "split", "a1") == []


def test_a_read_only_store_is_read_and_not_written(mount, remount_read_only):
    disk = mount("size=1m")
    commit(open_store(disk / "store"))
    remount_read_only(disk)
    store = open_store(disk / "store")
    assert read_artifact(store, "split", "a1").file("data.txt").read_text() == "hello"
    with pytest.raises(StoreError, match="is read-only"):
        commit(store, name="a2")
    with pytest.raises(StoreError, match="is read-only"):
        open_store(disk / "other")


def test_what_is_made_of_restricted_content_is_restricted(tmp_path):
    store = open_store(tmp_path / "store", create=True)
    with draft(store, "dataset", "a", inputs={}, restrictions=["not to be passed on"]):
        pass
    with draft(store, "generator", "b", inputs={"dataset": "a"}, restrictions=["weights"]):
        pass
    with draft(store, "synthetic", "c", inputs={"generator": "b"}):
        pass
    assert read_artifact(store, "synthetic", "c").restrictions == ("not to be passed on", "weights")
