"""Ctrl-C at the fork server: silent at every moment, and nothing is left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

# Starts a fork server that imports `endless`, and sleeps; says the server's pid, then what it got.
DRIVER = """
import signal, sys, time
from multiprocessing import forkserver
from synthtrial.engines.fork_server import start_fork_server
if sys.argv[1] == "ignored":
    signal.signal(signal.SIGINT, signal.SIG_IGN)
else:  # a shell has what it starts in the background ignore it
    signal.signal(signal.SIGINT, signal.default_int_handler)
forkserver.set_forkserver_preload(["synthtrial.engines.interruptible", "endless"])
try:
    start_fork_server()
    assert not signal.pthread_sigmask(signal.SIG_BLOCK, ()), "the driver itself can be interrupted"
    print(forkserver._forkserver._forkserver_pid, flush=True)
    time.sleep(60)
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""
# Says that its import has begun, and does not come to an end.
ENDLESS = """
import time
from pathlib import Path
Path(__file__).with_name("begun").touch()
time.sleep(60)
"""


@pytest.fixture
def driver(tmp_path):
    (tmp_path / "endless.py").write_text(ENDLESS)
    started = []

    def start(kind="heeded"):
        process = subprocess.Popen(
            [sys.executable, "-c", DRIVER, kind],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])},
            start_new_session=True,
        )
        started.append(process)
        return process, int(process.stdout.readline())

    yield start
    for process in started:
        if _living(process):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def _living(driver):
    """Return the processes of a driver's session that run, itself included."""
    listing = subprocess.run(
        ["ps", "-o", "pid=,stat=", "-s", str(driver.pid)], capture_output=True, text=True
    )
    found = [line.split() for line in listing.stdout.splitlines()]
    return [int(pid) for pid, state in found if not state.startswith("Z")]


def _wait(condition):
    for _ in range(300):
        if condition():
            return
        time.sleep(0.1)
    pytest.fail("it has not come to that within 30 s")


def _ignores(pid):
    """Whether a process is blocked from SIGINT or ignores it."""
    status = Path(f"/proc/{pid}/status").read_text()
    masks = [line.split()[1] for line in status.splitlines() if line[:7] in ("SigBlk:", "SigIgn:")]
    return any(int(mask, 16) >> (signal.SIGINT - 1) & 1 for mask in masks)


@pytest.mark.parametrize("moment", ["python starts", "it imports"])
def test_ctrl_c_ends_driver_and_server_and_only_the_driver_speaks(driver, tmp_path, moment):
    process, server = driver()
    if moment == "python starts":
        assert _ignores(server)  # its interpreter would have a traceback to print
    else:
        _wait((tmp_path / "begun").exists)
        assert not _ignores(server)
    os.killpg(process.pid, signal.SIGINT)
    output, errors = process.communicate(timeout=60)  # that is, until all have closed them
    assert (output, errors, process.returncode) == ("interrupted\n", "", 0)
    _wait(lambda: not _living(process))


def test_a_driver_in_the_background_ignores_it_and_so_does_its_server(driver, tmp_path):
    process, server = driver("ignored")
    _wait((tmp_path / "begun").exists)
    os.killpg(process.pid, signal.SIGINT)
    time.sleep(0.3)
    assert {process.pid, server} <= set(_living(process))
