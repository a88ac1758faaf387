from __future__ import annotations

import pytest
from ray.exceptions import NodeDiedError, OutOfMemoryError, RayActorError, RayTaskError

from synthtrial.engines.ray.losses import UnknownLossError, outcome_of
from synthtrial.errors import DataError, StoreError
from synthtrial.tasks import Task

TASK = Task("trial", "a" * 16, "a trial", (), {}, "")


def outcome(error, *, retried=False):
    return outcome_of(TASK, error, seconds=3.0, retried=retried)


def died(text):
    return RayActorError(error_msg=text)


def carried(error):
    """As Ray wraps what a task raised."""
    return RayTaskError("run_task", "Traceback", error).as_instanceof_cause()


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        (NodeDiedError("node"), "node"),
        (died("The actor died because its node has died. Node Id: ab"), "node"),
        (OutOfMemoryError("Task was killed due to the node running low on memory."), "memory"),
        (died("killed due to the node running low on memory"), "memory"),
        (died("The actor died unexpectedly before finishing this task."), "killed"),
        (carried(ZeroDivisionError("division by zero")), "error"),
    ],
)
def test_what_ray_says_becomes_a_cause_and_another_try(error, cause):
    found = outcome(error)
    assert (found.state, found.cause, found.retry, found.fatal) == ("lost", cause, True, False)
    assert found.message
    assert found.seconds == 3.0


def test_what_kills_its_process_again_and_again_is_not_tried_for_ever():
    assert not outcome(died("died unexpectedly"), retried=True).retry
    assert outcome(NodeDiedError("node"), retried=True).retry  # says nothing of the trial
    assert outcome(UnknownLossError(), retried=True).retry  # nor does this; its tries are counted
    assert outcome(UnknownLossError(), retried=True).cause == "killed"


def test_a_deliberate_error_arrives_as_it_was_said():
    found = outcome(carried(DataError("no class '8'")))
    assert (found.state, found.retry, found.fatal) == ("failed", False, False)
    assert found.message == "no class '8'"
    assert outcome(carried(StoreError("the disk is full"))).fatal
