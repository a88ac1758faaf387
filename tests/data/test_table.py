"""Images in files that a table lists."""

import csv
import json
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from synthtrial.config import ImbalanceConfig, SplitConfig
from synthtrial.data.base import RandomAccess
from synthtrial.data.listed_images import TABLE, TableConfig, identify, open_listed_images
from synthtrial.data.sides import own_sides_of
from synthtrial.data.splits import make_split
from synthtrial.errors import ConfigError, DataError, UnreadableImageError
from synthtrial.testing.datasets import DatasetContract

LABELS = ("Edema", "Fracture", "Mass")
ROWS = 24
VALUES = ("1", "0", "-1", "")


def mark(row, k):
    """Return a label as the table has it: each class has positives in every third patient."""
    return "1" if row % 3 == k else VALUES[(row + k) % 4] if (row + k) % 4 else "0"


def lines():
    return [
        {
            "path": f"images/{row:02d}.png",
            "patient": f"p{row // 2}",
            "split": ("train", "train", "val", "test")[row // 2 % 4],
            **{name: mark(row, k) for k, name in enumerate(LABELS)},
            "animal": ("ant", "moth", "wolf")[row % 3],
        }
        for row in range(ROWS)
    ]


def write_csv(path, rows, columns=None):
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns or list(rows[0]), extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)


def ramp(row, size=16):
    """A 16-bit image whose values run from 100 x row upwards."""
    return (100 * row + np.arange(size * size).reshape(size, size)).astype(np.uint16)


@pytest.fixture
def made(tmp_path):
    folder = tmp_path / "wards"
    (folder / "images").mkdir(parents=True)
    for row in range(ROWS):
        Image.fromarray(ramp(row)).save(folder / "images" / f"{row:02d}.png")
    write_csv(folder / "rows.csv", lines())
    return folder


def config(folder, **options):
    several = {} if "label_column" in options else {"label_columns": list(LABELS)}
    return TableConfig(**{"table": str(folder / "rows.csv"), **several, **options})


def opened(folder, **options):
    return open_listed_images(config(folder, **options))


class TestContract(DatasetContract):
    component = TABLE

    @pytest.fixture(autouse=True)
    def of_the_table(self, made):
        type(self).options = config(made, group_column="patient", window=[0, 4000])


class TestContractOfOneClassAnImage(DatasetContract):
    component = TABLE

    @pytest.fixture(autouse=True)
    def of_the_table(self, made):
        type(self).options = config(made, label_column="animal", size=8, channels=3)


def test_labels_are_found_by_name_and_kept_raw(made):
    source = opened(made)
    assert isinstance(source, RandomAccess)
    assert source.classes == LABELS
    assert source.multi_label
    assert not source.groups_known
    assert set(source.label_table().group_ids) == {None}
    assert own_sides_of(source) is None
    values = {"1": 1, "0": 0, "-1": -1, "": None}
    for number, row in enumerate(lines()):
        sample = source.sample(number)
        assert sample.sample_id == row["path"]
        assert sample.labels == {name: values[row[name]] for name in LABELS}
    assert {None, -1, 0, 1} <= {v for r in range(ROWS) for v in source.sample(r).labels.values()}


def test_permuted_columns_change_neither_labels_nor_split_nor_id(made):
    options = {"group_column": "patient", "split_column": "split"}
    one = opened(made, **options)
    before, table = identify(config(made, **options)), one.label_table()
    write_csv(made / "rows.csv", lines(), list(lines()[0])[::-1])
    turned = {**options, "label_columns": list(LABELS[::-1])}
    other = opened(made, **turned).label_table()
    assert table.classes == other.classes
    np.testing.assert_array_equal(table.labels_NK, other.labels_NK)
    splits = [
        make_split(t, SplitConfig(validation=0.2), ImbalanceConfig(), seed=1, draw=0)
        for t in (table, other)
    ]
    assert (splits[0].roles == splits[1].roles).all()
    assert identify(config(made, **turned)) == before


def test_the_id_follows_what_the_table_says_and_not_where_it_is(made, tmp_path):
    before = identify(config(made))
    copy = shutil.copytree(made, tmp_path / "copy")
    assert identify(config(copy, licence="ours", restricted=True)) == before
    rows = lines()
    rows[3]["patient"] = "somebody else"  # a column that is not used
    write_csv(copy / "rows.csv", rows)
    assert identify(config(copy)) == before
    assert identify(config(copy, group_column="patient")) != before
    rows[3]["Mass"] = "-1"
    write_csv(copy / "rows.csv", rows)
    assert identify(config(copy)) != before
    assert identify(config(made, window=[0, 255])) == {**before, "window": [0, 255]}


def test_parquet_reads_as_csv_does(made):
    rows = lines()
    columns = {name: [row[name] for row in rows] for name in ("path", "patient")}
    for name in LABELS:
        columns[f"label.{name}"] = [float(row[name]) if row[name] else None for row in rows]
    pq.write_table(pa.table(columns), made / "rows.parquet")
    parquet = config(made, table=str(made / "rows.parquet"), label_columns=[])
    assert identify(parquet) == identify(config(made))


def test_a_class_label_names_the_classes(made):
    names = ["wolf", "ant"]
    info = json.dumps({"info": {"features": {"animal": {"names": names, "_type": "ClassLabel"}}}})
    table = pa.table({"path": ["images/00.png", "images/01.png"], "animal": [1, 0]})
    pq.write_table(table.replace_schema_metadata({"huggingface": info}), made / "rows.parquet")
    source = opened(made, table=str(made / "rows.parquet"), label_column="animal")
    assert source.classes == ("wolf", "ant")
    assert not source.multi_label
    assert source.sample(0).labels == {"wolf": 0, "ant": 1}


@pytest.mark.parametrize("window", [[0, 4000], [500, 700], []])
def test_a_window_says_which_of_16_bits_are_seen(made, window):
    low, high = window or (0, 65535)
    for row in (0, 5, 23):
        shown = np.clip((ramp(row).astype(float) - low) / (high - low), 0, 1)
        image_HWC = opened(made, window=window).sample(row).image_HWC
        np.testing.assert_array_equal(image_HWC[:, :, 0], np.rint(255 * shown))
        coloured = opened(made, window=window, channels=3).sample(row).image_HWC
        np.testing.assert_array_equal(coloured, np.repeat(image_HWC, 3, axis=2))


def test_a_window_does_not_fit_colours_or_dicom(made):
    source = opened(made, window=[0, 99])
    Image.new("RGB", (16, 16)).save(made / "images" / "01.png")
    (made / "images" / "02.png").write_bytes(bytes(128) + b"DICM" + bytes(99))
    for row, says in ((1, "window is for grey images"), (2, "a window of its own")):
        with pytest.raises(UnreadableImageError, match=says):
            source.sample(row)


@pytest.mark.parametrize("fit", ["crop_then_resize", "resize_then_crop", "squash"])
def test_images_become_square_as_radiographs_do(made, fit):
    from synthtrial.data.radiographs import fit_square

    wide = np.random.default_rng(0).integers(0, 256, size=(20, 33), dtype=np.uint8)
    Image.fromarray(wide).save(made / "images" / "07.png")
    for resampling in ("antialias", "torchxrayvision"):
        source = opened(made, size=9, fit=fit, resampling=resampling, channels=1)
        expected = fit_square(wide, 9, fit, resampling)
        np.testing.assert_array_equal(source.sample(7).image_HWC[:, :, 0], expected)


def test_groups_and_own_sides_are_kept(made):
    source = opened(made, group_column="patient", split_column="split")
    assert source.groups_known
    table, sides = source.label_table(), own_sides_of(source)
    for draw in range(2):
        split = make_split(
            table, SplitConfig(own=True), ImbalanceConfig(), seed=draw, draw=draw, sides=sides
        )
        for role, name in (("train", "train"), ("validation", "val"), ("test", "test")):
            ids = sorted(split.sample_ids[split.rows(role)])
            assert ids == [row["path"] for row in lines() if row["split"] == name]


def test_own_sides_that_divide_a_patient_are_refused_unless_that_is_asked_for(made):
    rows = lines()
    rows[0]["split"] = "test"  # the other image of p0 is for training
    write_csv(made / "rows.csv", rows)
    source = opened(made, group_column="patient", split_column="split")
    table, sides = source.label_table(), own_sides_of(source)
    imbalance = ImbalanceConfig()
    with pytest.raises(DataError, match=r"share groups, such as 'p0' \(2 images"):
        make_split(table, SplitConfig(own=True), imbalance, seed=0, draw=0, sides=sides)
    kept = SplitConfig(own=True, by="image")
    split = make_split(table, kept, imbalance, seed=0, draw=0, sides=sides)
    assert split.roles[:2].tolist() == ["test", "train"]


def test_listed_images_are_left_out(made, tmp_path):
    exclude = tmp_path / "exclude.txt"
    exclude.write_text("images/03.png\n\nimages/07.png\n")
    rows = lines()
    rows[3]["Edema"] = "not a label, and not looked at"
    rows[7]["patient"] = ""
    write_csv(made / "rows.csv", rows)
    source = opened(made, exclude=str(exclude), group_column="patient")
    ids = source.label_table().sample_ids.tolist()
    assert ids == [row["path"] for n, row in enumerate(rows) if n not in (3, 7)]
    assert source.sample(3).sample_id == "images/04.png"
    np.testing.assert_array_equal(
        opened(made, exclude=str(exclude), window=[0, 9000]).sample(3).image_HWC[:, :, 0],
        np.rint(255 * ramp(4).astype(float) / 9000),
    )
    exclude.write_text("images/3.png\n")
    with pytest.raises(DataError, match=r"lists 1 images that .*rows.csv has not: images/3.png"):
        opened(made, exclude=str(exclude)).label_table()
    with pytest.raises(DataError, match=r"dataset.exclude: cannot read"):
        opened(made, exclude=str(tmp_path / "none")).label_table()


def test_missing_images_are_named_one_by_one(made):
    (made / "images" / "05.png").unlink()
    (made / "images" / "06.png").write_bytes(b"")
    source = opened(made)
    assert source.expected_rows == ROWS
    for row, says in ((5, "the file is missing"), (6, "the file is empty")):
        with pytest.raises(UnreadableImageError, match=says):
            source.sample(row)
    (made / "images" / "05.png").mkdir()  # stands for a disk that fails: no flaw of one image
    with pytest.raises(DataError, match=r"cannot read .*05\.png \(Is a directory\)") as caught:
        source.sample(5)
    assert not isinstance(caught.value, UnreadableImageError)


def test_without_any_image_a_study_can_be_planned_and_the_shape_be_set(made):
    before = identify(config(made))
    shutil.rmtree(made / "images")
    assert identify(config(made)) == before
    assert len(opened(made).label_table()) == ROWS
    assert opened(made, size=32, channels=1).image_shape == (1, 32, 32)
    with pytest.raises(
        DataError, match=r"no image of .*wards can be read .*missing.*set dataset\.size"
    ):
        _ = opened(made).image_shape


def changed(row, column, text):
    rows = lines()
    rows[row][column] = text
    return rows


@pytest.mark.parametrize(
    ("rows", "options", "says"),
    [
        (changed(4, "Mass", "yes"), {}, "row 5: 'yes' in the column 'Mass'; allowed: 1, 0, -1"),
        (changed(4, "path", "../x.png"), {}, "list each image once.*leads out of the folder"),
        (changed(4, "path", "images/01.png"), {}, "row 5 has the image 'images/01.png' of row 2"),
        (changed(4, "path", ""), {}, "names no image"),
        (changed(4, "patient", ""), {"group_column": "patient"}, "row 5 has no group"),
        (changed(4, "split", "exam"), {"split_column": "split"}, "'exam' in the column 'split'"),
        (changed(4, "animal", ""), {"label_column": "animal"}, "row 5 has no label"),
        (lines(), {"label_columns": ["Edma"]}, "did you mean 'Edema'.*dataset.label_columns"),
        (lines(), {"label_columns": []}, "not said which columns are labels.*Columns: path, pat"),
        (lines(), {"image_column": "file"}, "no column 'file'.*Set dataset.image_column"),
        (lines(), {"multi_label": False}, "has . classes and . uncertain ones.*exactly one"),
        (lines(), {"table": "/none/rows.csv"}, "dataset.table: there is no file /none/rows.csv"),
        (lines(), {"table": "/none/rows.xls"}, "dataset.table is /none/rows.xls; allowed: a file"),
    ],
)
def test_tables_that_cannot_be_used_are_refused_in_a_line(made, rows, options, says):
    write_csv(made / "rows.csv", rows)
    with pytest.raises(DataError, match=says) as caught:
        opened(made, **options).label_table()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("separator", "name"), [(";", "semicolons"), ("\t", "tabs")])
def test_another_separator_than_commas_is_named(made, separator, name):
    text = (made / "rows.csv").read_text()
    (made / "rows.csv").write_text(text.replace(",", separator))
    with pytest.raises(DataError, match=f"separated by {name}: .*path.*Save it with commas"):
        opened(made).label_table()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"table": ""}, "dataset.table is not set"),
        ({"label_column": "animal", "label_columns": ["Mass"]}, "exclude each other"),
        ({"label_column": "animal", "multi_label": True}, "names one class an image"),
        ({"window": [1]}, "black and white, such as"),
        ({"window": [9, 9]}, "the smaller first"),
        ({"channels": 4}, "allowed: 1, 3"),
        ({"size": 2}, "8 pixels or more"),
    ],
)
def test_unusable_options_are_refused(tmp_path, options, says):
    with pytest.raises(ConfigError, match=says):
        opened(tmp_path, **options)


def test_images_inside_a_table_are_another_dataset_s(made):
    table = pa.table({"path": [b"PNG"], "label.a": [1]})
    pq.write_table(table, made / "rows.parquet")
    with pytest.raises(DataError, match=r"holds images and not paths; set dataset.name=hf_image"):
        opened(made, table=str(made / "rows.parquet"), label_columns=[]).label_table()
