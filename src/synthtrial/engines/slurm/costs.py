"""What a study takes of a cluster, and whether that is within the budget."""

from __future__ import annotations

from dataclasses import dataclass

from synthtrial.engine_config import EngineConfig
from synthtrial.engines.slurm.sites import Site, load_site
from synthtrial.errors import ConfigError
from synthtrial.estimates import Clock
from synthtrial.plan import Plan


@dataclass(frozen=True)
class Bill:
    """What jobs are estimated to take.

    Attributes:
        gpu_hours: of all GPUs together.
        cpu_hours: of all processors together.
        cost: by the prices of the site profile; None where it names none.
    """

    gpu_hours: float
    cpu_hours: float
    cost: float | None

    def __str__(self) -> str:
        parts = [f"{self.gpu_hours:.2f} GPU-hours"] if self.gpu_hours else []
        parts.append(f"{self.cpu_hours:.2f} processor-hours")
        parts += [] if self.cost is None else [f"a cost of {self.cost:.2f}"]
        return ", ".join(parts)


def bill(seconds: float, site: Site, settings: EngineConfig) -> Bill:
    """Return what tasks take in jobs that are always full.

    Args:
        seconds: of all tasks together, each on its own processor or part of a GPU.
        site: profile of the cluster.
        settings: of the engine.
    """
    hours = seconds / 3600 / site.workers(settings)
    gpu_hours, cpu_hours = hours * site.gpus, hours * site.processors
    if site.gpus and site.gpu_hour_price is not None:
        cost: float | None = gpu_hours * site.gpu_hour_price
    elif not site.gpus and site.cpu_hour_price is not None:
        cost = cpu_hours * site.cpu_hour_price
    else:
        cost = None
    return Bill(gpu_hours, cpu_hours, cost)


def check_budget(plan: Plan, clock: Clock) -> None:
    """Refuse a study that is estimated to take more than it may.

    Raises:
        ConfigError: it would, or there is no way to tell.
    """
    settings = plan.study.settings.engine
    if settings.max_gpu_hours is None and settings.max_cost is None:
        return
    if settings.name != "slurm":
        raise ConfigError(
            f"--max-gpu-hours and --max-cost hold for --engine slurm, not for '{settings.name}'"
        )
    site = load_site(settings)
    if settings.max_gpu_hours is not None and not site.gpus:
        raise ConfigError(
            "--max-gpu-hours: the site profile asks for no GPUs; set its `gpus`, or use --max-cost"
        )
    expected = bill(clock.total(plan.to_do()).seconds, site, settings)
    if settings.max_gpu_hours is not None and expected.gpu_hours > settings.max_gpu_hours:
        raise ConfigError(
            f"{plan.study.name} is estimated to take {expected}; allowed by --max-gpu-hours: "
            f"{settings.max_gpu_hours:g}. Nothing was submitted. `{plan.command('plan')}` "
            "shows where it goes; --where runs a part of it."
        )
    if settings.max_cost is not None:
        if expected.cost is None:
            raise ConfigError(
                "--max-cost needs a price: set gpu_hour_price or cpu_hour_price in the site profile"
            )
        if expected.cost > settings.max_cost:
            raise ConfigError(
                f"{plan.study.name} is estimated to take {expected}; allowed by --max-cost: "
                f"{settings.max_cost:g}. Nothing was submitted."
            )
