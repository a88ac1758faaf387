"""What is known of one task: how it stands, where it was tried, and what to do next."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from synthtrial.engines import submissions as subs
from synthtrial.engines.slurm.queue import last_lines
from synthtrial.engines.slurm.watch import log_file
from synthtrial.plan import Plan, is_committed
from synthtrial.progress import duration, last_line
from synthtrial.store.artifacts import Store
from synthtrial.store.attempts import live
from synthtrial.store.records import read_records
from synthtrial.tasks import ARTIFACT_KINDS, Task

_MESSAGE_LINES = 25
_LOG_LINES = 8


@dataclass(frozen=True)
class Try:
    """One job that was given a task.

    Attributes:
        job: SLURM's id.
        log: its log.
        node: where it ran; empty if it has not begun.
        ended: what became of the task there: a state, a cause, ``begun`` or ``not begun``.
        seconds: that it took, where that is known.
        over: whether nothing of the job can happen any more.
    """

    job: str
    log: Path
    node: str
    ended: str
    seconds: float | None
    over: bool

    @property
    def pending(self) -> bool:
        """Whether the task may still be run by it."""
        return not self.over and self.ended in ("begun", "not begun")


def tries(store: Store, study: str, task_id: str) -> list[Try]:
    """Return the jobs that were given a task, oldest first."""
    found = []
    for submission in subs.read_submissions(store, study):
        for index, pack in enumerate(submission.packs):
            if task_id in pack.seconds:
                node, ended, seconds = _story(submission, index, task_id)
                job, log = submission.job(index), log_file(submission, index)
                over = subs.has_ended(submission)
                found.append(Try(job, log, node, ended, seconds, over))
    return found


def show_why(console: Console, plan: Plan, store: Store, task: Task) -> None:
    """Print one screen about a task."""
    known = tries(store, plan.study.name, task.id)
    console.print(f"{task.label}", style="bold")
    console.print(f"  {task.kind} {task.id}")
    record = _record(store, task.id)
    console.print(f"  {_state(plan, task, known, record)}")
    for line in _places(store, task, known, record):
        console.print(f"  {line}")
    if task.id not in plan.done:
        for line in _last_words(plan, store, task, known):
            console.print(f"  {line}")
    if known:
        console.print(f"  log: {known[-1].log}")
    for line in _advice(plan, store, task, known):
        console.print(f"next: {line}")


def _places(
    store: Store, task: Task, known: Sequence[Try], record: Mapping[str, Any] | None
) -> Iterator[str]:
    """Yield where the task was tried and where its result is."""
    for item in known:
        took = "" if item.seconds is None else f" after {duration(item.seconds)}"
        where = item.node or ("no node yet" if item.pending else "no node")
        yield f"job {item.job} on {where}: {item.ended}{took}"
    if record is not None:
        verb = "failed" if record["status"] == "failed" else "ran"
        yield (
            f"{verb} on {record['host'] or 'an unknown host'} by engine {record['engine']}, "
            f"{duration(record['seconds'] or 0)}, {record['started_at']}"
        )
    if is_committed(store, task):
        yield f"result: {store.root / ARTIFACT_KINDS[task.kind] / task.id}"


def _last_words(plan: Plan, store: Store, task: Task, known: Sequence[Try]) -> list[str]:
    """Return the last error, or what its job has printed last."""
    failure = plan.failures.get(task.id)
    message = failure.message if failure else ""
    if not message:
        submissions = subs.read_submissions(store, plan.study.name)
        said = [trouble for item in submissions for trouble in subs.troubles_of(item)]
        message = next((t.message for t in reversed(said) if t.task_id == task.id), "")
    lines = message.strip().splitlines()[-_MESSAGE_LINES:]
    title = "last error:"
    if known and (known[-1].pending or not lines):
        lines, title = last_lines(known[-1].log, _LOG_LINES), "the end of its job's log:"
    return [title, *(f"  {line}" for line in lines)] if lines else []


def _story(submission: subs.Submission, index: int, task_id: str) -> tuple[str, str, float | None]:
    node, ended, seconds = "", "not begun", None
    for path in subs.event_files(submission, index):
        here = ""
        for event in subs.read_events(path)[0]:
            if event["event"] == "begin":
                here = event["node"]
            elif event["event"] == "start" and event["task"] == task_id:
                node, ended = here, "begun"
            elif event["event"] == "outcome" and event["task_id"] == task_id:
                seconds = event["seconds"]
                cause = f" ({event['cause']})" if event["cause"] else ""
                ended = f"{event['state']}{cause}"
    if ended in ("begun", "not begun"):
        for trouble in subs.troubles_of(submission):
            if trouble.task_id == task_id and trouble.job == submission.job(index):
                node = node or trouble.host
                ended = f"lost ({trouble.cause}): {last_line(trouble.message)}"
    return node, ended, seconds


def _state(plan: Plan, task: Task, known: Sequence[Try], record: Mapping[str, Any] | None) -> str:
    failure = plan.failures.get(task.id)
    if task.id in plan.done and record is not None and record["status"] == "stopped":
        epochs = f"{record['epochs']} epoch{'s' * (record['epochs'] != 1)}"
        return f"stopped early after {epochs}, behind others of its cell, which is a result"
    if task.id in plan.done:
        return "done"
    if failure is not None and failure.diverged:
        return "diverged: its loss was no longer finite, which is a result"
    pending = known[-1] if known and known[-1].pending else None
    if pending is not None and pending.ended == "begun":
        return f"running in job {pending.job} on {pending.node}, as far as that has said"
    if failure is not None and failure.final:
        return f"failed, after {failure.attempts} tries"
    blocked = plan.blocked().get(task.id)
    if blocked is not None:
        return f"cannot run: it needs {plan.tasks[blocked].label} ({blocked}), which failed"
    missing = [need for need in task.needs if need not in plan.done]
    if missing:
        return f"waits for {len(missing)} tasks, such as {plan.tasks[missing[0]].label}"
    if pending is not None:
        return f"waits for its turn in job {pending.job}"
    return "lost, and to do again" if known and known[-1].ended != "not begun" else "to do"


def _record(store: Store, id_: str) -> dict[str, Any] | None:
    columns = ["trial_id", "status", "epochs", "host", "engine", "seconds", "started_at"]
    rows = read_records(store, columns=columns, trial_ids=[id_]).to_pylist()
    return rows[0] if rows else None


def _advice(plan: Plan, store: Store, task: Task, known: Sequence[Try]) -> list[str]:
    failure = plan.failures.get(task.id)
    if task.id in plan.done:
        return ["nothing, it is done"]
    if failure is not None and failure.diverged:
        return ["a lower learning rate is another configuration; this one stays as it is"]
    status = f"`{plan.command('status')}` says how the study stands, and its jobs"
    if known and known[-1].pending:
        log = f"`{plan.command('logs', '--id', task.id)}` shows the log of its job"
        return [log, status] if known[-1].ended == "begun" else [status, log]
    if failure is not None and failure.final:
        return [
            f"`{plan.command('retry', '--failed')}` tries it again",
            f"`{plan.command('task', '--id', task.id)}` runs it here, alone",
        ]
    blocked = plan.blocked().get(task.id)
    if blocked is not None:
        return [f"`{plan.command('why', '--id', blocked)}` says what stands in the way"]
    if any(attempt.study == plan.study.name for attempt in live(store)):
        return [status]
    return [f"`{plan.command('run')}` goes on with the study"]
