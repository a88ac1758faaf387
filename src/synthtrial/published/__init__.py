"""A published table: what others printed, to be audited and to stand beside our results.

    table = load_published("chexpert_paper")
    table.score("1 %", "Fracture", "gan")          # 0.656

A table is named by a file's path or by the name of a shipped one. Every mistake ends in one
:class:`~synthtrial.errors.ConfigError` that says where, what was got and what is allowed.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import ConfigKeyError, MissingMandatoryValue, OmegaConfBaseException
from yaml import YAMLError

from synthtrial.errors import ConfigError, suggest
from synthtrial.published.problems import find_problems
from synthtrial.published.table import HeldOut, Images, Published, PublishedClaim, PublishedRegimen
from synthtrial.study import shipped_folder

__all__ = [
    "HeldOut",
    "Images",
    "Published",
    "PublishedClaim",
    "PublishedRegimen",
    "load_published",
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
    given = _read(_find(str(table)), overrides)
    merged = OmegaConf.structured(Published)
    for key, value in given.items():  # one at a time: not every error says where it is
        try:
            # Unsafe for the first argument alone, which is ours: no time goes into copying it.
            merged = OmegaConf.unsafe_merge(merged, {key: value})
        except OmegaConfBaseException as error:
            raise ConfigError(f"table '{table}': {_explain(error, str(key))}") from None
        except TypeError as error:  # OmegaConf's word for a list where a mapping belongs
            raise ConfigError(
                f"table '{table}': the section '{key}' has the wrong form: {error}; see the "
                "shipped tables for how it is written"
            ) from None
    try:
        published = OmegaConf.to_object(merged)
    except OmegaConfBaseException as error:
        raise ConfigError(f"table '{table}': {_explain(error, '')}") from None
    assert isinstance(published, Published)
    problems = find_problems(published)
    if len(problems) > _SHOWN:
        problems = [*problems[:_SHOWN], f"... and {len(problems) - _SHOWN} more"]
    if problems:
        raise ConfigError(f"table '{table}': " + "\n  ".join(problems))
    return published


def _read(path: Path, overrides: Sequence[str]) -> dict[Any, Any]:
    try:
        raw: Any = OmegaConf.load(path)
        if not isinstance(raw, DictConfig):
            raise ConfigError(f"{path} must hold settings as 'key: value'")
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
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from None
    return {key: value for key, value in given.items() if value is not None}


def _find(name: str) -> Path:
    path, shipped = Path(name).expanduser(), shipped_published()
    if path.suffix in {".yaml", ".yml"} or path.is_file():
        if path.is_file():
            return path
        raise ConfigError(f"there is no table file {path}; shipped: {', '.join(shipped)}")
    if name in shipped:
        return shipped[name]
    raise ConfigError(
        f"unknown table '{name}': {suggest(name, shipped)} "
        "Give one of these names or the path of a YAML file."
    )


def _explain(error: OmegaConfBaseException, section: str) -> str:
    text = str(error).splitlines()[0]
    key = getattr(error, "full_key", None) or section
    if isinstance(error, ConfigKeyError) and dataclasses.is_dataclass(error.object_type):
        allowed = [item.name for item in dataclasses.fields(error.object_type)]
        return f"unknown setting '{key}': {suggest(str(error.key), allowed)}"
    if isinstance(error, MissingMandatoryValue):
        return f"a setting is missing: {text}; add it"
    if "not a subclass of" in text:
        text += "; a section takes settings as 'key: value'"
    return f"setting '{key}': {text}" if key else text
