"""What the verbs print, for people and as JSON."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Collection, Mapping
from typing import Any

from rich.console import Console
from rich.table import Table

from synthtrial.engines.ray.cluster import announcement
from synthtrial.engines.ray.head import token_file
from synthtrial.engines.slurm.control import standing
from synthtrial.plan import Plan
from synthtrial.progress import (
    STAGES,
    duration,
    human_bytes,
    last_line,
    preparation,
    preparation_text,
    stage_counts,
)
from synthtrial.store.artifacts import Store
from synthtrial.store.attempts import live
from synthtrial.store.maintenance import collect_garbage, usage
from synthtrial.store.root import PROGRESS_FILE, UNFINISHED
from synthtrial.store.verification import verify_store

_SHOWN_FAILURES = 10
_SHOWN_TASKS = 50


def show_ready(console: Console, plan: Plan) -> None:
    """Print the tasks that could run now, with their ids."""
    ready = list(plan.ready())
    for task in ready[:_SHOWN_TASKS]:
        console.print(f"{task.id}  {task.kind:<11} {task.label}")
    if len(ready) > _SHOWN_TASKS:
        console.print(f"... and {len(ready) - _SHOWN_TASKS} more (`plan --json` has them all)")
    if not ready:
        console.print("No task could run now: everything is done, or waits for one that failed.")


def status_json(plan: Plan, store: Store | None) -> dict[str, Any]:
    """Return what `status` says, for programs."""
    failures = {id_: failure for id_, failure in plan.failures.items() if failure.final}
    return {
        "study": plan.study.name,
        "store": plan.study.settings.store.path,
        "complete": plan.complete,
        "running": _running(plan, store),
        "cluster": _cluster(plan, store),
        "jobs": _jobs(plan, store),
        "preparation": preparation(plan) if store else None,
        "trainings": _trainings(plan, store),
        "stages": stage_counts(plan),
        "failures": [
            {"id": id_, "label": plan.tasks[id_].label, "message": failure.message}
            for id_, failure in failures.items()
        ],
        "blocked": plan.blocked(),
    }


def show_status(console: Console, plan: Plan, store: Store | None) -> None:
    """Print how far the study is."""
    found = status_json(plan, store)
    if store is None:
        console.print(f"no store at {found['store']}: `{plan.command('run')}` starts one")
        return
    console.print(f"{found['study']} in {found['store']}", style="bold")
    for stage, counts in found["stages"].items():
        failed = f", {counts['failed']} failed" if counts["failed"] else ""
        console.print(f"  {STAGES[stage]:<17} {counts['done']}/{counts['total']}{failed}")
    for attempt in found["running"]:
        console.print(
            f"running: process {attempt['pid']} on {attempt['host']} since {attempt['started_at']}"
        )
    if found["cluster"]:
        console.print(f"  {_cluster_line(found['cluster'])}")
    jobs = standing(store, plan.study.name)
    for line in (line for item in jobs for line in item.lines()):
        console.print(f"  {line}")
    if found["preparation"]:
        console.print(f"  preparing: {preparation_text(found['preparation'])}")
    for training in found["trainings"]:
        seen = training["recognised"]
        mean = f", {sum(seen.values()) / len(seen):.0%} of samples recognised" if seen else ""
        console.print(
            f"  {training['label']}: step {training['step']}/{training['steps']}, "
            f"{training['images_per_second']:,.0f} images/s, losses "
            f"G {training['generator_loss']:.3f} D {training['discriminator_loss']:.3f}{mean}; "
            f"samples in {training['samples']}"
        )
    show_failures(console, plan)
    if found["complete"]:
        console.print("complete" + (", with failures" if found["failures"] else ""))
    elif not found["running"] and not any(item.alive for item in jobs):
        mend = ""
        if any(item.failed_start and not item.failed_start.python for item in jobs):
            site = plan.study.settings.engine.site
            mend = (
                f"mend the setup lines of the site '{site}', or its python; "
                f"`{plan.command('doctor')}` tries them in a small job; then "
            )
        console.print(f"not running: {mend}`{plan.command('run')}` goes on where it stopped")


def _cluster(plan: Plan, store: Store | None) -> Mapping[str, Any] | None:
    """Return what the run that is alive has said of its Ray cluster."""
    return announcement(store, plan.study.name) if store and _running(plan, store) else None


def _cluster_line(cluster: Mapping[str, Any]) -> str:
    where = f"Ray cluster at {cluster['address']}"
    if not cluster["dashboard"]:
        return f"{where}, without a dashboard"
    return (
        f"{where}; dashboard: {cluster['dashboard']} on {cluster['host']}, with the token in "
        f"{token_file()}"
    )


def is_alive(plan: Plan, store: Store | None) -> bool:
    """Whether a process or a job works on the study."""
    return bool(_running(plan, store) or any(jobs["alive"] for jobs in _jobs(plan, store)))


def show_failures(console: Console, plan: Plan) -> None:
    """Print what failed for good, why, and what waits for it in vain; each reason once."""
    final = {id_: failure for id_, failure in plan.failures.items() if failure.final}
    reasons: dict[str, list[str]] = {}
    for id_, failure in final.items():
        reasons.setdefault(last_line(failure.message), []).append(plan.tasks[id_].label)
    for reason, labels in list(reasons.items())[:_SHOWN_FAILURES]:
        more = f" and {len(labels) - 1} more" if len(labels) > 1 else ""
        console.print(f"failed: {labels[0]}{more}: {reason}")
    if len(reasons) > _SHOWN_FAILURES:
        left = len(reasons) - _SHOWN_FAILURES
        console.print(f"... for {left} more reasons (status --json has them all)")
    blocked = plan.blocked()
    if blocked:
        console.print(f"{len(blocked)} tasks need one of these and cannot run")
    if any(not failure.diverged for failure in final.values()):
        console.print(f"`{plan.command('run')}` tries failed tasks again")


def shortfall(plan: Plan) -> str:
    """Say in one sentence that the study did not get everywhere; empty where it did.

    A trial that diverged is a result, so it counts only where others wait for it in vain.
    """
    broken = [f for f in plan.failures.values() if f.final and not f.diverged]
    blocked = len(plan.blocked())
    if not broken and not blocked:
        return ""
    causes = broken or [failure for failure in plan.failures.values() if failure.final]
    waiting = f", and {blocked} that need them cannot run" if blocked else ""
    reason = f": {last_line(causes[0].message)}" if causes else ""
    return f"{plan.study.name}: {len(causes)} tasks failed{waiting}{reason}"


def show_stage_seconds(console: Console, seconds: Mapping[str, float]) -> None:
    """Print the processor time that each stage took in this run."""
    parts = [f"{STAGES[stage]} {duration(seconds[stage])}" for stage in STAGES if stage in seconds]
    if parts:
        console.print(f"time over all workers: {', '.join(parts)}")


def verify(store: Store) -> dict[str, Any]:
    """Check the whole store."""
    checked: Counter[str] = Counter()
    problems = []
    for kind, id_, found in verify_store(store):
        checked[kind] += 1
        problems += [{"kind": kind, "id": id_, "file": p.file, "message": p.message} for p in found]
    return {"store": str(store.root), "checked": dict(checked), "problems": problems}


def show_verify(console: Console, found: Mapping[str, Any]) -> None:
    """Print what `verify` found."""
    for problem in found["problems"]:
        where = "/".join(filter(None, (problem["kind"], problem["id"], problem["file"])))
        console.print(f"damaged: {where}: {problem['message']}")
    checked = ", ".join(f"{count} {kind}" for kind, count in found["checked"].items()) or "nothing"
    verdict = f"{len(found['problems'])} problems" if found["problems"] else "all sound"
    console.print(f"checked {checked}: {verdict}")


def show_usage(console: Console, store: Store) -> None:
    """Print what the store takes on disk."""
    table = Table(box=None, pad_edge=False)
    for column in ("kind", "size", "files"):
        table.add_column(column, justify="left" if column == "kind" else "right")
    total_bytes = total_files = 0
    for used in usage(store):
        table.add_row(used.kind, human_bytes(used.bytes), str(used.files))
        total_bytes += used.bytes
        total_files += used.files
    table.add_row("total", human_bytes(total_bytes), str(total_files))
    console.print(table)


def collect(
    console: Console, store: Store, keep: Collection[tuple[str, str]] | None, *, dry_run: bool
) -> None:
    """Remove left-overs, or say what would go."""
    found = collect_garbage(store, keep, dry_run=dry_run)
    for item in found:
        console.print(f"{item.path}: {item.reason}, {human_bytes(item.bytes)}")
    size = human_bytes(sum(item.bytes for item in found))
    verb = "would remove" if dry_run else "removed"
    console.print(f"{verb} {len(found)} left-overs, {size}")


def _running(plan: Plan, store: Store | None) -> list[dict[str, Any]]:
    found = live(store) if store is not None else []
    mine = [attempt for attempt in found if attempt.study == plan.study.name]
    names = ("host", "pid", "started_at", "engine")
    return [{name: getattr(attempt, name) for name in names} for attempt in mine]


def _jobs(plan: Plan, store: Store | None) -> list[dict[str, Any]]:
    """Return how the study's jobs in SLURM's queue stand."""
    if store is None:
        return []
    found = standing(store, plan.study.name)
    return [{**dataclasses.asdict(item), "alive": item.alive} for item in found]


def _trainings(plan: Plan, store: Store | None) -> list[dict[str, Any]]:
    """Return how far the GAN trainings are that have begun and not ended."""
    found = []
    if store is None:
        return []
    for task in plan.tasks.values():
        if task.kind == "train_gan" and task.id not in plan.done:
            folder = store.root / UNFINISHED / task.id
            try:
                known = json.loads((folder / PROGRESS_FILE).read_text())
            except (OSError, ValueError):  # not begun
                continue
            found.append({"label": task.label, "samples": str(folder / "samples"), **known})
    return found
