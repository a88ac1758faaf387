import json
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from synthtrial.errors import ConfigError
from synthtrial.synthesis.ranks import ALONE, STUCK_EXIT_CODE, Heartbeat, Ranks, announced


def test_shares_are_disjoint_and_whole_units():
    for size in (1, 2, 3, 5):
        shares = [Ranks(rank, size).share(24, unit=4) for rank in range(size)]
        places = [place for share in shares for place in range(24)[share]]
        assert places == list(range(24))
        assert all(share.start % 4 == 0 for share in shares)


def test_a_process_without_a_launcher_is_alone():
    assert announced({}) == (ALONE, 0)


def test_torchrun_announces_itself():
    environment = {"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "MASTER_ADDR": "n1"}
    assert announced(environment) == (Ranks(3, 4), 1)


def test_srun_announces_itself():
    environment = {"SLURM_PROCID": "2", "SLURM_NTASKS": "4", "SLURM_LOCALID": "0"}
    assert announced({**environment, "MASTER_ADDR": "n1"}) == (Ranks(2, 4), 0)
    with pytest.raises(ConfigError, match="export MASTER_ADDR and MASTER_PORT before srun"):
        announced(environment)


def test_one_task_of_srun_is_alone():
    assert announced({"SLURM_PROCID": "0", "SLURM_NTASKS": "1", "SLURM_LOCALID": "0"})[0] == ALONE


def beating(folder, rank, size=3):
    return Heartbeat(folder, Ranks(rank, size), stuck_seconds=1000.0)


def test_the_one_that_stands_still_is_named(tmp_path):
    beats = [beating(tmp_path, rank) for rank in range(3)]
    for beat in beats:
        beat._every = 0.02
        beat._write()
    beats[2].at(7, 1)
    over = threading.Event()

    def live():
        while not over.wait(0.01):
            beats[2]._write()

    thread = threading.Thread(target=live)
    thread.start()
    try:
        (line,) = beats[0].behind()
    finally:
        over.set()
        thread.join()
    assert line.startswith(f"rank 1 (process {os.getpid()} on")
    assert "stands still at update 0" in line


def test_the_one_that_left_no_sign_is_named(tmp_path):
    beats = [beating(tmp_path, rank) for rank in (0, 2)]
    for beat in beats:
        beat._every = 0.001
        beat._write()
    ticks = iter(range(100))
    original = beats[0]._read

    def moving():
        found = original()
        for beat in found.values():
            beat["tick"] = next(ticks)
        return found

    beats[0]._read = moving
    assert beats[0].behind() == ["rank 1 has left no sign of life, or has ended"]


STUCK = """
import sys, time
from pathlib import Path
from synthtrial.synthesis.ranks import Heartbeat, Ranks

rank = int(sys.argv[2])
with Heartbeat(Path(sys.argv[1]), Ranks(rank, 2), stuck_seconds=float(sys.argv[3])) as beat:
    print("up", flush=True)
    for update in range(5):
        beat.at(update, 1)
        time.sleep(0.1)
    beat.at(5, 3)
    time.sleep(600)  # in a collective, for the other one
"""


def test_a_process_that_keeps_the_others_waiting_ends_them_and_is_named(tmp_path):
    script = tmp_path / "stuck.py"
    script.write_text(STUCK)
    command = [sys.executable, "-W", "error", str(script), str(tmp_path / "beats")]
    waiting = subprocess.Popen(
        [*command, "0", "2"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    frozen = subprocess.Popen([*command, "1", "2"], stdout=subprocess.PIPE, text=True)
    try:
        frozen.stdout.readline()
        deadline = time.monotonic() + 60
        while not (tmp_path / "beats" / "rank-1.beat").exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        os.kill(frozen.pid, signal.SIGSTOP)
        beat = json.loads((tmp_path / "beats" / "rank-1.beat").read_text())
        _, said = waiting.communicate(timeout=60)
    finally:
        for process in (waiting, frozen):
            process.kill()
            process.communicate()
    assert waiting.returncode == STUCK_EXIT_CODE
    assert "rank 0: no progress for" in said
    assert f"rank 1 (process {beat['pid']} on {beat['host']}) stands still" in said
