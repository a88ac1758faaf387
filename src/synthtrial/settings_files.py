"""Settings in YAML: finding a file by path or shipped name, reading it, saying what is wrong."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import ConfigKeyError, MissingMandatoryValue, OmegaConfBaseException
from yaml import YAMLError

from synthtrial.errors import ConfigError, suggest


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
    if "typing.List" in text or "not a ListConfig" in text:
        text = "it takes a list, such as [VALUE] or [VALUE, VALUE]"
    return f"setting '{key}': {text}" if key else text
