"""The training, validation and test sets that a dataset comes with, kept beside its images."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from synthtrial.data.base import DatasetSource
from synthtrial.data.tables import read_table, write_table
from synthtrial.errors import DataError, suggest
from synthtrial.store.artifacts import Artifact

SIDES = ("train", "validation", "test")
SIDES_FILE = "sides.parquet"
#: What files, folders and columns call the sides.
SIDE_NAMES: Mapping[str, str] = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validate": "validation",
    "validation": "validation",
    "dev": "validation",
    "test": "test",
    "testing": "test",
}
_DEAL = "set split.own=false to deal sides by the study's seed"


def own_sides_of(source: DatasetSource) -> np.ndarray | None:
    """Return the own sides of a dataset, by row of its label table; None where it has none.

    Raises:
        DataError: they are fewer or more than its rows, or it has a side of another name.
    """
    ask = getattr(source, "own_sides", None)  # that of OwnSides
    sides: np.ndarray | None = None if ask is None else ask()
    if sides is None:
        return None
    if len(sides) != source.expected_rows:
        raise DataError(f"the dataset has {len(sides):,} sides for {source.expected_rows:,} images")
    for name in set(sides.tolist()) - {None}:
        if name not in SIDES:
            raise DataError(f"the dataset has a side '{name}': {suggest(str(name), SIDES)}")
    return sides


def check_sides(sides: np.ndarray | None, sample_ids: np.ndarray) -> np.ndarray:
    """Return sides that a study can keep: of all samples, some of them for testing.

    Raises:
        DataError: there are none, a sample has none, or none is for testing or for training.
    """
    if sides is None:
        raise DataError(f"split.own: the dataset has no sides of its own; {_DEAL}")
    bare = np.flatnonzero([side is None for side in sides])
    if len(bare):
        raise DataError(
            f"split.own: {len(bare):,} of {len(sides):,} images, such as "
            f"'{sample_ids[bare[0]]}', are on no side; leave them out of the dataset, or {_DEAL}"
        )
    missing = [name for name in ("train", "test") if not (sides == name).any()]
    if missing:
        found = ", ".join(f"{name}: {int((sides == name).sum()):,}" for name in SIDES)
        raise DataError(
            f"split.own: the dataset has no image for '{missing[0]}' ({found}); {_DEAL}"
        )
    return sides


def write_sides(folder: Path, sample_ids: np.ndarray, sides: np.ndarray) -> None:
    """Write ``sides.parquet`` (sample_id, side) into a dataset's draft."""
    import pyarrow as pa

    schema = pa.schema([("sample_id", pa.string()), ("side", pa.string())])
    columns = {"sample_id": sample_ids.tolist(), "side": sides.tolist()}
    write_table(folder / SIDES_FILE, columns, schema)


def read_sides(artifact: Artifact, sample_ids: np.ndarray) -> np.ndarray | None:
    """Read the own sides of these samples from a committed dataset; None where it has none.

    Raises:
        DamagedArtifactError: the file is missing, truncated or altered.
    """
    if SIDES_FILE not in artifact.files:
        return None
    table = read_table(artifact, SIDES_FILE, ("sample_id", "side"))
    names, sides = (table[column].to_pylist() for column in ("sample_id", "side"))
    by_name = dict(zip(names, sides, strict=True))
    found = np.empty(len(sample_ids), dtype=object)
    found[:] = [by_name.get(name) for name in sample_ids]
    return found
