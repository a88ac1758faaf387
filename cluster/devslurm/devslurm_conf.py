"""What a development cluster consists of, and the configuration files that say so to SLURM."""

from __future__ import annotations

import os
import pwd
import secrets
import socket
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from devslurm_proc import DevSlurmError

#: The longest path in the folder is the socket of a job step; the kernel allows 107 bytes for one.
LONGEST_SOCKET = "spool/node99/node99_67043328.4294967295"
LONGEST_FOLDER = 107 - len(LONGEST_SOCKET) - 1
MOST_NODES = 99
#: Seconds. A requeued job waits until its old credentials have expired: this is its delay too. At 5
#: slurmd refuses the second run of a job now and then ("Duplicate jobid").
CREDENTIAL_EXPIRY = 8
#: Devices that everyone has, for those who may not make their own.
BORROWED_DEVICES = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom")
#: Keys that may be there several times: another one is added, none is replaced.
REPEATED_KEYS = ("nodename", "partitionname", "nodeset", "downnodes")


@dataclass(frozen=True)
class Layout:
    """A cluster, spelled out.

    Args:
        folder: Where everything of it lives.
        cluster: Its name, which is also the name of its bridge.
        nodes: How many nodes; they are called node1, node2, ...
        cpus: Declared processors of a node.
        gpus: Declared GPUs of a node.
        memory_mb: Declared memory of a node.
        grace_seconds: What a preempted job in the partition `main` gets before it is killed.
        accounting: Whether there is slurmdbd, and so `sacct`.
        namespaces: Whether each node is a set of namespaces, and not a process beside the others.
        port: The first port: slurmctld's; slurmdbd has the next one, nodes those behind it.
        network: The first three bytes of the addresses, such as `10.77.5`; `127.0.0` for one host.
        conf: Further keys of slurm.conf, which replace ours.
    """

    folder: Path
    cluster: str
    nodes: int = 2
    cpus: int = 4
    gpus: int = 2
    memory_mb: int = 8000
    grace_seconds: int = 20
    accounting: bool = True
    namespaces: bool = True
    port: int = 0
    network: str = "127.0.0"
    conf: Mapping[str, str] = field(default_factory=dict)

    @property
    def names(self) -> list[str]:
        """The names of the nodes."""
        return [f"node{number}" for number in range(1, self.nodes + 1)]

    @property
    def box_address(self) -> str:
        """Where the nodes reach this machine."""
        return f"{self.network}.254" if self.namespaces else "127.0.0.1"

    def address(self, node: str) -> str:
        """Where this machine and the other nodes reach a node."""
        return f"{self.network}.{node.removeprefix('node')}" if self.namespaces else "127.0.0.1"

    def ports(self) -> list[int]:
        """The ports that must be free on this machine."""
        return [self.port + more for more in range(2 + (0 if self.namespaces else self.nodes))]


def user_name() -> str:
    """Who runs the daemons."""
    return pwd.getpwuid(os.geteuid()).pw_name


def host_name() -> str:
    """This machine's name, as SLURM compares it."""
    return socket.gethostname().split(".")[0]


def write(layout: Layout) -> None:
    """Write all configuration files, keys and devices into the cluster's folder."""
    folder = layout.folder
    for name in ("log", "run", "state", "dev", "munge", "db", *layout.names):
        place = folder / "spool" / name if name in layout.names else folder / name
        place.mkdir(parents=True, mode=0o755)
    (folder / "slurm.conf").write_text(_slurm_conf(layout))
    (folder / "gres.conf").write_text(_gres_conf(layout))
    # Without this line slurmd looks through /sys/fs/cgroup and may refuse to start.
    (folder / "cgroup.conf").write_text("CgroupPlugin=cgroup/v1\n")
    _write_private(folder / "munge" / "key", secrets.token_bytes(1024))
    if layout.accounting:
        _write_private(folder / "slurmdbd.conf", _slurmdbd_conf(layout).encode())
    if layout.namespaces:
        (folder / "hosts").write_text(_hosts(layout))
        # Nobody answers there: a look-up of an unknown name fails at once.
        (folder / "resolv.conf").write_text("nameserver 127.0.0.1\n")


def _write_private(path: Path, content: bytes) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)


def _slurm_conf(layout: Layout) -> str:
    folder, user = layout.folder, user_name()
    keys = {
        "ClusterName": layout.cluster,
        # Numbers of jobs are not used again by the next cluster: files of old jobs stay old.
        "FirstJobId": str(1000 + secrets.randbelow(60_000_000)),
        "SlurmctldHost": f"{host_name()}({layout.box_address})",
        "SlurmctldPort": str(layout.port),
        "SlurmUser": user,
        "SlurmdUser": user,
        "AuthType": "auth/munge",
        "AuthInfo": f"socket={folder}/munge/socket,cred_expire={CREDENTIAL_EXPIRY}",
        "StateSaveLocation": f"{folder}/state",
        "SlurmdSpoolDir": f"{folder}/spool/%n",
        "SlurmctldPidFile": f"{folder}/run/slurmctld.pid",
        "SlurmdPidFile": f"{folder}/run/%n.pid",
        "SlurmctldLogFile": f"{folder}/log/slurmctld.log",
        "SlurmdLogFile": f"{folder}/log/%n.log",
        "SlurmdParameters": "config_overrides",  # more processors than there are
        "SlurmctldParameters": "preempt_send_user_signal",
        "ProctrackType": "proctrack/linuxproc",
        "MpiDefault": "none",
        "MailProg": "/bin/true",
        "JobAcctGatherType": "jobacct_gather/linux",
        "JobAcctGatherFrequency": "task=1",
        "JobAcctGatherParams": "OverMemoryKill",
        "SelectType": "select/cons_tres",
        "SelectTypeParameters": "CR_Core_Memory",
        "DefMemPerCPU": str(max(1, layout.memory_mb // layout.cpus)),
        "MaxArraySize": "1001",
        "SchedulerType": "sched/backfill",
        "SchedulerParameters": "bf_interval=1,batch_sched_delay=1,sched_interval=2",
        "PreemptType": "preempt/partition_prio",
        "PreemptMode": "REQUEUE",
        "JobRequeue": "1",
        "ReturnToService": "1",
        "KillWait": "2",
        "SlurmdTimeout": "5",
        "MessageTimeout": "5",  # a dead node is noticed after three of these, or so
        "SlurmctldTimeout": "5",
        "GresTypes": "gpu",
        "AccountingStorageType": "accounting_storage/none",
    }
    if layout.accounting:
        keys |= {
            "AccountingStorageType": "accounting_storage/slurmdbd",
            "AccountingStorageHost": "127.0.0.1",
            "AccountingStoragePort": str(layout.port + 1),
            "AccountingStoragePass": f"{folder}/munge/socket",
            "AccountingStorageTRES": "gres/gpu",
        }
    lines, added = [], []
    spelling = {key.lower(): key for key in keys}
    for key, value in layout.conf.items():
        if key.lower() in REPEATED_KEYS:
            added.append(f"{key}={value}")
        else:
            keys[spelling.get(key.lower(), key)] = value
    gres = f"Gres=gpu:{layout.gpus} " if layout.gpus else ""
    for number, node in enumerate(layout.names, start=1):
        host = node if layout.namespaces else host_name()
        lines.append(
            f"NodeName={node} NodeHostname={host} NodeAddr={layout.address(node)} "
            f"Port={layout.port + 1 + number} CPUs={layout.cpus} RealMemory={layout.memory_mb} "
            f"{gres}State=UNKNOWN"
        )
    grace = f"GraceTime={layout.grace_seconds}"
    lines += [
        f"PartitionName=main Nodes=ALL MaxTime=INFINITE PriorityTier=1 {grace} Default=YES",
        "PartitionName=high Nodes=ALL MaxTime=INFINITE PriorityTier=10 PreemptMode=OFF",
    ]
    return "\n".join([*(f"{key}={value}" for key, value in keys.items()), *lines, *added, ""])


def _gres_conf(layout: Layout) -> str:
    """Declare GPUs: SLURM counts character devices and never opens them."""
    lines = []
    for number in range(layout.gpus):
        device = layout.folder / "dev" / f"gpu{number}"
        try:
            os.mknod(device, 0o666 | stat.S_IFCHR, os.makedev(1, 3))
        except OSError:
            if number >= len(BORROWED_DEVICES):
                most = f"at most {len(BORROWED_DEVICES)} GPUs can be declared"
                raise DevSlurmError(f"without the right to make devices {most}") from None
            device = Path(BORROWED_DEVICES[number])
        lines.append(f"NodeName=node[1-{layout.nodes}] Name=gpu File={device}\n")
    return "".join(lines)


def _slurmdbd_conf(layout: Layout) -> str:
    user = user_name()
    keys = {
        "AuthType": "auth/munge",
        "AuthInfo": f"socket={layout.folder}/munge/socket",
        "DbdHost": host_name(),
        "DbdAddr": "127.0.0.1",
        "DbdPort": layout.port + 1,
        "SlurmUser": user,
        "LogFile": f"{layout.folder}/log/slurmdbd.log",
        "PidFile": f"{layout.folder}/run/slurmdbd.pid",
        "StorageType": "accounting_storage/mysql",
        "StorageHost": "localhost",
        "StorageUser": user,
        "StoragePass": "unused",
        "StorageLoc": "slurm_acct",
    }
    return "".join(f"{key}={value}\n" for key, value in keys.items())


def _hosts(layout: Layout) -> str:
    """Names for the nodes: theirs, this machine's, and what this machine knows of others."""
    box = " ".join(dict.fromkeys((host_name(), socket.gethostname())))
    lines = ["127.0.0.1 localhost", f"{layout.box_address} {box}"]
    lines += [f"{layout.address(node)} {node}" for node in layout.names]
    known = Path("/etc/hosts")
    if known.exists():
        others = [line for line in known.read_text().splitlines() if line.strip()]
        lines += [line for line in others if not line.startswith(("127.", "::1", "#"))]
    return "\n".join([*lines, ""])
