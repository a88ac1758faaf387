"""Whether two studies were judged on the same images: by content, whatever the ids of artifacts.

A test set is the ids and raw labels of its samples, and their pixels. Datasets whose content
digests agree hold the same of all three. Else ids and labels are compared one by one, and then the
pixels, unless the two prepared the images in different sizes: then the cases are the same, the
images are not, and the comparison says so.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from dataclasses import dataclass

import numpy as np

from synthtrial.data.splits import SplitTable, read_split
from synthtrial.errors import DataError, StoreError
from synthtrial.report.compare.sides import Side, check_distinct
from synthtrial.report.facts import TIMES, count_text, listing
from synthtrial.store.artifacts import Artifact, read_artifact
from synthtrial.store.images import LabelTable, open_shard, read_labels, shard_files
from synthtrial.store.shards import decode_png

_NAMED = 3  # samples that an error names


@dataclass(frozen=True)
class TestSet:
    """The test set of both.

    Attributes:
        images: their number.
        how: what was found equal, in words.
        note: what to keep in mind; empty where there is nothing.
    """

    __test__ = False  # pytest would take it for tests

    images: int
    how: str
    note: str = ""


def same_test_set(a: Side, b: Side) -> TestSet:
    """Return the test set of both.

    Raises:
        ConfigError: both sides are one and the same.
        DataError: the test sets differ: says in how many images, and names some.
        StoreError: a side has no split yet, or they cannot be compared, as the ids of one are
            hashed or its images were left out of the archive that it came with.
    """
    check_distinct(a, b)
    splits = [_split(side) for side in (a, b)]
    datasets = [_dataset(side, split) for side, split in zip((a, b), splits, strict=True)]
    _check_classes(*(dataset.info["classes"] for dataset in datasets))
    tables = [read_split(split) for split in splits]
    same_data = datasets[0].origin_digest == datasets[1].origin_digest
    if same_data and splits[0].origin_digest == splits[1].origin_digest:
        return TestSet(len(tables[0].rows("test")), "one dataset and one split, bit by bit")
    keys = [dataset.ids_key for dataset in datasets]
    if keys[0] != keys[1]:
        raise StoreError(
            "the test sets cannot be compared: ids are "
            f"{_hashed(keys[0])} in A and {_hashed(keys[1])} in B. Export both with one "
            "--salt-file, or with --keep-ids"
        )
    tested = [_tested(table) for table in tables]
    _check_ids(tested[0], tested[1])
    count = count_text(len(tested[0]), "image")
    if same_data:
        return TestSet(len(tested[0]), f"one dataset, and the same {count} of it held out")
    labels = [_labels(side, found) for side, found in zip((a, b), datasets, strict=True)]
    _check_labels(tested[0], *labels)
    shapes = [dataset.info["image_shape"] for dataset in datasets]
    if shapes[0] != shapes[1]:
        return TestSet(
            len(tested[0]),
            f"the same {count} by id, with the same labels",
            f"the images are {_size(shapes[0])} in A and {_size(shapes[1])} in B: the same cases, "
            "seen differently",
        )
    _check_pixels(tested[0], *datasets)
    return TestSet(len(tested[0]), f"the same {count} by id, label and pixels")


def _split(side: Side) -> Artifact:
    """Return the split of the first draw that has one; all draws share the test set."""
    for task in side.plan.tasks.values():
        if task.kind == "split" and task.id in side.plan.done:
            return read_artifact(side.store, "split", task.id)
    raise StoreError(f"{side.name}: {side.title} has no split yet, so no test set: run it first")


def _dataset(side: Side, split: Artifact) -> Artifact:
    return read_artifact(side.store, "dataset", split.inputs["dataset"])


def _check_classes(mine: Collection[str], other: Collection[str]) -> None:
    alone = sorted({*mine} ^ {*other})
    if alone:
        raise DataError(
            f"the test sets differ: only one of the datasets has the classes {listing(alone)}. "
            "Compare studies of the same classes"
        )


def _tested(table: SplitTable) -> set[str]:
    return set(table.sample_ids[table.rows("test")].tolist())


def _check_ids(mine: set[str], other: set[str]) -> None:
    if mine == other:
        return
    only = {"A": mine - other, "B": other - mine}
    parts = [
        f"{len(ids):,} only in {name} (such as {_some(ids)})" for name, ids in only.items() if ids
    ]
    raise DataError(
        f"the test sets differ, so scores on them say nothing about each other: A has {len(mine):,}"
        f" images and B {len(other):,}, {len(mine & other):,} are in both, {listing(parts)}. "
        "Compare studies of one dataset with equal `split.test`, `split.own` or "
        "`split.test_groups`, and with one `seed`, which deals the test set"
    )


def _labels(side: Side, dataset: Artifact) -> LabelTable:
    if not shard_files(dataset):
        raise StoreError(
            f"{side.name}: the labels of {dataset.path} were left out of the archive that it came "
            "with, and the two datasets are not bit by bit the same: their test sets cannot be "
            "compared. Export them with --with-restricted where you may"
        )
    return read_labels(dataset)


def _check_labels(tested: Collection[str], mine: LabelTable, other: LabelTable) -> None:
    rows = [
        {name: row.tobytes() for name, row in zip(t.sample_ids, t.labels_NK, strict=True)}
        for t in (mine, other)
    ]
    odd = sorted(name for name in tested if rows[0][name] != rows[1][name])
    if odd:
        raise DataError(
            f"the test sets differ: {len(odd):,} of {len(tested):,} images have other labels in B, "
            f"such as {_some(odd)}. Compare studies of one dataset with the same labels"
        )


def _check_pixels(tested: set[str], mine: Artifact, other: Artifact) -> None:
    files = [_images(dataset, tested, decoded=False) for dataset in (mine, other)]
    odd = {name for name in tested if files[0][name] != files[1][name]}
    if odd:  # another version of a library writes other files of the same pixels
        pixels = [_images(dataset, odd, decoded=True) for dataset in (mine, other)]
        odd = {name for name in odd if pixels[0][name] != pixels[1][name]}
    if odd:
        raise DataError(
            f"the test sets differ: {len(odd):,} of {len(tested):,} images have other pixels in B "
            f"under the same id, such as {_some(odd)}. Compare studies whose datasets were made "
            "from the same files in the same way"
        )


def _images(dataset: Artifact, wanted: set[str], *, decoded: bool) -> dict[str, bytes]:
    """Return a digest of each of these images: of its file, or of its pixels."""
    found: dict[str, bytes] = {}
    for name in shard_files(dataset):
        with open_shard(dataset, name) as file:
            for batch in file.iter_batches(batch_size=256, columns=["sample_id", "image.bytes"]):
                ids = batch.column("sample_id").to_pylist()
                mine = [place for place, id_ in enumerate(ids) if id_ in wanted]
                contents = batch.column("image").field("bytes").take(np.array(mine, dtype=np.int64))
                for place, content in zip(mine, contents.to_pylist(), strict=True):
                    data = decode_png(content).tobytes() if decoded else content
                    found[ids[place]] = hashlib.sha256(data).digest()
    return found


def _some(ids: Collection[str]) -> str:
    return listing([repr(name) for name in sorted(ids)[:_NAMED]])


def _hashed(key: str | None) -> str:
    return "as they were" if key is None else f"hashed (salt {key})"


def _size(shape: list[int]) -> str:
    channels, height, width = shape
    return f"{height} {TIMES} {width} in {'colour' if channels == 3 else 'grey'}"
