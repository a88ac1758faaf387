"""A published table: what others printed, to be audited and to stand beside our results.

    table = load_published("chexpert_paper")
    table.score("1 %", "Fracture", "gan")          # 0.656

A table is named by a file's path or by the name of a shipped one. Every mistake ends in one
:class:`~synthtrial.errors.ConfigError` that says where, what was got and what is allowed.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from synthtrial.errors import ConfigError
from synthtrial.published.problems import find_problems
from synthtrial.published.table import HeldOut, Images, Published, PublishedClaim, PublishedRegimen
from synthtrial.settings_files import explain, find_file, read_file
from synthtrial.study import shipped_folder

__all__ = [
    "HeldOut",
    "Images",
    "Published",
    "PublishedClaim",
    "PublishedRegimen",
    "load_published",
    "published_of",
    "shipped_published",
]

_SHOWN = 8


def shipped_published() -> dict[str, Path]:
    """Return the shipped tables by name."""
    return {path.stem: path for path in sorted((shipped_folder() / "published").glob("*.yaml"))}


def load_published(table: str | Path, overrides: Sequence[str] = ()) -> Published:
    """Read a published table by path or shipped name and apply ``key=value`` overrides.

    Args:
        table: a path, or the name of a shipped table.
        overrides: applied in order; one that gives the whole of a section replaces it.

    Raises:
        ConfigError: no such table, bad YAML, an unknown key, a wrong type, or numbers that cannot
            be or do not fit together.
    """
    given = _read(find_file(str(table), "table", shipped_published()), overrides)
    merged = OmegaConf.structured(Published)
    for key, value in given.items():  # one at a time: not every error says where it is
        try:
            # Unsafe for the first argument alone, which is ours: no time goes into copying it.
            merged = OmegaConf.unsafe_merge(merged, {key: value})
        except OmegaConfBaseException as error:
            raise ConfigError(f"table '{table}': {explain(error, str(key))}") from None
        except TypeError as error:  # OmegaConf's word for a list where a mapping belongs
            raise ConfigError(
                f"table '{table}': the section '{key}' has the wrong form: {error}; see the "
                "shipped tables for how it is written"
            ) from None
    try:
        published = OmegaConf.to_object(merged)
    except OmegaConfBaseException as error:
        raise ConfigError(f"table '{table}': {explain(error)}") from None
    assert isinstance(published, Published)
    problems = find_problems(published)
    if len(problems) > _SHOWN:
        problems = [*problems[:_SHOWN], f"... and {len(problems) - _SHOWN} more"]
    if problems:
        raise ConfigError(f"table '{table}': " + "\n  ".join(problems))
    return published


@lru_cache(maxsize=8)
def published_of(name: str | None) -> Published | None:
    """Return the publication that a study names; None where it names none.

    Raises:
        ConfigError: as :func:`load_published`.
    """
    return None if name is None else load_published(name)


def _read(path: Path, overrides: Sequence[str]) -> dict[Any, Any]:
    raw: Any = read_file(path)
    try:
        for override in overrides:
            key, separator, _ = override.partition("=")
            if not separator or not key.strip():
                raise ConfigError(f"the override '{override}' is not of the form key=value")
            raw = OmegaConf.merge(raw, {} if "." in key else {key.strip(): None})
            raw = OmegaConf.merge(raw, OmegaConf.from_dotlist([override]))
        given: Any = OmegaConf.to_container(raw, resolve=True)
    except (YAMLError, OmegaConfBaseException, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())
        raise ConfigError(f"{path} or an override is not readable YAML: {reason}") from None
    return {key: value for key, value in given.items() if value is not None}
