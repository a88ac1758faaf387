"""What every dataset must do, for plug-in authors to run on their own.

Subclass the contract in a pytest file and say what is to be tested:

    class TestMyDataset(DatasetContract):
        component = my_package.MY_DATASET

Every image is read several times: give options that make a large dataset a small one.
"""

from __future__ import annotations

import pickle
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from synthtrial.data.base import DatasetSource, check_classes, describe_source, image_rows
from synthtrial.data.labels import check_single_label
from synthtrial.identity import canonical_json
from synthtrial.registry import Component
from synthtrial.store.artifacts import draft, open_store, read_artifact
from synthtrial.store.images import MISSING, ImageRow, LabelTable, read_labels, write_shards
from synthtrial.store.images import iterate_images as stored_images
from synthtrial.testing.components import check_component

_SIDES = 3  # training, validation and test each need an image of every class
_HEAVY = ("torch", "torchvision", "ray", "submitit", "sklearn", "pandas")
_OPEN_IN_A_NEW_PROCESS = """
import pickle, sys
component, options = pickle.load(sys.stdin.buffer)
source = component.load()(options)
source.classes, source.expected_rows, source.image_shape
source.label_table()
print(",".join(name for name in {heavy} if name in sys.modules))
"""


class DatasetContract:
    """The contract of a dataset plug-in.

    Attributes:
        component: the dataset.
        options: instance of its config; by default the config's defaults.
    """

    component: ClassVar[Component]
    options: ClassVar[Any] = None

    def open(self) -> DatasetSource:
        """Open the dataset as a study does."""
        source: DatasetSource = self.component.load()(self._options())
        return source

    def _options(self) -> Any:
        return self.component.config() if self.options is None else self.options

    def test_its_config_can_enter_an_id(self) -> None:
        """Frozen, with defaults, of plain data."""
        check_component(self.component)

    def test_its_samples_keep_the_rules(self) -> None:
        """Ids, shapes, labels and groups are what :func:`image_rows` allows; all are there."""
        source = self.open()
        check_classes(source.classes)
        canonical_json(describe_source(source))
        assert source.licence, "say the licence of the images"
        assert source.image_shape[0] in (1, 3), f"{source.image_shape[0]} channels; allowed: 1, 3"
        rows = list(image_rows(source))
        assert len(rows) == source.expected_rows

    def test_reading_twice_gives_the_same(self) -> None:
        """From one opened dataset, and from another."""
        source = self.open()
        first = list(image_rows(source))
        _assert_equal(first, list(image_rows(source)))
        _assert_equal(first, list(image_rows(self.open())))

    def test_the_label_table_agrees_with_the_samples(self) -> None:
        """Same ids, groups and labels, whatever the order."""
        source = self.open()
        table = source.label_table()
        if not source.multi_label:
            check_single_label(table)
        assert table.classes == tuple(sorted(source.classes))
        assert _by_id(table) == {row.sample_id: _label_facts(row) for row in image_rows(source)}

    def test_every_class_suffices_for_a_split(self) -> None:
        """Each class has certain positives in as many groups as a split has sides."""
        table = self.open().label_table()
        units = [
            sample if group is None else f"group {group}"
            for sample, group in zip(table.sample_ids, table.group_ids, strict=True)
        ]
        for k, name in enumerate(table.classes):
            holders = {units[row] for row in np.flatnonzero(table.labels_NK[:, k] == 1)}
            assert len(holders) >= _SIDES, f"class '{name}' occurs in {len(holders)} groups only"

    def test_a_store_gives_it_back(self, tmp_path: Path) -> None:
        """Labels and pixels are the same after a way through shards."""
        source = self.open()
        rows = list(image_rows(source))
        store = open_store(tmp_path / "store")
        with draft(store, "dataset", "contract", inputs={}) as made:
            write_shards(made.path, rows, source.classes, shard_bytes=2**20)
        artifact = read_artifact(store, "dataset", "contract")
        assert _by_id(read_labels(artifact)) == {row.sample_id: _label_facts(row) for row in rows}
        for row, image_CHW in zip(rows, stored_images(artifact), strict=True):
            np.testing.assert_array_equal(row.image_HWC, image_CHW.transpose(1, 2, 0))

    def test_opening_needs_no_heavy_library(self) -> None:
        """Planning opens datasets and must stay quick."""
        code = _OPEN_IN_A_NEW_PROCESS.format(heavy=_HEAVY)
        done = subprocess.run(  # noqa: S603 - this interpreter, our own code
            [sys.executable, "-c", code],
            input=pickle.dumps((self.component, self._options())),
            capture_output=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr.decode()
        loaded = done.stdout.decode().strip()
        assert not loaded, f"opening the dataset and reading its labels imports {loaded}"


_Facts = tuple[str | None, dict[str, int | None]]


def _label_facts(row: ImageRow) -> _Facts:
    return row.group_id, dict(row.labels)


def _by_id(table: LabelTable) -> dict[str, _Facts]:
    return {
        str(sample): (
            None if group is None else str(group),
            {
                name: None if value == MISSING else int(value)
                for name, value in zip(table.classes, values_K, strict=True)
            },
        )
        for sample, group, values_K in zip(
            table.sample_ids, table.group_ids, table.labels_NK, strict=True
        )
    }


def _assert_equal(one: Sequence[ImageRow], two: Sequence[ImageRow]) -> None:
    assert [row.sample_id for row in one] == [row.sample_id for row in two]
    for a, b in zip(one, two, strict=True):
        assert _label_facts(a) == _label_facts(b), f"sample '{a.sample_id}' has other labels"
        np.testing.assert_array_equal(a.image_HWC, b.image_HWC)
