"""What a trial is trained on and judged on."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from synthtrial.config import TrainingConfig
from synthtrial.errors import ConfigError
from synthtrial.work.rows import judged_rows, trial_rows

#: Without arms that are matched with the one whose images go to validation.
PLAIN = "arms={none: {}, gan: {synthetic: true}}"


def rows_of(wards, arm, config=None):
    task = wards.need(wards.task("trial", arm=arm))
    return trial_rows(task, wards.context, wards.study, config or TrainingConfig())


def test_shuffled_labels_keep_images_and_label_vectors_but_not_who_has_which(wards, images_of):
    bench = wards()
    plain, shuffled = rows_of(bench, "gan"), rows_of(bench, "gan_shuffled_labels")
    (x, y), (x_shuffled, y_shuffled) = images_of(plain.train), images_of(shuffled.train)
    n = plain.n_real
    np.testing.assert_array_equal(x, x_shuffled)
    np.testing.assert_array_equal(y[:n], y_shuffled[:n])  # real ones keep theirs
    assert (y[n:] != y_shuffled[n:]).any()
    assert sorted(map(tuple, y[n:])) == sorted(map(tuple, y_shuffled[n:]))


def test_only_images_of_the_named_classes_are_transformed(wards):
    rows = rows_of(wards(), "flips_of_dents").train
    dent = ("ash", "crack", "dent", "rust").index("dent")
    np.testing.assert_array_equal(rows.augmented_N, rows.targets_NK[:, dent] == 1)
    assert 0 < rows.augmented_N.sum() < len(rows)


def test_without_such_names_all_are(wards):
    assert rows_of(wards(), "none").train.augmented_N is None


def test_smoothed_labels_are_trained_on_and_judged_as_ones(wards):
    bench = wards("training.label_policy=smooth", "training.smoothing=[0.6, 0.8]")
    config = bench.study.settings.training
    rows = rows_of(bench, "none", config)
    values = np.unique(rows.train.targets_NK)
    between = values[(values > 0) & (values < 1)]
    assert len(between) > 10
    assert between.min() >= 0.6
    assert between.max() <= 0.8
    assert set(np.unique(rows.validation.targets_NK)) == {0, 1}
    assert rows.validation.uncertain_NK.any()
    assert (rows.validation.targets_NK[rows.validation.uncertain_NK] == 1).all()


def test_smoothing_gives_every_sample_the_same_number_whatever_the_order_of_rows(wards, tmp_path):
    from synthtrial.data.labels import apply_policy, smooth

    bench = wards()
    table = bench.study.dataset.load().label_table()
    order = np.random.default_rng(1).permutation(len(table))
    other = dataclasses.replace(
        table,
        sample_ids=table.sample_ids[order],
        group_ids=table.group_ids[order],
        labels_NK=table.labels_NK[order],
    )
    first, second = (
        smooth(apply_policy(each.labels_NK, "smooth"), each, (0.5, 0.9), seed=3)
        for each in (table, other)
    )
    np.testing.assert_array_equal(first[order], second)


def test_made_images_may_be_moved_to_validation(wards, images_of):
    plain = rows_of(wards(), "gan")
    bench = wards("split.validation_made=true", "allow_leakage=true", PLAIN)
    moved = rows_of(bench, "gan")
    n_made = len(plain.train) - plain.n_real
    wanted = round(n_made * 0.2 / 0.7)
    assert len(plain.train) - len(moved.train) == wanted
    assert len(moved.validation) - len(plain.validation) == wanted
    assert len(moved.held_out) == len(plain.validation)  # the real ones are as they were
    made = {x.tobytes() for x in images_of(plain.train)[0][plain.n_real :]}
    assert {x.tobytes() for x in images_of(moved.validation)[0][-wanted:]} <= made
    assert len(rows_of(bench, "none").validation) == len(plain.validation)


def test_a_trial_chosen_on_made_images_is_stamped(wards):
    bench = wards("split.validation_made=true", "allow_leakage=true", PLAIN)
    assert bench.record(bench.run(bench.task("trial", arm="gan")))["stamps"] == ["LEAKY"]
    assert bench.record(bench.run(bench.task("trial", arm="none")))["stamps"] == []


def test_that_needs_leave(wards):
    with pytest.raises(ConfigError, match=r"split\.validation_made .* allow_leakage=true"):
        wards("split.validation_made=true", PLAIN)
    with pytest.raises(ConfigError, match="gan_short, gan_shuffled_labels are matched with"):
        wards("split.validation_made=true", "allow_leakage=true")


def test_an_arm_with_made_images_may_take_the_steps_of_the_baseline(wards):
    bench = wards("training.batch_size=8")
    names = ("none", "gan", "gan_short")
    steps = {
        name: bench.record(bench.run(bench.task("trial", arm=name)))["steps"] for name in names
    }
    assert steps["gan_short"] == steps["none"] < steps["gan"]


def test_certain_labels_alone_are_judged_where_a_metric_says_so(wards):
    bench = wards()
    record = bench.record(bench.run(bench.task("trial", arm="none")))
    every, certain = record["validation"]["auc"], record["validation"]["auc_certain"]
    assert every.keys() == certain.keys()
    assert all(every[name] != certain[name] for name in every)


def test_images_of_one_group_on_both_sides_are_refused_or_stamped(wards):
    with pytest.raises(ConfigError, match=r"split\.by=image .* allow_leakage=true"):
        wards("split.by=image")
    bench = wards("split.by=image", "allow_leakage=true")
    assert bench.record(bench.run(bench.task("trial", arm="none")))["stamps"] == ["LEAKY"]


def test_judged_rows_are_in_the_order_they_were_asked_for(wards):
    bench = wards()
    task = bench.need(bench.task("trial", arm="none"))
    rows = np.array([5, 3, 9])
    judged = judged_rows(rows, task.payload, bench.context, bench.study, TrainingConfig())
    whole = bench.context.targets("dataset", task.payload["dataset"], "ones", bench.study)
    np.testing.assert_array_equal(judged.targets_NK, whole[rows])
