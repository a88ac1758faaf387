"""CheXpert on made folders of its layout; counts of the real table where it is installed."""

import csv
import shutil
from importlib.util import find_spec

import numpy as np
import pytest

from synthtrial.config import ImbalanceConfig, SplitConfig
from synthtrial.data import chexpert
from synthtrial.data.base import RandomAccess, image_rows, restrictions_of
from synthtrial.data.chexpert import CHEXPERT, NAMES, ChexpertConfig, identify, open_chexpert
from synthtrial.data.labels import class_counts
from synthtrial.data.splits import groups_of, make_split
from synthtrial.errors import ConfigError, DataError, UnreadableImageError
from synthtrial.identity import canonical_json
from synthtrial.testing.chexpert import TOP, MadeFolder, write_chexpert
from synthtrial.testing.datasets import DatasetContract

MADE = MadeFolder(patients=60, side=40, seed=3)
SPLIT = SplitConfig(validation=0.25)
TURNED = [*NAMES[7:], *NAMES[:7]][::-1]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("made") / "CheXpert"
    write_chexpert(folder, MADE)
    return folder


@pytest.fixture
def copy(made, tmp_path):
    return shutil.copytree(made, tmp_path / "copy")


def opened(folder, **options):
    return open_chexpert(ChexpertConfig(path=str(folder), size=32, **options))


def lines(folder, part="train"):
    with (folder / f"{part}.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def rewrite(folder, change, part="train"):
    """Change the rows of a table, in place."""
    rows = change(lines(folder, part))
    with (folder / f"{part}.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


class TestContract(DatasetContract):
    component = CHEXPERT

    @pytest.fixture(autouse=True)
    def of_the_made_folder(self, made):
        type(self).options = ChexpertConfig(path=str(made), size=32)


def test_labels_are_found_by_name_and_patients_and_studies_in_the_path(made):
    source = opened(made)
    assert isinstance(source, RandomAccess)
    table, rows = source.label_table(), lines(made)
    assert len(table) == len(rows) == source.expected_rows
    values = {"1.0": 1, "0.0": 0, "-1.0": -1, "": None}
    for number, row in enumerate(rows):
        sample = source.sample(number)
        stem = row["Path"].removeprefix(f"{TOP}/").removesuffix(".jpg")
        assert sample.sample_id == table.sample_ids[number] == stem
        assert sample.group_id == table.group_ids[number] == row["Path"].split("/")[2]
        assert sample.labels == {name: values[row[name]] for name in NAMES}
        assert (sample.image_HWC.dtype, sample.image_HWC.shape) == (np.uint8, (32, 32, 1))
    assert restrictions_of(source) == (source.licence,)


def test_permuted_columns_change_neither_labels_nor_split_nor_id(made, tmp_path):
    write_chexpert(tmp_path / "turned", MadeFolder(**{**vars(MADE), "column_order": TURNED}))
    assert list(lines(tmp_path / "turned")[0])[5:] == TURNED
    plain, turned = opened(made), opened(tmp_path / "turned")
    one, other = plain.label_table(), turned.label_table()
    assert one.classes == other.classes == tuple(sorted(NAMES))
    np.testing.assert_array_equal(one.labels_NK, other.labels_NK)
    assert (one.sample_ids == other.sample_ids).all()
    assert (one.group_ids == other.group_ids).all()
    splits = [
        make_split(table, SPLIT, ImbalanceConfig(["Edema"], 0.5), seed=0, draw=1)
        for table in (one, other)
    ]
    assert (splits[0].roles == splits[1].roles).all()
    np.testing.assert_array_equal(splits[0].ranks, splits[1].ranks)
    assert identify(plain.config) == identify(turned.config)


def test_the_id_follows_the_labels_and_not_the_place(made, copy):
    before = identify(opened(made).config)
    assert identify(opened(copy).config) == before
    canonical_json(before)
    assert "path" not in before

    def turn(rows):
        rows[5]["Edema"] = "0.0" if rows[5]["Edema"] != "0.0" else "1.0"
        return rows

    rewrite(copy, turn)
    assert identify(opened(copy).config)["labels"] != before["labels"]
    assert identify(opened(made, suffix=".png").config) != before


def test_patients_are_on_one_side(made):
    table = opened(made).label_table()
    split = make_split(table, SPLIT, ImbalanceConfig(), seed=2, draw=0)
    sides = [groups_of(split, split.rows(role)) for role in ("train", "validation", "test")]
    assert all(sides)
    assert not (sides[0] & sides[1] | sides[0] & sides[2] | sides[1] & sides[2])
    assert len(set(table.group_ids)) == 60 < len(table)


def test_views_are_chosen(made):
    rows = lines(made)
    for views, expected in (
        ("frontal", [row for row in rows if row["Frontal/Lateral"] == "Frontal"]),
        ("lateral", [row for row in rows if row["Frontal/Lateral"] == "Lateral"]),
        ("AP", [row for row in rows if row["AP/PA"] == "AP"]),
        ("PA", [row for row in rows if row["AP/PA"] == "PA"]),
    ):
        assert 0 < len(expected) < len(rows), views
        source = opened(made, views=views)
        stems = [row["Path"].removeprefix(f"{TOP}/").removesuffix(".jpg") for row in expected]
        assert source.label_table().sample_ids.tolist() == stems
        assert source.sample(len(stems) - 1).sample_id == stems[-1]


def test_labels_are_left_out_by_name(made):
    source = opened(made, exclude=["No Finding", "Edema"])
    kept = tuple(name for name in NAMES if name not in ("No Finding", "Edema"))
    assert source.classes == kept
    assert set(source.sample(0).labels) == set(kept)
    whole, part = opened(made).label_table(), source.label_table()
    counts = class_counts(whole.labels_NK, whole.classes)
    assert class_counts(part.labels_NK, part.classes) == {name: counts[name] for name in kept}


def test_both_parts_and_the_first_patients(made):
    both = opened(made, part="train+valid")
    ids = both.label_table().sample_ids
    assert both.expected_rows == len(lines(made)) + len(lines(made, "valid"))
    assert ids[-1].startswith("valid/patient64")
    assert both.sample(len(ids) - 1).sample_id == ids[-1]
    few = opened(made, part="train+valid", patients=2).label_table()
    assert sorted(set(few.group_ids)) == [
        *("patient00001", "patient00002", "patient64541", "patient64542")
    ]


def test_the_batches_of_the_full_download_are_searched(made, copy):
    patients = sorted((copy / "train").iterdir())
    for number, place in enumerate(("batch 2 (train 1)", "batch 3 (train 2)")):
        batch = copy / f"CheXpert-v1.0 {place}"
        batch.mkdir()
        for patient in patients[number::2]:
            patient.rename(batch / patient.name)
    (copy / "train").rmdir()
    (copy / "valid").rename(copy / "CheXpert-v1.0 batch 1 (validate & csv)")
    for row in list(image_rows(opened(copy))):
        assert row.image_HWC.shape == (32, 32, 1)


def test_a_table_one_folder_too_deep_is_pointed_at(made):
    with pytest.raises(
        DataError, match=rf"there is no .*but .*set dataset.path={made}\): get CheX"
    ):
        opened(made.parent).label_table()
    with pytest.raises(DataError, match="research use agreement"):
        opened(made / "train").label_table()


def test_without_a_folder_there_are_no_images(monkeypatch):
    monkeypatch.setattr(chexpert, "find_spec", lambda _: None)
    with pytest.raises(DataError, match=r"dataset.path is not set.*pip install 'synthtrial\[xray"):
        open_chexpert(ChexpertConfig()).label_table()


def test_an_image_that_is_missing_or_damaged_is_named_as_that(made, copy):
    stem = opened(copy).label_table().sample_ids[4]
    path = copy / f"{stem}.jpg"
    content = path.read_bytes()
    for damage, says in ((b"", "empty"), (content[:300], "cannot be decoded"), (None, "missing")):
        path.unlink()
        if damage is not None:
            path.write_bytes(damage)
        with pytest.raises(UnreadableImageError, match=says):
            opened(copy).sample(4)
    path.mkdir()
    with pytest.raises(UnreadableImageError, match="it is a folder"):
        opened(copy).sample(4)


def test_other_suffixes_are_read_by_their_content(made, copy):
    for path in list(copy.rglob("*.jpg")):
        path.rename(path.with_suffix(".dcm"))
    one, other = opened(made).sample(7), opened(copy, suffix=".dcm").sample(7)
    np.testing.assert_array_equal(one.image_HWC, other.image_HWC)


def replaced(column, text):
    def change(rows):
        rows[2][column] = text
        return rows

    return change


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (replaced("Edema", "2.0"), r"column 'Edema' holds '2.0'; allowed: 1, 0, -1, empty"),
        (replaced("Fracture", "yes"), r"column 'Fracture' holds 'yes'"),
        (replaced("Edema", "nan"), r"column 'Edema' holds 'nan'"),
        (replaced("Path", "somewhere/else.jpg"), r"the path 'somewhere/else.jpg' is not of the"),
        (replaced("Path", ""), r"is not of the form"),
        (replaced("Path", f"{TOP}/valid/patient1/study1/view1_frontal.jpg"), "not of the part"),
        (lambda rows: [*rows, rows[0]], "lists an image twice"),
        (
            lambda rows: [{k: v for k, v in row.items() if k != "Edema"} for row in rows],
            "lacks a column.*Edema",
        ),
    ],
)
def test_a_table_that_is_not_chexpert_s_is_refused(copy, change, says):
    rewrite(copy, change)
    with pytest.raises(DataError, match=says):
        opened(copy).label_table()


def test_a_torn_table_is_refused(copy):
    text = (copy / "train.csv").read_text()
    (copy / "train.csv").write_text(text[: len(text) // 2].rstrip("0123456789.,-\n") + ",")
    with pytest.raises(DataError, match=r"cannot read .*train.csv"):
        opened(copy).label_table()


def test_a_table_that_changes_is_read_again(copy):
    before = opened(copy).label_table()
    rewrite(copy, lambda rows: rows[:-1])
    assert len(opened(copy).label_table()) == len(before) - 1


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"exclude": ["Oedema"]}, "no label 'Oedema': did you mean 'Edema'"),
        ({"exclude": list(NAMES)}, "leaves no label"),
        ({"size": 4}, "8 pixels or more"),
        ({"patients": 0}, "1 or more"),
        ({"suffix": "jpg"}, "give it as '.jpg'"),
    ],
)
def test_unusable_options_are_refused(options, says):
    with pytest.raises(ConfigError, match=says):
        open_chexpert(ChexpertConfig(**options))


@pytest.fixture(scope="module")
def real():
    if find_spec("torchxrayvision") is None:
        pytest.skip("NOT TESTED: the real table is in the extra 'xray', which is not installed")
    return ChexpertConfig()


def test_the_real_table_has_the_published_counts(real):
    source = open_chexpert(real)
    table = source.label_table()
    assert len(table) == source.expected_rows == 223_414
    assert len(set(table.group_ids)) == 64_540
    for name, positive, uncertain in (
        ("Lung Lesion", 9_186, 1_488),
        ("Pleural Other", 3_523, 2_653),
        ("Fracture", 9_040, 642),
    ):
        column = table.labels_NK[:, table.classes.index(name)]
        assert ((column == 1).sum(), (column == -1).sum()) == (positive, uncertain), name
    frontal = open_chexpert(ChexpertConfig(views="frontal"))
    assert frontal.expected_rows == 191_027
    assert open_chexpert(ChexpertConfig(views="AP")).expected_rows == 161_590
    assert open_chexpert(ChexpertConfig(views="lateral")).expected_rows == 32_387
    with pytest.raises(DataError, match=r"there are no CheXpert images: dataset\.path is not set"):
        source.sample(0)
    with pytest.raises(DataError, match="no table of CheXpert's part 'valid'"):
        open_chexpert(ChexpertConfig(part="train+valid")).label_table()


def test_patients_of_the_real_table_are_on_one_side(real):
    table = open_chexpert(ChexpertConfig(patients=5_000)).label_table()
    split = make_split(table, SplitConfig(test=0.1), ImbalanceConfig(), seed=0, draw=0)
    sides = [groups_of(split, split.rows(role)) for role in ("train", "validation", "test")]
    assert sum(map(len, sides)) == len(set().union(*sides)) == 5_000


def test_the_full_download_is_read_as_it_comes(made, tmp_path):
    """Tables and `valid` in the first batch, the others beside it."""
    first = tmp_path / "CheXpert-v1.0 batch 1 (validate & csv)"
    others = [tmp_path / f"CheXpert-v1.0 batch {n + 2} (train {n + 1})" for n in range(2)]
    for folder in (first, *others):
        folder.mkdir()
    for name in ("train.csv", "valid.csv"):
        text = (made / name).read_text().replace("CheXpert-v1.0-small/", "CheXpert-v1.0/")
        (first / name).write_text(text)
    shutil.copytree(made / "valid", first / "valid")
    for number, patient in enumerate(sorted((made / "train").iterdir())):
        shutil.copytree(patient, others[number % 2] / patient.name)
    full = opened(first, part="train+valid")
    small = opened(made, part="train+valid")
    for sample, same in zip(full.samples(), small.samples(), strict=True):
        np.testing.assert_array_equal(sample.image_HWC, same.image_HWC)


def test_the_full_and_the_small_edition_have_ids_of_their_own(made, copy):
    table = copy / "train.csv"
    table.write_text(table.read_text().replace("CheXpert-v1.0-small/", "CheXpert-v1.0/"))
    small, full = (identify(ChexpertConfig(path=str(folder))) for folder in (made, copy))
    assert small["labels"] == full["labels"]
    assert small != full


def test_the_order_of_what_is_left_out_is_in_no_id(made):
    first, second = (
        identify(ChexpertConfig(path=str(made), exclude=names))
        for names in (["Edema", "Fracture"], ["Fracture", "Edema"])
    )
    assert first == second
