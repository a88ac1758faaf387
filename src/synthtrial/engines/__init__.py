"""What runs tasks: one machine, one SLURM allocation, SLURM's queue, or Ray."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from synthtrial.engines.base import Engine
    from synthtrial.store.artifacts import Store
    from synthtrial.study import Study


def make_engine(study: Study, store: Store) -> Engine:
    """Return the engine that the study asks for."""
    settings = study.settings.engine
    if settings.name == "slurm":
        from synthtrial.engines.slurm.engine import SlurmEngine

        return SlurmEngine(store, study)
    if settings.name == "allocation":
        from synthtrial.engines.allocation import AllocationEngine

        return AllocationEngine(store, settings)
    from synthtrial.engines.local import LocalEngine

    return LocalEngine(store, settings)
