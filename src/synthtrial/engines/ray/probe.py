"""Look around on every node of a Ray cluster, as a task there would find it."""

from __future__ import annotations

import platform
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from synthtrial.engines.placement import host_name
from synthtrial.engines.ray.cluster import connected
from synthtrial.engines.ray.seats import Nodes, Request, missing, request, seats
from synthtrial.identity import code_digest
from synthtrial.store.artifacts import Store
from synthtrial.study import Study

_SECONDS = 120.0  # for a node to answer; its Python may have to be read from a shared file system


@dataclass(frozen=True)
class Node:
    """What a node says of itself.

    Attributes:
        host: its name.
        python: version and path of its interpreter.
        code: digest of the code of synthtrial there; empty if there is none.
        sees_folder: whether it sees a folder of the store's storage.
        resources: that it offers.
        error: why it says nothing more; empty if it does.
    """

    host: str
    python: str
    code: str
    sees_folder: bool
    resources: dict[str, float]
    error: str = ""


@dataclass(frozen=True)
class Probe:
    """What the doctor finds on a cluster.

    Attributes:
        address: of the head.
        dashboard: its address; empty if there is none.
        private: whether it was started for this.
        nodes: its nodes.
        request: what a task would be given.
        seats: how many tasks at a time that makes.
        lacks: what no node has enough of; empty if one has.
    """

    address: str
    dashboard: str
    private: bool
    nodes: tuple[Node, ...]
    request: Request
    seats: int
    lacks: str


def probe(study: Study, folder: Path) -> Probe:
    """Connect to the cluster of a study, or start a private one, and ask each node.

    Args:
        study: the study.
        folder: on the storage of the store; what is said of the cluster is kept there meanwhile.

    Raises:
        EngineError: no cluster, or one that refuses the token.
    """
    settings = study.settings.engine
    with connected(settings, Store(folder), study.name) as cluster:
        import ray

        alive = [node for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]
        offers: Nodes = [node["Resources"] for node in alive]
        wanted = request(settings, offers)
        return Probe(
            cluster.address,
            cluster.dashboard,
            cluster.private,
            tuple(_ask(node, folder) for node in alive),
            wanted,
            seats(wanted, offers),
            missing(wanted, offers),
        )


def _ask(node: dict[str, Any], folder: Path) -> Node:
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    there = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
    look = ray.remote(num_cpus=0, max_retries=0)(_look).options(scheduling_strategy=there)
    offers = {k: v for k, v in node["Resources"].items() if k in ("CPU", "GPU")}
    try:
        host, python, code, sees = ray.get(look.remote(str(folder)), timeout=_SECONDS)
    except Exception as error:  # noqa: BLE001 - whatever the node cannot do is what is asked
        words = str(error).strip().splitlines() or [type(error).__name__]
        return Node(node["NodeManagerHostname"], "", "", False, offers, words[-1])
    return Node(host, python, code, sees, offers)


def _look(folder: str) -> tuple[str, str, str, bool]:
    return (
        host_name(),
        f"{platform.python_version()} {sys.executable}",
        code_digest(),
        Path(folder).is_dir(),
    )
