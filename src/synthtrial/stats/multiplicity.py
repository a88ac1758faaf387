"""Many questions at once: p values adjusted so that one false alarm among all of them stays rare.

Holm, *A simple sequentially rejective multiple test procedure*, Scandinavian Journal of Statistics
6:65-70 (1979). A study asks in families: the arms of one regimen and class are compared with the
baseline together, and their p values are adjusted within the family already (Dunnett). Over the
families Holm's steps go on: as long as ``m`` families hold a question that is still open, a
question is decided where its adjusted p value times ``m`` is small enough. A false alarm then needs
one of at most ``m`` families to err at level ``alpha / m``, so all of them together err at
``alpha`` at most, however they depend on each other. With one question a family this is Holm's
procedure.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray


def holm(p_N: ArrayLike, families: Sequence[Hashable] | None = None) -> NDArray[np.float64]:
    """Return p values adjusted over families.

    Args:
        p_N: p values, each adjusted within its family; NaN where a question cannot be asked, which
            then counts for nothing.
        families: of each; by default each is a family of its own.

    Raises:
        ValueError: lengths differ, or a p value lies outside 0 to 1.
    """
    p = np.asarray(p_N, dtype=np.float64).ravel()
    labels = list(range(p.size)) if families is None else list(families)
    known = np.flatnonzero(~np.isnan(p))
    if len(labels) != p.size or np.any((p[known] < 0) | (p[known] > 1)):
        raise ValueError(f"p values between 0 and 1, each with its family; got {p_N!r}")
    adjusted = np.full(p.size, np.nan)
    open_ = {label: sum(labels[i] == label for i in known) for label in {labels[i] for i in known}}
    # The smallest goes first, so a family is closed only when all of its questions have had a turn.
    largest = 0.0
    for place in known[np.argsort(p[known], kind="stable")]:
        largest = max(largest, min(1.0, len(open_) * float(p[place])))
        adjusted[place] = largest
        label = labels[place]
        open_[label] -= 1
        if not open_[label]:
            del open_[label]
    return adjusted
