from __future__ import annotations

import sys
from pathlib import Path

import pytest

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


@pytest.fixture
def tiny(tmp_path: Path):
    """Overrides of a digits study that runs in seconds, in a store of its own."""

    def make(*overrides: str, folder: str = "one"):
        place = tmp_path / folder
        return [
            *TINY,
            f"store.path={place / 'store'}",
            f"store.report_path={place / 'reports'}",
            f"store.cache_path={tmp_path / 'cache'}",
            *overrides,
        ]

    return make


@pytest.fixture
def synthtrial_command() -> list[str]:
    """The command line, in this interpreter, as a process is started with it."""
    return [sys.executable, "-m", "synthtrial.cli"]
