"""The source that runs is the source that was submitted.

A queue may hold a job for days while its author goes on editing. So jobs import a copy of the
package, kept in the store under the digest of its content, with the commit it came from and what
was changed since.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import synthtrial
from synthtrial.engines.commands import ask
from synthtrial.engines.slurm.sites import site_folder
from synthtrial.identity import code_digest
from synthtrial.store.artifacts import Store
from synthtrial.store.files import storage_errors, temporary_name
from synthtrial.store.root import SOURCE
from synthtrial.study import shipped_folder


def snapshot(store: Store) -> Path:
    """Copy the running package into the store, once for each version of it.

    Returns:
        The folder to put first on ``PYTHONPATH``.

    Raises:
        StoreError: the disk is full, or the store is read-only.
    """
    final = source_path(store)
    if final.exists():
        return final
    package = Path(synthtrial.__file__).parent
    with storage_errors(store.root):
        final.parent.mkdir(exist_ok=True)
        temporary = temporary_name(final)
        try:
            shutil.copytree(
                package,
                temporary / package.name,
                ignore=shutil.ignore_patterns("__pycache__", "_shipped"),
            )
            shipped = temporary / package.name / "_shipped"
            shutil.copytree(shipped_folder(), shipped / "configs")
            shutil.copytree(site_folder(), shipped / "cluster" / "sites")
            (temporary / "source.json").write_text(json.dumps(provenance(package), indent=1))
            temporary.rename(final)
        except OSError:
            shutil.rmtree(temporary, ignore_errors=True)
            if not final.exists():  # another process may have been quicker
                raise
    return final


def source_path(store: Store) -> Path:
    """Return where the copy of the running package is, or will be."""
    return store.root / SOURCE / code_digest()


def provenance(package: Path) -> dict[str, str | None]:
    """Return version, digest and, inside a git repository, commit and uncommitted changes."""
    git = ("git", "-C", str(package))
    commit, _ = ask(*git, "rev-parse", "HEAD")
    changes = ask(*git, "diff", "HEAD", "--", ".")[0] if commit else None
    return {
        "version": synthtrial.__version__,
        "digest": code_digest(),
        "path": str(package),
        "commit": commit and commit.strip(),
        "changes": changes,
    }
