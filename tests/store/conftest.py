"""A store to work on, small and read-only disks, real processes, and rows to write."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from synthtrial.store.artifacts import draft, open_store, read_artifact
from synthtrial.store.cache import clear_process_cache
from synthtrial.store.images import ImageRow, write_shards

CLASSES = ("oak", "ash", "elm")


@pytest.fixture
def store(tmp_path):
    return open_store(tmp_path / "store")


@pytest.fixture(autouse=True)
def _fresh_process_cache():
    clear_process_cache()
    yield
    clear_process_cache()


@pytest.fixture
def process():
    """Start Python code in a process of its own; what still runs at the end is killed."""
    started = []

    def start(code, *arguments):
        child = subprocess.Popen(
            [sys.executable, "-c", code, *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        started.append(child)
        return child

    yield start
    for child in started:
        with suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)  # its forked children too
        child.communicate()


@pytest.fixture
def image_rows():
    """Make n images of shape (size, size, channels) with labels that cycle through all values."""

    def make(n, *, size=8, channels=1, classes=CLASSES, seed=0, **extra):
        random = np.random.default_rng(seed)
        values = (1, 0, -1, None)
        for i in range(n):
            yield ImageRow(
                f"sample-{i:04d}",
                None if i % 3 == 0 else f"group-{i // 2}",
                random.integers(0, 256, (size, size, channels), dtype=np.uint8),
                {c: values[(i + len(c) + ord(c[0])) % 4] for c in classes},
                **{key: value(i) for key, value in extra.items()},
            )

    return make


@pytest.fixture
def dataset(store, image_rows):
    """Commit a dataset artifact of a few images in several shards."""

    def make(name="d1", n=20, *, shard_bytes=700, columns=CLASSES, **options):
        with draft(store, "dataset", name, inputs={}) as made:
            write_shards(made.path, image_rows(n, **options), columns, shard_bytes=shard_bytes)
        return read_artifact(store, "dataset", name)

    return make


@pytest.fixture
def record():
    def make(trial_id="t1", **values):
        return {
            "trial_id": trial_id,
            "kind": "trial",
            "status": "done",
            "attempt": 0,
            "study": "digits",
            "stage": "grid",
            "arm": "gan",
            "regimen": 0.1,
            "configuration": '{"batch_size":16}',
            "draw": 0,
            "replicate": 0,
            "steps": 100,
            "validation": {"accuracy": 0.5, "recall": {"8": 0.25, "9": None}},
            "test": None,
            "curves": {
                "epoch": [1, 2],
                "train_loss": [1.5, 0.5],
                "validation_loss": [1.0, 0.75],
                "validation_score": [0.5, 0.75],
            },
            "seconds": 1.5,
            "stamps": ["LEAKY"],
            "started_at": "2026-01-01T00:00:00+00:00",
        } | values

    return make


def flip_byte(path: Path, position: int) -> None:
    content = bytearray(path.read_bytes())
    content[position] ^= 0xFF
    path.write_bytes(bytes(content))


@pytest.fixture
def alter():
    return flip_byte
