"""The way in: an archive merged into a store, artifact by artifact, records last.

Everything is checked against the archive's checksums before it is committed. What is there already
is skipped, so an import that was interrupted is run again, and goes on. An artifact of the same id
with other content is refused, before anything is written: trials that used the one say nothing
about the other.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from synthtrial.errors import DamagedArtifactError, StoreError
from synthtrial.store.artifacts import (
    MANIFEST,
    Artifact,
    Store,
    adopt,
    exists,
    read_artifact,
)
from synthtrial.store.files import storage_errors, temporary_name, write_file
from synthtrial.store.manifest import parse_manifest
from synthtrial.store.records_schema import COLUMNS, METRIC_COLUMNS, merge
from synthtrial.store.root import RESERVED, STORE_FILE, STUDIES
from synthtrial.store.segments import (
    list_segments,
    read_header,
    read_segment,
    segment_folder,
    write_segment,
)
from synthtrial.store.transfer.archive import Archive, reading
from synthtrial.store.transfer.exporting import RECORDS, ids_key

_STUDY = re.compile(r"[0-9a-f]{20}\.yaml")
_TARGET = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]*\.replicates\.json")
_SEGMENT = re.compile(r"[0-9a-f]{32}\.parquet")
_NAMED = 5


@dataclass(frozen=True)
class Merged:
    """What an import has done.

    Attributes:
        added: artifacts that were committed.
        present: artifacts that were there already.
        records: records that were added; 0 where they were there already.
        studies: snapshots in the archive, by name of their file.
        key: fingerprint of the salt that ids are hashed with; None where they are true.
        restrictions: on what is in the archive.
        left_out: files that the export left out.
    """

    added: int
    present: int
    records: int
    studies: tuple[str, ...]
    key: str | None
    restrictions: tuple[str, ...]
    left_out: tuple[str, ...]


def import_archive(path: Path, store: Store) -> Merged:
    """Merge an archive into a store.

    Raises:
        StoreSchemaError: a newer synthtrial made it.
        StoreError: it is damaged or no archive; it holds an artifact that the store has with other
            content, or ids of another kind than the store's; the disk is full.
    """
    with reading(path) as archive:
        artifacts = _artifacts(archive)
        _check_names(archive, artifacts)
        _check_ids(archive, store)
        missing = [item for item in artifacts if not _is_present(item, store)]
        tables = _tables(archive, store)
        for artifact in missing:
            with adopt(store, artifact.kind, artifact.id) as folder:
                for name in (*artifact.files, MANIFEST):
                    archive.copy(f"{artifact.kind}/{artifact.id}/{name}", folder / name)
        records = _add_records(store, tables)
        _add_studies(archive, store)
        return Merged(
            len(missing),
            len(artifacts) - len(missing),
            records,
            tuple(sorted(_names_under(archive, STUDIES, _STUDY))),
            archive.about["ids_key"],
            tuple(archive.about["restrictions"]),
            tuple(archive.about["left_out"]),
        )


def _artifacts(archive: Archive) -> list[Artifact]:
    """Read every manifest, in the archive's order: inputs come first."""
    found = []
    for kind, id_ in archive.about["artifacts"]:
        name = f"{kind}/{id_}/{MANIFEST}"
        if kind in RESERVED or name not in archive.files:
            raise StoreError(f"{archive.path} lists {kind}/{id_} and has no such artifact")
        path = archive.path / kind / id_
        found.append(Artifact(kind, id_, path, parse_manifest(archive.read(name), path, kind, id_)))
    return found


def _check_names(archive: Archive, artifacts: list[Artifact]) -> None:
    """Refuse what has no place in a store."""
    known = {STORE_FILE}
    for item in artifacts:
        known |= {f"{item.kind}/{item.id}/{name}" for name in (*item.files, MANIFEST)}
    known |= {f"{STUDIES}/{name}" for name in _names_under(archive, STUDIES, _STUDY)}
    known |= {f"{STUDIES}/{name}" for name in _names_under(archive, STUDIES, _TARGET)}
    known |= {f"{RECORDS}/{name}" for name in _names_under(archive, RECORDS, _SEGMENT)}
    odd = sorted(set(archive.files) ^ known)
    if odd:
        raise StoreError(f"{archive.path}: {odd[0]} has no place in a store; refused")


def _names_under(archive: Archive, folder: str, pattern: re.Pattern[str]) -> list[str]:
    names = [name.removeprefix(f"{folder}/") for name in archive.files]
    return [name for name in names if pattern.fullmatch(name)]


def _check_ids(archive: Archive, store: Store) -> None:
    """Refuse to mix ids that cannot be told to be the same patients."""
    if not any(_has_kind(store, kind) for kind in ("dataset", "split")):
        return
    mine, theirs = ids_key(store), archive.about["ids_key"]
    if mine == theirs:
        return
    raise StoreError(
        f"the store {store.root} has {_ids_text(mine)} and the archive {_ids_text(theirs)}: nobody "
        "could tell which patients are the same. Import it into a store of its own (`report` and "
        "`compare` take that), or export both with one --salt-file, or with --keep-ids where ids "
        "may travel"
    )


def _ids_text(key: str | None) -> str:
    return "true ids" if key is None else f"hashed ids (salt {key})"


def _has_kind(store: Store, kind: str) -> bool:
    """Say whether a store has an artifact of a kind."""
    folder = store.root / kind
    return folder.is_dir() and any(exists(store, kind, path.name) for path in folder.iterdir())


def _is_present(artifact: Artifact, store: Store) -> bool:
    """Say whether the store has an artifact; refuse another one of the same name.

    Raises:
        StoreError: it has one of other content.
    """
    if not exists(store, artifact.kind, artifact.id):
        return False
    mine = read_artifact(store, artifact.kind, artifact.id)
    if mine.origin_digest == artifact.origin_digest:
        return True
    odd = [name for name in artifact.files if name not in mine.files] or [
        name
        for name in artifact.files
        if artifact.entry(name)["sha256"] != mine.entry(name)["sha256"]
    ]
    raise StoreError(
        f"the store {store.root} has {artifact.kind}/{artifact.id} with other content (such as "
        f"{', '.join(odd[:_NAMED]) or 'fewer files'}): it was made on another machine or by other "
        "versions, which gave other bits. Results that come from the two must not be mixed: import "
        "the archive into a store of its own, and put them side by side with `synthtrial compare`"
    )


def _tables(archive: Archive, store: Store) -> dict[str, pa.Table]:
    """Read and check the records that the store does not have yet, by the name of their segment."""
    covered, found = list_segments(store).covered, {}
    for name in _names_under(archive, RECORDS, _SEGMENT):
        if name.removesuffix(".parquet") in covered:
            continue
        scratch = temporary_name(segment_folder(store) / name)
        with storage_errors(store.root):
            try:
                archive.copy(f"{RECORDS}/{name}", scratch)
                read_header(scratch)  # a newer schema is refused
                found[name.removesuffix(".parquet")] = _conforming(read_segment(scratch), archive)
            finally:
                scratch.unlink(missing_ok=True)
    return found


def _conforming(table: pa.Table, archive: Archive) -> pa.Table:
    """Return records with the columns that they must have, and no others."""
    try:
        merged = merge([table])
    except (pa.ArrowException, KeyError, ValueError) as error:
        raise StoreError(f"{archive.path}: its records cannot be read: {error}") from None
    odd = [
        name
        for name, kind in COLUMNS.items()
        if name not in METRIC_COLUMNS and merged.schema.field(name).type != kind
    ]
    if odd:
        raise StoreError(f"{archive.path}: its records have {odd[0]} of another type; refused")
    return merged


def _add_records(store: Store, tables: dict[str, pa.Table]) -> int:
    # Written anew: a segment says which others it replaces, and a stranger's must replace none.
    for name, table in tables.items():
        write_segment(store, name, table)
    return sum(table.num_rows for table in tables.values())


def _add_studies(archive: Archive, store: Store) -> None:
    folder = store.root / STUDIES
    with storage_errors(store.root):
        folder.mkdir(exist_ok=True)
    for name in _names_under(archive, STUDIES, _STUDY):
        if not (folder / name).exists():
            write_file(folder / name, archive.read(f"{STUDIES}/{name}"))
    for name in _names_under(archive, STUDIES, _TARGET):
        path = folder / name
        theirs = _read_history(archive.read(f"{STUDIES}/{name}"), archive.path / STUDIES / name)
        mine = _read_history(path.read_bytes(), path) if path.exists() else {"replicates": 0}
        write_file(path, json.dumps(_merged(mine, theirs)).encode() + b"\n")


def _merged(mine: dict[str, Any], theirs: dict[str, Any]) -> dict[str, Any]:
    """Return what was asked for here and there: the most replicates, and every look at results."""
    first, second = mine, theirs
    if theirs["replicates"] > mine["replicates"]:
        first, second = theirs, mine
    return {
        "replicates": first["replicates"],
        "rule": first.get("rule") or second.get("rule"),
        "ran": max(mine.get("ran", 0), theirs.get("ran", 0)),
        "looks": _both(mine, theirs, "looks", ("at",)),
        # Of what was declared or given twice the time counts when least could be seen.
        "declared": _both(mine, theirs, "declared", ("seen", "at"), once="asked"),
        "given": _both(mine, theirs, "given", ("seen", "at"), once="by"),
    }


def _both(
    mine: dict[str, Any],
    theirs: dict[str, Any],
    name: str,
    order: tuple[str, ...],
    once: str | None = None,
) -> list[dict[str, Any]]:
    """Return what was remembered here or there, in order, each once."""
    found: list[dict[str, Any]] = []
    both = [*mine.get(name, ()), *theirs.get(name, ())]
    for item in sorted(both, key=lambda item: [item[key] for key in order]):
        known = [other[once] for other in found] if once else found
        if (item[once] if once else item) not in known:
            found.append(item)
    return found


#: What :mod:`synthtrial.history` writes, and nothing else: an archive may come from anybody.
_RULE = {"width": (int, float), "first": int, "most": int}
_LISTS: dict[str, dict[str, Any]] = {
    "looks": {"before": int, "after": int, "seen": int, "by": str, "at": str},
    "declared": {"asked": dict, "seen": int, "at": str},
    "given": {"by": str, "seen": int, "at": str},
}
_PLAIN = (str, int, float, type(None))


def _read_history(content: bytes, path: Path) -> dict[str, Any]:
    try:
        found = json.loads(content)
        kept = {"replicates": int(found["replicates"]), "ran": int(found.get("ran", 0))}
        rule, lists = found.get("rule"), {name: found.get(name, []) for name in _LISTS}
        fine = all(_is_like(item, _LISTS[name]) for name in lists for item in lists[name])
        fine = fine and all(_is_plain(item["asked"]) for item in lists["declared"])
        if fine and (rule is None or _is_like(rule, _RULE)):
            return {**kept, "rule": rule, **lists}
    except (ValueError, KeyError, TypeError, AttributeError):
        pass
    raise DamagedArtifactError(f"{path} does not say a number of replicates")


def _is_like(found: Any, form: dict[str, Any]) -> bool:
    return found.keys() == form.keys() and all(isinstance(found[key], form[key]) for key in form)


def _is_plain(asked: dict[str, Any]) -> bool:
    """Say whether settings are plain values, or lists of such."""
    values = [value if isinstance(value, list) else [value] for value in asked.values()]
    return all(isinstance(item, _PLAIN) for value in values for item in value)
