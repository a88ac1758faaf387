"""Making images: whole shards, by any number of processes, once."""

import os
import subprocess
import sys

import pytest

from synthtrial.errors import StoreError
from synthtrial.plan import build
from synthtrial.store.artifacts import open_store, read_artifact
from synthtrial.store.images import read_labels, shard_files
from synthtrial.study import load
from synthtrial.testing.studies import run_here
from synthtrial.work import generate

STUDY = """
name: many
dataset: {name: digits}
imbalance: {classes: [8, 9], remove: 0.85}
balance: {classes: [8, 9], count: 1200}
arms: {none: {}, gan: {synthetic: true}}
generator: {name: projection, width: 8, latent: 8}
gan_training: {steps: 2, global_batch: 8}
classifier: {name: small_cnn}
protocol: {draws: 1, replicates: 1}
engine: {device: cpu}
"""


@pytest.fixture
def bench(tmp_path):
    path = tmp_path / "study.yaml"
    path.write_text(STUDY)

    def make(name):
        overrides = [f"store.path={tmp_path / name}", f"store.cache_path={tmp_path / 'cache'}"]
        study, store = load(path, overrides), open_store(tmp_path / name)
        early = ("prepare", "split", "allocate", "train_gan")
        plan = run_here(study, store, only=lambda task: task.kind in early)
        task = next(task for task in plan.ready() if task.kind == "synthesize")
        return study, store, task, [str(path), *overrides]

    return make


def content(store, task):
    artifact = read_artifact(store, "synthetic", task.id)
    assert not (store.root / "unfinished" / task.id).exists()
    return artifact.content_digest, artifact


def test_shards_hold_every_allocated_image_in_order(bench):
    study, store, task, _ = bench("one")
    run_here(study, store, only=lambda item: item.id == task.id)
    _, artifact = content(store, task)
    assert shard_files(artifact) == [f"shard-0000{i}.parquet" for i in range(3)]
    labels = read_labels(artifact)
    assert labels.sample_ids.tolist() == [f"{task.id}-{i:07d}" for i in range(2400)]


def test_a_killed_synthesis_makes_only_the_missing_shards_again(bench, monkeypatch):
    study, store, task, _ = bench("whole")
    run_here(study, store, only=lambda item: item.id == task.id)
    expected, _ = content(store, task)

    study, store, task, _ = bench("killed")
    made = []

    def write(path, *arguments, **options):
        made.append(path.name[:11])
        if len(made) == 2:
            raise StoreError("the disk is full")
        original(path, *arguments, **options)

    original = generate.write_shard
    monkeypatch.setattr(generate, "write_shard", write)
    with pytest.raises(StoreError):
        run_here(study, store, only=lambda item: item.id == task.id)
    run_here(study, store, only=lambda item: item.id == task.id)
    assert made == ["shard-00000", "shard-00001", "shard-00001", "shard-00002"]
    assert content(store, task)[0] == expected


def test_a_truncated_shard_is_made_again(bench):
    study, store, task, _ = bench("whole")
    run_here(study, store, only=lambda item: item.id == task.id)
    expected, artifact = content(store, task)
    study, store, task, _ = bench("cut")
    folder = store.root / "unfinished" / task.id
    folder.mkdir(parents=True)
    whole = artifact.file("shard-00000.parquet").read_bytes()
    (folder / "shard-00000.parquet").write_bytes(whole[: len(whole) // 2])
    run_here(study, store, only=lambda item: item.id == task.id)
    assert content(store, task)[0] == expected


def test_two_processes_share_the_shards_and_make_the_same_bytes(bench):
    study, store, task, _ = bench("one")
    run_here(study, store, only=lambda item: item.id == task.id)
    expected, _ = content(store, task)
    study, store, task, arguments = bench("two")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += ["--nproc-per-node", "2", "-m", "synthtrial", "task", *arguments, "--id", task.id]
    done = subprocess.run(
        command,
        env=os.environ | {"OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert content(store, task)[0] == expected
    assert task.id in build(study, store).done
