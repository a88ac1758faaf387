"""Which study is meant, and what of a store is its: may not be deleted, and goes into archives."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from synthtrial.data.imported import IMPORTED, describe_as_imported
from synthtrial.errors import ConfigError, StoreError
from synthtrial.history import SUFFIX, as_replicated, history_file
from synthtrial.identity import canonical_json
from synthtrial.plan import Plan, build
from synthtrial.store.artifacts import Store, exists, open_store
from synthtrial.store.files import entries
from synthtrial.store.maintenance import with_inputs
from synthtrial.store.root import STUDIES, snapshot_files
from synthtrial.store.transfer.exporting import Contents, everything
from synthtrial.study import Study, load
from synthtrial.tasks import ARTIFACT_KINDS
from synthtrial.upstream import prepare_task


def locate(given: str, overrides: Sequence[str] = ()) -> tuple[Study, Store]:
    """Find a study, taken to the replicates that were asked for, and its store.

    Args:
        given: ``STUDY`` or ``STUDY@STORE``. With a store, the study is the one of this name that
            ran there last, as it was set then, or the one whose digest begins so; else it is a
            file or a shipped study as for every other verb.
        overrides: of settings.

    Raises:
        ConfigError: no such study.
        StoreError: no such store.
    """
    words, _, place = (given, "", "") if Path(given).is_file() else given.partition("@")
    if place:
        store = open_store(Path(place), create=False)
        study = load(_kept(store, words) or words, [*overrides, f"store.path={store.root}"])
    else:
        study = load(words, overrides)
        if not study.store_path.exists():
            raise StoreError(
                f"there is no store at {study.settings.store.path}; name the one that has the "
                f"results of {words}: '{words}@STORE'"
            )
        store = open_store(study.store_path, create=False)
    return as_replicated(study, store), store


def _kept(store: Store, words: str) -> Path | None:
    """Return the newest snapshot in the store of a study of this name, or with this digest."""
    for path, study in studies_in(store):
        if study.name == words or (len(words) > 3 and path.stem.startswith(words)):
            return path
    return None


def studies_in(store: Store) -> Iterator[tuple[Path, Study]]:
    """Yield snapshots and studies that ran in a store, the last one first, if they still load."""
    for path in snapshot_files(store):
        with suppress(ConfigError):
            yield path, load(path)


def artifacts_of(plan: Plan) -> set[tuple[str, str]]:
    """Return (kind, id) of what a plan's tasks make, whether it is there or not."""
    kept = {(ARTIFACT_KINDS[t.kind], t.id) for t in plan.tasks.values() if t.kind != "trial"}
    trials = [task.id for task in plan.tasks.values() if task.kind == "trial"]
    return kept | {(kind, id_) for id_ in trials for kind in ("predictions", "weights")}


def artifacts_in_use(store: Store, study: Study) -> set[tuple[str, str]]:
    """Return (kind, id) of what this study uses, and every other one that ran in this store.

    Raises:
        ConfigError: a study that ran here can no longer be read, so that what it uses is unknown.
    """
    used = artifacts_of(build(study, store))
    for path in snapshot_files(store):
        with _must_be_readable(path):
            used |= artifacts_of(build(as_replicated(load(path), store), store))
    return used


def contents_of_study(plan: Plan, store: Store, *, keep_ids: bool) -> Contents:
    """Return what an archive of a study takes: its results, and all that they were made from.

    Args:
        plan: of the study in this store.
        store: the store.
        keep_ids: whether its ids go along as they are; else its settings go without the paths of
            its dataset.

    Raises:
        StoreError: the dataset cannot be described without its files.
    """
    made = {item for item in artifacts_of(plan) if exists(store, *item)}
    name, text = _snapshot(plan.study, keep_ids)
    target = history_file(plan.study, store)
    studies = {name: text} | ({target.name: target.read_bytes()} if target.exists() else {})
    about = {"study": plan.study.name, "complete": plan.complete}
    return Contents(with_inputs(store, made), set(plan.tasks), studies, about)


def contents_of_store(store: Store, *, keep_ids: bool) -> Contents:
    """Return all that a store has, as what an archive takes.

    Args:
        store: the store.
        keep_ids: as in :func:`contents_of_study`.

    Raises:
        ConfigError: a study that ran here can no longer be read.
        StoreError: a dataset cannot be described without its files.
    """
    targets = entries(store.root / STUDIES, SUFFIX)
    studies = {path.name: path.read_bytes() for path in targets}
    names = set()
    for path in snapshot_files(store):
        with _must_be_readable(path):
            study = load(path)
        names.add(study.name)
        name, text = _snapshot(study, keep_ids)
        studies[name] = text
    return Contents(everything(store), None, studies, {"study": None, "studies": sorted(names)})


@contextmanager
def _must_be_readable(path: Path) -> Iterator[None]:
    """Say which snapshot it is that cannot be read."""
    try:
        yield
    except ConfigError as error:
        raise ConfigError(
            f"{path} ran in this store and cannot be read any more, so what it uses is unknown: "
            f"{error} Mend that, or remove the file if the study may go."
        ) from None


def _snapshot(study: Study, keep_ids: bool) -> tuple[str, bytes]:
    """Return name and content of a study's snapshot; without paths of its dataset where it may.

    A dataset that reads files is replaced by what is known of it, so that the study can be planned
    and reported where they are not; all ids stay.
    """
    dataset = study.dataset
    if not keep_ids and dataset.component.identity and dataset.name != IMPORTED.name:
        known = describe_as_imported(dataset.name, dataset.identity, dataset.load())
        bare = study.replace([f"dataset={canonical_json(known)}"])
        if prepare_task(bare).id != prepare_task(study).id:
            raise StoreError(
                f"the dataset '{dataset.name}' cannot be described so that its ids stay: export "
                "with --keep-ids"
            )
        study = bare
    return f"{study.digest}.yaml", study.snapshot().encode()
