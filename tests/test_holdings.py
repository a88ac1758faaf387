"""What belongs to a study stays in its store, and goes into its archive."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from synthtrial.errors import ConfigError
from synthtrial.history import history_file, raise_replicates
from synthtrial.holdings import artifacts_in_use, contents_of_store, contents_of_study
from synthtrial.plan import build
from synthtrial.store.artifacts import draft, open_store
from synthtrial.study import load
from synthtrial.tasks import ARTIFACT_KINDS
from synthtrial.upstream import prepare_task
from synthtrial.views import collect

STRAY = ("generator", "stray")


@pytest.fixture
def kept(tmp_path):
    """A store with the datasets of two studies, logits of a trial of each, and a stray."""
    store = open_store(tmp_path / "store")
    studies = [
        load("digits"),
        load(
            "digits",
            ["name=other", "dataset.class_order=['1','0','2','3','4','5','6','7','8','9']"],
        ),
    ]
    (store.root / "studies").mkdir()
    made = []
    for study in studies:
        (store.root / "studies" / f"{study.digest}.yaml").write_text(study.snapshot())
        tasks = list(build(study, None).tasks.values())
        trial = next(task for task in tasks if task.kind == "trial")
        made.append({("dataset", tasks[0].id), ("predictions", trial.id)})
    for item in {*made[0], *made[1], STRAY}:
        commit(store, *item)
    return store, studies, made


def commit(store, kind, id_, **inputs):
    with draft(store, kind, id_, inputs=inputs) as made:
        (made.path / "x").write_bytes(b"x")


def removed(store, used, *, dry_run):
    console = Console(file=io.StringIO(), markup=False, soft_wrap=True, highlight=False)
    collect(console, store, used, dry_run=dry_run)
    return console.file.getvalue()


def test_what_any_study_of_the_store_uses_is_kept(kept):
    store, studies, made = kept
    used = artifacts_in_use(store, studies[0])
    assert made[0] | made[1] <= used
    assert {kind for kind, _ in used} <= {*ARTIFACT_KINDS.values(), "predictions", "weights"}
    assert "would remove 1 left-overs" in removed(store, used, dry_run=True)
    assert "stray" in removed(store, used, dry_run=False)
    assert not store.folder(*STRAY).exists()
    assert (store.root / "dataset").exists()


def test_nothing_is_removed_or_exported_while_a_study_of_the_store_cannot_be_read(kept):
    store, studies, _ = kept
    (store.root / "studies" / "gone.yaml").write_text("name: gone\ndataset: {name: gone}\n")
    words = r"gone.yaml ran in this store and cannot be read any more"
    with pytest.raises(ConfigError, match=words):
        artifacts_in_use(store, studies[0])
    with pytest.raises(ConfigError, match=words):
        contents_of_store(store, keep_ids=True)


def test_an_archive_of_a_study_has_what_is_there_of_it_and_what_that_was_made_from(kept):
    store, studies, made = kept
    plan = build(studies[0], store)
    found = contents_of_study(plan, store, keep_ids=True)
    assert set(found.artifacts) == made[0]
    assert set(found.trials) == set(plan.tasks)
    assert dict(found.studies) == {f"{plan.study.digest}.yaml": plan.study.snapshot().encode()}
    assert dict(found.about) == {"study": "digits", "complete": False}
    trial = next(task for task in plan.tasks.values() if task.kind == "trial")
    commit(store, "weights", trial.id, generator="generator/stray")
    found = contents_of_study(plan, store, keep_ids=True)
    assert set(found.artifacts) == {*made[0], ("weights", trial.id), STRAY}


def test_an_archive_of_a_store_has_every_study_and_every_artifact(kept):
    store, studies, made = kept
    raise_replicates(studies[1], store, 50)
    found = contents_of_store(store, keep_ids=True)
    assert set(found.artifacts) == {*made[0], *made[1], STRAY}
    assert found.trials is None
    snapshots = {f"{study.digest}.yaml": study.snapshot().encode() for study in studies}
    target = history_file(studies[1], store)
    assert dict(found.studies) == {**snapshots, target.name: target.read_bytes()}
    assert dict(found.about) == {"study": None, "studies": ["digits", "other"]}
    # How far a study was taken goes along with that study alone.
    one, other = (build(study, store) for study in studies)
    assert target.name in contents_of_study(other, store, keep_ids=True).studies
    assert target.name not in contents_of_study(one, store, keep_ids=True).studies


@pytest.mark.parametrize("keep_ids", [True, False])
def test_where_ids_are_hashed_the_settings_go_without_the_datasets_paths(
    tmp_path, toy_study, keep_ids
):
    place = tmp_path / "Smith's images"
    place.mkdir()
    rows = ["path,label"]
    for name, label in (("a", "moth"), ("b", "bee")):
        Image.fromarray(np.full((8, 8), 9, np.uint8)).save(place / f"{name}.png")
        rows.append(f"{name}.png,{label}")
    (place / "table.csv").write_text("\n".join(rows))
    study = toy_study(
        tmp_path, f'dataset={{name: table, table: "{place / "table.csv"}", label_column: label}}'
    )
    store = open_store(study.store_path)
    found = contents_of_study(build(study, store), store, keep_ids=keep_ids)
    ((name, text),) = found.studies.items()
    assert ("Smith" in text.decode()) == keep_ids
    (tmp_path / name).write_bytes(text)
    again = load(tmp_path / name)
    assert f"{again.digest}.yaml" == name
    assert prepare_task(again).id == prepare_task(study).id
