"""Checks of a Ray cluster: the one that was named, or a private one started for this."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from pathlib import Path

from synthtrial.doctor.check import Check, broken, ok, warning
from synthtrial.engines.ray.head import token_file
from synthtrial.engines.ray.probe import Node, Probe, probe
from synthtrial.errors import EngineError
from synthtrial.identity import code_digest
from synthtrial.study import Study


def check_ray(study: Study, folder: Path) -> Iterator[Check]:
    """Check that a study could run on its cluster.

    Args:
        study: the study.
        folder: a throw-away one on the storage of the store.
    """
    try:
        found = probe(study, folder)
    except EngineError as error:
        yield broken("Ray", str(error), "mend that first: nothing else of Ray was looked at")
        return
    kind = "a private cluster could start" if found.private else f"cluster at {found.address}"
    count = len(found.nodes)
    yield ok("Ray", f"{kind}; {count} node{'s' * (count != 1)}")
    yield _token()
    for node in found.nodes:
        yield _node(node, folder)
    yield _seats(found)


def _token() -> Check:
    path = token_file()
    if not path.exists():
        return ok("token", "from the environment")
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & 0o077:
        return warning(
            "token",
            f"{path} has mode {mode:04o}: others on this machine can read it, and run programs as "
            "you on your clusters",
            f"chmod 600 {path}",
        )
    return ok("token", f"{path}, readable by you alone")


def _node(node: Node, folder: Path) -> Check:
    name = f"node {node.host}"
    offers = " and ".join(f"{amount:g} {what}" for what, amount in sorted(node.resources.items()))
    if node.error:
        mend = "install synthtrial for the Python that `ray start` ran with on that node"
        return broken(name, node.error, mend)
    if node.code != code_digest():
        mend = "install the same version on all nodes, or let them share one installation"
        return broken(name, f"another version of synthtrial is installed ({node.python})", mend)
    if not node.sees_folder:
        mend = "put the store on storage that all nodes mount at the same path: store.path=..."
        return broken(name, f"does not see {folder.parent}", mend)
    return ok(name, f"{offers}; Python {node.python}; sees the store")


def _seats(found: Probe) -> Check:
    if found.lacks:
        return broken(
            "room",
            f"no node can take a task: each is to be given {found.request}, and none has enough "
            f"{found.lacks}",
            "add such a node, or ask for less with engine.ray.cpus_per_task, "
            "engine.trials_per_gpu or engine.device=cpu",
        )
    return ok("room", f"{found.seats} tasks at a time ({found.request} each)")
