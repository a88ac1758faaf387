"""Datasets of the Hugging Face hub as they lie in its cache on this machine; nothing is fetched.

The layout is that of ``huggingface_hub``: ``hub/datasets--<user>--<name>/refs/<revision>`` holds
the commit that a branch or tag stands for, ``snapshots/<commit>/`` its files.
"""

from __future__ import annotations

import os
import re
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from synthtrial.errors import DataError

_NAME = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")


def is_hub_name(text: str) -> bool:
    """Say whether a text looks like ``user/name``."""
    return _NAME.fullmatch(text) is not None


def snapshot(name: str, revision: str) -> Path | None:
    """Return the folder of a dataset that has been fetched; None where it has not been."""
    folder = _cache() / f"datasets--{name.replace('/', '--')}"
    try:
        commit = (folder / "refs" / revision).read_text(encoding="utf-8").strip()
    except OSError:
        commit = revision
    found = folder / "snapshots" / commit
    return found if commit and found.is_dir() else None


def download(name: str, revision: str) -> str:
    """Fetch the Parquet files of a dataset into the cache; return a line about it.

    Raises:
        DataError: huggingface_hub is not installed, or the hub cannot be reached or refuses.
    """
    if find_spec("huggingface_hub") is None:
        raise DataError(
            f"{name} lies on the Hugging Face hub, which huggingface_hub reads; run: pip install "
            "huggingface_hub, or copy the dataset's Parquet files here and set dataset.path"
        )
    hub: Any = import_module("huggingface_hub")
    try:
        folder = hub.snapshot_download(
            name,
            repo_type="dataset",
            revision=revision,
            allow_patterns="*.parquet",
            cache_dir=_cache(),
        )
    except Exception as error:  # it raises what its HTTP libraries raise
        text = str(error).strip().partition("\n")[0]
        raise DataError(
            f"cannot fetch {name} from the Hugging Face hub ({type(error).__name__}: {text})"
        ) from error
    return f"{name} is in {folder}"


def _cache() -> Path:
    """Return the hub's cache, which ``HF_HUB_CACHE`` or ``HF_HOME`` may move."""
    if os.environ.get("HF_HUB_CACHE"):
        return Path(os.environ["HF_HUB_CACHE"]).expanduser()
    home = os.environ.get("HF_HOME")
    if not home:
        home = str(Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "huggingface")
    return Path(home).expanduser() / "hub"
