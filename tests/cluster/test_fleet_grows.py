"""The nodes of cluster/ray/fleet.yaml come when a study needs them, by Ray's own autoscaler.

They are processes of this machine. That idle ones go again is not shown: Ray's stand-in for a cloud
never notices that its nodes are up.
"""

from __future__ import annotations

import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
import yaml

from synthtrial.engines.ray.slurm_node import free_ports

FLEET = Path(__file__).parents[2] / "cluster" / "ray" / "fleet.yaml"
RAY = Path(sys.executable).parent / "ray"
MOST = 2  # GPU nodes at the same time: each takes some hundred MB

# Says how many nodes with a GPU there are, twice a second.
LOOK = """
import sys, time, ray
ray.init(sys.argv[1], log_to_driver=False, logging_level=40)
while True:
    nodes = ray.nodes()
    print(sum(n["Alive"] and n["Resources"].get("GPU", 0) > 0 for n in nodes), flush=True)
    time.sleep(0.5)
"""


def own_address():
    """Ray's stand-in for a cloud takes this one and no other."""
    from ray._private.services import get_node_ip_address

    return get_node_ip_address()


def belonging_to(folder):
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        try:
            if folder in (place / "cmdline").read_text() and int(place.name) != os.getpid():
                found.append(int(place.name))
        except OSError:
            continue
    return found


@pytest.fixture
def head(tmp_path, monkeypatch):
    """The head of a fleet whose machines are processes here; its address."""
    from ray.autoscaler._private.fake_multi_node.node_provider import FAKE_HEAD_NODE_TYPE
    from ray.autoscaler._private.util import prepare_config

    token = tmp_path / "token"
    token.touch(mode=0o600)
    token.write_text(secrets.token_hex(32))
    for name, value in {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(token),
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_FAKE_CLUSTER": "1",
        "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": "0",
        "PATH": f"{RAY.parent}:{os.environ['PATH']}",
    }.items():
        monkeypatch.setenv(name, value)
    port, client, agent, dashboard = free_ports(4)
    address = f"{own_address()}:{port}"
    config = prepare_config(yaml.safe_load(FLEET.read_text()))
    config |= {name: [] for name in config if name.endswith("_commands")}
    config |= {"file_mounts": {}, "max_workers": MOST}
    config["provider"] = {
        "type": "fake_multinode",
        "gcs_address": address,
        "disable_node_updaters": True,
    }
    kinds = config["available_node_types"]
    kinds[FAKE_HEAD_NODE_TYPE] = kinds.pop(config["head_node_type"])
    config["head_node_type"] = FAKE_HEAD_NODE_TYPE
    for kind in kinds.values():
        kind["node_config"] = {}
        kind["resources"]["object_store_memory"] = 100 * 2**20
    path = tmp_path / "fleet.json"
    path.write_text(json.dumps(config))
    with tempfile.TemporaryDirectory(prefix="fl-", dir="/tmp", ignore_cleanup_errors=True) as short:
        host = own_address()
        command = ["start", "--head", "--block", f"--autoscaling-config={path}", f"--port={port}"]
        command += [f"--node-ip-address={host}", f"--temp-dir={short}", "--num-cpus=0"]
        command += [f"--dashboard-port={dashboard}", "--object-store-memory=100000000"]
        command += ["--min-worker-port=0", "--max-worker-port=0"]
        command += [f"--ray-client-server-port={client}"]
        command += [f"--dashboard-agent-listen-port={agent}"]
        with (tmp_path / "head.log").open("wb") as log:
            process = subprocess.Popen([RAY, *command], stdout=log, stderr=log)
        try:
            deadline = time.monotonic() + 60
            with socket.socket() as probe:
                while probe.connect_ex((host, port)):
                    assert process.poll() is None
                    assert time.monotonic() < deadline
                    time.sleep(0.2)
            yield address
        finally:
            process.terminate()
            process.wait(30)
            while left := belonging_to(short):  # machines outlive the head of a fleet
                for number in left:
                    os.kill(number, signal.SIGKILL)
                time.sleep(0.2)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.faults
def test_it_grows_from_none_while_a_study_runs(head, tiny):
    overrides = tiny(
        "arms={none: {}}",
        "regimens=[1.0]",
        "grid={learning_rate: [0.01, 0.003, 0.001]}",
        "training.epochs=1000000",
        "protocol.draws=1",
        "protocol.replicates=1",
        "engine.device=auto",
        "engine.ray.wait_seconds=200",
        f"engine.ray.address='{head}'",
    )
    command = [sys.executable, "-m", "synthtrial", "run", "digits", "--engine", "ray", *overrides]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    look = subprocess.Popen([sys.executable, "-c", LOOK, head], **pipes)

    def wait_for(count, seconds=200):
        deadline = time.monotonic() + seconds
        while (line := look.stdout.readline()) != f"{count}\n":
            assert line, look.stderr.read()
            assert time.monotonic() < deadline, line

    try:
        wait_for(0)
        run = subprocess.Popen(command, **pipes)
        wait_for(1)
        wait_for(MOST)
        assert run.poll() is None, run.communicate()[0]
        run.send_signal(signal.SIGUSR2)
        said, errors = run.communicate(timeout=60)
        assert run.returncode == 75, said + errors
        assert "1 CPU and 1 GPU each" in said
    finally:
        look.kill()
        look.communicate()
