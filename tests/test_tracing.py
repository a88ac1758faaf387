"""What `synthtrial why` shows of a task, in every state that one can be in."""

from __future__ import annotations

import io
import time

import pytest
from rich.console import Console

from synthtrial.drive import failure_record
from synthtrial.engines import submissions as subs
from synthtrial.engines.base import Outcome, Trouble
from synthtrial.engines.slurm.watch import log_file
from synthtrial.plan import build
from synthtrial.store.artifacts import open_store
from synthtrial.store.attempts import hold
from synthtrial.store.records import RecordWriter
from synthtrial.testing.studies import run_here, smallest
from synthtrial.tracing import show_why, tries

ONE_SCREEN = 40


@pytest.fixture
def study(tmp_path):
    places = [f"store.{name}_path={tmp_path / name}" for name in ("report", "cache")]
    return smallest("digits", f"store.path={tmp_path / 'store'}", "engine.name=slurm", *places)


@pytest.fixture
def store(study):
    return open_store(study.store_path)


@pytest.fixture
def first(study):
    """The first task of a kind."""
    plan = build(study, None)
    return lambda kind: next(task for task in plan.tasks.values() if task.kind == kind)


@pytest.fixture
def why(study, store):
    """What is shown of a task; the command lines behind `next:` apart."""

    def ask(task):
        console = Console(file=io.StringIO(), markup=False, soft_wrap=True, highlight=False)
        show_why(console, build(study, store), store, task)
        lines = console.file.getvalue().splitlines()
        assert len(lines) <= ONE_SCREEN
        assert lines[0] == task.label
        assert lines[1] == f"  {task.kind} {task.id}"
        said = [line.strip() for line in lines[2:] if not line.startswith("next: ")]
        return said, [line.removeprefix("next: ") for line in lines if line.startswith("next: ")]

    return ask


@pytest.fixture
def submitted(study, store):
    """Submit tasks in one job each, as far as the store knows."""

    def submit(*tasks, job_id="77", log=""):
        folder = subs.new_folder(store, study.name)
        packs = tuple(subs.Pack({task.id: 1.0}) for task in tasks)
        made = subs.Submission(
            folder, study.name, study.digest, "packs", time.time(), job_id, packs
        )
        made.write()
        log_file(made, 0).parent.mkdir()
        log_file(made, 0).write_text(log)
        return made

    return submit


def begun(submission, task, *outcomes, node="node1"):
    log = subs.EventLog(submission, 0)
    log.say("begin", node=node, job=submission.job(0))
    log.say("start", task=task.id)
    for outcome in outcomes:
        log.outcome(outcome)
    log.close()


@pytest.fixture
def failed(study, store):
    """Record a failure for good."""

    def fail(task, message, **changes):
        outcome = Outcome(task.id, "failed", message, seconds=2.0, cause="error", host="node1")
        with RecordWriter(store) as writer:
            writer.append({**failure_record(study, task, outcome, 2), **changes})

    return fail


def test_of_a_task_that_is_to_do_the_next_thing_is_to_run(why, first, study):
    said, following = why(first("prepare"))
    assert said == ["to do"]
    assert following == [f"`{study.command('run')}` goes on with the study"]


def test_while_a_run_is_alive_there_is_nothing_but_to_follow_it(why, first, store, study):
    with hold(store, study.name, "local"):
        _, (following,) = why(first("prepare"))
    assert following.startswith(f"`{study.command('status')}` ")


def test_a_task_that_waits_names_what_it_waits_for(why, first):
    said, following = why(first("split"))
    assert said == [f"waits for 1 tasks, such as {first('prepare').label}"]
    assert " run " in following[0]


def test_a_task_that_is_done_says_where_it_ran_and_where_its_result_is(
    why, first, study, store, submitted
):
    task = first("prepare")
    done = Outcome(task.id, "done", seconds=65.0, host="node2")
    begun(submitted(task, log="a line\n"), task, done, node="node2")
    run_here(study, store, only=lambda task: task.kind == "prepare")
    said, following = why(task)
    assert said[0] == "done"
    assert said[1] == "job 77 on node2: done after 1 min 05 s"
    result = store.root / "dataset" / task.id
    assert f"result: {result}" in said
    assert result.is_dir()
    assert not any("a line" in line for line in said)
    assert following == ["nothing, it is done"]


def test_a_trial_that_diverged_is_a_result_and_is_not_to_be_repeated(tmp_path):
    wild = ["grid.learning_rate=[1.0e+30]", "grid.optimizer=[momentum]", "training.max_steps=9"]
    study = smallest("digits", f"store.cache_path={tmp_path / 'cache'}").replace(wild)
    store = open_store(tmp_path / "store")
    trial = next(task for task in build(study, None).tasks.values() if task.kind == "trial")
    needed = ("prepare", "split")
    plan = run_here(study, store, only=lambda t: t.kind in needed or t.id == trial.id)
    console = Console(file=io.StringIO(), markup=False, soft_wrap=True, highlight=False)
    show_why(console, plan, store, trial)
    text = console.file.getvalue()
    assert "  diverged: its loss was no longer finite, which is a result\n" in text
    assert " by engine none, " in text
    assert "retry" not in text
    assert "next: a lower learning rate is another configuration" in text


def test_a_task_that_failed_for_good_shows_the_error_and_how_to_try_again(
    why, first, study, failed, submitted
):
    task = first("prepare")
    message = "Traceback:\n" + "".join(f"  line {n}\n" for n in range(90)) + "OSError: no such file"
    submission = submitted(task)
    outcome = Outcome(task.id, "failed", message, seconds=2.0, cause="error", host="node1")
    begun(submission, task, outcome)
    subs.end(submission, [Trouble(task.id, "error", message, "node1", "77")])
    failed(task, message)
    said, following = why(task)
    assert said[:2] == ["failed, after 2 tries", "job 77 on node1: failed (error) after 2 s"]
    assert said[2].startswith("failed on node1 by engine slurm, 2 s, 20")
    assert said[3] == "last error:"
    assert said[-2:] == ["OSError: no such file", f"log: {log_file(submission, 0)}"]
    assert "line 80" in said
    assert "line 1" not in said
    assert following[0] == f"`{study.command('retry', '--failed')}` tries it again"
    assert following[1].startswith(f"`{study.command('task', '--id', task.id)}` ")


def test_a_task_behind_a_failed_one_names_it_and_how_to_ask_about_it(why, first, study, failed):
    failed(first("prepare"), "why")
    said, following = why(first("exhibits"))
    cause = first("prepare")
    assert said == [f"cannot run: it needs {cause.label} ({cause.id}), which failed"]
    ask = study.command("why", "--id", cause.id)
    assert following == [f"`{ask}` says what stands in the way"]


def test_a_task_in_the_queue_waits_for_its_turn_there(why, first, study, submitted):
    task = first("prepare")
    submitted(task, first("split"))
    said, following = why(task)
    assert said[:2] == ["waits for its turn in job 77_0", "job 77_0 on no node yet: not begun"]
    assert following[0].startswith(f"`{study.command('status')}` ")


def test_a_running_task_shows_what_its_job_says(why, first, study, submitted, failed):
    task = first("prepare")
    failed(task, "what went wrong before")
    begun(submitted(task, log="1 of 1 tasks are to do\nstep 7\n"), task)
    said, following = why(task)
    assert said[0] == "running in job 77 on node1, as far as that has said"
    assert said[-4:-1] == ["the end of its job's log:", "1 of 1 tasks are to do", "step 7"]
    assert said[-1].startswith("log: ")
    assert following[0].startswith(f"`{study.command('logs', '--id', task.id)}` ")


def test_a_task_that_was_lost_says_why_and_shows_the_log(why, first, study, store, submitted):
    task = first("prepare")
    submission = submitted(task, log="step 7\n")
    begun(submission, task)
    message = "the end of its log:\n  | step 7\njob 77 on node1 ended as NODE_FAIL (a log)"
    subs.end(submission, [Trouble(task.id, "node", message, "node1", "77")])
    said, following = why(task)
    assert said[0] == "lost, and to do again"
    assert said[1] == ("job 77 on node1: lost (node): job 77 on node1 ended as NODE_FAIL (a log)")
    assert said[2:6] == ["last error:", *(line.strip() for line in message.splitlines())]
    assert said[-1] == f"log: {log_file(submission, 0)}"
    assert following == [f"`{study.command('run')}` goes on with the study"]
    again = submitted(task, job_id="78", log="step 8\n")
    begun(again, task, node="node2")
    said, _ = why(task)
    assert said[0] == "running in job 78 on node2, as far as that has said"
    assert "step 8" in said
    assert "step 7" not in said


def test_a_job_in_which_nothing_began_says_where_it_died(why, first, submitted):
    task = first("prepare")
    submission = submitted(task, log="no such module\n")
    subs.end(submission, [Trouble(task.id, "killed", "ended as FAILED", "node2", "77")])
    said, _ = why(task)
    assert said[:2] == ["lost, and to do again", "job 77 on node2: lost (killed): ended as FAILED"]


def test_a_job_that_passed_a_task_over_leaves_it_to_do(why, first, submitted):
    task = first("prepare")
    subs.end(submitted(task, log="ended: time\n"), [])
    said, following = why(task)
    assert said[:2] == ["to do", "job 77 on no node: not begun"]
    assert said[2:4] == ["the end of its job's log:", "ended: time"]
    assert " run " in following[0]


def test_tries_are_told_oldest_first_and_of_this_study_alone(store, study, first, submitted):
    task = first("prepare")
    for job_id in ("77", "78"):
        begun(submitted(task, job_id=job_id), task)
    assert [item.job for item in tries(store, study.name, task.id)] == ["77", "78"]
    assert tries(store, study.name, first("split").id) == []
    assert tries(store, "another", task.id) == []
