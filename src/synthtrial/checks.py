"""What is wrong with a study whose every setting is known and of the right type.

Ranges and contradictions; :mod:`synthtrial.study` reports all of them in one error.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from operator import attrgetter
from typing import TYPE_CHECKING

from synthtrial import registry
from synthtrial.errors import suggest

if TYPE_CHECKING:
    from synthtrial.config import GanTrainingConfig
    from synthtrial.study import Arm, Study

#: Least allowed values; whole numbers and rates alike must be finite.
_LEAST: Mapping[str, Mapping[str, float]] = {
    "training": {"epochs": 1, "batch_size": 1, "momentum": 0, "weight_decay": 0, "max_steps": 1},
    "gan_training": {
        "steps": 1,
        "global_batch": 1,
        "discriminator_steps": 1,
        "max_bad_steps": 0,
        "lecam": 0,
        "gradient_penalty": 0,
        "drift": 0,
        "label_loss": 0,
    },
    "protocol": {"replicates": 1, "draws": 1},
    "protocol.asha": {"grace_epochs": 1, "reduction_factor": 2},
    "engine": {
        "workers": 1,
        "trials_per_gpu": 1,
        "max_attempts": 1,
        "micro_batch": 1,
        "checkpoints": 1,
        "max_gpu_hours": 0,
        "max_cost": 0,
    },
    "engine.ray": {"cpus_per_task": 1, "gan_processes": 1, "max_failures": 0, "wait_seconds": 0},
    "store": {"shard_bytes": 1},
    "balance": {"count": 1},
    "cams": {"images": 2},
}
_ABOVE_ZERO: Mapping[str, Sequence[str]] = {
    "training": ("learning_rate",),
    "gan_training": ("generator_learning_rate", "discriminator_learning_rate"),
    "engine": ("checkpoint_seconds", "stuck_seconds", "pack_minutes"),
}


#: What can be planned: a million trials take four gigabytes.
MOST_TRIALS = 5_000_000


def find_problems(study: Study) -> list[str]:
    """Say what is out of range or contradicts itself, all of it at once."""
    settings, arms = study.settings, study.arms
    problems = []
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", settings.name):
        problems.append(f"name '{settings.name}': use letters, digits, '-' and '_' only")
    if not arms:
        problems.append("arms: there are none; give at least the baseline, such as 'none: {}'")
    for label, value in (
        ("split.test", settings.split.test),
        ("split.validation", settings.split.validation),
        ("statistics.confidence", settings.statistics.confidence),
    ):
        if not 0 < value < 1:
            problems.append(f"{label} is {value}; it must lie between 0 and 1")
    if settings.split.test + settings.split.validation >= 1:
        problems.append("split.test and split.validation leave nothing to train on")
    if not 0 <= settings.imbalance.remove < 1:
        problems.append(f"imbalance.remove is {settings.imbalance.remove}; allowed: 0 to below 1")
    if not settings.regimens:
        problems.append("regimens: there are none; [1.0] is the whole training set")
    problems.extend(
        f"regimen {regimen}: give a fraction up to 1 or a whole number"
        for regimen in settings.regimens
        if not 0 < regimen < math.inf or (regimen > 1 and regimen != int(regimen))
    )
    problems.extend(_leaks(study))
    problems.extend(_out_of_range(study))
    for where, config in _gan_trainings(study).items():
        problems.extend(_gan_problems(config, where))
    problems.extend(_judge_problems(study))
    if len(set(settings.regimens)) != len(settings.regimens):
        problems.append(f"regimens {settings.regimens}: one is given twice")
    protocol = settings.protocol
    if not 1 <= study.draws <= protocol.replicates:
        problems.append(
            f"protocol: {study.draws} draws and {protocol.replicates} replicates; "
            "allowed: at least 1 replicate and no more draws than replicates"
        )
    trials = _number_of_trials(study)
    if trials > MOST_TRIALS:
        problems.append(
            f"protocol.replicates is {protocol.replicates:,}: {len(arms)} arms, "
            f"{len(settings.regimens)} regimens and {len(study.configurations)} configurations "
            f"make {trials:,} trials; allowed: {MOST_TRIALS:,} in one study"
        )
    if protocol.search == "asha" and protocol.kind == "full_grid":
        problems.append(
            "protocol.search is 'asha' and protocol.kind 'full_grid', which chooses by the mean "
            "over replicates: what was stopped in one has none. Use kind=grid_once or retune"
        )
    for axis, values in settings.grid.items():
        if len({repr(point[axis]) for point in study.configurations}) < len(values):
            problems.append(f"grid.{axis} is {values}; give each value once")
    known = settings.metrics
    for metric in known:
        registry.find("metric", metric)
    for label, metric in (
        ("protocol.select_by", protocol.select_by),
        ("statistics.overall", settings.statistics.overall),
        ("statistics.per_class", settings.statistics.per_class),
    ):
        if metric not in known:
            problems.append(f"{label} is '{metric}', which metrics does not list: {known}")
    making = [name for name, arm in arms.items() if arm.settings.synthetic]
    if settings.cams.arm is not None and settings.cams.arm not in making:
        problems.append(
            f"cams.arm: '{settings.cams.arm}' is not an arm that adds synthetic images: "
            f"{suggest(settings.cams.arm, making)}"
        )
    if settings.cams.arm is not None and not study.minority:
        problems.append("cams needs classes of interest: set statistics.minority")
    if arms and settings.statistics.baseline not in arms:
        problems.append(
            f"statistics.baseline: unknown arm '{settings.statistics.baseline}': "
            + suggest(settings.statistics.baseline, arms)
        )
    problems.extend(_statistics_problems(study))
    for arm in arms.values():
        problems.extend(f"arm '{arm.name}': {text}" for text in _arm_problems(study, arm))
    return problems


def _statistics_problems(study: Study) -> Iterator[str]:
    """Say what is wrong with the declared questions."""
    statistics = study.settings.statistics
    primary, regimens = statistics.primary, study.settings.regimens
    others = [name for name in study.arms if name != statistics.baseline]
    asked = [("statistics.primary.arm", primary.arm)] if primary.arm is not None else []
    asked += [("statistics.family", name) for name in statistics.family]
    for where, name in asked:
        undeclared = " Or null, to declare nothing." if where.endswith("arm") else ""
        if name not in others:
            yield (
                f"{where}: '{name}' is no arm that is compared with the baseline "
                f"'{statistics.baseline}': {suggest(str(name), others)}{undeclared}"
            )
    if len(set(statistics.family)) != len(statistics.family):
        yield f"statistics.family names an arm twice: {statistics.family}"
    if primary.arm is not None and primary.target == "minority" and not study.minority:
        yield "statistics.primary.target=minority needs classes of interest: set them, or overall"
    if primary.arm is None and (primary.regimens or primary.target != "minority"):
        yield "statistics.primary says where or what, and no arm: set statistics.primary.arm"
    yield from (
        f"statistics.primary.regimens: {regimen:g} is none of the study's regimens {regimens}"
        for regimen in primary.regimens
        if regimen not in regimens
    )
    if statistics.margin is not None and not 0 < statistics.margin < math.inf:
        yield f"statistics.margin is {statistics.margin}; allowed: above 0, or null for none"


def _leaks(study: Study) -> Iterator[str]:
    """Say which settings let a classifier be judged on what it, or a generator, has seen."""
    split, allowed = study.settings.split, study.settings.allow_leakage
    if split.crossing and not allowed:
        yield (
            "split.by=image puts images of one group (a patient) on both sides: use group, or set "
            "allow_leakage=true to run it and stamp it LEAKY"
        )
    if split.validation_made and not allowed:
        yield (
            "split.validation_made chooses configurations on made images: leave it out, or set "
            "allow_leakage=true to run it and stamp it LEAKY"
        )
    if split.test_groups is not None and split.test_by == "image":
        yield "split.test_groups names whole groups, and split.test_by=image divides them"
    if split.own:
        yield from _own_split_problems(study)
    matched = [
        name
        for name, arm in study.arms.items()
        if arm.settings.repeat or arm.settings.steps_of or arm.settings.shuffle_labels
    ]
    if split.validation_made and matched:
        yield (
            f"split.validation_made takes images from the arms that {', '.join(matched)} are "
            "matched with, so that they no longer match: leave these arms out"
        )
    low, high = (*study.settings.training.smoothing, -1.0, -1.0)[:2]
    if len(study.settings.training.smoothing) != 2 or not 0 <= low <= high <= 1:
        yield (
            f"training.smoothing is {study.settings.training.smoothing}; give the smallest and the "
            "largest number, between 0 and 1"
        )
    minority = study.minority
    if len(set(minority)) != len(minority):
        yield f"a class of interest is named twice: {minority}"
    over = study.settings.protocol.select_over
    if over == "per_class" and study.settings.protocol.search == "asha":
        yield (
            "protocol.search=asha stops trials by their mean over classes, and "
            "select_over=per_class chooses for each class: use search=grid, or "
            "select_over=macro_chosen"
        )
    if over != "macro_all" and not study.minority:
        yield f"protocol.select_over={over} needs classes of interest: set statistics.minority"


def _own_split_problems(study: Study) -> Iterator[str]:
    """Say what contradicts keeping a dataset's own test set."""
    split = study.settings.split
    for name, given in (
        ("test_groups", split.test_groups is not None),
        ("test_by", split.test_by is not None),
        ("validation_made", split.validation_made),
    ):
        if given:
            yield f"split.own keeps the dataset's own sides, and split.{name} deals others"
    if not hasattr(study.dataset.load(), "own_sides"):
        yield (
            f"split.own: the dataset '{study.dataset.name}' has no test set of its own; set "
            "split.own=false to deal one"
        )


def _out_of_range(study: Study) -> Iterator[str]:
    settings = study.settings
    sections = [(name, attrgetter(name)(settings)) for name in (*_LEAST,)]
    sections += [("training", study.training(point)) for point in study.configurations]
    sections += _gan_trainings(study).items()
    seen: set[str] = set()
    for section, config in sections:
        kind = "gan_training" if section.endswith(".gan_training") else section
        least = _LEAST[kind]
        for name in (*least, *_ABOVE_ZERO.get(kind, ())):
            value = getattr(config, name)
            fine = value is None or (
                least[name] <= value < math.inf if name in least else 0 < value < math.inf
            )
            allowed = f"at least {least[name]:g}" if name in least else "above 0"
            text = f"{section}.{name} is {value}; allowed: {allowed}"
            if not fine and text not in seen:
                seen.add(text)
                yield text


def _gan_trainings(study: Study) -> dict[str, GanTrainingConfig]:
    """Return the study's settings of GANs, and those of arms that have their own, by section."""
    found = {"gan_training": study.settings.gan_training}
    for arm in study.arms.values():
        if arm.settings.gan_training:
            found[f"arms.{arm.name}.gan_training"] = arm.gan_training
    return found


def _gan_problems(config: GanTrainingConfig, where: str) -> Iterator[str]:
    if not 0 <= config.ema < 1:
        yield f"{where}.ema is {config.ema}; allowed: 0 to below 1"
    begin, end = config.conditional_from, config.conditional_at
    if not 0 <= begin <= end <= 1:
        yield (
            f"{where}.conditional_from is {begin} and conditional_at {end}; allowed: "
            "fractions of the training, the first not above the second"
        )
    if config.balanced_sampling and config.class_weights == "balanced":
        yield (
            f"{where}: balanced_sampling and class_weights=balanced mend the same imbalance "
            "twice; set balanced_sampling=false to weigh the losses instead"
        )


def _judge_problems(study: Study) -> Iterator[str]:
    """Say what is wrong with the reference classifier and the measures of quality."""
    settings, quality = study.settings, study.settings.quality
    plain = [name for name, arm in study.arms.items() if not arm.adds_images]
    if settings.reference.arm is not None and settings.reference.arm not in plain:
        yield (
            f"reference.arm: '{settings.reference.arm}' is not an arm without added images: "
            f"{suggest(settings.reference.arm, plain)}"
        )
    elif settings.reference.arm and study.arms[settings.reference.arm].settings.fit_on != "subset":
        yield (
            f"reference.arm: '{settings.reference.arm}' is trained on the original data, and only "
            "its transforms, sampler and class weights would be taken: name another arm, and set "
            "reference.fit_on=original for a judge that sees these data"
        )
    if quality.neighbours < 1:
        yield f"quality.neighbours is {quality.neighbours}; allowed: at least 1"
    limits = ("min_recognisability", "min_coverage", "max_kernel_distance", "max_memorised")
    for name in limits:
        value = getattr(quality, name)
        if value is not None and not 0 <= value < math.inf:
            yield f"quality.{name} is {value}; allowed: 0 or more"
        if value is not None and quality.features == "none":
            yield f"quality.{name} needs something to measure: set quality.features"
    if quality.on_shortfall == "refuse" and not any(
        getattr(quality, n) is not None for n in limits
    ):
        yield f"quality.on_shortfall=refuse needs a limit: set one of {', '.join(limits)}"
    if study.generator is not None:
        trained = study.generator.component.trained
        for where, config in _gan_trainings(study).items():
            if (config.fit_on == "external") is trained:
                yield (
                    f"the generator '{study.generator.name}' and {where}.fit_on={config.fit_on} do "
                    "not go together: images made elsewhere, and only they, are fitted on "
                    "'external' rows"
                )


def _arm_problems(study: Study, arm: Arm) -> list[str]:
    problems = []
    adding = [name for name, item in study.arms.items() if item.settings.synthetic]
    repeat, steps_of = arm.settings.repeat, arm.settings.steps_of
    if repeat is not None and repeat not in adding:
        problems.append(
            f"repeat: '{repeat}' is not an arm that adds synthetic images: "
            f"{suggest(repeat, adding)}"
        )
    counted = [
        name
        for name, item in study.arms.items()
        if item.settings.repeat is None
        and item.settings.steps_of is None
        and item.settings.fit_on == "subset"
    ]
    if steps_of is not None and (steps_of not in counted or steps_of == arm.name):
        problems.append(
            f"steps_of: '{steps_of}' is no other arm that adds synthetic images, or nothing, to "
            "the regimen's own rows, and has no steps_of itself: "
            f"{suggest(steps_of, [name for name in counted if name != arm.name])}"
        )
    if arm.settings.gan_training and not arm.settings.synthetic:
        problems.append("gan_training: it adds no synthetic images that a generator would make")
    if arm.settings.gan_training and study.generator and not study.generator.component.trained:
        problems.append(f"gan_training: the generator '{study.generator.name}' is not trained here")
    if arm.settings.gan_training and arm.settings.dose_of is not None:
        problems.append(
            f"gan_training: its images are those of '{arm.settings.dose_of}'; set it there"
        )
    if arm.settings.fit_on == "original" and arm.adds_images:
        problems.append("fit_on=original: nothing is missing there, so it cannot add images")
    if arm.settings.fit_on == "original" and not study.settings.imbalance.remove:
        problems.append("fit_on=original: nothing is taken away (imbalance.remove is 0)")
    if arm.settings.fit_on == "original" and study.settings.regimens != [1.0]:
        problems.append(
            f"fit_on=original has no smaller parts, and regimens is {study.settings.regimens}: set "
            "regimens=[1.0], or leave this arm out"
        )
    if arm.settings.shuffle_labels and not arm.settings.synthetic:
        problems.append("shuffle_labels: it adds no synthetic images that have labels")
    if arm.settings.augment_only and not arm.settings.augment:
        problems.append("augment_only: it has no transforms; name some in augment")
    if arm.settings.synthetic and arm.settings.repeat is not None:
        problems.append("synthetic and repeat exclude each other")
    if arm.settings.filter is not None:
        if not arm.settings.synthetic:
            problems.append("filter: it adds no synthetic images that could be filtered")
        if arm.settings.filter.candidates < 1 or not 0 < arm.settings.filter.threshold < 1:
            problems.append("filter: candidates must be at least 1 and threshold between 0 and 1")
    if arm.settings.dose_of is not None:
        filtered = [name for name, item in study.arms.items() if item.settings.filter is not None]
        if arm.settings.dose_of not in filtered or arm.settings.filter is not None:
            problems.append(
                f"dose_of: '{arm.settings.dose_of}' must be another arm with a filter, and this "
                f"arm must have none: {suggest(arm.settings.dose_of, filtered)}"
            )
    if arm.settings.synthetic and study.generator is None:
        problems.append("it adds synthetic images; name a generator in the section 'generator'")
    if arm.balance is not None:
        balance = arm.balance
        if (balance.target is None) == (balance.count is None):
            problems.append("balance: give either target or count")
        if balance.target is not None and not 0 < balance.target < 1:
            problems.append(f"balance.target is {balance.target}; allowed: between 0 and 1")
        if balance.count is not None and balance.count < 1:
            problems.append(f"balance.count is {balance.count}; allowed: 1 or more")
        if not balance.classes:
            problems.append("balance.classes: name the classes to raise")
    return problems


def _number_of_trials(study: Study) -> int:
    protocol, points = study.settings.protocol, len(study.configurations)
    grids = 1 if protocol.kind == "grid_once" else protocol.replicates
    return len(study.arms) * len(study.settings.regimens) * (points * grids + protocol.replicates)
