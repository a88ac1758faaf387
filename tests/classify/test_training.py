import math

import numpy as np
import pytest
import torch
from torch import nn

from synthtrial.classify.augment import make_shift
from synthtrial.classify.catalog import SMALL_CNN, ShiftConfig, SmallCnnConfig
from synthtrial.classify.evaluation import predict
from synthtrial.classify.rows import Rows
from synthtrial.classify.training import build_model, fit
from synthtrial.config import TrainingConfig
from synthtrial.errors import TrainingError

CLASSES = [str(digit) for digit in range(10)]


def small_cnn(width=32, replicate=0):
    return build_model(
        SMALL_CNN,
        SmallCnnConfig(width),
        channels=1,
        size=8,
        outputs=10,
        seed=3,
        replicate=replicate,
    )


def train(model, rows, validation, config=None, **changes):
    settings = {
        "multi_label": False,
        "classes": CLASSES,
        "metrics": ["accuracy", "recall"],
        "select_by": "accuracy",
        "seed": 3,
        "replicate": 0,
    }
    config = config or TrainingConfig(epochs=3, batch_size=32)
    return fit(model, rows, validation, config, **settings | changes)


class Fixed(nn.Module):
    """Answers with one learnt vector, whatever the image."""

    def __init__(self, outputs=10):
        super().__init__()
        self.logits = nn.Parameter(torch.zeros(outputs))

    def forward(self, x_BCHW):
        return self.logits.expand(len(x_BCHW), -1)


def test_digits_are_learnt(digits):
    model, test = small_cnn(), digits(1348, 1797)
    result = train(
        model, digits(0, 1200), digits(1200, 1348), TrainingConfig(epochs=10, batch_size=32)
    )
    accuracy = (predict(model, test).argmax(1) == test.targets_NK.argmax(1)).mean()
    assert accuracy > 0.96
    assert result.status == "done"
    assert (result.steps, result.epochs) == (380, 10)
    assert result.curves["epoch"] == list(range(1, 11))
    assert result.curves["train_loss"][-1] < result.curves["train_loss"][0] / 10


@pytest.mark.parametrize("variant", ["plain", "augmented", "weighted", "balanced", "bf16"])
def test_two_runs_agree_bit_for_bit(digits, variant):
    changes = {
        "plain": {},
        "augmented": {"augment": make_shift(ShiftConfig())},
        "weighted": {"class_weights": "balanced"},
        "balanced": {"sampler": "balanced"},
        "bf16": {},
    }[variant]
    precision = "bf16" if variant == "bf16" else "fp32"
    config = TrainingConfig(epochs=2, batch_size=16, precision=precision)
    runs = []
    for _ in range(2):
        torch.rand(1)  # what others drew before does not matter
        model = small_cnn()
        result = train(model, digits(0, 200), digits(1200, 1300), config, **changes)
        runs.append((model.state_dict(), result))
    (first, result), (second, again) = runs
    assert result == again
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_replicates_differ_in_initial_weights_and_order(digits):
    same = [small_cnn(), small_cnn()]
    for replicate, model in enumerate(same):
        train(model, digits(0, 100), digits(1200, 1300), replicate=replicate)
    a, b = (model.state_dict()["0.linear.weight"] for model in same)
    assert not torch.equal(a, b)
    a, b = (small_cnn(replicate=r).state_dict()["0.linear.weight"] for r in (0, 1))
    assert not torch.equal(a, b)


def test_the_kept_weights_are_those_of_the_best_epoch(digits):
    validation = digits(1200, 1348)
    model = small_cnn(width=8)
    config = TrainingConfig(epochs=6, batch_size=16, learning_rate=2e-2)
    result = train(model, digits(0, 300), validation, config)
    scores = result.curves["validation_score"]
    assert result.best_epoch == 1 + scores.index(max(scores))
    hits = predict(model, validation).argmax(1) == validation.targets_NK.argmax(1)
    assert result.validation["accuracy"] == max(scores) == pytest.approx(hits.mean())


def test_the_last_epoch_can_be_kept(digits):
    config = TrainingConfig(epochs=3, batch_size=32, checkpoint="last")
    result = train(small_cnn(8), digits(0, 100), digits(1200, 1300), config)
    assert result.best_epoch == 3
    assert result.validation["accuracy"] == result.curves["validation_score"][-1]


def test_a_metric_that_is_undefined_falls_back_on_the_loss(digits):
    ones = digits(0, 40)
    ones.targets_NK[:] = np.eye(10)[0]  # no negatives of class 0, no positives of the others
    result = train(small_cnn(8), digits(0, 100), ones, select_by="auc")
    losses = result.curves["validation_loss"]
    assert result.curves["validation_score"] == [None] * 3
    assert result.best_epoch == 1 + losses.index(min(losses))
    assert "undefined" in result.message
    assert set(result.validation["auc"].values()) == {None}


def test_divergence_is_a_result_and_not_an_exception(digits):
    config = TrainingConfig(epochs=3, batch_size=32, learning_rate=1e30, optimizer="momentum")
    result = train(small_cnn(8), digits(0, 100), digits(1200, 1300), config)
    assert result.status == "diverged"
    assert result.validation is None
    assert "lower learning_rate" in result.message


@pytest.mark.parametrize(
    ("steps", "max_steps", "taken", "evaluations"),
    [(None, None, 12, 3), (20, None, 20, 3), (2, None, 2, 2), (None, 2, 2, 2), (20, 7, 7, 3)],
)
def test_steps_and_evaluations(digits, steps, max_steps, taken, evaluations):
    config = TrainingConfig(epochs=3, batch_size=32, max_steps=max_steps)
    result = train(small_cnn(8), digits(0, 100), digits(1200, 1300), config, steps=steps)
    assert (result.steps, result.epochs) == (taken, evaluations)


def test_the_training_loss_is_that_of_the_real_rows_alone():
    images = np.zeros((30, 1, 8, 8), dtype=np.uint8)
    targets = np.eye(10, dtype=np.float32)[[0] * 20 + [1] * 10]
    is_real = np.arange(30) < 20
    config = TrainingConfig(epochs=1, batch_size=30, learning_rate=0.0)
    rows = Rows([(images, np.arange(30))], targets, is_real)
    model = Fixed()
    model.logits.data[0] = 2.0
    expected = math.log(math.exp(2) + 9) - 2  # cross-entropy of class 0 alone
    for weights in ("none", "balanced"):
        result = train(model, rows, rows, config, class_weights=weights)
        assert result.curves["train_loss"] == [pytest.approx(expected, rel=1e-5)]


def end_at(epoch):
    """A report that asks to end the training after an epoch."""
    return lambda number, _figures: number == epoch


def test_a_report_is_told_of_every_epoch_and_can_end_the_training(digits):
    seen = []

    def report(epoch, figures):
        seen.append((epoch, figures))
        return epoch == 2

    config = TrainingConfig(epochs=9, batch_size=32)
    result = train(small_cnn(8), digits(0, 100), digits(1200, 1300), config, report=report)
    assert [epoch for epoch, _ in seen] == [1, 2]
    assert [figures.pop("images") for _, figures in seen] == [100, 100]
    for name in ("train_loss", "validation_loss", "validation_score"):
        assert [figures[name] for _, figures in seen] == result.curves[name]
    assert (result.status, result.epochs, result.steps) == ("stopped", 2, 8)
    assert result.curves["epoch"] == [1, 2]


def test_a_stopped_training_is_the_beginning_of_the_whole_one(digits):
    rows, validation = digits(0, 300), digits(1200, 1348)
    config = TrainingConfig(epochs=6, batch_size=16, learning_rate=2e-2)
    whole = train(small_cnn(8), rows, validation, config)
    stopped = train(small_cnn(8), rows, validation, config, report=end_at(4))
    assert (whole.status, stopped.status) == ("done", "stopped")
    for name, values in whole.curves.items():
        assert stopped.curves[name] == values[:4], name


@pytest.mark.parametrize("end", [1, 2, 3, 4, 5])
def test_a_stopped_training_keeps_the_best_weights_so_far(digits, end):
    rows, validation = digits(0, 300), digits(1200, 1348)
    config = TrainingConfig(epochs=6, batch_size=16, learning_rate=2e-2)
    model = small_cnn(8)
    result = train(model, rows, validation, config, report=end_at(end))
    scores = result.curves["validation_score"]
    assert result.best_epoch == 1 + scores.index(max(scores))
    hits = predict(model, validation).argmax(1) == validation.targets_NK.argmax(1)
    assert result.validation["accuracy"] == max(scores) == pytest.approx(hits.mean())


def test_a_stop_at_the_last_epoch_is_no_stop(digits):
    config = TrainingConfig(epochs=3, batch_size=32)
    rows, validation = digits(0, 100), digits(1200, 1300)
    asked = train(small_cnn(8), rows, validation, config, report=end_at(3))
    assert asked.status == "done"
    assert asked == train(small_cnn(8), rows, validation, config)


def test_a_training_that_diverges_is_no_stopped_one(digits):
    config = TrainingConfig(epochs=3, batch_size=32, learning_rate=1e30, optimizer="momentum")
    result = train(small_cnn(8), digits(0, 100), digits(1200, 1300), config, report=end_at(1))
    assert result.status == "diverged"


@pytest.mark.parametrize(("channels", "size"), [(1, 28), (3, 32)])
def test_larger_and_coloured_images_with_several_labels_are_learnt(channels, size):
    numbers = np.random.default_rng(0)
    targets = (numbers.random((160, 2)) < 0.4).astype(np.float32)
    images = numbers.integers(0, 80, (160, channels, size, size)).astype(np.uint8)
    images[targets[:, 0] == 1, :, : size // 2] += 100  # bright above
    images[targets[:, 1] == 1, :, :, : size // 2] += 70  # bright to the left
    targets[::7, 1] = np.nan
    model = build_model(
        SMALL_CNN,
        SmallCnnConfig(),
        channels=channels,
        size=size,
        outputs=2,
        seed=0,
        replicate=0,
    )
    rows = Rows([(images, np.arange(160))], targets)
    result = train(
        model,
        rows,
        rows,
        TrainingConfig(epochs=6, batch_size=16),
        multi_label=True,
        classes=["above", "left"],
        metrics=["auc", "accuracy"],
        class_weights="balanced",
    )
    assert result.validation["accuracy"] > 0.95
    assert min(result.validation["auc"].values()) > 0.95


def test_impossible_settings_are_refused(digits):
    rows = digits(0, 20)
    with pytest.raises(TrainingError, match="epochs is 0"):
        train(small_cnn(8), rows, rows, TrainingConfig(epochs=0))
    with pytest.raises(TrainingError, match="0 steps"):
        train(small_cnn(8), rows, rows, steps=0)
    with pytest.raises(TrainingError, match=r"shape \(1, 3\)"):
        train(Fixed(3), rows, rows)
