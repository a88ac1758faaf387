"""A run with a Ray cluster of its own, as a user starts it."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # for `records`: tests are no packages

from records import finished, measured, tries

RAY = ("--engine", "ray")


def processes(text):
    """Return the ids of living processes whose command line or name holds a text."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            state = (entry / "stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            continue
        if text in command and state != "Z":
            found.append(int(entry.name))
    return found


def until(condition, seconds=60):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s: {condition}"
        time.sleep(0.1)


@contextmanager
def running(command):
    """Start a run and, whatever happens, end it."""
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=os.environ
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def announcement(root):
    path = root / "ray" / "digits.json"
    return json.loads(path.read_text()) if path.exists() else None


@pytest.fixture
def run(synthtrial_command, tiny, token):
    def command(*overrides, folder="one"):
        return [*synthtrial_command, "run", "digits", *RAY, *tiny(*overrides, folder=folder)]

    return command


@pytest.mark.faults
def test_a_study_ends_with_the_bits_of_the_local_engine(run, finished_study, tmp_path):
    """And leaves nothing of Ray behind: no process, no folder, no word in the store."""
    command = run("engine.workers=2")
    root = tmp_path / "one" / "store"
    with running(command) as process:
        until(lambda: announcement(root))
        found = announcement(root)
        assert processes(found["folder"])
        status = subprocess.run(
            [word if word != "run" else "status" for word in command],
            capture_output=True,
            text=True,
        )
        assert f"dashboard: {found['dashboard']} on " in status.stdout
        output, _ = process.communicate(timeout=200)
    assert process.returncode == 0, output
    assert "report: " in output
    local = next(Path(o.split("=")[1]) for o in finished_study[0] if o.startswith("store.path="))
    ours, theirs = measured(root), measured(local)
    assert ours.keys() == theirs.keys()
    assert ours == theirs
    assert found["dashboard"].startswith("http://127.0.0.1:")
    assert announcement(root) is None
    assert not Path(found["folder"]).exists()
    until(lambda: not processes(found["folder"]), seconds=20)


@pytest.mark.faults
def test_a_killed_driver_leaves_no_process_and_no_trial_is_trained_twice(run, tmp_path):
    command = run("protocol.replicates=4", "regimens=[0.5,1.0]")
    root = tmp_path / "one" / "store"
    with running(command) as process:
        until(lambda: process.poll() is not None or finished(root) >= 3, seconds=120)
        folder = announcement(root)["folder"]
        process.send_signal(signal.SIGKILL)
        process.wait()
    until(lambda: not processes(folder), seconds=60)
    before = {id_ for id_, row in measured(root).items() if row["status"] == "done"}
    assert before
    again = subprocess.run(command, capture_output=True, text=True, timeout=250)
    assert again.returncode == 0, again.stdout + again.stderr
    assert f"{len(before)}" in again.stdout
    assert before < measured(root).keys()
    assert all(tries(root)[id_] == 1 for id_ in before)


@pytest.mark.faults
def test_two_studies_side_by_side_do_not_touch_each_other(run, tmp_path):
    """Each has its cluster; killing one leaves the other to end well."""
    roots = [tmp_path / name / "store" for name in ("one", "two")]
    small = ("engine.workers=1", "regimens=[0.25]", "protocol.replicates=1", "protocol.draws=1")
    first, second = (run(*small, folder=root.parent.name) for root in roots)
    with running(first) as doomed, running(second) as survivor:
        until(lambda: all(announcement(root) for root in roots), seconds=90)
        one, two = map(announcement, roots)
        assert one["address"] != two["address"]
        assert one["dashboard"] != two["dashboard"]
        doomed.kill()
        output, _ = survivor.communicate(timeout=200)
    assert survivor.returncode == 0, output
    assert {row["status"] for row in measured(roots[1]).values()} == {"done"}


def test_the_token_is_for_nobody_else(tmp_path, monkeypatch, token):
    from synthtrial.engines.ray.cluster import _secure

    path = tmp_path / "new" / "auth_token"
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(path))
    _secure()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert len(path.read_text()) == 64
    kept = path.read_text()
    path.chmod(0o644)  # as Ray makes it
    _secure()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.read_text() == kept
