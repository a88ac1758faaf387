import dataclasses
import json
import math

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

from synthtrial.errors import ConfigError, DataError
from synthtrial.synthesis.quality import (
    ClassQuality,
    QualityThresholds,
    Sample,
    Yardstick,
    assess,
    assess_class,
    shortfalls,
)

CLASSES = ("ash", "dent")
YARDSTICK = Yardstick(features="test", recogniser="linear")
FIGURES = [field.name for field in dataclasses.fields(ClassQuality) if field.default is None]
CENTRES = np.array([[3.0, 0, 0, 0], [-3.0, 0, 0, 0]])


def images(seed, n, column=1, scale=1.0):
    """Features around the centre of a class, and logits of a classifier that splits the two."""
    x = np.random.default_rng(seed).normal(CENTRES[column], scale, (n, 4)).astype(np.float32)
    return judged(x)


def judged(x):
    return Sample(x, np.stack([x[:, 0], -x[:, 0]], axis=1))


def measure(made, heldout=None, training=None, **options):
    heldout = images(1, 100) if heldout is None else heldout
    training = images(2, 150) if training is None else training
    options = {"classes": CLASSES, "yardstick": YARDSTICK, **options}
    return assess_class("dent", made, heldout, training, **options)


def test_images_like_real_ones_get_the_figures_of_real_ones():
    found = measure(images(3, 120))
    assert found.undefined == {}
    assert found.recognisability_relative == pytest.approx(1, abs=0.03)
    assert found.coverage_relative == pytest.approx(1, abs=0.1)
    assert found.coverage_n == 120
    assert found.diversity == pytest.approx(1, abs=0.15)  # three standard errors
    assert found.density == pytest.approx(1, abs=0.2)
    assert found.precision > 0.9
    assert found.recall > 0.9
    assert found.memorised == pytest.approx(found.memorised_expected, abs=0.06)
    assert found.distance_ratio == pytest.approx(1, abs=0.15)
    strange = measure(images(3, 120, column=0))
    assert abs(found.kernel_distance) < 0.02 * strange.kernel_distance
    assert abs(found.kernel_distance_real) < 0.02 * strange.kernel_distance
    assert found.frechet_distance < 0.02 * strange.frechet_distance
    assert (found.n_made, found.n_heldout, found.n_training) == (120, 100, 150)
    assert (found.features, found.recogniser, found.k) == ("test", "linear", 5)


def test_copies_of_training_images_are_caught_by_memorisation_alone():
    training = images(2, 150)
    found = measure(training, training=training)
    assert (found.memorised, found.distance_ratio) == (1, 0)
    assert found.coverage_relative == 1
    assert found.recognisability_relative > 0.95
    [sentence] = shortfalls(
        found,
        QualityThresholds(
            min_recognisability=0.9, min_coverage=0.9, max_kernel_distance=50, max_memorised=0.2
        ),
    )
    assert "'dent'" in sentence
    assert "is 1; max_memorised asks for at most 0.2" in sentence
    assert "150 made, 100 held-out and 150 training images; test" in sentence


def test_collapse_is_caught_by_coverage_and_diversity():
    found = measure(images(3, 150, scale=0.05))
    assert found.coverage_relative < 0.3
    assert found.recall < 0.1
    assert found.diversity < 0.1
    assert found.precision == 1
    assert found.recognisability == 1
    [sentence] = shortfalls(found, QualityThresholds(min_recognisability=0.8, min_coverage=0.5))
    assert "coverage" in sentence
    assert "min_coverage asks for at least 0.5" in sentence


def test_two_modes_are_diverse_but_do_not_cover():
    real = images(1, 100)
    modes = real.features_NF[[0, 1]].repeat(60, axis=0)
    found = measure(judged(modes), heldout=real)
    assert found.diversity > 0.4
    assert found.coverage_relative < 0.3


def test_images_of_another_class_are_caught_by_recognisability():
    found = measure(images(3, 120, column=0))
    assert found.recognisability < 0.05
    assert found.recognisability_heldout > 0.95
    assert found.recognisability_relative == pytest.approx(
        found.recognisability / found.recognisability_heldout
    )
    assert found.precision < 0.05
    assert len(shortfalls(found, QualityThresholds(min_recognisability=0.8))) == 1


def test_recognisability_is_relative_to_what_real_images_reach():
    hard = dataclasses.replace(images(1, 100), logits_NK=np.tile([[0.0, 1.0]], (100, 1)))
    hard.logits_NK[:60] = [1.0, 0.0]
    made = dataclasses.replace(images(3, 50), logits_NK=np.tile([[0.0, 1.0]], (50, 1)))
    made.logits_NK[:40] = [1.0, 0.0]
    found = measure(made, heldout=hard)
    assert (found.recognisability, found.recognisability_heldout) == (0.2, 0.4)
    assert found.recognisability_relative == pytest.approx(0.5)
    hard.logits_NK[:] = [1.0, 0.0]
    blind = measure(made, heldout=hard)
    assert blind.recognisability_relative is None
    assert "recognisability_heldout is 0" in blind.undefined["recognisability_relative"]


@pytest.mark.parametrize("n_training", [0, 1, 3])
@pytest.mark.parametrize("n_heldout", [0, 1, 2, 5, 6])
@pytest.mark.parametrize("n_made", [0, 1, 2, 5, 6])
def test_few_images_give_reasons_and_no_error(n_made, n_heldout, n_training):
    found = measure(images(3, n_made), images(1, n_heldout), images(2, n_training))
    missing = {name for name in FIGURES if name != "recogniser" and getattr(found, name) is None}
    assert set(found.undefined) == missing
    assert all(len(reason) > 20 for reason in found.undefined.values())
    assert (found.precision is None) == (n_heldout < 6 or not n_made)
    assert (found.recall is None) == (n_made < 6 or not n_heldout)
    assert (found.memorised is None) == (n_heldout < 5 or not n_made or not n_training)
    assert (found.kernel_distance is None) == (min(n_made, n_heldout) < 2)
    assert (found.recognisability is None) == (not n_made)
    for name in set(FIGURES) - missing - {"recogniser"}:
        assert math.isfinite(getattr(found, name))
    json.dumps(found.as_dict(), allow_nan=False)


def test_reasons_say_how_many_there_were():
    found = measure(images(3, 50), heldout=images(1, 3))
    assert "3 images have no 5 neighbours" in found.undefined["precision"]
    assert "3 images have no 5 neighbours" in found.undefined["coverage_relative"]
    assert "3 held-out images" in found.undefined["memorised"]
    assert "sets of 3 and 50 images with 4 features" in found.undefined["frechet_distance"]


def test_without_a_classifier_only_recognisability_is_missing():
    blind = [Sample(x.features_NF) for x in (images(3, 50), images(1, 60), images(2, 60))]
    found = measure(*blind, yardstick=Yardstick(features="test"))
    assert sorted(found.undefined) == [
        "recognisability",
        "recognisability_heldout",
        "recognisability_relative",
    ]
    assert "no classifier has judged" in found.undefined["recognisability"]


def test_a_record_survives_json():
    for found in (measure(images(3, 50)), measure(images(3, 1))):
        record = json.loads(json.dumps(found.as_dict(), allow_nan=False))
        assert ClassQuality(**record) == found


def test_classes_are_taken_from_intended_and_true_labels():
    made, heldout, training = (
        Sample(
            np.concatenate([a.features_NF, b.features_NF]),
            np.concatenate([a.logits_NK, b.logits_NK]),
        )
        for a, b in ((images(i, 30, 0), images(i + 10, 40, 1)) for i in range(3))
    )
    labels = np.repeat(np.eye(2, dtype=np.int8), [30, 40], axis=0)
    training = Sample(training.features_NF)  # needs no logits
    arguments = [(x, labels) for x in (made, heldout, training)]
    found = assess(*arguments, classes=CLASSES, yardstick=YARDSTICK)
    assert list(found) == ["ash", "dent"]
    assert [found[name].n_made for name in CLASSES] == [30, 40]
    assert found["dent"] == assess_class(
        "dent",
        *(x.take(np.arange(30, 70)) for x in (made, heldout, training)),
        classes=CLASSES,
        yardstick=YARDSTICK,
    )
    assert list(assess(*arguments, classes=CLASSES, yardstick=YARDSTICK, of=["dent"])) == ["dent"]
    with pytest.raises(DataError, match="did you mean 'dent'"):
        assess(*arguments, classes=CLASSES, yardstick=YARDSTICK, of=["dint"])


def test_an_image_of_several_classes_counts_for_each():
    both = np.array([[1, 1], [1, 0], [0, 1], [np.nan, 1]], dtype=np.float32)
    sample = Sample(images(0, 4).features_NF, np.array([[1, 1], [1, -1], [-1, -1], [2, 0]]))
    rest = (images(1, 10), np.ones((10, 2)))
    yardstick = Yardstick(features="test", recogniser="linear", multi_label=True)
    found = assess((sample, both), rest, rest, classes=CLASSES, yardstick=yardstick)
    assert [found[name].n_made for name in CLASSES] == [2, 3]
    assert found["ash"].recognisability == 1
    assert found["dent"].recognisability == pytest.approx(2 / 3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"logits_NK": np.zeros((20, 1000), np.float32)}, "classifier of the 2 classes"),
        (
            {"logits_NK": np.zeros((19, 2), np.float32)},
            r"20 images came with logits of .*\(19, 2\)",
        ),
        ({"logits_NK": np.full((20, 2), np.nan, np.float32)}, "logits are not finite"),
        ({"features_NF": np.full((20, 4), np.inf, np.float32)}, "look for NaN"),
        ({"features_NF": np.zeros((20, 5), np.float32)}, "of one extractor"),
    ],
)
@pytest.mark.parametrize("place", ["made", "heldout"])
def test_arrays_that_do_not_fit_are_an_error_and_no_reason(change, message, place):
    sets = {"made": images(3, 20), "heldout": images(1, 20), "training": images(2, 20)}
    sets[place] = dataclasses.replace(sets[place], **change)
    with pytest.raises(DataError, match=message):
        measure(**sets)


def test_labels_must_fit_images_and_classes():
    sets = [(images(i, 20), np.ones((20, 2))) for i in range(3)]
    sets[1] = (sets[1][0], np.ones((19, 2)))
    with pytest.raises(DataError, match=r"20 images came with labels of shape \(19, 2\)"):
        assess(*sets, classes=CLASSES, yardstick=YARDSTICK)


def test_what_is_unknown_is_a_shortfall_and_never_passes_in_silence():
    found = measure(images(3, 1), heldout=images(1, 3))
    asked = QualityThresholds(min_coverage=0.5, max_memorised=0.1)
    coverage, memorised = shortfalls(found, asked)
    assert "is unknown, so min_coverage = 0.5 is not shown to be met" in coverage
    assert "3 images have no 5 neighbours" in coverage
    assert "max_memorised = 0.1" in memorised


def test_thresholds_include_their_limit_and_none_asks_for_nothing():
    found = dataclasses.replace(
        measure(images(3, 50)),
        recognisability_relative=0.8,
        coverage_relative=0.5,
        kernel_distance=0.1,
        memorised=0.05,
    )
    assert shortfalls(found, QualityThresholds()) == []
    assert shortfalls(found, QualityThresholds(0.8, 0.5, 0.1, 0.05)) == []
    assert len(shortfalls(found, QualityThresholds(0.81, 0.51, 0.09, 0.04))) == 4


@pytest.mark.parametrize(
    ("name", "value", "allowed"),
    [
        ("min_coverage", -0.1, "0 or more"),
        ("max_memorised", 1.1, "0 to 1"),
        ("max_kernel_distance", math.nan, "0 or more"),
        ("min_recognisability", math.inf, "0 or more"),
    ],
)
def test_impossible_thresholds_are_refused(name, value, allowed):
    with pytest.raises(ConfigError, match=f"{name} is {value}; allowed: {allowed}"):
        QualityThresholds(**{name: value})


@pytest.mark.parametrize("change", [{"k": 0}, {"percentile": 0}, {"percentile": 60}])
def test_impossible_yardsticks_are_refused(change):
    with pytest.raises(ConfigError, match="allowed: k of 1 or more"):
        Yardstick(features="test", **change)


def test_real_digits_pass_for_made_ones_and_spoilt_ones_do_not():
    digits = load_digits()
    x, y = digits.data.astype(np.float32) / 16, digits.target
    order = np.random.default_rng(0).permutation(len(x))
    x, y = x[order], y[order]
    training, heldout, made = slice(0, 600), slice(600, 1200), slice(1200, None)
    model = LogisticRegression(max_iter=300).fit(x[training], y[training])
    classes = [str(c) for c in range(10)]

    def of(pixels, labels):
        return Sample(pixels, model.decision_function(pixels)), np.eye(10)[labels]

    def quality(pixels, labels):
        real = of(x[training], y[training]), of(x[heldout], y[heldout])
        yardstick = Yardstick(features="pixels", recogniser="logistic regression")
        sets = of(pixels, labels), real[1], real[0]
        return assess(*sets, classes=classes, yardstick=yardstick, of=["3", "8"])

    asked = QualityThresholds(
        min_recognisability=0.8, min_coverage=0.7, max_kernel_distance=0.01, max_memorised=0.25
    )
    for found in quality(x[made], y[made]).values():
        assert shortfalls(found, asked) == []
        assert found.diversity == pytest.approx(1, abs=0.1)
        assert found.frechet_distance is None  # about 60 images of 64 features
    noise = np.random.default_rng(1).normal(0, 0.25, x[made].shape).astype(np.float32)
    for found in quality(x[made] + noise, y[made]).values():
        assert found.diversity > 1.1
        assert found.precision < 0.5
        assert shortfalls(found, asked)
    for found in quality(x[training], y[training]).values():
        [sentence] = shortfalls(found, asked)
        assert "max_memorised" in sentence
    for found in quality(x[made], (y[made] + 5) % 10).values():
        assert "min_recognisability" in shortfalls(found, asked)[0]
