import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synthtrial.config import ImbalanceConfig, SplitConfig
from synthtrial.data.base import make_label_table
from synthtrial.data.digits import DigitsConfig, open_digits
from synthtrial.data.labels import class_counts, locate
from synthtrial.data.splits import (
    ROLES,
    SplitTable,
    check_split,
    crossing_rows,
    describe_split,
    groups_of,
    make_split,
    read_groups,
    read_split,
    select,
    write_split,
)
from synthtrial.errors import DamagedArtifactError, DataError
from synthtrial.store.artifacts import draft, open_store, read_artifact
from synthtrial.testing.toys import ToyConfig, ToyMultiConfig, open_toy, open_toy_multi

SPLIT = SplitConfig(test=0.25, validation=0.1)
RARE = ImbalanceConfig(["8", "9"], 0.85)
REGIMENS = (0.1, 0.25, 0.5, 1.0)


@pytest.fixture(scope="module")
def digits():
    return open_digits(DigitsConfig()).label_table()


def toy_table(multi, **options):
    if multi:
        return open_toy_multi(ToyMultiConfig(rows=400, **options)).label_table()
    return open_toy(ToyConfig(rows=300, **options)).label_table()


def ids(split, rows):
    return set(split.sample_ids[rows])


def same(one, other):
    assert (one.sample_ids == other.sample_ids).all()
    assert (one.group_ids == other.group_ids).all()
    assert (one.roles == other.roles).all()
    np.testing.assert_array_equal(one.ranks, other.ranks)


def test_digits_keep_every_class_in_every_regimen(digits):
    for draw in range(6):
        split = make_split(digits, SPLIT, RARE, seed=0, draw=draw)
        counts = describe_split(split, digits)["class_counts"]
        assert counts["train"]["8"] == 17
        assert counts["removed"]["8"] == 96
        assert counts["train"]["0"] == 115
        assert counts["removed"]["0"] == 0
        assert (counts["test"]["8"], counts["validation"]["8"]) == (44, 17)
        labels = digits.labels_NK[locate(digits, split.sample_ids)]
        for regimen in REGIMENS:
            rows = select(split, role="train", regimen=regimen)
            assert min(class_counts(labels[rows], digits.classes).values()) >= 2


def test_the_test_set_is_the_study_s_and_the_rest_the_draw_s(digits):
    splits = [make_split(digits, SPLIT, RARE, seed=3, draw=draw) for draw in range(2)]
    tests = [ids(split, split.rows("test")) for split in splits]
    assert tests[0] == tests[1]
    for role in ("validation", "removed"):
        drawn = [ids(split, split.rows(role)) for split in splits]
        assert drawn[0] != drawn[1]
    chosen = [ids(split, select(split, role="train", regimen=0.1)) for split in splits]
    assert chosen[0] != chosen[1]
    other = make_split(digits, SPLIT, RARE, seed=4, draw=0)
    assert ids(other, other.rows("test")) != tests[0]


def test_imbalance_moves_nothing_but_the_removed_rows(digits):
    plain = make_split(digits, SPLIT, ImbalanceConfig(), seed=0, draw=1)
    rare = make_split(digits, SPLIT, RARE, seed=0, draw=1)
    for role in ("test", "validation"):
        assert ids(plain, plain.rows(role)) == ids(rare, rare.rows(role))
    assert ids(plain, plain.rows("train")) == ids(rare, rare.rows(("train", "removed")))


def test_imbalance_reaches_validation_when_asked(digits):
    config = dataclasses.replace(RARE, apply_to="train+validation")
    split = make_split(digits, SPLIT, config, seed=0, draw=0)
    counts = describe_split(split, digits)["class_counts"]
    assert counts["validation"]["8"] == 3
    assert counts["unused"]["8"] == 14
    assert counts["validation"]["0"] == 18
    assert counts["test"]["8"] == 44


@pytest.mark.parametrize("multi", [False, True])
@pytest.mark.parametrize("groups", [False, True])
def test_regimens_are_nested_and_stratified(multi, groups):
    table = toy_table(multi, groups=groups)
    split = make_split(table, SPLIT, ImbalanceConfig(), seed=1, draw=0)
    train = split.rows("train")
    inner = set()
    for regimen in (0.1, 0.25, 0.5, 1.0):
        rows = select(split, role="train", regimen=regimen)
        assert inner <= ids(split, rows)
        inner = ids(split, rows)
        assert abs(len(rows) - regimen * len(train)) <= (12 if groups else 3)
    assert inner == ids(split, train)


def test_a_regimen_takes_its_share_of_every_class_rounded_half_up(digits):
    split = make_split(digits, SPLIT, RARE, seed=0, draw=0)
    labels = digits.labels_NK[locate(digits, split.sample_ids)]
    of = {
        f: class_counts(labels[select(split, role="train", regimen=f)], digits.classes)
        for f in REGIMENS
    }
    for regimen in REGIMENS:
        for name, count in of[regimen].items():
            assert count == int(np.floor(regimen * of[1.0][name] + 0.5)), (regimen, name)


@pytest.mark.parametrize("multi", [False, True])
def test_no_group_is_divided(multi):
    table = toy_table(multi)
    imbalance = ImbalanceConfig([table.classes[0]], 0.5, "train+validation")
    split = make_split(table, SPLIT, imbalance, seed=5, draw=2)
    sides = [("train", "removed"), ("validation", "unused"), ("test",)]
    groups = [groups_of(split, split.rows(side)) for side in sides]
    assert not (groups[0] & groups[1] | groups[0] & groups[2] | groups[1] & groups[2])
    for regimen in (0.3, 20.0, 77.0):
        rows = select(split, role="train", regimen=regimen)
        rest = np.setdiff1d(split.rows("train"), rows)
        assert not groups_of(split, rows) & groups_of(split, rest)


def test_a_divided_group_is_found():
    split = make_split(toy_table(False), SPLIT, ImbalanceConfig(), seed=0, draw=0)
    group = split.group_ids[split.rows("test")[0]]
    row = split.rows("train")[0]
    split.group_ids[row] = group
    with pytest.raises(DataError, match=rf"'{group}' is in the roles \['test', 'train'\]"):
        check_split(split)


def test_a_group_named_like_a_sample_is_not_that_sample():
    sample_ids = [f"s{i}" for i in range(40)]
    group_ids = [f"s{i + 1}" if i % 2 else None for i in range(40)]
    table = make_label_table(sample_ids, group_ids, {"a": [1] * 40})
    check_split(make_split(table, SPLIT, ImbalanceConfig(), seed=0, draw=0))


@given(order=st.permutations(range(60)), names=st.permutations(["wolf", "ant", "moth"]))
@settings(max_examples=20, deadline=None, derandomize=True)
def test_the_order_of_rows_and_classes_changes_nothing(order, names):
    toy = open_toy(ToyConfig(rows=60))
    table = toy.label_table()
    other = make_label_table(
        table.sample_ids[order].tolist(),
        table.group_ids[order].tolist(),
        {name: table.labels_NK[order, table.classes.index(name)] for name in names},
    )
    imbalance = ImbalanceConfig(["moth", "ant"], 0.4)
    turned = ImbalanceConfig(["ant", "moth"], 0.4)
    same(
        make_split(table, SPLIT, imbalance, seed=2, draw=1),
        make_split(other, SPLIT, turned, seed=2, draw=1),
    )


def test_unsorted_class_columns_change_nothing():
    table = toy_table(True)
    turn = [2, 0, 3, 1]
    other = dataclasses.replace(
        table, labels_NK=table.labels_NK[:, turn], classes=tuple(table.classes[k] for k in turn)
    )
    imbalance = ImbalanceConfig(["rust"], 0.5)
    same(
        make_split(table, SPLIT, imbalance, seed=0, draw=0),
        make_split(other, SPLIT, imbalance, seed=0, draw=0),
    )


def test_counted_regimens_take_the_first_images_and_thin_validation_alike(digits):
    split = make_split(digits, SPLIT, RARE, seed=0, draw=0)
    rows = select(split, role="train", regimen=243.0)
    assert len(rows) == 243
    assert ids(split, rows) <= ids(split, select(split, role="train", regimen=244.0))
    assert split.ranks[rows].max() <= 0.26
    validation = select(split, role="validation", regimen=243.0)
    same_part = select(split, role="validation", regimen=0.25)
    assert ids(split, validation) == ids(split, same_part)
    with pytest.raises(DataError, match=r"5,000 images is larger than the training set.*972"):
        select(split, role="train", regimen=5000.0)


@pytest.mark.parametrize("regimen", [0.0, -1.0, 1.5])
def test_what_is_no_regimen_is_refused(digits, regimen):
    split = make_split(digits, SPLIT, RARE, seed=0, draw=0)
    with pytest.raises(DataError, match="fraction up to 1 or a whole number"):
        select(split, role="train", regimen=regimen)


def test_roles_without_rank_cannot_be_thinned(digits):
    split = make_split(digits, SPLIT, RARE, seed=0, draw=0)
    with pytest.raises(DataError, match="not of test"):
        select(split, role="test", regimen=0.5)
    with pytest.raises(DataError, match="unknown role 'tset': did you mean 'test'"):
        split.rows("tset")


def test_a_class_left_empty_is_refused_with_its_name():
    table = make_label_table(
        [f"{i:03}" for i in range(103)],
        [None] * 103,
        {"common": [1] * 100 + [0] * 3, "rare": [0] * 100 + [1] * 3},
    )
    with pytest.raises(DataError, match=r"role 'validation' has no image of class 'rare'.*common"):
        make_split(table, SPLIT, ImbalanceConfig(), seed=0, draw=0)
    with pytest.raises(DataError, match="role 'train' has no image of class 'rare'"):
        make_split(table, SplitConfig(0.34, 0.34), ImbalanceConfig(["rare"], 0.9), seed=0, draw=0)


def test_too_few_groups_for_all_sides_are_counted_in_the_refusal():
    table = make_label_table(
        [f"{i:03}" for i in range(60)],
        [("left", "right")[i % 2] for i in range(60)],
        {"common": [i % 3 > 0 for i in range(60)], "rare": [i % 3 == 0 for i in range(60)]},
    )
    with pytest.raises(
        DataError, match=r"the role '\w+' \(the dataset has 2 groups\) has no image"
    ):
        make_split(table, SPLIT, ImbalanceConfig(), seed=0, draw=0)


def test_unusable_settings_are_refused(digits):
    with pytest.raises(DataError, match="leave something to train on"):
        make_split(digits, SplitConfig(0.5, 0.5), RARE, seed=0, draw=0)
    with pytest.raises(DataError, match=r"no class '10': .*Allowed: 0, 1, 2"):
        make_split(digits, SPLIT, ImbalanceConfig(["10"], 0.5), seed=0, draw=0)
    twice = make_label_table(["a", "a"], [None, None], {"x": [1, 1]})
    with pytest.raises(DataError, match="two samples have the id 'a'"):
        make_split(twice, SPLIT, ImbalanceConfig(), seed=0, draw=0)


@pytest.fixture
def committed(tmp_path):
    store = open_store(tmp_path / "store")
    split = make_split(toy_table(True), SPLIT, ImbalanceConfig(["ash"], 0.5), seed=0, draw=0)
    with draft(store, "split", "s0", inputs={}) as making:
        write_split(making.path, split)
    return split, read_artifact(store, "split", "s0")


def test_a_split_survives_the_store(committed):
    split, artifact = committed
    same(split, read_split(artifact))
    assert set(read_split(artifact).roles) <= set(ROLES)


def test_an_altered_split_is_damage(committed):
    _, artifact = committed
    path = artifact.file("split.parquet")
    content = bytearray(path.read_bytes())
    content[len(content) // 4] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(DamagedArtifactError, match=r"split\.parquet"):
        read_split(artifact)
    path.write_bytes(content[:100])
    with pytest.raises(DamagedArtifactError, match="truncated"):
        read_split(artifact)


def test_a_split_with_a_divided_group_is_never_written(tmp_path):
    split = SplitTable(
        sample_ids=np.array(["a", "b"], dtype=object),
        group_ids=np.array(["g", "g"], dtype=object),
        roles=np.array(["train", "test"], dtype=object),
        ranks=np.array([0.5, np.nan]),
    )
    with pytest.raises(DataError, match="must not share a group"):
        write_split(tmp_path, split)
    assert not list(tmp_path.iterdir())


BY_IMAGE = SplitConfig(by="image")


def test_a_split_by_image_deals_single_images_and_says_whose_group_crosses():
    table = toy_table(False)
    split = make_split(table, BY_IMAGE, ImbalanceConfig(), seed=0, draw=0)
    crossing = crossing_rows(split)
    assert 0 < crossing.sum() == describe_split(split, table)["crossing"]
    sides = np.array([role.replace("removed", "train") for role in split.roles])
    for row in range(len(split)):
        mine = split.group_ids == split.group_ids[row]
        assert crossing[row] == (len(set(sides[mine])) > 1)
    whole = make_split(table, SPLIT, ImbalanceConfig(), seed=0, draw=0)
    assert describe_split(whole, table)["crossing"] == 0
    counts = describe_split(split, table)["rows"]
    assert abs(counts["test"] - 0.25 * len(table)) <= 2  # of images, stratum by stratum
    ungrouped = toy_table(False, groups=False)
    other = make_split(ungrouped, SPLIT, ImbalanceConfig(), seed=0, draw=0)
    assert (other.roles == split.roles).all(), "as if every image were a group"
    np.testing.assert_array_equal(other.ranks, split.ranks)
    assert not crossing_rows(other).any()


def test_a_test_set_by_group_stays_whole_where_the_rest_is_dealt_by_image():
    table = toy_table(True)
    config = SplitConfig(by="image", test_by="group", validation=0.2)
    split = make_split(table, config, ImbalanceConfig(), seed=0, draw=0)
    judged = groups_of(split, split.rows("test"))
    rest = groups_of(split, split.rows(("train", "removed", "validation", "unused")))
    assert not judged & rest
    validated = groups_of(split, split.rows("validation"))
    assert validated & groups_of(split, split.rows("train"))
    same_test = make_split(table, SplitConfig(validation=0.2), ImbalanceConfig(), seed=0, draw=0)
    assert ids(same_test, same_test.rows("test")) == ids(split, split.rows("test"))
    crossing = crossing_rows(split)
    assert not crossing[split.rows("test")].any()
    assert crossing.any()


def test_only_the_test_set_may_be_dealt_by_image():
    table = toy_table(True)
    config = SplitConfig(test_by="image")
    assert config.crossing
    split = make_split(table, config, ImbalanceConfig(), seed=0, draw=0)
    judged = groups_of(split, split.rows("test"))
    assert judged & groups_of(split, split.rows("train"))


def test_by_image_a_regimen_counts_images_and_stays_nested():
    table = toy_table(False)
    split = make_split(table, BY_IMAGE, ImbalanceConfig(), seed=0, draw=0)
    inner = set()
    for regimen in (0.1, 0.3, 1.0):
        rows = select(split, role="train", regimen=regimen)
        assert inner <= ids(split, rows)
        inner = ids(split, rows)
        assert abs(len(rows) - regimen * len(split.rows("train"))) <= 2


def test_groups_held_out_by_name_are_the_test_set_and_nothing_else_is():
    table = toy_table(False)
    named = sorted(set(table.group_ids))[5:40]
    config = SplitConfig(test_groups="anywhere", validation=0.2)
    splits = [
        make_split(table, config, ImbalanceConfig(), seed=seed, draw=0, held_out=[*named, "more"])
        for seed in range(2)
    ]
    for split in splits:
        in_test = np.isin(split.group_ids, named)
        assert (in_test == (split.roles == "test")).all()
        assert describe_split(split, table)["crossing"] == 0
    assert (splits[0].roles != splits[1].roles).any(), "validation is still drawn"
    by_image = dataclasses.replace(config, by="image")
    split = make_split(table, by_image, ImbalanceConfig(), seed=0, draw=0, held_out=named)
    assert (np.isin(split.group_ids, named) == (split.roles == "test")).all()
    assert crossing_rows(split).any(), "training and validation share groups"


def test_groups_that_the_dataset_does_not_have_are_refused():
    table = toy_table(False)
    with pytest.raises(DataError, match=r"none of these 2 groups, such as 'a'; it has groups such"):
        make_split(table, SPLIT, ImbalanceConfig(), seed=0, draw=0, held_out=["b", "a"])
    ungrouped = toy_table(False, groups=False)
    with pytest.raises(DataError, match="its groups are unknown"):
        make_split(ungrouped, SPLIT, ImbalanceConfig(), seed=0, draw=0, held_out=["a"])


def test_the_file_of_groups_is_read_line_by_line(tmp_path):
    path = tmp_path / "groups.txt"
    path.write_text("patient2\n\n  patient1  \npatient2\n")
    assert read_groups(path) == {"patient1", "patient2"}
    path.write_text("\n \n")
    with pytest.raises(DataError, match="names no group; give one a line"):
        read_groups(path)
    with pytest.raises(DataError, match=r"cannot read .*nowhere"):
        read_groups(tmp_path / "nowhere")
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match="cannot read"):
        read_groups(path)


def test_a_crossing_split_is_written_only_where_that_is_meant(tmp_path):
    store = open_store(tmp_path / "store")
    split = make_split(toy_table(False), BY_IMAGE, ImbalanceConfig(), seed=0, draw=0)
    with (
        pytest.raises(DataError, match="must not share a group"),
        draft(store, "split", "s0", inputs={}) as making,
    ):
        write_split(making.path, split)
    with draft(store, "split", "s0", inputs={}) as making:
        write_split(making.path, split, crossing=True)
    same(split, read_split(read_artifact(store, "split", "s0")))
