"""How many replicates a study has been taken to in a store, beyond what its file says."""

from __future__ import annotations

import json
from pathlib import Path

from synthtrial.errors import StoreError
from synthtrial.store.artifacts import Store
from synthtrial.store.files import storage_errors, write_file
from synthtrial.study import Study


def with_target(study: Study, store: Store) -> Study:
    """Return the study with the replicates that `synthtrial replicate` has asked for here."""
    path = _path(study, store)
    if not path.exists():
        return study
    try:
        target = int(json.loads(path.read_text())["replicates"])
    except (OSError, ValueError, KeyError, TypeError):
        raise StoreError(
            f"{path} does not say a number of replicates; remove it and run "
            f"`{study.command('replicate')} --to N` again"
        ) from None
    return _with_replicates(study, target)


def raise_target(study: Study, store: Store, replicates: int) -> Study:
    """Remember that the study is taken to so many replicates, and return it so.

    Replicates are never taken away: a target below what was asked for before changes nothing.
    """
    study = with_target(study, store)
    if replicates > study.settings.protocol.replicates:
        study = _with_replicates(study, replicates)
        path = _path(study, store)
        with storage_errors(store.root):
            path.parent.mkdir(exist_ok=True)
            write_file(path, json.dumps({"replicates": replicates}).encode() + b"\n")
    return study


def _path(study: Study, store: Store) -> Path:
    return store.root / "studies" / f"{study.name}.replicates.json"


def _with_replicates(study: Study, replicates: int) -> Study:
    if replicates <= study.settings.protocol.replicates:
        return study
    return study.replace([f"protocol.replicates={replicates}"])
