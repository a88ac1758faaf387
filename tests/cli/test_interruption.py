"""Ctrl-C: one line, whatever it came in between."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

from synthtrial import cli

LINE = "stopped; what is finished is kept. Run the same command to go on."


@pytest.fixture
def begun(synthtrial_command, tiny):
    """Start a verb and return it when it has said what there is to do; workers come next."""
    started = []

    def start(verb, *options):
        # A shell has what it starts in the background ignore Ctrl-C, and programs hand that down.
        before = signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            process = subprocess.Popen(
                [*synthtrial_command, verb, "digits", *tiny(), *options],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                start_new_session=True,
            )
        finally:
            signal.signal(signal.SIGINT, before)
        started.append(process)
        assert "packs of one task" in process.stdout.readline()
        return process

    yield start
    for process in started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


@pytest.mark.parametrize(
    ("verb", "seconds"), [("run", 0.0), ("run", 0.4), ("run", 1.0), ("replicate", 0.8)]
)
def test_ctrl_c_while_workers_are_being_started_prints_one_line(begun, verb, seconds):
    process = begun(verb, *(["--to", "3"] if verb == "replicate" else []))
    time.sleep(seconds)
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=60)  # that is, until every process has closed them
    assert errors.strip() == LINE
    assert process.returncode == 130


def test_an_interruption_that_became_another_error_on_its_way_is_still_one(verb, monkeypatch):
    def fails(error):
        def status(**options):
            raise RuntimeError("calling __set_name__") from error

        return status

    command = cli.cli.commands["status"]
    monkeypatch.setattr(command, "callback", fails(KeyboardInterrupt()))
    assert verb("status", "digits")[::2] == (130, f"\n{LINE}\n")
    monkeypatch.setattr(command, "callback", fails(ValueError()))
    monkeypatch.setattr(sys, "argv", ["synthtrial", "status", "digits"])
    with pytest.raises(RuntimeError):  # a defect of ours keeps its traceback
        cli.main()
