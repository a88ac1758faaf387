"""Studies that travel: exported, imported, and reported as they were."""

from __future__ import annotations

import shutil

import pandas as pd
import pytest

from synthtrial.data.splits import check_split, read_split
from synthtrial.errors import DataError
from synthtrial.history import raise_replicates
from synthtrial.plan import build
from synthtrial.store.artifacts import list_artifacts, open_store, read_artifact
from synthtrial.store.images import read_labels
from synthtrial.testing.studies import measured, run_here
from synthtrial.work.context import _artifact


def words_of(study, *overrides):
    return [study.words[0], *study.words[1:], *overrides]


def test_an_exported_study_is_complete_elsewhere_and_reports_the_same(
    toy, tmp_path, verb, exported, imported, problems, tables
):
    text = exported(toy, tmp_path / "toy.tar")
    assert "random salt that is not kept" in text
    text = imported(tmp_path / "toy.tar", tmp_path / "new")
    assert "20 artifacts added, 0 were there; 13 records added" in text
    assert "nothing new is trained from it" in text
    store, old = open_store(tmp_path / "new"), open_store(toy.store_path)
    assert problems(store) == []
    there = toy.replace([f"store.path={tmp_path / 'new'}"])
    plan = build(there, store)
    assert plan.complete
    assert plan.to_do() == []
    code, out, _ = verb("status", *words_of(toy, f"store.path={tmp_path / 'new'}"))
    assert code == 0
    assert out.rstrip().endswith("complete")
    assert measured(store) == measured(old)
    before, after = tables(toy, old, tmp_path / "a"), tables(there, store, tmp_path / "b")
    assert set(before) == set(after)
    assert len(before) > 5
    for name, content in before.items():
        assert after[name] == content, name


def test_no_id_is_in_any_byte_of_the_archive(toy, tmp_path, exported, every_byte):
    exported(toy, tmp_path / "toy.tar")
    whole = every_byte(tmp_path / "toy.tar")
    store = open_store(toy.store_path)
    (dataset,) = list_artifacts(store, "dataset")
    labels = read_labels(read_artifact(store, "dataset", dataset))
    ids = {*labels.sample_ids, *labels.group_ids}
    assert len(ids) > 250
    assert [name for name in ids if name.encode() in whole] == []
    assert b"trained on and judged on" in whole  # the message is there, its ids are not
    kept = tmp_path / "kept.tar"
    exported(toy, kept, "--keep-ids")
    whole = every_byte(kept)
    assert all(name.encode() in whole for name in ids)  # so that the search above can find


def test_groups_stay_disjoint_and_everything_matches(toy, tmp_path, exported, imported):
    exported(toy, tmp_path / "toy.tar")
    imported(tmp_path / "toy.tar", tmp_path / "new")
    store, old = open_store(tmp_path / "new"), open_store(toy.store_path)
    for name in list_artifacts(old, "split"):
        before, after = (read_split(read_artifact(s, "split", name)) for s in (old, store))
        check_split(after)
        assert list(after.sample_ids) == sorted(after.sample_ids)
        for column in ("roles", "ranks"):
            one, other = (pd.Series(getattr(t, column)).value_counts() for t in (before, after))
            assert one.sort_index().equals(other.sort_index())
        sizes = [pd.Series(t.group_ids).value_counts().tolist() for t in (before, after)]
        assert sizes[0] == sizes[1]
        labels = read_labels(read_artifact(store, "dataset", list_artifacts(store, "dataset")[0]))
        assert set(labels.sample_ids) == set(after.sample_ids)
        mine = dict(zip(labels.sample_ids, labels.group_ids, strict=True))
        assert all(mine[s] == g for s, g in zip(after.sample_ids, after.group_ids, strict=True))
    sources = {
        source
        for name in list_artifacts(store, "synthetic")
        for source in read_labels(read_artifact(store, "synthetic", name)).source_ids
    }
    assert sources
    assert sources <= set(labels.sample_ids)


def test_rewritten_artifacts_say_so_and_others_are_as_they_were(toy, tmp_path, exported, imported):
    exported(toy, tmp_path / "toy.tar")
    imported(tmp_path / "toy.tar", tmp_path / "new")
    store, old = open_store(tmp_path / "new"), open_store(toy.store_path)
    for kind in ("generator", "selection", "exhibits"):
        for name in list_artifacts(old, kind):
            folders = [s.folder(kind, name) for s in (old, store)]
            one, other = ({p.name: p.read_bytes() for p in f.iterdir()} for f in folders)
            assert one == other
    for kind in ("dataset", "split", "allocation", "synthetic", "predictions"):
        for name in list_artifacts(old, kind):
            before, after = (read_artifact(s, kind, name) for s in (old, store))
            assert before.content_digest != after.content_digest
            assert after.origin_digest == before.content_digest == before.origin_digest
            assert after.manifest["inputs"] == before.manifest["inputs"]
            assert after.lineage == before.lineage
            assert after.is_rewritten
            assert not before.is_rewritten


def test_a_hashed_artifact_that_is_damaged_is_found(toy, tmp_path, exported, imported, problems):
    exported(toy, tmp_path / "toy.tar")
    imported(tmp_path / "toy.tar", tmp_path / "new")
    store = open_store(tmp_path / "new")
    name = list_artifacts(store, "split")[0]
    path = store.folder("split", name) / "split.parquet"
    content = bytearray(path.read_bytes())
    content[60] ^= 1
    path.write_bytes(bytes(content))
    assert {(p.kind, p.id) for p in problems(store)} == {("split", name)}


def test_nothing_new_is_made_from_hashed_ids(toy, tmp_path, exported, imported):
    exported(toy, tmp_path / "toy.tar")
    imported(tmp_path / "toy.tar", tmp_path / "new")
    _artifact.cache_clear()
    more = toy.replace([f"store.path={tmp_path / 'new'}", "protocol.replicates=6"])
    with pytest.raises(DataError, match="ids are hashed: nothing new can be made from it"):
        run_here(more, open_store(tmp_path / "new"))


def test_a_study_moves_with_its_ids_and_goes_on(toy, tmp_path, exported, imported, problems):
    raised = raise_replicates(toy, open_store(toy.store_path), 4)
    assert raised is toy  # nothing beyond what the study says
    text = exported(toy, tmp_path / "moved", "--keep-ids")
    assert "can go on elsewhere" in text
    assert (tmp_path / "moved" / "archive.json").exists()
    imported(tmp_path / "moved", tmp_path / "new")
    more = toy.replace([f"store.path={tmp_path / 'new'}", "protocol.replicates=5"])
    store = open_store(tmp_path / "new")
    before = set(measured(store))
    assert run_here(more, store).complete
    assert len(measured(store)) == len(before) + 2
    assert problems(store) == []


def test_a_study_is_found_by_its_name_and_store(toy, tmp_path, verb, imported):
    code, _, err = verb("export", f"toy@{toy.store_path}", tmp_path / "toy.tar")
    assert code == 0, err
    text = imported(tmp_path / "toy.tar", tmp_path / "new")
    assert "20 artifacts added" in text
    code, _, err = verb("export", "digits", tmp_path / "x.tar", f"store.path={tmp_path / 'none'}")
    assert code == 1
    assert "there is no store at" in err


def test_an_unpacked_archive_is_a_store(toy, tmp_path, verb, exported, problems):
    exported(toy, tmp_path / "folder")
    code, out, _ = verb("status", *words_of(toy, f"store.path={tmp_path / 'folder'}"))
    assert code == 0
    assert out.rstrip().endswith("complete")
    assert problems(open_store(tmp_path / "folder")) == []


def test_only_what_the_study_uses_goes_along_unless_all_is_asked_for(toy, tmp_path, verb, imported):
    shutil.copytree(toy.store_path, tmp_path / "store")
    store = open_store(tmp_path / "store")
    other = toy.replace([f"store.path={store.root}", "name=other", "training.epochs=1"])
    run_here(other, store)
    words = [toy.words[0], *toy.words[1:], f"store.path={store.root}"]
    assert verb("export", words[0], tmp_path / "one.tar", *words[1:])[0] == 0
    assert verb("export", words[0], tmp_path / "all.tar", *words[1:], "--all")[0] == 0
    imported(tmp_path / "one.tar", tmp_path / "one")
    text = imported(tmp_path / "all.tar", tmp_path / "all")
    assert len(measured(open_store(tmp_path / "one"))) == 12
    assert len(measured(open_store(tmp_path / "all"))) == 24
    assert text.count("next: `synthtrial report") == 2
    assert build(other, open_store(tmp_path / "all")).complete


def test_mistakes_are_said_in_one_line(toy, tmp_path, verb):
    file = tmp_path / "short"
    file.write_text("hospital")
    for arguments, words in (
        (["--keep-ids", "--salt-file", file], "hashes nothing"),
        (["--salt-file", file], "a salt needs 16"),
    ):
        code, _, err = verb("export", toy.words[0], tmp_path / "x.tar", *toy.words[1:], *arguments)
        assert code != 0
        assert words in err
    (tmp_path / "there.tar").write_text("mine")
    code, _, err = verb("export", toy.words[0], tmp_path / "there.tar", *toy.words[1:])
    assert code == 1
    assert "exists already" in err
    assert (tmp_path / "there.tar").read_text() == "mine"
    code, _, err = verb("import", tmp_path / "there.tar", f"store.path={tmp_path / 'new'}")
    assert code == 1
    assert "is no tar file" in err
    assert err.count("\n") == 1
    assert not (tmp_path / "new").exists()
    code, _, err = verb("import", tmp_path / "there.tar", "training.epochs=3")
    assert code == 2
    assert "allowed: store.path=DIR" in err


def test_a_setting_or_another_format_in_the_place_of_the_archive_is_refused(
    toy, tmp_path, verb, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    for words, said in (
        (["export", *words_of(toy)], "`synthtrial export STUDY FILE [KEY=VALUE]...`"),
        (["export", toy.words[0], "store.path=x", "a.tar"], "in its place is 'store.path=x'"),
        (["import", f"store.path={tmp_path / 'new'}"], "`synthtrial import FILE [KEY=VALUE]...`"),
        (["export", toy.words[0], "a.zip", *toy.words[1:]], "'a.zip' ends in .zip"),
        (["export", toy.words[0], "a.tar.gz", *toy.words[1:]], "such as 'a.tar'"),
    ):
        code, _, err = verb(*words)
        assert code == 2
        assert said in err
        assert err.startswith("error: ")
        assert err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
    assert verb("export", toy.words[0], "./lr=0.1.tar", *toy.words[1:])[0] == 0
    assert verb("import", "./lr=0.1.tar", "store.path=new")[0] == 0
