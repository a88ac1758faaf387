"""What the GAN loop asks of every family that synthtrial brings, whatever is inside."""

import pytest
import torch
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from synthtrial.synthesis.generators import (
    CONCAT,
    PROGRESSIVE,
    PROJECTION,
    ConcatConfig,
    ProgressiveConfig,
    ProjectionConfig,
)

FAMILIES = {
    "concat": (CONCAT, ConcatConfig(latent=6, width=8, max_width=16, loss="wgan_gp")),
    "projection": (PROJECTION, ProjectionConfig(latent=6, width=8, max_width=16, loss="wgan_gp")),
    "spectral projection": (PROJECTION, ProjectionConfig(latent=6, width=8, max_width=16)),
    "progressive": (PROGRESSIVE, ProgressiveConfig(6, 64, 8, group=2)),
    "growing": (PROGRESSIVE, ProgressiveConfig(6, 64, 8, group=2)),
}
WGAN = [name for name in FAMILIES if not name.startswith("spectral")]


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def make(name):
    component, config = FAMILIES[name]
    torch.manual_seed(0)
    networks = component.load()(config, channels=1, size=16, classes=3, multi_label=False)
    if name == "growing":
        for network in (networks.generator, networks.discriminator):
            network.grow(0.2)
            assert network.alpha < 1
    return networks


def inputs(dtype=torch.float32):
    torch.manual_seed(1)
    return (each.to(dtype) for each in (torch.randn(4, 6), torch.rand(4, 3)))


def penalty(networks, x_BCHW, y_BK):
    x_BCHW = x_BCHW.detach().requires_grad_(True)
    scores = networks.discriminator(x_BCHW, y_BK).view(len(x_BCHW), -1)[:, 0]
    (slope_BCHW,) = torch.autograd.grad(scores.sum(), x_BCHW, create_graph=True)
    return (slope_BCHW.flatten(1).norm(dim=1) - 1).square().sum()


@pytest.mark.parametrize("name", WGAN)
def test_the_gradient_penalty_has_the_right_gradient(name):
    networks = make(name)
    assert networks.loss == "wgan_gp"
    networks.generator.double()
    networks.discriminator.double()
    z_BZ, y_BK = inputs(torch.float64)
    x_BCHW = networks.generator(z_BZ, y_BK)
    weights = list(networks.discriminator.parameters())
    penalty(networks, x_BCHW, y_BK).backward()
    start = parameters_to_vector(weights).detach()
    torch.manual_seed(2)
    direction = torch.randn_like(start)
    slopes = [torch.zeros_like(w) if w.grad is None else w.grad for w in weights]
    expected = float(torch.dot(parameters_to_vector(slopes), direction))
    moved = []
    for sign in (1, -1):
        vector_to_parameters(start + sign * 1e-7 * direction, weights)
        moved.append(float(penalty(networks, x_BCHW, y_BK).detach()))
    assert abs(expected) > 1e-3
    assert (moved[0] - moved[1]) / 2e-7 == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("name", FAMILIES)
def test_bfloat16_gives_images_scores_and_gradients_as_float32_does_roughly(name):
    z_BZ, y_BK = inputs()
    found = []
    for enabled in (False, True):
        networks = make(name)
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            x_BCHW = networks.generator(z_BZ, y_BK)
            scores = networks.discriminator(x_BCHW, y_BK)
            steep = penalty(networks, x_BCHW, y_BK) if networks.loss == "wgan_gp" else 0.0
        assert scores.dtype == (torch.bfloat16 if enabled else torch.float32)
        (scores.float().sum() + steep).backward()
        weights = [*networks.generator.parameters(), *networks.discriminator.parameters()]
        slopes = [weight.grad.flatten() for weight in weights if weight.grad is not None]
        found.append((x_BCHW.float().detach(), scores.float().detach(), torch.cat(slopes)))
    for precise, rounded in zip(*found, strict=True):
        assert precise.dtype == rounded.dtype == torch.float32
        assert 0 < float((precise - rounded).norm() / precise.norm()) < 0.1


@pytest.mark.parametrize("name", FAMILIES)
def test_channels_last_changes_nothing_but_rounding(name):
    networks = make(name)
    networks.discriminator.eval()
    z_BZ, y_BK = inputs()
    x_BCHW = networks.generator(z_BZ, y_BK)
    scores = networks.discriminator(x_BCHW, y_BK)
    for module in (networks.generator, networks.discriminator):
        module.to(memory_format=torch.channels_last)
    torch.testing.assert_close(networks.generator(z_BZ, y_BK), x_BCHW, rtol=1e-4, atol=1e-5)
    last_BCHW = x_BCHW.contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(
        networks.discriminator(last_BCHW, y_BK), scores, rtol=1e-4, atol=1e-4
    )
