from __future__ import annotations

import io

import pytest
from rich.console import Console

from synthtrial.plan import build
from synthtrial.plan_views import show_plan
from synthtrial.progress import human_bytes
from synthtrial.store.artifacts import open_store
from synthtrial.study import load
from synthtrial.views import show_status


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
