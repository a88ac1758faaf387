"""What an error of Ray's means for the task that met it."""

from __future__ import annotations

from synthtrial.engines.base import Cause, Outcome
from synthtrial.errors import StoreError, SynthtrialError
from synthtrial.tasks import Task

_LINES = 12


class UnknownLossError(Exception):
    """A process ended, and Ray does not say of what."""

    def __init__(self) -> None:
        super().__init__("its process ended, and Ray does not say why")


def outcome_of(task: Task, error: BaseException, *, seconds: float, retried: bool) -> Outcome:
    """Return the outcome of a task whose process or node has gone.

    Args:
        task: the task.
        error: what Ray says of it.
        seconds: since it was handed out.
        retried: whether Ray has tried it again already.
    """
    known = _deliberate(error)
    if known is not None:
        fatal = isinstance(known, StoreError)
        return Outcome(task.id, "failed", str(known), fatal=fatal, cause="error", seconds=seconds)
    cause = _cause(error)
    # Of an error that Ray did not hand over nobody knows whether the task or its node was to blame:
    # while a node goes, several tries may meet it in vain. Another pack may try it again.
    again = not (retried and cause == "killed" and not isinstance(error, UnknownLossError))
    return Outcome(task.id, "lost", _short(error), again, cause=cause, seconds=seconds)


def _deliberate(error: BaseException) -> SynthtrialError | None:
    """Return the error of ours that an error of Ray's carries, if it does."""
    found: SynthtrialError | None = None
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, SynthtrialError):
            found = seen  # not the first: Ray makes copies of it that say something else
        seen = getattr(seen, "cause", None) or seen.__cause__
    return found


def _cause(error: BaseException) -> Cause:
    from ray.exceptions import NodeDiedError, OutOfMemoryError, RayTaskError

    text = str(error).lower()
    if isinstance(error, OutOfMemoryError) or "running low on memory" in text:
        return "memory"
    if isinstance(error, NodeDiedError) or "node has died" in text or "node died" in text:
        return "node"
    return "error" if isinstance(error, RayTaskError) else "killed"


def _short(error: BaseException) -> str:
    lines = [line for line in str(error).strip().splitlines() if line.strip()]
    return "\n".join(lines[:_LINES]) or type(error).__name__
