import copy
import subprocess
import sys

import pytest
import torch

from synthtrial.errors import ConfigError
from synthtrial.synthesis.generators import PROJECTION, ProjectionConfig
from synthtrial.synthesis.generators.projection import ConditionalGroupNorm, build
from synthtrial.synthesis.generators.spectral import (
    SpectralConv2d,
    SpectralLinear,
    spectrally_normal,
)


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


SPECTRAL_LAYERS = pytest.mark.parametrize(
    "make_layer",
    [lambda: SpectralConv2d(3, 6, 3), lambda: SpectralLinear(5, 4, bias=False)],
    ids=["conv", "linear"],
)


@SPECTRAL_LAYERS
def test_spectral_normalisation_agrees_with_torch(make_layer):
    torch.manual_seed(0)
    module = make_layer()
    with torch.no_grad():  # power iterations converge as the two largest singular values differ
        matrix = module.weight.flatten(1)
        left, values, right = torch.linalg.svd(matrix, full_matrices=False)
        values[0] = 2 * values[1]
        module.weight.copy_((left * values @ right).view_as(module.weight))
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


@torch.no_grad()
def test_a_gradient_penalty_takes_the_place_of_spectral_normalisation():
    plain, normal = (make(16, loss=loss).discriminator for loss in ("wgan_gp", "hinge"))
    assert not [m for m in plain.modules() if isinstance(m, SpectralConv2d | SpectralLinear)]
    assert not list(plain.buffers())
    shapes = [
        {name: weight.shape for name, weight in network.named_parameters()}
        for network in (plain, normal)
    ]
    assert shapes[0] == shapes[1]
    for name, weight in plain.named_parameters():  # initialised alike
        if weight.dim() > 1:
            other = normal.get_parameter(name)
            assert float(weight.abs().max()) == pytest.approx(float(other.abs().max()), rel=0.15)
        else:
            assert not weight.any()


@SPECTRAL_LAYERS
def test_spectral_normalisation_is_as_precise_under_autocast(make_layer, monkeypatch):
    # On GPUs autocast rounds ``mv``; on the CPU it does so with the same product's other name.
    monkeypatch.setattr(torch.Tensor, "mv", torch.Tensor.matmul)
    torch.manual_seed(0)
    layer = make_layer()
    plain, auto = copy.deepcopy(layer), copy.deepcopy(layer)
    x = torch.randn(2, 3, 4, 4) if isinstance(layer, SpectralConv2d) else torch.randn(2, 5)
    normal = spectrally_normal(plain.weight, plain.u_O, improve=True)
    normal.square().sum().backward()
    with torch.autocast("cpu", torch.bfloat16):
        cast = spectrally_normal(auto.weight, auto.u_O, improve=True)
        cast.square().sum().backward()
        assert auto(x).dtype == torch.bfloat16  # the convolution itself is not
    assert cast.dtype == torch.float32
    assert torch.equal(cast, normal)
    assert torch.equal(auto.weight.grad, plain.weight.grad)


def test_the_family_can_be_planned_without_torch():
    code = (
        "import sys; from synthtrial.synthesis.generators import PROJECTION; PROJECTION.config();"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    assert PROJECTION.load() is build
