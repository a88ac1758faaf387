"""Trials on their way through Tune: which pack they go into, and what becomes of it."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from pathlib import Path

from synthtrial.engines.base import Outcome
from synthtrial.engines.ray.asha import CellwiseAsha, cell_of, milestones
from synthtrial.engines.ray.nodes import Nodes
from synthtrial.engines.ray.packs import MOST_TASKS, Pace
from synthtrial.engines.ray.queueing import Given, Queue
from synthtrial.engines.ray.tuning import Event, Session
from synthtrial.engines.ray.worker import Pack, Place
from synthtrial.errors import EngineError
from synthtrial.plan import Plan
from synthtrial.store.artifacts import Store
from synthtrial.study import Study


class Trials:
    """The trials that wait or run.

    Args:
        plan: of the study; earlier trials of it fill the rungs of early stopping.
        store: the store.
        place: of the run.
        nodes: of the cluster.
        folder: that Tune may write in.
        post: has a function called in the thread of the engine.
        report: takes the outcome of a trial.
        lost: takes a trial whose process has gone, with Ray's error.
    """

    def __init__(
        self,
        plan: Plan,
        store: Store,
        place: Place,
        nodes: Nodes,
        folder: Path,
        *,
        post: Callable[[Callable[[], None]], None],
        report: Callable[[Given, Outcome], None],
        lost: Callable[[Given, BaseException], None],
    ) -> None:
        self._plan, self._store, self._place, self._nodes = plan, store, place, nodes
        self._folder, self._post, self._report, self._lost = folder, post, report, lost
        self._pace = Pace()
        self._queue = Queue()
        self._packs: dict[int, tuple[Pack, dict[str, Given]]] = {}
        self._numbers = itertools.count(1)
        self._session: Session | None = None
        self._closing = False

    @property
    def running_packs(self) -> int:
        """Packs that have a worker; it trains their trials one after another."""
        return self._session.running if self._session is not None else 0

    @property
    def queued_packs(self) -> int:
        """Packs that wait for a worker."""
        return max(0, len(self._packs) - self.running_packs)

    def add(self, given: Given) -> None:
        """Take a trial."""
        given.pack = None
        self._queue.push(given)

    def feed(self, room: int, *, others_wait: bool) -> None:
        """Give Tune packs, or have it give back what it holds.

        Args:
            room: workers that are not needed for other tasks.
            others_wait: whether there are any.
        """
        idle = self._session is not None and not self._packs and not self._closing
        if idle and others_wait and (room <= 0 or not self._queue):
            assert self._session is not None
            self._closing = True  # its idle processes hold what others wait for
            self._session.close()
        # Twice as many as can run, so that a worker finds its next pack when it has ended one; but
        # Tune runs what it has wherever there is room, which may be the room that others need.
        most = room if others_wait else 2 * room
        while not self._closing and self._queue and len(self._packs) < most:
            self._give(room)

    def cancel(self, given: Given) -> None:
        """Stop a trial; what else is in its pack goes on in another one."""
        self._queue.remove(given)
        if given.pack is None or self._session is None:
            return
        number = given.pack
        self._packs[number][1].pop(given.task.id)
        if self._session.take_back(number):
            self._end(number, None)
        else:
            self._session.kill(number)

    def take_back(self) -> None:
        """Take back the packs that no worker has begun."""
        for number in list(self._packs):
            if self._session is not None and self._session.take_back(number):
                self._end(number, None)

    def has_begun(self, given: Given) -> bool:
        """Whether a worker has the pack that a trial is in."""
        if given.pack is None or self._session is None:
            return False
        return self._session.has_begun(given.pack)

    def stop(self) -> None:
        """Stop all of them."""
        if self._session is not None:
            self._session.abort()

    @property
    def _study(self) -> Study:
        return self._plan.study

    def _give(self, room: int) -> None:
        if self._session is None:
            self._session = self._open()
        first = self._queue.pop()
        chosen = [first]
        races = self._races(first)
        if not races and not first.alone:
            self._fill(chosen, room)
        pack = Pack(
            next(self._numbers),
            tuple(given.task for given in chosen),
            self._place,
            self._nodes.whole if first.alone else self._nodes.request,
            cell_of(first.task) if races else None,
            self._milestones(first) if races else frozenset(),
        )
        self._packs[pack.number] = (pack, {given.task.id: given for given in chosen})
        for given in chosen:
            given.pack, given.started = pack.number, time.monotonic()
        self._session.give(pack)

    def _fill(self, chosen: list[Given], room: int) -> None:
        target = self._pace.target(self._queue.seconds, room)
        seconds = self._pace.expected(chosen[0].seconds)
        while self._queue and seconds < target and len(chosen) < MOST_TASKS:
            if self._queue.first.alone or self._races(self._queue.first):
                return
            chosen.append(self._queue.pop())
            seconds += self._pace.expected(chosen[-1].seconds)

    def _races(self, given: Given) -> bool:
        """Whether a trial may be stopped early."""
        trial = given.task.trial
        searching = self._study.settings.protocol.search == "asha"
        return searching and trial is not None and trial.stage == "grid"

    def _milestones(self, given: Given) -> frozenset[int]:
        assert given.task.trial is not None
        epochs = self._study.training(given.task.trial.configuration).epochs
        return milestones(self._study.settings.protocol.asha, epochs)

    def _open(self) -> Session:
        settings = self._study.settings
        scheduler = CellwiseAsha(settings.protocol.asha)
        if settings.protocol.search == "asha":
            scheduler.rebuild(self._plan, self._store)
        loud = settings.engine.ray.tune_loggers
        return Session(
            self._study.name,
            self._study.report_path.absolute() / "tune" if loud else self._folder,
            settings.engine.ray.max_failures,
            scheduler,
            lambda event: self._post(lambda: self._heed(event)),
        )

    def _heed(self, event: Event) -> None:
        """Deal with what Tune has to say."""
        if event.kind == "outcomes":
            members = self._packs[event.pack][1]
            for outcome in event.outcomes:
                given = members.pop(outcome.task_id, None)
                if given is not None:  # else it was cancelled meanwhile
                    self._pace.note(given.seconds, outcome.seconds)
                    self._report(given, outcome)
        elif event.kind == "over":
            self._end(event.pack, event.error)
        else:
            self._session, self._closing = None, False
            for number in list(self._packs):
                self._end(number, None)
            if event.error is not None:
                raise EngineError(
                    f"Ray Tune ended unexpectedly: {event.error}. What is finished is kept; run "
                    "the same command again to go on"
                ) from event.error

    def _end(self, number: int, error: BaseException | None) -> None:
        """Report the trial that a pack's process died with; the rest goes into other packs."""
        pack, members = self._packs.pop(number)
        left = [members[task.id] for task in pack.tasks if task.id in members]
        if error is not None and left:
            self._lost(left.pop(0), error)
        for given in left:
            self.add(given)
