"""Plug-ins: datasets, generators, classifiers, arms, augmentations and metrics by name.

A package offers a component through an entry point in the group ``synthtrial.<kind>s``. The entry
point is a :class:`Component`: its config dataclass and algorithm version can be read without
importing what it implements, so that planning stays light. Names in a study are looked up here and
nowhere else; a study can never make synthtrial import a module of its choosing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Literal

from synthtrial.errors import ConfigError, suggest

Kind = Literal["dataset", "generator", "classifier", "arm", "augmentation", "metric"]


@dataclass(frozen=True)
class Component:
    """A named algorithm: its version, its knobs, and where its code is.

    Attributes:
        name: the name used in studies.
        version: raised when the algorithm's results change; part of every id that depends on it.
        config: frozen dataclass with a default for every field.
        implementation: ``"module:attribute"``, imported by :meth:`load` and not before.
        step_milliseconds: rough cost of a training step on one processor core, for estimates made
            before anything has been measured.
        pixel_nanoseconds: what comes on top for each pixel of each image of a step.
        gpu_pixel_nanoseconds: all of it on a GPU of a data centre, in mixed precision.
        identity: ``"module:function"``, where ids keep something else of the options than those
            off their defaults: called with the options, it returns plain data by name. It leaves
            out what changes no result, such as a path, and may add what does, such as the digest
            of a file. Planning calls it: it must be quick and import nothing heavy.
        certain: of metrics, whether labels that are uncertain in the raw data are left out,
            whatever they count as in training.
        trained: of generators, whether it is trained; else it brings images made elsewhere.
        fetch: ``"module:function"``, where it needs something from the network, such as pretrained
            weights: ``synthtrial fetch`` calls it with the options; it puts that where ``$HF_HOME``
            and the like say, does nothing if it is there, and returns a line about it.
    """

    name: str
    version: int
    config: type[Any]
    implementation: str
    step_milliseconds: float | None = None
    pixel_nanoseconds: float = 0.0
    gpu_pixel_nanoseconds: float | None = None
    identity: str | None = None
    certain: bool = False
    trained: bool = True
    fetch: str | None = None

    def load(self) -> Any:
        """Import and return the implementation."""
        return _import(self.implementation)

    def load_identity(self) -> Callable[[Any], Mapping[str, Any]] | None:
        """Import and return the function behind ``identity``, if there is one."""
        return None if self.identity is None else _import(self.identity)

    def load_fetch(self) -> Callable[[Any], str | None] | None:
        """Import and return the function behind ``fetch``, if there is one."""
        return None if self.fetch is None else _import(self.fetch)


def _import(place: str) -> Any:
    module, _, attribute = place.partition(":")
    found = import_module(module)
    try:
        return getattr(found, attribute)
    except AttributeError:
        raise ConfigError(
            f"a plug-in says that its code is at '{place}', and the module {module} has no "
            f"'{attribute}': correct the Component or the module"
        ) from None


@cache
def _entry_points() -> Any:
    return entry_points()  # reads the metadata of every installed package: once is enough


@cache
def _installed(kind: Kind) -> dict[str, EntryPoint]:
    points: dict[str, EntryPoint] = {}
    for point in _entry_points().select(group=f"synthtrial.{kind}s"):
        twin = points.setdefault(point.name, point)
        if twin.value != point.value:
            raise ConfigError(
                f"the {kind} '{point.name}' is offered by {twin.value} and by {point.value}: "
                "uninstall one of the two packages"
            )
    return points


def names(kind: Kind) -> list[str]:
    """Return the names of all installed components of a kind, sorted."""
    return sorted(_installed(kind))


def find(kind: Kind, name: str) -> Component:
    """Return the installed component of this kind and name.

    Raises:
        ConfigError: no such component is installed, or the entry point is not a Component.
    """
    try:
        point = _installed(kind)[name]
    except KeyError:
        raise ConfigError(f"unknown {kind} '{name}': {suggest(name, _installed(kind))}") from None
    try:
        component = point.load()
    except (ImportError, AttributeError) as error:
        raise ConfigError(
            f"the {kind} '{name}' is installed as {point.value}, which cannot be imported: {error}"
        ) from None
    if not isinstance(component, Component):
        raise ConfigError(
            f"the {kind} '{name}' is installed as {point.value}, which is a "
            f"{type(component).__name__}; it must be a synthtrial.registry.Component"
        )
    if component.name != name:
        raise ConfigError(
            f"the {kind} '{name}' is installed as {point.value}, whose own name is "
            f"'{component.name}': give entry point and Component one name, and install again"
        )
    return component
