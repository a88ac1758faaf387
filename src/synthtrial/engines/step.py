"""A job step with one process on each node of an allocation, started by ``srun``."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection, wait

from synthtrial.engines.channel import Door, Hello, Refused, Setup
from synthtrial.errors import EngineError, InterruptedTrainingError

_logger = logging.getLogger(__name__)
_LOOK_SECONDS = 0.5  # between looks at whether the step has ended, or a signal has come
_END_SECONDS = 5.0

Step = subprocess.Popen[bytes]


def nodes_of_job() -> int:
    """Return how many nodes the job has that this process runs in.

    Raises:
        EngineError: it runs in none.
    """
    count = os.environ.get("SLURM_JOB_NUM_NODES") or os.environ.get("SLURM_NNODES")
    if not os.environ.get("SLURM_JOB_ID") or not count:
        raise EngineError(
            "engine.name=allocation runs inside a SLURM job, and this is none (SLURM_JOB_ID is not "
            "set). Submit one: sbatch --nodes=2 slurm/study.sbatch STUDY; or run with "
            "engine.name=local on this machine, or engine.name=slurm to submit jobs from here"
        )
    return int(count)


@contextmanager
def running(
    nodes: int,
    agents: Mapping[str, str],
    module: str = "synthtrial.engines.agent",
    end_seconds: float = _END_SECONDS,
) -> Iterator[Step]:
    """Start one agent a node; at the end, wait for them to end and end those that do not.

    They are in a session of their own: Ctrl-C is the driver's to handle. Their standard input
    closes at the end, also when this process is killed.

    Args:
        nodes: of the job.
        agents: what agents must find in their environment.
        module: what an agent runs.
        end_seconds: how long they may take to end by themselves.

    Raises:
        EngineError: there is no srun here.
    """
    command = ["srun", f"--nodes={nodes}", f"--ntasks={nodes}", "--ntasks-per-node=1"]
    command += ["--export=ALL", "--input=all", "--mpi=none"]
    # A node that fails, or an agent, must not take the others with it; nor end them by its leave.
    command += ["--no-kill", "--kill-on-bad-exit=0", "--wait=0"]
    # Workers share all processors that the job has on a node, however its tasks were counted.
    command += ["--cpu-bind=none", sys.executable, "-m", module]
    environment = os.environ | agents
    if "SLURM_CPUS_PER_TASK" in environment:  # srun takes it under this name since SLURM 22.05
        environment.setdefault("SRUN_CPUS_PER_TASK", environment["SLURM_CPUS_PER_TASK"])
    try:
        step = subprocess.Popen(  # noqa: S603 - SLURM's srun, and this interpreter
            command, env=environment, stdin=subprocess.PIPE, start_new_session=True
        )
    except OSError as error:
        raise EngineError(
            f"srun cannot be started ({error}): engine.name=allocation needs SLURM's commands on "
            "PATH where the run is started"
        ) from None
    try:
        yield step
    finally:
        assert step.stdin is not None
        step.stdin.close()
        # srun has SLURM kill them soon after SIGTERM, whatever they are about.
        for number in (None, signal.SIGTERM, signal.SIGKILL):
            if number is not None:
                step.send_signal(number)
            with suppress(subprocess.TimeoutExpired):
                step.wait(_END_SECONDS if number else end_seconds)
                break


def arrivals(
    door: Door,
    step: Step,
    nodes: int,
    setup: Setup,
    seconds: float,
    asked_to_stop: Callable[[], bool],
) -> list[tuple[Connection, Hello]]:
    """Let the agents in, until all are there or those missing are given up.

    Args:
        door: at which they knock.
        step: that they are the processes of.
        nodes: of the job.
        setup: what they are told.
        seconds: how long to wait for them.
        asked_to_stop: says whether a signal has come.

    Returns:
        At least one agent's line, and what it has said.

    Raises:
        EngineError: none has come, or none can work.
        InterruptedTrainingError: a signal has come.
    """
    deadline = time.monotonic() + seconds
    lines: list[Connection] = []
    found: list[tuple[Connection, Hello]] = []
    reasons: list[str] = []
    while len(found) + len(reasons) < nodes:
        if asked_to_stop():
            raise InterruptedTrainingError("asked to stop before anything was started")
        ended = step.poll() is not None
        ready = wait([door.socket, *lines], _LOOK_SECONDS)
        for line in [line for line in lines if line in ready]:
            lines.remove(line)
            match _first_word(line):
                case Hello() as hello:
                    found.append((line, hello))
                case reason:
                    reasons.append(reason)
        if door.socket in ready and (newcomer := door.admit()) is not None:
            with suppress(OSError):  # it has gone again, which its line says
                newcomer.send(setup)
            lines.append(newcomer)
        if not ready and (ended or time.monotonic() > deadline):
            break
    for line in lines:
        line.close()
    if not found:
        raise EngineError(_why_none(reasons, step.poll(), seconds))
    if len(found) < nodes:
        _logger.warning(
            "only %d of %d nodes take part (%s): %s",
            len(found),
            nodes,
            ", ".join(hello.host for _, hello in found),
            "; ".join(reasons) or "the others did not answer; see what srun said",
        )
    return found


def _first_word(line: Connection) -> Hello | str:
    """Return an agent's greeting, or why there is none."""
    try:
        message = line.recv()
    except (EOFError, OSError):
        message = None
    if isinstance(message, Hello):
        return message
    line.close()
    if isinstance(message, Refused):
        return f"{message.host}: {message.reason}"
    return "an agent ended before it had said a word"


def _why_none(reasons: Sequence[str], status: int | None, seconds: float) -> str:
    if reasons:
        return f"no node can work: {'; '.join(reasons)}"
    if status is not None:
        return (
            f"srun ended with {status} before any agent had connected; its words are above. Try "
            "`srun --ntasks-per-node=1 hostname` in the same job"
        )
    return (
        f"no agent has connected within {seconds:g} s. Nodes may not reach this one, or the job "
        "step waits for resources that another step holds: `squeue --steps` says what runs"
    )
