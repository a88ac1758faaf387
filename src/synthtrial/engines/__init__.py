"""What runs tasks: one machine, one SLURM allocation, SLURM's queue, or Ray."""

from __future__ import annotations

from typing import TYPE_CHECKING

from synthtrial.errors import ConfigError

if TYPE_CHECKING:
    from synthtrial.engine_config import EngineConfig
    from synthtrial.engines.base import Engine
    from synthtrial.store.artifacts import Store
    from synthtrial.study import Study


def make_engine(study: Study, store: Store) -> Engine:
    """Return the engine that the study asks for."""
    settings = study.settings.engine
    if study.settings.protocol.search == "asha" and settings.name != "ray":
        raise ConfigError(
            f"protocol.search is 'asha', which needs --engine ray; the engine '{settings.name}' "
            "trains every configuration to its end: set protocol.search=grid"
        )
    if settings.name == "slurm":
        from synthtrial.engines.slurm.engine import SlurmEngine

        return SlurmEngine(store, study)
    if settings.name == "allocation":
        from synthtrial.engines.allocation import AllocationEngine

        return AllocationEngine(store, settings)
    if settings.name == "ray":
        from synthtrial.engines.ray.engine import RayEngine

        return RayEngine(store, study)
    from synthtrial.engines.local import LocalEngine

    return LocalEngine(store, settings)


def uses_gpus(settings: EngineConfig) -> bool:
    """Whether tasks will run on GPUs, as far as the settings say so: for estimates."""
    if settings.name == "slurm":
        from synthtrial.engines.slurm.sites import load_site

        return bool(load_site(settings).gpus)
    return settings.device == "cuda"


def packs_text(tasks: int, settings: EngineConfig) -> str:
    """Say in a few words how so many tasks would be run; SLURM's engine says more by itself."""
    if settings.name == "ray":
        from synthtrial.engines.ray.packs import text

        return text(tasks, settings)
    from synthtrial.engines.local import pack_text

    return pack_text(tasks, settings)
