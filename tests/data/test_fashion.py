from __future__ import annotations

import gzip
import hashlib
import struct
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from synthtrial.data import fashion
from synthtrial.data.base import image_rows
from synthtrial.data.fashion import FASHION_MNIST, NAMES, FashionConfig, open_fashion_mnist
from synthtrial.data.labels import check_single_label, class_counts
from synthtrial.errors import ConfigError, DataError
from synthtrial.registry import Component
from synthtrial.testing.datasets import DatasetContract

HERE = all(Path(fashion.SYSTEM_FOLDER, name).is_file() for name in fashion.SHA256)
needs_the_files = pytest.mark.skipif(
    not HERE,
    reason="NOT TESTED: Fashion-MNIST is not here; apt-get install dataset-fashion-mnist",
)
TRAIN, TEST = 50, 30  # images of the made files, five and three of each class


def idx(array: np.ndarray) -> bytes:
    """Write an array in the layout of the true files."""
    return (
        bytes((0, 0, 8, array.ndim)) + struct.pack(f">{array.ndim}I", *array.shape) + bytes(array)
    )


def write(folder: Path, contents: dict[str, bytes]) -> dict[str, str]:
    """Write packed files; return the digests of what is in them."""
    folder.mkdir(exist_ok=True)
    for name, content in contents.items():
        (folder / name).write_bytes(gzip.compress(content))
    return {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}


def contents() -> dict[str, bytes]:
    made = {}
    for prefix, count in (("train", TRAIN), ("t10k", TEST)):
        random = np.random.default_rng(count)
        classes_N = random.permutation(np.arange(count) % 10).astype(np.uint8)
        images_NHW = random.integers(0, 256, size=(count, 28, 28), dtype=np.uint8)
        made[f"{prefix}-images-idx3-ubyte.gz"] = idx(images_NHW)
        made[f"{prefix}-labels-idx1-ubyte.gz"] = idx(classes_N)
    return made


def small(folder: Path, limit: int = 8, changes=None, **options):
    """Open the made files, or what the changes leave of them."""
    digests = write(folder, contents() | (changes or {}))
    config = FashionConfig(path=str(folder), limit_per_class=limit, **options)
    return replace(open_fashion_mnist(config), sha256=digests)


def arrays(part: str) -> tuple[np.ndarray, np.ndarray]:
    made, count = contents(), TRAIN if part == "train" else TEST
    prefix = "train" if part == "train" else "t10k"
    pixels = np.frombuffer(made[f"{prefix}-images-idx3-ubyte.gz"][16:], np.uint8)
    return pixels.reshape(count, 28, 28), np.frombuffer(
        made[f"{prefix}-labels-idx1-ubyte.gz"][8:], np.uint8
    )


def class_of(row) -> str:
    return next(name for name, value in row.labels.items() if value == 1)


class TestTheMadeFiles(DatasetContract):
    """On a plug-in that differs in nothing but the digests of its files."""

    component = Component("made_fashion", 1, FashionConfig, "made_fashion:open_made")

    @pytest.fixture(autouse=True)
    def files(self, tmp_path, monkeypatch):
        digests = write(tmp_path / "files", contents())
        (tmp_path / "made_fashion.py").write_text(
            "import dataclasses\n"
            "from synthtrial.data.fashion import open_fashion_mnist\n"
            "def open_made(config):\n"
            f"    return dataclasses.replace(open_fashion_mnist(config), sha256={digests})\n"
        )
        monkeypatch.syspath_prepend(str(tmp_path))
        monkeypatch.setenv("PYTHONPATH", str(tmp_path))
        monkeypatch.delitem(sys.modules, "made_fashion", raising=False)
        options = FashionConfig(path=str(tmp_path / "files"), limit_per_class=8)
        monkeypatch.setattr(type(self), "options", options)


@needs_the_files
class TestTheRealFiles(DatasetContract):
    component = FASHION_MNIST
    options = FashionConfig(parts="test", limit_per_class=12)


@needs_the_files
def test_the_real_files_hold_seven_thousand_images_of_each_class():
    source = FASHION_MNIST.load()(FashionConfig())
    table = source.label_table()
    check_single_label(table)
    assert len(table) == source.expected_rows == 70_000
    assert class_counts(table.labels_NK, table.classes) == dict.fromkeys(sorted(NAMES), 7000)
    first = next(source.samples())
    assert first.sample_id == table.sample_ids[0] == "fashion-train-00000"
    assert first.labels["Ankle boot"] == 1
    assert round(float(first.image_HWC.mean()), 2) == 97.25


def test_pixels_and_labels_are_those_of_the_files_in_their_order(tmp_path):
    rows = list(image_rows(small(tmp_path)))
    assert len(rows) == TRAIN + TEST
    for part, start in (("train", 0), ("test", TRAIN)):
        images_NHW, classes_N = arrays(part)
        mine = rows[start : start + len(images_NHW)]
        assert [row.sample_id for row in mine] == [
            f"fashion-{part}-{number:05d}" for number in range(len(images_NHW))
        ]
        np.testing.assert_array_equal([row.image_HWC[..., 0] for row in mine], images_NHW)
        assert [class_of(row) for row in mine] == [NAMES[k] for k in classes_N]


def test_a_part_keeps_the_ids_that_its_images_have_in_the_whole(tmp_path):
    whole = {row.sample_id: row for row in image_rows(small(tmp_path))}
    part = list(image_rows(small(tmp_path, limit=3, parts="test")))
    assert len(part) == TEST
    for row in part:
        np.testing.assert_array_equal(row.image_HWC, whole[row.sample_id].image_HWC)
        assert row.labels == whole[row.sample_id].labels


@pytest.mark.parametrize("limit", [2, 5, 7])
def test_a_limit_takes_the_first_of_each_class_in_the_order_of_the_files(tmp_path, limit):
    rows = list(image_rows(small(tmp_path)))
    first = [
        row.sample_id
        for number, row in enumerate(rows)
        if sum(class_of(other) == class_of(row) for other in rows[:number]) < limit
    ]
    limited = small(tmp_path, limit=limit)
    assert [row.sample_id for row in image_rows(limited)] == first
    assert list(limited.label_table().sample_ids) == first
    assert len(first) == 10 * limit


def test_opening_reads_no_file(tmp_path):
    source = open_fashion_mnist(FashionConfig(path=str(tmp_path / "nowhere")))
    assert (source.expected_rows, source.image_shape, source.groups_known) == (
        70_000,
        (1, 28, 28),
        False,
    )
    assert open_fashion_mnist(FashionConfig(parts="train")).expected_rows == 60_000
    assert open_fashion_mnist(FashionConfig(parts="test", limit_per_class=5)).expected_rows == 50


def test_missing_files_are_named_with_the_ways_to_get_them(tmp_path):
    source = small(tmp_path)
    (tmp_path / "t10k-labels-idx1-ubyte.gz").unlink()
    (tmp_path / "train-images-idx3-ubyte.gz").unlink()
    for read in (source.label_table, lambda: next(source.samples())):
        with pytest.raises(
            DataError,
            match=r"lacks train-images-idx3-ubyte.gz, t10k-labels-idx1-ubyte.gz: .*"
            r"apt-get install dataset-fashion-mnist.*https://.*set dataset.path",
        ):
            read()
    assert len(small(tmp_path / "whole", parts="test", limit=3).label_table()) == TEST


def test_another_dataset_of_the_same_layout_is_refused(tmp_path):
    write(tmp_path, contents())
    source = open_fashion_mnist(FashionConfig(path=str(tmp_path)))
    with pytest.raises(DataError, match=r"does not hold Fashion-MNIST.*MNIST's files"):
        source.label_table()


IMAGES, LABELS = "train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (IMAGES, b"", "starts with , and not with 00000803"),
        (IMAGES, idx(np.zeros(TRAIN, np.uint8)), "starts with 00000801, and not with 00000803"),
        (IMAGES, idx(np.zeros((TRAIN, 32, 32), np.uint8)), r"rows of shape \(28, 28\)"),
        (IMAGES, contents()[IMAGES][:-1], "as many bytes as announced"),
        (IMAGES, contents()[IMAGES] + b"0", "as many bytes as announced"),
        (IMAGES, idx(np.zeros((9, 28, 28), np.uint8)), "9 images and 50 labels in its part"),
        (LABELS, idx(np.full(TRAIN, 10, np.uint8)), "holds the class 10"),
    ],
)
def test_a_file_of_another_layout_is_named(tmp_path, name, content, message):
    source = small(tmp_path, changes={name: content})
    with pytest.raises(DataError, match=message):
        list(source.samples())


@pytest.mark.parametrize("damage", [lambda packed: packed[:40], lambda _: b"no gzip at all"])
def test_a_file_that_cannot_be_unpacked_is_named(tmp_path, damage):
    source, path = small(tmp_path), tmp_path / LABELS
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(DataError, match=f"cannot read .*{LABELS}"):
        source.label_table()


def test_a_limit_below_one_is_refused():
    with pytest.raises(ConfigError, match="limit_per_class is 0; allowed: 1 or more"):
        open_fashion_mnist(FashionConfig(limit_per_class=0))


def test_reading_labels_imports_nothing_heavy_and_no_image_file(tmp_path):
    digests = write(tmp_path, contents())
    for name in digests:
        if "images" in name:
            (tmp_path / name).write_bytes(b"never read")
    code = (
        "import sys, dataclasses\n"
        "from synthtrial.data.fashion import FASHION_MNIST, FashionConfig\n"
        f"source = FASHION_MNIST.load()(FashionConfig({str(tmp_path)!r}, 'both', 8))\n"
        f"assert len(dataclasses.replace(source, sha256={digests}).label_table()) == 80\n"
        "found = {'sklearn', 'torch', 'torchvision', 'scipy', 'pandas', 'PIL'} & set(sys.modules)\n"
        "assert not found, found\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
