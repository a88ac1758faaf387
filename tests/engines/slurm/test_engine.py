"""What the engine makes of what jobs left behind, without a SLURM."""

from __future__ import annotations

import logging
import time

import pytest

from synthtrial.engines import submissions as subs
from synthtrial.engines.base import Outcome, Trouble
from synthtrial.engines.slurm.control import standing
from synthtrial.engines.slurm.engine import SlurmEngine
from synthtrial.engines.slurm.watch import log_file
from synthtrial.estimates import Clock
from synthtrial.plan import build
from synthtrial.store.artifacts import open_store
from synthtrial.testing.studies import smallest


@pytest.fixture
def slurm_says(tmp_path, monkeypatch):
    """Put commands of one's own in the place of SLURM's; each notes its calls."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")

    def say(**answers):
        for name, answer in answers.items():
            script = folder / name
            script.write_text(f"#!/bin/sh\necho {name} >> {tmp_path}/calls\n{answer}\n")
            script.chmod(0o755)

    def calls(name):
        log = tmp_path / "calls"
        return log.read_text().split().count(name) if log.exists() else 0

    say.calls = calls
    say(sacct="exit 0", squeue="exit 0")
    return say


@pytest.fixture
def study(tmp_path):
    settings = ("engine.name=slurm", "engine.site=devslurm", f"store.path={tmp_path / 'store'}")
    return smallest("digits", *settings)


@pytest.fixture
def store(study):
    return open_store(study.store_path)


def submitted(store, study, task, *, kind="packs", age=0.0, job_id="77"):
    packs = (subs.Pack({task.id: 1.0}),) if kind == "packs" else ()
    folder = subs.new_folder(store, study.name)
    at = time.time() - age
    made = subs.Submission(folder, study.name, study.digest, kind, at, job_id, packs)
    made.write()
    return made


def told(submission, *outcomes, end=None):
    log = subs.EventLog(submission, 0)
    log.say("begin", node="node1", job="77")
    for outcome in outcomes:
        log.say("start", task=outcome.task_id)
        log.outcome(outcome)
    if end:
        log.say("end", reason=end)
    log.close()


def first(plan, kind):
    return next(task for task in plan.tasks.values() if task.kind == kind)


class TestAdoption:
    def test_news_that_no_driver_has_seen_is_an_outcome_and_counts_once(
        self, slurm_says, store, study
    ):
        plan = build(study, store)
        task = first(plan, "prepare")
        failure = Outcome(task.id, "failed", "why", retry=True, cause="error", host="node1")
        told(submitted(store, study, task), failure, end="done")
        engine = SlurmEngine(store, study)
        assert engine.adopt(plan, Clock(plan, store)) == {}
        engine.submit([task])
        assert engine.wait(0.0) == [failure]

    def test_what_an_earlier_driver_knew_is_said_and_not_reported_again(
        self, slurm_says, store, study
    ):
        plan = build(study, store)
        task = first(plan, "prepare")
        submission = submitted(store, study, task)
        trouble = Trouble(task.id, "error", "why", "node1", "77")
        subs.end(submission, [trouble])
        engine = SlurmEngine(store, study)
        assert engine.adopt(plan, Clock(plan, store)) == {task.id: (trouble,)}
        subs.forgive(store, study.name)
        assert SlurmEngine(store, study).adopt(plan, Clock(plan, store)) == {}


class TestSilentJobs:
    """``sacct`` and ``squeue`` disagree, or do not answer."""

    def outcomes(self, store, study, *, age=0.0, log="", begun=True):
        """What the next driver is told of a task whose job has not said what became of it."""
        plan = build(study, store)
        task = first(plan, "prepare")
        submission = submitted(store, study, task, age=age)
        if begun:
            events = subs.EventLog(submission, 0)
            events.say("begin", node="node1", job="77")
            events.say("start", task=task.id)
            events.close()
        log_file(submission, 0).parent.mkdir()
        log_file(submission, 0).write_text(log)
        engine = SlurmEngine(store, study)
        engine.adopt(plan, Clock(plan, store))
        engine.submit([task])
        return engine.wait(0.0)

    def test_a_job_that_slurm_put_back_into_the_queue_is_alive(self, slurm_says, store, study):
        slurm_says(
            sacct="echo '77|digits-0001|NODE_FAIL|0:0|node1'",
            squeue="echo '77|digits-0001|PENDING|BeginTime|'",
        )
        assert self.outcomes(store, study) == []

    def test_a_node_that_failed_is_named_once_the_job_is_really_over(
        self, slurm_says, store, study
    ):
        slurm_says(sacct="echo '77|digits-0001|NODE_FAIL|0:0|node1'")
        (found,) = self.outcomes(store, study)
        assert (found.state, found.cause, found.host) == ("lost", "node", "node1")
        assert found.retry

    def test_without_an_answer_nothing_has_failed(self, slurm_says, store, study):
        slurm_says(sacct="exit 1", squeue="exit 1")
        assert self.outcomes(store, study) == []

    def test_what_accounting_has_not_heard_of_has_not_failed(self, slurm_says, store, study):
        assert self.outcomes(store, study) == []

    def test_without_accounting_a_job_that_is_gone_is_over(self, slurm_says, store, study):
        slurm_says(sacct="echo accounting storage is disabled >&2; exit 1")
        (found,) = self.outcomes(store, study, age=3600.0)
        assert (found.state, found.cause) == ("lost", "killed")

    def test_a_cancelled_job_is_a_persons_wish(self, slurm_says, store, study):
        slurm_says(sacct="echo '77|digits-0001|CANCELLED by 1000|0:15|node1'")
        (found,) = self.outcomes(store, study)
        assert (found.cause, found.retry) == ("cancelled", False)

    @pytest.mark.parametrize("state", ["CANCELLED by 1000", "FAILED"])
    def test_a_job_that_never_began_is_to_blame_even_if_no_driver_saw_it_end(
        self, slurm_says, store, study, state
    ):
        """Else a detached study would submit it for ever."""
        slurm_says(sacct=f"echo '77|digits-0001|{state}|1:0|node1'")
        (found,) = self.outcomes(store, study, begun=False)
        assert found.state == "lost"
        assert found.retry == (state == "FAILED")

    def test_memory_is_the_cause_where_only_the_log_says_so(self, slurm_says, store, study):
        slurm_says(sacct="echo '77|digits-0001|FAILED|0:9|node1'")
        (found,) = self.outcomes(store, study, log="exceeded memory limit (9 > 8), being killed\n")
        assert found.cause == "memory"
        assert found.message.splitlines()[-1].startswith("job 77 on node1 ended as FAILED")


class TestWaitingForRoom:
    def test_a_submission_that_slurm_refuses_for_a_limit_is_tried_again_later(
        self, slurm_says, store, study, caplog
    ):
        slurm_says(
            sbatch="echo 'sbatch: error: QOSMaxSubmitJobPerUserLimit' >&2; exit 1",
            srun="exit 0",
            sacct="echo '77|digits-0001|RUNNING|0:0|node1'",
        )
        plan = build(study, store)
        submitted(store, study, first(plan, "exhibits"))
        engine = SlurmEngine(store, study)
        engine.adopt(plan, Clock(plan, store))
        engine.submit([first(plan, "prepare")])
        with caplog.at_level(logging.WARNING):
            assert engine.wait(0.0) == []  # at once, as for --detach
            assert engine.wait(1.5) == []  # and not again for a while
        assert slurm_says.calls("sbatch") == 1
        assert caplog.text.count("1 tasks wait to be submitted") == 1
        assert "QOSMaxSubmitJobPerUserLimit" in caplog.text


class TestStanding:
    def test_a_job_that_accounting_has_not_heard_of_is_submitted(self, slurm_says, store, study):
        submitted(store, study, first(build(study, store), "prepare"))
        (found,) = standing(store, study.name)
        assert (found.states, found.tasks, found.alive) == ({"SUBMITTED": 1}, 1, True)

    def test_one_that_goes_on_no_more_is_not_alive(self, slurm_says, store, study):
        slurm_says(sacct="echo '77|digits-0001|FAILED|1:0|node1'")
        submitted(store, study, first(build(study, store), "prepare"), kind="advance")
        (found,) = standing(store, study.name)
        assert (found.kind, found.states, found.alive) == ("advance", {"FAILED": 1}, False)

    def test_one_that_ended_before_python_was_up_names_the_line_and_shows_its_log(
        self, slurm_says, store, study
    ):
        slurm_says(sacct="echo '77|digits-0001|FAILED|127:0|node1'")
        submission = submitted(store, study, first(build(study, store), "prepare"))
        log_file(submission, 0).parent.mkdir()
        script = log_file(submission, 0).with_name("77_submission.sh")
        script.write_text("#!/bin/bash\n\nmodule load cuda || exit\n")
        log_file(submission, 0).write_text("slurm_script: line 3: module: command not found\n")
        (found,) = standing(store, study.name)
        assert found.failed_start is not None
        assert not found.failed_start.python
        assert "\n".join(found.lines()) == (
            "job 77: 1 tasks, 1 failed\n"
            "  77 ended before Python was up, at `module load cuda || exit`: FAILED, exit code "
            f"127:0 on node1; the end of {log_file(submission, 0)}:\n"
            "    | slurm_script: line 3: module: command not found"
        )

    def test_one_whose_python_came_up_and_failed_shows_its_log(self, slurm_says, store, study):
        slurm_says(sacct="echo '77|digits-0001|FAILED|1:0|node1'")
        task = first(build(study, store), "prepare")
        submission = submitted(store, study, task, kind="advance")
        log_file(submission, 0).parent.mkdir()
        log_file(submission, 0).write_text("Starting with JobEnvironment()\nStoreError: full\n")
        (found,) = standing(store, study.name)
        assert found.failed_start is not None
        assert found.failed_start.python
        assert "ended before it did anything: FAILED" in found.lines()[1]
        assert found.lines()[-1].endswith("| StoreError: full")

    @pytest.mark.parametrize("state", ["FAILED", "CANCELLED by 1000", "RUNNING", "COMPLETED"])
    def test_one_that_did_something_or_was_not_to_did_not_fail_to_start(
        self, slurm_says, store, study, state
    ):
        slurm_says(sacct=f"echo '77|digits-0001|{state}|1:0|node1'")
        submission = submitted(store, study, first(build(study, store), "prepare"))
        if state == "FAILED":
            told(submission)
        (found,) = standing(store, study.name)
        assert found.failed_start is None

    def test_the_answer_is_kept_for_some_seconds(self, slurm_says, store, study):
        slurm_says(sacct="echo '77|digits-0001|RUNNING|0:0|node1'")
        submitted(store, study, first(build(study, store), "prepare"))
        assert standing(store, study.name) == standing(store, study.name)
        assert slurm_says.calls("sacct") == 1
