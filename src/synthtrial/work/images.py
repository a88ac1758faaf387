"""The made images that an arm adds: all of a store, those a filter kept, or the first of these."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from synthtrial.store.artifacts import Descent
from synthtrial.store.cache import ImageArrays
from synthtrial.study import Study
from synthtrial.synthesis.balance import read_allocation
from synthtrial.synthesis.filtering import first_of_each, read_kept
from synthtrial.work.context import Context


@dataclass(frozen=True, eq=False)
class MadeImages:
    """Made images in use.

    Attributes:
        arrays: of the store that holds them.
        rows: of the images in use.
    """

    arrays: ImageArrays
    rows: np.ndarray


def made_images(treatment: Mapping[str, str], context: Context, study: Study) -> MadeImages:
    """Return the images of :class:`synthtrial.upstream.ImageSet`'s ``treatment``.

    Raises:
        DataError: a dose asks for more images than its pool holds.
    """
    arrays = context.images("synthetic", treatment["synthetic"], study)
    rows = np.arange(len(arrays.labels))
    if "kept" in treatment:
        rows, intended = read_kept(context.artifact("filtered", treatment["kept"]))
        if "dose" in treatment:
            dose = read_allocation(context.artifact("allocation", treatment["dose"]))
            rows = rows[first_of_each(intended, dose.counts_of())]
    return MadeImages(arrays, rows)


def lineage_of_images(treatment: Mapping[str, str], context: Context) -> list[Descent]:
    """Return what the images descend from, their judge's rows included."""
    kind, id_ = ("filtered", "kept") if "kept" in treatment else ("synthetic", "synthetic")
    return list(context.artifact(kind, treatment[id_]).lineage)
