"""Settings of a study's section ``engine``: where tasks run. None of them is part of an id."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal


@dataclass(frozen=True)
class RayConfig:
    """Where the engine ``ray`` finds its cluster, and how it uses it.

    Attributes:
        address: ``host:port`` of a running cluster's head. By default a private cluster is started
            on this machine and ended with the run.
        cpus_per_task: processors that a task is given.
        gan_processes: processes that share a GAN training, by Ray Train.
        max_failures: how often Tune starts again what a lost process or node was running.
        wait_seconds: how long there may be no node that could ever take a task; an autoscaler may
            need more than a minute to bring one up.
        dashboard: whether a private cluster has one.
        dashboard_host: where it listens; other machines reach it only if it is not a loopback
            address, which is refused where token authentication is off.
        dashboard_port: of it; by default the first that is free from 8265 on.
        tune_loggers: have Tune write its CSV, JSON and TensorBoard files, beside the report.
    """

    address: str | None = None
    cpus_per_task: int = 1
    gan_processes: int = 1
    max_failures: int = 3
    wait_seconds: float = 45.0
    dashboard: bool = True
    dashboard_host: str = "127.0.0.1"
    dashboard_port: int | None = None
    tune_loggers: bool = False


@dataclass(frozen=True)
class EngineConfig:
    """Where tasks run; never part of an id.

    Attributes:
        name: ``local`` runs on this machine, ``allocation`` on every node of the SLURM job that it
            is started in, ``slurm`` submits jobs, ``ray`` runs on a Ray cluster.
        workers: processes on a machine; by default one for each available processor, or
            ``trials_per_gpu`` for each GPU.
        trials_per_gpu: processes that share a GPU, each with its part of the memory.
        device: ``auto`` takes a GPU where there is one.
        max_attempts: tries of a task that fails before it counts as failed for good.
        micro_batch: images of one process at once in GAN training; larger shares are accumulated.
            By default all at once.
        checkpoint_seconds: time between two checkpoints of a training.
        checkpoints: how many of them are kept.
        stuck_seconds: how long one process of a training may keep the others waiting.
        tensorboard: write the progress of GAN trainings for TensorBoard too, beside the report.
        site: profile of the cluster: a file, or the name of one in ``cluster/sites``.
        slurm: settings of the profile that are different here.
        pack_minutes: time that the tasks of one job should take.
        max_gpu_hours: refuse to submit what is estimated to take more.
        max_cost: refuse to submit what is estimated to cost more, by the prices of the profile.
        ray: settings of the engine ``ray``.
    """

    name: Literal["local", "allocation", "slurm", "ray"] = "local"
    workers: int | None = None
    trials_per_gpu: int = 1
    device: Literal["auto", "cpu", "cuda"] = "auto"
    max_attempts: int = 2
    micro_batch: int | None = None
    checkpoint_seconds: float = 300.0
    checkpoints: int = 2
    stuck_seconds: float = 300.0
    tensorboard: bool = False
    site: str = "default"
    slurm: dict[str, Any] = field(default_factory=dict)
    pack_minutes: float = 20.0
    max_gpu_hours: float | None = None
    max_cost: float | None = None
    ray: RayConfig = field(default_factory=RayConfig)
