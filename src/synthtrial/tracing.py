"""What is known of one task: how it stands, where it was tried, and what to do next."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from synthtrial.engines import submissions as subs
from synthtrial.engines.slurm.watch import log_file
from synthtrial.plan import Plan
from synthtrial.progress import duration, last_line
from synthtrial.store.artifacts import Store
from synthtrial.store.records import read_records
from synthtrial.tasks import Task

_MESSAGE_LINES = 25


@dataclass(frozen=True)
class Try:
    """One job that was given a task.

    Attributes:
        job: SLURM's id.
        log: its log.
        node: where it ran; empty if it has not begun.
        ended: what became of the task there: a state, a cause or ``not begun``.
        seconds: that it took, where that is known.
    """

    job: str
    log: Path
    node: str
    ended: str
    seconds: float | None


def tries(store: Store, study: str, task_id: str) -> list[Try]:
    """Return the jobs that were given a task, oldest first."""
    found = []
    for submission in subs.read_submissions(store, study):
        for index, pack in enumerate(submission.packs):
            if task_id in pack.seconds:
                node, ended, seconds = _story(submission, index, task_id)
                job, log = submission.job(index), log_file(submission, index)
                found.append(Try(job, log, node, ended, seconds))
    return found


def show_why(console: Console, plan: Plan, store: Store, task: Task) -> None:
    """Print one screen about a task."""
    study = plan.study.name
    console.print(f"{task.label}", style="bold")
    console.print(f"  {task.kind} {task.id}")
    console.print(f"  {_state(plan, task)}")
    record = _record(store, task.id)
    if record is not None and record["status"] != "failed":
        console.print(
            f"  ran on {record['host']} by engine {record['engine']}, "
            f"{duration(record['seconds'] or 0)}, from {record['started_at']}"
        )
    known = tries(store, study, task.id)
    for item in known:
        took = "" if item.seconds is None else f" after {duration(item.seconds)}"
        console.print(f"  job {item.job} on {item.node or 'no node yet'}: {item.ended}{took}")
    failure = plan.failures.get(task.id)
    message = failure.message if failure else ""
    if not message:
        said = [t for s in subs.read_submissions(store, study) for t in subs.troubles_of(s)]
        message = next((t.message for t in reversed(said) if t.task_id == task.id), "")
    if message:
        lines = message.strip().splitlines()
        console.print("  last error:")
        for line in lines[-_MESSAGE_LINES:]:
            console.print(f"    {line}")
    if known:
        console.print(f"  log: {known[-1].log}")
    for line in _advice(plan, task, known):
        console.print(f"next: {line}")


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
    if ended == "begun":
        for trouble in subs.troubles_of(submission):
            if trouble.task_id == task_id:
                ended = f"lost ({trouble.cause}): {last_line(trouble.message)}"
    return node, ended, seconds


def _state(plan: Plan, task: Task) -> str:
    failure = plan.failures.get(task.id)
    if task.id in plan.done:
        return "done"
    if failure is not None and failure.diverged:
        return "diverged: its loss was no longer finite, which is a result"
    if failure is not None and failure.final:
        return f"failed, after {failure.attempts} tries"
    blocked = plan.blocked().get(task.id)
    if blocked is not None:
        return f"cannot run: it needs {plan.tasks[blocked].label} ({blocked}), which failed"
    missing = [need for need in task.needs if need not in plan.done]
    if missing:
        return f"waits for {len(missing)} tasks, such as {plan.tasks[missing[0]].label}"
    return "to do"


def _record(store: Store, id_: str) -> dict[str, Any] | None:
    columns = ["trial_id", "status", "host", "engine", "seconds", "started_at"]
    rows = read_records(store).select(columns).to_pylist()
    return next((row for row in rows if row["trial_id"] == id_), None)


def _advice(plan: Plan, task: Task, known: Sequence[Try]) -> list[str]:
    study = plan.study.name
    if task.id in plan.done:
        return []
    blocked = plan.blocked().get(task.id)
    if blocked is not None:
        return [f"`synthtrial why {study} --id {blocked}` says what stands in the way"]
    failure = plan.failures.get(task.id)
    if failure is not None and failure.diverged:
        return ["a lower learning rate is another configuration; this one stays as it is"]
    if failure is not None and failure.final:
        alone = f"`synthtrial task {study} --id {task.id}` runs it here, alone"
        return [f"`synthtrial retry {study} --failed` tries it again", alone]
    if known and known[-1].ended in ("begun", "not begun"):
        return [f"`synthtrial logs {study} --id {task.id}` shows the log of its job"]
    return [f"`synthtrial run {study}` goes on with the study"]
