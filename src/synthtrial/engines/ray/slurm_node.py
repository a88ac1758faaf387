"""What runs on each node of a SLURM job that holds a Ray cluster: it starts Ray there and ends it.

    srun --ntasks-per-node=1 python -m synthtrial.engines.ray.slurm_node

is what :mod:`synthtrial.engines.ray.slurm_job` runs; nobody else needs to. Ray takes what SLURM
gave, keeps its files in a short folder of the job's own, and listens on ports that are free, so
that jobs which share a node do not meet. ``ray stop`` would end the Ray of other jobs too: what is
ended here are the descendants of this process, when its standard input closes or a signal comes.
"""

from __future__ import annotations

import ctypes
import os
import random
import select
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from synthtrial.engines.placement import available_processors, host_name, visible_gpus
from synthtrial.engines.ray.cluster import short_folder, store_bytes
from synthtrial.engines.ray.head import reach, token_file
from synthtrial.errors import EngineError, SynthtrialError
from synthtrial.work.signals import noticed

HEAD = "SYNTHTRIAL_RAY_HEAD"  # host:port
DASHBOARD = "SYNTHTRIAL_RAY_DASHBOARD"  # its port, on the head
_PORTS = range(20_000, 32_000)  # beyond those of Ray's workers, below those of the kernel
_TRIES = 3  # a port that was free may be taken a moment later
_AT_ONCE_SECONDS = 30.0  # what ends sooner has not started
_HEAD_SECONDS = 150.0
_END_SECONDS = 3.0
_LOOK_SECONDS = 0.2
_QUICK = {"RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": "0"}  # nobody waits for what it still runs
_SUBREAPER = 36  # PR_SET_CHILD_SUBREAPER of prctl(2)


def main() -> int:
    """Run Ray until it ends or is to be ended; the exit status."""
    try:
        with noticed() as asked:
            return serve(os.environ, lambda: asked() or _input_closed())
    except SynthtrialError as error:
        print(f"{host_name()}: error: {error}", file=sys.stderr, flush=True)
        return error.exit_code


def serve(environment: Mapping[str, str], asked: Callable[[], bool]) -> int:
    """Run Ray.

    Args:
        environment: of this process.
        asked: says whether it is to be ended.

    Raises:
        EngineError: what is needed for it is not there.
    """
    address = environment.get(HEAD)
    if not address:
        raise EngineError(
            f"{HEAD} is not set: this is started by slurm/ray.sbatch, and not by hand"
        )
    if not os.access(token_file(), os.R_OK):
        raise EngineError(
            f"the token {token_file()} cannot be read here: all nodes must see the folder of the "
            "log; name one that they do with store.report_path=..."
        )
    is_head = environment.get("SLURM_NODEID", "0") == "0"
    if not is_head:
        _await(address, asked)
    with _family() as end, ExitStack() as stack:
        folder = short_folder()
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        stack.callback(end)
        for attempt in range(_TRIES):
            started = time.monotonic()
            with (folder / "start.log").open("wb") as log:
                child = subprocess.Popen(  # noqa: S603 - Ray, and this interpreter
                    command(address, environment, folder, head=is_head),
                    env={**environment, **_QUICK},
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                )
            while child.poll() is None and not asked():
                time.sleep(_LOOK_SECONDS)
            if asked():
                return 0
            end()
            said = (folder / "start.log").read_text(errors="replace").strip()[-2000:]
            print(f"{host_name()}: Ray ended: {said}", file=sys.stderr, flush=True)
            if time.monotonic() - started > _AT_ONCE_SECONDS or attempt + 1 == _TRIES:
                break
    return 1


def command(
    address: str, environment: Mapping[str, str], folder: Path, *, head: bool
) -> Sequence[str]:
    """Return how Ray is started on this node.

    Args:
        address: ``host:port`` of the head.
        environment: of this process.
        folder: for Ray's files.
        head: whether this is the head.
    """
    host, _, port = address.rpartition(":")
    own = host if head else address_towards(host)
    names = ["node-manager", "object-manager", "metrics-export", "runtime-env-agent"]
    names += ["dashboard-agent-listen", "dashboard-agent-grpc"]
    words = [sys.executable, "-m", "ray.scripts.scripts", "start", "--block"]
    words += ["--disable-usage-stats", f"--temp-dir={folder}", f"--node-ip-address={own}"]
    words += [f"--num-cpus={processors(environment)}", f"--num-gpus={len(visible_gpus())}"]
    words += [f"--object-store-memory={store_bytes()}", f"--node-name={host_name()}"]
    # 0 has workers take ports that the kernel gives them; by default two jobs on a node would race.
    words += ["--min-worker-port=0", "--max-worker-port=0"]
    ports = free_ports(len(names) + 1, own)
    words += [f"--{name}-port={ports.pop()}" for name in names]
    if not head:
        return [*words, f"--address={address}"]
    words += ["--head", f"--port={port}", f"--ray-client-server-port={ports.pop()}"]
    words += ["--include-dashboard=true", "--dashboard-host=127.0.0.1"]
    return [*words, f"--dashboard-port={environment[DASHBOARD]}"]


def processors(environment: Mapping[str, str]) -> int:
    """Return how many processors of this node are the job's, whether or not it is bound to them."""
    with suppress(KeyError, ValueError):
        return max(1, min(available_processors(), int(environment["SLURM_CPUS_ON_NODE"])))
    return available_processors()


def free_ports(count: int, host: str = "") -> list[int]:
    """Return ports of this machine that are free on all its addresses, chosen at random.

    Args:
        count: how many.
        host: an address of this machine; the empty one stands for all of them.

    Raises:
        EngineError: there are not so many.
    """
    found: list[int] = []
    for port in random.sample(_PORTS, len(_PORTS)):
        for address in {"", host, "127.0.0.1"}:
            with socket.socket() as probe:
                try:
                    probe.bind((address, port))
                except OSError:
                    break
        else:
            found.append(port)
        if len(found) == count:
            return found
    raise EngineError(f"no {count} ports from {_PORTS.start} to {_PORTS.stop} are free here")


def address_towards(host: str) -> str:
    """Return the address of this machine on its way to another one; nothing is sent.

    Raises:
        OSError: there is no way.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect((host, 9))
        return str(probe.getsockname()[0])


def _input_closed() -> bool:
    return bool(select.select([0], [], [], 0)[0]) and not os.read(0, 4096)


def _await(address: str, asked: Callable[[], bool]) -> None:
    """Wait until the head answers."""
    deadline = time.monotonic() + _HEAD_SECONDS
    while not asked():
        with suppress(OSError):
            reach(address)
            return
        if time.monotonic() > deadline:
            raise EngineError(f"the head of the Ray cluster does not answer at {address}")
        time.sleep(_LOOK_SECONDS)


@contextmanager
def _family() -> Iterator[Callable[[], None]]:
    """Have every descendant stay one, whatever dies in between; yields what ends all of them."""
    ctypes.CDLL(None).prctl(_SUBREAPER, 1, 0, 0, 0)

    def end() -> None:
        for number, seconds in ((signal.SIGTERM, _END_SECONDS), (signal.SIGKILL, _END_SECONDS)):
            deadline = time.monotonic() + seconds
            asked: set[int] = set()
            while (left := _children()) and time.monotonic() < deadline:
                for child in left if number == signal.SIGKILL else left - asked:
                    with suppress(ProcessLookupError):
                        os.kill(child, number)
                asked |= left
                time.sleep(_LOOK_SECONDS / 4)

    yield end


def _children() -> set[int]:
    """Return the children of this process that live, and bury those that do not."""
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    found = set()
    for entry in Path("/proc").iterdir():
        with suppress(OSError, ValueError, IndexError):
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
            if int(fields[1]) == os.getpid() and fields[0] not in "ZX":
                found.add(int(entry.name))
    return found


if __name__ == "__main__":
    sys.exit(main())
