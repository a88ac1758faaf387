"""Studies through SLURM's queue, on a real cluster of two nodes."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import pytest
from polling import wait_for

from synthtrial.engines import submissions as subs
from synthtrial.plan import build
from synthtrial.store.artifacts import open_store
from synthtrial.store.records import read_records
from synthtrial.study import load
from synthtrial.testing.studies import measured

#: Four trials of the grid and nothing beside.
FEW = (
    "arms={none: {}}",
    "regimens=[1.0]",
    "protocol.draws=1",
    "protocol.replicates=1",
    "grid={learning_rate: [0.01, 0.005, 0.002, 0.001], batch_size: [64], optimizer: [adam]}",
)
SITE = ("engine.site=devslurm", "engine.slurm.poll_seconds=1")


def command(*words, check=True):
    done = subprocess.run(
        [sys.executable, "-m", "synthtrial", *words], capture_output=True, text=True, timeout=240
    )
    assert not check or done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def trained(store):
    """How often each trial was trained."""
    rows = read_records(open_store(store), every_attempt=True)["trial_id"].to_pylist()
    return {id_: rows.count(id_) for id_ in rows}


def queued():
    done = subprocess.run(["squeue", "-h", "-o", "%i %j"], capture_output=True, text=True)
    return done.stdout.splitlines()


@pytest.fixture
def tiny_here(tiny):
    def make(*overrides, folder="one"):
        return tiny(*SITE, *overrides, folder=folder)

    return make


class TestSlurmEngine:
    @pytest.mark.faults
    def test_a_study_ends_with_the_bits_of_the_local_engine(self, slurm, tiny, tiny_here, tmp_path):
        command("run", "digits", *tiny(folder="local"))
        said = command("run", "digits", "--engine", "slurm", *tiny_here())
        assert "report: " in said
        store = tmp_path / "one" / "store"
        assert measured(open_store(store)) == measured(open_store(tmp_path / "local" / "store"))
        assert set(trained(store).values()) == {1}
        engines = set(read_records(open_store(store))["engine"].to_pylist())
        hosts = set(read_records(open_store(store))["host"].to_pylist())
        assert engines == {"slurm"}
        assert hosts <= {"node1", "node2"}

    @pytest.mark.faults
    def test_detached_it_goes_on_by_itself(self, slurm, tiny_here, tmp_path):
        overrides = tiny_here()
        said = command("run", "digits", "--engine", "slurm", "--detach", *overrides)
        assert "goes on when these jobs have ended" in said
        status = command("status", "digits", *overrides)
        assert re.search(r"job \d+: looks what is next", status), status
        page = tmp_path / "one" / "reports" / "digits" / "report.html"
        wait_for(page.exists)
        assert json.loads(command("status", "digits", "--json", *overrides))["complete"]
        assert set(trained(tmp_path / "one" / "store").values()) == {1}

    @pytest.mark.faults
    def test_a_driver_that_was_killed_is_followed_by_one_that_adopts_its_jobs(
        self, slurm, tiny_here, tmp_path
    ):
        overrides = tiny_here("training.epochs=40")
        store = tmp_path / "one" / "store"
        first = subprocess.Popen(
            [sys.executable, "-m", "synthtrial", "run", "digits", "--engine", "slurm", *overrides],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        wait_for(lambda: len(subs.read_submissions(open_store(store), "digits")) >= 2)
        first.kill()
        first.wait()
        command("run", "digits", "--engine", "slurm", *overrides)
        assert set(trained(store).values()) == {1}

    @pytest.mark.faults
    def test_arrays_are_no_larger_than_slurm_allows(
        self, new_slurm, tiny_here, tmp_path, monkeypatch
    ):
        cluster = new_slurm(conf={"MaxArraySize": "4"})
        for name, value in cluster.environment.items():
            monkeypatch.setenv(name, value)
        # Every task that could run gets a job of its own.
        many = ("engine.slurm.start_seconds=0", "engine.slurm.max_jobs=64", *FEW)
        command("run", "digits", "--engine", "slurm", *tiny_here(*many))
        store = open_store(tmp_path / "one" / "store")
        sizes = [len(s.packs) for s in subs.read_submissions(store, "digits")]
        assert max(sizes) == 3
        assert set(trained(store.root).values()) == {1}
        sbatch = next((store.root / "jobs" / "digits").glob("*/slurm/*_submission.sh")).read_text()
        assert "#SBATCH --requeue" in sbatch

    def test_cancel_stops_this_study_and_no_other(self, slurm, tiny_here, tmp_path):
        endless = ("gan_training.steps=1000000", "protocol.replicates=1", "protocol.draws=1")
        mine = tiny_here(*endless, "name=mine")
        other = tiny_here(*endless, "name=other", folder="other")
        for overrides in (mine, other):
            command("run", "digits", "--engine", "slurm", "--detach", *overrides)
        said = command("cancel", "digits", *mine)
        assert "cancelled: " in said
        left = queued()
        assert left
        assert all("other-" in line for line in left)
        again = json.loads(command("status", "digits", "--json", *mine))
        assert again["jobs"] == []
        command("cancel", "digits", *other)
        assert queued() == []


class TestWhatWentWrong:
    @pytest.mark.faults
    def test_a_job_that_never_came_to_python_says_why(self, slurm, tiny_here, tmp_path):
        broken = tiny_here("engine.slurm.setup=[module-that-is-not-there || exit 3]")
        said = command("run", "digits", "--engine", "slurm", *broken, check=False)
        assert re.search(r"job \d+ on node\d ended as FAILED, exit code 3:0", said), said
        plan = build(load("digits", broken), open_store(tmp_path / "one" / "store"))
        (task,) = [task for task in plan.tasks.values() if task.kind == "prepare"]
        why = command("why", "digits", "--id", task.id[:8], *broken)
        assert "failed, after 2 tries" in why
        assert "module-that-is-not-there" in why
        assert re.search(r"job \d+ on node\d: lost \(killed\): ", why)
        assert re.search(r"next: `synthtrial retry digits .* --failed` tries it again", why)
        logs = command("logs", "digits", "--id", task.id[:8], *broken)
        assert "module-that-is-not-there" in logs
        mended = tiny_here()
        assert "report: " in command("retry", "digits", "--failed", "--engine", "slurm", *mended)

    def test_a_detached_study_whose_setup_fails_stands_still_and_status_says_why(
        self, slurm, tiny_here
    ):
        words = tiny_here("engine.slurm.setup=[module-that-is-not-there || exit 3]")
        words += ["--engine", "slurm"]
        command("run", "digits", "--detach", *words)

        def still():
            said = command("status", "digits", *words)
            return said if "not running" in said else None

        status = wait_for(still)
        assert len(re.findall(r"\d+ ended before Python was up, at", status)) == 2, status
        assert "at `module-that-is-not-there || exit 3`: FAILED, exit code 3:0 on node" in status
        assert re.search(r"\| .*module-that-is-not-there: command not found", status)
        assert "not running: mend the setup lines of the site 'devslurm'" in status
        assert "`synthtrial doctor digits" in status
        assert "`synthtrial run digits" in status

    def test_the_second_try_is_made_on_another_node(self, slurm, tiny_here, tmp_path):
        broken = tiny_here("engine.slurm.setup=[exit 3]")
        command("run", "digits", "--engine", "slurm", *broken, check=False)
        known = subs.read_submissions(open_store(tmp_path / "one" / "store"), "digits")
        hosts = [trouble.host for item in known for trouble in subs.troubles_of(item)]
        assert sorted(hosts) == ["node1", "node2"]

    def test_an_account_that_slurm_refuses_is_one_clear_error(self, slurm, tiny_here):
        wrong = tiny_here("engine.slurm.partition=nosuch")
        said = command("run", "digits", "--engine", "slurm", *wrong, check=False)
        assert "invalid partition specified: nosuch" in said
        assert "Traceback" not in said
