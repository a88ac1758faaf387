"""Whether a network that is being built shall get the pretrained weights its options name.

A network of a study does. One that is built to receive the weights of a finished training does not:
they would be overwritten at once, and need not be on the machine that reads it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_wanted: ContextVar[bool] = ContextVar("pretrained", default=True)


def pretrained_wanted() -> bool:
    """Return what a classifier's builder asks before it loads pretrained weights."""
    return _wanted.get()


@contextmanager
def without_pretrained() -> Iterator[None]:
    """Build networks whose weights will be replaced: only their layers and options count."""
    token = _wanted.set(False)
    try:
        yield
    finally:
        _wanted.reset(token)
