"""Trials through Ray Tune: one experiment that is fed packs as long as there are any.

Tune places packs on the cluster, reuses its actors from one pack to the next and starts again what
a lost process or node was running. None of its state is needed to resume a study.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import ray
from ray import tune
from ray.tune.search import Searcher

from synthtrial.data.regimens import regimen_label
from synthtrial.engines.base import Outcome
from synthtrial.engines.ray.asha import CellwiseAsha
from synthtrial.engines.ray.losses import UnknownLossError
from synthtrial.engines.ray.worker import AGAIN, OUTCOMES, PACK, Pack, Packs

_ENDS_SECONDS = 30.0  # for Tune to end after it was asked to
_MOST_NAMES = 500  # of steps; some of Ray's metrics have a label for each name that there ever was


@dataclass(frozen=True)
class Event:
    """What a session has to say.

    Attributes:
        kind: ``outcomes`` of tasks of a pack; ``over``, the pack has ended; ``closed``, the session
            has ended.
        pack: number of the pack, or -1.
        outcomes: of tasks.
        error: that ended the pack or the session, if one did.
    """

    kind: Literal["outcomes", "over", "closed"]
    pack: int = -1
    outcomes: tuple[Outcome, ...] = ()
    error: BaseException | None = None


class Session:
    """One Tune experiment, in a thread of its own.

    Args:
        name: of the experiment, for people.
        folder: that Tune may write in.
        max_failures: how often a pack is started again.
        scheduler: decides on early stopping.
        say: takes events; called from the session's thread.
    """

    def __init__(
        self,
        name: str,
        folder: Path,
        max_failures: int,
        scheduler: CellwiseAsha,
        say: Callable[[Event], None],
    ) -> None:
        self._feed = _Feed()
        self._watch = _Watch(say)
        self._say = say
        self._thread = threading.Thread(
            target=self._run, args=(name, folder, max_failures, scheduler), name="tune", daemon=True
        )
        self._thread.start()

    def give(self, pack: Pack) -> None:
        """Have Tune run a pack, after those it was given before."""
        self._feed.packs.append(pack)

    @property
    def running(self) -> int:
        """Packs that a process has begun; it trains their trials one after another."""
        return len(self._watch.trials)

    def take_back(self, number: int) -> bool:
        """Take back a pack that Tune has not taken yet."""
        for pack in list(self._feed.packs):
            if pack.number == number:
                try:
                    self._feed.packs.remove(pack)
                except ValueError:  # just now
                    return False
                return True
        return False

    def has_begun(self, number: int) -> bool:
        """Whether a pack has a process."""
        return number in self._watch.trials

    def kill(self, number: int) -> None:
        """End the process of a pack; Tune does not start it again."""
        trial = self._watch.trials.get(number)
        if trial is not None:
            trial.max_failures = 0
            actor = trial.temporary_state.ray_actor
            if actor is not None:
                ray.kill(actor)

    def close(self) -> None:
        """Have the session end when its packs have."""
        self._feed.closed = True

    def abort(self) -> None:
        """End the session and everything that it runs."""
        self._feed.packs.clear()
        self._feed.closed = True
        self._watch.aborted = True
        for number in list(self._watch.trials):
            self.kill(number)
        self._thread.join(_ENDS_SECONDS)

    def _run(self, name: str, folder: Path, max_failures: int, scheduler: CellwiseAsha) -> None:
        error: BaseException | None = None
        try:
            tune.Tuner(
                Packs,
                tune_config=tune.TuneConfig(
                    search_alg=self._feed, scheduler=scheduler, num_samples=-1, reuse_actors=True
                ),
                run_config=tune.RunConfig(
                    name=name,
                    storage_path=str(folder),
                    verbose=0,
                    callbacks=[self._watch],
                    stop=_Abort(self._watch),
                    failure_config=tune.FailureConfig(max_failures=max_failures),
                    checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
                ),
            ).fit()
        except Exception as problem:  # noqa: BLE001 - whatever it is, the run must hear of it
            error = problem
        self._say(Event("closed", error=error))


class _Shared:
    """Pickled, it is an empty one of its kind.

    Tune keeps copies of what it is given, to restore an experiment, which never happens here; and
    what these hold belongs to this process.
    """

    def __reduce__(self) -> Any:
        return type(self).blank, ()

    @classmethod
    def blank(cls) -> Any:
        return cls.__new__(cls)


class _Feed(_Shared, Searcher):
    """Suggests the packs that it was given."""

    def __init__(self) -> None:
        super().__init__()
        self.packs: deque[Pack] = deque()
        self.closed = False

    def suggest(self, trial_id: str) -> Any:
        del trial_id
        try:
            return {PACK: self.packs.popleft()}
        except IndexError:
            return Searcher.FINISHED if self.closed else None

    def on_trial_complete(self, trial_id: str, result: Any = None, error: bool = False) -> None:
        """Learn nothing from it."""

    def save(self, checkpoint_path: str) -> None:
        """Keep nothing."""

    def restore(self, checkpoint_path: str) -> None:
        """Restore nothing."""


class _Watch(_Shared, tune.Callback):
    """Passes on what becomes of packs."""

    def __init__(self, say: Callable[[Event], None]) -> None:
        self.say = say
        self.trials: dict[int, Any] = {}
        self.names: set[str] = set()
        self.aborted = False

    def on_trial_start(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        del iteration, trials, info
        self.trials[trial.config[PACK].number] = trial
        self._name_next_step(trial)

    def on_trial_result(
        self, iteration: int, trials: Any, trial: Any, result: Any, **info: Any
    ) -> None:
        del iteration, trials, info
        pack: Pack = trial.config[PACK]
        outcomes = tuple(result[OUTCOMES])
        if outcomes:
            # What is started again, if it comes to that, is what is left.
            trial.config[PACK] = pack.without([outcome.task_id for outcome in outcomes])
            self._name_next_step(trial)
            self.say(Event("outcomes", pack.number, outcomes))

    def on_trial_recover(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        del iteration, trials, info
        trial.config[AGAIN] = True

    def on_trial_complete(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        del iteration, trials, info
        self._over(trial, None)

    def on_trial_error(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        del iteration, trials, info
        self._over(trial, trial.get_pickled_error() or UnknownLossError())

    def _name_next_step(self, trial: Any) -> None:
        """Show in Ray's dashboard which trial runs where: by names of tasks, titles of processes.

        Ray asks a reused actor but once for its ``repr``.
        """
        actor, left = trial.temporary_state.ray_actor, trial.config[PACK].tasks
        if actor is None or not left:
            return
        name = left[0].label
        if name not in self.names:
            if len(self.names) >= _MOST_NAMES:
                name = f"{left[0].trial.arm}, regimen {regimen_label(left[0].trial.regimen)}"
            self.names.add(name)
        vars(actor).pop("train", None)
        actor.train = actor.train.options(name=name)

    def _over(self, trial: Any, error: BaseException | None) -> None:
        number = trial.config[PACK].number
        self.trials.pop(number, None)
        self.say(Event("over", number, error=error))


class _Abort(_Shared, tune.Stopper):
    """Ends the experiment when the session is aborted."""

    def __init__(self, watch: _Watch) -> None:
        self._watch = watch

    def __call__(self, trial_id: str, result: Any) -> bool:
        del trial_id, result
        return False

    def stop_all(self) -> bool:
        return self._watch.aborted
