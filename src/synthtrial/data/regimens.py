"""The part of the training set in use: 10 %, 50 %, 2,050 images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from synthtrial.data.labels import locate
from synthtrial.data.splits import SplitTable, require_every_class, select
from synthtrial.store.images import LabelTable

if TYPE_CHECKING:
    import numpy as np


def regimen_label(regimen: float) -> str:
    """Return how people read a regimen: ``"10 %"``, ``"0.5 %"`` or ``"2,050 images"``."""
    return f"{regimen * 100:.6g} %" if regimen <= 1 else f"{int(regimen):,} images"


def regimen_rows(
    split: SplitTable, regimen: float, table: LabelTable, classes: Sequence[str] | None = None
) -> np.ndarray:
    """Return the training rows of a regimen, as rows of the dataset in order of sample id.

    Args:
        split: the split.
        regimen: a fraction up to 1, or a number of images.
        table: the dataset's labels, in the dataset's own row order.
        classes: those that must have an image; by default all.

    Raises:
        DataError: one of the classes has no image in the regimen, or the regimen is no part of the
            training set.
    """
    rows = locate(table, split.sample_ids[select(split, role="train", regimen=regimen)])
    asked = table.classes if classes is None else tuple(classes)
    columns = [table.classes.index(name) for name in asked]
    where = f"the regimen of {regimen_label(regimen)}"
    require_every_class(table.labels_NK[rows][:, columns], asked, where)
    return rows


def held_out_rows(
    split: SplitTable,
    role: Literal["validation", "test"],
    table: LabelTable,
    *,
    regimen: float | None = None,
    scope: Literal["shared", "proportional"] = "shared",
) -> np.ndarray:
    """Return the validation or test rows, as rows of the dataset in order of sample id.

    A validation set of scope ``proportional`` is thinned like the training set of ``regimen`` and
    may lack a rare class; metrics that are undefined without it say so.
    """
    thinned = regimen if role == "validation" and scope == "proportional" else None
    return locate(table, split.sample_ids[select(split, role=role, regimen=thinned)])
