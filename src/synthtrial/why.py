"""Why a task is to do: the settings that set it apart from the study's last run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from synthtrial.errors import ConfigError
from synthtrial.identity import canonical_json
from synthtrial.plan import Plan, build
from synthtrial.store.artifacts import Store
from synthtrial.store.root import snapshot_files
from synthtrial.study import Study, load
from synthtrial.tasks import Task, same_task

_NEVER_RUN = "never run in this store"
_UNFINISHED = "planned before, not finished yet"


def reasons(plan: Plan, store: Store) -> dict[tuple[str, str], int]:
    """Count the tasks to do by (kind, reason).

    A reason names each setting that differs from the latest other version of the study that ran in
    this store, with both values; a difference that comes from upstream is named where it arose.
    """
    previous = _previous(plan.study, store)
    twins = {same_task(task): task for task in previous.tasks.values()} if previous else {}
    counts: Counter[tuple[str, str]] = Counter()
    for task in plan.to_do():
        twin = twins.get(same_task(task))
        if previous is None or twin is None:
            reason = _NEVER_RUN
        elif twin.id == task.id:
            reason = _UNFINISHED
        else:
            found = dict.fromkeys(_differences(task, twin, plan, previous))
            reason = "; ".join(found)
        counts[task.kind, reason] += 1
    return dict(counts)


def _previous(study: Study, store: Store) -> Plan | None:
    """Return the plan of the newest other snapshot of this study, or of its own where it ran."""
    paths = snapshot_files(store)
    mine = [path for path in paths if path.stem == study.digest]
    for path in [*(path for path in paths if path not in mine), *mine]:
        try:
            other = load(path)
        except ConfigError:
            continue  # of a study that no longer loads here, most likely another one
        if other.name == study.name:
            return build(other, store)
    return None


def _differences(task: Task, twin: Task, plan: Plan, previous: Plan) -> Iterator[str]:
    yield from _compare(task.payload, twin.payload, task.kind, plan, previous)


def _compare(new: Any, old: Any, where: str, plan: Plan, previous: Plan) -> Iterator[str]:
    if canonical_json(new) == canonical_json(old):
        return
    if isinstance(new, Mapping) and isinstance(old, Mapping):
        for key in sorted({*new, *old}):
            inner = f"{where}.{key}"
            yield from _compare(new.get(key), old.get(key), inner, plan, previous)
    elif isinstance(new, list) and isinstance(old, list) and len(new) == len(old):
        for one, other in zip(new, old, strict=True):
            yield from _compare(one, other, where, plan, previous)
    elif isinstance(new, str) and new in plan.tasks and old in previous.tasks:
        upstream, before = plan.tasks[new], previous.tasks[old]
        yield from _compare(upstream.payload, before.payload, upstream.kind, plan, previous)
    else:
        yield f"{where}: {_show(old)} -> {_show(new)}"


def _show(value: Any) -> str:
    return "default" if value is None else canonical_json(value)
