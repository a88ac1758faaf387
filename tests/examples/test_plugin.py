"""The example package, installed for real: what its authors would do with it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PLUGIN = Path(__file__).parents[2] / "examples" / "plugin"
TINY = (
    "gan_training.steps=3",
    "training.epochs=2",
    "protocol.replicates=2",
    "grid.learning_rate=[0.01]",
    "engine.device=cpu",
)


@pytest.fixture(scope="module")
def place(tmp_path_factory, install):
    """A folder with the package installed under ``site``, and its tests and study beside it."""
    folder = tmp_path_factory.mktemp("plugin")
    install(folder, PLUGIN)
    for name in ("test_synthtrial_example.py", "shapes.yaml"):
        shutil.copy(PLUGIN / name, folder)
    return folder


@pytest.fixture(scope="module")
def python(place, python_in):
    return python_in(place)


def test_installing_leaves_the_source_as_it_was(place):
    assert (place / "site" / "synthtrial_example.py").is_file()
    assert {path.name for path in PLUGIN.iterdir()} <= {
        "README.md",
        "pyproject.toml",
        "shapes.yaml",
        "synthtrial_example.py",
        "test_synthtrial_example.py",
        "__pycache__",
    }


def test_its_own_tests_pass(python):
    python("-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider", ".")


def test_a_study_of_it_is_planned_without_torch(python):
    code = (
        "import sys\n"
        "sys.argv = ['synthtrial', 'plan', 'shapes.yaml']\n"
        "from synthtrial.cli import main\n"
        "try: main()\n"
        "except SystemExit as stop: assert not stop.code\n"
        "assert not {'torch', 'sklearn', 'ray', 'submitit'} & set(sys.modules)\n"
    )
    assert "4 arms x 1 regimens x 2 configurations" in python("-c", code)


def test_a_study_of_it_runs_to_its_report(python, place):
    verb = ("-m", "synthtrial")
    output = python(*verb, "run", "shapes.yaml", *TINY)
    assert (place / "synthtrial-reports" / "shapes" / "report.html").is_file(), output
    status = json.loads(python(*verb, "status", "shapes.yaml", *TINY, "--json"))
    assert status["complete"]
    assert not status["failures"]
    assert status["stages"]["replicate"] == {"done": 8, "total": 8, "failed": 0}


def test_without_the_package_its_names_are_unknown(place):
    done = subprocess.run(
        [sys.executable, "-m", "synthtrial", "plan", str(place / "shapes.yaml")],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert "no installed arm has that name: allowed: balanced_sampler" in done.stderr
