from __future__ import annotations

import json
import os
import signal
import socket

import pytest

from synthtrial.errors import StoreBusyError, StoreError
from synthtrial.store.attempts import hold, live

RUN = """
import os, sys
from pathlib import Path
from synthtrial.store.artifacts import open_store
from synthtrial.store.attempts import hold
with hold(open_store(Path(sys.argv[1])), "digits", "local", "a test"):
    if len(sys.argv) > 2:
        ours, theirs = os.pipe()
        if os.fork() == 0:
            os.write(theirs, b"x")  # alive, and past what a fork runs in its child
            import time
            time.sleep(60)
        os.read(ours, 1)
    print("running", flush=True)
    sys.stdin.readline()
"""


def test_a_run_is_live_while_its_block_lasts(store):
    assert live(store) == []
    with hold(store, "digits", "local", "note") as attempt:
        assert live(store) == [attempt]
        assert (attempt.study, attempt.pid, attempt.engine) == ("digits", os.getpid(), "local")
        assert json.loads((store.root / "attempts" / "digits.json").read_text())["note"] == "note"
        with hold(store, "other", "local"):
            assert [run.study for run in live(store)] == ["digits", "other"]
    assert live(store) == []
    assert not (store.root / "attempts" / "digits.json").exists()


def test_a_second_run_of_the_study_is_refused_with_names(store, process):
    child = process(RUN, store.root)
    assert child.stdout.readline() == "running\n"
    with pytest.raises(StoreBusyError) as got, hold(store, "digits", "local"):
        pass
    for part in (str(child.pid), socket.gethostname(), "since 20", "a test", "synthtrial status"):
        assert part in str(got.value)
    child.communicate("\n")
    with hold(store, "digits", "local"):
        pass


@pytest.mark.parametrize("orphan", [[], ["fork"]])
def test_a_killed_run_frees_the_study_at_once(store, process, orphan):
    child = process(RUN, store.root, *orphan)
    assert child.stdout.readline() == "running\n"
    assert [run.pid for run in live(store)] == [child.pid]
    child.send_signal(signal.SIGKILL)
    child.wait()
    assert live(store) == []
    with hold(store, "digits", "local") as attempt:
        assert live(store) == [attempt]


def test_an_error_in_a_run_frees_the_study(store):
    def run():
        with hold(store, "digits", "local"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run()
    assert live(store) == []


def test_a_name_that_is_no_name_is_refused(store):
    with pytest.raises(StoreError, match="cannot name a study"), hold(store, "../x", "local"):
        pass
