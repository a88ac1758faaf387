import pytest
import torch
import torch.nn.functional as F

from synthtrial.errors import ConfigError
from synthtrial.registry import find
from synthtrial.synthesis.generators import CONCAT, ConcatConfig
from synthtrial.synthesis.generators.concat import build, doubling

UPSAMPLINGS = ["nearest", "bilinear", "transposed", "pixel_shuffle"]


def make(size, *, channels=1, classes=2, **options):
    torch.manual_seed(0)
    config = ConcatConfig(**({"latent": 4, "width": 8, "max_width": 16} | options))
    return build(config, channels=channels, size=size, classes=classes, multi_label=False)


@pytest.mark.parametrize("upsampling", UPSAMPLINGS)
@pytest.mark.parametrize("size", [8, 28, 96, 256])
def test_images_have_the_size_asked_for(size, upsampling):
    networks = make(size, upsampling=upsampling, channels=3)
    y_BK = torch.eye(2)
    x_BCHW = networks.generator(torch.zeros(2, 4), y_BK)
    assert x_BCHW.shape == (2, 3, size, size)
    assert float(x_BCHW.detach().abs().max()) <= 1.0
    assert networks.discriminator(x_BCHW, y_BK).shape == (2,)


@pytest.mark.parametrize("classes", [1, 2, 14])
def test_label_vectors_may_have_any_length(classes):
    networks = make(8, classes=classes)
    y_BK = torch.rand(3, classes)
    x_BCHW = networks.generator(torch.zeros(3, 4), y_BK)
    assert networks.discriminator(x_BCHW, y_BK).shape == (3,)


@torch.no_grad()
def test_the_discriminator_sees_the_label_vector_as_constant_channels():
    networks = make(8, classes=3)
    seen = []
    networks.discriminator.convs[0].register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    x_BCHW, y_BK = torch.randn(2, 1, 8, 8), torch.tensor([[1.0, 0.0, 0.5], [0.0, 1.0, 1.0]])
    networks.discriminator(x_BCHW, y_BK)
    assert torch.equal(seen[0][:, :1], x_BCHW)
    assert torch.equal(seen[0][:, 1:].amin(dim=(2, 3)), y_BK)
    assert torch.equal(seen[0][:, 1:].amax(dim=(2, 3)), y_BK)


@pytest.mark.parametrize("upsampling", UPSAMPLINGS)
def test_every_upsampling_doubles_the_resolution_from_all_channels(upsampling):
    torch.manual_seed(0)
    layer = doubling(upsampling, 3, 5)
    x_BCHW = torch.randn(2, 3, 4, 6, requires_grad=True)
    y_BCHW = layer(x_BCHW)
    assert y_BCHW.shape == (2, 5, 8, 12)
    y_BCHW.square().sum().backward()
    assert bool((x_BCHW.grad != 0).all())


@pytest.mark.parametrize(
    ("upsampling", "expected"),
    [("nearest", [0.0, 0.0, 4.0, 4.0]), ("bilinear", [0.0, 1.0, 3.0, 4.0])],
)
def test_a_resizing_layer_resizes_before_it_convolves(upsampling, expected):
    layer = doubling(upsampling, 1, 1)
    with torch.no_grad():
        layer[1].weight.zero_()[0, 0, 1, 1] = 1.0  # leaves each pixel as it is
    x_BCHW = torch.tensor([[[[0.0, 4.0], [0.0, 4.0]]]])
    torch.testing.assert_close(layer(x_BCHW)[0, 0, 0], torch.tensor(expected))


@torch.no_grad()
def test_a_fresh_pixel_shuffle_makes_squares_of_equal_pixels():
    torch.manual_seed(0)
    y_BCHW = doubling("pixel_shuffle", 3, 5)(torch.randn(2, 3, 4, 4))
    squares = F.interpolate(y_BCHW[:, :, ::2, ::2], scale_factor=2.0, mode="nearest")
    torch.testing.assert_close(y_BCHW, squares)
    assert float(y_BCHW.std()) > 0.1


def test_the_two_networks_know_no_batch_statistics():
    networks = make(16)
    kinds = {type(m).__name__ for m in networks.generator.modules()}
    assert "GroupNorm" in kinds
    assert not [kind for kind in kinds if "BatchNorm" in kind]
    assert not [m for m in networks.discriminator.modules() if "Norm" in type(m).__name__]


@pytest.mark.parametrize("loss", ["hinge", "logistic", "wgan_gp"])
def test_the_loss_is_the_configured_one(loss):
    networks = make(8, loss=loss)
    assert (networks.loss, networks.label_loss, networks.group) == (loss, None, 1)
    assert not networks.growing


@pytest.mark.parametrize("size", [4, 9, 30, 512])
def test_an_impossible_size_is_refused_with_those_that_work(size):
    with pytest.raises(ConfigError, match=rf"conditional GAN .*{size} pixels.*8, 28, 32"):
        make(size)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"width": 12}, "width"),
        ({"max_width": 4}, "max_width"),
        ({"latent": 0}, "latent"),
        ({"upsampling": "bicubic"}, "upsampling is 'bicubic'.*nearest"),
    ],
)
def test_an_impossible_option_is_refused(options, named):
    with pytest.raises(ConfigError, match=f"generator.{named}"):
        make(8, **options)


def test_four_channels_are_refused():
    with pytest.raises(ConfigError, match="1 or 3 channels"):
        make(8, channels=4)


def test_the_family_is_installed():
    assert find("generator", "concat") is CONCAT
    assert CONCAT.load() is build
