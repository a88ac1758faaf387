from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from synthtrial.errors import ConfigError
from synthtrial.plan import build
from synthtrial.plan_views import show_plan
from synthtrial.progress import human_bytes
from synthtrial.store.artifacts import draft, open_store
from synthtrial.study import load
from synthtrial.tasks import ARTIFACT_KINDS
from synthtrial.views import artifacts_in_use, collect, show_status


def printed(show, *arguments, **options):
    console = Console(file=io.StringIO(), markup=False, soft_wrap=True, highlight=False)
    show(console, *arguments, **options)
    return console.file.getvalue()


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (999, "999 B"), (1500, "1.5 kB"), (2e9, "2.0 GB"), (3e13, "30.0 TB")],
)
def test_sizes_read_well(count, text):
    assert human_bytes(count) == text


def test_a_plan_says_packs_time_and_disk():
    text = printed(show_plan, build(load("digits", ["engine.workers=3"]), None), None)
    assert "580 packs of one task, over 3 processes" in text
    assert "a rough guess until trials have been measured here" in text
    assert "120 replicate trials wait for their configuration" in text


def test_words_of_the_user_are_printed_as_they_are():
    study = load("digits", ["description='see [/x] and [0]'"])
    assert "see [/x] and [0]" in printed(show_plan, build(study, None), None)


def test_status_speaks_of_this_studys_runs_only(tmp_path):
    from synthtrial.store.attempts import hold

    study, store = load("digits"), open_store(tmp_path / "store")
    with hold(store, "another", "local"):
        assert "not running" in printed(show_status, build(study, store), store)
    with hold(store, "digits", "local"):
        assert "running: process" in printed(show_status, build(study, store), store)


@pytest.fixture
def kept(tmp_path):
    """A store with the dataset of two studies, logits of one of its trials, and a stray."""
    store = open_store(tmp_path / "store")
    studies = [
        load("digits"),
        load(
            "digits",
            ["name=other", "dataset.class_order=['1','0','2','3','4','5','6','7','8','9']"],
        ),
    ]
    (store.root / "studies").mkdir()
    made = set()
    for study in studies:
        (store.root / "studies" / f"{study.digest}.yaml").write_text(study.snapshot())
        tasks = list(build(study, None).tasks.values())
        trial = next(task for task in tasks if task.kind == "trial")
        made |= {("dataset", tasks[0].id), ("predictions", trial.id)}
    for kind, id_ in [*made, ("generator", "stray")]:
        with draft(store, kind, id_, inputs={}) as made_here:
            (made_here.path / "x").write_bytes(b"x")
    return store, studies, made


def test_what_any_study_of_the_store_uses_is_kept(kept):
    store, studies, made = kept
    used = artifacts_in_use(store, studies[0])
    assert made <= used
    assert {kind for kind, _ in used} <= {*ARTIFACT_KINDS.values(), "predictions", "weights"}
    assert "would remove 1 left-overs" in printed(collect, store, used, dry_run=True)
    assert "stray" in printed(collect, store, used, dry_run=False)
    assert not (store.root / "generator" / "stray").exists()
    assert (store.root / "dataset").exists()


def test_nothing_is_removed_while_a_study_of_the_store_cannot_be_read(kept):
    store, studies, _ = kept
    Path(store.root / "studies" / "gone.yaml").write_text("name: gone\ndataset: {name: gone}\n")
    with pytest.raises(ConfigError, match=r"gone.yaml ran in this store and cannot be read"):
        artifacts_in_use(store, studies[0])
