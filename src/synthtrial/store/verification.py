"""Verification: every byte of a store against what its manifests and checksums say."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from synthtrial.errors import StoreError
from synthtrial.store.artifacts import MANIFEST, list_artifacts, read_artifact
from synthtrial.store.files import entries, files_under, sha256_of
from synthtrial.store.journal import journal_folder, read_journal
from synthtrial.store.root import NAME, RESERVED, Store
from synthtrial.store.segments import SUFFIX as SEGMENT_SUFFIX
from synthtrial.store.segments import list_segments, read_segment, segment_folder


@dataclass(frozen=True)
class Problem:
    """Something in the store that is not as it was committed.

    Attributes:
        kind: of artifact, or ``records``.
        id: of the artifact, or the name of the journal or segment.
        file: in it; empty when it concerns the whole.
        message: what is wrong and what to do.
    """

    kind: str
    id: str
    file: str
    message: str


def artifact_kinds(store: Store) -> list[str]:
    """Return the kinds of artifacts that the store has folders for, sorted."""
    names = [path.name for path in entries(store.root) if path.is_dir()]
    return [name for name in names if NAME.fullmatch(name) and name not in RESERVED]


def verify_artifact(store: Store, kind: str, id: str) -> list[Problem]:  # noqa: A002
    """Check an artifact's manifest, files (SHA-256) and inputs; an empty list means sound."""
    try:
        artifact = read_artifact(store, kind, id)
    except StoreError as error:
        return [Problem(kind, id, MANIFEST, str(error))]
    problems = []
    for name in artifact.files:
        try:
            path = artifact.file(name)
            if sha256_of(path) != artifact.entry(name)["sha256"]:
                message = f"{path} was altered. Delete {artifact.path} and run the study again."
                problems.append(Problem(kind, id, name, message))
        except (OSError, StoreError) as error:
            problems.append(Problem(kind, id, name, str(error)))
    known = {MANIFEST, *artifact.files}
    for path in files_under(artifact.path):
        name = path.relative_to(artifact.path).as_posix()
        if name not in known:
            message = f"{path} is not in the manifest; nothing reads it. Remove it."
            problems.append(Problem(kind, id, name, message))
    for name, entry in artifact.manifest["inputs"].items():
        message = _input_problem(store, name, entry)
        if message:
            problems.append(Problem(kind, id, "", message))
    return problems


def _input_problem(store: Store, name: str, entry: dict[str, str]) -> str:
    where = store.folder(entry["kind"], entry["id"])
    try:
        if sha256_of(where / MANIFEST) == entry["manifest_sha256"]:
            return ""
        # Made anew with equal content (after a repair, say) is as good, and so is what a transfer
        # has rewritten: it says for which content it stands.
        if (
            read_artifact(store, entry["kind"], entry["id"]).origin_digest
            == entry["content_digest"]
        ):
            return ""
    except FileNotFoundError:
        return f"its input {name!r}, {where}, is not in the store any more."
    except (OSError, StoreError) as error:
        return f"its input {name!r}, {where}, cannot be checked: {error}"
    return (
        f"its input {name!r}, {where}, was made anew with other content. Delete this artifact to "
        "have it made from the new one."
    )


def verify_records(store: Store) -> Iterator[tuple[str, str, list[Problem]]]:
    """Check every journal and segment; yields ("records", file name, problems)."""
    for path in entries(journal_folder(store)):
        if path.name.endswith(".damaged"):
            message = (
                f"{path} had damaged lines when it was sealed; their trials run again. Remove it "
                "once you have looked at it."
            )
            yield "records", path.name, [Problem("records", path.name, "", message)]
            continue
        try:
            damaged = read_journal(path).damaged
        except FileNotFoundError:
            continue  # sealed meanwhile
        message = f"{path} has damaged lines {damaged}; their trials run again."
        yield "records", path.name, [Problem("records", path.name, "", message)] if damaged else []
    try:
        superseded = {path for path, _ in list_segments(store).superseded}
    except (OSError, StoreError):
        superseded = set()  # the loop finds out which one is damaged
    for path in entries(segment_folder(store), SEGMENT_SUFFIX):
        if path in superseded:
            continue
        problem = _segment_problem(path)
        yield "records", path.name, [problem] if problem else []


def _segment_problem(path: Path) -> Problem | None:
    try:
        read_segment(path)
    except FileNotFoundError:
        return None  # collected meanwhile
    except StoreError as error:
        return Problem("records", path.name, "", str(error))
    return None


def verify_store(store: Store) -> Iterator[tuple[str, str, list[Problem]]]:
    """Check everything in a store; yields (kind, id, problems) one by one, sound ones too."""
    for kind in artifact_kinds(store):
        for name in list_artifacts(store, kind):
            yield kind, name, verify_artifact(store, kind, name)
        for path in entries(store.root / kind):
            if NAME.fullmatch(path.name) and not (path / MANIFEST).is_file():
                message = f"{path} has no {MANIFEST}: it is not a committed artifact. Delete it."
                yield kind, path.name, [Problem(kind, path.name, MANIFEST, message)]
    yield from verify_records(store)
