"""Classifier trainings as users start them: killed, asked to stop, and gone on with."""

import os
import signal
import subprocess
import sys
import time

import pytest

from synthtrial.engines.base import attempt
from synthtrial.errors import TrainingError
from synthtrial.store.artifacts import open_store, read_artifact
from synthtrial.store.checkpoints import Checkpoints
from synthtrial.store.records import read_records
from synthtrial.study import load
from synthtrial.testing.studies import run_here
from synthtrial.work import Context, reference, trial

STUDY = """
name: interrupted
dataset: {name: digits}
imbalance: {classes: [8, 9], remove: 0.85}
regimens: [1.0]
balance: {classes: [8, 9], count: 5}
arms:
  none: {}
  both: {augment: [{name: shift}], sampler: balanced}
  gan: {synthetic: true, filter: {candidates: 2}}
generator: {name: projection, width: 8, latent: 8}
gan_training: {steps: 2, global_batch: 8}
classifier: {name: small_cnn, width: 8}
training: {epochs: 6, batch_size: 16}
reference: {training: {epochs: 6}}
protocol: {draws: 1, replicates: 1}
engine: {device: cpu}
"""
EVERY_STEP = "engine.checkpoint_seconds=1.0e-9"
OWN = {"seconds", "started_at", "engine", "host"}  # columns that say how it was computed
#: As the command line, but it saves its state however little would be lost.
SAVING = """
import synthtrial.classify.resuming as resuming
from synthtrial.cli import main
resuming.WORTH_SAVING_SECONDS = -1.0
main()
"""


class Place:
    """A store with everything that classifiers need."""

    def __init__(self, folder, cache, *overrides):
        self.file = folder / "study.yaml"
        folder.mkdir()
        self.file.write_text(STUDY)
        self.overrides = [
            f"store.path={folder / 'store'}",
            f"store.cache_path={cache}",
            *overrides,
        ]
        self.study = load(self.file, self.overrides)
        self.store = open_store(folder / "store")
        self.plan = run_here(self.study, self.store, only=lambda t: t.kind in ("prepare", "split"))

    def task(self, kind):
        return next(
            task
            for task in self.plan.ready()
            if task.kind == kind and (task.trial is None or task.trial.arm == "both")
        )

    def checkpoints(self, task):
        return Checkpoints(self.store.root / "unfinished" / task.id / "checkpoints")

    def stop(self, task, number, launcher):
        """Run a task in a process of its own, send it a signal in training; return its words."""
        command = [sys.executable, *launcher, "task", str(self.file), *self.overrides]
        process = subprocess.Popen(
            [*command, "--id", task.id],
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        folder, deadline = self.checkpoints(task).folder, time.monotonic() + 120
        while process.poll() is None and time.monotonic() < deadline:
            if any(path.name >= "step-000000007" for path in folder.glob("step-*.pt")):
                break
            time.sleep(0.005)
        process.send_signal(number)
        said, _ = process.communicate(timeout=120)
        assert process.returncode != 0, said
        return said

    def run(self, task):
        run_here(self.study, self.store, only=lambda other: other.id == task.id)
        assert not (self.store.root / "unfinished" / task.id).exists()

    def record(self, task):
        (row,) = (r for r in read_records(self.store).to_pylist() if r["trial_id"] == task.id)
        return row

    def weights(self, task):
        artifact = read_artifact(self.store, "classifier", task.id)
        info = {name: value for name, value in artifact.info.items() if name != "seconds"}
        return info, artifact.file("classifier.safetensors").read_bytes()


@pytest.fixture
def place(tmp_path):
    def make(name, *overrides):
        return Place(tmp_path / name, tmp_path / "cache", *overrides)

    return make


@pytest.fixture
def fits(monkeypatch):
    """What the trainings of this process returned, and the seconds that each took."""
    seen = []
    for module in (trial, reference):

        def spy(*arguments, real=module.fit, **settings):
            started = time.perf_counter()
            result = real(*arguments, **settings)
            seen.append((result, time.perf_counter() - started))
            return result

        monkeypatch.setattr(module, "fit", spy)
    return seen


def equal_records(one, other):
    assert one.keys() == other.keys()
    differing = {name for name in one if one[name] != other[name]}
    assert differing <= OWN


def test_a_killed_trial_goes_on_to_the_same_record(place, fits):
    killed = place("killed", EVERY_STEP)
    task = killed.task("trial")
    killed.stop(task, signal.SIGKILL, ["-m", "synthtrial"])
    step = killed.checkpoints(task).newest()
    assert read_records(killed.store).num_rows == 0
    killed.run(task)
    resumed, seconds = fits[-1]
    assert resumed.resumed_at == step >= 7
    assert resumed.earlier_seconds > 0
    assert killed.record(task)["seconds"] >= resumed.earlier_seconds + seconds
    whole = place("whole")
    whole.run(whole.task("trial"))
    assert fits[-1][0].resumed_at == 0
    equal_records(killed.record(task), whole.record(whole.task("trial")))


def test_a_killed_reference_classifier_goes_on_to_the_same_weights(place, fits):
    killed = place("killed", EVERY_STEP)
    task = killed.task("reference")
    killed.stop(task, signal.SIGKILL, ["-m", "synthtrial"])
    step = killed.checkpoints(task).newest()
    killed.run(task)
    assert fits[-1][0].resumed_at == step >= 7
    whole = place("whole")
    whole.run(whole.task("reference"))
    assert killed.weights(task) == whole.weights(whole.task("reference"))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR2])
def test_a_trial_that_is_asked_to_stop_saves_at_the_next_step(place, fits, number):
    asked = place("asked", EVERY_STEP)
    task = asked.task("trial")
    said = asked.stop(task, number, ["-c", SAVING])  # else the step before is the last saved
    assert "Traceback" not in said
    assert "its state is saved. Run the study again to go on" in " ".join(said.split())
    asked.run(task)
    assert fits[-1][0].resumed_at == int(said.partition("after step ")[2].partition(";")[0])


def test_a_short_trial_that_is_asked_to_stop_is_lost_and_leaves_nothing(place, monkeypatch):
    asked = place("asked")
    task, real = asked.task("trial"), trial.fit

    def signalled(*arguments, **settings):
        signal.raise_signal(signal.SIGTERM)
        return real(*arguments, **settings)

    before = signal.getsignal(signal.SIGTERM)
    with Context(asked.store, engine="bench", device="cpu") as context:
        with monkeypatch.context() as patched:
            patched.setattr(trial, "fit", signalled)
            outcome = attempt(asked.store, task, context)
        assert signal.getsignal(signal.SIGTERM) == before
        assert (outcome.state, outcome.cause, outcome.retry) == ("lost", "stopped", True)
        assert not (asked.store.root / "unfinished").exists()
        assert attempt(asked.store, task, context).state == "done"
    assert asked.record(task)["status"] == "done"


def test_a_reference_classifier_that_diverges_leaves_none(place):
    diverging = place("diverging", EVERY_STEP, "reference.training={learning_rate: 1e30}")
    task = diverging.task("reference")
    with pytest.raises(TrainingError, match="diverged"):
        diverging.run(task)
    assert list((diverging.store.root / "unfinished").iterdir()) == []


def test_a_trial_that_diverges_leaves_no_checkpoint_either(place):
    diverging = place("diverging", EVERY_STEP, "training={learning_rate: 1e30, epochs: 1}")
    task = diverging.task("trial")
    diverging.run(task)
    assert diverging.record(task)["status"] == "diverged"
