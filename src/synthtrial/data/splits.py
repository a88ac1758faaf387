"""Who is trained on, validated on and tested on: drawn by group, stratified by class.

The test set depends on the study's seed alone; validation, imbalance and regimen ranks on seed and
draw. Everything is keyed by names (groups, samples, classes), so neither the order of a file's rows
nor the order of its classes changes a split.

What is dealt whole is a group (a patient), or a single image where a study says so; "group" below
stands for either. A group belongs to the stratum of its rarest class. Within a stratum, roles are
dealt to randomly ordered groups (:mod:`synthtrial.data.dealing`). The training rows that imbalance
leaves get a *rank* in (0, 1): a regimen of fraction f is the rows of rank <= f, so regimens are
nested and stratified.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from synthtrial.config import ImbalanceConfig, SplitConfig
from synthtrial.data.dealing import (
    deal_test,
    deal_validation,
    named_rows,
    number_units,
    rank_rows,
)
from synthtrial.data.imbalance import removed_rows
from synthtrial.data.labels import class_counts, locate
from synthtrial.data.sides import check_sides
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
    table: LabelTable,
    split: SplitConfig,
    imbalance: ImbalanceConfig,
    *,
    seed: int,
    draw: int,
    held_out: Collection[str] | None = None,
    sides: np.ndarray | None = None,
) -> SplitTable:
    """Deal the samples of a dataset to roles and rank them.

    Only certain positives (raw label 1) decide strata, removal and emptiness, so that a split does
    not depend on the label policy.

    Args:
        table: ids, groups and raw labels, in any order.
        split: fractions of the groups of every stratum, rounded half up; what is dealt whole.
        imbalance: classes to make rare after the roles are dealt.
        seed: of the study.
        draw: number of the draw.
        held_out: groups of the test set, where they are given; others may be named too.
        sides: the dataset's own, by row of the table, which ``split.own`` keeps.

    Raises:
        DataError: an unknown class, fractions that leave nothing to train on, a sample id given
            twice, a class without an image in training, validation or test, no group of
            ``held_out`` in the dataset, or sides that ``split.own`` cannot keep.
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

    whole = {"group": group_ids, "image": np.full(len(group_ids), None, dtype=object)}
    test_by = "group" if held_out is not None else split.test_by or split.by
    units_N = number_units(sample_ids, whole[split.by])
    test_units_N = units_N if test_by == split.by else number_units(sample_ids, whole[test_by])
    in_validation_N = None
    if split.own:
        own_N = check_sides(sides, table.sample_ids)[order]
        in_test_N = own_N == "test"
        in_validation_N = own_N == "validation" if (own_N == "validation").any() else None
    elif held_out is not None:
        in_test_N = named_rows(group_ids, held_out)
    else:
        in_test_N = deal_test(labels_NK, classes, test_units_N, split.test, seed)
    sides_N = np.where(in_test_N, _SIDES["test"], _SIDES["train"])
    if in_validation_N is None:
        in_validation_N = deal_validation(
            labels_NK, classes, units_N, in_test_N, split.validation, (seed, draw)
        )
    sides_N[in_validation_N] = _SIDES["validation"]
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
        ranks[rows] = rank_rows(labels_NK[rows], classes, units_N[rows], (seed, role, draw))
    made = SplitTable(sample_ids, group_ids, roles, ranks)
    groups = set(group_ids.tolist()) - {None}
    among = f" (the dataset has {len(groups):,} groups)" if groups else ""
    for role in ("train", "validation", "test"):
        require_every_class(labels_NK[made.rows(role)], classes, f"the role '{role}'{among}")
    if split.own and not split.crossing:
        _refuse_own_crossing(made)
    check_split(made, crossing=split.crossing)
    return made


def read_groups(path: Path) -> frozenset[str]:
    """Read the names of groups from a file, one a line.

    Raises:
        DataError: it cannot be read or names none.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"split.test_groups: cannot read {path}: {error}") from None
    names = frozenset(line.strip() for line in lines if line.strip())
    if not names:
        raise DataError(f"split.test_groups: {path} names no group; give one a line")
    return names


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


def check_split(split: SplitTable, *, crossing: bool = False) -> None:
    """Prove that no group is on two sides: training (or removed), validation (or unused), test.

    Args:
        split: the split.
        crossing: allow that, where a study deals single images.

    Raises:
        DataError: a group is, a sample is listed twice, or a role is unknown.
    """
    unknown = {str(role) for role in split.roles} - set(ROLES)
    if unknown:
        raise DataError(f"the split has unknown roles {sorted(unknown)}; allowed: {ROLES}")
    if len(set(split.sample_ids)) != len(split):
        raise DataError("the split lists a sample twice; ids must be unique")
    shared_N = crossing_rows(split)
    if shared_N.any() and not crossing:
        row = int(np.flatnonzero(shared_N)[0])
        group = split.group_ids[row]
        roles = sorted({str(role) for role in split.roles[split.group_ids == group]})
        raise DataError(
            f"group '{group}' is in the roles {roles} at once; training, validation and test must "
            "not share a group. Make the split anew"
        )


def crossing_rows(split: SplitTable) -> np.ndarray:
    """Return which rows belong to a group that is on two sides, as bool."""
    sides_N = np.array([_SIDES[role] for role in split.roles], dtype=np.int64)
    units_N = number_units(split.sample_ids, split.group_ids)
    n_units = int(units_N.max(initial=-1)) + 1
    lowest_U, highest_U = np.full(n_units, 9), np.full(n_units, -1)
    np.minimum.at(lowest_U, units_N, sides_N)
    np.maximum.at(highest_U, units_N, sides_N)
    return np.asarray((lowest_U != highest_U)[units_N])


def role_counts(split: SplitTable, table: LabelTable) -> dict[str, dict[str, int]]:
    """Return the number of certain positives of every class in every role."""
    labels_NK = table.labels_NK[locate(table, split.sample_ids)]
    return {role: class_counts(labels_NK[split.rows(role)], table.classes) for role in ROLES}


def uncertain_counts(split: SplitTable, table: LabelTable) -> dict[str, dict[str, int]]:
    """Return the number of uncertain labels of every class in every role."""
    uncertain_NK = table.labels_NK[locate(table, split.sample_ids)] == -1
    return {role: class_counts(uncertain_NK[split.rows(role)], table.classes) for role in ROLES}


def describe_split(split: SplitTable, table: LabelTable) -> dict[str, Any]:
    """Return what a split artifact's manifest says: rows, class counts, images of shared groups."""
    return {
        "rows": {role: len(split.rows(role)) for role in ROLES},
        "class_counts": role_counts(split, table),
        "uncertain_counts": uncertain_counts(split, table),
        "crossing": int(crossing_rows(split).sum()),
    }


def write_split(folder: Path, split: SplitTable, *, crossing: bool = False) -> None:
    """Write ``split.parquet`` (sample_id, group_id, role, rank) after :func:`check_split`."""
    import pyarrow as pa

    check_split(split, crossing=crossing)
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


def _refuse_own_crossing(split: SplitTable) -> None:
    shared = np.flatnonzero(crossing_rows(split))
    if len(shared):
        raise DataError(
            f"split.own: the dataset's own sides share groups, such as "
            f"'{split.group_ids[shared[0]]}' ({len(shared):,} images of such groups). Deal sides "
            "with split.own=false, or keep these and stamp the study LEAKY with split.by=image and "
            "allow_leakage=true"
        )


def _first_groups(split: SplitTable, rows: np.ndarray, n: int) -> np.ndarray:
    """Return the rows of the first groups by (rank, sample id) that hold at most n rows."""
    units_N = number_units(split.sample_ids[rows], split.group_ids[rows])
    _, first_U, sizes_U = np.unique(units_N, return_index=True, return_counts=True)
    order_U = np.lexsort((first_U, split.ranks[rows][first_U]))
    taken_U = np.zeros(len(order_U), dtype=bool)
    taken_U[order_U] = np.cumsum(sizes_U[order_U]) <= n
    return np.asarray(rows[taken_U[units_N]])
