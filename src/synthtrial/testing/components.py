"""What all plug-ins have in common, checked: a config that can enter an id, a lasting version."""

from __future__ import annotations

import dataclasses

from synthtrial.identity import canonical_json
from synthtrial.registry import Component


def check_component(component: Component) -> None:
    """Check a component without loading what it implements.

    Raises:
        AssertionError: its config is no frozen dataclass with defaults for all fields, cannot
            enter an id, or its version is below 1.
    """
    config = component.config
    assert dataclasses.is_dataclass(config), f"{config} is no dataclass"
    assert config.__dataclass_params__.frozen, f"{config} must be frozen"  # type: ignore[attr-defined]
    canonical_json(dataclasses.asdict(config()))
    assert component.version >= 1, "versions count from 1"
    for label in ("implementation", "identity"):
        place = getattr(component, label)
        if label == "identity" and place is None:
            continue
        module, _, attribute = place.partition(":")
        assert module, f"the {label} '{place}' must read 'module:attribute'"
        assert attribute, f"the {label} '{place}' names no attribute"
