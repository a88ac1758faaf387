"""The tasks that trials are made from: dataset, split, generator, made images, their judges.

Each function spells out one kind of task; its ``payload`` is the whole of its upstream closure, by
id where another task makes it. Settings of the generator therefore never touch a trial that uses
none of its images.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from synthtrial.config import SplitConfig, TrainingConfig
from synthtrial.data.splits import read_groups
from synthtrial.identity import digest, non_default
from synthtrial.study import Arm, Study
from synthtrial.tasks import Task, in_words, make_task


def prepare_task(study: Study) -> Task:
    """Write the dataset's images and raw labels into shards."""
    payload = {"dataset": study.dataset.identity}
    return make_task(study, "prepare", f"prepare {study.dataset.name}", [], payload)


def split_identity(split: SplitConfig) -> dict[str, Any]:
    """Return what ids keep of a split's settings.

    Who uses how much of a validation set, and what beside it, is each trial's affair.

    Raises:
        DataError: the list of held-out groups cannot be read.
    """
    kept: dict[str, Any] = {"test": split.test, "validation": split.validation}
    if split.own:
        kept = {"own": True, "validation": split.validation}
    if split.test_groups is not None:
        kept["test_groups"] = digest(sorted(read_groups(Path(split.test_groups).expanduser())))
    if split.by != "group":
        kept["by"] = split.by
    if split.test_groups is not None:
        kept.pop("test", None)  # the list says who is tested on, and lists whole groups
    elif split.test_by not in (None, split.by):
        kept["test_by"] = split.test_by
    return kept


@lru_cache(maxsize=4096)
def split_task(study: Study, draw: int) -> Task:
    """Deal the samples to training, validation and test."""
    settings = study.settings
    dataset = prepare_task(study).id
    payload = {
        "dataset": dataset,
        "split": split_identity(settings.split),
        "imbalance": non_default(settings.imbalance),
        "seed": settings.seed,
        "draw": draw,
    }
    return make_task(study, "split", f"split, draw {draw}", [dataset], payload)


@lru_cache(maxsize=4096)
def allocate_task(study: Study, arm: Arm, regimen: float, draw: int) -> Task:
    """Decide how many images an arm is given, of which label vectors."""
    assert arm.balance is not None
    split = split_task(study, draw)
    payload = {
        "dataset": split.payload["dataset"],
        "split": split.id,
        "regimen": regimen,
        "balance": non_default(arm.balance),
        "label_policy": _hard_policy(study),
        "seed": study.settings.seed,
        "draw": draw,
    }
    label = f"allocate images, regimen {regimen:g}, draw {draw}"
    return make_task(study, "allocate", label, [split.payload["dataset"], split.id], payload)


@lru_cache(maxsize=4096)
def reference_task(study: Study, regimen: float, draw: int) -> Task:
    """Train the classifier that judges made images."""
    settings, reference = study.settings, study.settings.reference
    split = split_task(study, draw)
    arm = study.arms[reference.arm] if reference.arm is not None else None
    payload = {
        "dataset": split.payload["dataset"],
        "split": split.id,
        "classifier": study.classifier.identity,
        "training": training_identity(study.reference_training),
        "augment": [item.identity for item in arm.augment] if arm else [],
        "sampler": arm.settings.sampler if arm else "shuffle",
        "class_weights": arm.settings.class_weights if arm else "none",
        "fit_on": reference.fit_on,
        "seed": settings.seed,
        "draw": draw,
    }
    if arm is not None and arm.settings.augment_only:
        payload["augment_only"] = sorted(arm.settings.augment_only)
    if reference.fit_on == "subset":
        payload["regimen"] = regimen
    label = f"reference classifier on {_rows(reference.fit_on, regimen)}, draw {draw}"
    return make_task(study, "reference", label, [split.payload["dataset"], split.id], payload)


@lru_cache(maxsize=4096)
def train_gan_task(study: Study, arm: Arm, regimen: float, draw: int) -> Task:
    """Fit the generator of an arm; arms whose settings agree share it."""
    assert study.generator is not None
    settings = study.settings
    split = split_task(study, draw)
    payload = {
        "dataset": split.payload["dataset"],
        "split": split.id,
        "generator": study.generator.identity,
        "training": non_default(arm.gan_training),
        "label_policy": _hard_policy(study),
        "seed": settings.seed,
        "draw": draw,
    }
    rows = arm.gan_training.fit_on
    if rows == "subset":
        payload["regimen"] = regimen
    needs = [split.payload["dataset"], split.id]
    if study.uses_reference:  # it watches the training, and changes nothing
        needs.append(reference_task(study, regimen, draw).id)
    label = f"GAN on {_rows(rows, regimen)}"
    for name, value in arm.settings.gan_training.items():
        label += f", {name}={in_words(value)}" if name != "fit_on" else ""
    return make_task(study, "train_gan", f"{label}, draw {draw}", needs, payload)


def training_identity(training: TrainingConfig) -> dict[str, Any]:
    """Return what ids keep of a training's settings: not what its label policy never looks at."""
    kept = non_default(training)
    if training.label_policy != "smooth":
        kept.pop("smoothing", None)
    return kept


def _hard_policy(study: Study) -> str:
    """Return what an uncertain label counts as where it must be one or the other."""
    policy = study.settings.training.label_policy
    return "ones" if policy == "smooth" else policy


def _rows(fit_on: str, regimen: float) -> str:
    return f"regimen {regimen:g}" if fit_on == "subset" else fit_on


@lru_cache(maxsize=4096)
def synthesize_task(study: Study, arm: Arm, regimen: float, draw: int) -> Task:
    """Make an arm's images, or find them among those made elsewhere."""
    assert study.generator is not None
    allocation = allocate_task(study, arm, regimen, draw)
    payload: dict[str, Any] = {
        "allocation": allocation.id,
        "seed": study.settings.seed,
        "draw": draw,
    }
    needs = [allocation.id]
    if study.generator.component.trained:
        payload["generator"] = train_gan_task(study, arm, regimen, draw).id
        needs.insert(0, payload["generator"])
    else:
        payload["external"] = study.generator.identity
    if arm.settings.filter is not None:
        payload["candidates"] = arm.settings.filter.candidates
    label = f"synthetic images, regimen {regimen:g}, draw {draw}"
    return make_task(study, "synthesize", label, needs, payload)


@lru_cache(maxsize=4096)
def filter_task(study: Study, arm: Arm, regimen: float, draw: int) -> Task:
    """List the images that the reference classifier accepts."""
    assert arm.settings.filter is not None
    made = synthesize_task(study, arm, regimen, draw)
    judge = reference_task(study, regimen, draw)
    payload = {
        "synthetic": made.id,
        "allocation": made.payload["allocation"],
        "classifier": judge.id,
        "threshold": arm.settings.filter.threshold,
        "on_shortfall": arm.settings.filter.on_shortfall,
    }
    label = f"filter images, regimen {regimen:g}, draw {draw}"
    needs = [made.id, judge.id, made.payload["allocation"]]
    return make_task(study, "filter", label, needs, payload)


@dataclass(frozen=True)
class ImageSet:
    """The made images that an arm adds, as ids.

    Attributes:
        treatment: what a payload says of them: ``synthetic``, the store; ``kept``, the list of
            those accepted by a filter; ``dose``, an allocation of which only the numbers count.
        tasks: that make them, in topological order.
    """

    treatment: Mapping[str, str]
    tasks: tuple[Task, ...]


@lru_cache(maxsize=4096)
def image_set(study: Study, arm: Arm, regimen: float, draw: int) -> ImageSet:
    """Return the images that an arm with ``synthetic`` adds."""
    dose_of = arm.settings.dose_of
    source = study.maker(arm)
    made = synthesize_task(study, source, regimen, draw)
    allocation = allocate_task(study, source, regimen, draw)
    tasks, treatment = [allocation], {"synthetic": made.id}
    if study.uses_reference:
        tasks.append(reference_task(study, regimen, draw))
    if "generator" in made.payload:
        tasks.append(train_gan_task(study, source, regimen, draw))
    tasks.append(made)
    if source.settings.filter is not None:
        tasks.append(filter_task(study, source, regimen, draw))
        treatment["kept"] = tasks[-1].id
    if dose_of is not None:
        tasks.append(allocate_task(study, arm, regimen, draw))
        treatment["dose"] = tasks[-1].id
    return ImageSet(treatment, tuple(tasks))


@lru_cache(maxsize=4096)
def assess_task(study: Study, arm: Arm, regimen: float, draw: int) -> Task:
    """Measure how good an arm's made images are."""
    quality, split = study.settings.quality, split_task(study, draw)
    images = image_set(study, arm, regimen, draw)
    judge = reference_task(study, regimen, draw)
    payload: dict[str, Any] = {
        "dataset": split.payload["dataset"],
        "split": split.id,
        "regimen": regimen,
        "images": dict(images.treatment),
        "classifier": judge.id,
        "features": quality.features,
        "neighbours": quality.neighbours,
        "fit_on": study.maker(arm).gan_training.fit_on,
        "classes": study.minority,
    }
    label = f"quality of images of {arm.name}, regimen {regimen:g}, draw {draw}"
    needs = [split.payload["dataset"], split.id, judge.id, *images.treatment.values()]
    return make_task(study, "assess", label, needs, payload)
