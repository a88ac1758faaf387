"""Folders of images, with and without sides of their own."""

import io
import shutil

import numpy as np
import pytest
from PIL import Image

from synthtrial.config import ImbalanceConfig, SplitConfig
from synthtrial.data.base import RandomAccess, restrictions_of
from synthtrial.data.image_folder import (
    IMAGE_FOLDER,
    ImageFolderConfig,
    identify,
    open_image_folder,
)
from synthtrial.data.sides import own_sides_of
from synthtrial.data.splits import make_split
from synthtrial.errors import ConfigError, DataError, UnreadableImageError
from synthtrial.testing.datasets import DatasetContract

CLASSES = ("ant", "moth", "wolf")


def pixels(number, shape=(12, 12, 3)):
    return np.random.default_rng(number).integers(0, 256, size=shape, dtype=np.uint8)


def save(path, image_HWC):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image_HWC.squeeze()).save(path)


def fill(root, each=6, **kind):
    """Write images named by the animal they show: two pictures of each."""
    for k, name in enumerate(CLASSES):
        for number in range(each):
            save(root / name / f"{name}{number // 2}-{number % 2}.png", pixels(100 * k + number))
    return root


@pytest.fixture
def plain(tmp_path):
    return fill(tmp_path / "pets")


@pytest.fixture
def divided(tmp_path):
    root = tmp_path / "divided"
    for side, each in (("train", 6), ("val", 2), ("test", 4)):
        fill(root / side, each)
    return root


def opened(root, **options):
    return open_image_folder(ImageFolderConfig(path=str(root), **options))


class TestContract(DatasetContract):
    component = IMAGE_FOLDER

    @pytest.fixture(autouse=True)
    def of_the_folder(self, plain):
        type(self).options = ImageFolderConfig(path=str(plain), group_pattern=r"/([a-z]+\d+)-")


def test_classes_are_folders_and_images_are_named_by_their_paths(plain):
    source = opened(plain)
    assert isinstance(source, RandomAccess)
    assert source.classes == CLASSES
    assert source.image_shape == (3, 12, 12)
    assert not source.groups_known
    assert own_sides_of(source) is None
    table = source.label_table()
    assert len(table) == 18
    assert set(table.group_ids) == {None}
    row = table.sample_ids.tolist().index("moth/moth1-0.png")
    sample = source.sample(row)
    assert sample.labels == {"ant": 0, "moth": 1, "wolf": 0}
    np.testing.assert_array_equal(sample.image_HWC, pixels(102))


def test_images_are_brought_to_one_form(plain):
    save(plain / "ant" / "wide.png", np.full((20, 50, 3), 200, np.uint8))
    source = opened(plain, size=10, channels=1)
    row = source.label_table().sample_ids.tolist().index("ant/wide.png")
    assert source.image_shape == (1, 10, 10)
    np.testing.assert_array_equal(source.sample(row).image_HWC, np.full((10, 10, 1), 200))
    with pytest.raises(UnreadableImageError, match=r"20 x 50 pixels in 3 channels where the first"):
        opened(plain).sample(row)


def test_a_pattern_names_groups(plain):
    source = opened(plain, group_pattern=r"/([a-z]+\d+)-")
    assert source.groups_known
    assert sorted(set(source.label_table().group_ids)) == [
        f"{name}{number}" for name in CLASSES for number in range(3)
    ]
    config = SplitConfig(test=0.34, validation=0.34)
    split = make_split(source.label_table(), config, ImbalanceConfig(), seed=0, draw=0)
    for group in set(split.group_ids):
        assert len(set(split.roles[split.group_ids == group])) == 1
    with pytest.raises(DataError, match=r"finds no group in 18 of 18 paths: 'ant/ant0-0.png'; "):
        opened(plain, group_pattern="/([A-Z]+)").label_table()


def test_own_sides_are_kept_whole(divided):
    source = opened(divided)
    assert source.classes == CLASSES
    table, sides = source.label_table(), own_sides_of(source)
    assert sides.tolist() == [
        {"train": "train", "val": "validation", "test": "test"}[name.partition("/")[0]]
        for name in table.sample_ids
    ]
    for draw in range(2):
        split = make_split(
            table, SplitConfig(own=True), ImbalanceConfig(), seed=draw, draw=draw, sides=sides
        )
        for role, folder in (("train", "train"), ("validation", "val"), ("test", "test")):
            names = set(split.sample_ids[split.rows(role)])
            assert names == {name for name in table.sample_ids if name.startswith(folder)}


def test_one_folder_called_train_may_be_a_class_and_two_are_sides(plain, divided):
    shutil.copytree(plain / "ant", plain / "train")
    assert opened(plain).classes == ("ant", "moth", "train", "wolf")
    (divided / "raw").mkdir()
    with pytest.raises(DataError, match=r"has the sides test, train, val and beside them .* 'raw'"):
        opened(divided).label_table()
    shutil.rmtree(divided / "raw")
    shutil.copytree(divided / "val", divided / "valid")
    with pytest.raises(DataError, match="of which two are one side"):
        opened(divided).label_table()


def test_the_id_follows_names_and_sizes_and_not_the_place(plain, tmp_path):
    before = identify(ImageFolderConfig(path=str(plain)))
    copy = shutil.copytree(plain, tmp_path / "copy")
    told = {"licence": "CC0", "restricted": True}
    assert identify(ImageFolderConfig(path=str(copy), **told)) == before
    assert identify(ImageFolderConfig(path=str(copy), size=10)) == {**before, "size": 10}
    (copy / "ant" / "ant0-0.png").rename(copy / "ant" / "ant9-0.png")
    assert identify(ImageFolderConfig(path=str(copy))) != before
    source = opened(copy, **told)
    assert restrictions_of(source) == ("CC0",)


def test_unreadable_images_say_why(plain):
    ids = opened(plain).label_table().sample_ids.tolist()
    for damage, says in ((b"", "empty"), (b"GIF89a...", "is none of PNG"), (None, "missing")):
        path = plain / "ant" / "ant0-0.png"
        source = opened(plain)
        row = source.label_table().sample_ids.tolist().index("ant/ant0-0.png")
        path.write_bytes(damage or b"")
        if damage is None:
            path.unlink()
        with pytest.raises(UnreadableImageError, match=says):
            source.sample(row)
    assert len(opened(plain).label_table()) == len(ids) - 1


def test_a_link_that_leads_nowhere_is_listed_and_unreadable(plain):
    (plain / "ant" / "gone.png").symlink_to(plain / "nowhere.png")
    source = opened(plain)
    row = source.label_table().sample_ids.tolist().index("ant/gone.png")
    with pytest.raises(UnreadableImageError, match="missing"):
        source.sample(row)


def test_hidden_and_other_files_are_no_images_and_deeper_folders_are_searched(plain):
    (plain / "ant" / "notes.txt").write_text("two of each")
    (plain / "ant" / ".hidden.png").write_bytes(b"x")
    (plain / ".git").mkdir()
    buffer = io.BytesIO()
    Image.fromarray(pixels(7)).save(buffer, "jpeg")
    (plain / "ant" / "more").mkdir()
    (plain / "ant" / "more" / "A.JPEG").write_bytes(buffer.getvalue())
    names = opened(plain).label_table().sample_ids.tolist()
    assert len(names) == 19
    assert "ant/more/A.JPEG" in names


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"path": ""}, "dataset.path is not set"),
        ({"size": 4}, "8 pixels or more"),
        ({"channels": 2}, "allowed: 1, 3"),
        ({"group_pattern": "("}, "is no regular expression"),
        ({"group_pattern": "a+"}, "has no group; put"),
    ],
)
def test_unusable_options_are_refused(options, says):
    with pytest.raises(ConfigError, match=says):
        open_image_folder(ImageFolderConfig(**{"path": "somewhere", **options}))


def test_a_folder_that_is_not_one_is_refused_in_a_line(tmp_path, plain):
    for path, says in (
        (tmp_path / "none", r"cannot read the folder .*none \(No such file"),
        (plain / "ant", "has no folders; it needs one for each class"),
    ):
        with pytest.raises(DataError, match=says) as caught:
            opened(path).label_table()
        assert "\n" not in str(caught.value)
    (plain / "bee").mkdir()
    with pytest.raises(DataError, match="bee holds no image; allowed: files with one of"):
        opened(plain).label_table()
