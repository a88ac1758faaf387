from __future__ import annotations

import io

import pytest
from rich.console import Console

from synthtrial import progress
from synthtrial.engines.base import Outcome
from synthtrial.engines.local import LocalEngine
from synthtrial.estimates import Clock
from synthtrial.plan import Failure, build
from synthtrial.progress import RunProgress, duration, stage_totals
from synthtrial.study import load


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0 s"), (59.6, "1 min 00 s"), (200, "3 min 20 s"), (7500, "2 h 05 min")],
)
def test_durations_read_well(seconds, text):
    assert duration(seconds) == text


def test_replicates_that_are_still_to_be_chosen_are_counted():
    plan = build(load("digits"), None)
    totals = stage_totals(plan)
    assert totals["replicate"] == (0, 120, 0)
    assert totals["grid"] == (0, 360, 0)


@pytest.fixture
def run(monkeypatch, store_of_run):
    """Show a run to a file or to a terminal and return what was written."""

    def show(terminal):
        monkeypatch.setattr(progress, "_LINE_SECONDS", 0.0)
        monkeypatch.setattr(progress, "_SHOW_SECONDS", 0.0)
        console = Console(
            file=io.StringIO(), force_terminal=terminal, width=200, markup=False, soft_wrap=True
        )
        plan = build(load("digits"), None)
        engine = LocalEngine(store_of_run, plan.study.settings.engine)
        tasks = list(plan.tasks.values())
        with RunProgress(console) as shown:
            shown.started(plan, engine, Clock(plan, None))
            plan.done.add(tasks[0].id)
            shown.ended(tasks[0], Outcome(tasks[0].id, "done", seconds=1.0), plan)
            plan.failures[tasks[1].id] = Failure(2, "x", final=True)
            message = "Traceback\nValueError: [bad] rows"
            shown.ended(tasks[1], Outcome(tasks[1].id, "failed", message), plan)
            for task in [task for task in tasks if task.kind == "train_gan"]:
                plan.done.add(task.id)
                shown.ended(task, Outcome(task.id, "done", seconds=1.0), plan)
        return console.file.getvalue()

    return show


@pytest.fixture
def store_of_run(tmp_path):
    from synthtrial.store.artifacts import open_store

    return open_store(tmp_path / "store")


def test_lines_in_a_log_say_how_far_at_what_rate_and_how_long_still(run):
    text = run(terminal=False)
    assert "\x1b" not in text
    assert "digits: 0 tasks done before, 580 to do" in text
    assert "1/580 tasks" in text
    first, *_, last = (line for line in text.splitlines() if " tasks; " in line)
    assert "left" not in first, "a quick first task says nothing about the long ones"
    assert "tasks/s, about" in last
    assert "left" in last


def test_a_failure_is_said_at_once_by_its_last_line(run):
    assert "split, draw 0: failed for good: ValueError: [bad] rows" in run(terminal=False)


def test_a_terminal_gets_bars_for_every_stage(run):
    text = run(terminal=True)
    for stage in ("all", "train GANs", "grid trials", "replicate trials"):
        assert stage in text
