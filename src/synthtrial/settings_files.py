"""Settings in YAML: finding a file by path or shipped name, reading it, saying what is wrong."""

from __future__ import annotations

import dataclasses
from collections.abc import Container, Mapping, Sequence
from pathlib import Path
from typing import Any, get_type_hints

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import ConfigKeyError, MissingMandatoryValue, OmegaConfBaseException
from yaml import YAMLError

from synthtrial.errors import ConfigError, suggest

#: Sections whose keys the user names; an override of the whole section leaves nothing behind.
OPEN_SECTIONS = ("arms", "classifier", "dataset", "generator", "grid")


def find_file(name: str, kind: str, shipped: Mapping[str, Path]) -> Path:
    """Return the file that a path or the name of a shipped one stands for.

    Args:
        name: as the user gave it.
        kind: what it is, for the message, such as ``study``.
        shipped: files by name.

    Raises:
        ConfigError: there is none.
    """
    path = Path(name).expanduser()
    if path.suffix in {".yaml", ".yml"} or path.is_file():
        if path.is_file():
            return path
        raise ConfigError(f"there is no {kind} file {path}; shipped: {', '.join(shipped)}")
    if name in shipped:
        return shipped[name]
    raise ConfigError(
        f"unknown {kind} '{name}': {suggest(name, shipped)} "
        "Give one of these names or the path of a YAML file."
    )


def read_file(path: Path) -> DictConfig:
    """Read a YAML file of settings by name.

    Raises:
        ConfigError: it cannot be read, is no YAML, or holds no settings by name.
    """
    try:
        raw = OmegaConf.load(path)
    except (YAMLError, OmegaConfBaseException, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())
        raise ConfigError(f"{path} is not readable YAML: {reason}") from None
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from None
    if not isinstance(raw, DictConfig):
        raise ConfigError(f"{path} must hold settings as 'key: value', got a {type(raw).__name__}")
    return raw


def without_null_sections(given: Mapping[str, Any], schema: type) -> dict[str, Any]:
    """Leave out sections, at any depth, that are null: they are as they are by default."""
    hints, kept = get_type_hints(schema), {}
    for key, value in given.items():
        section = hints.get(key)
        if dataclasses.is_dataclass(section) and isinstance(section, type):
            if value is None:
                continue
            if isinstance(value, Mapping):
                value = without_null_sections(value, section)
        kept[key] = value
    return kept


def explain(error: OmegaConfBaseException, section: str = "") -> str:
    """Say what OmegaConf found wrong, in one line.

    Args:
        error: of OmegaConf.
        section: where it was, for errors that do not say.
    """
    text = str(error).splitlines()[0]
    key = getattr(error, "full_key", None) or section
    if isinstance(error, ConfigKeyError) and dataclasses.is_dataclass(error.object_type):
        allowed = [field.name for field in dataclasses.fields(error.object_type)]
        return f"unknown setting '{key}': {suggest(str(error.key), allowed)}"
    if isinstance(error, MissingMandatoryValue):
        return f"a setting is missing: {text}; add it"
    if "not a subclass of" in text or "Cannot assign" in text:
        text += "; a section takes settings as 'key: value'"
    if "is not Optional" in text:
        text = "null is no value for it; leave it out, or give what it takes"
    if "typing.List" in text or "not a ListConfig" in text:
        text = "it takes a list, such as [VALUE] or [VALUE, VALUE]"
    return f"setting '{key}': {text}" if key else text


def forget_questions(raw: Any, asked: Container[str]) -> None:
    """Drop what was asked about arms that are there no more, but nothing that is asked anew."""
    statistics, arms = raw.get("statistics") or {}, raw.get("arms") or {}
    primary = statistics.get("primary") or {}
    if "primary" not in asked and primary.get("arm") not in arms:
        statistics.pop("primary", None)
    if "family" not in asked and "family" in statistics:
        statistics["family"] = [arm for arm in statistics["family"] if arm in arms]


def override(raw: Any, overrides: Sequence[str]) -> Any:
    """Apply overrides in order; one that gives the whole of an open section replaces it."""
    for given in overrides:
        key, separator, _ = given.partition("=")
        if not separator or not key.strip():
            raise ConfigError(f"the override '{given}' is not of the form key=value")
        if key.strip() in OPEN_SECTIONS:
            raw = OmegaConf.merge(raw, {key.strip(): None})
    try:
        stated: Any = OmegaConf.from_dotlist(list(overrides))
        whole = OmegaConf.merge(raw, stated)
        if any(given.partition("=")[0].strip() == "arms" for given in overrides):
            forget_questions(whole, asked=stated.get("statistics") or {})
        return whole
    except (YAMLError, OmegaConfBaseException) as error:
        raise ConfigError(f"cannot read the overrides {list(overrides)}: {error}") from None
