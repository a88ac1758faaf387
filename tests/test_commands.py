"""Command lines that are printed work when they are pasted into a shell."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from synthtrial import cli, plan
from synthtrial.drive import failure_record
from synthtrial.driver import keep_snapshot
from synthtrial.engines import submissions as subs
from synthtrial.engines.base import Outcome
from synthtrial.plan import build, narrow
from synthtrial.store.artifacts import open_store
from synthtrial.store.attempts import hold
from synthtrial.store.records import RecordWriter
from synthtrial.study import load
from synthtrial.testing.studies import smallest

COMMAND = re.compile(r"`(synthtrial [^`]+)`")


@pytest.fixture
def words(tmp_path):
    """What is typed behind a verb; some of it would mean something else to a shell."""
    place = tmp_path / "a place; with $signs"
    grid = "grid={learning_rate: [0.01, 0.001], batch_size: [64]}"
    return ["digits", grid, f"store.path={place}", "--engine", "slurm"]


@pytest.fixture
def study(words):
    *overrides, _, engine = words[1:]
    return load(words[0], overrides, engine)


@pytest.fixture
def printed(monkeypatch, capsys):
    """Run a verb here and return the command lines that it prints."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["synthtrial", *arguments])
        with pytest.raises(SystemExit):
            cli.main()
        captured = capsys.readouterr()
        return [shlex.split(line)[1:] for line in COMMAND.findall(captured.out + captured.err)]

    return run


def understood(line):
    """Whether the command line takes these words."""
    verb, *arguments = line
    return cli.cli.commands[verb].make_context(verb, arguments)


def failed(study, store):
    """Record that the first task has failed, some time ago."""
    task = next(iter(build(study, store).tasks.values()))
    record = failure_record(study, task, Outcome(task.id, "failed", "why"), 2)
    with RecordWriter(store) as writer:
        writer.append({**record, "started_at": "2026-01-01T00:00:00+00:00"})
    return task


def test_a_shell_reads_back_what_was_typed(words, study):
    echoed = subprocess.run(
        ["sh", "-c", f"printf '%s\\n' {study.command('why', '--id', 'a b')}"],
        capture_output=True,
        text=True,
    )
    assert echoed.stdout.splitlines() == ["synthtrial", "why", *words, "--id", "a b"]


def test_a_study_in_a_file_is_named_by_its_file(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text(load("digits").snapshot().replace("name: digits", "name: another", 1))
    study = load(file)
    assert study.command("run") == f"synthtrial run {file}"
    assert study.replace(["protocol.replicates=7"]).command("run") == study.command("run")


def test_verbs_know_where_if_they_are_told(study):
    has_option = {
        name
        for name, verb in cli.cli.commands.items()
        if any(option.name == "where" for option in verb.params)
    }
    assert has_option == plan._OF_PARTS
    part = narrow(build(study, None), {"arm": "gan", "regimen": "0.1"})
    assert part.command("run").endswith(" --engine slurm --where arm=gan,regimen=0.1")
    assert part.command("cancel") == study.command("cancel")


def test_status_repeats_what_was_typed(words, study, printed):
    part = ["--where", "arm=none"]
    assert printed("status", *words, *part) == [["run", *words, *part]]
    store = open_store(study.store_path)
    assert printed("status", *words, *part) == [["run", *words, *part]]
    failed(study, store)
    (line,) = printed("status", *words)
    assert line == ["run", *words]
    assert understood(line).params["engine"] == "slurm"


def test_why_repeats_what_was_typed(words, study, printed):
    task = failed(study, open_store(study.store_path))
    retry, alone = printed("why", *words, "--id", task.id[:6], "--where", "arm=none")
    assert retry == ["retry", *words, "--where", "arm=none", "--failed"]
    assert alone == ["task", *words, "--id", task.id]
    assert understood(retry).params["where"] == "arm=none"
    assert understood(alone)


def test_retry_takes_a_part_of_a_study(tmp_path, printed):
    overrides = [
        f"store.{name}={tmp_path / name}" for name in ("path", "report_path", "cache_path")
    ]
    study = smallest("digits", *overrides)
    store = open_store(study.store_path)
    keep_snapshot(study, store)
    failed(study, store)
    (snapshot,) = map(str, (store.root / "studies").glob("*.yaml"))
    local = ["engine.workers=1", "--where", "arm=none,stage=grid"]
    assert printed("retry", snapshot, *local, "--failed") == []
    done = [task for task in build(study, store).tasks.values() if task.trial is not None]
    arms = {task.trial.arm for task in done if task.id in build(study, store).done}
    assert arms == {"none"}


def test_logs_and_cancel_repeat_what_was_typed(words, study, printed):
    store = open_store(study.store_path)
    task = next(iter(build(study, store).tasks.values()))
    (line,) = printed("logs", *words, "--id", task.id[:6])
    assert line == ["why", *words, "--id", task.id[:6]]
    assert understood(line)
    folder = subs.new_folder(store, study.name)
    subs.Submission(folder, study.name, study.digest, "packs", 0.0, "77").write()
    assert printed("run", *words, "engine.name=local") == [
        ["cancel", *words[:3], "engine.name=local", *words[3:]]
    ]


def test_a_store_in_use_says_how_to_follow(words, study, printed):
    with hold(open_store(study.store_path), study.name, "slurm"):
        assert printed("run", *words) == [["status", *words]]


def test_what_failed_and_is_forgiven_is_to_do_again(words, study, monkeypatch, capsys):
    store = open_store(study.store_path)
    task = failed(study, store)

    def ready():
        monkeypatch.setattr(sys, "argv", ["synthtrial", "plan", *words, "--json"])
        with pytest.raises(SystemExit):
            cli.main()
        return [item["id"] for item in json.loads(capsys.readouterr().out)["to_do"]]

    assert ready() == []
    subs.forgive(store, study.name)
    assert task.id in ready()


def test_a_printed_command_runs_in_a_shell(words, study):
    open_store(study.store_path)
    binaries = Path(sys.executable).parent
    environment = {**os.environ, "PATH": f"{binaries}:{os.environ['PATH']}"}
    wrong = subprocess.run(
        [binaries / "synthtrial", "why", *words, "--id", "zzz"], capture_output=True, text=True
    )
    lists = next(line for line in COMMAND.findall(wrong.stderr) if " plan " in line)
    pasted = subprocess.run(
        ["sh", "-c", lists], capture_output=True, text=True, env=environment, check=True
    )
    found = json.loads(pasted.stdout)
    assert found["store"] == str(study.store_path)
    assert {item["id"] for item in found["to_do"]} == {
        task.id for task in build(study, None).to_do()
    }
