from __future__ import annotations

import time

import pytest

from synthtrial.engines import submissions as subs
from synthtrial.engines.base import Outcome, Trouble
from synthtrial.engines.source import provenance, snapshot
from synthtrial.errors import StoreError
from synthtrial.store.artifacts import open_store


@pytest.fixture
def store(tmp_path):
    return open_store(tmp_path / "store")


@pytest.fixture
def submission(store):
    folder = subs.new_folder(store, "digits")
    packs = (subs.Pack({"a": 1.0, "b": 2.0}), subs.Pack({"c": 3.0}, workers=1))
    made = subs.Submission(folder, "digits", "abc", "packs", time.time(), "77", packs)
    made.write()
    return made


def test_what_was_submitted_is_read_back(store, submission):
    assert subs.read_submissions(store, "digits") == [submission]
    assert subs.read_submissions(store, "other") == []
    assert (submission.number, submission.job_name) == (1, "digits-0001")
    assert (submission.job(0), submission.job(1)) == ("77_0", "77_1")


def test_folders_are_numbered_and_never_shared(store):
    names = [subs.new_folder(store, "digits").name for _ in range(3)]
    assert names == ["0001", "0002", "0003"]


def test_events_are_read_whole_and_only_once(submission):
    log = subs.EventLog(submission, 1)
    log.say("start", task="c")
    (path,) = subs.event_files(submission, 1)
    events, place = subs.read_events(path)
    assert [(event["event"], event["task"]) for event in events] == [("start", "c")]
    with path.open("ab") as file:
        file.write(b'{"event": "outc')  # half a line, as a reader may find it
    assert subs.read_events(path, place) == ([], place)
    with path.open("ab") as file:
        file.write(b'ome"}\n')
    assert [event["event"] for event in subs.read_events(path, place)[0]] == ["outcome"]
    log.close()


def test_each_start_of_a_job_has_a_file_of_its_own(submission):
    for _ in range(2):
        subs.EventLog(submission, 0).close()
    assert [path.name for path in subs.event_files(submission, 0)] == [
        "00000-000.jsonl",
        "00000-001.jsonl",
    ]


def test_an_outcome_comes_through_unchanged(submission):
    outcome = Outcome("a", "failed", "why", retry=True, seconds=2.5, cause="memory", host="node1")
    log = subs.EventLog(submission, 0)
    log.outcome(outcome)
    log.close()
    ((event,), _) = subs.read_events(subs.event_files(submission, 0)[0])
    assert subs.outcome_of(event) == outcome


def test_troubles_count_until_they_are_forgiven(store, submission):
    trouble = Trouble("a", "node", "gone", "node1", "77_0")
    assert subs.open_submissions(store, "digits") == [submission]
    subs.end(submission, [trouble])
    assert subs.open_submissions(store, "digits") == []
    assert subs.troubles_of(submission) == [trouble]
    assert subs.forgiven(store, "digits").up_to == 0
    subs.forgive(store, "digits")
    assert subs.forgiven(store, "digits").up_to == submission.number


def test_a_folder_without_a_submission_is_said_so(store):
    with pytest.raises(StoreError, match=r"no readable submission\.json"):
        subs.read_submission(subs.new_folder(store, "digits"))


def test_the_source_is_kept_once_with_where_it_came_from(store):
    folder = snapshot(store)
    assert (folder / "synthtrial" / "driver.py").is_file()
    assert (folder / "synthtrial" / "_shipped" / "configs" / "study" / "digits.yaml").is_file()
    assert (folder / "synthtrial" / "_shipped" / "cluster" / "sites" / "default.yaml").is_file()
    assert (folder / "source.json").is_file()
    assert snapshot(store) == folder
    known = provenance(folder / "synthtrial")
    assert known["commit"] is None  # the store is no repository
    assert known["digest"] == folder.name
