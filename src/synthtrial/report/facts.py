"""What a report is made from, as plain frames: no store, no plan, nothing to look up.

:mod:`synthtrial.report.sources` fills these in; tables, figures and page only read them, so that
they can be worked on, and tested, with made-up numbers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import pandas as pd

from synthtrial.published import Published
from synthtrial.report.columns import (
    ACCEPTANCE_COLUMNS,
    CHOSEN_COLUMNS,
    COUNT_COLUMNS,
    CURVE_COLUMNS,
    GENERATOR_COLUMNS,
    LOSS_COLUMNS,
    QUALITY_COLUMNS,
    SHORTFALL_COLUMNS,
    SYNTHETIC_COLUMNS,
    TEST_ERROR_COLUMNS,
    WORK_COLUMNS,
    empty,
)
from synthtrial.report.pictures import External, Picture, Sheet

if TYPE_CHECKING:  # it needs what is here
    from synthtrial.report.cams import Maps

#: How a trial ends without a score, by itself.
UNSCORED = ("diverged", "failed")
#: A trial in one of these states has run, to its end or not.
ENDED = ("done", "stopped", *UNSCORED)
#: A trial in one of these states will not change any more.
TERMINAL = (*ENDED, "blocked")

TIMES, MINUS, DASH = "\N{MULTIPLICATION SIGN}", "\N{MINUS SIGN}", "\N{EN DASH}"


@dataclass(frozen=True)
class ArmFacts:
    """An arm in words.

    Attributes:
        name: as the study calls it.
        text: what it does, as a clause without full stop.
        synthetic: whether it adds made images.
        filtered: whether these are images that a filter kept.
        images: which made images it adds, however many: arms that agree in it take theirs from one
            source; empty where it adds none.
        treatment: everything else that it does; arms that agree in it differ in images alone.
        shuffled: whether they are given each other's labels.
        original: whether it is trained on the real images that the others are denied.
    """

    name: str
    text: str
    synthetic: bool = False
    filtered: bool = False
    shuffled: bool = False
    images: str = ""
    treatment: str = ""
    original: bool = False


@dataclass(frozen=True)
class Primary:
    """The question that a study was made to answer.

    Attributes:
        arm: whose difference from the baseline is asked for.
        scope, class_name: what is judged, as in the tables of results.
        regimens: where.
    """

    arm: str
    scope: str
    class_name: str
    regimens: tuple[float, ...]


@dataclass(frozen=True)
class Tariff:
    """What time on a machine costs.

    Attributes:
        gpu_hour: price of an hour of one GPU; None where nobody names one.
        cpu_hour: price of an hour of one processor, alike.
        trials_per_gpu: trials that share a GPU.
    """

    gpu_hour: float | None = None
    cpu_hour: float | None = None
    trials_per_gpu: int = 1


@dataclass(frozen=True)
class Design:
    """How the study is laid out; nothing here is a result.

    Attributes:
        classes: in the dataset's own order.
        minority: the classes of interest.
        image_shape: (channels, height, width) in pixels.
        regimens: in the study's order.
        grid: values by axis; ``configurations`` is the number of points.
        class_metric, overall_metric: names of the metrics of single classes and of all.
        selector: validation metric that chooses configurations.
        select_over: classes that ``selector`` is the mean over: ``macro_all``, ``macro_chosen``
            (the classes of interest) or ``per_class`` (each of these chooses for itself).
        overall_classes: classes that a per-class ``overall_metric`` is the mean over; empty: all.
        uncertain_counts: whether an uncertain label counts as a positive one.
        uncertain_text: what it counts as in training, as a predicate.
        primary: the declared question; None where none was declared.
        asked_late: replicates whose results could be seen when that question was named, or became
            another one; 0 where it is that of before.
        margin_late: the same of the margin.
        family: arms that are compared with the baseline together.
        margin: differences below this do not matter; None where none was declared.
        spread: ``auto``, ``own`` or ``pooled`` (:mod:`synthtrial.stats.contrasts`).
        pilot: blocks that the number of replicates was chosen from by a rule about the width of an
            interval (:mod:`synthtrial.stats.sequential`); None without one.
        looks: sentences on how the number of replicates came about after results were there.
        replicate_command: what is typed to have more replicates, up to their number.
        unlike_validation: whether arms are validated on images of unlike kinds, so that their
            validation scores cannot be compared.
        early_stopping: how grid trials are stopped early, in words; empty where none is.
        generator: what makes the images, in words; empty without one.
        fit_on: rows that generators are fitted on: ``subset``, ``train``, ``original`` or, of
            images made elsewhere, ``external``; ``several`` where arms differ.
        generator_kinds: how many settings of generators there are.
        balance: by what rule images are added, in words.
        reference: rows that the reference classifier is trained on, as ``fit_on``; empty where no
            classifier judges made images.
        features: where the quality of made images is measured; empty where it is not.
        thresholds: of quality, by the name of their setting.
        refused: whether images that miss a threshold are refused.
    """

    name: str
    description: str
    dataset: str
    licence: str
    classes: tuple[str, ...]
    minority: tuple[str, ...]
    multi_label: bool
    groups_known: bool
    image_shape: tuple[int, int, int]
    arms: tuple[ArmFacts, ...]
    regimens: tuple[float, ...]
    reduced: tuple[str, ...]
    removed_fraction: float
    grid: Mapping[str, tuple[Any, ...]]
    configurations: int
    epochs: int
    protocol: str
    draws: int
    replicates: int
    selector: str
    baseline: str
    overall_metric: str
    class_metric: str
    confidence: float
    classifier: str
    generator: str = ""
    fit_on: str = ""
    generator_kinds: int = 1
    balance: str = ""
    reference: str = ""
    features: str = ""
    thresholds: Mapping[str, float] = field(default_factory=dict)
    refused: bool = False
    early_stopping: str = ""
    select_over: str = "macro_all"
    overall_classes: tuple[str, ...] = ()
    uncertain_counts: bool = False
    uncertain_text: str = "counts as negative"
    primary: Primary | None = None
    asked_late: int = 0
    margin_late: int = 0
    family: tuple[str, ...] = ()
    margin: float | None = None
    spread: Literal["auto", "own", "pooled"] = "auto"
    pilot: int | None = None
    looks: tuple[str, ...] = ()
    replicate_command: str = "synthtrial replicate STUDY"
    unlike_validation: bool = False

    @property
    def overall_scope(self) -> str:
        """Which classes ``overall`` is about, in words."""
        if not self.overall_classes or set(self.overall_classes) == set(self.classes):
            return "all classes"
        if len(self.overall_classes) > 3:
            others = [name for name in self.classes if name not in self.overall_classes]
            if len(others) < 3:
                return f"all classes but {listing(others)}"
            return f"{len(self.overall_classes)} of {len(self.classes)} classes"
        return listing(self.overall_classes)

    @property
    def overall_is_minority(self) -> bool:
        """Whether ``overall`` is the very mean over the classes of interest."""
        same = set(self.overall_classes) == set(self.minority)
        return bool(self.minority) and same and self.overall_metric == self.class_metric

    @property
    def arm_names(self) -> tuple[str, ...]:
        """Names of the arms in the study's order."""
        return tuple(arm.name for arm in self.arms)

    @property
    def synthetic_arms(self) -> tuple[str, ...]:
        """Names of the arms that add made images."""
        return tuple(arm.name for arm in self.arms if arm.synthetic)

    @property
    def summary_scope(self) -> str:
        """Scope that sums up what the study is about: the classes of interest, if it has any."""
        return "minority" if self.minority else "overall"

    @property
    def judged(self) -> tuple[str, str]:
        """Scope and class of what is judged first: the primary question's, or the summary."""
        asked = self.primary
        return (self.summary_scope, "") if asked is None else (asked.scope, asked.class_name)

    def metric_of(self, scope: str) -> str:
        """Return the metric of a scope of the tables of results."""
        return self.overall_metric if scope == "overall" else self.class_metric

    @property
    def unit(self) -> Literal["draw", "replicate"]:
        """What is independent, a block of the tables: draws, unless all replicates share one."""
        return "draw" if self.draws > 1 else "replicate"

    @property
    def varying_arms(self) -> tuple[str, ...]:
        """Names of the arms whose images come from another generator in every draw."""
        return self.synthetic_arms if self.trains_generators and self.draws > 1 else ()

    @property
    def pooled_apart(self) -> tuple[str, ...]:
        """Names of the arms whose means are in no pool, as they vary by more than its noise."""
        return () if self.spread == "pooled" else self.varying_arms

    @property
    def rivals(self) -> tuple[str, ...]:
        """Names of the arms that those with made images compete with.

        One on the original data is none: nobody who lacks images could choose it. With the baseline
        alone there would be nothing but a repetition.
        """
        others = [arm.name for arm in self.arms if not arm.synthetic and not arm.original]
        return () if others == [self.baseline] else tuple(others)

    @property
    def filtered_arms(self) -> tuple[str, ...]:
        """Names of the arms that add images which a filter kept."""
        return tuple(arm.name for arm in self.arms if arm.filtered)

    def named(self, arms: str) -> tuple[str, ...]:
        """Return the names in a comma-separated list of arms; it alone where it is none."""
        names = tuple(arms.split(", "))
        return names if set(names) <= set(self.arm_names) else (arms,)

    @property
    def trains_generators(self) -> bool:
        """Whether generators are trained, and images not taken from elsewhere."""
        return bool(self.synthetic_arms) and self.fit_on != "external"


@dataclass(frozen=True)
class Facts:
    """A study's design and everything known of its results.

    Attributes:
        design: the layout.
        trials: one row for each planned trial, done or not (``TRIAL_COLUMNS`` of :mod:`.columns`).
        class_scores: test score of each class, one column a class, index as ``trials``.
        validation_scores, made_scores: the same on validation, and on the made images that a trial
            was trained on; empty where nobody knows.
        counts: images by draw, role (``train``, ``removed``, ``validation``, ``unused``, ``test``)
            and class; class name ``""`` counts all images of the role (``COUNT_COLUMNS``).
        regimen_images: real images of each regimen in draw 0.
        synthetic: allocations (``SYNTHETIC_COLUMNS``).
        curves: of replicate trials (``CURVE_COLUMNS``).
        pictures: strips of images.
        chosen: configuration chosen for each cell: arm, regimen, replicate (-1 where the choice is
            one for all), configuration, target (``CHOSEN_COLUMNS``).
        notes: further remarks, such as why pictures are withheld.
        quality, shortfalls: of made images, and which thresholds they miss (``QUALITY_COLUMNS``,
            ``SHORTFALL_COLUMNS``).
        acceptance: by filters (``ACCEPTANCE_COLUMNS``).
        generators, losses: trainings of generators (``GENERATOR_COLUMNS``, ``LOSS_COLUMNS``).
        sheets: samples of generators in training, of draw 0.
        external: where images made elsewhere come from.
        planned: number of tasks there are, and of those that failed or can never start, by kind of
            artifact: ``generator``, ``quality``.
        lost: label and message of tasks that failed and that no trial waited for.
        maps: where a classifier looks; None where no maps were made, or not yet.
        published: printed results to be shown beside these.
        test_errors: how sure the test set is, from kept logits (``TEST_ERROR_COLUMNS``).
        test_errors_missing: sentences on why it is not known, of everything or of some.
        work: what cells need beside trials (``WORK_COLUMNS``).
        tariff: what time costs.
    """

    design: Design
    trials: pd.DataFrame
    class_scores: pd.DataFrame
    validation_scores: pd.DataFrame = field(default_factory=pd.DataFrame)
    made_scores: pd.DataFrame = field(default_factory=pd.DataFrame)
    counts: pd.DataFrame = field(default_factory=lambda: empty(COUNT_COLUMNS))
    regimen_images: Mapping[float, int] = field(default_factory=dict)
    synthetic: pd.DataFrame = field(default_factory=lambda: empty(SYNTHETIC_COLUMNS))
    curves: pd.DataFrame = field(default_factory=lambda: empty(CURVE_COLUMNS))
    pictures: tuple[Picture, ...] = ()
    chosen: pd.DataFrame = field(default_factory=lambda: empty(CHOSEN_COLUMNS))
    notes: tuple[str, ...] = ()
    quality: pd.DataFrame = field(default_factory=lambda: empty(QUALITY_COLUMNS))
    shortfalls: pd.DataFrame = field(default_factory=lambda: empty(SHORTFALL_COLUMNS))
    acceptance: pd.DataFrame = field(default_factory=lambda: empty(ACCEPTANCE_COLUMNS))
    generators: pd.DataFrame = field(default_factory=lambda: empty(GENERATOR_COLUMNS))
    losses: pd.DataFrame = field(default_factory=lambda: empty(LOSS_COLUMNS))
    sheets: tuple[Sheet, ...] = ()
    external: External | None = None
    planned: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    lost: tuple[tuple[str, str], ...] = ()
    maps: Maps | None = None
    published: Published | None = None
    test_errors: pd.DataFrame = field(default_factory=lambda: empty(TEST_ERROR_COLUMNS))
    test_errors_missing: str = ""
    work: pd.DataFrame = field(default_factory=lambda: empty(WORK_COLUMNS))
    tariff: Tariff = Tariff()

    @cached_property
    def kinds(self) -> pd.DataFrame:
        """Each combination that replicates have of what decides a cell's stamps.

        Columns arm, regimen, status, code_digest, stamps; few rows, whatever the number of trials.
        """
        names = ["arm", "regimen", "status", "code_digest", "stamps"]
        return self.trials.loc[self.trials.stage == "replicate", names].drop_duplicates()

    @property
    def finished(self) -> bool:
        """Whether no trial is left to do."""
        return bool(self.trials.status.isin(TERMINAL).all())


def records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the rows of a frame as plain dicts by column name."""
    return [{str(name): value for name, value in row.items()} for row in frame.to_dict("records")]


def listing(words: list[str] | tuple[str, ...], last: str = "and") -> str:
    """Join words as a sentence does: ``a, b and c``."""
    if len(words) < 2:
        return "".join(words)
    return f"{', '.join(words[:-1])} {last} {words[-1]}"


def rows_text(fit_on: str) -> str:
    """Say which rows a generator or a reference classifier is fitted on."""
    return {
        "subset": "the same subset that the trial's classifier sees, and on nothing else",
        "train": "the whole training set",
        "original": "the training set before images were taken away",
    }.get(fit_on, fit_on)


def count_text(number: float, one: str, many: str | None = None) -> str:
    """Say a number with its noun: ``1 trial``, ``1,200 trials``."""
    return f"{number:,.0f} {one if number == 1 else many or one + 's'}"
