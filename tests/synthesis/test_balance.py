import dataclasses
import subprocess
import sys
from fractions import Fraction

import numpy as np
import pytest

from synthtrial.config import BalanceConfig, ImbalanceConfig, SplitConfig
from synthtrial.data.base import make_label_table
from synthtrial.data.digits import DigitsConfig, open_digits
from synthtrial.data.labels import apply_policy, locate
from synthtrial.data.regimens import regimen_rows
from synthtrial.data.splits import make_split
from synthtrial.errors import ConfigError, DamagedArtifactError, DataError, InfeasibleTargetError
from synthtrial.store.artifacts import draft, open_store, read_artifact
from synthtrial.synthesis.balance import (
    allocate,
    cooccurrence,
    describe,
    read_allocation,
    required_counts,
    summary,
    write_allocation,
)
from synthtrial.testing.toys import ToyConfig, ToyMultiConfig, open_toy, open_toy_multi

EXCLUSIVE = {"a": {"a": Fraction(1), "b": Fraction(0)}, "b": {"a": Fraction(0), "b": Fraction(1)}}


def multi_table(**options):
    return open_toy_multi(ToyMultiConfig(rows=400, **options)).label_table()


def give(table, config, rows=None, **options):
    rows = np.arange(len(table)) if rows is None else rows
    settings = {"seed": 0, "draw": 0, "regimen": 1.0, **options}
    return allocate(table, rows, config, **settings)


def same(one, other):
    assert summary(one) == summary(other)
    assert one.classes == other.classes
    assert one.targets == other.targets
    for name in ("intended", "source_ids", "vectors_MK"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))


def test_fixed_counts_are_for_each_class_or_shared():
    counts = {"a": 5, "b": 5}
    each = BalanceConfig(["b", "a"], count=7)
    assert required_counts(counts, 100, EXCLUSIVE, each) == {"a": 7, "b": 7}
    total = dataclasses.replace(each, count_mode="total")
    assert required_counts(counts, 100, EXCLUSIVE, total) == {"a": 4, "b": 3}


def test_a_target_gives_the_minimum():
    config = BalanceConfig(["a", "b"], target=0.2)
    assert required_counts({"a": 5, "b": 5}, 100, EXCLUSIVE, config) == {"a": 25, "b": 25}


@pytest.mark.parametrize(
    ("config", "error", "says"),
    [
        (BalanceConfig(["a"]), ConfigError, "either target or count"),
        (BalanceConfig(["a"], target=0.1, count=3), ConfigError, "either target or count"),
        (BalanceConfig([], target=0.1), ConfigError, "name the classes"),
        (BalanceConfig(["a", "a"], count=1), ConfigError, "once"),
        (BalanceConfig(["a"], target=1.0), ConfigError, "between 0 and 1"),
        (BalanceConfig(["a"], count=-1), ConfigError, "0 or more"),
        (BalanceConfig(["c"], count=1), DataError, "no class 'c'"),
        (BalanceConfig(["b"], count=1), DataError, "class 'b' has no image"),
        (BalanceConfig(["a"], target=0.1), None, ""),
    ],
)
def test_unusable_demands_are_refused(config, error, says):
    counts = {"a": 5, "b": 0}
    if error is None:
        assert required_counts(counts, 100, {"a": {"a": Fraction(1)}}, config) == {"a": 6}
        return
    with pytest.raises(error, match=says):
        required_counts(counts, 100, {"a": {"a": Fraction(1)}}, config)


def test_shares_are_exact_and_leave_out_empty_classes():
    positive = np.array([[1, 1, 0], [1, 0, 0], [1, 0, 0]], dtype=bool)
    share = cooccurrence(positive, ("x", "y", "z"))
    assert share["x"] == {"x": 1, "y": Fraction(1, 3), "z": 0}
    assert share["y"]["x"] == 1
    assert "z" not in share


def test_digits_reach_ten_percent_without_scipy():
    code = (
        "import sys, numpy as np\n"
        "from synthtrial.config import BalanceConfig\n"
        "from synthtrial.data.digits import DigitsConfig, open_digits\n"
        "from synthtrial.synthesis.balance import allocate\n"
        "table = open_digits(DigitsConfig()).label_table()\n"
        "rows = np.arange(900)\n"
        "allocate(table, rows, BalanceConfig(['8'], target=.2), seed=0, draw=0, regimen=1.0)\n"
        "assert not {'scipy', 'torch', 'sklearn'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_single_label_images_are_what_they_are_meant_to_be():
    table = open_digits(DigitsConfig()).label_table()
    split = make_split(table, SplitConfig(), ImbalanceConfig(["8", "9"], 0.85), seed=0, draw=0)
    for regimen in (0.1, 0.25, 0.5, 1.0):
        rows = regimen_rows(split, regimen, table)
        config = BalanceConfig(["8", "9"], target=0.1)
        made = give(table, config, rows, regimen=regimen)
        assert made.counts_of() == made.required
        assert not any(made.topped_up.values())
        assert made.expected == pytest.approx(made.realised)
        for name in ("8", "9"):
            after = made.counts_before[name] + made.required[name]
            assert after * 10 >= len(rows) + len(made)
        columns = [table.classes.index(name) for name in made.intended]
        assert (made.vectors_MK[np.arange(len(made)), columns] == 1).all()
        assert (made.vectors_MK.sum(axis=1) == 1).all()


def test_vectors_are_those_of_real_rows_of_the_regimen_that_hold_the_class():
    table = multi_table()
    rows = np.arange(100, 300)
    made = give(table, BalanceConfig(["ash", "dent"], target=0.3), rows)
    sources = locate(table, made.source_ids)
    assert set(sources) <= set(rows)
    np.testing.assert_array_equal(
        made.vectors_MK, apply_policy(table.labels_NK[sources], "ones").astype(np.int8)
    )
    for name, vector in zip(made.intended, made.vectors_MK, strict=True):
        assert vector[table.classes.index(name)] == 1


def test_vectors_are_drawn_evenly_with_replacement():
    table = open_toy(ToyConfig(rows=30, groups=False)).label_table()
    made = give(table, BalanceConfig(["wolf"], count=6000))
    holders = table.sample_ids[table.labels_NK[:, table.classes.index("wolf")] == 1]
    names, counts = np.unique(made.source_ids.astype(str), return_counts=True)
    assert list(names) == sorted(holders)
    mean = 6000 / len(holders)
    assert ((counts - mean) ** 2 / mean).sum() < 3 * len(holders)  # chi-square, far in its tail


@pytest.mark.parametrize("policy", ["ones", "zeros", "ignore"])
@pytest.mark.parametrize("draw", range(4))
def test_the_realised_prevalence_is_topped_up_to_the_target(policy, draw):
    table = multi_table(seed=draw)
    chosen = ["ash", "dent", "crack"]
    made = give(table, BalanceConfig(chosen, target=0.4), draw=draw, policy=policy)
    positive = np.concatenate([apply_policy(table.labels_NK, policy) == 1, made.vectors_MK == 1])
    for name in chosen:
        count = int(positive[:, table.classes.index(name)].sum())
        assert Fraction(count, len(positive)) >= Fraction(2, 5)
        assert made.realised[name] == pytest.approx(count / len(positive))
        assert made.expected[name] >= 0.4
    required, extra = sum(made.required.values()), sum(made.topped_up.values())
    assert len(made) == required + extra
    assert extra < 0.2 * required
    assert (made.vectors_MK == -1).any() == (policy == "ignore")


def test_some_draw_does_fall_short():
    table = multi_table()
    config = BalanceConfig(["ash", "dent", "crack"], target=0.4)
    extra = [sum(give(table, config, draw=draw).topped_up.values()) for draw in range(8)]
    assert max(extra) > 0
    assert min(extra) == 0 or len(set(extra)) > 1


def test_a_prefix_keeps_the_proportions():
    table = open_toy(ToyConfig(rows=100)).label_table()
    made = give(table, BalanceConfig(["ant", "moth", "wolf"], count=100, count_mode="total"))
    for dose in (10, 25, 50, 75):
        part = made.intended[:dose]
        for name, total in made.required.items():
            assert abs((part == name).sum() - dose * total / 100) <= 1


def test_a_larger_count_only_adds_images():
    table = open_toy(ToyConfig(rows=100)).label_table()
    few, many = (give(table, BalanceConfig(["ant"], count=n)) for n in (20, 50))
    assert list(many.source_ids[:20]) == list(few.source_ids)


def test_draws_and_seeds_differ_and_repeat():
    table = multi_table()
    config = BalanceConfig(["ash"], count=50)
    same(give(table, config), give(table, config))
    base = list(give(table, config).source_ids)
    for other in ({"draw": 1}, {"seed": 1}, {"regimen": 0.5}):
        assert list(give(table, config, **other).source_ids) != base


@pytest.mark.parametrize("config", [BalanceConfig(["ash", "dent"], target=0.35)])
def test_the_order_of_rows_and_classes_changes_nothing(config):
    table, turned = (
        multi_table(),
        multi_table(row_order=3, class_order=["dent", "rust", "ash", "crack"]),
    )
    rows = locate(table, sorted(table.sample_ids)[50:350])
    other = locate(turned, sorted(table.sample_ids)[50:350])[::-1]
    flipped = dataclasses.replace(config, classes=config.classes[::-1])
    same(give(table, config, rows), give(turned, flipped, other))


def test_a_target_that_is_met_adds_nothing(tmp_path):
    table = open_toy(ToyConfig(rows=100)).label_table()
    made = give(table, BalanceConfig(["wolf"], target=0.1))
    assert len(made) == 0
    assert made.vectors_MK.shape == (0, 3)
    assert describe(made)[0].startswith("0 images added to 100")
    same(made, stored(made, tmp_path))


def test_an_infeasible_target_names_the_largest_that_is_not():
    table = open_toy(ToyConfig(rows=100)).label_table()
    with pytest.raises(InfeasibleTargetError, match=r"ant, moth.*can approach is 0\.5\."):
        give(table, BalanceConfig(["moth", "ant"], target=0.6))


def test_prevalence_is_told_before_expected_and_realised():
    table = make_label_table(
        [f"{i:03}" for i in range(100)], [None] * 100, {"x": [1] * 5 + [0] * 95}
    )
    lines = describe(give(table, BalanceConfig(["x"], target=0.24)))
    assert lines == [
        "25 images added to 100 to reach 0.24 of the images: 125 in all",
        "  x: 25; prevalence 5.00% before, 24.00% expected, 24.00% realised",
    ]


def stored(made, folder):
    store = open_store(folder / "store")
    with draft(store, "allocation", "a0", inputs={}) as making:
        write_allocation(making.path, made)
        making.info.update(summary(made))
    artifact = read_artifact(store, "allocation", "a0")
    assert artifact.info == summary(made)
    return read_allocation(artifact)


def test_an_allocation_survives_the_store(tmp_path):
    made = give(multi_table(), BalanceConfig(["ash", "dent"], target=0.3), policy="ignore")
    same(made, stored(made, tmp_path))
    path = tmp_path / "store" / "allocation" / "a0" / "allocation.parquet"
    path.write_bytes(path.read_bytes()[:-10])
    artifact = read_artifact(open_store(tmp_path / "store"), "allocation", "a0")
    with pytest.raises(DamagedArtifactError, match="truncated"):
        read_allocation(artifact)
