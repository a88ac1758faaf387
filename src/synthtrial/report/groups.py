"""Scores by regimen and target, each arm's at one stretch: what tables of results are made from.

They come from one row a score (:func:`synthtrial.report.tables.long_results`), or right from the
trials, which spares ten million rows where there are a million trials. Both give the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from synthtrial.stats.blocks import Labels

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Group:
    """The scores of one target at one regimen.

    Attributes:
        regimen, scope, class_name, metric: the place, as in the tables.
        value_N: scores, those of one arm side by side, in the order of the trials.
        arms: arm of each score.
        draws: draw of each score.
        replicates: replicate of each score.
    """

    regimen: float
    scope: str
    class_name: str
    metric: str
    value_N: NDArray[np.float64]
    arms: Labels
    draws: Labels
    replicates: Labels

    @property
    def place(self) -> dict[str, object]:
        """Regimen, scope, class name and metric, as a table's row has them."""
        names = ("regimen", "scope", "class_name", "metric")
        return {name: getattr(self, name) for name in names}

    @property
    def sizes(self) -> dict[str, int]:
        """The number of scores of each arm."""
        sizes = np.bincount(self.arms.codes, minlength=self.arms.names.size)
        return {str(arm): int(size) for arm, size in zip(self.arms.names, sizes, strict=True)}


@dataclass(frozen=True)
class _Places:
    """Where scores belong, sorted by group and arm: ``rows`` are their places in the frame."""

    rows: NDArray[np.intp]
    groups: Labels
    labels: tuple[Labels, Labels, Labels]  # arms, draws, replicates


def by_target(results: pd.DataFrame) -> Iterator[Group]:
    """Group one row a score, such as those of ``tables.long_results``; groups as they appear."""
    if results.empty:
        return
    whole = np.zeros(len(results), dtype=np.intp)
    for name in ("regimen", "scope", "class_name"):
        codes, known = pd.factorize(results[name])
        whole = whole * len(known) + codes
    number_N, numbers = pd.factorize(whole)
    first = np.unique(number_N, return_index=True)[1]
    places = _sorted(Labels(np.arange(len(numbers)), number_N), *_labels(results))
    value_N = results.value.to_numpy(dtype=np.float64)[places.rows]
    for number, rows in _stretches(places.groups):
        row = results.iloc[first[number]]
        place = (float(row.regimen), str(row.scope), str(row.class_name), str(row.metric))
        yield Group(*place, value_N[rows], *(_part(labels, rows) for labels in places.labels))


def by_column(
    trials: pd.DataFrame,
    kept_N: NDArray[np.bool_],
    columns: Iterable[tuple[str, str, str, NDArray[np.float64]]],
) -> Iterator[Group]:
    """Group scores that stand beside their trials; regimens as they appear within each column.

    Args:
        trials: columns regimen, arm, draw and replicate.
        kept_N: which trials are meant.
        columns: scope, class name, metric and the score of each trial, NaN where undefined.
    """
    frame = trials.loc[kept_N, ["regimen", "arm", "draw", "replicate"]]
    codes, regimens = pd.factorize(frame.regimen)
    places = _sorted(Labels(np.asarray(regimens), codes), *_labels(frame))
    row_N = np.flatnonzero(kept_N)[places.rows]
    for scope, class_name, metric, values in columns:
        value_N = values[row_N]
        known_N = ~np.isnan(value_N)
        found = []
        for number, rows in _stretches(places.groups):
            kept = rows if known_N[rows].all() else rows.start + np.flatnonzero(known_N[rows])
            if value_N[kept].size:
                place = (float(regimens[number]), scope, class_name, metric)
                parts = (_part(labels, kept) for labels in places.labels)
                found.append((row_N[kept].min(), Group(*place, value_N[kept], *parts)))
        yield from (group for _, group in sorted(found, key=lambda pair: pair[0]))


def _labels(frame: pd.DataFrame) -> tuple[Labels, Labels, Labels]:
    """Return arm, draw and replicate of each row."""
    arm, arms = pd.factorize(frame.arm, sort=True)
    found = [Labels(np.asarray(arms, dtype=str), arm)]
    for name in ("draw", "replicate"):
        code, names = pd.factorize(frame[name], sort=True)
        found.append(Labels(np.asarray(names), code))
    return found[0], found[1], found[2]


def _sorted(groups: Labels, arms: Labels, *others: Labels) -> _Places:
    place = groups.codes * arms.names.size + arms.codes
    small = np.uint16 if place.size and place.max() < 2**16 else np.int64  # sorted in linear time
    rows = np.argsort(place.astype(small), kind="stable")
    arms_, draws, replicates = (_part(labels, rows) for labels in (arms, *others))
    return _Places(rows, _part(groups, rows), (arms_, draws, replicates))


def _part(labels: Labels, rows: NDArray[np.intp] | slice) -> Labels:
    return Labels(labels.names, labels.codes[rows])


def _stretches(groups: Labels) -> Iterator[tuple[int, slice]]:
    """Yield the number of each group and where it is in rows sorted by groups."""
    sizes = np.bincount(groups.codes, minlength=groups.names.size)
    ends = [0, *np.cumsum(sizes).tolist()]
    for number, (first, end) in enumerate(pairwise(ends)):
        yield number, slice(first, end)
