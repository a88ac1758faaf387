"""The settings of what a study asks and how surely it is answered; nothing here touches a trial."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True)
class PrimaryConfig:
    """The question that a study was made to answer, named before its results are seen.

    Attributes:
        arm: whose difference from the baseline is asked for; None declares nothing, and then all
            that the report says is exploratory.
        target: ``minority`` (the mean over the classes of interest), ``overall``, or a class.
        regimens: where it is asked; by default all of them. p values are corrected for their
            number (Holm).
    """

    arm: str | None = None
    target: str = "minority"
    regimens: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class StatisticsConfig:
    """What the report compares; nothing here touches a trial.

    Attributes:
        baseline: arm that the others are compared with.
        primary: the declared question; everything else is called exploratory.
        family: arms whose differences from the baseline are judged together (Dunnett); by default
            all.
        margin: differences below this do not matter, in units of the metric: what is surely
            smaller is called no difference. None names no margin, and then nothing is ever called
            no difference.
        spread: ``own`` takes the spread of each difference from its own blocks, ``pooled`` one for
            all arms; ``auto`` is ``own`` from six blocks (draws, or replicates of one draw) on,
            and at any number for arms whose generators differ from draw to draw.
        overall: metric over all classes.
        per_class: metric of single classes.
        minority: classes of interest; by default those of ``balance`` or ``imbalance``.
        overall_classes: classes that a per-class ``overall`` is the mean of; by default all.
        published: a table of printed results to show beside these: a shipped one or a YAML file.
        confidence: of all intervals.
    """

    baseline: str = "none"
    primary: PrimaryConfig = field(default_factory=PrimaryConfig)
    family: list[str] = field(default_factory=list)
    margin: float | None = None
    spread: Literal["auto", "own", "pooled"] = "auto"
    overall: str = "accuracy"
    per_class: str = "recall"
    minority: list[str] = field(default_factory=list)
    overall_classes: list[str] = field(default_factory=list)
    published: str | None = None
    confidence: float = 0.95
