"""Studies that travel: exported, imported, merged, and reported as they were."""

from __future__ import annotations

import io
import json
import shutil
import sys
import tarfile

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from PIL import Image

from synthtrial import cli
from synthtrial.data.splits import check_split, read_split
from synthtrial.drive import failure_record
from synthtrial.engines.base import Outcome
from synthtrial.errors import DataError, SynthtrialError
from synthtrial.plan import build
from synthtrial.report.page import write_report
from synthtrial.store.artifacts import draft, list_artifacts, open_store, read_artifact
from synthtrial.store.images import read_labels
from synthtrial.store.records import RecordWriter, read_records
from synthtrial.store.verification import verify_store
from synthtrial.study import load
from synthtrial.targets import raise_target
from synthtrial.testing.studies import measured, run_here
from synthtrial.work.context import _artifact

SALT = "a secret of more than sixteen bytes"


@pytest.fixture
def verb(monkeypatch, capsys):
    """Run a verb here; return its exit status, output and errors."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["synthtrial", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            cli.main()
        captured = capsys.readouterr()
        return stop.value.code, captured.out, captured.err

    return run


@pytest.fixture(scope="session")
def toy(tmp_path_factory, toy_study):
    """A finished toy study, and a failure on record that quotes ids."""
    study = toy_study(tmp_path_factory.mktemp("toy"))
    store = open_store(study.store_path)
    plan = run_here(study, store)
    trial = next(task for task in plan.tasks.values() if task.trial is not None)
    why = "group 'site-0003' (and 2 more) is trained on and judged on, such as 'toy-00007'"
    with RecordWriter(store) as writer:
        writer.append(failure_record(study, trial, Outcome(trial.id, "failed", why), 2))
    return study


@pytest.fixture(scope="session")
def salt_file(tmp_path_factory):
    file = tmp_path_factory.mktemp("salt") / "salt.txt"
    file.write_text(SALT)
    return file


def words_of(study, *overrides):
    return [study.words[0], *study.words[1:], *overrides]


def exported(verb, study, out, *options):
    code, text, error = verb("export", study.words[0], out, *study.words[1:], *options)
    assert code == 0, error
    return text


def imported(verb, archive, place):
    code, text, error = verb("import", archive, f"store.path={place}")
    assert code == 0, error
    return text


def problems(store):
    return [problem for *_, found in verify_store(store) for problem in found]


def tables(study, store, out):
    write_report(study, store, build(study, store), out)
    return {path.name: path.read_text() for path in sorted((out / "tables").glob("*.csv"))}


def every_byte(path):
    """Return the content of an archive, Parquet unpacked, as one text."""
    parts = []
    with tarfile.open(path) as tar:
        for member in tar:
            content = tar.extractfile(member).read()
            parts += [member.name.encode(), content]
            if member.name.endswith(".parquet"):
                table = pq.read_table(io.BytesIO(content))
                parts.append(str(table.schema.metadata).encode())
                keep = [name for name in table.column_names if name != "image"]
                parts.append(table.select(keep).to_pandas().to_csv().encode())
                if "image" in table.column_names:
                    parts.append(str(table["image"].combine_chunks().field("path")).encode())
    return b"\n".join(parts)


def test_an_exported_study_is_complete_elsewhere_and_reports_the_same(toy, tmp_path, verb):
    text = exported(verb, toy, tmp_path / "toy.tar")
    assert "random salt that is not kept" in text
    text = imported(verb, tmp_path / "toy.tar", tmp_path / "new")
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


def test_no_id_is_in_any_byte_of_the_archive(toy, tmp_path, verb):
    exported(verb, toy, tmp_path / "toy.tar")
    whole = every_byte(tmp_path / "toy.tar")
    store = open_store(toy.store_path)
    (dataset,) = list_artifacts(store, "dataset")
    labels = read_labels(read_artifact(store, "dataset", dataset))
    ids = {*labels.sample_ids, *labels.group_ids}
    assert len(ids) > 250
    assert [name for name in ids if name.encode() in whole] == []
    assert b"trained on and judged on" in whole  # the message is there, its ids are not
    kept = tmp_path / "kept.tar"
    exported(verb, toy, kept, "--keep-ids")
    whole = every_byte(kept)
    assert all(name.encode() in whole for name in ids)  # so that the search above can find


def test_groups_stay_disjoint_and_everything_matches(toy, tmp_path, verb):
    exported(verb, toy, tmp_path / "toy.tar")
    imported(verb, tmp_path / "toy.tar", tmp_path / "new")
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


def test_rewritten_artifacts_say_so_and_others_are_as_they_were(toy, tmp_path, verb):
    exported(verb, toy, tmp_path / "toy.tar")
    imported(verb, tmp_path / "toy.tar", tmp_path / "new")
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


def test_a_hashed_artifact_that_is_damaged_is_found(toy, tmp_path, verb):
    exported(verb, toy, tmp_path / "toy.tar")
    imported(verb, tmp_path / "toy.tar", tmp_path / "new")
    store = open_store(tmp_path / "new")
    name = list_artifacts(store, "split")[0]
    path = store.folder("split", name) / "split.parquet"
    content = bytearray(path.read_bytes())
    content[60] ^= 1
    path.write_bytes(bytes(content))
    assert {(p.kind, p.id) for p in problems(store)} == {("split", name)}


def test_nothing_new_is_made_from_hashed_ids(toy, tmp_path, verb):
    exported(verb, toy, tmp_path / "toy.tar")
    imported(verb, tmp_path / "toy.tar", tmp_path / "new")
    _artifact.cache_clear()
    more = toy.replace([f"store.path={tmp_path / 'new'}", "protocol.replicates=6"])
    with pytest.raises(DataError, match="ids are hashed: nothing new can be made from it"):
        run_here(more, open_store(tmp_path / "new"))


def test_a_study_moves_with_its_ids_and_goes_on(toy, tmp_path, verb):
    raised = raise_target(toy, open_store(toy.store_path), 4)
    assert raised is toy  # nothing beyond what the study says
    text = exported(verb, toy, tmp_path / "moved", "--keep-ids")
    assert "can go on elsewhere" in text
    assert (tmp_path / "moved" / "archive.json").exists()
    imported(verb, tmp_path / "moved", tmp_path / "new")
    more = toy.replace([f"store.path={tmp_path / 'new'}", "protocol.replicates=5"])
    store = open_store(tmp_path / "new")
    before = set(measured(store))
    assert run_here(more, store).complete
    assert len(measured(store)) == len(before) + 2
    assert problems(store) == []


def test_a_study_is_found_by_its_name_and_store(toy, tmp_path, verb):
    code, _, err = verb("export", f"toy@{toy.store_path}", tmp_path / "toy.tar")
    assert code == 0, err
    text = imported(verb, tmp_path / "toy.tar", tmp_path / "new")
    assert "20 artifacts added" in text
    code, _, err = verb("export", "digits", tmp_path / "x.tar", f"store.path={tmp_path / 'none'}")
    assert code == 1
    assert "there is no store at" in err


def test_an_unpacked_archive_is_a_store(toy, tmp_path, verb):
    exported(verb, toy, tmp_path / "folder")
    code, out, _ = verb("status", *words_of(toy, f"store.path={tmp_path / 'folder'}"))
    assert code == 0
    assert out.rstrip().endswith("complete")
    assert problems(open_store(tmp_path / "folder")) == []


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
def test_two_halves_give_the_whole(toy, halves, salted, salt_file, tmp_path, verb):
    options = ["--salt-file", salt_file] if salted else ["--keep-ids"]
    for number, study in enumerate(halves):
        exported(verb, study, tmp_path / f"{number}.tar", *options)
        text = imported(verb, tmp_path / f"{number}.tar", tmp_path / "new")
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


def test_archives_of_two_salts_are_not_merged(halves, tmp_path, verb):
    for number, study in enumerate(halves):
        exported(verb, study, tmp_path / f"{number}.tar")
    imported(verb, tmp_path / "0.tar", tmp_path / "new")
    before = sorted(p.as_posix() for p in (tmp_path / "new").rglob("*"))
    code, _, err = verb("import", tmp_path / "1.tar", f"store.path={tmp_path / 'new'}")
    assert code == 1
    assert "nobody could tell which patients are the same" in err
    assert "--salt-file" in err
    assert sorted(p.as_posix() for p in (tmp_path / "new").rglob("*")) == before
    code, _, err = verb("import", tmp_path / "1.tar", f"store.path={halves[0].store_path}")
    assert code == 1
    assert "has true ids and the archive hashed ids" in err


def test_hashed_ids_stay_as_they_are_when_they_travel_on(halves, salt_file, tmp_path, verb):
    exported(verb, halves[0], tmp_path / "0.tar", "--salt-file", salt_file)
    imported(verb, tmp_path / "0.tar", tmp_path / "new")
    again = [halves[0].words[0], tmp_path / "1.tar", *halves[0].words[1:]]
    code, out, _ = verb("export", *again, f"store.path={tmp_path / 'new'}", "--keep-ids")
    assert code == 0
    assert "ids stay hashed, as they came" in out
    imported(verb, tmp_path / "1.tar", tmp_path / "newer")
    name = list_artifacts(open_store(tmp_path / "new"), "split")[0]
    one, other = (
        open_store(tmp_path / s).folder("split", name) / "split.parquet" for s in ("new", "newer")
    )
    assert one.read_bytes() == other.read_bytes()


def test_another_artifact_of_the_same_id_is_refused(halves, tmp_path, verb):
    exported(verb, halves[0], tmp_path / "0.tar", "--keep-ids")
    store = open_store(tmp_path / "new")
    name = list_artifacts(open_store(halves[0].store_path), "generator")[0]
    with draft(store, "generator", name, inputs={}) as made:
        (made.path / "generator.safetensors").write_bytes(b"of another machine")
    code, _, err = verb("import", tmp_path / "0.tar", f"store.path={tmp_path / 'new'}")
    assert code == 1
    assert f"has generator/{name} with other content" in err
    assert "synthtrial compare" in err
    assert [kind.name for kind in store.root.iterdir() if kind.is_dir()] == ["generator"]


def test_an_interrupted_import_goes_on(toy, tmp_path, verb, monkeypatch):
    from synthtrial.store.transfer import merging

    exported(verb, toy, tmp_path / "toy.tar")
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
    text = imported(verb, tmp_path / "toy.tar", tmp_path / "new")
    assert "15 artifacts added, 5 were there; 13 records added" in text
    assert problems(store) == []
    text = imported(verb, tmp_path / "toy.tar", tmp_path / "new")
    assert "0 artifacts added, 20 were there; 0 records added" in text
    assert read_records(store, every_attempt=True).num_rows == 13


def test_a_damaged_archive_adds_no_records(toy, tmp_path, verb):
    exported(verb, toy, tmp_path / "folder")
    (segment,) = (tmp_path / "folder" / "records" / "segments").iterdir()
    content = bytearray(segment.read_bytes())
    content[len(content) // 2] ^= 1
    segment.write_bytes(bytes(content))
    code, _, err = verb("import", tmp_path / "folder", f"store.path={tmp_path / 'new'}")
    assert code == 1
    assert "is damaged (checksum)" in err
    assert read_records(open_store(tmp_path / "new")).num_rows == 0


def test_strangers_in_an_archive_have_no_place(toy, tmp_path, verb):
    from synthtrial.store.transfer.archive import ABOUT, _checksum

    exported(verb, toy, tmp_path / "folder")
    about = json.loads((tmp_path / "folder" / ABOUT).read_text())
    about.pop("checksum")
    (tmp_path / "folder" / "attempts").mkdir()
    stranger = b"{}"
    (tmp_path / "folder" / "attempts" / "toy.json").write_bytes(stranger)
    import hashlib

    about["files"]["attempts/toy.json"] = {
        "bytes": 2,
        "sha256": hashlib.sha256(stranger).hexdigest(),
    }
    about["checksum"] = _checksum(about)
    (tmp_path / "folder" / ABOUT).write_text(json.dumps(about))
    code, _, err = verb("import", tmp_path / "folder", f"store.path={tmp_path / 'new'}")
    assert code == 1
    assert "attempts/toy.json has no place in a store" in err


def test_the_target_of_replicates_travels_and_is_never_lowered(toy_study, tmp_path, verb):
    study = toy_study(tmp_path / "one", "protocol.replicates=2", "store.keep_logits=false")
    store = open_store(study.store_path)
    run_here(raise_target(study, store, 3), store)
    exported(verb, study, tmp_path / "toy.tar", "--keep-ids")
    target = open_store(tmp_path / "new")
    raise_target(study, target, 2)
    imported(verb, tmp_path / "toy.tar", tmp_path / "new")
    path = tmp_path / "new" / "studies" / "toy.replicates.json"
    assert json.loads(path.read_text()) == {"replicates": 3}
    raise_target(study, target, 7)
    imported(verb, tmp_path / "toy.tar", tmp_path / "new")
    assert json.loads(path.read_text()) == {"replicates": 7}


def test_only_what_the_study_uses_goes_along_unless_all_is_asked_for(toy, tmp_path, verb):
    shutil.copytree(toy.store_path, tmp_path / "store")
    store = open_store(tmp_path / "store")
    other = toy.replace([f"store.path={store.root}", "name=other", "training.epochs=1"])
    run_here(other, store)
    words = [toy.words[0], *toy.words[1:], f"store.path={store.root}"]
    assert verb("export", words[0], tmp_path / "one.tar", *words[1:])[0] == 0
    assert verb("export", words[0], tmp_path / "all.tar", *words[1:], "--all")[0] == 0
    imported(verb, tmp_path / "one.tar", tmp_path / "one")
    text = imported(verb, tmp_path / "all.tar", tmp_path / "all")
    assert len(measured(open_store(tmp_path / "one"))) == 12
    assert len(measured(open_store(tmp_path / "all"))) == 24
    assert text.count("next: `synthtrial report") == 2
    assert build(other, open_store(tmp_path / "all")).complete


PATIENTS = 40


@pytest.fixture(scope="session")
def clinic(tmp_path_factory, toy_study):
    """A finished study of restricted images in files, listed with their patients."""
    folder = tmp_path_factory.mktemp("clinic")
    random = np.random.default_rng(0)
    rows = []
    for patient in range(PATIENTS):
        for view in range(3):
            path = f"Smith-{patient:03d}/view{view}.png"
            sick = patient % 3 == 0
            pixels = random.integers(0, 90, (8, 8), dtype=np.uint8) + np.uint8(120 * sick)
            (folder / path).parent.mkdir(exist_ok=True)
            Image.fromarray(pixels).save(folder / path)
            rows.append((path, f"Smith-{patient:03d}", "sick" if sick else "well"))
    table = folder / "table.csv"
    pd.DataFrame(rows, columns=["path", "patient", "finding"]).to_csv(table, index=False)
    dataset = (
        f"dataset={{name: table, table: {table}, label_column: finding, group_column: patient, "
        "restricted: true, licence: for this clinic only}"
    )
    study = toy_study(
        folder / "results",
        dataset,
        "imbalance={classes: [sick], remove: 0.4}",
        "balance={classes: [sick], target: 0.4}",
        "statistics.minority=[sick]",
        "protocol.replicates=2",
    )
    assert run_here(study, open_store(study.store_path)).complete
    return study


def test_restricted_images_stay_and_the_study_is_reported_without_its_files(
    clinic, tmp_path, verb, monkeypatch
):
    text = exported(verb, clinic, tmp_path / "clinic.tar")
    assert "left out:" in text
    assert "for this clinic only" in text
    with tarfile.open(tmp_path / "clinic.tar") as tar:
        names = tar.getnames()
        about = json.loads(tar.extractfile("archive.json").read())
    assert not [n for n in names if n.endswith((".png", ".safetensors")) or "shard-" in n]
    assert not [n for n in names if n.endswith("allocation.parquet")]
    assert any(n.startswith("dataset/") and "shard-" in n for n in about["left_out"])
    assert any(n.endswith("generator.safetensors") for n in about["left_out"])
    assert about["restrictions"] == ["for this clinic only"]
    whole = every_byte(tmp_path / "clinic.tar")
    assert b"Smith" not in whole
    assert b"table.csv" not in whole
    text = imported(verb, tmp_path / "clinic.tar", tmp_path / "new")
    assert "restrictions that hold here too: for this clinic only" in text
    store = open_store(tmp_path / "new")
    assert problems(store) == []
    (snapshot,) = (store.root / "studies").glob("*.yaml")
    before = tables(clinic, open_store(clinic.store_path), tmp_path / "a")
    code, out, _ = verb("compare", f"toy@{clinic.store_path}", f"toy@{store.root}", "--json")
    assert code == 0
    settings = {item["key"]: item["touches"] for item in json.loads(out)["settings"]}
    assert settings["dataset.name"] == settings["dataset.table"] == "neither"
    monkeypatch.setattr(  # what an archive says is enough: no file of the dataset is touched
        "synthtrial.data.listed_images.open_table",
        lambda *_: pytest.fail("the dataset's table was read"),
    )
    code, out, err = verb("status", snapshot, f"store.path={store.root}")
    assert (code, err) == (0, "")
    assert "complete" in out
    code, _, err = verb("plan", snapshot, f"store.path={store.root}")
    assert code == 1
    assert "the dataset 'table' stayed where this study was exported" in err
    there = load(snapshot, [f"store.path={store.root}"])
    plan = build(there, store)
    assert plan.complete
    after = tables(there, store, tmp_path / "b")
    assert before == after
    assert {a.restrictions for a in _all(store, "generator")} == {("for this clinic only",)}
    for artifact in _all(store, "dataset"):
        assert artifact.left_out
    shown = load(snapshot, [f"store.path={store.root}", "store.show_restricted=true"])
    page = write_report(shown, store, build(shown, store), tmp_path / "c")
    assert "were left out of the archive" in page.read_text()


def _all(store, kind):
    return [read_artifact(store, kind, name) for name in list_artifacts(store, kind)]


def test_restricted_images_travel_where_that_is_asked_for(clinic, tmp_path, verb):
    text = exported(verb, clinic, tmp_path / "clinic.tar", "--with-restricted", "--keep-ids")
    assert "RESTRICTED (for this clinic only)" in text
    imported(verb, tmp_path / "clinic.tar", tmp_path / "new")
    store = open_store(tmp_path / "new")
    assert problems(store) == []
    (dataset,) = _all(store, "dataset")
    assert len(read_labels(dataset)) == 3 * PATIENTS
    assert dataset.restrictions == ("for this clinic only",)
    assert not dataset.is_rewritten


def test_without_its_images_a_study_with_true_ids_makes_nothing_new(clinic, tmp_path, verb):
    exported(verb, clinic, tmp_path / "clinic.tar", "--keep-ids")
    imported(verb, tmp_path / "clinic.tar", tmp_path / "new")
    _artifact.cache_clear()
    more = clinic.replace([f"store.path={tmp_path / 'new'}", "protocol.replicates=4"])
    with pytest.raises(SynthtrialError, match="part of it was left out"):
        run_here(more, open_store(tmp_path / "new"))


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
    assert "not an archive" in err
    assert not (tmp_path / "new").exists()
    code, _, err = verb("import", tmp_path / "there.tar", "training.epochs=3")
    assert code == 2
    assert "allowed: store.path=DIR" in err
