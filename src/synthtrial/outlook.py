"""What a study's labels say before anything has run: who is rare, and how surely that can be seen.

Draw 0 is dealt as the study would deal it, from the label table alone; no image is opened. Standard
errors of areas under ROC curves are those of Hanley and McNeil 1982, at an assumed area.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np

from synthtrial.data.labels import LabelPolicy, apply_policy, by_rarity, class_counts, locate
from synthtrial.data.regimens import held_out_rows
from synthtrial.data.sides import SIDES, own_sides_of
from synthtrial.data.splits import SplitTable, make_split, read_groups, select
from synthtrial.errors import DataError
from synthtrial.stats.auc import hanley_mcneil_se
from synthtrial.store.images import LabelTable
from synthtrial.study import Study
from synthtrial.synthesis.balance import cooccurrence, required_counts

#: Area under the ROC curve that standard errors are stated for.
ASSUMED_AUC = 0.75


@dataclass(frozen=True)
class ClassOutlook:
    """One class in the whole dataset.

    Attributes:
        positive, uncertain, negative: images by raw label; the others do not mention the class.
        prevalence: share of images that count as positive under the study's label policy.
    """

    name: str
    positive: int
    uncertain: int
    negative: int
    prevalence: float


@dataclass(frozen=True)
class Held:
    """Positives of each class among held-out rows, and the standard error of AUC they imply.

    Attributes:
        images: rows.
        positives: rows that count as positive, by class.
        se: at an area of :data:`ASSUMED_AUC`; NaN for a class without a positive or a negative.
    """

    images: int
    positives: Mapping[str, int]
    se: Mapping[str, float]


@dataclass(frozen=True)
class RegimenOutlook:
    """One regimen of draw 0.

    Attributes:
        regimen: as the study gives it.
        images: training rows.
        positives: of each class among them.
        validation: held-out rows that this regimen chooses by.
        added: for each way of balancing (arms, comma-separated), images by class they are made for.
        refused: why images cannot be added, by the same names.
    """

    regimen: float
    images: int
    positives: Mapping[str, int]
    validation: Held
    added: Mapping[str, Mapping[str, int]]
    refused: Mapping[str, str]


@dataclass(frozen=True)
class Outlook:
    """What is known of a study's data before it runs.

    Attributes:
        images: of the dataset.
        groups: that it names; 0 where they are unknown.
        classes: rarest first.
        test: the test set.
        regimens: in the study's order.
        named: groups that ``split.test_groups`` names, and how many of them there are; None where
            it names none.
        unused_sides: images of each side that the dataset comes with and the study does not keep.
    """

    images: int
    groups: int
    classes: tuple[ClassOutlook, ...]
    test: Held
    regimens: tuple[RegimenOutlook, ...]
    named: tuple[int, int] | None = None
    unused_sides: Mapping[str, int] = field(default_factory=dict)


def outlook(study: Study) -> Outlook:
    """Look at the labels of a study's dataset.

    Raises:
        DataError: the label table cannot be read, or cannot be dealt to sides.
    """
    settings = study.settings
    source = study.dataset.load()
    table: LabelTable = source.label_table()
    sides = own_sides_of(source)
    held_out = None
    if settings.split.test_groups is not None:
        held_out = read_groups(Path(settings.split.test_groups).expanduser())
    split = make_split(
        table,
        settings.split,
        settings.imbalance,
        seed=settings.seed,
        draw=0,
        held_out=held_out,
        sides=sides if settings.split.own else None,
    )
    policy: LabelPolicy = settings.training.label_policy
    targets_NK = apply_policy(table.labels_NK, policy)
    known = {group for group in table.group_ids if group is not None}
    named = None if held_out is None else (len(held_out), len(known & held_out))
    return Outlook(
        images=len(table),
        groups=len(known),
        classes=_classes(table, targets_NK),
        test=_held("test", None, split, table, targets_NK, settings.split.validation_scope),
        regimens=tuple(
            _regimen(study, regimen, split, table, targets_NK) for regimen in settings.regimens
        ),
        named=named,
        unused_sides={} if settings.split.own or held_out is not None else _side_counts(sides),
    )


def _side_counts(sides: np.ndarray | None) -> dict[str, int]:
    found = Counter(() if sides is None else sides.tolist())
    return {name: found[name] for name in SIDES if found[name]}


def _classes(table: LabelTable, targets_NK: np.ndarray) -> tuple[ClassOutlook, ...]:
    counts = class_counts(targets_NK, table.classes)
    found = []
    for name in by_rarity(counts):
        raw_N = table.labels_NK[:, table.classes.index(name)]
        positive, uncertain, negative = (int((raw_N == value).sum()) for value in (1, -1, 0))
        share = counts[name] / len(table)
        found.append(ClassOutlook(name, positive, uncertain, negative, share))
    return tuple(found)


def _held(
    role: Literal["validation", "test"],
    regimen: float | None,
    split: SplitTable,
    table: LabelTable,
    targets_NK: np.ndarray,
    scope: Literal["shared", "proportional"],
) -> Held:
    rows = held_out_rows(split, role, table, regimen=regimen, scope=scope)
    held_NK = targets_NK[rows]
    positives = class_counts(held_NK, table.classes)
    se = {}
    for k, name in enumerate(table.classes):
        n_negative = int((held_NK[:, k] == 0).sum())
        enough = positives[name] and n_negative
        se[name] = (
            float(hanley_mcneil_se(ASSUMED_AUC, positives[name], n_negative))
            if enough
            else float("nan")
        )
    return Held(len(rows), positives, se)


def _regimen(
    study: Study, regimen: float, split: SplitTable, table: LabelTable, targets_NK: np.ndarray
) -> RegimenOutlook:
    rows = locate(table, split.sample_ids[select(split, role="train", regimen=regimen)])
    positive_NK = targets_NK[rows] == 1
    positives = class_counts(targets_NK[rows], table.classes)
    added: dict[str, Mapping[str, int]] = {}
    refused: dict[str, str] = {}
    arms: dict[str, list[str]] = {}
    for arm in study.arms.values():
        if arm.adds_images:
            arms.setdefault(repr(arm.balance), []).append(arm.name)
    conditional = cooccurrence(positive_NK, table.classes) if arms else {}
    for names in arms.values():
        balance = study.arms[names[0]].balance
        assert balance is not None
        try:
            found = required_counts(positives, len(rows), conditional, balance)
            added[", ".join(names)] = found
        except DataError as error:
            refused[", ".join(names)] = str(error)
    scope = study.settings.split.validation_scope
    return RegimenOutlook(
        regimen=regimen,
        images=len(rows),
        positives=positives,
        validation=_held("validation", regimen, split, table, targets_NK, scope),
        added=added,
        refused=refused,
    )
