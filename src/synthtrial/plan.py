"""What a study consists of, and what of it the store already has.

:func:`build` spells a study out as tasks, each with the ids of those it needs. A task's id is the
digest of its ``payload``: everything its result depends on, and nothing else. Nothing is stored
about progress; it is read off the artifacts and records every time.

    prepare -> split -> allocate -> reference -> train_gan -> synthesize -> filter -> assess
            -> trial (grid) -> select -> trial (replicate) -> exhibits, cams
"""

from __future__ import annotations

import gc
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from synthtrial.errors import ConfigError, suggest
from synthtrial.graph import cam_task, fixed_tasks, selections, trial_task
from synthtrial.published import published_of
from synthtrial.store.artifacts import Store, exists, read_artifact
from synthtrial.store.records import read_records
from synthtrial.store.records_schema import strings
from synthtrial.study import Study
from synthtrial.tasks import ARTIFACT_KINDS, GRID_REPLICATE, Cell, Task, Trial, in_words

#: Verbs with the option ``--where``.
_OF_PARTS = frozenset({"plan", "run", "retry", "status", "why"})


@dataclass(frozen=True)
class Failure:
    """The last word on a task that did not succeed.

    Attributes:
        attempts: tries so far.
        message: of the last one.
        final: whether this run tries it no more.
        diverged: whether it is a trial whose loss became NaN or infinite: a result, no mishap.
        at: when it was recorded (ISO, UTC), if it was.
    """

    attempts: int
    message: str
    final: bool
    diverged: bool = False
    at: str = ""


@dataclass
class Plan:
    """Tasks in topological order, with what is known of each.

    ``trials`` of stage ``replicate`` appear once the configuration of their cell is chosen.
    """

    study: Study
    tasks: dict[str, Task] = field(default_factory=dict)
    done: set[str] = field(default_factory=set)
    failures: dict[str, Failure] = field(default_factory=dict)
    selections: dict[Cell, str] = field(default_factory=dict)
    where: Mapping[str, str] = field(default_factory=dict)

    def command(self, verb: str, *options: str) -> str:
        """Return the command line of a verb about this plan's study, or the part that is meant."""
        part = ",".join(f"{key}={value}" for key, value in self.where.items())
        where = ["--where", part] if part and verb in _OF_PARTS else []
        return self.study.command(verb, *where, *options)

    @property
    def trials(self) -> list[Trial]:
        """Every trial that is known by now."""
        return [task.trial for task in self.tasks.values() if task.trial is not None]

    @property
    def undecided(self) -> int:
        """Number of replicate trials whose configuration is still to be chosen."""
        blocked = self.blocked()
        return sum(
            len(self._replicates(cell))
            for cell, select in self.selections.items()
            if not self.is_settled(select) and select not in blocked
        )

    @property
    def complete(self) -> bool:
        """Whether nothing is left that could be done."""
        return not self.to_do() and self.undecided == 0

    def is_settled(self, task_id: str) -> bool:
        """Whether the task is done or has failed for good."""
        failure = self.failures.get(task_id)
        return task_id in self.done or (failure is not None and failure.final)

    def is_ready(self, task: Task) -> bool:
        """Whether the task is to do and everything it needs is there.

        A selection also goes on without trials that failed for good, as long as one succeeded.
        """
        if self.is_settled(task.id):
            return False
        if task.kind == "select":
            settled = all(map(self.is_settled, task.needs))
            return settled and any(need in self.done for need in task.needs)
        return all(need in self.done for need in task.needs)

    def ready(self) -> Iterator[Task]:
        """Yield the tasks that could run now."""
        return (task for task in self.tasks.values() if self.is_ready(task))

    def to_do(self) -> list[Task]:
        """Return the tasks that are neither settled nor blocked."""
        blocked = self.blocked()
        return [
            task
            for task in self.tasks.values()
            if task.id not in blocked and not self.is_settled(task.id)
        ]

    def blocked(self) -> dict[str, str]:
        """Return the tasks that can never run, each with the id of the failed task behind it."""
        dead = {id_ for id_, failure in self.failures.items() if failure.final} - self.done
        causes: dict[str, str] = {}
        if not dead:
            return causes
        for task in self.tasks.values():  # topological: causes of needs are known
            if self.is_settled(task.id):
                continue
            lost = [need for need in task.needs if need in causes or need in dead]
            if lost and (task.kind != "select" or len(lost) == len(task.needs)):
                causes[task.id] = causes.get(lost[0], lost[0])
        return causes

    def forgive(self, before: str = "~") -> None:
        """Forget failures, so that their tasks are tried again; divergence is a result and stays.

        What made a task fail may lie outside everything that its id knows: a driver, a disk, a
        package, a mistake in the code that has been mended since.

        Args:
            before: only failures recorded before this time (ISO, UTC); by default all.
        """
        self.failures = {id_: f for id_, f in self.failures.items() if f.diverged or f.at >= before}

    def expand(self, cell: Cell, configuration: Mapping[str, Any]) -> list[Task]:
        """Add the replicate trials of a cell whose configuration has been chosen."""
        added = []
        select = self.selections[cell]
        for replicate in self._replicates(cell):
            task = trial_task(
                self.study, cell, "replicate", replicate, configuration, after=(select,)
            )
            maps = cam_task(self.study, task) if self._draws_maps(cell) else None
            for item in filter(None, (task, maps)):
                if item.id not in self.tasks:
                    self.tasks[item.id] = item
                    added.append(item)
        return added

    def _draws_maps(self, cell: Cell) -> bool:
        """Whether maps may be drawn for a choice: where classes choose, for the first of them."""
        return cell.target in (None, *sorted(self.study.minority)[:1])

    def _replicates(self, cell: Cell) -> list[int]:
        """Return the replicates that a cell is to have."""
        study = self.study
        numbers = range(study.settings.protocol.replicates)
        mine = numbers if cell.replicate is None else [cell.replicate]
        places: list[tuple[int, Mapping[str, Any]]] = [
            (r, {"stage": "replicate", "replicate": r, "draw": r % study.draws}) for r in mine
        ]
        return [
            number
            for number, place in places
            if all(in_words(place[key]) == self.where[key] for key in place if key in self.where)
        ]


@contextmanager
def uncollected() -> Iterator[None]:
    """Keep the garbage collector away from a million new objects, none of them garbage.

    It would walk over all of them again and again, and take half of the time.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


@uncollected()
def build(study: Study, store: Store | None) -> Plan:
    """Spell the study out and look up what the store has of it.

    Args:
        study: the study.
        store: where results are; None plans as if there were none.

    Raises:
        ConfigError: a class that the dataset does not have, or arms that do the same.
    """
    _check_classes(study)
    plan = Plan(study)
    for task in fixed_tasks(study):
        twin = plan.tasks.setdefault(task.id, task)
        if twin.trial and task.trial and twin.trial.arm != task.trial.arm:
            raise ConfigError(
                f"the arms '{twin.trial.arm}' and '{task.trial.arm}' do exactly the same, so "
                "comparing them says nothing: change or remove one"
            )
    for cell, select in selections(study, plan.tasks.values()).items():
        plan.tasks[select.id] = select
        plan.selections[cell] = select.id
    if store is not None:
        _look_up(plan, store)
    return plan


def find_task(plan: Plan, id_: str) -> Task:
    """Return the task of a plan whose id begins so.

    Raises:
        ConfigError: none, or several.
    """
    found = [task for task in plan.tasks.values() if task.id.startswith(id_)]
    if len(found) == 1:
        return found[0]
    task, everything = plan.command("task"), plan.command("plan", "--json")
    raise ConfigError(
        f"--id {id_}: {len(found) or 'no'} tasks of {plan.study.name} have an id that begins "
        f"so; `{task}` lists those that could run now, `{everything}` all that are to do. Give "
        "the same KEY=VALUE overrides as the run"
    )


def is_committed(store: Store, task: Task) -> bool:
    """Whether the artifact that a task makes is in the store; a trial makes none."""
    return task.kind != "trial" and exists(store, ARTIFACT_KINDS[task.kind], task.id)


def has_result(store: Store, study: Study, task: Task) -> bool:
    """Whether the store has what a task leaves: its artifact, or the record of a trial."""
    if task.kind != "trial":
        return is_committed(store, task)
    found = read_records(store, columns=["status"], trial_ids=[task.id])
    return found["status"].to_pylist() in [[s] for s in ("diverged", *_counts_as_done(study))]


def _counts_as_done(study: Study) -> tuple[str, ...]:
    """Return the statuses of records that need no other try in this study.

    What early stopping has ended is a result where the study asks for that, and to be trained to
    its end where it does not.
    """
    return ("done", "stopped") if study.settings.protocol.search == "asha" else ("done",)


def narrow(plan: Plan, where: Mapping[str, str]) -> Plan:
    """Keep the trials that match ``where`` (such as ``{"arm": "gan"}``) and what they need.

    Raises:
        ConfigError: an unknown key, or a value that no trial of the study has.
    """
    study = plan.study
    allowed: dict[str, set[str]] = {
        "arm": set(study.arms),
        "regimen": {in_words(regimen) for regimen in study.settings.regimens},
        "stage": {"grid", "replicate"},
        "draw": {in_words(draw) for draw in range(study.draws)},
        "replicate": {
            in_words(r) for r in (GRID_REPLICATE, *range(study.settings.protocol.replicates))
        },
    }
    wanted = {key: in_words(value) for key, value in where.items()}
    for key, value in wanted.items():
        if key not in allowed:
            raise ConfigError(f"--where: unknown key '{key}': {suggest(key, allowed)}")
        if value not in allowed[key]:
            raise ConfigError(
                f"--where: no trial has {key}={value}: {suggest(value, allowed[key])}"
            )
    kept = Plan(study, done=plan.done, where=wanted)
    keep: set[str] = set()
    for task in reversed(plan.tasks.values()):
        trial = task.trial
        matches = trial is not None and all(
            in_words(getattr(trial, key)) == value for key, value in wanted.items()
        )
        chosen = task.kind == "select" and _is_chosen(kept, task)
        if matches or task.id in keep or chosen:
            keep |= {task.id, *task.needs}
        if chosen:
            keep |= _needs_of_replicates(kept, task)
    keep |= {
        id_
        for id_, task in plan.tasks.items()
        if task.kind == "cams" and task.payload["place"]["trial_id"] in keep
    }
    kept.tasks = {id_: task for id_, task in plan.tasks.items() if id_ in keep}
    kept.failures = {id_: f for id_, f in plan.failures.items() if id_ in keep}
    kept.selections = {cell: id_ for cell, id_ in plan.selections.items() if id_ in keep}
    return kept


def _is_chosen(plan: Plan, select: Task) -> bool:
    """Whether replicates that are asked for wait for this choice."""
    cell = Cell(**select.payload["cell"])
    mine = {"arm": cell.arm, "regimen": in_words(cell.regimen)}
    return bool(plan._replicates(cell)) and all(
        plan.where.get(key, value) == value for key, value in mine.items()
    )


def _needs_of_replicates(plan: Plan, select: Task) -> set[str]:
    """Return what the replicates that wait for a choice need, whatever is chosen.

    They are planned once the choice has been made, and may be on other draws than its trials.
    """
    cell, any_ = Cell(**select.payload["cell"]), plan.study.configurations[0]
    trials = (
        trial_task(plan.study, cell, "replicate", replicate, any_)
        for replicate in plan._replicates(cell)
    )
    return {need for trial in trials for need in trial.needs}


def _check_classes(study: Study) -> None:
    # Before a study has run for days, and not when its report is written.
    published_of(study.settings.statistics.published)
    classes = study.dataset.load().classes
    target = study.settings.statistics.primary.target
    named = {
        "imbalance.classes": study.settings.imbalance.classes,
        "statistics.primary.target": [] if target in ("minority", "overall") else [target],
        "statistics.minority": study.settings.statistics.minority,
        "statistics.overall_classes": study.settings.statistics.overall_classes,
        **{f"arms.{a.name}.augment_only": a.settings.augment_only for a in study.arms.values()},
        **{
            f"arms.{a.name}.balance.classes": a.balance.classes
            for a in study.arms.values()
            if a.balance
        },
    }
    for where, names in named.items():
        for name in names:
            if name not in classes:
                raise ConfigError(
                    f"{where}: the dataset '{study.dataset.name}' has no class '{name}': "
                    f"{suggest(name, classes)}"
                )


def _look_up(plan: Plan, store: Store) -> None:
    plan.done.update(task.id for task in plan.tasks.values() if is_committed(store, task))
    for cell, select in plan.selections.items():
        if select in plan.done:
            added = plan.expand(
                cell, read_artifact(store, "selection", select).info["configuration"]
            )
            plan.done.update(task.id for task in added if is_committed(store, task))
    import pyarrow.compute as pc

    names = ("trial_id", "status", "attempt", "message", "started_at")
    table = read_records(store, columns=names)
    done = pc.is_in(table["status"], strings(_counts_as_done(plan.study)))
    # Of a million trials most are done, and of these no more than the id is looked at.
    plan.done.update(plan.tasks.keys() & table["trial_id"].filter(done).to_pylist())
    rest = table.filter(pc.invert(done))
    columns = [rest[name].to_pylist() for name in names]
    for id_, status, attempt, message, at in zip(*columns, strict=True):
        if id_ in plan.tasks and id_ not in plan.done and status != "stopped":
            plan.failures[id_] = Failure(attempt, message or "", True, status == "diverged", at)
