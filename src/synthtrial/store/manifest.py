"""Manifests: what an artifact says of itself, and the checksum over that."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from synthtrial.errors import DamagedArtifactError
from synthtrial.identity import canonical_json
from synthtrial.store.root import check_schema

MANIFEST = "manifest.json"
REWRITTEN = "rewritten"  # what a transfer has changed: original digest, key of ids, left-out files


def mend(path: Path) -> str:
    """Say how a damaged artifact is made whole again."""
    return (
        "Run `synthtrial verify` to see all damage, delete the folder "
        f"{path} and run the study again: it will be made anew."
    )


def read_manifest(folder: Path, kind: str, id: str) -> dict[str, Any]:  # noqa: A002
    """Read and check ``manifest.json`` of an artifact's folder.

    Raises:
        StoreSchemaError, DamagedArtifactError: as :func:`read_artifact`.
    """
    try:
        content = (folder / MANIFEST).read_bytes()
    except FileNotFoundError:
        raise DamagedArtifactError(f"{folder / MANIFEST} is missing. {mend(folder)}") from None
    return parse_manifest(content, folder, kind, id)


def parse_manifest(content: bytes, folder: Path, kind: str, id: str) -> dict[str, Any]:  # noqa: A002
    """Check the content of a ``manifest.json``; ``folder`` is named in errors.

    Raises:
        StoreSchemaError, DamagedArtifactError: as :func:`read_artifact`.
    """
    path = folder / MANIFEST
    try:
        manifest = json.loads(content)
        check_schema(manifest["schema"], path)
        checksum = manifest.pop("checksum")
        intact = checksum == _checksum(manifest) and (manifest["kind"], manifest["id"]) == (
            kind,
            id,
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DamagedArtifactError(f"{path} is not a manifest. {mend(folder)}") from error
    if not intact:
        raise DamagedArtifactError(f"{path} was altered. {mend(folder)}")
    return dict(manifest)


def _checksum(manifest: Mapping[str, Any]) -> str:
    return hashlib.sha256(canonical_json(manifest).encode()).hexdigest()


def manifest_text(manifest: Mapping[str, Any]) -> bytes:
    """Return a manifest, without a checksum yet, as the file that :func:`read_manifest` reads."""
    whole = {**manifest, "checksum": _checksum(manifest)}
    text = json.dumps(whole, indent=1, ensure_ascii=False, allow_nan=False)
    return text.encode() + b"\n"
