"""What a study is, in words and numbers, before anything of it has run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from synthtrial.config import BalanceConfig, ProtocolConfig, TrainingConfig
from synthtrial.data.base import DatasetSource
from synthtrial.data.imported import Imported
from synthtrial.identity import canonical_json, non_default
from synthtrial.report.facts import ArmFacts, Design, Primary, count_text, listing, rows_text
from synthtrial.report.made import thresholds_of
from synthtrial.study import Arm, Study
from synthtrial.tasks import in_words


def describe(study: Study) -> Design:
    """Return the layout of a study."""
    settings = study.settings
    source: DatasetSource = study.dataset.load()
    making = [arm for arm in study.arms.values() if arm.settings.synthetic]
    quality = settings.quality
    return Design(
        name=study.name,
        description=settings.description.strip(),
        dataset=source.of if isinstance(source, Imported) else study.dataset.name,
        licence=source.licence,
        classes=tuple(source.classes),
        minority=tuple(study.minority),
        multi_label=source.multi_label,
        groups_known=source.groups_known,
        image_shape=source.image_shape,
        arms=tuple(
            ArmFacts(
                arm.name,
                _arm_text(study, arm),
                arm.settings.synthetic,
                filtered=arm.settings.filter is not None or arm.settings.dose_of is not None,
                shuffled=arm.settings.shuffle_labels,
                images=_images(study, arm),
                treatment=_treatment(arm),
                original=arm.settings.fit_on == "original",
            )
            for arm in study.arms.values()
        ),
        regimens=tuple(float(regimen) for regimen in settings.regimens),
        reduced=tuple(settings.imbalance.classes),
        removed_fraction=settings.imbalance.remove,
        grid={axis: tuple(values) for axis, values in settings.grid.items()},
        configurations=len(study.configurations),
        epochs=settings.training.epochs,
        protocol=settings.protocol.kind,
        draws=study.draws,
        replicates=settings.protocol.replicates,
        selector=settings.protocol.select_by,
        baseline=settings.statistics.baseline,
        overall_metric=settings.statistics.overall,
        class_metric=settings.statistics.per_class,
        confidence=settings.statistics.confidence,
        classifier=study.classifier.name,
        generator=f"the generator {study.generator.name}" if study.generator and making else "",
        fit_on=_fit_on(study),
        generator_kinds=max(1, len(study.gan_trainings)),
        balance=_balances_text(making),
        reference=settings.reference.fit_on if making and study.uses_reference else "",
        features=quality.features if making and quality.features != "none" else "",
        thresholds=thresholds_of(study),
        refused=quality.on_shortfall == "refuse",
        early_stopping=_stopping_text(settings.protocol),
        select_over=settings.protocol.select_over,
        overall_classes=_overall_classes(study),
        uncertain_counts=settings.training.label_policy in ("ones", "smooth"),
        uncertain_text=_uncertain_text(settings.training),
        primary=_primary(study),
        family=tuple(settings.statistics.family),
        margin=settings.statistics.margin,
        spread=settings.statistics.spread,
        replicate_command=study.command("replicate"),
        unlike_validation=settings.split.validation_made,
    )


def _primary(study: Study) -> Primary | None:
    """Return the declared question."""
    declared = study.settings.statistics.primary
    if declared.arm is None:
        return None
    of_class = declared.target not in ("minority", "overall")
    return Primary(
        declared.arm,
        "class" if of_class else declared.target,
        declared.target if of_class else "",
        tuple(float(regimen) for regimen in declared.regimens or study.settings.regimens),
    )


def _images(study: Study, arm: Arm) -> str:
    """Spell out which made images an arm adds, whatever their number."""
    if not arm.settings.synthetic:
        return ""
    maker = study.maker(arm)
    kept = maker.settings.filter
    return canonical_json(
        {
            "training": non_default(maker.gan_training),
            "filter": None if kept is None else non_default(kept),
            "classes": arm.balance.classes if arm.balance is not None else [],
            "shuffled": arm.settings.shuffle_labels,
        }
    )


def _treatment(arm: Arm) -> str:
    """Spell out what an arm does beside adding made images."""
    about_images = (
        "preset",
        "synthetic",
        "gan_training",
        "filter",
        "dose_of",
        "balance",
        "shuffle_labels",
    )
    kept = non_default(arm.settings)
    return canonical_json({k: v for k, v in kept.items() if k not in about_images})


def _fit_on(study: Study) -> str:
    """Return the rows that generators are fitted on, where all arms agree on them."""
    found = {training.fit_on for training in study.gan_trainings}
    found |= set() if found else {study.settings.gan_training.fit_on}
    return found.pop() if len(found) == 1 else "several"


def _overall_classes(study: Study) -> tuple[str, ...]:
    """Return the classes of the overall metric; with choices of their own only these are known."""
    if study.settings.protocol.select_over == "per_class":
        return tuple(study.minority)
    return tuple(study.settings.statistics.overall_classes)


def _uncertain_text(training: TrainingConfig) -> str:
    """Say what an uncertain label counts as in training."""
    low, high = training.smoothing
    return {
        "ones": "counts as positive",
        "zeros": "counts as negative",
        "ignore": "is left out",
        "smooth": f"counts as a number drawn between {low:g} and {high:g}",
    }[training.label_policy]


def _stopping_text(protocol: ProtocolConfig) -> str:
    """Say how grid trials are stopped early, by whose rules and against which others."""
    if protocol.search == "grid":
        return ""
    rung = count_text(protocol.asha.grace_epochs, "epoch")
    rivals = "cell by cell" if protocol.kind == "grid_once" else "cell by cell in each replicate"
    factor = protocol.asha.reduction_factor
    return f"early stopping by ASHA, first rung {rung}, reduction factor {factor}, {rivals}"


def _arm_text(study: Study, arm: Arm) -> str:
    settings = arm.settings
    parts = []
    if settings.fit_on == "original":
        parts.append("trained on the training set before images were taken away")
    if settings.synthetic:
        parts.append(_images_text(study, arm))
    if settings.shuffle_labels:
        parts.append("their labels are shuffled among them")
    if settings.repeat is not None:
        parts.append(
            f"real images are repeated, as many and of the same labels as in {settings.repeat}"
        )
    if arm.augment:
        names = listing([item.name.replace("_", " ") for item in arm.augment])
        held = f" that hold {listing(settings.augment_only, 'or')}" if settings.augment_only else ""
        parts.append(f"training images{held} undergo random {names}")
    if settings.sampler == "balanced":
        parts.append("batches draw all classes equally often")
    if settings.class_weights == "balanced":
        parts.append("rare classes weigh more in the loss")
    if settings.steps_of is not None:
        parts.append(f"as many gradient steps as {settings.steps_of}")
    return ", ".join(parts) or "nothing is done"


def _images_text(study: Study, arm: Arm) -> str:
    """Say which made images an arm adds."""
    settings = arm.settings
    if settings.dose_of is not None:
        filled = _pool_is_filled(study, settings.dose_of)
        kept = "images that {} keeps" if filled else "accepted images of {}"
        return f"the first of the {kept.format(settings.dose_of)} are added"
    trained = study.generator is None or study.generator.component.trained
    made = "made by the generator" if trained else "made elsewhere"
    if settings.gan_training:
        made = f"made by a generator of its own ({_changes_text(settings.gan_training)})"
    if settings.filter is None:
        return f"images {made} are added"
    text = (
        f"of {count_text(settings.filter.candidates, 'image')} {made} for each one wanted, the "
        "first that the reference classifier recognises are added"
    )
    if _pool_is_filled(study, arm.name):
        text += " and, where these are too few, others"
    return text


def _changes_text(changes: Mapping[str, Any]) -> str:
    """Say in what the training of an arm's generator differs from the study's."""
    parts = []
    for name, value in changes.items():
        if name == "fit_on":
            parts.append(f"fitted on {rows_text(str(value))}")
        else:
            parts.append(f"{name.replace('_', ' ')} {in_words(value)}")
    return listing(parts)


def _pool_is_filled(study: Study, name: str) -> bool:
    config = study.arms[name].settings.filter
    return config is not None and config.on_shortfall == "fill"


def _balances_text(making: list[Arm]) -> str:
    """Say by what rule images are added, and where rules differ, in which arms."""
    rules: dict[str, list[str]] = {}
    for arm in making:
        if arm.balance is not None:
            rules.setdefault(_balance_text(arm.balance), []).append(arm.name)
    if len(rules) < 2:
        return "".join(rules)
    return "; ".join(f"in {listing(arms)}, {rule}" for rule, arms in rules.items())


def _balance_text(balance: BalanceConfig) -> str:
    classes = listing(list(balance.classes))
    if balance.target is not None:
        each = "each of " if len(balance.classes) > 1 else ""
        return (
            f"as few are added as bring {each}{classes} to {100 * balance.target:g} % of the images"
        )
    if balance.count_mode == "per_class" and len(balance.classes) > 1:
        return f"{balance.count:,} are added for each of {classes}"
    return f"{balance.count:,} are added for {classes}"
