"""Who is trained on, validated on and tested on: drawn by group, stratified by class.

The test set depends on the study's seed alone; validation, imbalance and regimen ranks on seed and
draw. Everything is keyed by names (groups, samples, classes), so neither the order of a file's rows
nor the order of its classes changes a split.

A group belongs to the stratum of its rarest class. Within a stratum, roles are dealt to randomly
ordered groups. The training rows that imbalance leaves get a *rank* in (0, 1): a regimen of
fraction f is the rows of rank <= f, so regimens are nested and stratified.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from synthtrial.config import ImbalanceConfig, SplitConfig
from synthtrial.data.imbalance import removed_rows, share
from synthtrial.data.labels import by_rarity, class_counts, class_index, locate
from synthtrial.data.tables import read_table, write_table
from synthtrial.errors import DataError, suggest
from synthtrial.identity import stream
from synthtrial.store.artifacts import Artifact
from synthtrial.store.images import LabelTable

#: ``removed``: taken from the training set by imbalance; only a generator fitted on the original
#: set may see it. ``unused``: taken from the validation set; nothing may see it.
ROLES = ("train", "removed", "validation", "unused", "test")
SPLIT_FILE = "split.parquet"
_SIDES = {"train": 0, "removed": 0, "validation": 1, "unused": 1, "test": 2}


@dataclass(frozen=True, eq=False)
class SplitTable:
    """Roles and ranks of all samples of a dataset, sorted by sample id.

    Attributes:
        sample_ids: object array of N ids, ascending.
        group_ids: object array; None where the sample is its own group.
        roles: object array of :data:`ROLES`.
        ranks: float64 in (0, 1) for ``train`` and ``validation``, else NaN.
    """

    sample_ids: np.ndarray
    group_ids: np.ndarray
    roles: np.ndarray
    ranks: np.ndarray

    def __len__(self) -> int:
        """Return the number of samples."""
        return len(self.sample_ids)

    def rows(self, roles: str | Sequence[str]) -> np.ndarray:
        """Return the indices of the rows in these roles, ascending."""
        wanted = [roles] if isinstance(roles, str) else list(roles)
        for role in wanted:
            if role not in ROLES:
                raise DataError(f"unknown role '{role}': {suggest(role, ROLES)}")
        return np.flatnonzero(np.isin(self.roles, wanted))


def make_split(
    table: LabelTable, split: SplitConfig, imbalance: ImbalanceConfig, *, seed: int, draw: int
) -> SplitTable:
    """Deal the samples of a dataset to roles and rank them.

    Only certain positives (raw label 1) decide strata, removal and emptiness, so that a split does
    not depend on the label policy.

    Args:
        table: ids, groups and raw labels, in any order.
        split: fractions of the groups of every stratum, rounded half up.
        imbalance: classes to make rare after the roles are dealt.
        seed: of the study.
        draw: number of the draw.

    Raises:
        DataError: an unknown class, fractions that leave nothing to train on, a sample id given
            twice, or a class without an image in training, validation or test.
    """
    if not (0 < split.test < 1 and 0 < split.validation < 1 and split.test + split.validation < 1):
        raise DataError(
            f"split.test {split.test} and split.validation {split.validation} must lie between 0 "
            "and 1 and leave something to train on"
        )
    order = np.argsort(np.asarray(table.sample_ids, dtype=object), kind="stable")
    sample_ids = np.asarray(table.sample_ids, dtype=object)[order]
    group_ids = np.asarray(table.group_ids, dtype=object)[order]
    labels_NK, classes = table.labels_NK[order], table.classes
    twice = np.flatnonzero(sample_ids[1:] == sample_ids[:-1])
    if len(twice):
        raise DataError(f"two samples have the id '{sample_ids[twice[0]]}'; ids must be unique")

    units_N = _units(sample_ids, group_ids)
    sides_U = np.zeros(int(units_N.max(initial=-1)) + 1, dtype=np.int8)
    for stratum, units in _strata(labels_NK, classes, units_N):
        n_test, n_validation = share(split.test, len(units)), share(split.validation, len(units))
        shuffled = units[stream(seed, "test", *stratum).permutation(len(units))]
        sides_U[shuffled[:n_test]] = _SIDES["test"]
        rest = np.sort(shuffled[n_test:])
        shuffled = rest[stream(seed, "validation", draw, *stratum).permutation(len(rest))]
        sides_U[shuffled[:n_validation]] = _SIDES["validation"]
    sides_N = sides_U[units_N]
    roles = np.array(["train", "validation", "test"], dtype=object)[sides_N]

    places_N = stream(seed, "removal", draw).permutation(len(sample_ids))
    for role, becomes in (("train", "removed"), ("validation", "unused")):
        if role in imbalance.apply_to.split("+"):
            eligible_N = roles == role
            removed_N = removed_rows(labels_NK, classes, eligible_N, places_N, imbalance)
            roles[removed_N] = becomes

    ranks = np.full(len(sample_ids), np.nan)
    for role in ("train", "validation"):
        rows = np.flatnonzero(roles == role)
        ranks[rows] = _ranks(labels_NK[rows], classes, units_N[rows], (seed, role, draw))
    made = SplitTable(sample_ids, group_ids, roles, ranks)
    for role in ("train", "validation", "test"):
        require_every_class(labels_NK[made.rows(role)], classes, f"the role '{role}'")
    check_split(made)
    return made


def select(
    split: SplitTable, *, role: str | Sequence[str], regimen: float | None = None
) -> np.ndarray:
    """Return the rows of a role, or of the part of it that a regimen uses.

    Args:
        split: the split.
        role: one of :data:`ROLES`, or several.
        regimen: a fraction up to 1; or a number of training images, which takes as many as whole
            groups allow, and the same fraction of a validation set. None takes all rows. Rows
            without a rank (``removed``, ``test``) cannot be thinned and are refused.

    Returns:
        Indices into the split, in the order of sample ids whatever the order of the dataset.

    Raises:
        DataError: unknown role, or a regimen that is no part of the training rows.
    """
    rows: np.ndarray = split.rows(role)
    if regimen is None:
        return rows
    if not (0 < regimen <= 1 or (regimen > 1 and regimen == int(regimen))):
        raise DataError(f"regimen {regimen}: give a fraction up to 1 or a whole number of images")
    roles = {str(name) for name in split.roles[rows]}
    if not roles <= {"train", "validation"}:
        raise DataError(f"a regimen is part of the roles train or validation, not of {role}")
    if regimen <= 1:
        return np.asarray(rows[split.ranks[rows] <= regimen])
    train = split.rows("train")
    if regimen > len(train):
        raise DataError(
            f"the regimen of {int(regimen):,} images is larger than the training set, which has "
            f"{len(train):,}; give a smaller number, or 1.0 for all of it"
        )
    taken: np.ndarray = split.ranks[rows] <= regimen / len(train)
    if "train" in roles:
        first = _first_groups(split, train, int(regimen))
        taken = np.where(split.roles[rows] == "train", np.isin(rows, first), taken)
    return np.asarray(rows[taken])


def groups_of(split: SplitTable, rows: np.ndarray) -> set[tuple[str, str]]:
    """Return what may not be shared between sides: the groups, or samples that are their own."""
    return {
        ("sample", sample) if group is None else ("group", group)
        for sample, group in zip(split.sample_ids[rows], split.group_ids[rows], strict=True)
    }


def require_every_class(labels_NK: np.ndarray, classes: Sequence[str], where: str) -> None:
    """Refuse rows in which a class has no certain positive.

    Raises:
        DataError: naming the empty classes and what there is of the others.
    """
    counts = class_counts(labels_NK, classes)
    empty = [name for name, count in counts.items() if count == 0]
    if empty:
        held = ", ".join(f"{name}: {count:,}" for name, count in counts.items())
        raise DataError(
            f"{where} has no image of class {', '.join(map(repr, empty))} among its "
            f"{len(labels_NK):,} images ({held}). Use a larger regimen or fraction, remove less, "
            "or leave the class out of the dataset"
        )


def check_split(split: SplitTable) -> None:
    """Prove that no group is on two sides: training (or removed), validation (or unused), test.

    Raises:
        DataError: a group is, a sample is listed twice, or a role is unknown.
    """
    unknown = {str(role) for role in split.roles} - set(ROLES)
    if unknown:
        raise DataError(f"the split has unknown roles {sorted(unknown)}; allowed: {ROLES}")
    if len(set(split.sample_ids)) != len(split):
        raise DataError("the split lists a sample twice; ids must be unique")
    sides_N = np.array([_SIDES[role] for role in split.roles], dtype=np.int64)
    units_N = _units(split.sample_ids, split.group_ids)
    n_units = int(units_N.max(initial=-1)) + 1
    lowest_U, highest_U = np.full(n_units, 9), np.full(n_units, -1)
    np.minimum.at(lowest_U, units_N, sides_N)
    np.maximum.at(highest_U, units_N, sides_N)
    shared_N = (lowest_U != highest_U)[units_N]
    if shared_N.any():
        row = int(np.flatnonzero(shared_N)[0])
        group = split.group_ids[row]
        roles = sorted({str(role) for role in split.roles[split.group_ids == group]})
        raise DataError(
            f"group '{group}' is in the roles {roles} at once; training, validation and test must "
            "not share a group. Make the split anew"
        )


def role_counts(split: SplitTable, table: LabelTable) -> dict[str, dict[str, int]]:
    """Return the number of certain positives of every class in every role."""
    labels_NK = table.labels_NK[locate(table, split.sample_ids)]
    return {role: class_counts(labels_NK[split.rows(role)], table.classes) for role in ROLES}


def describe_split(split: SplitTable, table: LabelTable) -> dict[str, Any]:
    """Return what a split artifact's manifest says: rows and class counts of every role."""
    return {
        "rows": {role: len(split.rows(role)) for role in ROLES},
        "class_counts": role_counts(split, table),
    }


def write_split(folder: Path, split: SplitTable) -> None:
    """Write ``split.parquet`` (sample_id, group_id, role, rank) after :func:`check_split`."""
    import pyarrow as pa

    check_split(split)
    text = pa.string()
    schema = pa.schema(
        [("sample_id", text), ("group_id", text), ("role", text), ("rank", pa.float64())]
    )
    ranks = [None if np.isnan(rank) else rank for rank in split.ranks.tolist()]
    columns = {
        "sample_id": split.sample_ids.tolist(),
        "group_id": split.group_ids.tolist(),
        "role": split.roles.tolist(),
        "rank": ranks,
    }
    write_table(folder / SPLIT_FILE, columns, schema)


def read_split(artifact: Artifact) -> SplitTable:
    """Read a committed split.

    Raises:
        DamagedArtifactError: its file is missing, truncated or altered.
    """
    columns = ("sample_id", "group_id", "role", "rank")
    table = read_table(artifact, SPLIT_FILE, columns)
    sample_ids, group_ids, roles = (
        np.array([*table[name].to_pylist(), None], dtype=object)[:-1] for name in columns[:3]
    )
    ranks = table["rank"].fill_null(float("nan")).to_numpy()
    return SplitTable(sample_ids, group_ids, roles, ranks)


def _units(sample_ids: np.ndarray, group_ids: np.ndarray) -> np.ndarray:
    """Number the groups in the order of their names; a sample without one is its own."""
    names = [
        f"s{sample}" if group is None else f"g{group}"
        for sample, group in zip(sample_ids, group_ids, strict=True)
    ]
    _, units_N = np.unique(np.array(names, dtype=np.str_), return_inverse=True)
    return units_N.astype(np.int64)


def _strata(
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


def _ranks(
    labels_NK: np.ndarray, classes: Sequence[str], units_N: np.ndarray, key: tuple[int, str, int]
) -> np.ndarray:
    """Rank rows by group: the middle of the group's share of its randomly ordered stratum.

    With groups of one row this is (k - 1/2) / n for the k-th of n, and ``rank <= f`` takes f n
    rows of every stratum, rounded half up.
    """
    seed, role, draw = key
    sizes_U = np.bincount(units_N)
    rank_U = np.full(len(sizes_U), np.nan)
    for stratum, units in _strata(labels_NK, classes, units_N):
        shuffled = units[stream(seed, "subset", role, draw, *stratum).permutation(len(units))]
        sizes = sizes_U[shuffled]
        rank_U[shuffled] = (np.cumsum(sizes) - sizes / 2) / sizes.sum()
    return np.asarray(rank_U[units_N])


def _first_groups(split: SplitTable, rows: np.ndarray, n: int) -> np.ndarray:
    """Return the rows of the first groups by (rank, sample id) that hold at most n rows."""
    units_N = _units(split.sample_ids[rows], split.group_ids[rows])
    _, first_U, sizes_U = np.unique(units_N, return_index=True, return_counts=True)
    order_U = np.lexsort((first_U, split.ranks[rows][first_U]))
    taken_U = np.zeros(len(order_U), dtype=bool)
    taken_U[order_U] = np.cumsum(sizes_U[order_U]) <= n
    return np.asarray(rows[taken_U[units_N]])
