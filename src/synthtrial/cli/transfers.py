"""Verbs that move stores: export, import."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from synthtrial.cli.common import build_plan, console
from synthtrial.errors import ConfigError

if TYPE_CHECKING:
    from rich.console import Console

    from synthtrial.store.artifacts import Store
    from synthtrial.store.transfer.exporting import Exported
    from synthtrial.store.transfer.merging import Merged

_STORE = "store.path="
_OVERRIDE = re.compile(r"[A-Za-z_][\w.]*=")


@click.command()
@click.argument("study")
@click.argument("file")
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")
@click.option("--all", "whole", is_flag=True, help="The whole store, not only what STUDY uses.")
@click.option("--keep-ids", is_flag=True, help="Leave ids of patients and images as they are.")
@click.option(
    "--salt-file",
    metavar="PATH",
    help="Hash ids with this secret, so that archives of one cohort can be merged.",
)
@click.option(
    "--with-restricted", is_flag=True, help="Also images and weights that may not be passed on."
)
def export(
    study: str,
    file: str,
    overrides: Sequence[str],
    whole: bool,
    keep_ids: bool,
    salt_file: str | None,
    with_restricted: bool,
) -> None:
    """Write a study's results, and what they were made from, into FILE.tar or a folder.

    STUDY@STORE is the study of that name that ran last in a store, as it was set then. Ids of
    patients and images are hashed, with a random salt that is thrown away, and what may not be
    passed on is left out. To go on with the study elsewhere, use --keep-ids.
    """
    from synthtrial.holdings import contents_of_store, contents_of_study, locate
    from synthtrial.store.transfer.exporting import export_store
    from synthtrial.store.transfer.formats import check_new
    from synthtrial.store.transfer.pseudonyms import new_salt, read_salt

    check_new(_archive(file, "export STUDY FILE"))  # before the work
    if keep_ids and salt_file:
        raise ConfigError("--keep-ids hashes nothing: leave --salt-file away, or --keep-ids")
    loaded, store = locate(study, overrides)
    salt = None if keep_ids else read_salt(Path(salt_file)) if salt_file else new_salt()
    contents = (
        contents_of_store(store, keep_ids=keep_ids)
        if whole
        else contents_of_study(build_plan(loaded, store), store, keep_ids=keep_ids)
    )
    done = export_store(store, contents, Path(file), salt=salt, with_restricted=with_restricted)
    _show_export(console(), done, kept_salt=salt_file is not None, hashed=not keep_ids)


def _archive(word: str, usage: str) -> Path:
    """Return FILE, unless it looks like a setting that stands in its place."""
    if _OVERRIDE.match(word):
        raise ConfigError(
            f"FILE is missing: in its place is '{word}', which looks like a setting. Allowed: "
            f"`synthtrial {usage} [KEY=VALUE]...`, settings last. If the archive is called so, "
            f"write './{word}'"
        )
    return Path(word)


def _show_export(screen: Console, done: Exported, *, kept_salt: bool, hashed: bool) -> None:
    from synthtrial.progress import human_bytes

    screen.print(
        f"{done.artifacts} artifacts and {done.records} records in {done.files} files, "
        f"{human_bytes(done.bytes)}"
    )
    if done.key is None:
        screen.print("ids of patients and images are as they were: the study can go on elsewhere")
    elif not hashed:
        screen.print(f"ids stay hashed, as they came (salt {done.key})")
    elif kept_salt:
        screen.print(f"ids are hashed (salt {done.key}); archives of the same salt can be merged")
    else:
        screen.print(
            "ids are hashed with a random salt that is not kept: this archive cannot be merged "
            "with another of the same cohort (use --salt-file for that), and nothing new is "
            "trained from it (use --keep-ids for that)"
        )
    limits = ", ".join(done.restrictions)
    if done.left_out:
        screen.print(
            f"left out: {len(done.left_out)} files with images, label vectors or weights that may "
            f"not be passed on ({limits}); archive.json lists them, --with-restricted includes them"
        )
    elif done.restrictions:
        screen.print(f"RESTRICTED ({limits}): whoever gets this archive gets what it was made from")
    screen.print(f"archive: {done.path}")


@click.command("import")
@click.argument("file")
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")
def import_(file: str, overrides: Sequence[str]) -> None:
    """Merge an archive that `export` wrote into a store.

    The store is the one in this folder, or that of store.path=DIR. What is there is skipped, so an
    import that was interrupted is run again. An artifact that the store has with other content is
    refused, before anything is written.
    """
    from synthtrial.config import StoreConfig
    from synthtrial.store.artifacts import open_store
    from synthtrial.store.transfer.archive import reading
    from synthtrial.store.transfer.merging import import_archive

    archive = _archive(file, "import FILE")
    place = StoreConfig().path
    for override in overrides:
        if not override.startswith(_STORE):
            raise ConfigError(f"import: '{override}' is not understood; allowed: {_STORE}DIR")
        place = override.removeprefix(_STORE)
    with reading(archive):  # what is no archive makes no store
        pass
    store = open_store(Path(place), create=True)
    _show_import(console(), store, import_archive(archive, store))


def _show_import(screen: Console, store: Store, done: Merged) -> None:
    from synthtrial.store.root import STUDIES

    screen.print(
        f"{store.root}: {done.added} artifacts added, {done.present} were there; "
        f"{done.records} records added"
    )
    if done.key is not None:
        screen.print(
            f"ids are hashed (salt {done.key}): read, compare, verify and export it; nothing new "
            "is trained from it"
        )
    if done.restrictions:
        screen.print(f"restrictions that hold here too: {', '.join(done.restrictions)}")
    if done.left_out:
        screen.print(f"{len(done.left_out)} files were left out by the export")
    for name in done.studies:
        snapshot = store.root / STUDIES / name
        command = ["synthtrial", "report", str(snapshot), f"{_STORE}{store.root}"]
        screen.print(f"next: `{shlex.join(command)}`")


COMMANDS = (export, import_)
