"""The engine that runs a study on a Ray cluster.

Trials go through Tune; GANs that several processes share, or that take long enough to be worth its
start, through Train; everything else is plain tasks of Ray. What is not a trial comes first, as
trials wait for it. While it needs the workers, Tune is given nothing new, and its experiment ends
when all of them are needed; another one begins when there is room again.
"""

from __future__ import annotations

import itertools
import queue
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import ExitStack, suppress
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from synthtrial.engines.base import LIGHT, JobState, Outcome, Trouble
from synthtrial.engines.ray.cluster import Cluster, connected
from synthtrial.engines.ray.demand import Demand, target
from synthtrial.engines.ray.losses import outcome_of
from synthtrial.engines.ray.nodes import Nodes
from synthtrial.engines.ray.packs import text
from synthtrial.engines.ray.queueing import Given, Queue
from synthtrial.engines.ray.seats import Request
from synthtrial.errors import EngineError, InterruptedTrainingError
from synthtrial.estimates import Clock
from synthtrial.plan import Plan
from synthtrial.store.artifacts import Store
from synthtrial.study import Study
from synthtrial.tasks import Task
from synthtrial.work.signals import noticed

if TYPE_CHECKING:  # Ray reads its settings when it is imported: not before the engine starts
    from synthtrial.engines.ray.trials import Trials
    from synthtrial.engines.ray.worker import Place

_SLOTS = 1_000_000  # tasks wait in the engine's own queue, the urgent ones in front
_NOTHING = Request(0.0, 0.0)  # for what need not wait for a processor
_WORTH_TRAIN_SECONDS = 60.0  # Train takes about ten seconds to start
_LOOK_SECONDS = 5.0
_METER_SECONDS = 2.0
_STOP_SECONDS = 25.0  # that trainings may take to save their state; SLURM kills 30 s after SIGTERM


class RayEngine:
    """Runs tasks on a Ray cluster, a private one of this machine unless another was named.

    Args:
        store: the store; all nodes must see it at the same path.
        study: the study.
    """

    name = "ray"
    explains = True

    def __init__(self, store: Store, study: Study) -> None:
        self._store, self._study = store, study
        self._settings = study.settings.engine
        self._plan = Plan(study)
        self._seconds: Callable[[Task], float] = _unknown
        self._others = Queue()
        self._given: dict[str, Given] = {}  # by id of the task
        self._states: dict[str, JobState] = {}
        self._events: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._ready: list[Outcome] = []
        self._numbers = itertools.count()
        self._metered_at = 0.0
        self._stack = ExitStack()
        self._cluster: Cluster | None = None
        self._nodes = Nodes(self._settings, "")
        self._demand = Demand()
        self._place: Place
        self._trials: Trials
        self._asked: Callable[[], bool] = bool
        self._stops_at = float("inf")

    def adopt(self, plan: Plan, clock: Clock) -> Mapping[str, Sequence[Trouble]]:
        """Take note of the plan; nothing of an earlier run is left on a cluster."""
        self._plan, self._seconds = plan, clock.seconds
        self._trials = self._make_trials()
        return {}

    @property
    def slots(self) -> int:
        """Tasks wait in the engine's queue, so there is always room, until it is to stop."""
        return 0 if self._stopping() else _SLOTS

    def preview(self, tasks: Sequence[Task]) -> str:
        """Say how many tasks at a time the cluster would run."""
        if self._cluster is None:
            return text(len(tasks), self._settings)
        shown = f"; dashboard: {self._cluster.dashboard}" if self._cluster.dashboard else ""
        where = f"on {'a private' if self._cluster.private else 'the'} Ray cluster"
        return (
            f"{len(tasks)} tasks, {self._nodes.seats} at a time ({self._nodes.request} each) "
            f"{where} at {self._cluster.address}{shown}"
        )

    def submit(self, tasks: Sequence[Task]) -> list[str]:
        """Take tasks; trials go into packs, together with others."""
        jobs = []
        for task in tasks:
            if task.id in self._given:
                raise EngineError(f"{task.label} ({task.id}) is under way; wait for its outcome")
            given = Given(task, f"ray-{next(self._numbers)}", self._seconds(task))
            self._given[task.id] = given
            self._enqueue(given)
            jobs.append(given.job)
        return jobs

    def states(self, jobs: Sequence[str]) -> Mapping[str, JobState]:
        """Return the state of each job."""
        running = {given.job for given in self._given.values() if given.pack or given.handle}
        return {job: "running" if job in running else self._states[job] for job in jobs}

    def wait(self, timeout_seconds: float) -> list[Outcome]:
        """Return what has ended, waiting at most ``timeout_seconds`` for the first.

        Raises:
            InterruptedTrainingError: a signal asked to stop, and everything that ran has.
            EngineError: no node can ever take what is to do, or Tune has failed.
        """
        deadline = time.monotonic() + timeout_seconds
        while True:
            if not self._stopping():
                self._hand_out()
            self._meter()
            over = bool(self._ready) or not self._given
            left = 0.0 if over else deadline - time.monotonic()
            with suppress(queue.Empty):
                self._events.get(timeout=min(max(0.0, left), _LOOK_SECONDS))()
                while True:  # what else has come meanwhile
                    self._events.get_nowait()()
            if self._ready or not self._given or time.monotonic() >= deadline:
                found, self._ready = self._ready, []
                return self._sift(found) if self._stopping() else found

    def cancel(self, jobs: Sequence[str]) -> None:
        """Stop these jobs; a pack's other trials go on in another one."""
        for given in [given for given in self._given.values() if given.job in jobs]:
            del self._given[given.task.id]
            self._states[given.job] = "lost"
            if given.task.kind == "trial":
                self._trials.cancel(given)
            else:
                self._others.remove(given)
                self._end_task(given)

    def __enter__(self) -> Self:
        """Start or find the cluster and wait until it could take a task.

        Raises:
            EngineError: there is none, or no node of it can take a task.
        """
        with ExitStack() as stack:
            self._cluster = stack.enter_context(
                connected(self._settings, self._store, self._study.name)
            )
            self._nodes = Nodes(self._settings, self._cluster.address)
            stack.callback(self._demand.withdraw)
            self._demand.ask(self._nodes.request, 1)
            self._nodes.wait()
            from synthtrial.engines.ray.worker import Place

            root = self._store.root.absolute()
            self._place = Place(root, self._study.name, self._settings)
            self._trials = self._make_trials()
            stack.callback(self._stop)
            self._asked = stack.enter_context(noticed())
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop what runs, and a cluster that was started here."""
        self._stack.close()

    def _hand_out(self) -> None:
        trains = any(map(self._is_for_train, self._given.values()))
        self._nodes.look(group=self._settings.ray.gan_processes if trains else 1)
        seconds = sum(given.seconds for given in self._given.values())
        self._demand.ask(self._nodes.request, target(len(self._given), seconds))
        self._start_others()
        flying = sum(self._width(given) for given in self._given.values() if given.handle)
        waiting = sum(map(self._width, self._others))
        room = self._nodes.seats - flying - waiting
        self._trials.feed(room, others_wait=flying + waiting > 0)

    def _stopping(self) -> bool:
        """Say whether a signal has come; the first time, have what runs save its state."""
        if not self._asked():
            return False
        if self._stops_at == float("inf"):
            from synthtrial.engines.ray.stopping import ask_all

            self._stops_at = time.monotonic() + _STOP_SECONDS
            self._trials.take_back()
            ask_all()
        return True

    def _sift(self, found: list[Outcome]) -> list[Outcome]:
        """Return what counts of that which has ended while the engine is to stop."""
        # What was interrupted is tried again by the next run, and no fault of its own.
        kept = [outcome for outcome in found if outcome.state != "lost"]
        busy = any(given.handle or self._trials.has_begun(given) for given in self._given.values())
        if not kept and (not busy or time.monotonic() > self._stops_at):
            raise InterruptedTrainingError(
                "asked to stop, as by a time limit; what is finished is kept and trainings have "
                "saved their state. Run the same command, or requeue the job, to go on"
            )
        return kept

    def _make_trials(self) -> Trials:
        from synthtrial.engines.ray.trials import Trials

        assert self._cluster is not None
        return Trials(
            self._plan,
            self._store,
            self._place,
            self._nodes,
            self._cluster.folder / "tune",
            post=self._events.put,
            report=self._report,
            lost=lambda given, error: self._lost(given, error, retried=True),
        )

    def _enqueue(self, given: Given) -> None:
        self._states[given.job] = "queued"
        if given.task.kind == "trial":
            self._trials.add(given)
        else:
            given.handle = None
            self._others.push(given)

    def _start_others(self) -> None:
        """Hand to Ray what there is room for; trials give way to it."""
        busy = sum(self._width(given) for given in self._given.values() if given.handle)
        held: list[Given] = []
        while self._others and len(held) <= self._nodes.seats:
            given = self._others.pop()
            width = self._width(given)
            if width and busy and busy + width > self._nodes.seats:
                held.append(given)
            else:
                busy += width
                self._start(given)
        for given in held:
            self._others.push(given)

    def _start(self, given: Given) -> None:
        from synthtrial.engines.ray import gan, worker

        wanted = self._wanted(given)
        given.started = time.monotonic()
        if self._is_for_train(given):
            function = gan.train.options(name=given.task.label)
        else:
            cpus, gpus = wanted.cpus, wanted.gpus
            function = worker.run_task.options(name=given.task.label, num_cpus=cpus, num_gpus=gpus)
        handle: Any = function.remote(self._place, given.task, wanted)
        given.handle = handle
        handle.future().add_done_callback(
            lambda future: self._events.put(lambda: self._task_ended(given, future))
        )

    def _task_ended(self, given: Given, future: Future[Outcome]) -> None:
        given.handle = None
        error = future.exception()
        if error is None:
            self._report(given, future.result())
        else:
            self._lost(given, error, retried=False)

    def _end_task(self, given: Given) -> None:
        import ray

        if given.handle is not None:
            ray.cancel(given.handle, force=True)

    def _wanted(self, given: Given) -> Request:
        """Return what each process of a task that is no trial is given."""
        if given.task.kind in LIGHT:
            return _NOTHING
        if given.alone:
            return self._nodes.whole
        return self._nodes.of_gan if given.task.kind == "train_gan" else self._nodes.request

    def _width(self, given: Given) -> int:
        """Return how many ordinary tasks could run in the place of one that is no trial."""
        if given.task.kind in LIGHT:
            return 0
        processes = self._settings.ray.gan_processes if self._is_for_train(given) else 1
        return processes * self._nodes.seats_in(self._wanted(given))

    def _is_for_train(self, given: Given) -> bool:
        if given.task.kind != "train_gan":
            return False
        return given.seconds >= _WORTH_TRAIN_SECONDS or self._settings.ray.gan_processes > 1

    def _report(self, given: Given, outcome: Outcome) -> None:
        if self._given.get(given.task.id) is not given:  # it was cancelled meanwhile
            return
        crowded = self._nodes.request != self._nodes.whole
        if outcome.cause == "memory" and crowded and not given.alone:
            given.alone = True
            self._enqueue(given)
            return
        del self._given[given.task.id]
        self._states[given.job] = outcome.state
        self._ready.append(outcome)

    def _lost(self, given: Given, error: BaseException, *, retried: bool) -> None:
        seconds = time.monotonic() - given.started
        self._report(given, outcome_of(given.task, error, seconds=seconds, retried=retried))

    def _meter(self) -> None:
        """Tell Ray's metrics how the trials stand, if that is due."""
        if time.monotonic() - self._metered_at < _METER_SECONDS:
            return
        from synthtrial.engines.ray.meters import count_trials

        self._metered_at = time.monotonic()
        states = Counter(dict.fromkeys(("done", "failed", "running", "waiting"), 0))
        for task in self._plan.tasks.values():
            if task.trial is not None:
                ended = "done" if task.id in self._plan.done else "failed"
                states[ended if self._plan.is_settled(task.id) else "waiting"] += 1
        states["running"] = min(self._trials.running_packs, states["waiting"])
        states["waiting"] -= states["running"]
        count_trials(self._study.name, states, self._trials.queued_packs)

    def _stop(self) -> None:
        self._trials.stop()
        for given in self._given.values():
            self._end_task(given)


def _unknown(_task: Task) -> float:
    return 1.0
