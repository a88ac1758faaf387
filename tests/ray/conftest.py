"""Real Ray clusters for tests: nodes are processes of this machine with declared resources."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import socket
import tempfile
from pathlib import Path

import pytest

STORE_BYTES = 100 * 2**20


def _free():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture(scope="session")
def token(tmp_path_factory):
    """A token of the tests' own."""
    path = tmp_path_factory.mktemp("ray") / "token"
    path.touch(mode=0o600)
    path.write_text(secrets.token_hex(32))
    os.environ |= {
        "RAY_AUTH_TOKEN_PATH": str(path),
        "RAY_USAGE_STATS_ENABLED": "0",
    }
    folder = Path(tempfile.mkdtemp(prefix="st-", dir="/tmp"))  # short, for sockets
    (folder / "ray").mkdir()
    os.environ["RAY_TMPDIR"] = str(folder)
    yield path
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def _started(token):
    """Start clusters that end with the block."""

    @contextlib.contextmanager
    def start(*nodes):
        from ray.cluster_utils import Cluster

        cluster = Cluster()
        try:
            for number, resources in enumerate(nodes):
                head = {} if number else {"include_dashboard": False, "dashboard_port": _free()}
                cluster.add_node(object_store_memory=STORE_BYTES, **head, **resources)
            cluster.wait_for_nodes()
            yield cluster
        finally:
            cluster.shutdown()

    return start


@pytest.fixture(scope="session")
def cluster(_started):
    """A cluster of one node with two processors. Leave it as it was."""
    with _started({"num_cpus": 2}) as cluster:
        yield cluster


@pytest.fixture
def new_cluster(_started):
    """Start a cluster of the test's own: a dictionary of resources for each node."""
    with contextlib.ExitStack() as stack:
        yield lambda *nodes: stack.enter_context(_started(*nodes))
