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
    keep = component.load_identity()
    assert keep is None or callable(keep)


def test_ours_are_installed():
    assert "digits" in registry.names("dataset")
    assert entry_points(group="synthtrial.datasets")


def test_an_unknown_name_is_answered_with_a_suggestion_and_the_list():
    with pytest.raises(ConfigError, match=r"unknown dataset 'digit': did you mean 'digits'\?"):
        registry.find("dataset", "digit")


@pytest.fixture
def offer(tmp_path, monkeypatch):
    """Install packages that offer a dataset: (package, entry point, module text)."""

    def make(*packages):
        for package, point, text in packages:
            info = tmp_path / f"{package}-1.0.dist-info"
            info.mkdir()
            (info / "METADATA").write_text(
                f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n"
            )
            (info / "entry_points.txt").write_text(f"[synthtrial.datasets]\n{point}\n")
            (tmp_path / f"{package}.py").write_text(text)
        monkeypatch.syspath_prepend(str(tmp_path))
        forget()

    def forget():
        registry._installed.cache_clear()
        registry._entry_points.cache_clear()

    yield make
    monkeypatch.undo()
    forget()


def test_a_plug_in_that_cannot_be_imported_is_named(offer):
    offer(("torn", "torn = torn:DATASET", "import a_package_that_is_not_there"))
    with pytest.raises(ConfigError, match=r"'torn' is installed as torn:DATASET, which cannot be"):
        registry.find("dataset", "torn")


def test_an_entry_point_must_be_a_component(offer):
    offer(("odd", "odd = odd:DATASET", "DATASET = 3"))
    with pytest.raises(ConfigError, match="which is a int; it must be a"):
        registry.find("dataset", "odd")


def test_an_entry_point_has_the_name_of_its_component(offer):
    made = "from synthtrial.registry import Component\nDATASET = Component('b', 1, object, 'x:y')"
    offer(("named", "a = named:DATASET", made))
    with pytest.raises(ConfigError, match=r"'a' is installed as .* whose own name is 'b'"):
        registry.find("dataset", "a")


def test_code_that_is_not_where_a_component_says_is_refused_in_one_line():
    lost = registry.Component("lost", 1, object, "synthtrial.registry:nowhere")
    with pytest.raises(ConfigError, match=r"registry:nowhere'.* has no 'nowhere'"):
        lost.load()


def test_two_packages_cannot_offer_the_same_name(offer):
    offer(("mine", "digits = mine:DATASET", "DATASET = 3"))
    with pytest.raises(ConfigError, match=r"'digits' is offered by .* uninstall one"):
        registry.find("dataset", "digits")


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
