"""The cluster: what it consists of is started in order, found again, cut off and cleared away."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Self

import devslurm_conf as conf_files
import devslurm_net as net
import devslurm_proc as proc
from devslurm_conf import Layout
from devslurm_proc import DevSlurmError

HERE = Path(__file__).resolve().parent
#: Written first and removed last: whoever finds it knows that a folder is a cluster's.
RECORD = "devslurm.json"


class DevSlurm:
    """A cluster in a folder. The folder says all: another process may take down what one put up.

    Used as a context manager it belongs to this process: once that has died, the next `up` in the
    folder, and `down_abandoned`, clear it away.

    Args:
        folder: Where everything of it lives; made by `up`, removed by `down`. A short path.
        nodes: How many nodes; they are called node1, node2, ...
        cpus: Declared processors of a node.
        gpus: Declared GPUs of a node.
        memory_mb: Declared memory of a node; enforced.
        grace_seconds: GraceTime of the partition `main`, whose jobs the partition `high` preempts.
        accounting: Start slurmdbd, without which there is no `sacct`.
        namespaces: Whether each node has its own processes, network and host name; by default
            where that is allowed, otherwise nodes are processes side by side.
        port: The first of a few ports; by default some that are free.
        conf: Keys of slurm.conf that replace ours, or (`PartitionName`) come on top.
        timeout_seconds: How long to wait for each part of the cluster to answer.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        *,
        nodes: int = 2,
        cpus: int = 4,
        gpus: int = 2,
        memory_mb: int = 8000,
        grace_seconds: int = 20,
        accounting: bool = True,
        namespaces: bool | None = None,
        port: int | None = None,
        conf: Mapping[str, object] | None = None,
        timeout_seconds: float = 90,
    ) -> None:
        self.folder = Path(folder).resolve()
        self.timeout_seconds = timeout_seconds
        #: What a program needs in its environment to use this cluster.
        self.environment: dict[str, str] = {"SLURM_CONF": str(self.folder / "slurm.conf")}
        self._owner = ""
        self._namespaces = namespaces
        self._port = port
        self._wanted = Layout(
            folder=self.folder,
            cluster=f"ds{hashlib.sha256(os.fsencode(self.folder)).hexdigest()[:8]}",
            nodes=nodes,
            cpus=cpus,
            gpus=gpus,
            memory_mb=memory_mb,
            grace_seconds=grace_seconds,
            accounting=accounting,
            conf={key: str(value) for key, value in (conf or {}).items()},
        )

    def __enter__(self) -> Self:
        self._owner = proc.identity(os.getpid())
        self.up()
        return self

    def __exit__(self, *_: object) -> None:
        self.down()

    @property
    def layout(self) -> Layout:
        """The cluster that is in the folder, as it was put up."""
        return self._record()[0]

    def up(self) -> None:
        """Start everything and wait until all nodes are idle. Where that fails nothing is left."""
        layout = self._wanted
        if not (1 <= layout.nodes <= conf_files.MOST_NODES and layout.cpus >= 1):
            raise DevSlurmError(f"1 to {conf_files.MOST_NODES} nodes with 1 or more processors")
        if len(os.fsencode(self.folder)) > conf_files.LONGEST_FOLDER:
            most = f"{conf_files.LONGEST_FOLDER} bytes: sockets lie in it"
            raise DevSlurmError(f"the path {self.folder} is too long; choose one of at most {most}")
        if not re.fullmatch(r"[\w./+-]+", str(self.folder)):
            raise DevSlurmError(f"{self.folder}: SLURM wants letters, digits and ._+-/ in a path")
        root = os.geteuid() == 0
        hint = proc.missing_packages(
            accounting=layout.accounting, namespaces=root and self._namespaces is not False
        )
        if hint:
            raise DevSlurmError(hint)
        if self._namespaces is None:
            self._namespaces = root and net.allowed()
        if self._namespaces and not (root and net.allowed()):
            raise DevSlurmError("namespaces are not allowed here; leave them out: --no-namespaces")
        self._make_room()
        try:
            self._start(replace(layout, namespaces=self._namespaces))
        except BaseException:
            self.down()
            raise

    def down(self, *, keep: bool = False) -> None:
        """End and remove everything that belongs to the cluster, whatever state it is in.

        Args:
            keep: Leave the folder with logs and state, to be looked at; the next `up` removes it.
        """
        if self.processes("slurmctld"):
            self._cancel_jobs()
        if keep:  # in an order in which nothing is lost
            for daemon in ("slurmctld", "slurmdbd", "mariadbd"):
                self._stop(daemon)
        if not proc.kill(self.processes):
            raise DevSlurmError(f"these processes cannot be ended: {self.processes()}")
        if os.geteuid() == 0:
            net.remove(self._wanted.cluster)
        if not keep and (self.folder / RECORD).exists():
            shutil.rmtree(self.folder, ignore_errors=True)

    def power_cut(self, node: str) -> None:
        """Take a node away at once: its cable and all its processes. Nobody is told."""
        layout = self._with_node(node)
        if layout.namespaces:
            net.pull_out(layout.cluster, layout.names.index(node) + 1)
        if not proc.kill(lambda: self.processes(node)):
            raise DevSlurmError(f"processes of {node} cannot be ended: {self.processes(node)}")

    def power_on(self, node: str) -> None:
        """Start a node again and wait until the controller may use it."""
        layout = self._with_node(node)
        if self.processes(node):
            return
        before = self._started(node)
        while time.strftime("%Y-%m-%dT%H:%M:%S") == before:  # starts are told apart by the second
            time.sleep(proc.PAUSE_SECONDS)
        self._start_node(layout, node)

        def back() -> bool:
            return self._started(node) != before and self._answers(node)

        self._wait(f"{node} does not come back", node, back)

    def restart_controller(self, *, kill: bool = False) -> None:
        """End slurmctld and start it again; wait until it has heard from all nodes that are on.

        Args:
            kill: End it by SIGKILL: what it has not saved is forgotten, be it that a job has begun.
        """
        names = self.layout.names
        if not kill:
            self._stop("slurmctld")
        proc.kill(lambda: self.processes("slurmctld"))
        self._start_controller()
        for node in names:
            if self.processes(node):
                self._wait_for_answer(node)

    def states(self) -> dict[str, str]:
        """What the controller says of each node: `idle`, `mixed`, `down*`, ...; empty if silent."""
        if not self.processes("slurmctld"):  # sinfo would ask again and again
            return {}
        lines = self._ask("sinfo", "--noheader", "--Node", "--format=%N %T").splitlines()
        return dict(line.split() for line in lines)

    def processes(self, role: str | None = None) -> list[int]:
        """The cluster's living processes on this machine, jobs and steps among them.

        Args:
            role: Only those of `munged`, `mariadbd`, `slurmdbd`, `slurmctld` or of a node.
        """
        return proc.find(self._wanted.cluster, self.folder, role)

    def run(
        self,
        *command: str | os.PathLike[str],
        timeout_seconds: float = 120,
        cwd: str | os.PathLike[str] | None = None,
        environment: Mapping[str, str] | None = None,
        stdin: str = "",
    ) -> subprocess.CompletedProcess[str]:
        """Run a command on this machine, as a user of the cluster, and return what it said."""
        inherited = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("SLURM", "SBATCH", "SALLOC"))
        }
        return proc.run(
            [os.fspath(word) for word in command],
            timeout_seconds=timeout_seconds,
            environment={**inherited, **self.environment, **(environment or {})},
            cwd=cwd,
            stdin=stdin,
        )

    # --- what the above is made of ----------------------------------------------------------------

    def _record(self) -> tuple[Layout, str]:
        """The layout in the folder and who owns it."""
        try:
            record = json.loads((self.folder / RECORD).read_text())
            return Layout(**{**record["layout"], "folder": self.folder}), record["owner"]
        except (OSError, ValueError, TypeError, KeyError):
            raise DevSlurmError(f"there is no cluster in {self.folder}; `up` makes one") from None

    def _write_record(self, layout: Layout) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        new = self.folder / f"{RECORD}.new"
        new.write_text(json.dumps({"layout": asdict(layout), "owner": self._owner}, default=str))
        new.replace(self.folder / RECORD)

    def _with_node(self, node: str) -> Layout:
        layout = self.layout
        if node not in layout.names:
            raise DevSlurmError(f"there is no {node}, only {', '.join(layout.names)}")
        return layout

    def _make_room(self) -> None:
        """Clear away what is dead in the folder; refuse what is alive, or not ours."""
        if (self.folder / RECORD).exists():
            owner = self._record()[1]
            process = owner.partition(":")[0]
            if owner and proc.identity(int(process)) == owner:
                raise DevSlurmError(f"the cluster in {self.folder} is used by process {process}")
            if not owner and self.processes("slurmctld"):
                raise DevSlurmError(
                    f"a cluster is up in {self.folder} already; take it `down` first"
                )
        elif self.folder.exists() and any(self.folder.iterdir()):
            raise DevSlurmError(f"{self.folder} is neither empty nor a cluster's; choose another")
        self.down()

    def _start(self, layout: Layout) -> None:
        folder = self.folder
        self._write_record(layout)
        if layout.namespaces:
            layout = replace(layout, network=net.make(layout.cluster))
        layout = replace(layout, port=net.choose_port(layout, self._port))
        conf_files.write(layout)
        self._write_record(layout)

        munge = ["munged", "--force", f"--key-file={folder}/munge/key"]
        munge += [f"--socket={folder}/munge/socket", f"--pid-file={folder}/munge/pid"]
        munge += [f"--log-file={folder}/munge/log", f"--seed-file={folder}/munge/seed"]
        self._daemon("munged", *munge)
        if layout.accounting:
            self._start_accounting()
        self._start_controller()
        for node in layout.names:
            self._start_node(layout, node)
        for node in layout.names:
            self._wait_for_idle(node)

    def _wait_for_idle(self, node: str) -> None:
        self._wait(f"{node} does not answer", node, lambda: self.states().get(node) == "idle")

    def _answers(self, node: str) -> bool:
        return not re.search(r"\*|down|unk", self.states().get(node, "*"))

    def _wait_for_answer(self, node: str) -> None:
        self._wait(f"{node} does not answer", node, lambda: self._answers(node))

    def _start_accounting(self) -> None:
        folder, database = self.folder, self.folder / "db"
        (database / "data").mkdir()
        # Without grant tables an empty folder is a data base: nothing has to be installed in it.
        options = ["--no-defaults", f"--user={conf_files.user_name()}"]
        options += [f"--datadir={database}/data", f"--socket={database}/sock"]
        options += ["--skip-networking", "--skip-grant-tables", "--skip-log-bin"]
        options += ["--performance-schema=0", "--innodb-buffer-pool-size=16M"]
        options += ["--innodb-log-file-size=8M", "--innodb-flush-log-at-trx-commit=0"]
        self._daemon("mariadbd", "setsid", "--fork", "mariadbd", *options)
        self._wait("mariadbd does not answer", "mariadbd", (database / "sock").exists)
        self._daemon("slurmdbd", "slurmdbd", MYSQL_UNIX_PORT=f"{folder}/db/sock")
        listed = ("sacctmgr", "--noheader", "--immediate", "list", "cluster")
        self._wait(
            "slurmdbd does not answer",
            "slurmdbd",
            lambda: self._answer(*listed).returncode == 0,
        )

    def _start_controller(self) -> None:
        self._daemon("slurmctld", "slurmctld")
        self._wait(
            "slurmctld does not answer",
            "slurmctld",
            lambda: "is UP" in self._ask("scontrol", "ping"),
        )

    def _start_node(self, layout: Layout, node: str) -> None:
        if not layout.namespaces:
            self._daemon(node, "slurmd", "-N", node)
            return
        spaces = ["--fork", "--kill-child", "--pid", "--net", "--uts", "--ipc", "--mount-proc"]
        arguments = [str(self.folder), node, layout.address(node), layout.box_address]
        arguments += net.box_addresses()
        script = ["sh", str(HERE / "node.sh"), *arguments]
        self._daemon(node, "setsid", "--fork", "unshare", *spaces, *script)
        first: list[int] = []

        def has_first() -> bool:
            first[:] = [process for process in self.processes(node) if proc.is_first(process)]
            return bool(first)

        self._wait(f"{node} gets no namespaces", node, has_first)
        net.plug_in(layout.cluster, layout.names.index(node) + 1, first[0])

    def _daemon(self, role: str, *command: str, **environment: str) -> None:
        marked = proc.marked(self._wanted.cluster, role, **self.environment, **environment)
        proc.start(command, self.folder / "log" / f"{role}.log", marked)

    def _stop(self, daemon: str) -> None:
        """Ask a daemon to end and wait; SLURM's helper processes end with it."""
        running = self.processes(daemon)
        note = self.folder / "run" / f"{daemon}.pid"
        if running:
            said = note.read_text().strip() if note.exists() else ""
            noted = [process for process in running if str(process) == said]
            with suppress(ProcessLookupError):
                os.kill((noted or running)[0], signal.SIGTERM)
            proc.wait_until(lambda: not self.processes(daemon), 20)

    def _wait(self, failure: str, role: str, condition: Callable[[], bool]) -> None:
        """Wait until it is so, or until nothing is left that could bring it about."""
        end = time.monotonic() + self.timeout_seconds
        misses = 0  # a daemon that forks twice can be overlooked once
        while not condition():
            misses = 0 if self.processes(role) else misses + 1
            if misses > 3 or time.monotonic() > end:
                log = self.folder / "log" / f"{role}.log"
                why = "it has ended" if misses else f"after {self.timeout_seconds:g} s"
                raise DevSlurmError(f"{failure} ({why}); its log ends with:\n{proc.tail(log)}")
            time.sleep(proc.PAUSE_SECONDS)

    def _answer(self, *command: str) -> subprocess.CompletedProcess[str]:
        try:
            return self.run(*command, timeout_seconds=10)
        except subprocess.TimeoutExpired:
            return subprocess.CompletedProcess(command, 124, "", "")

    def _ask(self, *command: str) -> str:
        return self._answer(*command).stdout

    def _started(self, node: str) -> str:
        """When the node's daemon started, as the controller knows."""
        found = re.search(r"SlurmdStartTime=(\S+)", self._ask("scontrol", "show", "node", node))
        return found[1] if found else ""

    def _cancel_jobs(self) -> None:
        """End jobs, so that an `srun` that waits for one on this machine ends too."""
        jobs = self._ask("squeue", "--noheader", "--format=%A").split()
        if jobs:
            self._answer("scancel", *jobs)
            self._answer("scancel", "--full", "--signal=KILL", *jobs)
            proc.wait_until(lambda: not self._ask("squeue", "--noheader").strip(), 3)


def down_abandoned(parent: Path, pattern: str) -> None:
    """Take down clusters in folders of this pattern whose process has died.

    Args:
        parent: The folder in which to look.
        pattern: What the names of the clusters' folders look like, such as `tests-*`.
    """
    for record in parent.glob(f"{pattern}/{RECORD}"):
        cluster = DevSlurm(record.parent)
        with suppress(DevSlurmError):
            owner = cluster._record()[1]
            if owner and proc.identity(int(owner.partition(":")[0])) != owner:
                cluster.down()
