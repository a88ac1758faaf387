"""Names that last and random numbers that do not depend on who draws them.

An id is the SHA-256 of the canonical JSON of what a result depends on, and of nothing else. A
random stream is addressed by (seed, names...): any process that asks for the same address gets the
same numbers, whatever it drew before (counter-based Philox, Salmon et al. 2011).
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

ID_LENGTH = 20  # hexadecimal digits: 80 bits, no collision expected below 10^11 ids


def canonical_json(value: Any) -> str:
    """Serialise plain data so that equal meanings give equal text.

    Keys are sorted, integral floats are written as integers (``1`` and ``1.0`` are one id) and
    non-finite numbers are refused.

    Raises:
        TypeError: ``value`` holds something other than plain data.
        ValueError: ``value`` holds a NaN or an infinity.
    """
    return json.dumps(_plain(value), sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def _plain(value: Any) -> Any:
    if type(value) is dict and all(type(key) is str for key in value):  # the common case, fast
        return {key: item if type(item) is str else _plain(item) for key, item in value.items()}
    if value is None or isinstance(value, (str, bool)):
        return value
    if isinstance(value, int):
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"an id cannot depend on the non-finite number {value}")
        return int(value) if value.is_integer() else value
    if isinstance(value, Mapping):
        if not all(isinstance(key, str) for key in value):
            raise TypeError("an id can only depend on mappings with text keys")
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, Sequence):
        return [_plain(item) for item in value]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return non_default(value)
    raise TypeError(f"an id cannot depend on a {type(value).__name__}: {value!r}")


def digest(value: Any) -> str:
    """Return the id of plain data: the first 20 hexadecimal digits of its SHA-256."""
    return digest_of(canonical_json(value))


def digest_of(text: str) -> str:
    """Return the id of plain data whose canonical JSON is at hand."""
    return hashlib.sha256(text.encode()).hexdigest()[:ID_LENGTH]


def non_default(config: Any) -> dict[str, Any]:
    """Return the fields of a config dataclass that differ from their defaults, as plain data.

    A field added later with a default that keeps the old behaviour leaves every old id as it was.
    """
    changed: dict[str, Any] = {}
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if field.default is not dataclasses.MISSING:
            default = field.default
        elif field.default_factory is not dataclasses.MISSING:
            default = field.default_factory()
        else:
            default = dataclasses.MISSING
        if default is dataclasses.MISSING or value != default:
            changed[field.name] = _plain(value)
    return changed


def stream_key(seed: int, *names: str | int) -> int:
    """Return the 128-bit key of a named random stream."""
    text = canonical_json([seed, *names])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:16], "little")


def stream(seed: int, *names: str | int) -> np.random.Generator:
    """Return the random stream named ``names`` under ``seed``, at its beginning.

    Example:
        ``stream(study_seed, "order", replicate, epoch).permutation(n)``
    """
    return np.random.Generator(np.random.Philox(key=stream_key(seed, *names)))


def torch_seed(seed: int, *names: str | int) -> int:
    """Return a 63-bit seed for ``torch.manual_seed`` from a named stream."""
    return stream_key(seed, *names) & (2**63 - 1)


@cache
def code_digest() -> str:
    """Return the digest of synthtrial's own source files, as recorded beside every result."""
    root = Path(__file__).resolve().parent
    hasher = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        hasher.update(path.relative_to(root).as_posix().encode())
        hasher.update(path.read_bytes())
    return hasher.hexdigest()[:ID_LENGTH]
