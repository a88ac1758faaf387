from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import synthtrial_example as example

from synthtrial.plan import build
from synthtrial.study import load
from synthtrial.testing.arms import ArmContract
from synthtrial.testing.classifiers import AugmentationContract, ClassifierContract
from synthtrial.testing.datasets import DatasetContract
from synthtrial.testing.generators import CHECKS, GeneratorCase
from synthtrial.testing.metrics import MetricContract


class TestShapes(DatasetContract):
    component = example.SHAPES


class TestLargeShapes(DatasetContract):
    component = example.SHAPES
    options = example.ShapesConfig(hands=12, size=32)


class TestTinyMlp(ClassifierContract):
    component = example.TINY_MLP


class TestQuarterTurn(AugmentationContract):
    component = example.QUARTER_TURN


class TestTurned(ArmContract):
    component = example.TURNED


class TestWorstRecall(MetricContract):
    component = example.WORST_RECALL


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("multi_label", [False, True], ids=["one label", "several labels"])
def test_the_tiny_gan_keeps_the_contract(check, multi_label):
    check(GeneratorCase(example.TINY_GAN, multi_label=multi_label))


def test_worst_recall_is_that_of_the_class_recognised_worst():
    scores_NK = np.array([[0.9, 0.1], [0.8, 0.2], [0.7, 0.3], [0.2, 0.8]])
    targets_NK = np.array([[1, 0], [1, 0], [0, 1], [0, 1]])
    assert example.worst_recall(scores_NK, targets_NK, multi_label=False) == 0.5


def test_the_study_beside_this_file_can_be_planned():
    study = load(Path(__file__).with_name("shapes.yaml"))
    assert [item.name for item in study.arms["turned"].augment] == ["quarter_turn"]
    assert {trial.arm for trial in build(study, None).trials} == set(study.arms)
