from __future__ import annotations

import pytest

from synthtrial.engines.ray.engine import RayEngine
from synthtrial.testing.engines import EngineContract
from synthtrial.testing.studies import smallest


class TestRayEngine(EngineContract):
    @pytest.fixture(autouse=True)
    def _on(self, cluster):
        self.address = cluster.address

    def engine(self, store, settings):
        del settings
        here = f"engine.ray.address='{self.address}'"
        return RayEngine(store, smallest("digits", "engine.device=cpu", here))
