from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

# Ray reads this once, when a process first imports it, whichever test that is for.
os.environ["RAY_AUTH_MODE"] = "token"

#: Overrides that make the shipped digits study a matter of seconds, still with every stage.
TINY = (
    "regimens=[0.25,1.0]",
    "grid={learning_rate: [0.01, 0.001], batch_size: [64], optimizer: [adam]}",
    "training.epochs=2",
    "gan_training.steps=3",
    "protocol.draws=2",
    "protocol.replicates=2",
    "engine.device=cpu",
)


def tiny_overrides(place: Path, cache: Path) -> list[str]:
    return [
        *TINY,
        f"store.path={place / 'store'}",
        f"store.report_path={place / 'reports'}",
        f"store.cache_path={cache}",
    ]


@pytest.fixture
def tiny(tmp_path: Path):
    """Overrides of a digits study that runs in seconds, in a store of its own."""

    def make(*overrides: str, folder: str = "one") -> list[str]:
        return [*tiny_overrides(tmp_path / folder, tmp_path / "cache"), *overrides]

    return make


class Ran(NamedTuple):
    code: int
    out: str
    err: str


@pytest.fixture
def verb(monkeypatch, capsys):
    """Run a verb in this process, as the console script does."""
    from synthtrial import cli

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["synthtrial", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            cli.main()
        captured = capsys.readouterr()
        return Ran(stop.value.code, captured.out, captured.err)

    return run


@pytest.fixture(scope="session")
def synthtrial_command() -> list[str]:
    """The command line, in this interpreter, as a process is started with it."""
    return [sys.executable, "-m", "synthtrial"]


@pytest.fixture(scope="session")
def finished_study(tmp_path_factory, synthtrial_command) -> tuple[list[str], str]:
    """Overrides and output of one finished tiny study, shared by the tests that only look."""
    place = tmp_path_factory.mktemp("finished")
    overrides = tiny_overrides(place, place / "cache")
    done = subprocess.run(
        [*synthtrial_command, "run", "digits", *overrides], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return overrides, done.stdout


@pytest.fixture
def mount(tmp_path):
    """Mount a tmpfs with options; unmounts at the end. Skips where mounting is not allowed."""
    mounted = []

    def make(options):
        where = tmp_path / f"disk{len(mounted)}"
        where.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(where)]
        allowed = os.geteuid() == 0 and subprocess.run(command, capture_output=True).returncode == 0
        if not allowed:
            pytest.skip("NOT TESTED: full and read-only disks need root and the right to mount")
        mounted.append(where)
        return where

    yield make
    for where in mounted:
        subprocess.run(["umount", "-l", str(where)], check=True)


@pytest.fixture
def remount_read_only():
    def make(where):
        subprocess.run(["mount", "-o", "remount,ro", str(where)], check=True)

    return make


#: A study of a made dataset with groups, every stage in it: a second or two in this process.
TOY_STUDY = """
name: toy
seed: 0
dataset: {name: toy, rows: 200}
split: {test: 0.25, validation: 0.2}
imbalance: {classes: [moth], remove: 0.4}
regimens: [1.0]
balance: {classes: [moth], target: 0.3}
arms: {none: {}, gan: {synthetic: true}}
generator: {name: projection, width: 8}
gan_training: {steps: 2, global_batch: 16}
classifier: {name: small_cnn}
training: {epochs: 2}
grid: {learning_rate: [0.01, 0.001], batch_size: [32]}
protocol: {kind: grid_once, draws: 2, replicates: 4, select_by: accuracy}
metrics: [accuracy, recall]
statistics: {baseline: none, overall: accuracy, per_class: recall, minority: [moth]}
store: {keep_logits: true}
"""


@pytest.fixture(scope="session")
def toy_study(tmp_path_factory):
    """Make the toy study with its store in a folder of its own under ``place``."""
    from synthtrial.study import load

    file = tmp_path_factory.mktemp("toy-study") / "toy.yaml"
    file.write_text(TOY_STUDY)

    def make(place: Path, *overrides: str):
        paths = [f"store.{name}={place / name}" for name in ("path", "report_path", "cache_path")]
        return load(file, [*paths, *overrides])

    return make
