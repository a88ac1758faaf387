"""Install plug-ins where nothing else sees them, and run Python where their users would."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def install():
    """Return a function that installs the package in a folder under ``site`` of a place."""

    def into(place: Path, package: Path) -> None:
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index"]
        command += ["--no-build-isolation", "--disable-pip-version-check"]
        command += ["--root-user-action=ignore", "--target", str(place / "site"), str(package)]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr

    return into


@pytest.fixture(scope="session")
def python_in():
    """Return a function that returns one which runs Python in a place with its plug-ins."""

    def at(place: Path):
        paths = [str(place / "site"), *filter(None, [os.environ.get("PYTHONPATH")])]
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"}

        def run(*arguments: str, code: int = 0) -> str:
            done = subprocess.run(
                [sys.executable, *arguments],
                capture_output=True,
                text=True,
                cwd=place,
                env=environment,
            )
            assert done.returncode == code, done.stdout + done.stderr
            return done.stdout

        return run

    return at
