"""What any engine calls: run one task and leave its result in the store.

:func:`run_task` sets threads and determinism, never the engine: the same task gives the same bits
whoever runs it. Each kind of task is one function ``(task, context)`` in a module of this package,
imported when the first such task comes.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module

from synthtrial.plan import is_committed
from synthtrial.store.artifacts import Store
from synthtrial.tasks import Task, TaskKind
from synthtrial.work.context import Context

__all__ = ["Context", "run_task"]

_WORK: dict[TaskKind, str] = {
    "prepare": "synthtrial.work.prepare:prepare",
    "split": "synthtrial.work.prepare:split",
    "allocate": "synthtrial.work.generate:allocate_images",
    "reference": "synthtrial.work.reference:train_reference",
    "train_gan": "synthtrial.work.generate:train_generator",
    "synthesize": "synthtrial.work.generate:synthesize",
    "filter": "synthtrial.work.judge:filter_images",
    "assess": "synthtrial.work.judge:assess",
    "trial": "synthtrial.work.trial:run_trial",
    "select": "synthtrial.work.select:select",
    "cams": "synthtrial.work.cams:draw_maps",
    "exhibits": "synthtrial.work.exhibits:exhibit",
}
_NUMERIC: frozenset[TaskKind] = frozenset(
    {"reference", "train_gan", "synthesize", "filter", "assess", "trial", "cams"}
)


def run_task(store: Store, task: Task, context: Context) -> str | None:
    """Run one task; its artifact is committed, or its record is durable, when this returns.

    Running a task again does no harm: the first commit wins.

    Returns:
        None; or, of a trial that diverged, what its record says.

    Raises:
        SynthtrialError: the task cannot succeed as it is; the message is for the user.
    """
    if is_committed(store, task):
        return None
    if task.kind in _NUMERIC:
        context.make_deterministic()
    module, _, name = _WORK[task.kind].partition(":")
    work: Callable[[Task, Context], str | None] = getattr(import_module(module), name)
    return work(task, context)
