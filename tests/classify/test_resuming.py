"""Trainings that are interrupted and gone on with, against the same ones left alone."""

import itertools
import logging

import numpy as np
import pytest
import torch
from torch import nn

from synthtrial.classify import resuming
from synthtrial.classify import rows as rows_module
from synthtrial.classify.augment import make_shift
from synthtrial.classify.catalog import ShiftConfig
from synthtrial.classify.rows import Rows
from synthtrial.classify.training import fit
from synthtrial.config import TrainingConfig
from synthtrial.errors import InterruptedTrainingError
from synthtrial.store.checkpoints import Checkpoints

#: Batches of 16 make 7 steps a pass, of which the last is of 4 rows.
ROWS = 100


class Network(nn.Module):
    """All that a state consists of: weights, running statistics, and dropout's random numbers."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(1, 4, 3),
            nn.BatchNorm2d(4),
            nn.ReLU(),
            nn.Dropout(0.3),
            nn.Flatten(),
            nn.Linear(144, 3),
        )

    def forward(self, x_BCHW):
        return self.layers(x_BCHW)


class Stumbling(Network):
    """Its loss is NaN in the third step alone, and leaves the weights as they are."""

    def __init__(self):
        super().__init__()
        self.register_buffer("seen", torch.zeros((), dtype=torch.int64))

    def forward(self, x_BCHW):
        self.seen += self.training
        logits_BK = super().forward(x_BCHW)
        if self.training and self.seen == 3:
            return torch.where(torch.zeros_like(logits_BK) > 0, logits_BK, torch.nan)
        return logits_BK


def made(multi_label=False):
    numbers = np.random.default_rng(0)
    images = numbers.integers(0, 256, (ROWS, 1, 8, 8)).astype(np.uint8)
    if multi_label:
        targets = (numbers.random((ROWS, 3)) < 0.4).astype(np.float32)
        targets[::7, 1] = np.nan
    else:
        targets = np.eye(3, dtype=np.float32)[numbers.choice(3, ROWS, p=[0.6, 0.3, 0.1])]
    return Rows([(images, np.arange(ROWS))], targets, np.arange(ROWS) < 80)


def train(
    *,
    checkpoints=None,
    stop_after=None,
    config=None,
    multi_label=False,
    network=Network,
    **changes,
):
    """Train from scratch, or from a checkpoint, and be asked to stop after so many more steps."""
    torch.rand(3)  # what others drew before does not matter
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        model = network()
    asked = itertools.count(1)
    settings = {
        "multi_label": multi_label,
        "classes": ["a", "b", "c"],
        "metrics": ["accuracy", "recall"],
        "select_by": "accuracy",
        "seed": 3,
        "replicate": 0,
        "checkpoints": checkpoints,
        "interrupted": lambda: next(asked) == stop_after,
    }
    rows = made(multi_label)
    config = config or TrainingConfig(epochs=3, batch_size=16, learning_rate=0.01)
    return model.state_dict(), fit(model, rows, rows, config, **settings | changes)


def same(one, other):
    (weights, result), (weights_, result_) = one, other
    assert result == result_
    assert weights.keys() == weights_.keys()
    for name, value in weights.items():
        assert torch.equal(value, weights_[name]), name


@pytest.fixture
def _always(monkeypatch):
    """Save whenever asked to stop, however little would be lost."""
    monkeypatch.setattr(resuming, "WORTH_SAVING_SECONDS", -1.0)


def adam(**changes):
    return TrainingConfig(**{"epochs": 3, "batch_size": 16, "learning_rate": 0.01} | changes)


VARIANTS = {
    "adam": {},
    "momentum": {"config": adam(optimizer="momentum", weight_decay=1e-3)},
    "no momentum": {"config": adam(optimizer="momentum", momentum=0.0)},
    "balanced": {"sampler": "balanced"},
    "augmented": {"augment": make_shift(ShiftConfig())},
    "balanced and augmented": {"sampler": "balanced", "augment": make_shift(ShiftConfig())},
    "weighted": {"class_weights": "balanced"},
    "several labels": {"multi_label": True, "class_weights": "balanced", "select_by": "auc"},
    "the last epoch kept": {"config": adam(checkpoint="last")},
    "steps that are no whole passes": {"steps": 17},
    "bf16": {"config": adam(precision="bf16")},
}


@pytest.mark.parametrize("step", [1, 5, 7, 9, 16, 17])
@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.usefixtures("_always")
def test_it_ends_with_the_bits_of_one_left_alone(tmp_path, variant, step):
    changes = VARIANTS[variant]
    checkpoints = Checkpoints(tmp_path)
    with pytest.raises(InterruptedTrainingError, match=f"after step {step}; its state is saved"):
        train(checkpoints=checkpoints, stop_after=step, **changes)
    resumed = train(checkpoints=checkpoints, **changes)
    assert resumed[1].resumed_at == step
    assert resumed[1].earlier_seconds > 0
    same(resumed, train(**changes))


@pytest.mark.usefixtures("_always")
def test_every_few_steps_and_from_a_set_that_is_gathered_in_blocks(tmp_path, monkeypatch):
    monkeypatch.setattr(rows_module, "RESIDENT_BYTES", 0)
    monkeypatch.setattr(rows_module, "_BLOCK_BYTES", 2 * 16 * 4 * 64)  # two batches
    changes = {"augment": make_shift(ShiftConfig())}
    checkpoints, stops = Checkpoints(tmp_path), 0
    while True:
        try:
            resumed = train(checkpoints=checkpoints, stop_after=4, **changes)
        except InterruptedTrainingError:
            stops += 1
        else:
            break
    assert stops == 5  # after 4, 8, 12, 16, 20 of 21 steps
    same(resumed, train(**changes))


@pytest.mark.usefixtures("_always")
def test_after_the_last_step_only_the_evaluation_is_left(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    with pytest.raises(InterruptedTrainingError):
        train(checkpoints=checkpoints, stop_after=21)
    resumed = train(checkpoints=checkpoints)
    assert (resumed[1].resumed_at, resumed[1].steps, resumed[1].epochs) == (21, 21, 3)
    same(resumed, train())


@pytest.mark.usefixtures("_always")
def test_a_loss_that_was_not_finite_before_is_remembered(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    with pytest.raises(InterruptedTrainingError):
        train(checkpoints=checkpoints, stop_after=5, network=Stumbling)
    resumed = train(checkpoints=checkpoints, network=Stumbling)
    assert (resumed[1].status, resumed[1].steps, resumed[1].resumed_at) == ("diverged", 7, 5)
    same(resumed, train(network=Stumbling))


def test_a_damaged_checkpoint_is_passed_over(tmp_path, caplog):
    checkpoints = Checkpoints(tmp_path, every_steps=3)
    with pytest.raises(InterruptedTrainingError):
        train(checkpoints=checkpoints, stop_after=11)
    newest = max(tmp_path.iterdir())
    newest.write_bytes(newest.read_bytes()[:-100])
    with caplog.at_level(logging.WARNING):
        resumed = train(checkpoints=checkpoints)
    assert f"{newest} is damaged" in caplog.text
    assert resumed[1].resumed_at == 6
    same(resumed, train())


def test_what_other_code_left_is_not_gone_on_with(tmp_path, monkeypatch, caplog):
    checkpoints = Checkpoints(tmp_path, every_steps=3)
    with monkeypatch.context() as patched:
        patched.setattr(resuming, "code_digest", lambda: "older")
        with pytest.raises(InterruptedTrainingError):
            train(checkpoints=checkpoints, stop_after=11)
    with caplog.at_level(logging.WARNING):
        again = train(checkpoints=Checkpoints(tmp_path, every_steps=5))
    assert "step 9" in caplog.text
    assert "another version" in caplog.text
    assert again[1].resumed_at == 0
    same(again, train())
    assert sorted(int(path.name[5:14]) for path in tmp_path.iterdir()) == [15, 20]


def test_little_is_not_worth_saving(tmp_path):
    with pytest.raises(InterruptedTrainingError, match="too little to save"):
        train(checkpoints=Checkpoints(tmp_path / "none"), stop_after=4)
    assert not (tmp_path / "none").exists()


def test_much_is_worth_saving(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    checkpoints._last_saved -= 2 * resuming.WORTH_SAVING_SECONDS
    with pytest.raises(InterruptedTrainingError, match="its state is saved"):
        train(checkpoints=checkpoints, stop_after=4)
    assert checkpoints.newest() == 4


def test_without_checkpoints_it_stops_all_the_same():
    with pytest.raises(InterruptedTrainingError, match="after step 4"):
        train(stop_after=4)


def test_a_short_training_writes_nothing(tmp_path):
    train(checkpoints=Checkpoints(tmp_path / "none"))
    assert not (tmp_path / "none").exists()


@pytest.mark.usefixtures("_always")
def test_reports_go_on_where_they_were(tmp_path):
    told = []

    def report(epoch, values):
        told.append((epoch, values["train_loss"]))
        return epoch == 3

    changes = {"config": adam(epochs=5), "report": report}
    checkpoints = Checkpoints(tmp_path)
    with pytest.raises(InterruptedTrainingError):
        train(checkpoints=checkpoints, stop_after=9, **changes)
    resumed = train(checkpoints=checkpoints, **changes)
    interrupted, told[:] = list(told), []
    same(resumed, train(**changes))
    assert interrupted == told
    assert [epoch for epoch, _ in told] == [1, 2, 3]
