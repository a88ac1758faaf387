"""How whole units, groups or single images, are dealt to sides and put in order.

A unit belongs to the stratum of its rarest class; within a stratum units are shuffled by a random
stream of the stratum's name, so that neither the order of rows nor that of classes matters.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

import numpy as np

from synthtrial.data.imbalance import share
from synthtrial.data.labels import by_rarity, class_counts, class_index
from synthtrial.errors import DataError
from synthtrial.identity import stream


def number_units(sample_ids: np.ndarray, group_ids: np.ndarray) -> np.ndarray:
    """Number the groups in the order of their names; a sample without one is its own."""
    names = [
        f"s{sample}" if group is None else f"g{group}"
        for sample, group in zip(sample_ids, group_ids, strict=True)
    ]
    _, units_N = np.unique(np.array(names, dtype=np.str_), return_inverse=True)
    return units_N.astype(np.int64)


def strata(
    labels_NK: np.ndarray, classes: Sequence[str], units_N: np.ndarray
) -> Iterator[tuple[tuple[str, ...], np.ndarray]]:
    """Yield each stratum's name (as stream names) and its groups, ascending."""
    rarity = by_rarity(class_counts(labels_NK, classes))
    present = np.unique(units_N)
    stratum_U = np.full(int(units_N.max(initial=-1)) + 1, len(rarity))
    for k, name in enumerate(rarity):
        positive_N = labels_NK[:, class_index(classes, name)] == 1
        holders = units_N[positive_N]
        stratum_U[holders] = np.minimum(stratum_U[holders], k)
    for k, stratum in enumerate([*(("class", name) for name in rarity), ("no class",)]):
        units = present[stratum_U[present] == k]
        if len(units):
            yield stratum, units


def rank_rows(
    labels_NK: np.ndarray, classes: Sequence[str], units_N: np.ndarray, key: tuple[int, str, int]
) -> np.ndarray:
    """Rank rows by group: the middle of the group's share of its randomly ordered stratum.

    With groups of one row this is (k - 1/2) / n for the k-th of n, and ``rank <= f`` takes f n
    rows of every stratum, rounded half up.
    """
    seed, role, draw = key
    sizes_U = np.bincount(units_N)
    rank_U = np.full(len(sizes_U), np.nan)
    for stratum, units in strata(labels_NK, classes, units_N):
        shuffled = units[stream(seed, "subset", role, draw, *stratum).permutation(len(units))]
        sizes = sizes_U[shuffled]
        rank_U[shuffled] = (np.cumsum(sizes) - sizes / 2) / sizes.sum()
    return np.asarray(rank_U[units_N])


def named_rows(group_ids: np.ndarray, held_out: Collection[str]) -> np.ndarray:
    """Return which rows belong to these groups, as bool.

    Raises:
        DataError: fewer than half of them are there: the names are spelt otherwise, or are of other
            images.
    """
    wanted = frozenset(held_out)
    in_test_N = np.fromiter((group in wanted for group in group_ids), dtype=bool)
    found = len(set(group_ids[in_test_N]))
    if 2 * found < len(wanted):
        known = next((group for group in group_ids if group is not None), None)
        example = f"; it has groups such as '{known}'" if known else "; its groups are unknown"
        raise DataError(
            f"split.test_groups: the dataset has {found or 'none'} of these {len(held_out):,} "
            f"groups, such as '{min(wanted)}'{example}. Give at least half that are there"
        )
    return in_test_N


def deal_test(
    labels_NK: np.ndarray, classes: Sequence[str], units_N: np.ndarray, fraction: float, seed: int
) -> np.ndarray:
    """Choose the test rows: a fraction of the units of every stratum."""
    in_test_U = np.zeros(int(units_N.max(initial=-1)) + 1, dtype=bool)
    for stratum, units in strata(labels_NK, classes, units_N):
        shuffled = units[stream(seed, "test", *stratum).permutation(len(units))]
        in_test_U[shuffled[: share(fraction, len(units))]] = True
    return np.asarray(in_test_U[units_N])


def deal_validation(
    labels_NK: np.ndarray,
    classes: Sequence[str],
    units_N: np.ndarray,
    in_test_N: np.ndarray,
    fraction: float,
    key: tuple[int, int],
) -> np.ndarray:
    """Choose validation rows outside of the test set: a fraction of all units of every stratum."""
    seed, draw = key
    n_units = int(units_N.max(initial=-1)) + 1
    in_test_U, chosen_U = np.zeros(n_units, dtype=bool), np.zeros(n_units, dtype=bool)
    in_test_U[units_N[in_test_N]] = True
    for stratum, units in strata(labels_NK, classes, units_N):
        rest = units[~in_test_U[units]]
        shuffled = rest[stream(seed, "validation", draw, *stratum).permutation(len(rest))]
        chosen_U[shuffled[: share(fraction, len(units))]] = True
    return np.asarray(chosen_U[units_N])
