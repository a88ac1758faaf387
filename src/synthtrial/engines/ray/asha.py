"""Asynchronous successive halving, cell by cell, by Ray Tune's scheduler.

Trials of one cell compete with each other and with no others: scores of different regimens say
nothing about each other (Li et al. 2020, "A System for Massively Parallel Hyperparameter Tuning",
algorithm 2). A trial that is to be stopped is asked to end by itself, so that its record, with its
curves, is durable before anything else is decided.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ray.tune.schedulers import ASHAScheduler, FIFOScheduler

from synthtrial.config import AshaConfig
from synthtrial.engines.ray.worker import EPOCH, PACK, SCORE, Pack
from synthtrial.plan import Plan
from synthtrial.store.artifacts import Store
from synthtrial.store.records import read_records
from synthtrial.tasks import Cell, Task


def milestones(config: AshaConfig, epochs: int) -> frozenset[int]:
    """Return the epochs at which a trial may be stopped: the rungs below its last epoch."""
    found, rung = set(), config.grace_epochs
    while rung < epochs:
        found.add(rung)
        rung *= config.reduction_factor
    return frozenset(found)


def cell_of(task: Task) -> Cell:
    """Return the cell in which a trial competes: one replicate's, as each chooses for itself."""
    assert task.trial is not None
    return Cell(task.trial.arm, task.trial.regimen, task.trial.replicate)


class CellwiseAsha(FIFOScheduler):
    """One of Tune's ASHA schedulers for each cell.

    Args:
        config: settings.
    """

    def __init__(self, config: AshaConfig) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._config = config
        self._cells: dict[Cell, ASHAScheduler] = {}

    def on_trial_result(self, tune_controller: Any, trial: Any, result: Mapping[str, Any]) -> str:
        """Decide at a milestone; the trial itself is asked to end, and Tune to go on with it."""
        del tune_controller
        pack: Pack = trial.config[PACK]
        if pack.cell is None or EPOCH not in result:
            return str(FIFOScheduler.CONTINUE)
        task_id = pack.tasks[0].id
        if self.decide(pack.cell, task_id, result[EPOCH], result[SCORE]):
            trial.temporary_state.ray_actor.halt.remote()  # arrives before the next step
        return str(FIFOScheduler.CONTINUE)

    def rebuild(self, plan: Plan, store: Store) -> None:
        """Fill the rungs with what trials of earlier runs have reached."""
        mine = {task.id: task for task in plan.tasks.values() if task.trial is not None}
        columns = ["trial_id", "status", "curves"]
        for row in read_records(store, columns=columns).to_pylist():
            task = mine.get(row["trial_id"])
            if task is None or task.trial is None or task.trial.stage != "grid":
                continue
            if row["status"] not in ("done", "stopped") or not row["curves"]:
                continue
            curves = row["curves"]
            rungs = milestones(self._config, plan.study.training(task.trial.configuration).epochs)
            for epoch, score in zip(curves["epoch"], curves["validation_score"], strict=True):
                if epoch in rungs and score is not None:
                    self.decide(cell_of(task), task.id, epoch, score)

    def decide(self, cell: Cell, task_id: str, epoch: int, score: float) -> bool:
        """Say whether a trial is to end here, by what others of its cell had at this epoch."""
        if cell not in self._cells:
            self._cells[cell] = ASHAScheduler(
                time_attr=EPOCH,
                metric=SCORE,
                mode="max",
                max_t=2**31,  # a trial ends by itself with its last epoch
                grace_period=self._config.grace_epochs,
                reduction_factor=self._config.reduction_factor,
            )
        controller: Any = None  # ASHA decides by itself
        contender: Any = _Contender(task_id)
        self._cells[cell].on_trial_add(controller, contender)  # again and again: to the one bracket
        result = {EPOCH: epoch, SCORE: score}
        decision = self._cells[cell].on_trial_result(controller, contender, result)
        return bool(decision == ASHAScheduler.STOP)


@dataclass(frozen=True)
class _Contender:
    """What ASHA needs to know of a trial: a name, which stays when the trial is started again."""

    trial_id: str
