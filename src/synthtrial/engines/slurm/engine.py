"""The engine that submits jobs, and can be taken over by another process at any time.

What it knows is in the store: submissions, the events that their jobs write, and the results. A
new driver adopts what an old one left. Nothing is cancelled when a driver ends.
"""

from __future__ import annotations

import dataclasses
import getpass
import logging
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from types import TracebackType
from typing import Any, Self

from synthtrial.engines import submissions as subs
from synthtrial.engines.base import LIGHT, Cause, JobState, Outcome, Trouble, attempt
from synthtrial.engines.slurm import packs, script
from synthtrial.engines.slurm.job import run_pack
from synthtrial.engines.slurm.queue import Queue, cancel, controller_settings, submit_limit
from synthtrial.engines.slurm.sites import Site, load_site
from synthtrial.engines.slurm.watch import PATIENCE_SECONDS, Job, Watch
from synthtrial.engines.source import snapshot, source_path
from synthtrial.engines.submissions import Pack, Submission
from synthtrial.errors import EngineError
from synthtrial.estimates import Clock
from synthtrial.plan import Plan
from synthtrial.store.artifacts import Store
from synthtrial.study import Study
from synthtrial.tasks import Task
from synthtrial.work import Context

_logger = logging.getLogger(__name__)

_SLOTS = 1_000_000  # waiting costs nothing here: jobs wait in SLURM's queue
_LOOK_SECONDS = 1.0  # between two looks at the events of running jobs
_GATHER_SECONDS = 5.0  # tasks that become ready one after another share a submission
_ELSEWHERE: frozenset[Cause] = frozenset({"node", "killed", "error"})


class SlurmEngine:
    """Runs tasks as packs in SLURM jobs; a job's name here is the id of its task."""

    name = "slurm"
    explains = True

    def __init__(self, store: Store, study: Study) -> None:
        self._store = store
        self._study = study
        self._settings = study.settings.engine
        self._site: Site = load_site(self._settings)
        self._plan = Plan(study)
        self._seconds: Callable[[Task], float] = lambda _task: 60.0
        self._buffer: dict[str, Task] = {}
        self._given: dict[str, Task] = {}  # by the driver, and not reported back
        self._ready: list[Outcome] = []
        self._early: dict[str, Outcome] = {}  # of tasks that the driver has not given yet
        self._watch = Watch(self._site.poll_seconds, self._could_run)
        self._troubles: dict[str, list[Trouble]] = defaultdict(list)
        self._states: dict[str, JobState] = {}
        self._gathered_at = self._looked_at = 0.0
        self._limits: tuple[int, int | None] | None = None
        self._refused = ""  # why the last submission has to wait

    @property
    def slots(self) -> int:
        """Tasks wait in SLURM's queue, so there is always room."""
        return _SLOTS

    @property
    def site(self) -> Site:
        """Profile of the cluster."""
        return self._site

    def consider(self, plan: Plan, clock: Clock) -> None:
        """Take note of what the tasks belong to and how long they should take."""
        self._plan, self._seconds = plan, clock.seconds

    def adopt(self, plan: Plan, clock: Clock) -> Mapping[str, Sequence[Trouble]]:
        """Take over what earlier drivers of the study have submitted.

        Returns:
            What earlier drivers knew to have gone wrong, by task. What they did not come to know
            is an outcome like any other, and counts when :meth:`wait` reports it.
        """
        self.consider(plan, clock)
        forgiven = subs.forgiven(self._store, self._study.name).up_to
        for submission in subs.read_submissions(self._store, self._study.name):
            if submission.kind != "packs":
                continue
            if subs.has_ended(submission):
                if submission.number > forgiven:
                    for trouble in subs.troubles_of(submission):
                        self._troubles[trouble.task_id].append(trouble)
            elif (found := self._identified(submission)) is not None:
                self._watch.add(found)
        known = {id_: tuple(troubles) for id_, troubles in self._troubles.items()}
        self._look()
        return known

    def preview(self, tasks: Sequence[Task]) -> str:
        """Say how many jobs would share those of the tasks that could run now."""
        ready = [task for task in tasks if self._plan.is_ready(task)]
        jobs = len(self._dealt([task for task in ready if task.kind not in LIGHT]))
        width = self._site.workers(self._settings)
        return f"{len(ready)} could run now, in {jobs} SLURM jobs of {width} tasks at a time"

    def scripts(self, tasks: Sequence[Task]) -> list[str]:
        """Return the sbatch files that would be submitted for tasks that are ready."""
        count = len(self._dealt([task for task in tasks if task.kind not in LIGHT]))
        known = subs.read_submissions(self._store, self._study.name)
        number = max((submission.number for submission in known), default=0)
        texts = []
        for size in self._array_sizes(count):
            number += 1
            folder = subs.jobs_folder(self._store, self._study.name) / f"{number:04d}" / "slurm"
            name = subs.job_name(self._study.name, number)
            wanted = script.parameters(self._site, name, source_path(self._store))
            texts.append(script.text(self._site, folder, wanted, size))
        return texts

    def submit(self, tasks: Sequence[Task]) -> list[str]:
        """Take tasks; the next :meth:`wait` submits them, together with others."""
        for task in tasks:
            self._given[task.id] = task
            self._states[task.id] = "queued"
            if task.id in self._early:
                self._report(self._early.pop(task.id))
            elif task.id not in self._on_their_way():
                if not self._buffer:
                    self._gathered_at = time.monotonic()
                self._buffer[task.id] = task
        return [task.id for task in tasks]

    def states(self, jobs: Sequence[str]) -> Mapping[str, JobState]:
        """Return the state of each task as the last look found it."""
        return {job: self._states[job] for job in jobs}

    def wait(self, timeout_seconds: float) -> list[Outcome]:
        """Submit what was taken, look at the jobs, and return what has ended."""
        deadline = time.monotonic() + timeout_seconds
        while True:
            self._run_light_tasks()
            gathered = time.monotonic() - self._gathered_at > _GATHER_SECONDS
            at_once = gathered or not self._watch.jobs or timeout_seconds == 0
            if self._buffer and not self._ready and at_once:
                self._flush()
            if time.monotonic() - self._looked_at >= _LOOK_SECONDS or timeout_seconds == 0:
                self._look()
            if self._ready or time.monotonic() >= deadline or not self._given:
                outcomes, self._ready = self._ready, []
                return outcomes
            time.sleep(min(_LOOK_SECONDS, max(0.01, deadline - time.monotonic())))

    def cancel(self, jobs: Sequence[str]) -> None:
        """Forget these tasks, and cancel their jobs; what else these were to run runs elsewhere."""
        wanted = set(jobs)
        hit = [job for job in self._watch.jobs if wanted & job.left]
        cancel([job.id for job in hit])
        for id_ in wanted:
            self._buffer.pop(id_, None)
            self._given.pop(id_, None)
            self._states[id_] = "lost"
        for job in hit:
            self._watch.drop(job)
            self._take_back(job)

    def continue_with(self, function: Callable[..., object], *arguments: Any) -> str:
        """Submit a small job that calls a function when all jobs of this study have ended.

        Args:
            function: of an importable module; it is given the submission's folder first.
            arguments: plain values.

        Returns:
            SLURM's id of the job.
        """
        name = self._study.name
        folder = subs.new_folder(self._store, name)
        submission = Submission(folder, name, self._study.digest, "advance", time.time())
        wanted = script.parameters(
            self._site,
            submission.job_name,
            snapshot(self._store),
            after=self._watch.ids,
            small=True,
        )
        submission.write()
        return self._send(submission, wanted, function, [(str(folder), *arguments)])

    def __enter__(self) -> Self:
        """Find out what SLURM allows."""
        self._limits = self._read_limits()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Leave the jobs as they are: they work for the store, not for this process."""

    # -- submitting

    def _run_light_tasks(self) -> None:
        light = [task for task in self._buffer.values() if task.kind in LIGHT]
        if light:
            with Context(self._store, engine=self.name, device="cpu") as context:
                for task in light:
                    del self._buffer[task.id]
                    self._report(attempt(self._store, task, context))

    def _flush(self) -> None:
        groups: dict[tuple[frozenset[str], bool], list[Task]] = defaultdict(list)
        for task in self._buffer.values():
            known = self._troubles.get(task.id, [])
            avoid = frozenset(t.host for t in known if t.cause in _ELSEWHERE and t.host)
            groups[avoid, any(t.cause == "memory" for t in known)].append(task)
        for (avoid, alone), tasks in groups.items():
            room = self._room()
            if not room:
                self._put_off(f"{len(self._watch.jobs)} jobs are queued, and no more are allowed")
                return
            made = self._dealt(tasks, alone=alone)[:room]
            for size in self._array_sizes(len(made)):
                chosen, made = made[:size], made[size:]
                if not self._submit_array(chosen, avoid):
                    return
                for pack in chosen:
                    for id_ in pack.seconds:
                        self._buffer.pop(id_, None)

    def _dealt(self, tasks: Sequence[Task], *, alone: bool = False) -> list[Pack]:
        after = packs.followers(self._plan, tasks, self._on_their_way())
        units = [[task, *after[task.id]] for task in tasks]
        if alone:  # what ran out of memory has a job for itself
            return [
                packs.deal([u], self._seconds, self._site, self._settings, workers=1)[0]
                for u in units
            ]
        return packs.deal(units, self._seconds, self._site, self._settings) if units else []

    def _submit_array(self, chosen: Sequence[Pack], avoid: Collection[str]) -> bool:
        """Submit packs as one array; False where SLURM wants to be asked again later."""
        name = self._study.name
        folder = subs.new_folder(self._store, name)
        submission = Submission(
            folder,
            name,
            self._study.digest,
            "packs",
            time.time(),
            packs=tuple(chosen),
            resources={"site": self._settings.site, "exclude": sorted(avoid)},
        )
        wanted = script.parameters(
            self._site, submission.job_name, snapshot(self._store), exclude=avoid
        )
        submission.write()  # before SLURM knows of it, so that no job is ever without a record
        arguments = [(str(folder), index) for index in range(len(chosen))]
        try:
            job_id = self._send(submission, wanted, run_pack, arguments)
        except EngineError as error:
            subs.end(submission, [])
            if avoid and "not available" in str(error):  # nothing is left but the failed nodes
                return self._submit_array(chosen, ())
            if self._watch.jobs and "limit" in str(error).lower():
                self._put_off(str(error))
                return False
            raise
        self._refused = ""
        self._watch.add(dataclasses.replace(submission, job_id=job_id))
        return True

    def _put_off(self, reason: str) -> None:
        """Let tasks wait until SLURM may take them; say why, once."""
        self._gathered_at = time.monotonic() + self._site.poll_seconds
        if reason != self._refused:
            self._refused = reason
            _logger.warning("%d tasks wait to be submitted: %s", len(self._buffer), reason)

    def _send(
        self,
        submission: Submission,
        wanted: dict[str, Any],
        function: Callable[..., object],
        arguments: Sequence[Sequence[Any]],
    ) -> str:
        made = script.executor(self._site, submission.folder / "slurm", wanted)
        job_id = script.submit(made, function, arguments)
        dataclasses.replace(submission, job_id=job_id).write()
        return job_id

    def _read_limits(self) -> tuple[int, int | None]:
        settings = controller_settings()
        size = int(settings.get("MaxArraySize", "1001"))
        most = self._site.max_submit or submit_limit(getpass.getuser(), settings)
        return size, most

    def _array_sizes(self, count: int) -> list[int]:
        """Return sizes of arrays that hold so many jobs; the highest index is below the limit."""
        largest = self._limits[0] if self._limits else 1001
        largest = max(1, largest - 1)
        return [min(largest, count - start) for start in range(0, count, largest)]

    def _room(self) -> int:
        most = self._limits[1] if self._limits else None
        return _SLOTS if most is None else max(0, most - len(self._watch.jobs) - 1)

    # -- looking

    def _on_their_way(self) -> set[str]:
        return {id_ for job in self._watch.jobs for id_ in job.pack.seconds} | self._buffer.keys()

    def _look(self) -> None:
        """Take the news of all jobs."""
        self._looked_at = time.monotonic()
        outcomes, troubles, over = self._watch.look()
        for trouble in troubles:
            self._troubles[trouble.task_id].append(trouble)
        for outcome in outcomes:
            self._report(outcome)
        for job in self._watch.jobs:
            self._states |= dict.fromkeys(job.started, "running")
        for job in over:
            self._take_back(job)

    def _could_run(self, id_: str) -> bool:
        """Whether a task waits for nothing but its turn, so that its job may be blamed for it."""
        task = self._plan.tasks.get(id_)
        return task is not None and self._plan.is_ready(task)

    def _take_back(self, job: Job) -> None:
        """Let what a job has left undone wait again."""
        for id_ in job.pack.seconds:
            if id_ in self._given and id_ not in self._on_their_way():
                self._buffer[id_] = self._given[id_]
                self._states[id_] = "queued"

    def _report(self, outcome: Outcome) -> None:
        self._states[outcome.task_id] = outcome.state
        if outcome.task_id in self._given:
            del self._given[outcome.task_id]
            self._ready.append(outcome)
        else:
            self._early[outcome.task_id] = outcome

    def _identified(self, submission: Submission) -> Submission | None:
        """Return a submission with its job's id; None if SLURM never took it."""
        if submission.job_id is not None:
            return submission
        job_id = Queue().find(submission.job_name)
        if job_id is None:
            if time.time() - submission.submitted_at > PATIENCE_SECONDS:
                subs.end(submission, [])
            return None
        found = dataclasses.replace(submission, job_id=job_id)
        found.write()
        return found
