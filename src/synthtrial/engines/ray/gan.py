"""GAN training through Ray Train.

Train starts the processes, joins them in a process group and passes on what one of them dies of.
What they run is what ``torchrun`` would have them run: :func:`synthtrial.work.run_task`.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Mapping
from typing import Any

import ray

from synthtrial.engines.base import Outcome, attempt
from synthtrial.engines.ray import stopping
from synthtrial.engines.ray.meters import measure
from synthtrial.engines.ray.seats import Request
from synthtrial.engines.ray.worker import LABEL, Place
from synthtrial.store.artifacts import open_store
from synthtrial.tasks import Task


class EndedError(Exception):
    """Carries what became of the task from a process of Train to the driver."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__(outcome)
        self.outcome = outcome


# A process of its own: a later task would keep Train's actors of this one alive.
@ray.remote(max_retries=0, num_cpus=0, max_calls=1)
def train(place: Place, task: Task, request: Request) -> Outcome:
    """Train a GAN and return what became of it.

    It is a task of Ray itself, so that whoever cancels it ends Train's processes too.

    Args:
        place: of the run.
        task: a GAN training.
        request: what each process is given.
    """
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer

    began = time.monotonic()
    kept = place.store / "ray"  # Train wants to see one folder from all nodes, and nobody reads it
    kept.mkdir(exist_ok=True)
    folder = tempfile.mkdtemp(prefix="train-", dir=kept)
    trainer = TorchTrainer(
        _train_together,
        train_loop_config={"place": place, "task": task},
        scaling_config=ScalingConfig(
            num_workers=place.settings.ray.gan_processes,
            use_gpu=request.gpus > 0,
            resources_per_worker=request.resources,
        ),
        run_config=RunConfig(
            name=f"{task.label} {task.id}",
            storage_path=folder,
            # The driver tries again, by the reason of the failure.
            failure_config=FailureConfig(max_failures=0),
        ),
    )
    try:
        trainer.fit()
    except Exception as error:
        for failure in getattr(error, "worker_failures", {}).values():
            if isinstance(failure, EndedError):
                return failure.outcome
        raise
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return Outcome(task.id, "done", seconds=time.monotonic() - began)


def _train_together(config: dict[str, Any]) -> None:
    """What each process of Train runs."""
    from synthtrial.synthesis.ranks import joined
    from synthtrial.work.context import Context

    stopping.heed()
    place: Place = config["place"]
    task: Task = config["task"]
    store, settings = open_store(place.store, create=False), place.settings
    device = Context(store, engine=LABEL, device=settings.device).device

    def report(task: Task, _step: int, figures: Mapping[str, float]) -> bool:
        measure(place.study, task, figures)
        return False

    with (
        joined(device, settings.stuck_seconds) as ranks,
        Context(store, engine=LABEL, device=settings.device, ranks=ranks) as context,
        context.reporting(report),
    ):
        outcome = attempt(store, task, context)
    if outcome.state != "done":
        raise EndedError(outcome)
