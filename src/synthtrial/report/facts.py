"""What a report is made from, as plain frames: no store, no plan, nothing to look up.

:mod:`synthtrial.report.sources` fills these in; tables, figures and page only read them, so that
they can be worked on, and tested, with made-up numbers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

#: A trial in one of these states will not change any more.
TERMINAL = ("done", "diverged", "failed", "blocked")

TRIAL_COLUMNS = {
    "trial_id": "str",
    "stage": "str",  # grid | replicate
    "arm": "str",
    "regimen": "float64",
    "configuration": "str",  # canonical JSON of the grid point, "" while not chosen
    "draw": "int64",
    "replicate": "int64",
    "status": "str",  # waiting | done | diverged | failed | blocked
    "overall": "float64",  # the overall metric on test; NaN where there is none
    "validation": "float64",  # the selecting metric on validation, at the kept epoch
    "best_epoch": "float64",
    "steps": "float64",
    "n_real": "float64",
    "n_added": "float64",
    "seconds": "float64",
    "code_digest": "str",
    "stamps": "str",  # comma-separated
    "message": "str",
}
COUNT_COLUMNS = {"draw": "int64", "role": "str", "class_name": "str", "images": "int64"}
SYNTHETIC_COLUMNS = {
    "arms": "str",  # comma-separated: arms that share this allocation
    "regimen": "float64",
    "draw": "int64",
    "class_name": "str",
    "chosen": "bool",  # a class that is to be raised
    "real": "int64",  # images of the regimen that hold the class
    "intended": "int64",  # added for the sake of this class
    "added": "int64",  # added images that hold the class
    "expected": "float64",  # prevalence by expectation
    "realised": "float64",  # prevalence in the images drawn
}
CURVE_COLUMNS = {
    "trial_id": "str",
    "epoch": "int64",
    "train_loss": "float64",  # real rows only
    "validation_loss": "float64",
}
CHOSEN_COLUMNS = {"arm": "str", "regimen": "float64", "replicate": "int64", "configuration": "str"}

TIMES, MINUS, DASH = "\N{MULTIPLICATION SIGN}", "\N{MINUS SIGN}", "\N{EN DASH}"


@dataclass(frozen=True)
class ArmFacts:
    """An arm in words.

    Attributes:
        name: as the study calls it.
        text: what it does, as a clause without full stop.
        synthetic: whether it adds made images.
    """

    name: str
    text: str
    synthetic: bool = False


@dataclass(frozen=True)
class Picture:
    """One PNG that holds ``tiles`` equally wide images side by side, without gaps.

    Attributes:
        path: of the PNG.
        role: ``real`` or ``synthetic``.
        class_name: class that the images hold, or were meant to hold.
        arms: for made images, the arms that use them, comma-separated.
        regimen: for made images, the regimen they belong to.
        tiles: number of images in the strip.
    """

    path: Path
    role: str
    class_name: str
    arms: str = ""
    regimen: float | None = None
    tiles: int = 1


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
        generator: what makes the images, in words; empty without one.
        balance: by what rule images are added, in words.
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
    balance: str = ""

    @property
    def arm_names(self) -> tuple[str, ...]:
        """Names of the arms in the study's order."""
        return tuple(arm.name for arm in self.arms)

    @property
    def synthetic_arms(self) -> tuple[str, ...]:
        """Names of the arms that add made images."""
        return tuple(arm.name for arm in self.arms if arm.synthetic)


@dataclass(frozen=True)
class Facts:
    """A study's design and everything known of its results.

    Attributes:
        design: the layout.
        trials: one row for each planned trial, done or not (``TRIAL_COLUMNS``).
        class_scores: test score of each class, one column a class, index as ``trials``.
        counts: images by draw, role (``train``, ``removed``, ``validation``, ``unused``, ``test``)
            and class; class name ``""`` counts all images of the role (``COUNT_COLUMNS``).
        regimen_images: real images of each regimen in draw 0.
        synthetic: allocations (``SYNTHETIC_COLUMNS``).
        curves: of replicate trials at the smallest and largest regimen (``CURVE_COLUMNS``).
        pictures: strips of images.
        chosen: configuration chosen for each cell: arm, regimen, replicate (-1 where the choice is
            one for all), configuration.
        notes: further remarks, such as why pictures are withheld.
    """

    design: Design
    trials: pd.DataFrame
    class_scores: pd.DataFrame
    counts: pd.DataFrame = field(default_factory=lambda: empty(COUNT_COLUMNS))
    regimen_images: Mapping[float, int] = field(default_factory=dict)
    synthetic: pd.DataFrame = field(default_factory=lambda: empty(SYNTHETIC_COLUMNS))
    curves: pd.DataFrame = field(default_factory=lambda: empty(CURVE_COLUMNS))
    pictures: tuple[Picture, ...] = ()
    chosen: pd.DataFrame = field(default_factory=lambda: empty(CHOSEN_COLUMNS))
    notes: tuple[str, ...] = ()

    @property
    def finished(self) -> bool:
        """Whether no trial is left to do."""
        return bool(self.trials.status.isin(TERMINAL).all())


def empty(columns: Mapping[str, str]) -> pd.DataFrame:
    """Return a frame of these columns and types without rows."""
    return pd.DataFrame({name: pd.Series(dtype=dtype) for name, dtype in columns.items()})


def records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the rows of a frame as plain dicts by column name."""
    return [{str(name): value for name, value in row.items()} for row in frame.to_dict("records")]


def listing(words: list[str] | tuple[str, ...], last: str = "and") -> str:
    """Join words as a sentence does: ``a, b and c``."""
    if len(words) < 2:
        return "".join(words)
    return f"{', '.join(words[:-1])} {last} {words[-1]}"


def count_text(number: float, one: str, many: str | None = None) -> str:
    """Say a number with its noun: ``1 trial``, ``1,200 trials``."""
    return f"{number:,.0f} {one if number == 1 else many or one + 's'}"
