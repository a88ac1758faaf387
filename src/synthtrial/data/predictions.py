"""What a trained classifier said of held-out images: its logits, by sample and class.

An artifact of kind ``predictions`` has the id of its trial and one file a role, ``test.parquet``
and ``validation.parquet``, with ``sample_id`` and ``logit.<class>`` (float32). Logits hardly
compress: a row takes four bytes a class, and ids that are in order next to nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from synthtrial.data.tables import read_table
from synthtrial.store.artifacts import Artifact

KIND = "predictions"
_PREFIX = "logit."


@dataclass(frozen=True, eq=False)
class Predictions:
    """Logits of one role.

    Attributes:
        sample_ids: a pyarrow array of N texts.
        logits_NK: float32, a column for each class that was asked for.
    """

    sample_ids: Any
    logits_NK: np.ndarray


def write_predictions(
    folder: Path, role: str, sample_ids: np.ndarray, logits_NK: np.ndarray, classes: Sequence[str]
) -> None:
    """Write the logits of one role into the folder of a draft."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    logits = {f"{_PREFIX}{name}": logits_NK[:, k] for k, name in enumerate(classes)}
    pq.write_table(
        pa.table({"sample_id": sample_ids.tolist(), **logits}),
        folder / f"{role}.parquet",
        compression="zstd",
        use_dictionary=False,  # no two logits are alike: a dictionary would come on top of them
        column_encoding={"sample_id": "DELTA_BYTE_ARRAY"},
        write_statistics=False,
        write_page_checksum=True,
    )


def read_predictions(artifact: Artifact, role: str, classes: Sequence[str]) -> Predictions:
    """Read the logits of one role.

    Args:
        artifact: of kind ``predictions``.
        role: ``test`` or ``validation``.
        classes: which columns, and in which order.

    Raises:
        DamagedArtifactError: the file is missing, truncated or altered, or lacks a class.
    """
    names = [f"{_PREFIX}{name}" for name in classes]
    table = read_table(artifact, f"{role}.parquet", ("sample_id", *names))
    logits_NK = np.empty((table.num_rows, len(names)), dtype=np.float32)
    for k, name in enumerate(names):
        logits_NK[:, k] = table[name].to_numpy()
    return Predictions(table["sample_id"].combine_chunks(), logits_NK)
