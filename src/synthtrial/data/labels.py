"""What raw labels mean: policies for uncertain ones, counts, and which class is rare.

Labels are stored raw (1, 0, -1 uncertain, ``MISSING``), so another policy needs no new dataset.
Columns are always found by class name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np

from synthtrial.errors import DataError, suggest
from synthtrial.identity import stream
from synthtrial.store.images import MISSING, LabelTable

LabelPolicy = Literal["ones", "zeros", "ignore", "smooth"]

_UNCERTAIN: Mapping[LabelPolicy, float] = {
    "ones": 1.0,
    "zeros": 0.0,
    "ignore": np.nan,
    "smooth": 1.0,  # where a label must be one or the other; see `smooth`
}


def class_index(classes: Sequence[str], name: str) -> int:
    """Return the column of a class.

    Raises:
        DataError: there is no such class; the message lists those there are.
    """
    try:
        return list(classes).index(name)
    except ValueError:
        raise DataError(f"there is no class '{name}': {suggest(name, classes)}") from None


def apply_policy(labels_NK: np.ndarray, policy: LabelPolicy) -> np.ndarray:
    """Turn raw labels into targets.

    Args:
        labels_NK: int8; 1, 0, -1 (uncertain) or ``MISSING``.
        policy: what an uncertain label counts as: ``ones``, ``zeros``, ``ignore``, or ``smooth``,
            which is ``ones`` here and less than that in training (:func:`smooth`).

    Returns:
        targets_NK, float32: 1, 0, or NaN where the label is to be ignored. A class that is not
        mentioned counts as absent under every policy, as is usual with CheXpert's reports (Irvin
        et al. 2019, U-Ones, U-Zeros, U-Ignore).

    Raises:
        DataError: a value that is no label, or an unknown policy.
    """
    if policy not in _UNCERTAIN:
        raise DataError(f"unknown label policy: {suggest(policy, _UNCERTAIN)}")
    labels_NK = np.asarray(labels_NK)
    known = np.isin(labels_NK, (1, 0, -1, MISSING))
    if not known.all():
        raise DataError(
            f"a label is {labels_NK[~known][0]}; allowed: 1, 0, -1 (uncertain), {MISSING} (missing)"
        )
    targets_NK: np.ndarray = (labels_NK == 1).astype(np.float32)
    targets_NK[labels_NK == -1] = _UNCERTAIN[policy]
    return targets_NK


def smooth(
    targets_NK: np.ndarray, table: LabelTable, smoothing: Sequence[float], seed: int
) -> np.ndarray:
    """Return targets in which every uncertain label is a number drawn from a range.

    Source: Pham et al. 2019, Interpreting chest X-rays via CNNs that exploit hierarchical disease
    dependencies and uncertainty labels, arXiv 1911.06475 (U-Ones+LSR: 0.55 to 0.85).

    Args:
        targets_NK: of all rows of the table.
        table: whose raw labels say which are uncertain.
        smoothing: smallest and largest number.
        seed: of the study. A class's numbers go to the samples in the order of their ids.
    """
    low, high = smoothing
    order_N = np.argsort(table.sample_ids, kind="stable")
    smoothed_NK = targets_NK.copy()
    for k, name in enumerate(table.classes):
        u_N = np.empty(len(table), dtype=np.float32)
        u_N[order_N] = stream(seed, "smoothing", name).random(len(table), dtype=np.float32)
        uncertain_N = table.labels_NK[:, k] == -1
        smoothed_NK[uncertain_N, k] = low + (high - low) * u_N[uncertain_N]
    return smoothed_NK


def check_single_label(table: LabelTable) -> None:
    """Prove that every row has exactly one class.

    Raises:
        DataError: a row has none, several, or an uncertain one.
    """
    bad = ((table.labels_NK == 1).sum(axis=1) != 1) | (table.labels_NK == -1).any(axis=1)
    if bad.any():
        row = int(np.flatnonzero(bad)[0])
        names = [
            name
            for name, value in zip(table.classes, table.labels_NK[row], strict=True)
            if value in (1, -1)
        ]
        raise DataError(
            f"sample '{table.sample_ids[row]}' (one of {int(bad.sum()):,}) has the classes "
            f"{names}; a single-label dataset has exactly one for each sample, none uncertain"
        )


def class_counts(labels_NK: np.ndarray, classes: Sequence[str]) -> dict[str, int]:
    """Return the number of positive rows of every class, from raw labels or targets."""
    counts_K = (np.asarray(labels_NK) == 1).sum(axis=0)
    return {name: int(count) for name, count in zip(classes, counts_K, strict=True)}


def by_rarity(counts: Mapping[str, int]) -> list[str]:
    """Return the class names, rarest first; equally rare ones by name."""
    return sorted(counts, key=lambda name: (counts[name], name))


def rarest_class(
    labels_NK: np.ndarray, classes: Sequence[str], counts: Mapping[str, int]
) -> np.ndarray:
    """Return the name of the rarest positive class of every row, or None where it has no class.

    Args:
        labels_NK: raw labels or targets.
        classes: names of the columns.
        counts: how often each class occurs where rarity is judged.
    """
    rarest_N = np.full(len(labels_NK), None, dtype=object)
    positive_NK = np.asarray(labels_NK) == 1
    for name in reversed(by_rarity(counts)):  # the rarest is written last and stays
        rarest_N[positive_NK[:, class_index(classes, name)]] = name
    return rarest_N


def balanced_row_weights(targets_NK: np.ndarray) -> np.ndarray:
    """Return sampling probabilities that make every class equally likely.

    A row weighs the sum over its classes of 1 / (rows that hold the class); rows that hold none
    count as one more class. Exact for one class a row, approximate where classes share rows.
    """
    positive_NK = targets_NK > 0.5  # a smoothed label counts as what it leans to
    held_NK = np.column_stack([positive_NK, ~positive_NK.any(1)])
    weights_N = (held_NK / np.maximum(held_NK.sum(0), 1)).sum(1)
    return np.asarray(weights_N / weights_N.sum())


def locate(table: LabelTable, sample_ids: Sequence[str] | np.ndarray) -> np.ndarray:
    """Return the rows of the table that hold these samples, in the order asked for.

    Raises:
        DataError: the table lacks one of them.
    """
    wanted = np.asarray(sample_ids, dtype=object)
    if not len(wanted):
        return np.zeros(0, dtype=np.int64)
    order = np.argsort(table.sample_ids, kind="stable")
    sorted_ids = np.asarray(table.sample_ids, dtype=object)[order]
    places = np.minimum(np.searchsorted(sorted_ids, wanted), max(len(sorted_ids) - 1, 0))
    found = sorted_ids[places] == wanted if len(sorted_ids) else np.zeros(len(wanted), bool)
    if not found.all():
        raise DataError(
            f"the dataset has no sample '{wanted[~found][0]}' (one of {int((~found).sum()):,}); "
            "the split was made for another dataset"
        )
    rows: np.ndarray = order[places]
    return rows
