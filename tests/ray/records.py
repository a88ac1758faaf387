"""What a store holds of a study's trials, to compare stores and to count tries."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from synthtrial.store.artifacts import open_store
from synthtrial.store.records import read_records
from synthtrial.testing import studies


def measured(root: Path) -> dict[str, dict]:
    """Return what was measured in the store at a path, by trial."""
    return studies.measured(open_store(root, create=False))


def tries(root: Path) -> Counter[str]:
    """Return how many records each trial has left."""
    table = read_records(open_store(root, create=False), every_attempt=True)
    return Counter(table["trial_id"].to_pylist())


def finished(root: Path) -> int:
    """Return how many trials have a record, while a run is going on."""
    return len(tries(root)) if (root / "records").exists() else 0
