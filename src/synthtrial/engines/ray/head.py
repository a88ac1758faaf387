"""The head of a cluster that was named: whether it answers, and takes us."""

from __future__ import annotations

import os
import socket
from pathlib import Path

from synthtrial.errors import EngineError

TOKEN, TOKEN_PATH = "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"
_KNOCK_SECONDS = 10.0


def token_file() -> Path:
    """Return where Ray looks for the token of this user."""
    named = os.environ.get(TOKEN_PATH)
    return Path(named) if named else Path.home() / ".ray" / "auth_token"


def write_private(path: Path, text: str) -> None:
    """Write a new file that only this user can read.

    Raises:
        FileExistsError: it is there.
        OSError: it cannot be written.
    """
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)


def reach(address: str, seconds: float = 3.0) -> None:
    """Find out whether anything listens at ``host:port``.

    Raises:
        OSError: nothing does.
    """
    host, _, port = address.rpartition(":")
    socket.create_connection((host.strip("[]"), int(port)), seconds).close()


def knock(address: str) -> None:
    """Find out soon whether anything listens there; Ray would try for minutes."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal():
        raise EngineError(
            f"engine.ray.address is '{address}'; give host:port, as `ray start --head` prints it"
        )
    try:
        reach(address, _KNOCK_SECONDS)
    except OSError as error:
        raise no_cluster(address, error) from error


def introduce(address: str) -> None:
    """Find out soon whether the head takes our token and runs our Ray.

    ``ray.init`` would try for long and then say neither. This asks in a way that is private to Ray,
    so where that has moved nothing is asked.
    """
    try:
        import grpc
        from ray._private.grpc_utils import init_grpc_channel
        from ray.core.generated import gcs_service_pb2, gcs_service_pb2_grpc
    except ImportError:
        return
    import ray

    try:
        channel = init_grpc_channel(address)
        stub = gcs_service_pb2_grpc.NodeInfoGcsServiceStub(channel)  # type: ignore[no-untyped-call]
        question = gcs_service_pb2.CheckAliveRequest()  # type: ignore[attr-defined]
        theirs = str(stub.CheckAlive(question, timeout=_KNOCK_SECONDS).ray_version)
    except grpc.RpcError as error:
        if error.code() is grpc.StatusCode.UNAUTHENTICATED:
            source = TOKEN if os.environ.get(TOKEN) else token_file()
            raise EngineError(
                f"the cluster at {address} refuses the token from {source}: copy the token of the "
                f"cluster's head (`ray get-auth-token` prints it there) into {token_file()}, with "
                f"mode 0600, or set {TOKEN_PATH}"
            ) from error
        raise no_cluster(address, RuntimeError(error.details())) from error
    if theirs and theirs != ray.__version__:
        raise EngineError(
            f"the cluster at {address} runs Ray {theirs}, and this is Ray {ray.__version__}: "
            f"install that here (pip install ray=={theirs}), or run with the cluster's own Python"
        )


def no_cluster(address: str | None, error: Exception) -> EngineError:
    """Return what to tell a user whose cluster could not be started (no address) or reached."""
    said = str(error).strip().splitlines()
    reason = said[0] if said else type(error).__name__
    if address is None:
        return EngineError(
            f"Ray could not start on this machine: {reason}. Its logs were in a temporary folder; "
            "`synthtrial doctor STUDY --engine ray` looks at what it needs"
        )
    return EngineError(
        f"no Ray cluster answers at {address}: {reason}. `ray start --head` prints the address "
        "of a cluster; without engine.ray.address a private one is started here"
    )
