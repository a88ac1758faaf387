"""Archives merged into stores that hold something already, whole or not at all."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from synthtrial.errors import DamagedArtifactError
from synthtrial.history import WidthRule, raise_replicates, read_history, remember_run
from synthtrial.plan import build
from synthtrial.store.artifacts import draft, list_artifacts, open_store
from synthtrial.store.records import read_records
from synthtrial.store.transfer import merging
from synthtrial.store.transfer.archive import _checksum
from synthtrial.store.transfer.formats import ABOUT
from synthtrial.study import load
from synthtrial.testing.studies import measured, run_here


def half(toy_study, place, replicates):
    """Run these replicates of the toy study, and what they need."""
    study = toy_study(place)
    store = open_store(study.store_path)
    run_here(
        study,
        store,
        only=lambda t: (
            t.trial is None or t.trial.stage == "grid" or t.trial.replicate in replicates
        ),
    )
    return study


@pytest.fixture(scope="session")
def halves(tmp_path_factory, toy_study):
    return [
        half(toy_study, tmp_path_factory.mktemp("half"), replicates)
        for replicates in ((0, 1), (2, 3))
    ]


@pytest.mark.parametrize("salted", [True, False])
def test_two_halves_give_the_whole(
    toy, halves, salted, salt_file, tmp_path, verb, exported, imported, problems
):
    options = ["--salt-file", salt_file] if salted else ["--keep-ids"]
    for number, study in enumerate(halves):
        exported(study, tmp_path / f"{number}.tar", *options)
        text = imported(tmp_path / f"{number}.tar", tmp_path / "new")
    assert "4 artifacts added" in text  # the logits of four more trials
    store = open_store(tmp_path / "new")
    there = toy.replace([f"store.path={tmp_path / 'new'}"])
    assert build(there, store).complete
    assert problems(store) == []
    assert measured(store) == measured(open_store(toy.store_path))
    assert read_records(store).num_rows == 12  # each half ran the grid, which counts once
    code, out, _ = verb("compare", f"toy@{toy.store_path}", f"toy@{tmp_path / 'new'}")
    assert code == 0
    assert "All 12 trials that both ran (equal ids) have identical results" in out


def test_archives_of_two_salts_are_not_merged(halves, tmp_path, verb, exported, imported):
    for number, study in enumerate(halves):
        exported(study, tmp_path / f"{number}.tar")
    imported(tmp_path / "0.tar", tmp_path / "new")
    before = sorted(p.as_posix() for p in (tmp_path / "new").rglob("*"))
    code, _, err = verb("import", tmp_path / "1.tar", f"store.path={tmp_path / 'new'}")
    assert code == 1
    assert "nobody could tell which patients are the same" in err
    assert "--salt-file" in err
    assert sorted(p.as_posix() for p in (tmp_path / "new").rglob("*")) == before
    code, _, err = verb("import", tmp_path / "1.tar", f"store.path={halves[0].store_path}")
    assert code == 1
    assert "has true ids and the archive hashed ids" in err


def test_hashed_ids_stay_as_they_are_when_they_travel_on(
    halves, salt_file, tmp_path, verb, exported, imported
):
    exported(halves[0], tmp_path / "0.tar", "--salt-file", salt_file)
    imported(tmp_path / "0.tar", tmp_path / "new")
    again = [halves[0].words[0], tmp_path / "1.tar", *halves[0].words[1:]]
    code, out, _ = verb("export", *again, f"store.path={tmp_path / 'new'}", "--keep-ids")
    assert code == 0
    assert "ids stay hashed, as they came" in out
    imported(tmp_path / "1.tar", tmp_path / "newer")
    name = list_artifacts(open_store(tmp_path / "new"), "split")[0]
    one, other = (
        open_store(tmp_path / s).folder("split", name) / "split.parquet" for s in ("new", "newer")
    )
    assert one.read_bytes() == other.read_bytes()


def test_another_artifact_of_the_same_id_is_refused(halves, tmp_path, verb, exported):
    exported(halves[0], tmp_path / "0.tar", "--keep-ids")
    store = open_store(tmp_path / "new")
    name = list_artifacts(open_store(halves[0].store_path), "generator")[0]
    with draft(store, "generator", name, inputs={}) as made:
        (made.path / "generator.safetensors").write_bytes(b"of another machine")
    code, _, err = verb("import", tmp_path / "0.tar", f"store.path={tmp_path / 'new'}")
    assert code == 1
    assert f"has generator/{name} with other content" in err
    assert "synthtrial compare" in err
    assert [kind.name for kind in store.root.iterdir() if kind.is_dir()] == ["generator"]


def test_an_interrupted_import_goes_on(
    toy, tmp_path, monkeypatch, verb, exported, imported, problems
):
    exported(toy, tmp_path / "toy.tar")
    real, made = merging.adopt, []

    def stop_at_the_sixth(store, kind, id_):
        made.append(id_)
        if len(made) == 6:
            raise KeyboardInterrupt
        return real(store, kind, id_)

    with monkeypatch.context() as patch:
        patch.setattr(merging, "adopt", stop_at_the_sixth)
        code, _, _ = verb("import", tmp_path / "toy.tar", f"store.path={tmp_path / 'new'}")
    assert code == 130
    store = open_store(tmp_path / "new")
    assert problems(store) == []  # inputs come before what is made from them
    assert read_records(store).num_rows == 0
    text = imported(tmp_path / "toy.tar", tmp_path / "new")
    assert "15 artifacts added, 5 were there; 13 records added" in text
    assert problems(store) == []
    text = imported(tmp_path / "toy.tar", tmp_path / "new")
    assert "0 artifacts added, 20 were there; 0 records added" in text
    assert read_records(store, every_attempt=True).num_rows == 13


def test_a_damaged_archive_adds_no_records(toy, tmp_path, verb, exported):
    exported(toy, tmp_path / "folder")
    (segment,) = (tmp_path / "folder" / "records" / "segments").iterdir()
    content = bytearray(segment.read_bytes())
    content[len(content) // 2] ^= 1
    segment.write_bytes(bytes(content))
    code, _, err = verb("import", tmp_path / "folder", f"store.path={tmp_path / 'new'}")
    assert code == 1
    assert "is damaged (checksum)" in err
    assert read_records(open_store(tmp_path / "new")).num_rows == 0


def test_strangers_in_an_archive_have_no_place(toy, tmp_path, verb, exported):
    exported(toy, tmp_path / "folder")
    about = json.loads((tmp_path / "folder" / ABOUT).read_text())
    about.pop("checksum")
    (tmp_path / "folder" / "attempts").mkdir()
    stranger = b"{}"
    (tmp_path / "folder" / "attempts" / "toy.json").write_bytes(stranger)
    about["files"]["attempts/toy.json"] = {
        "bytes": 2,
        "sha256": hashlib.sha256(stranger).hexdigest(),
    }
    about["checksum"] = _checksum(about)
    (tmp_path / "folder" / ABOUT).write_text(json.dumps(about))
    code, _, err = verb("import", tmp_path / "folder", f"store.path={tmp_path / 'new'}")
    assert code == 1
    assert "attempts/toy.json has no place in a store" in err


def test_the_target_of_replicates_travels_and_is_never_lowered(
    toy_study, tmp_path, exported, imported
):
    study = toy_study(tmp_path / "one", "protocol.replicates=2", "store.keep_logits=false")
    store, rule = open_store(study.store_path), WidthRule(0.5, 2, 9)
    remember_run(study, store)
    run_here(raise_replicates(study, store, 3, seen=2, by="--to 3", rule=rule), store)
    exported(study, tmp_path / "toy.tar")
    new = open_store(tmp_path / "new")
    raise_replicates(study, new, 2)
    imported(tmp_path / "toy.tar", tmp_path / "new")
    snapshot = next((tmp_path / "new" / "studies").glob("*.yaml"))
    there = load(snapshot, ["protocol.replicates=2"])
    assert read_history(there, new) == read_history(study, store)
    assert read_history(there, new).rule == rule
    raise_replicates(study, new, 7, seen=3, by="--to 7")
    imported(tmp_path / "toy.tar", tmp_path / "new")
    target = read_history(study, new)
    assert (target.replicates, target.rule) == (7, rule)
    assert [look.by for look in target.looks] == ["--to 3", "--to 7"]


@pytest.mark.parametrize(
    "odd",
    [
        {"replicates": "many"},
        {"replicates": 3, "looks": [{"before": 1}]},
        {"replicates": 3, "looks": 7},
        {"replicates": 3, "rule": {"width": "0.1", "first": 2, "most": 3}},
        {"replicates": 3, "rule": "narrow"},
        {"replicates": 3, "declared": [{"asked": "all", "seen": 0, "at": ""}]},
        {"replicates": 3, "declared": [{"asked": {"margin": {}}, "seen": 0, "at": ""}]},
        {"replicates": 3, "given": [{"by": "--until width<1"}]},
        [],
    ],
)
def test_what_an_archive_says_of_replicates_is_checked(odd):
    with pytest.raises(DamagedArtifactError, match="does not say a number of replicates"):
        merging._read_history(json.dumps(odd).encode(), Path("toy.replicates.json"))


def test_a_file_of_before_looks_were_kept_is_merged():
    look = {"before": 2, "after": 3, "seen": 2, "by": "run", "at": "2025-01-01T00:00:00+00:00"}
    old = merging._read_history(b'{"replicates": 9}', Path("toy.replicates.json"))
    asked = {"asked": {"margin": 0.1}, "seen": 0, "at": "2025-01-01T00:00:00+00:00"}
    given = {"by": "--until width<1 --max 9", "seen": 2, "at": "2025-01-01T00:00:00+00:00"}
    new = {"replicates": 3, "rule": None, "looks": [look], "ran": 3}
    new |= {"declared": [asked], "given": [given]}
    for pair in ((old, new), (new, old)):
        assert merging._merged(*pair) == {**new, "replicates": 9}


def test_of_what_was_declared_here_and_there_the_time_counts_when_least_was_seen():
    def declared(margin, seen, at):
        return {"asked": {"margin": margin}, "seen": seen, "at": at}

    mine = {"replicates": 3, "declared": [declared(0.1, 6, "2025-01-02")]}
    theirs = {
        "replicates": 3,
        "declared": [declared(0.2, 0, "2025-01-03"), declared(0.1, 9, "2025-01-01")],
    }
    expected = [declared(0.2, 0, "2025-01-03"), declared(0.1, 6, "2025-01-02")]
    assert merging._merged(mine, theirs)["declared"] == expected
    assert merging._merged(theirs, mine)["declared"] == expected
