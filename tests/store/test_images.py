from __future__ import annotations

import io
import warnings

import duckdb
import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from synthtrial.errors import DamagedArtifactError, DataError, StoreError
from synthtrial.store import images as module
from synthtrial.store.artifacts import draft, open_store, read_artifact
from synthtrial.store.images import (
    MISSING,
    ImageRow,
    iterate_images,
    read_labels,
    write_shard,
    write_shards,
)


@pytest.mark.parametrize("channels", [1, 3])
def test_images_and_labels_come_back_exactly(dataset, image_rows, channels):
    artifact = dataset(channels=channels)
    rows = list(image_rows(20, channels=channels))
    assert len(artifact.files) > 2
    images = list(iterate_images(artifact))
    for row, image in zip(rows, images, strict=True):
        assert image.dtype == np.uint8
        np.testing.assert_array_equal(image, row.image_HWC.transpose(2, 0, 1))
    table = read_labels(artifact)
    assert len(table) == 20
    assert table.classes == ("ash", "elm", "oak")
    assert list(table.sample_ids) == [row.sample_id for row in rows]
    assert list(table.group_ids) == [row.group_id for row in rows]
    wanted = [
        [MISSING if row.labels[c] is None else row.labels[c] for c in table.classes] for row in rows
    ]
    np.testing.assert_array_equal(table.labels_NK, wanted)
    assert table.labels_NK.dtype == np.int8
    assert set(np.unique(table.labels_NK)) == {-2, -1, 0, 1}
    assert table.intended is None


def test_the_manifest_counts_the_rows(dataset):
    artifact = dataset()
    assert sum(artifact.entry(name)["rows"] for name in artifact.files) == 20


def test_permuted_label_columns_give_the_same_arrays(dataset):
    one = read_labels(dataset("d1"))
    other = read_labels(dataset("d2", columns=("elm", "oak", "ash")))
    assert one.classes == other.classes
    np.testing.assert_array_equal(one.labels_NK, other.labels_NK)


def test_shards_of_one_artifact_may_order_their_columns_differently(store, image_rows):
    rows = list(image_rows(6))
    with draft(store, "dataset", "d1", inputs={}) as made:
        write_shard(made.path / "shard-00000.parquet", rows[:3], ("oak", "ash", "elm"))
        write_shard(made.path / "shard-00001.parquet", rows[3:], ("elm", "ash", "oak"))
    table = read_labels(read_artifact(store, "dataset", "d1"))
    assert [table.labels_NK[i, 0] for i in (0, 5)] == [
        MISSING if rows[i].labels["ash"] is None else rows[i].labels["ash"] for i in (0, 5)
    ]


def test_shards_with_other_classes_are_refused(store, image_rows):
    with draft(store, "dataset", "d1", inputs={}) as made:
        write_shard(made.path / "shard-00000.parquet", image_rows(3), ("oak", "ash", "elm"))
        write_shard(made.path / "shard-00001.parquet", [], ("elm", "fir"))
    with pytest.raises(DamagedArtifactError, match=r"shard-00001.*has the classes"):
        read_labels(read_artifact(store, "dataset", "d1"))


def test_synthetic_shards_say_what_was_intended(store, image_rows):
    rows = image_rows(
        5,
        intended=lambda i: "oak" if i % 2 else "ash",
        generator=lambda i: "g1",
        latent_index=lambda i: i,
        source_id=lambda i: None if i == 0 else f"sample-{i}",
    )
    classes = ("oak", "ash", "elm")
    with draft(store, "synthetic", "s1", inputs={}) as made:
        write_shard(made.path / "shard-00000.parquet", rows, classes, synthetic=True)
    artifact = read_artifact(store, "synthetic", "s1")
    table = read_labels(artifact)
    assert list(table.intended) == ["ash", "oak", "ash", "oak", "ash"]
    assert list(table.source_ids) == [None, "sample-1", "sample-2", "sample-3", "sample-4"]
    columns = pq.read_table(artifact.file("shard-00000.parquet")).to_pydict()
    assert columns["generator"] == ["g1"] * 5
    assert columns["latent_index"] == [0, 1, 2, 3, 4]


def test_a_shard_is_the_same_bytes_every_time(tmp_path, image_rows):
    for name in ("a", "b"):
        write_shard(tmp_path / name, image_rows(10), ("oak", "ash", "elm"))
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_hugging_face_datasets_shows_images_as_images(dataset, image_rows, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_DATASETS_OFFLINE", "1")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of another project
        from datasets import load_dataset

        artifact = dataset(channels=3)
        files = [str(artifact.file(name)) for name in artifact.files]
        loaded = load_dataset("parquet", data_files=files, cache_dir=str(tmp_path / "hf"))["train"]
    assert len(loaded) == 20
    for row, item in zip(image_rows(20, channels=3), loaded, strict=True):
        assert isinstance(item["image"], Image.Image)
        np.testing.assert_array_equal(np.asarray(item["image"]), row.image_HWC)
        assert item["label.oak"] == row.labels["oak"]
        assert item["group_id"] == row.group_id
    assert str(loaded.features["label.ash"].dtype) == "int8"


def test_duckdb_reads_labels_and_image_bytes(dataset, image_rows):
    artifact = dataset(channels=3)
    rows = duckdb.sql(
        f"""select sample_id, "label.oak", image.bytes from '{artifact.path}/shard-*.parquet'
        order by sample_id"""
    ).fetchall()
    for row, (name, label, png) in zip(image_rows(20, channels=3), rows, strict=True):
        assert (name, label) == (row.sample_id, row.labels["oak"])
        np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(png))), row.image_HWC)
    count = duckdb.sql(
        f"select count(*) from '{artifact.path}/shard-*.parquet' where \"label.oak\" is null"
    ).fetchall()
    assert count == [(5,)]


def test_row_groups_are_cut_by_bytes_and_images_are_stored_plain(tmp_path, image_rows, monkeypatch):
    monkeypatch.setattr(module, "ROW_GROUP_BYTES", 1000)
    names = write_shards(tmp_path, image_rows(30), ("oak", "ash", "elm"), shard_bytes=10**9)
    assert names == ["shard-00000.parquet"]
    metadata = pq.read_metadata(tmp_path / names[0])
    assert metadata.num_row_groups > 2
    column = {metadata.schema.column(i).path: i for i in range(metadata.num_columns)}
    chunk = metadata.row_group(0).column(column["image.bytes"])
    assert chunk.compression == "UNCOMPRESSED"
    assert not any("DICTIONARY" in encoding for encoding in chunk.encodings)


def test_no_rows_make_one_empty_shard(store):
    with draft(store, "dataset", "d1", inputs={}) as made:
        assert write_shards(made.path, [], ["oak"], shard_bytes=10) == ["shard-00000.parquet"]
    artifact = read_artifact(store, "dataset", "d1")
    assert read_labels(artifact).labels_NK.shape == (0, 1)
    assert list(iterate_images(artifact)) == []


def test_a_damaged_shard_is_named(dataset, alter):
    artifact = dataset(n=60, size=16)
    name = artifact.files[1]
    path = artifact.path / name
    sound = path.read_bytes()
    at = sound.index(b"IDAT") + 20
    alter(path, at)  # same size: found by the page's checksum
    with pytest.raises(DamagedArtifactError, match=rf"{name} is truncated or altered.*verify"):
        list(iterate_images(artifact))
    path.write_bytes(sound[: len(sound) // 2])
    with pytest.raises(DamagedArtifactError, match=rf"{name} has .* truncated"):
        read_labels(artifact)
    path.write_bytes(sound[: len(sound) // 2] + bytes(len(sound) - len(sound) // 2))
    with pytest.raises(DamagedArtifactError, match=rf"{name} is truncated or altered"):
        read_labels(artifact)
    path.unlink()
    with pytest.raises(DamagedArtifactError, match=rf"{name} is missing"):
        read_labels(artifact)


def test_an_altered_label_page_is_found(dataset):
    artifact = dataset(n=500, shard_bytes=10**9)
    (name,) = artifact.files
    path = artifact.path / name
    metadata = pq.read_metadata(path)
    column = next(
        metadata.row_group(0).column(i)
        for i in range(metadata.num_columns)
        if metadata.schema.column(i).path == "label.elm"
    )
    content = bytearray(path.read_bytes())
    content[column.data_page_offset + column.total_compressed_size - 3] ^= 1
    path.write_bytes(bytes(content))
    with pytest.raises(DamagedArtifactError, match=rf"{name} is truncated or altered"):
        read_labels(artifact)


def picture(**changes):
    values = {
        "sample_id": "x",
        "group_id": None,
        "image_HWC": np.zeros((8, 8, 1), np.uint8),
        "labels": {"oak": 1},
    }
    return ImageRow(**values | changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"image_HWC": np.zeros((8, 8, 1), np.float32)}, "float32"),
        ({"image_HWC": np.zeros((8, 8), np.uint8)}, r"shape \(8, 8\)"),
        ({"image_HWC": np.zeros((8, 8, 2), np.uint8)}, "1 or 3"),
        ({"image_HWC": np.zeros((8, 9, 1), np.uint8)}, "one shape"),
        ({"labels": {"fir": 1}}, r"label for \['fir'\]. Classes: oak, ash"),
        ({"labels": {"oak": 2}}, "allowed: 1, 0, -1 and None"),
        ({"sample_id": "first"}, "must be distinct"),
    ],
)
def test_unusable_rows_are_refused(tmp_path, changes, message):
    rows = [picture(sample_id="first"), picture(**changes)]
    with pytest.raises(DataError, match=message):
        write_shards(tmp_path, rows, ["oak", "ash"], shard_bytes=10**6)


def test_a_full_disk_is_one_clear_error(mount, image_rows):
    store = open_store(mount("size=256k") / "store")

    def fill():
        with draft(store, "dataset", "d1", inputs={}) as made:
            rows = image_rows(500, size=32, channels=3)
            write_shards(made.path, rows, ("oak", "ash", "elm"), shard_bytes=50_000)

    with pytest.raises(StoreError, match=r"disk that holds .* is full"):
        fill()
    assert list((store.root / "dataset").iterdir()) == []
