"""How many images are added, and of what.

The number is the smallest that brings every chosen class to a prevalence, classes being counted
with the others they bring along (:func:`required_counts`); or it is given. What is added are label
vectors of real images, drawn uniformly with replacement among those that hold the class meant
(:func:`allocate`): a generator is asked for them, or the images themselves are repeated.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from synthtrial.config import BalanceConfig
from synthtrial.data.labels import LabelPolicy, apply_policy, class_index
from synthtrial.data.tables import read_table, write_table
from synthtrial.errors import ConfigError, DamagedArtifactError, DataError, InfeasibleTargetError
from synthtrial.identity import canonical_json, stream
from synthtrial.store.artifacts import Artifact, mend
from synthtrial.store.images import LabelTable
from synthtrial.synthesis.minimum import Demand, exact_fraction, fewest

ALLOCATION_FILE = "allocation.parquet"
_SUMMARY_KEY = "synthtrial.allocation"


@dataclass(frozen=True, eq=False)
class Allocation:
    """The images to add, in latent order: any prefix keeps the proportions of the whole.

    Attributes:
        classes: names of the columns of ``vectors_MK``, sorted.
        intended: for each of M images, the class it is added for.
        source_ids: the real sample whose label vector it takes.
        vectors_MK: int8 label vectors under the label policy: 1, 0, or -1 where it ignores the
            label.
        targets: the classes that are raised.
        n_rows: real rows that the images are added to.
        counts_before: positives of every class among them.
        required: images asked for on account of each raised class.
        topped_up: images added beyond that, as the draw fell short of its expectation.
        expected: prevalence of every class that ``required`` gives on average.
        realised: prevalence of every class with these very images.
        target: prevalence that was asked for, if one was.
    """

    classes: tuple[str, ...]
    intended: np.ndarray
    source_ids: np.ndarray
    vectors_MK: np.ndarray
    targets: tuple[str, ...]
    n_rows: int
    counts_before: Mapping[str, int]
    required: Mapping[str, int]
    topped_up: Mapping[str, int]
    expected: Mapping[str, float]
    realised: Mapping[str, float]
    target: float | None

    def __len__(self) -> int:
        """Return the number of images to add."""
        return len(self.intended)

    def counts_of(self) -> dict[str, int]:
        """Return the number of images added for each raised class."""
        return {name: int((self.intended == name).sum()) for name in self.targets}


def required_counts(
    counts: Mapping[str, int],
    n_rows: int,
    conditional: Mapping[str, Mapping[str, Fraction]],
    config: BalanceConfig,
) -> dict[str, int]:
    """Return how many images are added on account of each chosen class.

    With a target prevalence t, the n_p of least sum with ``c_q + sum_p n_p P(q|p) >= t (N + sum
    n_p)`` for every chosen class q, n_p whole: decided in exact arithmetic. With a count, that
    many for each class, or in all (what does not divide goes to the first classes by name).

    Args:
        counts: c, positive rows of every class.
        n_rows: N.
        conditional: ``conditional[p][q]`` is P(q|p), the share of the rows of p that hold q too.
        config: what is asked for.

    Returns:
        Numbers by class name, in the order of names.

    Raises:
        InfeasibleTargetError: no number reaches the target; says which prevalence can be reached.
        DataError: an unknown class, or one without a row to take label vectors from.
        ConfigError: neither or both of target and count, or no class.
    """
    if (config.target is None) == (config.count is None):
        raise ConfigError("balance: give either target or count")
    if not config.classes or len(set(config.classes)) != len(config.classes):
        raise ConfigError(f"balance.classes is {config.classes}: name the classes to raise, once")
    chosen = sorted(config.classes)
    for name in chosen:
        class_index(sorted(counts), name)
        if counts[name] == 0:
            raise DataError(
                f"class '{name}' has no image to take label vectors from: use a larger regimen, or "
                "leave the class out of balance.classes"
            )
    if config.count is not None:
        if config.count < 0:
            raise ConfigError(f"balance.count is {config.count}; allowed: 0 or more")
        if config.count_mode == "per_class":
            return dict.fromkeys(chosen, config.count)
        each, left = divmod(config.count, len(chosen))
        return {name: each + (i < left) for i, name in enumerate(chosen)}
    assert config.target is not None
    if not 0 < config.target < 1:
        raise ConfigError(f"balance.target is {config.target}; allowed: between 0 and 1")
    demand = Demand(
        names=tuple(chosen),
        counts=tuple(counts[name] for name in chosen),
        n_rows=n_rows,
        share=tuple(tuple(Fraction(conditional[p][q]) for p in chosen) for q in chosen),
        target=exact_fraction(config.target),
    )
    return dict(zip(chosen, fewest(demand), strict=True))


def cooccurrence(positive_NK: np.ndarray, classes: Sequence[str]) -> dict[str, dict[str, Fraction]]:
    """Return P(q|p) as ``[p][q]``: the share of p's rows that hold q, for every p that has rows."""
    joint_KK = positive_NK.astype(np.int64).T @ positive_NK.astype(np.int64)
    return {
        p: {q: Fraction(int(joint_KK[i, j]), int(joint_KK[i, i])) for j, q in enumerate(classes)}
        for i, p in enumerate(classes)
        if joint_KK[i, i]
    }


def allocate(
    table: LabelTable,
    rows: np.ndarray,
    config: BalanceConfig,
    *,
    seed: int,
    draw: int,
    regimen: float,
    policy: LabelPolicy = "ones",
) -> Allocation:
    """Decide how many images are added to these rows, and draw their label vectors.

    Args:
        table: the dataset's labels.
        rows: the regimen's rows in it, in any order.
        config: what is asked for; ``classes`` must be named.
        seed: of the study.
        draw: number of the draw.
        regimen: the regimen, a name of the random stream.
        policy: what an uncertain label counts as; an ignored one counts as no positive.

    Raises:
        InfeasibleTargetError, DataError, ConfigError: as :func:`required_counts`.
    """
    rows = np.asarray(rows, dtype=np.int64)
    rows = rows[np.argsort(table.sample_ids[rows], kind="stable")]
    targets_NK = apply_policy(table.labels_NK[rows], policy)
    vectors_NK = np.where(np.isnan(targets_NK), -1, targets_NK).astype(np.int8)
    positive_NK = vectors_NK == 1
    classes = table.classes
    counts_K = positive_NK.sum(axis=0, dtype=np.int64)
    counts = dict(zip(classes, counts_K.tolist(), strict=True))
    conditional = cooccurrence(positive_NK, classes)
    required = required_counts(counts, len(rows), conditional, config)

    streams = {
        name: _Drawer(
            np.flatnonzero(positive_NK[:, classes.index(name)]), seed, draw, regimen, name
        )
        for name in required
    }
    intended, sources_M = _interleave({name: streams[name].take(n) for name, n in required.items()})
    topped_up = dict.fromkeys(required, 0)
    if config.target is not None:
        extra, extra_sources = _top_up(
            positive_NK, sources_M, classes, conditional, streams, exact_fraction(config.target)
        )
        for name in extra:
            topped_up[name] += 1
        intended = np.concatenate([intended, np.array(extra, dtype=object)])
        sources_M = np.concatenate([sources_M, np.array(extra_sources, dtype=np.int64)])

    planned = sum(required.values())
    after_K = counts_K + positive_NK[sources_M].sum(axis=0, dtype=np.int64)
    expected = {
        q: float(
            (counts[q] + sum((n * conditional[p][q] for p, n in required.items()), Fraction()))
            / max(len(rows) + planned, 1)
        )
        for q in classes
    }
    realised = after_K / max(len(rows) + len(sources_M), 1)
    return Allocation(
        classes=classes,
        intended=intended,
        source_ids=np.asarray(table.sample_ids, dtype=object)[rows[sources_M]],
        vectors_MK=vectors_NK[sources_M],
        targets=tuple(required),
        n_rows=len(rows),
        counts_before=counts,
        required=required,
        topped_up=topped_up,
        expected=expected,
        realised=dict(zip(classes, realised.tolist(), strict=True)),
        target=config.target,
    )


def summary(allocation: Allocation) -> dict[str, Any]:
    """Return what an allocation artifact's manifest says: all but the images' own rows."""
    return {
        "targets": list(allocation.targets),
        "images": len(allocation),
        "n_rows": allocation.n_rows,
        "counts_before": dict(allocation.counts_before),
        "required": dict(allocation.required),
        "topped_up": dict(allocation.topped_up),
        "expected": dict(allocation.expected),
        "realised": dict(allocation.realised),
        "target": allocation.target,
    }


def describe(allocation: Allocation) -> list[str]:
    """Say in lines of text how many images are added and what prevalence that gives."""
    added, total = len(allocation), allocation.n_rows + len(allocation)
    goal = "" if allocation.target is None else f" to reach {allocation.target:.4g} of the images"
    lines = [f"{added:,} images added to {allocation.n_rows:,}{goal}: {total:,} in all"]
    for name in allocation.targets:
        topped_up = allocation.topped_up[name]
        more = f" + {topped_up:,} to make up for the draw" if topped_up else ""
        before = allocation.counts_before[name] / allocation.n_rows
        lines.append(
            f"  {name}: {allocation.required[name]:,}{more}; prevalence {before:.2%} before, "
            f"{allocation.expected[name]:.2%} expected, {allocation.realised[name]:.2%} realised"
        )
    return lines


def write_allocation(folder: Path, allocation: Allocation) -> None:
    """Write ``allocation.parquet``: latent_index, intended, source_id and ``label.<class>``."""
    import pyarrow as pa

    columns: dict[str, Any] = {
        "latent_index": np.arange(len(allocation), dtype=np.int64),
        "intended": allocation.intended.tolist(),
        "source_id": allocation.source_ids.tolist(),
    }
    fields = [("latent_index", pa.int64()), ("intended", pa.string()), ("source_id", pa.string())]
    for k, name in enumerate(allocation.classes):
        columns[f"label.{name}"] = allocation.vectors_MK[:, k]
        fields.append((f"label.{name}", pa.int8()))
    metadata = {_SUMMARY_KEY: json.dumps(summary(allocation))}
    write_table(folder / ALLOCATION_FILE, columns, pa.schema(fields), metadata)


def read_allocation(artifact: Artifact) -> Allocation:
    """Read a committed allocation.

    Raises:
        DamagedArtifactError: its file is missing, truncated or altered.
    """
    table = read_table(artifact, ALLOCATION_FILE, ("latent_index", "intended", "source_id"))
    try:
        facts = json.loads((table.schema.metadata or {})[_SUMMARY_KEY.encode()])
    except (KeyError, ValueError) as error:
        raise DamagedArtifactError(
            f"{artifact.path / ALLOCATION_FILE} lacks its summary. {mend(artifact.path)}"
        ) from error
    labels = sorted(name for name in table.column_names if name.startswith("label."))
    columns = [table[name].to_numpy() for name in labels]
    return Allocation(
        classes=tuple(name.removeprefix("label.") for name in labels),
        intended=np.array([*table["intended"].to_pylist(), None], dtype=object)[:-1],
        source_ids=np.array([*table["source_id"].to_pylist(), None], dtype=object)[:-1],
        vectors_MK=np.stack(columns, axis=1).astype(np.int8),
        targets=tuple(facts["targets"]),
        n_rows=facts["n_rows"],
        counts_before=facts["counts_before"],
        required=facts["required"],
        topped_up=facts["topped_up"],
        expected=facts["expected"],
        realised=facts["realised"],
        target=facts["target"],
    )


class _Drawer:
    """Draws rows of one class with replacement, from that class's own random stream."""

    def __init__(self, rows: np.ndarray, seed: int, draw: int, regimen: float, name: str) -> None:
        self._rows = rows
        self._random = stream(seed, "allocation", draw, canonical_json(regimen), name)

    def take(self, n: int) -> np.ndarray:
        taken: np.ndarray = self._rows[self._random.integers(0, len(self._rows), size=n)]
        return taken


def _interleave(taken: Mapping[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Order images so that every prefix holds the classes in proportion, ties by name."""
    names = sorted(taken)
    places = np.concatenate(
        [(np.arange(len(taken[n])) + 0.5) / max(len(taken[n]), 1) for n in names]
    )
    which = np.concatenate([np.full(len(taken[n]), i) for i, n in enumerate(names)])
    order = np.lexsort((which, places))
    intended = np.array(names, dtype=object)[which[order]]
    return intended, np.concatenate([taken[n] for n in names])[order]


def _top_up(
    positive_NK: np.ndarray,
    sources_M: np.ndarray,
    classes: Sequence[str],
    conditional: Mapping[str, Mapping[str, Fraction]],
    streams: Mapping[str, _Drawer],
    target: Fraction,
) -> tuple[list[str], list[int]]:
    """Draw more rows until every chosen class has the target prevalence.

    Each goes to the class whose rows are expected to mend most, shortfalls weighed by their size
    (Blackwell's strategy for approaching a set), which gets there if the target can be reached.
    """
    names = sorted(streams)
    columns = [classes.index(name) for name in names]
    held = positive_NK[:, columns].sum(axis=0) + positive_NK[sources_M][:, columns].sum(axis=0)
    total = len(positive_NK) + len(sources_M)
    intended: list[str] = []
    sources: list[int] = []
    limit = 1000 + 2 * total
    gain_PQ = np.array([[float(conditional[p][q] - target) for q in names] for p in names])
    while True:
        needed = -(-target.numerator * total // target.denominator)  # rounded up, exactly
        short_Q = np.maximum(needed - held, 0)
        if not short_Q.any():
            return intended, sources
        if len(intended) == limit:
            raise InfeasibleTargetError(
                f"after {limit:,} images beyond the expected number the prevalence of "
                f"{float(target):.4g} is still not realised; it lies at the edge of what label "
                "vectors of these rows can give: lower balance.target a little"
            )
        name = names[int(np.argmax(gain_PQ @ short_Q))]
        row = int(streams[name].take(1)[0])
        intended.append(name)
        sources.append(row)
        held = held + positive_NK[row, columns]
        total += 1
