from __future__ import annotations

import dataclasses
import subprocess
import sys
from importlib.metadata import entry_points

import pytest

from synthtrial import registry
from synthtrial.errors import ConfigError

KINDS = ("dataset", "generator", "classifier", "arm", "augmentation", "metric")


def components():
    for kind in KINDS:
        for name in registry.names(kind):
            yield pytest.param(kind, name, id=f"{kind}-{name}")


@pytest.mark.parametrize(("kind", "name"), list(components()))
def test_every_installed_component_is_named_as_its_entry_point_and_can_be_loaded(kind, name):
    component = registry.find(kind, name)
    assert component.name == name
    assert component.version >= 1
    assert dataclasses.is_dataclass(component.config)
    component.config()  # every field has a default
    assert component.load() is not None


def test_ours_are_installed():
    assert "digits" in registry.names("dataset")
    assert entry_points(group="synthtrial.datasets")


def test_an_unknown_name_is_answered_with_a_suggestion_and_the_list():
    with pytest.raises(ConfigError, match=r"unknown dataset 'digit': did you mean 'digits'\?"):
        registry.find("dataset", "digit")


def test_looking_components_up_imports_no_heavy_library():
    code = (
        "import sys\n"
        "from synthtrial import registry\n"
        f"for kind in {KINDS}:\n"
        "    for name in registry.names(kind): registry.find(kind, name)\n"
        "heavy = {'torch', 'torchvision', 'ray', 'submitit', 'sklearn', 'scipy', 'pandas'}\n"
        "sys.exit(str(heavy & set(sys.modules)) if heavy & set(sys.modules) else 0)\n"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
