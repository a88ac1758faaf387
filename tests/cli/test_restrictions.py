"""Restricted images, made images and weights stay where they are, and the results travel."""

from __future__ import annotations

import json
import tarfile

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from synthtrial.errors import SynthtrialError
from synthtrial.plan import build
from synthtrial.report.page import write_report
from synthtrial.store.artifacts import list_artifacts, open_store, read_artifact
from synthtrial.store.images import read_labels
from synthtrial.study import load
from synthtrial.testing.studies import run_here
from synthtrial.work.context import _artifact

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


def _without_test_set(text):
    lines = [line.split(",") for line in text.splitlines()]
    return [line[: lines[0].index("test_error")] for line in lines]


def test_restricted_images_stay_and_the_study_is_reported_without_its_files(
    clinic, tmp_path, monkeypatch, verb, exported, imported, problems, tables, every_byte
):
    text = exported(clinic, tmp_path / "clinic.tar")
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
    text = imported(tmp_path / "clinic.tar", tmp_path / "new")
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
    # Labels of test images stayed, and with them what another test set would say.
    assert before.pop("test-errors.csv").count("\n") > after.pop("test-errors.csv").count("\n")
    alone = [_without_test_set(found.pop("differences.csv")) for found in (before, after)]
    assert alone[0] == alone[1]
    assert before == after
    assert {a.restrictions for a in _all(store, "generator")} == {("for this clinic only",)}
    for artifact in _all(store, "dataset"):
        assert artifact.left_out
    shown = load(snapshot, [f"store.path={store.root}", "store.show_restricted=true"])
    page = write_report(shown, store, build(shown, store), tmp_path / "c")
    assert "were left out of the archive" in page.read_text()


def _all(store, kind):
    return [read_artifact(store, kind, name) for name in list_artifacts(store, kind)]


def test_restricted_images_travel_where_that_is_asked_for(
    clinic, tmp_path, exported, imported, problems
):
    text = exported(clinic, tmp_path / "clinic.tar", "--with-restricted", "--keep-ids")
    assert "RESTRICTED (for this clinic only)" in text
    imported(tmp_path / "clinic.tar", tmp_path / "new")
    store = open_store(tmp_path / "new")
    assert problems(store) == []
    (dataset,) = _all(store, "dataset")
    assert len(read_labels(dataset)) == 3 * PATIENTS
    assert dataset.restrictions == ("for this clinic only",)
    assert not dataset.is_rewritten


def test_without_its_images_a_study_with_true_ids_makes_nothing_new(
    clinic, tmp_path, exported, imported
):
    exported(clinic, tmp_path / "clinic.tar", "--keep-ids")
    imported(tmp_path / "clinic.tar", tmp_path / "new")
    _artifact.cache_clear()
    more = clinic.replace([f"store.path={tmp_path / 'new'}", "protocol.replicates=4"])
    with pytest.raises(SynthtrialError, match="part of it was left out"):
        run_here(more, open_store(tmp_path / "new"))
