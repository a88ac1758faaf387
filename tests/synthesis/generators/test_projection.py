import subprocess
import sys

import pytest
import torch

from synthtrial.errors import ConfigError
from synthtrial.synthesis.generators import PROJECTION, ProjectionConfig
from synthtrial.synthesis.generators.projection import ConditionalGroupNorm, build
from synthtrial.synthesis.generators.spectral import SpectralConv2d, SpectralLinear


def make(size, **options):
    torch.manual_seed(0)
    config = ProjectionConfig(**({"latent": 4, "width": 8, "max_width": 16} | options))
    return build(config, channels=1, size=size, classes=2, multi_label=False)


@pytest.mark.parametrize("size", [8, 10, 28, 32, 96, 256])
def test_images_have_the_size_asked_for(size):
    networks = make(size)
    y_BK = torch.eye(2)
    x_BCHW = networks.generator(torch.zeros(2, 4), y_BK)
    assert x_BCHW.shape == (2, 1, size, size)
    assert networks.discriminator(x_BCHW, y_BK).shape == (2,)


@pytest.mark.parametrize("size", [4, 9, 30, 512])
def test_an_impossible_size_is_refused_with_those_that_work(size):
    with pytest.raises(ConfigError, match=rf"{size} pixels.*8, 28, 32"):
        make(size)


@pytest.mark.parametrize(
    ("options", "named"),
    [({"width": 12}, "width"), ({"max_width": 4}, "max_width"), ({"latent": 0}, "latent")],
)
def test_an_impossible_width_is_refused(options, named):
    with pytest.raises(ConfigError, match=f"generator.{named}"):
        make(8, **options)


def test_four_channels_are_refused():
    with pytest.raises(ConfigError, match="1 or 3 channels"):
        build(ProjectionConfig(), channels=4, size=8, classes=2, multi_label=False)


def test_conditional_group_norm_equals_its_definition():
    torch.manual_seed(0)
    norm = ConditionalGroupNorm(16, 3)
    x_BCHW, y_BK = torch.randn(4, 16, 5, 5), torch.rand(4, 3)
    scale_BC, shift_BC = norm.affine(y_BK).chunk(2, dim=1)
    plain_BCHW = torch.nn.functional.group_norm(x_BCHW, 2)
    expected = plain_BCHW * (1 + scale_BC[:, :, None, None]) + shift_BC[:, :, None, None]
    torch.testing.assert_close(norm(x_BCHW, y_BK), expected)


@pytest.mark.parametrize(
    "module", [SpectralConv2d(3, 6, 3), SpectralLinear(5, 4, bias=False)], ids=["conv", "linear"]
)
def test_spectral_normalisation_agrees_with_torch(module):
    torch.manual_seed(0)
    inputs = (2, 3, 4, 4) if isinstance(module, SpectralConv2d) else (2, 5)
    x = torch.randn(inputs)
    for _ in range(200):
        module(x)
    reference = torch.nn.Conv2d(3, 6, 3, padding=1) if len(inputs) == 4 else torch.nn.Linear(5, 4)
    with torch.no_grad():
        reference.weight.copy_(module.weight)
        reference.bias.copy_(torch.zeros(len(reference.bias)))
    torch.nn.utils.parametrizations.spectral_norm(reference, n_power_iterations=100)
    reference(x)
    y, expected = module(x), reference(x)
    torch.testing.assert_close(y, expected, rtol=1e-4, atol=1e-5)
    torch.manual_seed(1)
    push = torch.randn_like(y)
    (y * push).sum().backward()
    (expected * push).sum().backward()
    torch.testing.assert_close(
        module.weight.grad, reference.parametrizations.weight.original.grad, rtol=1e-3, atol=1e-5
    )


def test_power_iterations_happen_once_an_update():
    layer = SpectralLinear(5, 4, bias=False)
    start = layer.u_O.clone()
    layer.requires_grad_(False)
    layer(torch.zeros(1, 5))
    assert torch.equal(layer.u_O, start)
    layer.requires_grad_(True)
    layer.eval()
    layer(torch.zeros(1, 5))
    assert torch.equal(layer.u_O, start)
    layer.train()
    layer(torch.zeros(1, 5))
    assert not torch.equal(layer.u_O, start)


def test_the_family_can_be_planned_without_torch():
    code = (
        "import sys; from synthtrial.synthesis.generators import PROJECTION; PROJECTION.config();"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    assert PROJECTION.load() is build
