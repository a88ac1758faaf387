"""What a task asks of a Ray cluster, and how many of its kind the cluster holds at a time."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from synthtrial.engine_config import EngineConfig

_TOLERANCE = 1e-6  # of sums of fractions


@dataclass(frozen=True)
class Request:
    """What one process is given: whole or fractional processors and GPUs."""

    cpus: float
    gpus: float

    @property
    def resources(self) -> dict[str, float]:
        """As Ray names them."""
        wanted = {"CPU": self.cpus, "GPU": self.gpus}
        return {name: amount for name, amount in wanted.items() if amount}

    def __str__(self) -> str:
        return " and ".join(f"{amount:g} {name}" for name, amount in self.resources.items())


Nodes = Iterable[Mapping[str, float]]


def request(settings: EngineConfig, nodes: Nodes) -> Request:
    """Return what a task is given on a cluster of these nodes.

    A GPU is shared by ``trials_per_gpu`` tasks. ``device: auto`` uses GPUs where there are any.
    """
    any_gpu = any(node.get("GPU", 0) > 0 for node in nodes)
    uses_gpu = settings.device == "cuda" or (settings.device == "auto" and any_gpu)
    gpus = 1 / settings.trials_per_gpu if uses_gpu else 0.0
    return Request(settings.ray.cpus_per_task, gpus)


def whole(wanted: Request, nodes: Nodes) -> Request:
    """Return what a task is given that is to be alone: a GPU, or a machine where none is used."""
    if wanted.gpus:
        return Request(wanted.cpus, 1.0)
    largest = max((node.get("CPU", 0.0) for node in nodes), default=wanted.cpus)
    return Request(max(wanted.cpus, largest), 0.0)


def seats(wanted: Request, nodes: Nodes) -> int:
    """Return how many such processes the nodes hold at the same time."""
    return sum(_on(wanted, node) for node in nodes)


def missing(wanted: Request, nodes: Nodes) -> str:
    """Say what no node has enough of; empty if one node could take such a process."""
    known = list(nodes)
    if seats(wanted, known):
        return ""
    lacks = [
        f"{name} (the most that a node has is {max((n.get(name, 0) for n in known), default=0):g})"
        for name, amount in wanted.resources.items()
        if all(node.get(name, 0) < amount - _TOLERANCE for node in known)
    ]
    return ", ".join(lacks) or "all of it on the same node"


def _on(wanted: Request, node: Mapping[str, float]) -> int:
    fits = []
    for name, amount in wanted.resources.items():
        have = node.get(name, 0.0)
        if name == "GPU" and amount < 1:  # a process never has parts of two GPUs
            fits.append(int(have + _TOLERANCE) * int(1 / amount + _TOLERANCE))
        else:
            fits.append(int(have / amount + _TOLERANCE))
    return min(fits, default=0)
