"""Images in Parquet as the Hugging Face hub has them."""

import io
import json
import shutil
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from synthtrial.config import ImbalanceConfig, SplitConfig
from synthtrial.data import hub
from synthtrial.data.base import RandomAccess
from synthtrial.data.hf_image import HF_IMAGE, HfImageConfig, fetch, identify, open_hf_image
from synthtrial.data.labels import class_counts
from synthtrial.data.listings import ParquetTable
from synthtrial.data.row_groups import RowGroups
from synthtrial.data.sides import own_sides_of
from synthtrial.data.splits import make_split
from synthtrial.errors import ConfigError, DataError, UnreadableImageError
from synthtrial.testing.datasets import DatasetContract

CLASSES = ("River", "Highway", "Forest")
EACH = {"train": 6, "validation": 2, "test": 3}


def encoded(number, shape=(9, 9, 3)):
    random = np.random.default_rng(number)
    target = io.BytesIO()
    Image.fromarray(random.integers(0, 256, size=shape, dtype=np.uint8).squeeze()).save(
        target, "png"
    )
    return target.getvalue()


def decoded(content):
    return np.asarray(Image.open(io.BytesIO(content)))


def write(path, contents, labels, *, names=CLASSES, group_rows=4, column="image", **more):
    """Write one file as `datasets` does; labels are numbers where ``names`` are given."""
    features = {"label": {"names": list(names), "_type": "ClassLabel"}} if names else {}
    pictures = [{"bytes": c, "path": f"{n}.png"} for n, c in enumerate(contents)]
    table = pa.table(
        {
            column: pa.array(pictures, pa.struct([("bytes", pa.binary()), ("path", pa.string())])),
            "label": pa.array(labels),
            **{name: pa.array(values) for name, values in more.items()},
        }
    )
    info = json.dumps({"info": {"features": {**features, column: {"_type": "Image"}}}})
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(
        table.replace_schema_metadata({"huggingface": info}), path, row_group_size=group_rows
    )


def make(root):
    """Write three splits, ``train`` in two files."""
    for number, (split, each) in enumerate(EACH.items()):
        labels = [k for _ in range(each) for k in range(3)]
        contents = [encoded(1000 * number + row) for row in range(len(labels))]
        half = len(labels) // 2 if split == "train" else len(labels)
        parts = [(contents[:half], labels[:half]), (contents[half:], labels[half:])]
        parts = [part for part in parts if part[0]]
        for part, (images, marks) in enumerate(parts):
            name = f"{split}-{part:05d}-of-{len(parts):05d}.parquet"
            write(root / "data" / name, images, marks)
    return root


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return make(tmp_path_factory.mktemp("hf") / "EuroSAT")


def opened(root, **options):
    return open_hf_image(HfImageConfig(path=str(root), **options))


class TestContract(DatasetContract):
    component = HF_IMAGE

    @pytest.fixture(autouse=True)
    def of_the_files(self, made):
        type(self).options = HfImageConfig(path=str(made))


def test_classes_are_those_of_the_schema_and_rows_are_counted_by_split(made):
    source = opened(made)
    assert isinstance(source, RandomAccess)
    assert source.classes == CLASSES
    assert source.image_shape == (3, 9, 9)
    assert not source.groups_known
    table = source.label_table()
    assert len(table) == 33
    assert class_counts(table.labels_NK, table.classes) == dict.fromkeys(sorted(CLASSES), 11)
    row = table.sample_ids.tolist().index("train-000017")  # the last of the second file
    sample = source.sample(row)
    assert sample.sample_id == "train-000017"
    assert sample.labels == {"River": 0, "Highway": 0, "Forest": 1}
    np.testing.assert_array_equal(sample.image_HWC, decoded(encoded(17)))


def test_own_sides_are_kept_to_the_row(made):
    source = opened(made)
    table, sides = source.label_table(), own_sides_of(source)
    for seed in range(2):
        split = make_split(
            table, SplitConfig(own=True), ImbalanceConfig(), seed=seed, draw=seed, sides=sides
        )
        for side, each in EACH.items():
            names = sorted(split.sample_ids[split.rows(side)])
            assert names == [f"{side}-{row:06d}" for row in range(3 * each)]


def test_splits_choose_files_and_say_which_side_they_are(made):
    source = opened(made, splits={"train": "train", "validation": "test"})
    assert sorted(set(own_sides_of(source))) == ["test", "train"]
    assert source.expected_rows == 24
    with pytest.raises(DataError, match="of the split 'tset': did you mean 'test'"):
        opened(made, splits={"tset": "test"}).label_table()
    with pytest.raises(ConfigError, match=r"dataset\.splits\.test is 'exam': allowed: test, train"):
        opened(made, splits={"test": "exam"})


def test_a_single_file_of_strings_has_no_sides(tmp_path):
    path = tmp_path / "pets.parquet"
    labels = ["wolf", "ant", "moth", "ant"]
    write(path, map(encoded, range(4)), labels, names=None, patient=["a", "a", "b", "c"])
    source = opened(path, group_column="patient")
    assert source.classes == ("ant", "moth", "wolf")
    assert own_sides_of(source) is None
    assert source.groups_known
    assert source.label_table().group_ids.tolist() == ["a", "a", "b", "c"]
    assert opened(tmp_path).label_table().sample_ids[3] == "pets-000003"


def test_permuted_columns_and_other_row_groups_change_no_label(made, tmp_path):
    turned = tmp_path / "turned"
    for path in sorted((made / "data").iterdir()):
        table = pq.read_table(path)
        (turned / "data").mkdir(parents=True, exist_ok=True)
        pq.write_table(
            table.select(table.column_names[::-1]), turned / "data" / path.name, row_group_size=100
        )
    one, other = opened(made), opened(turned)
    assert one.listing.digest == other.listing.digest
    for row in (0, 17, 32):
        np.testing.assert_array_equal(one.sample(row).image_HWC, other.sample(row).image_HWC)


def test_the_id_follows_the_content_and_not_the_place(made, tmp_path):
    before = identify(HfImageConfig(path=str(made)))
    copy = shutil.copytree(made, tmp_path / "copy")
    told = {"licence": "MIT", "revision": "v2"}
    assert identify(HfImageConfig(path=str(copy), **told)) == before
    assert identify(HfImageConfig(path=str(copy), size=16)) == {**before, "size": 16}
    path = copy / "data" / "test-00000-of-00001.parquet"
    write(path, [encoded(5000 + n) for n in range(9)], [0, 1, 2] * 3)
    assert identify(HfImageConfig(path=str(copy))) != before


def test_many_threads_read_each_row_group_once(made, monkeypatch):
    reads = []
    read = ParquetTable.read_group
    monkeypatch.setattr(
        ParquetTable,
        "read_group",
        lambda table, group, column: (
            reads.append((table.path, group)) or read(table, group, column)
        ),
    )
    source = opened(made)
    rows = np.random.default_rng(0).permutation(33).tolist()
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(source.sample, rows))
    assert [sample.sample_id for sample in found] == source.label_table().sample_ids[rows].tolist()
    assert len(reads) == len(set(reads)) == 11


def test_row_groups_are_forgotten_beyond_the_limit(made):
    tables = [ParquetTable(path, "dataset") for path in sorted((made / "data").iterdir())]
    groups = RowGroups(tables, "image", kept_bytes=1)
    contents = [groups.picture(row).content for row in range(len(groups))]
    assert len(set(contents)) == 33
    assert len(groups._kept) == 1


def test_an_image_that_is_missing_or_damaged_is_named_as_that(tmp_path):
    contents = [encoded(0), b"", b"no image", None, encoded(1, (5, 9, 3))]
    write(tmp_path / "a.parquet", contents, [0, 1, 2, 0, 1])
    source = opened(tmp_path)
    for row, says in ((1, "empty"), (2, "is none of PNG"), (3, "missing"), (4, "5 x 9 pixels")):
        with pytest.raises(UnreadableImageError, match=says):
            source.sample(row)
    (tmp_path / "3.png").write_bytes(encoded(8))  # a path beside the table, and no bytes
    np.testing.assert_array_equal(source.sample(3).image_HWC, decoded(encoded(8)))


@pytest.mark.parametrize(
    ("labels", "options", "says"),
    [
        ([0, 1, 3], {}, "row 3 has the unknown label '3'"),
        ([0, 1, -1], {}, "row 3 has no label"),
        ([0, 1, None], {}, "row 3 has no label"),
        ([0, 1, 2], {"label_column": "lable"}, "did you mean 'label'.*Set dataset.label_column"),
        ([0, 1, 2], {"image_column": "label"}, "is of type int64.*Set dataset.image_column"),
        ([0, 1, 2], {"group_column": "patient"}, "row 2 has no group"),
    ],
)
def test_tables_that_cannot_be_used_are_refused_in_a_line(tmp_path, labels, options, says):
    write(tmp_path / "a.parquet", map(encoded, range(3)), labels, patient=["p", None, "q"])
    with pytest.raises(DataError, match=says) as caught:
        list(opened(tmp_path, **options).samples())
    assert "\n" not in str(caught.value)


def test_files_must_agree_on_their_classes(tmp_path):
    write(tmp_path / "train.parquet", [encoded(0)], [0])
    write(tmp_path / "test.parquet", [encoded(1)], [0], names=CLASSES[::-1])
    with pytest.raises(DataError, match=r"otherwise than .*test\.parquet; all files"):
        opened(tmp_path).label_table()


def test_a_torn_file_is_refused(tmp_path, made):
    content = next(iter((made / "data").iterdir())).read_bytes()
    (tmp_path / "a.parquet").write_bytes(content[:-20])
    with pytest.raises(DataError, match=r"cannot read .*a\.parquet as Parquet"):
        opened(tmp_path).label_table()


def test_a_folder_without_files_points_to_those_below(made, tmp_path):
    with pytest.raises(DataError, match=r"holds no \.parquet file; but .*data does: set"):
        opened(made.parent).label_table()
    with pytest.raises(DataError, match="none does not exist"):
        opened(tmp_path / "none").label_table()
    with pytest.raises(ConfigError, match=r"dataset\.path is not set"):
        open_hf_image(HfImageConfig())


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache of the hub."""
    monkeypatch.delenv("HF_HUB_CACHE", raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "home" / "hub"


def test_a_dataset_of_the_hub_is_read_from_the_cache_once_it_is_there(cache):
    name = "blanchon/EuroSAT_RGB"
    with pytest.raises(DataError, match=f"no folder {name} here.*run `synthtrial fetch STUDY`"):
        opened(name).label_table()
    place = cache / "datasets--blanchon--EuroSAT_RGB"
    make(place / "snapshots" / "0a1b2c")
    (place / "refs").mkdir()
    (place / "refs" / "main").write_text("0a1b2c")
    assert opened(name).expected_rows == 33
    assert opened(name, revision="0a1b2c").expected_rows == 33
    assert fetch(HfImageConfig(path=name)) == f"{name} is in {place / 'snapshots' / '0a1b2c'}"
    with pytest.raises(DataError, match="synthtrial fetch"):
        opened(name, revision="v2").label_table()


def test_fetching_needs_a_name_and_huggingface_hub(cache, made, monkeypatch):
    assert fetch(HfImageConfig(path=str(made))) == f"{made} is there"
    with pytest.raises(DataError, match="there is no file or folder /no/such/place"):
        fetch(HfImageConfig(path="/no/such/place"))
    monkeypatch.setattr(hub, "find_spec", lambda _: None)
    with pytest.raises(DataError, match="pip install huggingface_hub, or copy"):
        fetch(HfImageConfig(path="user/name"))


def test_what_the_library_datasets_writes_is_read(tmp_path):
    library = pytest.importorskip("datasets", reason="NOT TESTED: install the extra 'test'")
    library.disable_progress_bars()
    features = library.Features(
        {"image": library.Image(), "label": library.ClassLabel(names=list(CLASSES))}
    )
    images = [decoded(encoded(row)) for row in range(6)]
    columns = {"image": [Image.fromarray(i) for i in images], "label": [0, 1, 2] * 2}
    written = library.Dataset.from_dict(columns, features=features)
    written.to_parquet(tmp_path / "train-00000-of-00001.parquet")
    source = opened(tmp_path)
    assert source.classes == CLASSES
    for row, image_HWC in enumerate(images):
        sample = source.sample(row)
        np.testing.assert_array_equal(sample.image_HWC, image_HWC)
        assert [name for name, value in sample.labels.items() if value] == [CLASSES[row % 3]]
