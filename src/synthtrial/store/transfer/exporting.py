"""The way out: what a study uses, ids hashed and restricted images left out, into an archive."""

from __future__ import annotations

import json
import shutil
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from synthtrial.errors import DamagedArtifactError, StoreError
from synthtrial.store.artifacts import (
    MANIFEST,
    Artifact,
    Store,
    describe_files,
    list_artifacts,
    mend,
    read_artifact,
)
from synthtrial.store.files import sha256_of
from synthtrial.store.manifest import REWRITTEN, manifest_text
from synthtrial.store.records import read_records
from synthtrial.store.root import SCHEMA, STORE_FILE, STUDIES
from synthtrial.store.segments import write_segment
from synthtrial.store.transfer.archive import ArchiveWriter, writing
from synthtrial.store.transfer.pseudonyms import (
    Pseudonyms,
    Scrubber,
    ids_in,
    rewrite_table,
    texts_in,
)
from synthtrial.store.verification import artifact_kinds

RECORDS = "records/segments"
#: Kinds of artifacts whose tables are in no order that means anything.
_UNORDERED = ("dataset", "split", "predictions")
_TABLE, _JSON = ".parquet", ".json"
#: Files that name no sample.
_OPAQUE = (".png", ".safetensors")
#: What is left in place of messages that may name samples which no table of the store has.
WITHHELD = "(the message was left out of the archive, as it may name samples)"


@dataclass(frozen=True)
class Contents:
    """What is to be exported.

    Attributes:
        artifacts: (kind, id) of each, inputs included.
        trials: ids of the trials and tasks whose records go along; None for all records.
        studies: files of the store's folder of studies, by name.
        about: what else ``archive.json`` is to say.
    """

    artifacts: Collection[tuple[str, str]]
    trials: Collection[str] | None
    studies: Mapping[str, bytes]
    about: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Exported:
    """What was exported.

    Attributes:
        path: of the archive.
        artifacts, records: their numbers.
        files: of the archive.
        bytes: of its files.
        key: fingerprint of the salt; None where ids were kept.
        restrictions: on what is in it.
        left_out: files that were left out, as ``<kind>/<id>/<name>``.
    """

    path: Path
    artifacts: int
    records: int
    files: int
    bytes: int
    key: str | None
    restrictions: tuple[str, ...]
    left_out: tuple[str, ...]


def export_store(
    store: Store, contents: Contents, out: Path, *, salt: bytes | None, with_restricted: bool
) -> Exported:
    """Write an archive.

    Args:
        store: from which.
        contents: what of it.
        out: a new file that ends in ``.tar``, or a new folder.
        salt: that ids are hashed with; None keeps them. Ids that are hashed already stay so.
        with_restricted: whether images, label vectors and weights with restrictions go along.

    Raises:
        StoreError: ``out`` exists, the disk is full, or the store mixes hashed and true ids.
        DamagedArtifactError: an artifact is not what was committed.
    """
    key = ids_key(store)
    names = Pseudonyms(salt) if salt is not None and key is None else None
    artifacts = [read_artifact(store, *item) for item in in_order(store, contents.artifacts)]
    table = _records(store, contents.trials)
    scrubber = _scrubber(artifacts, table, names) if names is not None else None
    about: dict[str, Any] = {
        **contents.about,
        "ids_key": names.key if names is not None else key,
        "artifacts": [[item.kind, item.id] for item in artifacts],
        "restrictions": sorted({limit for item in artifacts for limit in item.restrictions}),
        "left_out": [],
        "records": table.num_rows,
    }
    with writing(out, about) as archive:
        archive.add(STORE_FILE, json.dumps({"schema": SCHEMA}).encode() + b"\n")
        for artifact in artifacts:
            maker = _Copy(artifact, archive.scratch / "artifact", names, scrubber)
            about["left_out"] += maker.add_to(archive, with_restricted)
        _add_records(archive, table, scrubber)
        for name, content in sorted(contents.studies.items()):
            archive.add(f"{STUDIES}/{name}", content)
    return Exported(
        out,
        len(artifacts),
        table.num_rows,
        len(archive.files),
        sum(entry["bytes"] for entry in archive.files.values()),
        about["ids_key"],
        tuple(about["restrictions"]),
        tuple(about["left_out"]),
    )


def ids_key(store: Store) -> str | None:
    """Return the fingerprint of the salt that a store's ids are hashed with; None for true ids.

    Raises:
        StoreError: it has both, or two salts.
    """
    keys = {
        read_artifact(store, kind, name).ids_key
        for kind in ("dataset", "split")
        for name in list_artifacts(store, kind)
    }
    if len(keys) > 1:
        raise StoreError(
            f"{store.root} holds artifacts with ids of several kinds (salts "
            f"{', '.join(sorted(key or 'none' for key in keys))}), and nobody can tell which "
            "patients are the same. Remove those that came with the wrong import"
        )
    return keys.pop() if keys else None


def everything(store: Store) -> list[tuple[str, str]]:
    """Return (kind, id) of every artifact of a store."""
    return [(kind, name) for kind in artifact_kinds(store) for name in list_artifacts(store, kind)]


def in_order(store: Store, artifacts: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """Order artifacts so that each comes after its inputs."""
    wanted, done = set(artifacts), dict[tuple[str, str], None]()

    def visit(item: tuple[str, str]) -> None:
        if item in done or item not in wanted:
            return
        for source in read_artifact(store, *item).manifest["inputs"].values():
            visit((source["kind"], source["id"]))
        done[item] = None

    for item in sorted(wanted):
        visit(item)
    return list(done)


def _records(store: Store, trials: Collection[str] | None) -> pa.Table:
    table = read_records(store, every_attempt=True)
    if trials is None:
        return table
    return table.filter(pc.is_in(table["trial_id"], pa.array(sorted(trials), pa.string())))


def _scrubber(artifacts: Sequence[Artifact], table: pa.Table, names: Pseudonyms) -> Scrubber:
    """Gather every id, and every text that may quote one."""
    samples, groups, words, texts = set[str](), set[str](), set[str](), list[str]()
    for artifact in artifacts:
        texts += texts_in(artifact.info)
        words.update(artifact.info.get("classes", ()) if artifact.kind == "dataset" else ())
        for name in artifact.files:
            if name.endswith(_TABLE) and artifact.kind in ("dataset", "split"):
                found = ids_in(artifact.file(name))
                samples |= found[0]
                groups |= found[1]
            elif name.endswith(_JSON):
                texts += texts_in(json.loads(artifact.file(name).read_bytes()))
    texts += [text for text in set(table["message"].to_pylist()) if text]
    return Scrubber(names, samples, groups, texts, words)


def _add_records(archive: ArchiveWriter, table: pa.Table, scrubber: Scrubber | None) -> None:
    if not table.num_rows:
        return
    if scrubber is not None:
        pairs = zip(table["message"].to_pylist(), table["kind"].to_pylist(), strict=True)
        messages = [
            None if text is None else WITHHELD if kind == "prepare" else scrubber.text(text)
            for text, kind in pairs
        ]
        place = table.column_names.index("message")
        table = table.set_column(place, "message", pa.array(messages, pa.string()))
    path = write_segment(Store(archive.scratch / "records-of"), "records", table)
    archive.add(f"{RECORDS}/{sha256_of(path)[:32]}.parquet", path)


class _Copy:
    """One artifact on its way into an archive."""

    def __init__(
        self, artifact: Artifact, folder: Path, names: Pseudonyms | None, scrubber: Scrubber | None
    ) -> None:
        self._artifact, self._folder = artifact, folder
        self._names, self._scrubber = names, scrubber

    def add_to(self, archive: ArchiveWriter, with_restricted: bool) -> list[str]:
        """Add it; return what was left out."""
        artifact = self._artifact
        place = f"{artifact.kind}/{artifact.id}"
        bare = bool(artifact.restrictions) and not with_restricted
        gone = [name for name in artifact.files if not self._goes(name, bare)]
        sources = {n: self._file(n) for n in artifact.files if n not in gone}
        changed = [name for name, path in sources.items() if path != artifact.path / name]
        info = artifact.info if self._scrubber is None else self._scrubber.value(artifact.info)
        for name, path in sources.items():
            archive.add(f"{place}/{name}", path)
            if sha256_of(artifact.path / name) != artifact.entry(name)["sha256"]:
                raise DamagedArtifactError(f"{path} was altered. {mend(artifact.path)}")
        if gone or changed or info != artifact.info:
            archive.add(f"{place}/{MANIFEST}", self._manifest(gone, changed, info))
        else:
            archive.add(f"{place}/{MANIFEST}", artifact.path / MANIFEST)
        shutil.rmtree(self._folder, ignore_errors=True)
        return [f"{place}/{name}" for name in gone]

    def _goes(self, name: str, bare: bool) -> bool:
        known = name.endswith((_TABLE, _JSON))
        if bare:  # label vectors and images are the data; tables of ids and figures are not
            known = known and not name.startswith(("shard-", "allocation"))
        elif self._names is None:
            return True
        return known or (not bare and name.endswith(_OPAQUE))

    def _file(self, name: str) -> Path:
        """Return the file, or a rewritten copy of it."""
        path, target = self._artifact.file(name), self._folder / name
        if self._names is None or self._scrubber is None or name.endswith(_OPAQUE):
            return path
        target.parent.mkdir(parents=True, exist_ok=True)
        if name.endswith(_TABLE):
            rewrite_table(path, target, self._names, sort=self._artifact.kind in _UNORDERED)
            return target
        value = json.loads(path.read_bytes())
        scrubbed = self._scrubber.value(value)
        if scrubbed == value:
            return path
        target.write_text(json.dumps(scrubbed, indent=1, ensure_ascii=False), encoding="utf-8")
        return target

    def _manifest(self, gone: Sequence[str], changed: Sequence[str], info: Any) -> bytes:
        artifact = self._artifact
        fresh = {e["name"]: e for e in describe_files(self._folder)} if changed else {}
        manifest = dict(artifact.manifest)
        before = manifest.get(REWRITTEN, {})
        manifest["files"] = [
            fresh.get(name, artifact.entry(name)) for name in artifact.files if name not in gone
        ]
        manifest["info"] = info
        manifest[REWRITTEN] = {
            "original": artifact.origin_digest,
            "key": self._names.key if self._names is not None else artifact.ids_key,
            "left_out": [
                *before.get("left_out", []),
                *(dict(artifact.entry(name)) for name in gone),
            ],
        }
        return manifest_text(manifest)
