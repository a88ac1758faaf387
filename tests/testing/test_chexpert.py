import dataclasses
import io
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec

import numpy as np
import pytest
from PIL import Image

from synthtrial.data.base import RandomAccess, image_rows, restrictions_of
from synthtrial.data.chexpert import NAMES, ChexpertConfig, open_chexpert
from synthtrial.data.labels import class_counts
from synthtrial.errors import ConfigError, StoreError, UnreadableImageError
from synthtrial.store.images import MISSING
from synthtrial.testing import chexpert
from synthtrial.testing.chexpert import (
    CHEXPERT_MADE,
    TOP,
    MadeChexpertConfig,
    MadeFolder,
    identify,
    open_made_chexpert,
    write_chexpert,
)
from synthtrial.testing.chexpert_rows import made_tables
from synthtrial.testing.datasets import DatasetContract
from synthtrial.testing.radiographs import MARKS, draw_radiograph

SMALL = MadeChexpertConfig(patients=40, side=32, size=24)
HEADER = "Path,Sex,Age,Frontal/Lateral,AP/PA,No Finding,Enlarged Cardiomediastinum,Cardiomegaly,"
NAME = "train/patient00001/study1/view1_frontal"


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """A node's cache of the test's own."""
    folder = tmp_path / "node"
    monkeypatch.setenv("SYNTHTRIAL_CACHE", str(folder))
    return folder


class TestMadeChexpert(DatasetContract):
    component = CHEXPERT_MADE
    options = SMALL


class TestMadeChexpertOfOneView(DatasetContract):
    component = CHEXPERT_MADE
    options = MadeChexpertConfig(
        patients=40, side=24, size=24, views="frontal", exclude=["No Finding"], sixteen_bit=0.1
    )


def files(folder):
    return sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file())


def test_the_folder_has_the_layout_of_the_true_one(tmp_path):
    write_chexpert(tmp_path / "made", MadeFolder(patients=30, side=32))
    text = (tmp_path / "made" / "train.csv").read_text()
    header, *lines = text.splitlines()
    assert header.startswith(HEADER)
    assert len(header.split(",")) == 19
    assert {part.count(",") for part in lines} == {18}
    assert {cell for line in lines for cell in line.split(",")[5:]} == {"1.0", "0.0", "-1.0", ""}
    first = lines[0].split(",")
    assert first[0] == f"{TOP}/{NAME}.jpg"
    assert (first[1] in ("Male", "Female"), 18 <= int(first[2]) <= 90, first[3]) == (
        *(True, True),
        "Frontal",
    )
    paths = [line.split(",")[0].removeprefix(f"{TOP}/") for line in lines]
    valid = (tmp_path / "made" / "valid.csv").read_text().splitlines()[1:]
    paths += [line.split(",")[0].removeprefix(f"{TOP}/") for line in valid]
    assert {cell for line in valid for cell in line.split(",")[5:]} <= {"1.0", "0.0"}
    there = files(tmp_path / "made")
    assert [str(path) for path in there if path.suffix == ".jpg"] == sorted(paths)
    shapes = set()
    for path in there:
        if path.suffix == ".jpg":
            with Image.open(tmp_path / "made" / path) as image:
                assert (image.format, image.mode) == ("JPEG", "L")
                shapes.add(image.size)
    assert {(32, 39), (39, 32), (32, 36)} <= shapes


def test_sizes_are_those_of_the_small_download():
    shapes = set()
    for number in range(60):
        name = f"train/patient00001/study{number}/view1_frontal"
        shapes.add(draw_radiograph(name, dict.fromkeys(MARKS, 0), False, 320, 0).shape)
    assert {(390, 320), (320, 390), (365, 320)} <= shapes
    assert {min(shape) for shape in shapes} == {320}


def test_simulated_labels_have_chexpert_s_shares_and_its_views():
    rows = made_tables(4000, 0, real=False)["train"]
    labels_NK = np.array([row.labels for row in rows])
    for name, positive, uncertain in (
        ("Lung Opacity", 0.4726, 0.0251),
        ("Atelectasis", 0.1494, 0.1510),
        ("Pleural Other", 0.0158, 0.0119),
        ("No Finding", 0.1002, 0.0),
    ):
        column = labels_NK[:, NAMES.index(name)]
        assert (column == 1).mean() == pytest.approx(positive, rel=0.2), name
        assert (column == -1).mean() == pytest.approx(uncertain, rel=0.2, abs=0.001), name
    assert len(rows) / 4000 == pytest.approx(3.46, rel=0.05)
    views = [row.view for row in rows]
    assert views.count("AP") > 4 * max(views.count("PA"), views.count(""))
    assert min(views.count("PA"), views.count("")) > 100 > views.count("LL") > 0
    assert views.count("RL") > 0
    assert len({(row.patient, row.study) for row in rows}) < len(rows)
    edema, effusion = (labels_NK[:, NAMES.index(n)] == 1 for n in ("Edema", "Pleural Effusion"))
    assert (edema & effusion).mean() > 1.2 * edema.mean() * effusion.mean()
    clean = labels_NK[labels_NK[:, 0] == 1]
    others = [k for k, name in enumerate(NAMES) if name not in ("No Finding", "Support Devices")]
    assert not np.isin(clean[:, others], (1, -1)).any()


@pytest.mark.parametrize("seed", range(4))
def test_a_small_set_has_every_class_in_several_patients(seed):
    rows = made_tables(30, seed, real=False)["train"]
    for k, name in enumerate(NAMES):
        assert len({row.patient for row in rows if row.labels[k] == 1}) >= 4, name


def test_real_labels_are_rows_of_whole_patients(tmp_path):
    if find_spec("torchxrayvision") is None:
        pytest.skip("NOT TESTED: the real table is in the extra 'xray', which is not installed")
    real = open_chexpert(ChexpertConfig()).table
    patients: dict[str, list[bytes]] = {}
    for patient, row in zip(real.patients, real.labels_NK, strict=True):
        patients.setdefault(patient, []).append(row.tobytes())
    known = {tuple(rows) for rows in patients.values()}
    write_chexpert(tmp_path / "made", MadeFolder(patients=25, side=16, labels="real"))
    made = open_chexpert(ChexpertConfig(path=str(tmp_path / "made"))).table
    drawn: dict[str, list[bytes]] = {}
    for patient, row in zip(made.patients, made.labels_NK, strict=True):
        drawn.setdefault(patient, []).append(row.tobytes())
    assert len(drawn) == 25
    assert all(tuple(rows) in known for rows in drawn.values())
    assert len(set(map(tuple, drawn.values()))) > 15
    source = open_made_chexpert(MadeChexpertConfig(labels="real"))
    assert "label rows of Stanford" in source.licence


def test_shares_of_missing_truncated_and_deep_images_are_kept(tmp_path):
    options = MadeFolder(patients=40, side=48, missing=0.05, truncated=0.1, sixteen_bit=0.2)
    flaws = write_chexpert(tmp_path / "made", options)
    source = open_chexpert(ChexpertConfig(path=str(tmp_path / "made"), size=32))
    n = source.expected_rows
    lengths = [len(names) for names in dataclasses.astuple(flaws)]
    assert lengths == [round(share * n) for share in (0.05, 0.1, 0.2)]
    says = {"missing": [], "cannot be decoded": []}
    for row, stem in enumerate(source.table.stems):
        try:
            source.sample(row)
        except UnreadableImageError as error:
            says[next(word for word in says if word in str(error))].append(stem)
    assert sorted(says["missing"]) == flaws.missing
    assert sorted(says["cannot be decoded"]) == flaws.truncated
    content = (tmp_path / "made" / f"{flaws.sixteen_bit[0]}.jpg").read_bytes()
    with Image.open(io.BytesIO(content)) as image:
        assert (image.format, image.mode) == ("PNG", "I;16")


def test_a_picture_depends_on_its_name_labels_and_seed_alone(tmp_path):
    few, many = MadeFolder(patients=1, side=40), MadeFolder(patients=1, side=40, missing=0.5)
    contents = []
    for number, options in enumerate((few, few, many)):
        write_chexpert(tmp_path / str(number), options)
        pictures = [path for path in files(tmp_path / str(number)) if path.suffix == ".jpg"]
        contents.append({p: (tmp_path / str(number) / p).read_bytes() for p in pictures})
    assert contents[0] == contents[1]
    assert contents[2].items() <= contents[0].items()
    nothing = dict.fromkeys(MARKS, 0)
    plain = draw_radiograph(NAME, nothing, False, 64, 0)
    assert not np.array_equal(plain, draw_radiograph(NAME, nothing, False, 64, 1))
    assert not np.array_equal(plain, draw_radiograph(NAME, nothing, True, 64, 0))


@pytest.mark.parametrize("label", list(MARKS))
def test_every_class_shows_where_it_belongs_and_an_uncertain_one_half_the_time(label):
    nothing = dict.fromkeys(MARKS, 0)
    seen = 0
    for number in range(40):
        name = f"train/patient{number:05d}/study1/view1_frontal"
        plain = draw_radiograph(name, nothing, False, 96, 0).astype(int)
        height, width = plain.shape
        u, v, *_, grey = MARKS[label][0]
        spot = (int(height / 2 + 48 * v), int(width / 2 + 48 * u))
        where = tuple(slice(middle - 2, middle + 3) for middle in spot)
        marked = draw_radiograph(name, nothing | {label: 1}, False, 96, 0)
        assert np.sign(grey) * (marked[where] - plain[where]).mean() > 8
        uncertain = draw_radiograph(name, nothing | {label: -1}, False, 96, 0)
        seen += bool((uncertain != plain).any())
    assert 8 <= seen <= 32


def test_a_classifier_can_learn_the_marks():
    options = dataclasses.replace(SMALL, patients=250, size=24)
    source = open_made_chexpert(options)
    rows = list(image_rows(source))
    x_ND = np.stack([row.image_HWC.ravel() for row in rows]).astype(np.float64) / 255
    x_ND = np.column_stack([x_ND - x_ND.mean(0), np.ones(len(rows))])
    table = source.label_table()
    half = len(rows) // 2
    scores = []
    for name in ("Lung Opacity", "Edema", "Pneumothorax", "Cardiomegaly", "Support Devices"):
        y_N = table.labels_NK[:, table.classes.index(name)] == 1
        a = x_ND[:half]
        weights = np.linalg.solve(a.T @ a + 3 * np.eye(a.shape[1]), a.T @ (y_N[:half] - 0.5))
        guess, truth = x_ND[half:] @ weights, y_N[half:]
        scores.append((guess[truth][:, None] > guess[~truth][None]).mean())
    assert min(scores) > 0.75, scores
    assert np.mean(scores) > 0.85, scores


def test_planning_needs_tables_only_and_the_images_come_once(cache, monkeypatch):
    source = open_made_chexpert(SMALL)
    assert not cache.exists(), "opening writes nothing"
    assert isinstance(source, RandomAccess)
    assert restrictions_of(source) == ()
    source.label_table()
    (folder,) = (path for path in cache.iterdir() if path.is_dir())
    assert files(folder) == [*map(type(folder), ("train.csv", "valid.csv"))]
    with ThreadPoolExecutor(4) as pool:  # as a preparation reads
        list(pool.map(source.sample, range(source.expected_rows)))
    written = {path: (folder / path).stat().st_mtime_ns for path in files(folder)}
    assert len(written) > source.expected_rows
    monkeypatch.setattr(chexpert, "draw_radiograph", None)
    other = open_made_chexpert(dataclasses.replace(SMALL, size=16, views="frontal"))
    other.sample(0)
    assert {p: (folder / p).stat().st_mtime_ns for p in files(folder)} == written


def test_two_processes_do_not_clash(cache):
    code = (
        "from synthtrial.testing.chexpert import *\n"
        "source = open_made_chexpert(MadeChexpertConfig(patients=60, side=64, size=24))\n"
        "print(sum(int(s.image_HWC.sum()) for s in source.samples()))\n"
    )
    both = [
        subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    said = [process.communicate(timeout=120)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert said[0] == said[1] != ""
    assert not list(cache.rglob("*.tmp-*"))


def test_what_a_killed_process_left_is_removed(cache):
    source = open_made_chexpert(SMALL)
    source.label_table()
    (folder,) = (path for path in cache.iterdir() if path.is_dir())
    torn = folder / "train.tmp-1234" / "patient00001"
    torn.mkdir(parents=True)
    (folder / "valid").mkdir()  # renamed before the process died
    source.sample(0)
    assert sorted(path.name for path in folder.iterdir()) == [
        *("train", "train.csv", "valid", "valid.csv")
    ]
    assert any((folder / "valid").iterdir())


def test_the_order_of_columns_is_no_part_of_an_id():
    turned = dataclasses.replace(SMALL, column_order=list(NAMES[::-1]))
    assert identify(turned) == identify(SMALL) == {"patients": 40, "side": 32, "size": 24}
    one, other = (open_made_chexpert(options) for options in (SMALL, turned))
    assert one.config.path != other.config.path
    for row in (0, 5):
        np.testing.assert_array_equal(one.sample(row).image_HWC, other.sample(row).image_HWC)
        assert one.sample(row).labels == other.sample(row).labels
    tables = [source.label_table() for source in (one, other)]
    assert class_counts(tables[0].labels_NK, tables[0].classes) == class_counts(
        tables[1].labels_NK, tables[1].classes
    )
    assert (tables[0].labels_NK == MISSING).any()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"patients": 0}, "at least 1 patient"),
        ({"side": 8}, "16 pixels"),
        ({"missing": 0.6, "truncated": 0.5}, "add up to 1 at most"),
        ({"sixteen_bit": -0.1}, "shares of the"),
        ({"column_order": ["Edema"]}, "must hold each of"),
        ({"exclude": ["Oedema"]}, "did you mean 'Edema'"),
    ],
)
def test_unusable_options_are_refused(options, says):
    with pytest.raises(ConfigError, match=says):
        open_made_chexpert(MadeChexpertConfig(**options))


def test_the_cache_that_cannot_be_written_is_named(mount, remount_read_only, monkeypatch):
    where = mount("size=1m")
    remount_read_only(where)
    monkeypatch.setenv("SYNTHTRIAL_CACHE", str(where))
    with pytest.raises(StoreError, match="SYNTHTRIAL_CACHE"):
        open_made_chexpert(SMALL).label_table()
    assert list(where.iterdir()) == []
