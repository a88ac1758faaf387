"""Makes ``fabricate`` importable: tests are no packages."""

import importlib.util
import sys
from pathlib import Path

import pytest

from synthtrial.report import inference
from synthtrial.report.facts import Primary
from synthtrial.report.held_out import with_test_set


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


@pytest.fixture(scope="session")
def whole(fabricate):
    """A finished study with a question of its own, and the error of its test set."""
    primary = Primary("gan", "minority", "", (0.1, 1.0))
    facts = fabricate.study(draws=8, replicates=8, noise=0.06, primary=primary, margin=0.02)
    return fabricate.with_test_errors(facts)


@pytest.fixture(scope="session")
def differences(whole):
    """The differences of ``whole``, those for other test images beside them."""
    return with_test_set(whole, inference.differences_table(whole))
