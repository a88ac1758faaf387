from __future__ import annotations

import pytest

from synthtrial.engine_config import EngineConfig
from synthtrial.engines.slurm.costs import bill, check_budget
from synthtrial.engines.slurm.sites import Site
from synthtrial.errors import ConfigError
from synthtrial.estimates import Clock
from synthtrial.plan import build
from synthtrial.study import load


def budget(*overrides, engine="slurm"):
    plan = build(load("digits", overrides, engine), None)
    check_budget(plan, Clock(plan, None))


def test_hours_are_those_of_what_a_job_holds():
    site = Site(cpus=8, gpus=2, gpu_hour_price=1.5)
    found = bill(7200.0, site, EngineConfig(trials_per_gpu=2))
    assert (found.gpu_hours, found.cpu_hours, found.cost) == (1.0, 8.0, 1.5)
    cheap = bill(7200.0, Site(cpus=2, cpu_hour_price=0.1), EngineConfig())
    assert (cheap.gpu_hours, cheap.cpu_hours, cheap.cost) == (0.0, 2.0, pytest.approx(0.2))
    assert bill(7200.0, Site(), EngineConfig()).cost is None


def test_a_study_within_its_budget_is_let_through():
    budget("engine.max_gpu_hours=1000", "engine.slurm.gpus=1")
    budget("engine.max_cost=1000", "engine.slurm.cpu_hour_price=1")
    budget(engine="local")


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (("engine.max_gpu_hours=0.01", "engine.slurm.gpus=1"), "allowed by --max-gpu-hours: 0.01"),
        (("engine.max_gpu_hours=1",), "asks for no GPUs"),
        (("engine.max_cost=0.001", "engine.slurm.cpu_hour_price=9"), "allowed by --max-cost"),
        (("engine.max_cost=1",), "needs a price"),
        (("engine.max_cost=1", "engine.name=local"), "hold for --engine slurm, not for 'local'"),
    ],
)
def test_beyond_the_budget_nothing_is_submitted(overrides, message):
    with pytest.raises(ConfigError, match=message):
        budget(*overrides)
