import json

import numpy as np
import pytest
import torch

from synthtrial.config import GanTrainingConfig
from synthtrial.errors import ConfigError, NonFiniteLossError, TrainingError
from synthtrial.store.checkpoints import Checkpoints
from synthtrial.synthesis.generators import (
    PROGRESSIVE,
    PROJECTION,
    Networks,
    ProgressiveConfig,
    ProjectionConfig,
)
from synthtrial.synthesis.networks import build_networks
from synthtrial.synthesis.ranks import Ranks
from synthtrial.synthesis.training import Surroundings, train_gan

OPTIONS = ProjectionConfig(latent=8, width=8)


def networks(draw=0):
    return build_networks(
        PROJECTION, OPTIONS, channels=1, size=8, classes=2, multi_label=False, seed=0, draw=draw
    )


def halves(rows=40):
    """Class 0 is bright above, class 1 below; class 1 is rare."""
    random = np.random.default_rng(0)
    images_NCHW = random.integers(0, 40, size=(rows, 1, 8, 8), dtype=np.uint8)
    targets_NK = np.zeros((rows, 2), dtype=np.float32)
    targets_NK[: rows - 4, 0] = targets_NK[rows - 4 :, 1] = 1
    images_NCHW[: rows - 4, :, :4] += 180
    images_NCHW[rows - 4 :, :, 4:] += 180
    return images_NCHW, targets_NK


def train(config=None, *, draw=0, index=None, built=None, **options):
    images_NCHW, targets_NK = halves()
    index = np.arange(len(images_NCHW)) if index is None else index
    config = GanTrainingConfig(**({"steps": 4, "global_batch": 8} | (config or {})))
    return train_gan(
        built or networks(),
        images_NCHW,
        index,
        targets_NK,
        config,
        seed=0,
        draw=draw,
        around=Surroundings(**options),
    )


def differs(one, two):
    return any(not value.equal(two.ema_state[name]) for name, value in one.ema_state.items())


def test_the_generator_learns_what_a_class_looks_like():
    built = networks()
    config = {"steps": 80, "global_batch": 8, "generator_learning_rate": 4e-3}
    result = train(config | {"discriminator_learning_rate": 8e-3}, built=built)
    built.generator.load_state_dict(result.ema_state)
    z_BZ = torch.randn(50, 8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        x_BCHW = built.generator(z_BZ, torch.eye(2).repeat_interleave(25, dim=0))
    above_B = x_BCHW[:, 0, :4].mean(dim=(1, 2)) - x_BCHW[:, 0, 4:].mean(dim=(1, 2))
    right_B = torch.cat([above_B[:25] > 0.3, above_B[25:] < -0.3])
    assert int(right_B.sum()) >= 45


def test_equal_seeds_give_equal_bits():
    assert not differs(train(), train())


def test_another_draw_gives_another_generator():
    assert differs(train(), train(draw=1))


def test_rows_outside_the_index_are_never_seen():
    images_NCHW, targets_NK = halves()
    index = np.arange(10, 40)
    config = GanTrainingConfig(steps=3, global_batch=8)
    kept = train_gan(networks(), images_NCHW, index, targets_NK, config, seed=0, draw=0)
    images_NCHW[:10], targets_NK[:10] = 255, np.nan
    changed = train_gan(networks(), images_NCHW, index, targets_NK, config, seed=0, draw=0)
    assert not differs(kept, changed)


def test_images_too_many_for_the_device_are_gathered_instead(monkeypatch):
    resident = train()
    monkeypatch.setattr("synthtrial.synthesis.batches.RESIDENT_BYTES", 0)
    assert not differs(resident, train())


def test_the_result_says_what_was_done(monkeypatch):
    monkeypatch.setattr("synthtrial.synthesis.training.HISTORY_POINTS", 4)
    result = train({"steps": 10, "discriminator_steps": 2, "global_batch": 2})
    assert (result.steps, result.skipped) == (10, 0)
    assert result.images_seen == 10 * 2 * 2
    assert result.history["step"] == [3, 6, 9, 10]
    assert np.isfinite(result.history["generator_loss"]).all()
    assert np.isfinite(result.history["discriminator_loss"]).all()
    assert result.seconds > 0


def test_a_report_can_stop_the_training():
    seen = []
    result = train({"steps": 9}, report=lambda step, figures, _: seen.append(figures) or step == 5)
    assert result.steps == 5
    assert len(seen) == 5
    assert set(seen[0]) == {"generator_loss", "discriminator_loss", "images_per_second"}


def test_without_ema_the_last_weights_are_kept():
    built = networks()
    result = train({"ema": 0.0}, built=built)
    for name, value in built.generator.state_dict().items():
        torch.testing.assert_close(result.ema_state[name], value)


class Poisoned(torch.nn.Module):
    """A discriminator whose scores are NaN in some forward passes."""

    def __init__(self, inner, bad):
        super().__init__()
        self.inner, self.bad, self.calls = inner, bad, 0

    def forward(self, x, y):
        self.calls += 1
        return self.inner(x, y) * (float("nan") if self.calls in self.bad else 1.0)


def poisoned(bad):
    built = networks()
    return Networks(built.generator, Poisoned(built.discriminator, bad), built.latent)


def test_a_rare_bad_step_is_skipped():
    result = train({"steps": 6}, built=poisoned({1, 4, 5}))
    assert result.skipped == 3
    assert all(bool(torch.isfinite(value).all()) for value in result.ema_state.values())


def test_bad_steps_in_a_row_end_with_advice():
    with pytest.raises(NonFiniteLossError, match=r"3 consecutive.*smaller learning rates"):
        train({"steps": 20, "max_bad_steps": 2}, built=poisoned(set(range(3, 99))))


def test_bad_steps_at_the_very_end_are_no_success():
    with pytest.raises(NonFiniteLossError, match="2 consecutive steps up to step 2 of 2"):
        train({"steps": 2, "max_bad_steps": 3}, built=poisoned(set(range(99))))


def test_unknown_labels_condition_as_absent():
    images_NCHW, targets_NK = halves()
    config = GanTrainingConfig(steps=2, global_batch=8)
    unknown_NK = np.where(targets_NK == 0, np.float32("nan"), targets_NK)
    index = np.arange(40)
    plain = train_gan(networks(), images_NCHW, index, targets_NK, config, seed=0, draw=0)
    masked = train_gan(networks(), images_NCHW, index, unknown_NK, config, seed=0, draw=0)
    assert not differs(plain, masked)


def test_an_unknown_transform_is_refused():
    with pytest.raises(ConfigError, match=r"'blur'.*allowed: color, cutout, translation"):
        train({"diffaugment": ["blur"]})


def test_no_rows_are_refused():
    with pytest.raises(TrainingError, match="no image to learn from"):
        train(index=np.arange(0))


def test_ranks_without_a_process_group_are_refused():
    with pytest.raises(TrainingError, match="rank 1 of 2"):
        train(ranks=Ranks(1, 2))


def test_a_diverged_training_leaves_a_diagnosis(tmp_path):
    with pytest.raises(NonFiniteLossError, match=r"diagnosis\.json says which weights"):
        train(
            {"steps": 20, "max_bad_steps": 1},
            built=poisoned(set(range(5, 99))),
            checkpoints=Checkpoints(tmp_path),
        )
    diagnosis = json.loads((tmp_path / "diagnosis.json").read_text())
    assert diagnosis["step"] == 4
    assert diagnosis["consecutive_bad_steps"] == 2
    assert diagnosis["losses"]["discriminator"] == "nan"
    assert diagnosis["discriminator"]["gradients_not_finite"]
    assert diagnosis["discriminator"]["weights_not_finite"] == []
    assert diagnosis["history"]["step"] == [1.0, 2.0]


@pytest.mark.parametrize("settings", [{"precision": "bf16"}, {"channels_last": True}])
def test_faster_arithmetic_trains_nearly_the_same(settings):
    exact, fast = train({"steps": 3}), train({"steps": 3, **settings})
    for name in ("generator_loss", "discriminator_loss"):
        np.testing.assert_allclose(fast.history[name], exact.history[name], rtol=0.05, atol=0.05)
    assert all(value.dtype == torch.float32 for value in fast.ema_state.values())


def labels_shown(**settings):
    """Return the largest entry of the label vectors that the generator is given at each step."""
    built, seen = networks(), []
    built.generator.register_forward_pre_hook(lambda _, inputs: seen.append(float(inputs[1].max())))
    train({"steps": 10, **settings}, built=built)
    return seen


def test_conditioning_is_phased_in():
    assert labels_shown() == [1.0] * 10
    seen = labels_shown(conditional_from=0.2, conditional_at=0.6)
    np.testing.assert_allclose(seen, [0, 0, 0, 0.25, 0.5, 0.75, 1, 1, 1, 1], atol=1e-6)
    np.testing.assert_allclose(
        labels_shown(conditional_from=0.3, conditional_at=0.3), [0] * 3 + [1] * 7
    )


@pytest.mark.parametrize(
    "settings",
    [
        {"lecam": 0.3},
        {"class_weights": "balanced", "balanced_sampling": False},
        {"conditional_from": 0.5, "conditional_at": 0.8},
        {"diffaugment": ["color"]},
    ],
    ids=lambda settings: next(iter(settings)),
)
def test_each_remedy_changes_the_training(settings):
    plain = {"steps": 6, "balanced_sampling": settings.get("balanced_sampling", True)}
    assert differs(train(plain), train(plain | settings))


def test_growing_networks_are_told_how_far_the_training_is():
    built = build_networks(
        PROGRESSIVE,
        ProgressiveConfig(latent=4, feature_base=32, feature_max=8, group=1, grown_at=0.5),
        channels=1,
        size=8,
        classes=2,
        multi_label=False,
        seed=0,
        draw=0,
    )
    seen = []
    grow = built.generator.grow
    built.generator.grow = lambda progress: (seen.append(progress), grow(progress))
    train({"steps": 4}, built=built)
    assert sorted(set(seen)) == [0.0, 0.25, 0.5, 0.75]


def test_networks_that_judge_groups_need_a_batch_of_whole_groups():
    built = networks()
    grouped = Networks(built.generator, built.discriminator, built.latent, group=3)
    with pytest.raises(ConfigError, match="must be a multiple of 3 and at least 3"):
        train({"global_batch": 8}, built=grouped)
