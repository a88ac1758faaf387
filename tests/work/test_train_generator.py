"""GAN training as users start it: one process or several, killed, asked to stop, resumed."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from synthtrial.cli import main
from synthtrial.plan import build
from synthtrial.store.artifacts import open_store, read_artifact
from synthtrial.study import load
from synthtrial.testing.studies import run_here

STEPS = 100
STUDY = f"""
name: killed
dataset: {{name: digits}}
imbalance: {{classes: [8, 9], remove: 0.85}}
balance: {{classes: [8, 9], target: 0.10}}
arms: {{none: {{}}, gan: {{synthetic: true}}}}
generator: {{name: projection, width: 8, latent: 8}}
gan_training: {{steps: {STEPS}, global_batch: 16, lecam: 0.1}}
classifier: {{name: small_cnn}}
protocol: {{draws: 1, replicates: 1}}
engine: {{device: cpu, checkpoint_seconds: 1.0e-9, stuck_seconds: 60}}
"""


class Place:
    """A store with everything that the GAN needs."""

    def __init__(self, folder, cache):
        self.file = folder / "study.yaml"
        folder.mkdir()
        self.file.write_text(STUDY)
        self.overrides = [f"store.path={folder / 'store'}", f"store.cache_path={cache}"]
        self.study = load(self.file, self.overrides)
        self.store = open_store(folder / "store")
        plan = run_here(self.study, self.store, only=lambda t: t.kind in ("prepare", "split"))
        self.task = next(task for task in plan.ready() if task.kind == "train_gan")
        self.unfinished = self.store.root / "unfinished" / self.task.id

    def start(self, processes=1):
        verb = ["synthtrial", "task", str(self.file), *self.overrides, "--id", self.task.id[:8]]
        launcher = [sys.executable, "-m"]
        if processes > 1:
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", 0))
                port = probe.getsockname()[1]
            launcher += [
                *("torch.distributed.run", "--nproc-per-node", str(processes)),
                *("--master-addr", "127.0.0.1", "--master-port", str(port), "-m"),
            ]
        return subprocess.Popen(
            [*launcher, *verb],
            env=os.environ | {"OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, processes=1):
        process = self.start(processes)
        said, _ = process.communicate(timeout=240)
        assert process.returncode == 0, said
        return self.result()

    def steps_saved(self):
        names = [path.name for path in (self.unfinished / "checkpoints").glob("step-*-*.pt")]
        return max((int(name.split("-")[1]) for name in names), default=0)

    def stop(self, number, processes=1):
        """Start, wait for some checkpoints, and send a signal; return what it said."""
        process = self.start(processes)
        deadline = time.monotonic() + 120
        while self.steps_saved() < 7 and time.monotonic() < deadline and process.poll() is None:
            time.sleep(0.005)
        # torchrun gives every process it starts a session of its own, so they are looked up.
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        for pid in [*map(int, children), process.pid]:
            os.kill(pid, number)
        said, _ = process.communicate(timeout=120)
        assert process.returncode != 0
        assert 7 <= self.steps_saved() < STEPS, said
        return said

    def result(self):
        artifact = read_artifact(self.store, "generator", self.task.id)
        assert not self.unfinished.exists()
        return artifact.info, artifact.file("generator.safetensors").read_bytes()


@pytest.fixture
def place(tmp_path):
    def make(name):
        return Place(tmp_path / name, tmp_path / "cache")

    return make


@pytest.mark.faults
def test_killed_and_resumed_alone_it_ends_with_the_same_bits(place):
    info, expected = place("whole").run()
    assert (info["steps"], info["resumed_at"]) == (STEPS, 0)
    killed = place("killed")
    killed.stop(signal.SIGKILL)
    resumed, weights = killed.run()
    assert resumed["resumed_at"] >= 7
    assert weights == expected
    assert resumed["history"] == info["history"]


@pytest.mark.faults
def test_killed_and_resumed_on_two_processes_it_ends_with_the_same_bits(place):
    info, expected = place("whole").run(processes=2)
    assert (info["steps"], info["processes"]) == (STEPS, 2)
    killed = place("killed")
    killed.stop(signal.SIGKILL, processes=2)
    resumed, weights = killed.run(processes=2)
    assert resumed["resumed_at"] >= 7
    assert weights == expected


@pytest.mark.faults
def test_it_goes_on_with_another_number_of_processes(place):
    killed = place("killed")
    killed.stop(signal.SIGKILL, processes=2)
    info, _ = killed.run(processes=1)
    assert info["resumed_at"] >= 7
    assert (info["steps"], info["skipped"], info["processes"]) == (STEPS, 0, 1)


@pytest.mark.faults
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR2])
def test_asked_to_stop_it_saves_and_says_how_to_go_on(place, number):
    asked = place("asked")
    said = asked.stop(number)
    assert "Traceback" not in said
    assert f"of {STEPS}; its state is saved. Run the study again to go on" in said
    progress = json.loads((asked.unfinished / "progress.json").read_text())
    assert progress["steps"] == STEPS
    assert progress["images_per_second"] > 0
    info, _ = asked.run()
    assert info["resumed_at"] == int(said.partition("after step ")[2].partition(" ")[0])


def test_a_training_leaves_sheets_of_samples(place):
    done = place("done")
    run_here(done.study, done.store, only=lambda task: task.id == done.task.id)
    artifact = read_artifact(done.store, "generator", done.task.id)
    sheets = [name for name in artifact.files if name.endswith(".png")]
    assert len(sheets) == 8
    assert sheets[-1] == f"step-{STEPS:09d}.png"


def test_status_says_how_far_a_training_is(place, capsys, monkeypatch):
    asked = place("asked")
    asked.stop(signal.SIGTERM)
    monkeypatch.setattr(sys, "argv", ["synthtrial", "status", str(asked.file), *asked.overrides])
    with pytest.raises(SystemExit) as ended:
        main()
    said = capsys.readouterr().out
    assert ended.value.code == 0
    assert "GAN on regimen 1, draw 0: step " in said
    assert "samples in " in said


def test_the_task_verb_lists_what_could_run(place, capsys, monkeypatch):
    fresh = place("fresh")
    monkeypatch.setattr(sys, "argv", ["synthtrial", "task", str(fresh.file), *fresh.overrides])
    with pytest.raises(SystemExit):
        main()
    said = capsys.readouterr().out
    assert f"{fresh.task.id}  train_gan" in said
    assert "synthesize" not in said


@pytest.mark.parametrize(("id_", "message"), [("", "tasks of killed"), ("zz", "no tasks")])
def test_the_task_verb_refuses_an_id_that_names_no_one_task(
    place, id_, message, capsys, monkeypatch
):
    fresh = place("fresh")
    arguments = ["synthtrial", "task", str(fresh.file), *fresh.overrides, "--id", id_]
    monkeypatch.setattr(sys, "argv", arguments)
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert message in capsys.readouterr().err


def test_the_task_verb_says_what_a_task_still_waits_for(place, capsys, monkeypatch):
    fresh = place("fresh")
    plan = build(fresh.study, fresh.store)
    waiting = next(task for task in plan.tasks.values() if task.kind == "synthesize")
    arguments = ["synthtrial", "task", str(fresh.file), *fresh.overrides, "--id", waiting.id]
    monkeypatch.setattr(sys, "argv", arguments)
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert "results that are not there yet, such as" in capsys.readouterr().err


def test_a_process_that_dies_is_named_by_the_others(place):
    asked = place("asked")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    group = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    verb = ["synthtrial", "task", str(asked.file), *asked.overrides, "--id", asked.task.id]
    ranks = [
        subprocess.Popen(
            [sys.executable, "-m", *verb, "engine.stuck_seconds=5"],
            env=os.environ | group | {"RANK": str(rank), "GLOO_SOCKET_IFNAME": "lo"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in range(2)
    ]
    deadline = time.monotonic() + 120
    while asked.steps_saved() < 7 and time.monotonic() < deadline:
        time.sleep(0.005)
    ranks[1].kill()
    said = ranks[0].communicate(timeout=120)[0]
    ranks[1].communicate()
    assert ranks[0].returncode != 0
    assert "rank 1" in said
    assert "Traceback" not in said
    assert "goes on from its last checkpoint" in said
