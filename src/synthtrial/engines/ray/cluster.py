"""A Ray cluster: start a private one or connect to the one that was named, and leave it in order.

A private cluster belongs to one run: it keeps its files in a short temporary folder of its own and
ends with the run. Its dashboard listens on the loopback interface; Ray's other services listen on
all of them, whatever they are told, and take nobody without the token. A cluster that was named is
only ever connected to. Nothing here calls ``ray stop``, which reaches other clusters of the user.
"""

from __future__ import annotations

import ipaddress
import json
import logging
import os
import secrets
import shutil
import socket
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from synthtrial.engine_config import EngineConfig
from synthtrial.engines.placement import available_processors, host_name, visible_gpus
from synthtrial.engines.ray.head import (
    TOKEN,
    TOKEN_PATH,
    introduce,
    knock,
    no_cluster,
    token_file,
    write_private,
)
from synthtrial.errors import EngineError
from synthtrial.store.artifacts import Store
from synthtrial.store.files import storage_errors, write_file

_MODE = "RAY_AUTH_MODE"
_STORE_SHARE = 0.3  # of /dev/shm; images travel through the store and not through Ray's objects
_STORE_BYTES = 2 * 2**30  # more than that has no use
_LEAST_STORE_BYTES = 80 * 2**20  # Ray refuses less than 75 MiB
_LONGEST_FOLDER = 40  # characters: a socket's path below it must stay under 107
#: Read by Ray when it is first imported or a cluster starts; what the user has set stands.
_ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
    # It is given no more than the nodes that there are have room for.
    "TUNE_MAX_PENDING_TRIALS_PG": "10000",
    # Nothing is ever resumed from Tune's state, so it need not be written all the time.
    "TUNE_GLOBAL_CHECKPOINT_S": "1000000",
}


@dataclass(frozen=True)
class Cluster:
    """A cluster that this process is connected to.

    Attributes:
        address: ``host:port`` of its head.
        dashboard: address of the dashboard; empty if there is none.
        folder: of this run, on this machine, for what Tune and Train write; removed afterwards.
        private: whether it was started here.
    """

    address: str
    dashboard: str
    folder: Path
    private: bool


@contextmanager
def connected(settings: EngineConfig, store: Store, study: str) -> Iterator[Cluster]:
    """Connect this process to a cluster for the time of the block.

    Args:
        settings: of the engine.
        store: where ``status`` finds the dashboard's address.
        study: name of the study.

    Raises:
        EngineError: no cluster there, a token that it refuses, or a dashboard open to everybody.
    """
    _check(settings)
    os.environ.update({k: v for k, v in _ENVIRONMENT.items() if k not in os.environ})
    if not settings.ray.tune_loggers:
        os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
    private = settings.ray.address is None
    with ExitStack() as stack:
        folder = short_folder()
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        if settings.ray.address is None:
            _secure()
        else:
            knock(settings.ray.address)
        import ray

        _quieten()
        if settings.ray.address is not None:
            introduce(settings.ray.address)
        job = ray.job_config.JobConfig(metadata={"job_name": study})
        common: dict[str, Any] = {
            "job_config": job,
            "namespace": f"synthtrial-{study}",
            "log_to_driver": False,
            "logging_level": logging.ERROR,
            "configure_logging": True,
        }
        try:
            if private:
                context = ray.init("local", **_private(settings, folder), **common)
            else:
                context = ray.init(settings.ray.address, **common)
        except Exception as error:
            raise no_cluster(settings.ray.address, error) from error
        stack.callback(ray.shutdown)
        cluster = Cluster(
            address=str(ray.get_runtime_context().gcs_address),
            dashboard=f"http://{context.dashboard_url}" if context.dashboard_url else "",
            folder=folder,
            private=private,
        )
        stack.enter_context(_announced(cluster, store, study))
        yield cluster


def announcement(store: Store, study: str) -> Mapping[str, Any] | None:
    """Return what a run of the study has said of its cluster; None if none has."""
    try:
        found = json.loads(_announcement_path(store, study).read_bytes())
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address."""
    if host == "localhost":
        return True
    with suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return False


def _check(settings: EngineConfig) -> None:
    ray = settings.ray
    if ray.address is not None and "://" in ray.address:
        raise EngineError(
            f"engine.ray.address is '{ray.address}'; Ray Client is not supported. Give host:port "
            "of the head (its GCS, 6379 unless told otherwise) on a machine of the cluster, or "
            "submit jobs/run_study.py with `ray job submit`"
        )
    if ray.address == "auto":
        raise EngineError(
            "engine.ray.address is 'auto', which finds any cluster on this machine, also "
            "another user's; give host:port as `ray start --head` printed it"
        )
    open_to_all = ray.dashboard and not is_loopback(ray.dashboard_host)
    if ray.address is None and open_to_all and os.environ.get(_MODE, "token") != "token":
        raise EngineError(
            f"engine.ray.dashboard_host is {ray.dashboard_host}, which other machines reach, while "
            f"{_MODE}={os.environ[_MODE]} turns authentication off: anybody could run programs "
            f"here. Unset {_MODE}, or leave the dashboard on 127.0.0.1"
        )


def _private(settings: EngineConfig, folder: Path) -> dict[str, Any]:
    """Return how the private cluster is started."""
    ray = settings.ray
    workers = settings.workers
    gpus = 0 if settings.device == "cpu" else len(visible_gpus())
    processors = available_processors()
    if workers is not None and not gpus:
        processors = workers * ray.cpus_per_task
    options: dict[str, Any] = {
        "num_cpus": processors,
        "num_gpus": gpus,
        "object_store_memory": store_bytes(),
        "_temp_dir": str(folder),
        "include_dashboard": ray.dashboard,
    }
    if ray.dashboard:
        options["dashboard_host"] = ray.dashboard_host
        if ray.dashboard_port is not None:  # else Ray itself finds one, whoever looks beside it
            options["dashboard_port"] = _free_port(ray.dashboard_host, ray.dashboard_port)
    return options


def _secure() -> None:
    """Have a token that only this user can read, as Ray would make one that others can."""
    if os.environ.setdefault(_MODE, "token") != "token" or os.environ.get(TOKEN):
        return
    path = token_file()
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with suppress(FileExistsError):
            write_private(path, secrets.token_hex(32))
        if path.stat().st_mode & 0o077:
            path.chmod(0o600)
    except OSError as error:
        raise EngineError(
            f"the token of Ray's authentication cannot be kept in {path}: {error.strerror}. Set "
            f"{TOKEN_PATH} to a file in a folder of yours"
        ) from error


def short_folder() -> Path:
    """Make a folder whose path leaves room for Ray's sockets below it."""
    for parent in (tempfile.gettempdir(), "/tmp"):  # noqa: S108 - mkdtemp makes it ours alone
        with suppress(OSError):
            folder = Path(tempfile.mkdtemp(prefix="st-ray-", dir=parent))
            if len(str(folder)) <= _LONGEST_FOLDER:
                return folder
            folder.rmdir()
    raise EngineError(
        f"Ray needs a temporary folder with a path of at most {_LONGEST_FOLDER} characters, and "
        f"neither {tempfile.gettempdir()} nor /tmp gives one; set TMPDIR to a short path"
    )


def store_bytes() -> int:
    """Return a size for Ray's object store that the shared memory of this machine holds."""
    try:
        free = shutil.disk_usage("/dev/shm").free  # noqa: S108 - only its size is asked for
    except OSError:  # Ray takes a folder there
        return _LEAST_STORE_BYTES
    return max(_LEAST_STORE_BYTES, min(_STORE_BYTES, int(_STORE_SHARE * free)))


def _free_port(host: str, port: int) -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        try:
            probe.bind((host, port))
        except OSError as error:
            raise EngineError(
                f"the dashboard cannot listen on {host}:{port}: {error.strerror}. Choose another "
                "engine.ray.dashboard_port, or none for the first that is free"
            ) from error
    return port


def _quieten() -> None:
    """Keep Ray's loggers to what a user can act upon."""
    for name in ("ray", "ray.tune", "ray.train", "ray.data"):
        logging.getLogger(name).setLevel(logging.ERROR)


@contextmanager
def _announced(cluster: Cluster, store: Store, study: str) -> Iterator[None]:
    """Leave word of the cluster in the store while the run lasts."""
    path = _announcement_path(store, study)
    shown = asdict(cluster) | {"folder": str(cluster.folder), "host": host_name()}
    shown |= {"pid": os.getpid(), "since": time.time()}
    # Where Prometheus is told what to scrape; it needs the token.
    shown["metrics"] = f"{cluster.dashboard}/api/prometheus/sd" if cluster.dashboard else ""
    with storage_errors(store.root):
        path.parent.mkdir(exist_ok=True)
        write_file(path, json.dumps(shown, indent=1).encode())
    try:
        yield
    finally:
        with suppress(OSError):
            path.unlink(missing_ok=True)


def _announcement_path(store: Store, study: str) -> Path:
    return store.root / "ray" / f"{study}.json"
