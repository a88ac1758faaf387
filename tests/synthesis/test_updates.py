import copy

import numpy as np
import pytest
import torch

from synthtrial.config import GanTrainingConfig
from synthtrial.synthesis.augment import diffaugment
from synthtrial.synthesis.batches import Batches
from synthtrial.synthesis.generators import PROJECTION, ProjectionConfig
from synthtrial.synthesis.losses import gradient_penalty
from synthtrial.synthesis.networks import build_networks
from synthtrial.synthesis.ranks import ALONE
from synthtrial.synthesis.updates import Updates

SHAPE = {"channels": 1, "size": 8, "classes": 3, "multi_label": False}


def make(*, micro_batch=None, loss="hinge", **settings):
    """Both networks and what they are trained on, with optimisers that change nothing."""
    random = np.random.default_rng(0)
    images_NCHW = random.integers(0, 256, size=(24, 1, 8, 8), dtype=np.uint8)
    targets_NK = np.eye(3, dtype=np.float32)[np.minimum(np.arange(24) // 11, 2)]
    config = GanTrainingConfig(global_batch=6, diffaugment=["translation", "color"], **settings)
    networks = build_networks(
        PROJECTION, ProjectionConfig(latent=8, width=8, loss=loss), seed=0, draw=0, **SHAPE
    )
    cpu = torch.device("cpu")
    batches = Batches(8, images_NCHW, np.arange(24), targets_NK, config, seed=0, draw=0, device=cpu)
    updates = Updates(
        networks,
        batches,
        config,
        device=cpu,
        ranks=ALONE,
        micro_batch=micro_batch,
        heartbeat=None,
    )
    return updates, batches


def gradients(module):
    return {name: p.grad.clone() for name, p in module.named_parameters()}


@pytest.mark.parametrize("loss", ["hinge", "wgan_gp"])
@pytest.mark.parametrize("micro_batch", [1, 2, 4])
def test_gradients_do_not_depend_on_how_the_batch_is_cut(micro_batch, loss):
    settings = {"lecam": 0.5, "class_weights": "balanced", "balanced_sampling": False}
    whole, _ = make(loss=loss, **settings)
    cut, _ = make(loss=loss, micro_batch=micro_batch, **settings)
    for number in range(2):
        healthy, one, made = whole.update_discriminator(number, 0.5, keep=True)
        _, two, unmade = cut.update_discriminator(number, 0.5, keep=True)
        assert healthy
        assert made is not None
        assert unmade is None
        assert one == pytest.approx(two, rel=1e-5)
    for name, gradient in gradients(whole.discriminator).items():
        torch.testing.assert_close(
            dict(cut.discriminator.named_parameters())[name].grad, gradient, rtol=2e-3, atol=2e-5
        )
    _, one = whole.update_generator(1, 0.5, made)
    _, two = cut.update_generator(1, 0.5, None)
    assert one == pytest.approx(two, rel=1e-3, abs=1e-5)
    for name, gradient in gradients(whole.generator).items():
        torch.testing.assert_close(
            dict(cut.generator.named_parameters())[name].grad, gradient, rtol=5e-2, atol=1e-4
        )


def test_the_hinge_loss_is_the_mean_over_the_batch():
    updates, batches = make()
    batch = batches.draw(0, slice(0, 6))
    with torch.no_grad():
        pair = torch.cat([batch.real_BCHW, updates.generator(batch.z_BZ, batch.y_BK)])
        both = diffaugment(pair, batch.u_2BD.flatten(0, 1), ["translation", "color"])
        # A copy, as a forward pass goes on with the power iterations.
        score_B = copy.deepcopy(updates.discriminator)(both, torch.cat([batch.y_BK] * 2))
    expected = (1 - score_B[:6]).relu().mean() + (1 + score_B[6:]).relu().mean()
    _, loss, _ = updates.update_discriminator(0, 1.0, keep=False)
    assert loss == pytest.approx(float(expected), rel=1e-3)


def test_class_weights_weigh_rare_classes_up():
    plain, _ = make(balanced_sampling=False)
    weighted, batches = make(balanced_sampling=False, class_weights="balanced")
    batch = batches.draw(0, slice(0, 6))
    counts = {0: 11, 1: 11, 2: 2}
    expected = [24 / (3 * counts[int(y.argmax())]) for y in batch.y_BK]
    np.testing.assert_allclose(batch.weight_B.numpy(), expected, rtol=1e-5)
    assert plain.update_discriminator(0, 1.0, keep=False)[1] != pytest.approx(
        weighted.update_discriminator(0, 1.0, keep=False)[1]
    )


def test_without_strength_the_label_changes_nothing():
    one, batches = make()
    batch = batches.draw(0, slice(0, 6))
    other_BK = batch.y_BK.roll(1, dims=1)
    one.generator.eval()
    with torch.no_grad():
        torch.testing.assert_close(
            one.generator(batch.z_BZ, 0 * batch.y_BK), one.generator(batch.z_BZ, 0 * other_BK)
        )


def test_the_gradient_penalty_of_a_linear_critic_is_known():
    class Linear(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.full((1, 2, 2), 2.0))

        def forward(self, x, y):
            return (x * self.weight).sum(dim=(1, 2, 3))

    critic = Linear()
    real, fake = torch.randn(5, 1, 2, 2), torch.randn(5, 1, 2, 2)
    penalty_B = gradient_penalty(critic, real, fake, torch.zeros(5, 1), torch.rand(5))
    torch.testing.assert_close(penalty_B, torch.full((5,), 9.0))  # (|w| - 1)^2 = (4 - 1)^2
    penalty_B.sum().backward()
    # d/dw of (|w| - 1)^2 is 2 (|w| - 1) w / |w| for each of the 5.
    torch.testing.assert_close(critic.weight.grad, torch.full((1, 2, 2), 5 * 2 * 3 * 0.5))
