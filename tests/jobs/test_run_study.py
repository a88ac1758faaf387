"""jobs/run_study.py: a study submitted to a running Ray cluster by `ray job submit`."""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from synthtrial.engines.ray.slurm_node import free_ports
from synthtrial.plan import build
from synthtrial.store.artifacts import open_store
from synthtrial.store.records import read_records
from synthtrial.study import load

PROGRAM = Path(__file__).parents[2] / "jobs" / "run_study.py"
RAY = Path(sys.executable).parent / "ray"


@pytest.fixture(scope="module")
def submit(tmp_path_factory):
    """Submit the program to a cluster that a person would have started; returns what came of it."""
    token = tmp_path_factory.mktemp("token") / "token"
    token.touch(mode=0o600)
    token.write_text(secrets.token_hex(32))
    port, dashboard, client, agent = free_ports(4)
    environment = os.environ | {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(token),
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_ADDRESS": f"http://127.0.0.1:{dashboard}",
    }
    command = ["start", "--head", "--block", "--num-cpus=2", "--object-store-memory=100000000"]
    command += [f"--port={port}", f"--dashboard-port={dashboard}"]
    # Others may have a cluster here.
    command += [f"--ray-client-server-port={client}"]
    command += [f"--dashboard-agent-listen-port={agent}"]
    command += ["--min-worker-port=0", "--max-worker-port=0"]
    with tempfile.TemporaryDirectory(prefix="rj-", dir="/tmp", ignore_cleanup_errors=True) as short:
        head = subprocess.Popen(
            [RAY, *command, f"--temp-dir={short}"],
            env=environment | {"RAY_ADDRESS": ""},
            stdout=subprocess.DEVNULL,
            start_new_session=True,
        )

        def make(*arguments):
            words = ["job", "submit", "--working-dir", str(PROGRAM.parent), "--"]
            words += [sys.executable, PROGRAM.name, *arguments]
            return subprocess.run([RAY, *words], env=environment, capture_output=True, text=True)

        try:
            deadline = time.monotonic() + 100
            # The dashboard answers before the agent that takes jobs does.
            look = [RAY, "job", "submit", "--no-wait", "--", "true"]
            while subprocess.run(look, env=environment, capture_output=True).returncode:
                assert head.poll() is None
                assert time.monotonic() < deadline
            yield make
        finally:
            head.terminate()  # its processes end with it, and nobody else's
            try:
                head.wait(30)
            except subprocess.TimeoutExpired:
                os.killpg(head.pid, signal.SIGKILL)
                head.wait()


def test_a_study_runs_as_a_job(submit, tiny):
    few = ("regimens=[1.0]", "arms={none: {}}", "protocol.draws=1", "protocol.replicates=1")
    overrides = tiny(*few, "grid={batch_size: [64]}")
    done = submit("digits", *overrides)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "report: " in done.stdout + done.stderr
    study = load("digits", overrides)
    store = open_store(study.store_path, create=False)
    assert build(study, store).complete
    assert set(read_records(store)["engine"].to_pylist()) == {"ray"}


def test_the_exit_status_of_the_run_is_the_jobs(submit, tmp_path):
    done = submit("none-such", f"store.path={tmp_path}/s", f"store.report_path={tmp_path}/r")
    said = done.stdout + done.stderr
    assert done.returncode == 1
    assert "error: " in said
    assert "failed with exit code 2" in said


@pytest.mark.parametrize("missing", ["store.path", "store.report_path"])
def test_a_store_in_the_copy_of_the_working_directory_is_refused(tmp_path, missing):
    given = {"store.path": tmp_path / "store", "store.report_path": tmp_path / "reports"}
    given[missing] = Path("here")
    words = [f"{key}={value}" for key, value in given.items()]
    environment = os.environ | {"RAY_ADDRESS": "127.0.0.1:1"}  # as a job has it
    command = [sys.executable, str(PROGRAM), "digits", *words]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 2
    assert f"error: {missing}=here is not an absolute path" in done.stderr


def test_where_there_is_no_job_it_says_how_one_is_submitted():
    for address in ("", "http://127.0.0.1:8265"):
        environment = os.environ | {"RAY_ADDRESS": address}
        command = [sys.executable, str(PROGRAM), "digits"]
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        assert done.returncode == 2
        assert "no job of a Ray cluster" in done.stderr
