"""Makes ``fabricate`` importable: tests are no packages."""

import importlib.util
import sys
from pathlib import Path

import pytest


def _load():
    path = Path(__file__).with_name("fabricate.py")
    spec = importlib.util.spec_from_file_location("report_fabricate", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def fabricate():
    return _load()


@pytest.fixture(scope="session")
def facts(fabricate):
    return fabricate.study()
