"""Small Parquet tables inside artifacts: written whole, read whole, damage named."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from synthtrial.errors import DamagedArtifactError
from synthtrial.store.artifacts import Artifact, mend


def write_table(
    path: Path, columns: Mapping[str, Any], schema: Any, metadata: Mapping[str, str] | None = None
) -> None:
    """Write columns as one Parquet file with page checksums.

    Args:
        path: of the new file, inside an artifact's draft.
        columns: a sequence for every field of the schema.
        schema: pyarrow schema.
        metadata: text kept in the file's footer.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    arrays = [pa.array(columns[field.name], field.type) for field in schema]
    table = pa.Table.from_arrays(arrays, schema=schema.with_metadata(metadata))
    pq.write_table(table, path, compression="zstd", write_page_checksum=True)


def read_table(artifact: Artifact, name: str, required: Sequence[str]) -> Any:
    """Read a Parquet file of an artifact, checksums verified.

    Returns:
        A pyarrow table.

    Raises:
        DamagedArtifactError: it is missing, truncated or altered, or lacks a required column.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = artifact.file(name)
    try:
        table = pq.read_table(path, page_checksum_verification=True, partitioning=None)
    except (OSError, pa.ArrowException) as error:
        raise DamagedArtifactError(
            f"{path} cannot be read ({error}): it was truncated or altered. {mend(artifact.path)}"
        ) from error
    missing = [column for column in required if column not in table.column_names]
    if missing:
        raise DamagedArtifactError(f"{path} has no column {missing}. {mend(artifact.path)}")
    return table
