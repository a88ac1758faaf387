"""Real SLURM clusters for tests, one for each worker of pytest, where SLURM is installed."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # for `polling`, `inside`: tests are no packages
sys.path.insert(0, str(Path(__file__).parents[2] / "cluster" / "devslurm"))

from devslurm import DevSlurm, down_abandoned, missing_packages

PREFIX = f"devslurm-test-{os.geteuid()}-"


def why_not():
    hint = missing_packages(namespaces=os.geteuid() == 0)
    return f"NOT TESTED: {hint}" if hint else None


def pytest_collection_modifyitems(items):
    """Mark what needs SLURM where there is none: pytest says marks in one line, not one a test."""
    skip = why_not()
    for item in items if skip else ():
        if "slurm_is_installed" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.skip(reason=skip))


@pytest.fixture(scope="session")
def slurm_is_installed():
    skip = why_not()
    if skip:  # of a test that asked for this while it ran
        pytest.skip(skip)
    down_abandoned(Path(tempfile.gettempdir()), f"{PREFIX}*")  # of sessions that were killed


@pytest.fixture(scope="session")
def slurm(slurm_is_installed):
    """A running cluster of 2 nodes x 4 processors x 2 declared GPUs, which `srun` and others find.

    Leave it as it was: tests that break their cluster take one from `new_slurm`.
    """
    with (
        DevSlurm(tempfile.mkdtemp(prefix=PREFIX)) as cluster,
        pytest.MonkeyPatch.context() as patch,
    ):
        for name in os.environ:
            if name.startswith(("SLURM", "SBATCH", "SALLOC")):
                patch.delenv(name)
        for name, value in cluster.environment.items():
            patch.setenv(name, value)
        yield cluster


@pytest.fixture
def new_slurm(slurm_is_installed):
    """Start a cluster of the test's own: `new_slurm(nodes=3)`; options are those of `DevSlurm`."""
    with contextlib.ExitStack() as stack:

        def start(**options):
            cluster = DevSlurm(tempfile.mkdtemp(prefix=PREFIX), **options)
            return stack.enter_context(cluster)

        yield start
