"""A run that is asked to stop has the trainings in other processes save their state."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from synthtrial.study import load

LONG = (
    "arms={none: {}}",
    "regimens=[1.0]",
    "grid={learning_rate: [0.01, 0.001]}",
    "training.epochs=1000000",
    "protocol.draws=1",
    "protocol.replicates=1",
    "engine.ray.dashboard=false",
    "engine.workers=2",
    "engine.checkpoint_seconds=8",
)

# Trains in a thread, as Ray Train has it, where Python handles no signals.
IN_A_THREAD = """
import threading
from synthtrial.work import signals

heard = []

def train():
    with signals.noticed() as interrupted:
        heard.append(interrupted())
        signals.ask()
        heard.append(interrupted())

thread = threading.Thread(target=train)
thread.start()
thread.join()
with signals.noticed() as interrupted:
    heard.append(interrupted())
print(heard)
"""


@pytest.mark.faults
def test_a_signal_has_trainings_save_their_state_and_the_run_says_it_would_go_on(token, tiny):
    overrides = tiny(*LONG)
    store = load("digits", overrides).store_path
    command = [sys.executable, "-m", "synthtrial", "run", "digits", "--engine", "ray", *overrides]
    run = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        deadline = time.monotonic() + 200
        while len({path.parent for path in saved(store)}) < 2:
            assert run.poll() is None, run.communicate()[0]
            assert time.monotonic() < deadline
            time.sleep(0.1)
        time.sleep(6)  # what was saved a moment before would not be saved again
        before = time.time()
        run.send_signal(signal.SIGUSR2)
        said, _ = run.communicate(timeout=60)
    finally:
        run.kill()
    assert run.returncode == 75, said
    assert "asked to stop" in said
    assert any(path.stat().st_mtime > before for path in saved(store))


def saved(store: Path):
    return list(store.glob("unfinished/*/checkpoints/*"))


def test_who_is_asked_in_a_thread_hears_it(token):
    done = subprocess.run([sys.executable, "-c", IN_A_THREAD], capture_output=True, text=True)
    assert done.stdout == "[False, True, True]\n", done.stderr
