"""The engine of one SLURM allocation: all its nodes, where jobs may not submit jobs.

The driver runs on the first node and starts an agent on every node by one ``srun``. Each agent has
a warm pool of workers over what the job was given of its node. A node that dies costs the tasks
that it ran: they are lost and tried again on the others.
"""

from __future__ import annotations

import dataclasses
import itertools
import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from types import TracebackType
from typing import Self

from synthtrial.engine_config import EngineConfig
from synthtrial.engines import step
from synthtrial.engines.base import JobState, Outcome, Trouble
from synthtrial.engines.channel import Cancel, Door, Report, Setup, Stop
from synthtrial.errors import EngineError, InterruptedTrainingError
from synthtrial.estimates import Clock
from synthtrial.plan import Plan
from synthtrial.store.artifacts import Store
from synthtrial.tasks import Task
from synthtrial.work.signals import noticed

_STOP_SECONDS = 20.0  # SLURM kills 30 s (KillWait) after SIGTERM, unless the site says otherwise
_JOIN_SECONDS = 180.0  # on many nodes at once, Python starts slowly from a shared file system
_LOOK_SECONDS = 0.5  # between looks at whether a signal has come
_END_SECONDS = 5.0


@dataclass(frozen=True)
class _Given:
    job: str
    task_id: str
    started: float


@dataclass(eq=False)
class _Agent:
    line: Connection
    host: str
    capacity: int
    given: dict[str, _Given] = field(default_factory=dict)

    @property
    def free(self) -> int:
        # What is under way to it counts here and not yet there, so free places are never too many.
        return max(0, self.capacity - len(self.given))


class AllocationEngine:
    """Runs tasks on every node of the SLURM job that it is started in.

    SIGTERM or SIGUSR2 to the driver (a time limit, preemption) stops the agents, whose trainings
    save their state; :meth:`wait` then raises an error whose exit code, 75, says that the same
    command would go on. An agent that gets such a signal itself stops the others too.

    Args:
        store: the store; all nodes must see it at the same path.
        settings: of the engine; they hold for each node.
        stop_seconds: how long busy workers may take to save their state when the engine stops.
        join_seconds: how long the agents may take to start.
    """

    name = "allocation"
    explains = False

    def __init__(
        self,
        store: Store,
        settings: EngineConfig,
        *,
        stop_seconds: float = _STOP_SECONDS,
        join_seconds: float = _JOIN_SECONDS,
    ) -> None:
        self._setup = Setup(store.root, settings, self.name, stop_seconds)
        self._join_seconds = join_seconds
        self._agents: list[_Agent] = []
        self._gone: list[str] = []
        self._states: dict[str, JobState] = {}
        self._numbers = itertools.count()
        self._ended: list[Outcome] = []
        self._stack = ExitStack()
        self._asked: Callable[[], bool] = lambda: False
        self._leaving = False
        self._deadline = float("inf")

    def adopt(self, plan: Plan, clock: Clock) -> Mapping[str, Sequence[Trouble]]:  # noqa: ARG002
        """Return nothing: its tasks end with it."""
        return {}

    @property
    def slots(self) -> int:
        """Number of idle workers of all agents that are alive."""
        return 0 if self._stopping() else sum(agent.free for agent in self._agents)

    def preview(self, tasks: Sequence[Task]) -> str:
        """Say how many processes on how many nodes would share the tasks."""
        workers = sum(agent.capacity for agent in self._agents)
        return (
            f"{len(tasks)} packs of one task, over {workers} processes on {len(self._agents)} "
            f"nodes of job {os.environ.get('SLURM_JOB_ID')}"
        )

    def submit(self, tasks: Sequence[Task]) -> list[str]:
        """Send each task to the node with most idle workers.

        Raises:
            EngineError: more tasks than :attr:`slots`, one that is under way, or no node left.
        """
        # A signal that came after the caller looked is for `wait` to say: agents ignore the tasks.
        free = sum(agent.free for agent in self._agents)
        if len(tasks) > free:
            raise EngineError(f"{len(tasks)} tasks for {free} idle workers; wait first")
        return [self._give(task) for task in tasks]

    def states(self, jobs: Sequence[str]) -> Mapping[str, JobState]:
        """Return the state of each job."""
        return {job: self._states[job] for job in jobs}

    def wait(self, timeout_seconds: float) -> list[Outcome]:
        """Return what has ended, waiting at most ``timeout_seconds`` for the first.

        Raises:
            InterruptedTrainingError: a signal asked to stop, and everything that ran has.
            EngineError: no node is left.
        """
        deadline = time.monotonic() + timeout_seconds
        while True:
            busy = self._stopping() or any(agent.given for agent in self._agents)
            left = min(_LOOK_SECONDS, deadline - time.monotonic()) if busy else 0.0
            self._listen(0.0 if self._ended else max(0.0, left))
            found, self._ended = self._ended, []
            stopping = self._stopping()
            if stopping:  # what is lost now is tried again by the next run, and no fault of its own
                found = [outcome for outcome in found if outcome.state != "lost"]
            if found:
                return found
            if stopping and (not self._agents or time.monotonic() > self._deadline):
                raise InterruptedTrainingError(
                    "asked to stop, as by a time limit; what is finished is kept and trainings "
                    "have saved their state. Run the same command, or requeue the job, to go on"
                )
            if not self._agents:
                raise self._nobody()
            if not busy or time.monotonic() >= deadline:
                return []

    def cancel(self, jobs: Sequence[str]) -> None:
        """Have the workers of these jobs killed."""
        for agent in self._agents:
            for given in [given for given in agent.given.values() if given.job in jobs]:
                del agent.given[given.task_id]
                self._states[given.job] = "lost"
                with suppress(OSError):
                    agent.line.send(Cancel(given.task_id))

    def __enter__(self) -> Self:
        """Start the agents and wait until they have said what they can do.

        Raises:
            EngineError: not inside an allocation, or no agent could start.
        """
        nodes = step.nodes_of_job()
        with ExitStack() as stack:
            self._asked = stack.enter_context(noticed())
            with Door() as door:
                agents = stack.enter_context(step.running(nodes, door.environment))
                stack.callback(self._end_agents)
                for line, hello in step.arrivals(
                    door, agents, nodes, self._setup, self._join_seconds, self._asked
                ):
                    self._agents.append(_Agent(line, hello.host, hello.capacity))
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop all agents, whose workers may save their state first."""
        self._stack.close()

    def _give(self, task: Task) -> str:
        if any(task.id in agent.given for agent in self._agents):
            raise EngineError(f"{task.label} ({task.id}) is under way; wait for its outcome first")
        if not self._agents:  # the last one went with the task before
            raise self._nobody()
        job = f"allocation-{next(self._numbers)}"
        agent = max(self._agents, key=lambda agent: agent.free)
        agent.given[task.id] = _Given(job, task.id, time.monotonic())
        self._states[job] = "running"
        try:
            agent.line.send(task)
        except OSError:
            self._lose(agent)
        return job

    def _listen(self, seconds: float) -> None:
        lines = {agent.line: agent for agent in self._agents}
        for line in wait(list(lines), seconds):
            agent = lines[line]  # type: ignore[index]
            try:
                report = agent.line.recv()
            except (EOFError, OSError):
                self._lose(agent)
                continue
            assert isinstance(report, Report)
            agent.capacity = report.capacity
            for outcome in report.outcomes:
                given = agent.given.pop(outcome.task_id, None)
                if given is not None:  # else it was cancelled meanwhile
                    self._states[given.job] = outcome.state
                    self._ended.append(outcome)
            if report.leaving:
                self._leaving = True
                self._lose(agent)

    def _lose(self, agent: _Agent) -> None:
        """Take leave of an agent; what it still had is lost."""
        self._agents.remove(agent)
        self._gone.append(agent.host)
        agent.line.close()
        message = f"the agent on {agent.host} has gone: its node or its process died"
        for given in agent.given.values():
            self._states[given.job] = "lost"
            seconds = time.monotonic() - given.started
            lost = Outcome(given.task_id, "lost", message, retry=True, seconds=seconds)
            self._ended.append(dataclasses.replace(lost, cause="node", host=agent.host))

    def _stopping(self) -> bool:
        """Say whether a signal has come, here or at an agent; the first time, stop the agents."""
        if not (self._leaving or self._asked()):
            return False
        if self._deadline == float("inf"):
            self._deadline = time.monotonic() + self._setup.stop_seconds + _END_SECONDS
            for agent in self._agents:
                with suppress(OSError):
                    agent.line.send(Stop())
        return True

    def _nobody(self) -> EngineError:
        return EngineError(
            f"no node is left: the agents on {', '.join(self._gone)} have gone (srun says why, "
            "above). What is finished is kept; run the same command in a new job to go on"
        )

    def _end_agents(self) -> None:
        self._leaving = True
        self._stopping()
        while self._agents and time.monotonic() < self._deadline:
            self._listen(_LOOK_SECONDS)
        for agent in self._agents:  # an agent ends when its line does
            agent.line.close()
        self._agents.clear()
