"""Which made images are kept: the first that a classifier accepts, class by class."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from synthtrial.data.tables import read_table, write_table
from synthtrial.errors import DataError
from synthtrial.store.artifacts import Artifact

KEPT_FILE = "kept.parquet"


@dataclass(frozen=True)
class Acceptance:
    """What became of the candidates of one class.

    Attributes:
        candidates: images made for the class.
        accepted: of them, those that the classifier accepted.
        wanted: images that are to be kept.
        kept: images that are kept; fewer than ``wanted`` never, more never.
        filled: of the kept ones, those that were not accepted.
    """

    candidates: int
    accepted: int
    wanted: int
    kept: int
    filled: int


def accept(
    logits_MK: np.ndarray, intended_M: np.ndarray, *, multi_label: bool, threshold: float
) -> np.ndarray:
    """Say of each image whether a classifier sees in it what it was made for.

    Args:
        logits_MK: of the classifier.
        intended_M: column of the class that each image was made for.
        multi_label: whether classes exclude each other.
        threshold: of multi-label data, the least probability of the intended class.
    """
    if not multi_label:
        return np.asarray(logits_MK.argmax(axis=1) == intended_M)
    chosen_M = logits_MK[np.arange(len(logits_MK)), intended_M]
    return np.asarray(1 / (1 + np.exp(-chosen_M.astype(np.float64))) >= threshold)


def keep(
    intended_M: np.ndarray,
    accepted_M: np.ndarray,
    wanted: Mapping[str, int],
    on_shortfall: Literal["refuse", "fill"],
) -> tuple[np.ndarray, dict[str, Acceptance]]:
    """Choose the first accepted images of each class.

    Args:
        intended_M: class that each candidate was made for, in the order of latents.
        accepted_M: whether it was accepted.
        wanted: images to keep of each class.
        on_shortfall: what happens where too few were accepted.

    Returns:
        The rows that are kept, ascending, and what became of each class.

    Raises:
        DataError: too few were accepted and ``on_shortfall`` is ``refuse``.
    """
    rows, found = [], {}
    for name, number in wanted.items():
        mine = np.flatnonzero(intended_M == name)
        good = mine[accepted_M[mine]]
        kept = good[:number]
        spare = mine[~accepted_M[mine]][: number - len(kept)]
        found[name] = Acceptance(
            len(mine), len(good), number, len(kept) + len(spare), filled=len(spare)
        )
        rows.append(np.concatenate([kept, spare]))
    short = {name: item for name, item in found.items() if item.accepted < item.wanted}
    if short and on_shortfall == "refuse":
        raise DataError(_too_few(short))
    every = np.concatenate(rows) if rows else np.zeros(0)
    return np.sort(every).astype(np.int64), found


def _too_few(short: Mapping[str, Acceptance]) -> str:
    lines = [
        f"class '{name}': {item.wanted:,} wanted, {item.accepted:,} of {item.candidates:,} "
        f"accepted ({item.accepted / max(item.candidates, 1):.0%})"
        for name, item in short.items()
    ]
    return (
        f"the reference classifier accepts too few made images. {'; '.join(lines)}. Raise "
        "filter.candidates where the share is fair; where it is near what chance gives, the "
        "generator has not learned the class (look at its samples) or the reference classifier "
        "has not (look at its recall)"
    )


def first_of_each(intended_M: np.ndarray, wanted: Mapping[str, int]) -> np.ndarray:
    """Return the places of the first images of each class, ascending: a smaller dose.

    Args:
        intended_M: class that each kept image was made for, in the order of latents.
        wanted: images of each class.

    Raises:
        DataError: a class has fewer.
    """
    places = []
    for name, number in wanted.items():
        mine = np.flatnonzero(intended_M == name)
        if len(mine) < number:
            raise DataError(
                f"a dose of {number:,} images of class '{name}' cannot be taken from a pool that "
                f"holds {len(mine):,}: lower the arm's balance, or raise that of the arm it is a "
                "dose of"
            )
        places.append(mine[:number])
    return np.sort(np.concatenate(places)).astype(np.int64) if places else np.zeros(0, np.int64)


def write_kept(folder: Any, sample_ids: np.ndarray, intended: np.ndarray, rows: np.ndarray) -> None:
    """Write ``kept.parquet``: the kept images in the order of their latents."""
    import pyarrow as pa

    columns = {
        "sample_id": sample_ids[rows].tolist(),
        "intended": intended[rows].tolist(),
        "row": rows,
    }
    schema = pa.schema([("sample_id", pa.string()), ("intended", pa.string()), ("row", pa.int64())])
    write_table(folder / KEPT_FILE, columns, schema, {})


def read_kept(artifact: Artifact) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows of the pool that are kept, and the classes they were made for.

    Raises:
        DamagedArtifactError: the file is missing, truncated or altered.
    """
    table = read_table(artifact, KEPT_FILE, ("sample_id", "intended", "row"))
    intended = np.array([*table["intended"].to_pylist(), None], dtype=object)[:-1]
    return table["row"].to_numpy().astype(np.int64), intended


def summary(found: Mapping[str, Acceptance]) -> dict[str, dict[str, int]]:
    """Return what a manifest says of each class."""
    return {name: asdict(item) for name, item in found.items()}
