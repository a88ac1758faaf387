"""Drive a study: hand what is ready to an engine until nothing is left.

Everything starts from the store. Running a study again is resuming it, whatever ended it before.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from synthtrial.drive import Drive, Listener
from synthtrial.engines import make_engine, uses_gpus
from synthtrial.engines import submissions as subs
from synthtrial.engines.base import DurableEngine
from synthtrial.engines.slurm.costs import check_budget
from synthtrial.errors import ConfigError, StoreBusyError, TrainingError
from synthtrial.estimates import Clock
from synthtrial.history import remember_run
from synthtrial.identity import canonical_json
from synthtrial.plan import Plan, build, find_task, narrow
from synthtrial.store.artifacts import Store, open_store
from synthtrial.store.attempts import hold
from synthtrial.store.files import storage_errors, write_file
from synthtrial.store.records import RecordWriter, compact, seal_abandoned
from synthtrial.store.root import snapshot_file
from synthtrial.study import Study, load
from synthtrial.tasks import Task
from synthtrial.work import Context, run_task


def run(
    study: Study,
    store: Store,
    listener: Listener,
    where: Mapping[str, str] | None = None,
) -> Plan:
    """Run what is missing of a study and return the plan as it then stands.

    Args:
        study: the study.
        store: its store.
        listener: is told what happens.
        where: only trials that match, such as ``{"arm": "gan"}``, and what they need.

    Raises:
        StoreBusyError: another run of this study is alive, or its jobs are in another queue.
        StoreError: the store cannot be written; nothing finished is lost.
    """
    build(study, None)  # what cannot be planned is refused before anything is touched
    with _held(study, store):
        in_flight = subs.open_submissions(store, study.name)
        if in_flight and study.settings.engine.name != "slurm":
            raise StoreBusyError(
                f"{len(in_flight)} submissions of {study.name} to SLURM are not known to be over, "
                f"such as job {in_flight[0].job_id}: go on with --engine slurm, or stop them with "
                f"`{study.command('cancel')}`"
            )
        plan = build(study, store)
        if not in_flight:
            plan.forgive()
            if study.settings.engine.name == "slurm":
                subs.forgive(store, study.name)
        plan = _ready(plan, store, where)
        check_budget(plan, Clock(plan, store, gpu=uses_gpus(study.settings.engine)))
        with make_engine(study, store) as engine, RecordWriter(store) as writer:
            remember_run(study, store)
            Drive(plan, store, engine, writer, listener).loop()
    return plan


def advance(
    study: Study,
    store: Store,
    listener: Listener,
    where: Mapping[str, str] | None = None,
    *,
    forgive: bool = False,
) -> tuple[Plan, str | None]:
    """Submit what is ready, and a small job that does the same when all of it has ended.

    Args:
        study: the study; its engine must be one whose jobs outlive this process.
        store: its store.
        listener: is told what happens.
        where: only trials that match, and what they need.
        forgive: try again what has failed before.

    Returns:
        The plan as it stands, and the id of the job that goes on; None if nothing is left to do.

    Raises:
        ConfigError: the engine cannot do that.
        StoreBusyError: another run of this study is alive.
        StoreError: the store cannot be written; nothing finished is lost.
    """
    build(study, None)
    with _held(study, store):
        if forgive:
            subs.forgive(store, study.name)
        plan = _ready(build(study, store), store, where)
        if forgive:
            check_budget(plan, Clock(plan, store, gpu=uses_gpus(study.settings.engine)))
        engine = make_engine(study, store)
        if not isinstance(engine, DurableEngine):
            raise ConfigError(
                f"the engine '{engine.name}' works only as long as this command runs: leave "
                "--detach away, or use --engine slurm"
            )
        with engine, RecordWriter(store) as writer:
            remember_run(study, store)
            drive = Drive(plan, store, engine, writer, listener)
            listener.started(plan, engine, drive.clock)
            drive.once()
            if drive.idle:
                return plan, None
            arguments = (str(store.root), study.digest, dict(where or {}))
            return plan, engine.continue_with(advance_in_job, *arguments)


def advance_in_job(folder: str, root: str, digest: str, where: Mapping[str, str]) -> None:
    """Go on with a study, in a job of its own; write the report when it is complete.

    Args:
        folder: of the submission of this job.
        root: of the store.
        digest: of the study's snapshot.
        where: as in :func:`advance`.
    """
    from rich.console import Console

    from synthtrial.progress import RunProgress
    from synthtrial.report.page import write_report

    store = open_store(Path(root), create=False)
    study = load(snapshot_file(store, digest))
    subs.end(subs.read_submission(Path(folder)), [])  # whatever comes of it, it is over with this
    with RunProgress(Console(highlight=False, soft_wrap=True, markup=False)) as progress:
        plan, following = advance(study, store, progress, where)
    if following is None and not where:
        print(f"report: {write_report(study, store, plan, study.report_path)}")
    else:
        print(f"job {following} goes on when these have ended")


@contextmanager
def _held(study: Study, store: Store) -> Iterator[None]:
    """Be the only driver of a study, with the store in order before and after."""
    name, engine = study.name, study.settings.engine.name
    with hold(store, name, engine, f"run of {name}", follow=study.command("status")):
        seal_abandoned(store)
        keep_snapshot(study, store)
        try:
            yield
        finally:
            seal_abandoned(store)
            compact(store)


def _ready(plan: Plan, store: Store, where: Mapping[str, str] | None) -> Plan:
    """Return the plan without what has been forgiven and what was not asked for."""
    plan.forgive(before=subs.forgiven(store, plan.study.name).before)
    return narrow(plan, where) if where else plan


def run_one(study: Study, store: Store, id_: str) -> Task:
    """Run one task here, together with the other processes that a launcher started, if any.

    Args:
        study: the study.
        store: its store.
        id_: of the task, or the beginning of it.

    Returns:
        The task; its result is in the store.

    Raises:
        ConfigError: no such task, several, or one whose inputs are still to be made.
        SynthtrialError: of the task.
    """
    plan = build(study, store)
    task = find_task(plan, id_)
    missing = [plan.tasks[need] for need in task.needs if need not in plan.done]
    if missing:
        raise ConfigError(
            f"{task.label} needs {len(missing)} results that are not there yet, such as "
            f"{missing[0].label} ({missing[0].id}); run these first, or `{study.command('run')}`"
        )
    keep_snapshot(study, store)
    remember_run(study, store)
    from synthtrial.synthesis.ranks import joined

    engine = study.settings.engine
    device = Context(store, engine="task", device=engine.device).device
    with (
        joined(device, engine.stuck_seconds) as ranks,
        Context(store, engine="task", device=engine.device, ranks=ranks) as context,
    ):
        message = run_task(store, task, context)
    if message:
        raise TrainingError(f"{task.label} diverged: {message}")
    return task


def keep_snapshot(study: Study, store: Store) -> None:
    """Keep the settings as they were run, for workers and for `plan --why`."""
    path = snapshot_file(store, study.digest)
    with storage_errors(store.root):
        if path.exists():
            os.utime(path)
        else:
            path.parent.mkdir(exist_ok=True)
            write_file(path, study.snapshot().encode())


def smoke(study: Study) -> Study:
    """Return the smallest study that runs each distinct task of this one for two steps."""
    settings = study.settings
    grid = [
        # Every optimiser is another path through the code; another number is not.
        f"grid.{axis}={canonical_json([v for v in values if isinstance(v, str)] or values[:1])}"
        for axis, values in settings.grid.items()
    ]
    # Images of a generator of two steps would pass no judge.
    lenient = [
        f"arms.{name}.filter.on_shortfall=fill"
        for name, arm in study.arms.items()
        if arm.settings.filter is not None
    ]
    own = [name for name, arm in study.arms.items() if "steps" in arm.settings.gan_training]
    # Arms that differ in nothing but these steps must go on to differ.
    short = [f"arms.{name}.gan_training.steps={3 + place}" for place, name in enumerate(own)]
    return study.replace(
        [
            f"regimens=[{min(settings.regimens)}]",
            "protocol.draws=1",
            "protocol.replicates=1",
            "training.max_steps=2",
            "gan_training.steps=2",
            "quality.on_shortfall=warn",
            *lenient,
            *short,
            *grid,
        ]
    )
