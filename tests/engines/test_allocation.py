"""The allocation's engine without SLURM: what it says where it cannot work, and who is let in."""

from __future__ import annotations

import os
import socket
import sys
import threading

import pytest

from synthtrial.engine_config import EngineConfig
from synthtrial.engines import channel, step
from synthtrial.engines.allocation import AllocationEngine
from synthtrial.engines.channel import ADDRESSES, KEY, Door, knock
from synthtrial.errors import EngineError
from synthtrial.store.artifacts import open_store

# Stands in for srun: writes down how it was called, and does something else.
SRUN = """#!/bin/sh
echo "$@" > "$PLACE/words"
echo "$SYNTHTRIAL_AGENT_KEY $SRUN_CPUS_PER_TASK" > "$PLACE/secret"
while [ "${1#--}" != "$1" ]; do shift; done
"""


@pytest.fixture
def settings():
    return EngineConfig(workers=1, device="cpu")


@pytest.fixture
def store(tmp_path):
    return open_store(tmp_path / "store")


@pytest.fixture
def srun(tmp_path, monkeypatch):
    """Be inside a job of one node whose srun does this; return what it was called with."""

    def make(program):
        path = tmp_path / "bin" / "srun"
        path.parent.mkdir()
        path.write_text(f"{SRUN}{program}\n")
        path.chmod(0o755)
        monkeypatch.setenv("PATH", f"{path.parent}:{os.environ['PATH']}")
        monkeypatch.setenv("PLACE", str(tmp_path))
        return tmp_path / "words", tmp_path / "secret"

    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.setenv("SLURM_JOB_NUM_NODES", "1")
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", "3")
    monkeypatch.delenv("SRUN_CPUS_PER_TASK", raising=False)
    return make


def test_outside_a_job_it_says_how_to_get_one(store, settings, monkeypatch):
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    with pytest.raises(EngineError, match=r"sbatch --nodes=2 slurm/study.sbatch") as refused:
        AllocationEngine(store, settings).__enter__()
    assert "engine.name=local" in str(refused.value)
    assert "engine.name=slurm" in str(refused.value)


def test_a_missing_srun_is_named(store, settings, srun, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(EngineError, match="srun cannot be started"):
        AllocationEngine(store, settings).__enter__()


def test_a_step_that_fails_is_not_waited_for(store, settings, srun):
    words, secret = srun("exit 3")
    with pytest.raises(EngineError, match="srun ended with 3 before any agent had connected"):
        AllocationEngine(store, settings).__enter__()
    key, processors = secret.read_text().split()
    assert len(key) == 64
    assert key not in words.read_text()  # which everybody on a node can read
    assert processors == "3"
    assert "--nodes=1 --ntasks=1 --ntasks-per-node=1" in words.read_text()
    assert f"{sys.executable} -m synthtrial.engines.agent" in words.read_text()


def test_an_agent_that_never_comes_is_given_up(store, settings, srun, monkeypatch):
    monkeypatch.setattr(step, "_END_SECONDS", 0.1)  # it is asked, and does not mind, and is ended
    srun("exec sleep 600")
    with pytest.raises(EngineError, match=r"no agent has connected within 0\.1 s"):
        AllocationEngine(store, settings, join_seconds=0.1).__enter__()


def test_a_node_that_does_not_see_the_store_says_so(store, settings, srun, capfd):
    (store.root / "store.json").unlink()
    srun('exec "$@"')
    with pytest.raises(EngineError, match=r"no node can work: .*there is no store at"):
        AllocationEngine(store, settings).__enter__()
    assert "there is no store at" in capfd.readouterr().err


def test_an_agent_started_by_hand_says_who_starts_it(capsys, monkeypatch):
    from synthtrial.engines.agent import main

    monkeypatch.delenv(ADDRESSES, raising=False)
    assert main() == 1
    assert "not by hand" in capsys.readouterr().err


@pytest.fixture
def door():
    with Door() as opened:
        yield opened


def in_background(function, *arguments):
    thread = threading.Thread(target=function, args=arguments, daemon=True)
    thread.start()
    return thread


def test_who_knows_the_key_is_let_in_and_understood(door):
    lines = []
    addresses = door.environment[ADDRESSES].split(",")
    thread = in_background(lambda: lines.append(knock(addresses, door.environment[KEY], 10.0)))
    inside = door.admit()
    thread.join()
    lines[0].send({"what": "a message"})
    assert inside.recv() == {"what": "a message"}
    for line in (inside, lines[0]):
        with socket.socket(fileno=os.dup(line.fileno())) as opened:
            assert opened.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
            assert opened.getsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, 16) == bytes(16)
        line.close()


def test_who_does_not_know_the_key_is_left_outside(door):
    errors = []

    def try_it():
        try:
            knock(door.environment[ADDRESSES].split(",")[-1:], "another key", 0.0)
        except EngineError as error:
            errors.append(str(error))

    thread = in_background(try_it)
    assert door.admit() is None
    thread.join()
    assert "cannot reach the run's driver" in errors[0]


@pytest.mark.parametrize("word", [b"", b"GET / HTTP/1.1\r\n\r\n", b"\x00\x00\x00\x10short"])
def test_a_stranger_neither_gets_in_nor_keeps_the_others_out(door, monkeypatch, word):
    monkeypatch.setattr(channel, "_HANDSHAKE_SECONDS", 1)
    _, port = door.socket.getsockname()
    with socket.create_connection(("127.0.0.1", port)) as stranger:
        stranger.sendall(word)
        assert door.admit() is None


def test_a_driver_out_of_reach_is_named_with_all_that_was_tried():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    addresses = [f"127.0.0.1:{port}", f"no-such-host.invalid:{port}"]
    with pytest.raises(EngineError, match="firewall") as unreachable:
        knock(addresses, "key", 0.0)
    assert all(address in str(unreachable.value) for address in addresses)
