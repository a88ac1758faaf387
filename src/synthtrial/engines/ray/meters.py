"""What Ray's metrics endpoint shows of a study, beside Ray's own metrics.

Prometheus finds them under these names with ``ray_`` before them; a counter's name ends in
``_total`` there. ``cluster/monitoring`` holds a dashboard for them.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING

from synthtrial.tasks import Task

if TYPE_CHECKING:
    from ray.util.metrics import Counter, Gauge

#: Name: (what it says, its labels).
GAUGES: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "synthtrial_trials": ("Trials of the study, by what became of them.", ("study", "state")),
    "synthtrial_packs_queued": ("Packs of trials that wait for a worker.", ("study",)),
    "synthtrial_gan_loss": ("Loss of a GAN in training.", ("study", "task", "network")),
    "synthtrial_gan_images_per_second": (
        "Real images a second that a GAN in training sees.",
        ("study", "task"),
    ),
}
COUNTERS: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "synthtrial_images": ("Training images seen by trials.", ("study",)),
    "synthtrial_epochs": ("Epochs trained by trials.", ("study",)),
    "synthtrial_trials_stopped": ("Trials that early stopping has ended.", ("study",)),
}


@cache
def gauge(name: str) -> Gauge:
    """Return one of :data:`GAUGES` of this process."""
    from ray.util.metrics import Gauge

    return Gauge(name, *GAUGES[name])


@cache
def counter(name: str) -> Counter:
    """Return one of :data:`COUNTERS` of this process."""
    from ray.util.metrics import Counter

    return Counter(name, *COUNTERS[name])


def measure(study: str, task: Task, figures: Mapping[str, float]) -> None:
    """Count what a training has just reported.

    Args:
        study: name of the study.
        task: a trial or a GAN training.
        figures: as :meth:`synthtrial.work.context.Context.report` is given them.
    """
    if task.kind == "trial":
        counter("synthtrial_epochs").inc(1, {"study": study})
        if figures["images"]:
            counter("synthtrial_images").inc(figures["images"], {"study": study})
        return
    place = {"study": study, "task": task.label}
    for network in ("generator", "discriminator"):
        gauge("synthtrial_gan_loss").set(figures[f"{network}_loss"], {**place, "network": network})
    gauge("synthtrial_gan_images_per_second").set(figures["images_per_second"], place)


def count_stopped(study: str) -> None:
    """Count a trial that is being ended early; it will be one of those done."""
    counter("synthtrial_trials_stopped").inc(1, {"study": study})


def count_trials(study: str, states: Mapping[str, int], packs_queued: int) -> None:
    """Say how the study's trials stand."""
    for state, count in states.items():
        gauge("synthtrial_trials").set(count, {"study": study, "state": state})
    gauge("synthtrial_packs_queued").set(packs_queued, {"study": study})
