"""A private, real SLURM cluster on one Debian machine, for development and tests.

    eval "$(python cluster/devslurm/devslurm.py up)"
    srun --nodes=2 hostname
    python cluster/devslurm/devslurm.py down

or in a program, `with DevSlurm(folder) as slurm: slurm.run("srun", "hostname")`.
"""

from __future__ import annotations

import argparse
import os
import shlex
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from devslurm_cluster import DevSlurm, down_abandoned
from devslurm_proc import DevSlurmError, missing_packages

__all__ = ["DevSlurm", "DevSlurmError", "down_abandoned", "main", "missing_packages"]


def default_folder() -> Path:
    """Where the command line puts a cluster: one a user."""
    return Path(tempfile.gettempdir()) / f"devslurm-{os.geteuid()}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the command line says; the exit status."""
    options = _parser().parse_args(arguments)
    try:
        return _do(options)
    except DevSlurmError as error:
        print(f"devslurm: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("devslurm: interrupted", file=sys.stderr)
        return 130


def _do(options: argparse.Namespace) -> int:
    cluster = DevSlurm(options.folder)
    match options.verb:
        case "up":
            cluster = DevSlurm(
                options.folder,
                nodes=options.nodes,
                cpus=options.cpus,
                gpus=options.gpus,
                memory_mb=options.memory_mb,
                grace_seconds=options.grace_seconds,
                accounting=options.accounting,
                namespaces=options.namespaces,
                port=options.port,
                conf=dict(options.conf),
                timeout_seconds=options.timeout_seconds,
            )
            cluster.up()
            print(_summary(cluster), file=sys.stderr)
            for name, value in cluster.environment.items():
                print(f"export {name}={shlex.quote(value)}")
        case "down":
            cluster.down(keep=options.keep)
        case "status":
            print(_summary(cluster))
            states = cluster.states()
            for node in cluster.layout.names:
                state = states.get(node, "unknown: the controller does not answer")
                print(f"{node}  {cluster.layout.address(node)}  {state}")
            return 0 if states else 1
        case "power-cut":
            cluster.power_cut(options.node)
        case "power-on":
            cluster.power_on(options.node)
    return 0


def _summary(cluster: DevSlurm) -> str:
    layout = cluster.layout
    kind = "with namespaces of their own" if layout.namespaces else "as processes on one host"
    return (
        f"{cluster.folder}: {layout.nodes} nodes {kind}, each with {layout.cpus} processors, "
        f"{layout.gpus} GPUs and {layout.memory_mb} MB; partitions main and high; "
        f"accounting {'on' if layout.accounting else 'off'}"
    )


def _parser() -> argparse.ArgumentParser:
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--folder", type=Path, default=default_folder(), help="(%(default)s)")
    parser = argparse.ArgumentParser(description="A private SLURM cluster on this machine.")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")

    up = verbs.add_parser("up", parents=[common], help="start it; prints what a shell must export")
    up.add_argument("--nodes", type=int, default=2)
    up.add_argument("--cpus", type=int, default=4, help="of a node")
    up.add_argument("--gpus", type=int, default=2, help="of a node; declared")
    up.add_argument("--memory-mb", type=int, default=8000, help="of a node")
    up.add_argument(
        "--grace-seconds", type=int, default=20, help="before a preempted job is killed"
    )
    up.add_argument("--port", type=int, help="the first of a few; by default some that are free")
    up.add_argument("--no-accounting", dest="accounting", action="store_false")
    up.add_argument("--no-namespaces", dest="namespaces", action="store_false", default=None)
    up.add_argument("--timeout-seconds", type=float, default=90, help="for each daemon to answer")
    up.add_argument(
        "--conf",
        type=_key_and_value,
        action="extend",
        nargs="+",
        default=[],
        metavar="KEY=VALUE",
        help="for slurm.conf",
    )
    down = verbs.add_parser("down", parents=[common], help="end it and remove all of it")
    down.add_argument("--keep", action="store_true", help="keep the folder with logs and state")
    verbs.add_parser("status", parents=[common], help="what the controller says of the nodes")
    for verb, text in (("power-cut", "kill a node at once"), ("power-on", "start it again")):
        verbs.add_parser(verb, parents=[common], help=text).add_argument("node")
    return parser


def _key_and_value(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not (key and equals):
        raise argparse.ArgumentTypeError(f"{text!r} is not KEY=VALUE")
    return key, value


if __name__ == "__main__":
    sys.exit(main())
