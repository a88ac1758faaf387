"""GANs through Ray Train."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import pytest

from synthtrial.engines.ray import engine as module
from synthtrial.engines.ray.engine import RayEngine
from synthtrial.store.artifacts import open_store, read_artifact
from synthtrial.study import load
from synthtrial.testing.studies import run_here


def prepared(root, tiny, address, *overrides):
    """Return a study, its store with all that a GAN needs, and the first GAN's task."""
    here = f"engine.ray.address='{address}'"
    study = load("digits", tiny("gan_training.steps=6", here, *overrides), "ray")
    store = open_store(root, create=True)
    plan = run_here(study, store, only=lambda task: task.kind in ("prepare", "split", "allocate"))
    return study, store, next(task for task in plan.ready() if task.kind == "train_gan")


def digests(store, task):
    files = read_artifact(store, "generator", task.id).manifest["files"]
    return {f["name"]: f["sha256"] for f in files if f["name"].endswith(".safetensors")}


def ended(engine):
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        found = engine.wait(1.0)
        if found:
            return found[0]
    raise AssertionError("nothing ended within 120 s")


def test_one_process_of_train_gives_the_bits_of_a_plain_task(cluster, tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_WORTH_TRAIN_SECONDS", 0.0)  # as a long training would have it
    study, store, task = prepared(tmp_path / "ray", tiny, cluster.address)
    with RayEngine(store, study) as engine:
        engine.submit([task])
        assert ended(engine).state == "done"
    _, other, _ = prepared(tmp_path / "here", tiny, cluster.address)
    run_here(study, other, only=lambda item: item.id == task.id)
    assert digests(store, task)
    assert digests(store, task) == digests(other, task)


@pytest.mark.faults
def test_two_processes_of_train_do_what_torchrun_does(cluster, tiny, tmp_path):
    study, store, task = prepared(
        tmp_path / "ray", tiny, cluster.address, "engine.ray.gan_processes=2"
    )
    with RayEngine(store, study) as engine:
        engine.submit([task])
        assert ended(engine).state == "done"
    assert read_artifact(store, "generator", task.id).info["processes"] == 2
    _, other, _ = prepared(tmp_path / "torchrun", tiny, cluster.address)
    overrides = [*tiny("gan_training.steps=6"), f"store.path={other.root}"]
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    done = subprocess.run(
        [*launch, "-m", "synthtrial", "task", "digits", *overrides, "--id", task.id],
        capture_output=True,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        timeout=200,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert digests(store, task) == digests(other, task)


@pytest.mark.faults
def test_a_deliberate_error_arrives_from_train_as_it_was_said(cluster, tiny, tmp_path):
    study, store, task = prepared(
        tmp_path / "ray", tiny, cluster.address, "engine.ray.gan_processes=2"
    )
    dataset = task.payload["dataset"]
    for shard in (store.root / "dataset" / dataset).glob("*.parquet"):
        shard.unlink()
    elsewhere = study.replace([f"store.cache_path={tmp_path / 'cold'}"])
    with RayEngine(store, elsewhere) as engine:
        engine.submit([task])
        found = ended(engine)
    assert (found.state, found.fatal) == ("failed", True) or pytest.fail(found.message)
    assert "is missing" in found.message
