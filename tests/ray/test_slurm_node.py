"""What runs on each node of a job that holds a Ray cluster, without the job."""

from __future__ import annotations

import os
import secrets
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from synthtrial.engines.ray import slurm_node
from synthtrial.engines.ray.slurm_node import command, free_ports, processors


def option(words, name):
    return next(word.partition("=")[2] for word in words if word.startswith(f"--{name}="))


def test_processors_are_those_of_the_job_and_no_more_than_may_be_used(monkeypatch):
    monkeypatch.setattr(slurm_node, "available_processors", lambda: 4)
    assert processors({"SLURM_CPUS_ON_NODE": "2"}) == 2
    assert processors({"SLURM_CPUS_ON_NODE": "16"}) == 4
    assert processors({}) == 4


def test_ports_that_somebody_has_are_not_chosen(monkeypatch):
    taken = socket.create_server(("", 0))
    port = taken.getsockname()[1]
    with taken:
        monkeypatch.setattr(slurm_node, "_PORTS", range(port, port + 1))
        with pytest.raises(slurm_node.EngineError, match="are free here"):
            free_ports(1)


def test_a_job_chooses_its_ports_by_chance_and_apart_from_rays_workers(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1,3")
    environment = {"SLURM_CPUS_ON_NODE": "1", slurm_node.DASHBOARD: "29999"}
    chosen = []
    for _ in range(2):
        head = command("127.0.0.1:21000", environment, Path("/tmp/x"), head=True)
        worker = command("127.0.0.1:21000", environment, Path("/tmp/y"), head=False)
        assert option(head, "port") == "21000"
        assert option(head, "dashboard-host") == "127.0.0.1"
        assert option(head, "dashboard-port") == "29999"
        assert option(worker, "address") == "127.0.0.1:21000"
        assert {option(words, "num-gpus") for words in (head, worker)} == {"2"}
        assert "--head" not in worker
        for words in (head, worker):
            fixed = [w.partition("=") for w in words if "-port=" in w and "worker-port" not in w]
            given = ("--port", "--dashboard-port")
            ports = [int(port) for name, _, port in fixed if name not in given]
            assert len(ports) > 5
            assert len(set(ports)) == len(ports)
            assert all(20_000 <= port < 32_000 for port in ports)
            chosen.append(frozenset(ports))
    assert len(set(chosen)) == len(chosen)  # two jobs on a node may share one by chance, never all


class Node:
    """The program, as the head of a cluster of one node."""

    def __init__(self, folder):
        self.folder = folder
        token = folder / "token"
        token.touch(mode=0o600)
        token.write_text(secrets.token_hex(32))
        (self.temporary,) = [Path(tempfile.mkdtemp(prefix="sn-", dir="/tmp"))]
        port, self.dashboard = free_ports(2)
        self.address = f"127.0.0.1:{port}"
        environment = {
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN_PATH": str(token),
            "SLURM_CPUS_ON_NODE": "1",
            "TMPDIR": str(self.temporary),
            slurm_node.HEAD: self.address,
            slurm_node.DASHBOARD: str(self.dashboard),
        }
        self.process = subprocess.Popen(
            [sys.executable, "-m", "synthtrial.engines.ray.slurm_node"],
            env=os.environ | environment,
            stdin=subprocess.PIPE,
        )

    @property
    def answers(self):
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.dashboard)) == 0

    def processes(self):
        """Everything that keeps files in its folder."""
        found = []
        for place in Path("/proc").glob("[0-9]*"):
            try:
                if str(self.temporary) in (place / "cmdline").read_text():
                    found.append(int(place.name))
            except OSError:
                continue
        return found

    def wait(self, seconds=100):
        deadline = time.monotonic() + seconds
        while not self.answers:
            assert self.process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.1)


@pytest.fixture
def nodes(tmp_path):
    started = []

    def start():
        folder = tmp_path / str(len(started))
        folder.mkdir()
        started.append(Node(folder))
        return started[-1]

    yield start
    for node in started:
        node.process.stdin.close()
        node.process.wait(60)


def test_two_on_one_machine_do_not_meet_and_each_ends_its_own_and_nothing_else(nodes):
    first, second = nodes(), nodes()
    first.wait()
    second.wait()
    assert first.processes()
    assert first.address != second.address
    first.process.stdin.close()
    assert first.process.wait(60) == 0
    assert first.processes() == []
    assert list(first.temporary.glob("st-*")) == []
    assert second.answers
    second.process.terminate()
    assert second.process.wait(60) == 0
    assert second.processes() == []


def test_by_hand_it_says_who_starts_it():
    module = [sys.executable, "-m", "synthtrial.engines.ray.slurm_node"]
    done = subprocess.run(module, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    assert done.returncode == 1
    assert "slurm/ray.sbatch" in done.stderr


def test_a_node_that_does_not_see_the_token_says_so(tmp_path):
    more = {slurm_node.HEAD: "127.0.0.1:1", "RAY_AUTH_TOKEN_PATH": str(tmp_path / "none")}
    module = [sys.executable, "-m", "synthtrial.engines.ray.slurm_node"]
    done = subprocess.run(module, env=os.environ | more, capture_output=True, text=True, input="")
    assert done.returncode == 1
    assert "all nodes must see the folder of the log" in done.stderr
