"""The settings of a study that deal its real samples to sides and thin them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True)
class SplitConfig:
    """Hold-out test set (fixed for the study) and validation set (one per draw).

    Attributes:
        test: fraction of the groups held out for testing.
        validation: fraction of the groups used for validation.
        validation_scope: ``shared``, one validation set for all regimens of a draw, or
            ``proportional``, thinned with the regimen as the chest X-ray paper has it.
        by: what is never divided: a ``group`` (a patient), or only an ``image``, so that a patient
            may be trained and judged on; needs ``allow_leakage``.
        test_by: the same for the test set alone; by default as ``by``.
        test_groups: file of the names of the groups held out for testing, one a line; ``test`` is
            then not used. Its content enters ids and its place does not.
        own: keep the dataset's own test set, and its own validation set where it has one; ``test``
            is then not used, and ``validation`` only where it has none.
        validation_made: move the fraction ``validation / (1 - test)`` of made images from training
            to validation, as the chest X-ray paper's code does; needs ``allow_leakage``.
    """

    test: float = 0.25
    validation: float = 0.1
    validation_scope: Literal["shared", "proportional"] = "shared"
    by: Literal["group", "image"] = "group"
    test_by: Literal["group", "image"] | None = None
    test_groups: str | None = None
    own: bool = False
    validation_made: bool = False

    @property
    def crossing(self) -> bool:
        """Whether a group may be on two sides."""
        return "image" in (self.by, self.test_by)


@dataclass(frozen=True)
class ImbalanceConfig:
    """Classes made rare on purpose; the test set is never touched.

    Attributes:
        classes: names of the classes to reduce.
        remove: fraction of their images that is taken away.
        apply_to: whether validation is thinned like the training set.
    """

    classes: list[str] = field(default_factory=list)
    remove: float = 0.0
    apply_to: Literal["train", "train+validation"] = "train"
