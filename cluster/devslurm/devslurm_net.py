"""The network between this machine and the nodes: one bridge a cluster, one cable a node; ports."""

from __future__ import annotations

import ipaddress
import secrets
import socket
import zlib
from dataclasses import replace
from pathlib import Path

from devslurm_conf import Layout
from devslurm_proc import DevSlurmError, run

LINKS = Path("/sys/class/net")


def allowed() -> bool:
    """Whether we may make namespaces and links here."""
    spaces = ("--fork", "--pid", "--net", "--uts", "--ipc", "--mount", "--mount-proc")
    inside = "ip link add devslurm0 type bridge && ip link add devslurm1 type veth peer devslurm2"
    return run(["unshare", *spaces, "sh", "-c", inside]).returncode == 0


def make(bridge: str) -> str:
    """Make a cluster's bridge, with a subnet that nothing on this machine uses.

    Adding a route fails where another has added it already, so that of two clusters that want one
    subnet at the same moment only one gets it.

    Returns:
        The first three bytes of the addresses; this machine is .254.
    """
    # With an address of its own a bridge does not take over those of its cables.
    _ip("link", "add", bridge, "address", _hardware(bridge, 254), "type", "bridge")
    _ip("link", "set", bridge, "up")
    first = zlib.crc32(bridge.encode())
    for offset in range(256):
        network = f"10.77.{(first + offset) % 256}"
        if _in_use(network):
            continue
        if run(["ip", "route", "add", f"{network}.0/24", "dev", bridge]).returncode == 0:
            _ip("address", "add", f"{network}.254/24", "dev", bridge, "noprefixroute")
            return network
    raise DevSlurmError("no subnet is free in 10.77.0.0/16; `ip route` says what is there")


def plug_in(bridge: str, number: int, process: int) -> None:
    """Put a cable from the bridge into the network namespace of a process."""
    cable = f"{bridge}-{number}"
    inside = ["name", "eth0", "address", _hardware(bridge, number), "netns", str(process)]
    _ip("link", "add", cable, "type", "veth", "peer", *inside)
    _ip("link", "set", cable, "master", bridge, "up")


def pull_out(bridge: str, number: int) -> None:
    """Take a node's cable away: nothing that it sends arrives any more."""
    run(["ip", "link", "delete", f"{bridge}-{number}"])


def remove(bridge: str) -> None:
    """Remove the bridge and all cables."""
    for link in LINKS.iterdir():
        if link.name == bridge or link.name.startswith(f"{bridge}-"):
            run(["ip", "link", "delete", link.name])


def choose_port(layout: Layout, first: int | None) -> int:
    """The first of the cluster's ports: the one asked for, otherwise one that is free.

    A subnet has one owner, and ports that belong to it: clusters that start together do not meet.

    Raises:
        DevSlurmError: one of those asked for is taken.
    """
    starts = [20000 + secrets.randbelow(12000) for _ in range(100)]
    if layout.namespaces:
        starts.insert(0, 17000 + 8 * int(layout.network.rpartition(".")[2]))
    for start in [first] if first else starts:
        taken = [port for port in replace(layout, port=start).ports() if not _is_free(port)]
        if not taken:
            return start
    what = f"port {taken[0]} is taken" if first else "no ports are free from 20000 to 32000"
    raise DevSlurmError(f"{what}; choose another --port, or leave it out and free ones are found")


def box_addresses() -> list[str]:
    """This machine's addresses other than those on bridges of ours."""
    lines = run(["ip", "-4", "-oneline", "address", "show", "scope", "global"]).stdout.splitlines()
    fields = [line.split() for line in lines]
    return [words[3].split("/")[0] for words in fields if not words[3].startswith("10.77.")]


def _in_use(network: str) -> bool:
    wanted = ipaddress.ip_network(f"{network}.0/24")
    for line in run(["ip", "-4", "route", "show", "table", "all"]).stdout.splitlines():
        for word in line.split()[:2]:  # the second where the first is a type, such as `local`
            try:
                if ipaddress.ip_network(word, strict=False).overlaps(wanted):
                    return True
            except ValueError:
                continue
    return False


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("", port))
        except OSError:
            return False
    return True


def _hardware(bridge: str, number: int) -> str:
    """An address of the card that a node has after each power cut, so that no one is confused."""
    digits = f"{zlib.crc32(bridge.encode()):08x}{number:02x}"
    return "02:" + ":".join(digits[at : at + 2] for at in range(0, 10, 2))


def _ip(*arguments: str) -> None:
    done = run(["ip", *arguments])
    if done.returncode:
        raise DevSlurmError(f"`ip {' '.join(arguments)}` failed: {done.stderr.strip()}")
