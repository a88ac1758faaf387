"""A Ray cluster over all nodes of a SLURM job for as long as a command runs, which is told of it.

    python -m synthtrial.engines.ray.slurm_job BESIDE synthtrial run STUDY [KEY=VALUE]...

is what ``slurm/ray.sbatch`` runs on the job's first node. ``BESIDE`` is the path of the log without
its suffix: beside it lie, while the cluster does, the token that it asks for and the line that
brings its dashboard to a browser elsewhere. All nodes must see that folder.
"""

from __future__ import annotations

import getpass
import logging
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from synthtrial.engines import step
from synthtrial.engines.placement import host_name
from synthtrial.engines.ray.head import reach, write_private
from synthtrial.engines.ray.slurm_node import DASHBOARD, HEAD, address_towards, free_ports
from synthtrial.errors import EngineError, InterruptedTrainingError, SynthtrialError
from synthtrial.work.signals import noticed

_MODULE = "synthtrial.engines.ray.slurm_node"
_JOIN_SECONDS = 120.0  # on many nodes at once, Python starts slowly from a shared file system
_END_SECONDS = 20.0  # that the nodes may take to end Ray
_LOOK_SECONDS = 0.2
_LOCAL_PORT = 8265  # on the user's machine


@dataclass(frozen=True)
class Plan:
    """What a cluster is started with.

    Attributes:
        address: ``host:port`` of its head, this machine.
        dashboard: port of its dashboard, on this machine's loopback.
        token: file that holds its token.
        tunnel: file that says how to see the dashboard.
    """

    address: str
    dashboard: int
    token: Path
    tunnel: Path

    @property
    def environment(self) -> Mapping[str, str]:
        """What its nodes, and whoever connects to it, must find in their environment."""
        return {
            HEAD: self.address,
            DASHBOARD: str(self.dashboard),
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN_PATH": str(self.token),
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_JOB_STOP_WAIT_TIME_S": "60",  # of jobs that somebody submits to it beside ours
        }

    def tunnel_text(self, environment: Mapping[str, str]) -> str:
        """Return how to see the dashboard from elsewhere."""
        user = getpass.getuser()
        login = environment.get("SYNTHTRIAL_LOGIN") or environment.get("SLURM_SUBMIT_HOST", "LOGIN")
        return (
            f"ssh -N -L {_LOCAL_PORT}:localhost:{self.dashboard} -J {user}@{login} "
            f"{user}@{host_name()}\n"
            f"# on your own machine, then http://localhost:{_LOCAL_PORT}; it asks for the token in "
            f"{self.token}\n"
            f"# {login} by the name under which you reach it; SYNTHTRIAL_LOGIN says it for good\n"
        )


def main(arguments: Sequence[str]) -> int:
    """Start the cluster, run the command, end the cluster; the exit status of the command."""
    if len(arguments) < 2:
        print("slurm/ray.sbatch starts this: BESIDE COMMAND...", file=sys.stderr)
        return 2
    try:
        with noticed() as asked:
            return run(Path(arguments[0]).absolute(), arguments[1:], asked)
    except SynthtrialError as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        return error.exit_code


def run(beside: Path, command: Sequence[str], asked: Callable[[], bool]) -> int:
    """Run a command on a cluster of its own.

    Args:
        beside: path of the log without its suffix.
        command: is told of the cluster as :mod:`synthtrial` is.
        asked: says whether a signal has come, which is passed on.

    Raises:
        EngineError: there is no job, or no cluster comes up.
        InterruptedTrainingError: a signal has come before the command was started.
    """
    nodes = step.nodes_of_job()
    with ExitStack() as stack:
        plan = stack.enter_context(_planned(beside))
        os.environ.update(plan.environment)  # also for Ray in this process
        started = stack.enter_context(step.running(nodes, {}, _MODULE, _END_SECONDS))
        count = joined(plan, started, nodes, asked)
        print(f"Ray at {plan.address}: {count} of {nodes} nodes\n{plan.tunnel.read_text()}", end="")
        sys.stdout.flush()
        words = [*command, "--engine", "ray", f"engine.ray.address={plan.address}"]
        return _attended(words, started, asked)


def joined(plan: Plan, started: step.Step, nodes: int, asked: Callable[[], bool]) -> int:
    """Wait for the nodes and return how many have come; one that comes later is used too.

    Raises:
        EngineError: the head has not come up.
        InterruptedTrainingError: a signal has come.
    """
    deadline = time.monotonic() + _JOIN_SECONDS
    count = 0
    with ExitStack() as stack:
        connected = False
        while count < nodes and time.monotonic() < deadline and started.poll() is None:
            if asked():
                raise InterruptedTrainingError("asked to stop before anything was started")
            if not connected and _answers(plan.address):
                connected = _connect(plan.address, stack)
            count = _alive() if connected else 0
            time.sleep(_LOOK_SECONDS)
    if not count:
        raise EngineError(
            f"no Ray cluster has come up within {_JOIN_SECONDS:g} s; what srun and the nodes said "
            "is above. Try `srun --ntasks-per-node=1 hostname` in the same job"
        )
    return count


@contextmanager
def _planned(beside: Path) -> Iterator[Plan]:
    """Choose address and ports; leave the files beside the log for the time of the block."""
    own = _own_address()
    port, dashboard = free_ports(2, own)
    suffixes = (".token", ".dashboard")
    plan = Plan(f"{own}:{port}", dashboard, *(beside.with_name(beside.name + s) for s in suffixes))
    for path in (plan.token, plan.tunnel):
        path.unlink(missing_ok=True)  # of a start of this job that was killed
    try:
        _leave(plan.token, secrets.token_hex(32))
        _leave(plan.tunnel, plan.tunnel_text(os.environ))
        yield plan
    finally:
        for path in (plan.token, plan.tunnel):
            path.unlink(missing_ok=True)


def _leave(path: Path, text: str) -> None:
    try:
        write_private(path, text)
    except OSError as error:
        raise EngineError(f"{path} cannot be written: {error.strerror}") from None


def _own_address() -> str:
    """Return the address by which the job's other nodes reach this one."""
    query = ["scontrol", "show", "hostnames", os.environ.get("SLURM_JOB_NODELIST", "")]
    names = subprocess.run(query, capture_output=True, text=True, check=False).stdout.split()  # noqa: S603
    others = [name for name in names if name not in (host_name(), host_name().split(".")[0])]
    for name in (*others, os.environ.get("SLURM_SUBMIT_HOST", ""), host_name()):
        with suppress(OSError):
            address = address_towards(socket.gethostbyname(name))
            if name and not address.startswith("127."):
                return address
    return "127.0.0.1"


def _answers(address: str) -> bool:
    try:
        reach(address)
    except OSError:
        return False
    return True


def _connect(address: str, stack: ExitStack) -> bool:
    import ray

    try:
        ray.init(address, log_to_driver=False, logging_level=logging.ERROR, namespace="slurm-job")
    except Exception:  # noqa: BLE001 - the head's own Ray is not there yet
        return False
    stack.callback(ray.shutdown)
    return True


def _alive() -> int:
    import ray

    return sum(node["Alive"] for node in ray.nodes())  # type: ignore[no-untyped-call]


def _attended(command: Sequence[str], cluster: step.Step, asked: Callable[[], bool]) -> int:
    """Run a command to its end, or the cluster's; return its status.

    That it was asked to stop is passed on.

    Raises:
        EngineError: the cluster has ended before it.
    """
    with subprocess.Popen(command) as child:  # noqa: S603 - the user's own
        told, gone_since = False, 0.0
        while child.poll() is None:
            if asked() and not told:
                child.send_signal(signal.SIGUSR2)
                told = True
            if cluster.poll() is not None and not gone_since:
                gone_since = time.monotonic()
            if gone_since and time.monotonic() - gone_since > _END_SECONDS:
                child.kill()  # Ray itself would wait for minutes
            with suppress(subprocess.TimeoutExpired):
                child.wait(_LOOK_SECONDS)
    if gone_since and child.returncode and not told:
        raise EngineError(
            "Ray has ended on all nodes; what srun said is above. What is finished is kept. Was it "
            "too much memory? Ray itself takes about 2 GB of the first node, and each worker 0.6 GB"
        )
    return child.returncode if child.returncode >= 0 else 128 - child.returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
