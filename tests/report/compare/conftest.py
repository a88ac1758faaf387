"""Two finished toy studies that differ in how long the generator is trained."""

from __future__ import annotations

import pytest

from synthtrial.store.artifacts import open_store
from synthtrial.testing.studies import run_here


@pytest.fixture(scope="session")
def ran(tmp_path_factory, toy_study):
    """Run the toy study with these overrides, each only once; return the folder of its store."""
    done = {}

    def run(*overrides):
        if overrides not in done:
            study = toy_study(tmp_path_factory.mktemp("ran"), *overrides)
            assert run_here(study, open_store(study.store_path)).complete
            done[overrides] = study.store_path
        return done[overrides]

    return run
