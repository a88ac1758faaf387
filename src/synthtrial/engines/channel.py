"""The line between the driver of an allocation and the agent on each of its nodes.

Plain TCP, opened by the agent. Both sides prove that they know a random key before anything is
unpickled, with :mod:`multiprocessing.connection`'s challenge; what follows is not encrypted, like
most of what the nodes of a cluster say to each other. The key travels in the environment of the
agents' job step, which only their user can read.

A node without power says nothing, not even goodbye: the kernel asks the other side now and then
whether it is there (TCP keepalive), and ends the line when it is not.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import socket
import struct
import time
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing import AuthenticationError
from multiprocessing.connection import Connection, answer_challenge, deliver_challenge
from pathlib import Path
from types import TracebackType
from typing import Self

from synthtrial.engine_config import EngineConfig
from synthtrial.engines.base import Outcome
from synthtrial.engines.placement import host_name
from synthtrial.errors import EngineError

KEY = "SYNTHTRIAL_AGENT_KEY"
ADDRESSES = "SYNTHTRIAL_AGENT_ADDRESSES"
_ADDRESS_OF_INTERFACE = 0x8915  # SIOCGIFADDR of Linux
_IDLE_SECONDS, _PROBE_SECONDS, _PROBES = 10, 5, 4  # a silent node is given up after 30 s
_HANDSHAKE_SECONDS = 10
_CONNECT_SECONDS = 3.0


@dataclass(frozen=True)
class Setup:
    """The driver's first word: what an agent's engine is made with."""

    store: Path
    settings: EngineConfig
    label: str
    stop_seconds: float


@dataclass(frozen=True)
class Hello:
    """An agent's first word: where it is, and how many tasks it runs at a time."""

    host: str
    capacity: int


@dataclass(frozen=True)
class Refused:
    """An agent's only word where it cannot work: why."""

    host: str
    reason: str


@dataclass(frozen=True)
class Cancel:
    """Stop this task and say nothing of it."""

    task_id: str


@dataclass(frozen=True)
class Stop:
    """Let what runs save its state, report, and end."""


@dataclass(frozen=True)
class Report:
    """What has ended at an agent.

    Attributes:
        outcomes: of tasks.
        capacity: how many tasks it holds or has room for now.
        leaving: whether this is its last word; it was asked to stop, perhaps by a signal.
    """

    outcomes: tuple[Outcome, ...]
    capacity: int
    leaving: bool = False


class Door:
    """Where the driver lets its agents in: a port of this machine, on all its addresses."""

    def __init__(self) -> None:
        self._key = secrets.token_hex(32)
        #: Readable when somebody knocks.
        self.socket = socket.create_server(("", 0), backlog=1024)

    @property
    def environment(self) -> dict[str, str]:
        """What agents must find in their environment."""
        port = self.socket.getsockname()[1]
        names = [f"{name}:{port}" for name in _own_names()]
        return {KEY: self._key, ADDRESSES: ",".join(names)}

    def admit(self) -> Connection | None:
        """Let in who knocks; None for one that does not know the key."""
        knocking, _ = self.socket.accept()
        _time_limit(knocking, _HANDSHAKE_SECONDS)
        line = _line(knocking)
        try:
            deliver_challenge(line, self._key.encode())
            answer_challenge(line, self._key.encode())
        except (AuthenticationError, EOFError, OSError, ValueError):
            line.close()
            return None
        _no_time_limit(line)
        return line

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Let nobody in any more."""
        self.socket.close()


def knock(addresses: Sequence[str], key: str, patience_seconds: float) -> Connection:
    """Open the line to the driver, from an agent.

    Args:
        addresses: ``host:port`` of the driver, one or several names of it.
        key: that the driver has made.
        patience_seconds: how long to try.

    Raises:
        EngineError: nobody who knows the key is reachable there.
    """
    deadline = time.monotonic() + patience_seconds
    reasons: dict[str, str] = {}
    while True:
        for address in addresses:
            try:
                return _knock_at(address, key)
            except (AuthenticationError, EOFError, OSError, ValueError) as error:
                reasons[address] = str(error) or type(error).__name__
        if time.monotonic() > deadline:
            tried = "; ".join(f"{address} ({reason})" for address, reason in reasons.items())
            raise EngineError(
                f"{host_name()} cannot reach the run's driver within {patience_seconds:g} s: "
                f"{tried}. The nodes of a job must be able to open TCP connections to each other; "
                "if a firewall forbids it, run with engine.name=slurm, or on one node"
            )
        time.sleep(0.5)


def _knock_at(address: str, key: str) -> Connection:
    host, _, port = address.rpartition(":")
    opened = socket.create_connection((host, int(port)), timeout=_CONNECT_SECONDS)
    opened.settimeout(None)
    _time_limit(opened, _HANDSHAKE_SECONDS)
    line = _line(opened)
    try:
        answer_challenge(line, key.encode())
        deliver_challenge(line, key.encode())
    except BaseException:
        line.close()
        raise
    _no_time_limit(line)
    return line


def _line(opened: socket.socket) -> Connection:
    opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, _IDLE_SECONDS)
    opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, _PROBE_SECONDS)
    opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, _PROBES)
    # Keepalive is not asked while something sent waits to be acknowledged.
    silence = _IDLE_SECONDS + _PROBES * _PROBE_SECONDS
    opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 1000 * silence)
    return Connection(opened.detach())


def _time_limit(opened: socket.socket, seconds: int) -> None:
    """Limit each read: one that knocks and says nothing must not keep the others out."""
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", seconds, 0))


def _no_time_limit(line: Connection) -> None:
    with socket.socket(fileno=os.dup(line.fileno())) as opened:
        _time_limit(opened, 0)


def _own_names() -> list[str]:
    """Return names and addresses of this machine, most likely first.

    A host's name may mean another network, or nothing, on another node; so all addresses of this
    one follow. Loopback, the last, is all that an unconnected machine has.
    """
    found = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        for _, interface in socket.if_nameindex():
            request = struct.pack("256s", interface.encode()[:15])
            try:
                answer = fcntl.ioctl(probe.fileno(), _ADDRESS_OF_INTERFACE, request)
            except OSError:  # it has no address
                continue
            found.append(socket.inet_ntoa(answer[20:24]))
    loopback = [address for address in found if address.startswith("127.")]
    others = [address for address in found if address not in loopback]
    return list(dict.fromkeys([host_name(), *others, *loopback]))
