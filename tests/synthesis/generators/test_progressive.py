import copy
from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F

from synthtrial.errors import ConfigError
from synthtrial.registry import find
from synthtrial.synthesis.generators import PROGRESSIVE, ProgressiveConfig
from synthtrial.synthesis.generators.progressive import build, growth

SMALL = {"latent": 6, "feature_base": 128, "feature_max": 8, "base": 4, "group": 2}


def make(size=32, *, channels=1, classes=2, multi_label=False, **options):
    torch.manual_seed(0)
    config = ProgressiveConfig(**(SMALL | options))
    return build(config, channels=channels, size=size, classes=classes, multi_label=multi_label)


def inputs(classes=2, count=4):
    torch.manual_seed(1)
    return torch.randn(count, 6), torch.rand(count, classes)


def at(networks, stage, alpha=1.0):
    for network in (networks.generator, networks.discriminator):
        network.stage, network.alpha = stage, alpha
    return networks.generator, networks.discriminator


@pytest.mark.parametrize(
    ("size", "base"), [(8, 4), (28, 7), (28, 14), (32, 8), (96, 6), (224, 7), (256, 4)]
)
def test_images_have_full_size_at_every_stage(size, base):
    networks = make(size, base=base, channels=3)
    z_BZ, y_BK = inputs()
    levels = networks.generator.levels
    assert base * 2**levels == size
    for stage in range(levels + 1):
        for alpha in (0.3, 1.0) if stage else (1.0,):
            generator, discriminator = at(networks, stage, alpha)
            x_BCHW = generator(z_BZ, y_BK)
            assert x_BCHW.shape == (4, 3, size, size)
            assert discriminator(x_BCHW, y_BK).shape == (4, 1 + 2)
            assert discriminator.show(x_BCHW).shape == x_BCHW.shape


def test_the_published_networks_for_256_pixels():
    torch.manual_seed(0)
    networks = build(ProgressiveConfig(), channels=3, size=256, classes=14, multi_label=True)
    maps = [512, 512, 512, 512, 256, 128, 64]
    generator, discriminator = networks.generator, networks.discriminator
    assert [layer.in_channels for layer in generator.to_rgb] == maps
    assert [layer.out_channels for layer in discriminator.from_rgb] == maps
    assert generator.foot.in_features == 512 + 14
    assert discriminator.conv.in_channels == 512 + 1
    assert discriminator.head.out_features == 1 + 14
    for network in (generator, discriminator):
        # Karras et al., table 2: 23.1 million, a few thousands of them above 256 pixels.
        weights = sum(weight.numel() for weight in network.parameters())
        assert weights == pytest.approx(23.1e6, rel=0.01)
    assert (networks.loss, networks.latent, networks.group) == ("wgan_gp", 512, 4)
    assert (networks.label_loss, networks.label_loss_on) == ("sigmoid", "reals")
    assert networks.growing


@pytest.mark.parametrize("classes", [1, 3, 14])
def test_label_vectors_may_have_any_length(classes):
    networks = make(8, classes=classes)
    z_BZ, y_BK = inputs(classes)
    scores_BD = networks.discriminator(networks.generator(z_BZ, y_BK), y_BK)
    assert scores_BD.shape == (4, 1 + classes)


def test_the_generator_reads_the_labels_and_the_discriminator_does_not():
    networks = make()
    z_BZ, y_BK = inputs()
    x_BCHW = networks.generator(z_BZ, y_BK)
    assert not torch.allclose(x_BCHW, networks.generator(z_BZ, y_BK.flip(1)))
    one, other = (networks.discriminator(x_BCHW, y) for y in (y_BK, y_BK.flip(1)))
    assert torch.equal(one, other)


def test_latent_and_label_are_normalised_together():
    networks = make()
    seen = []
    networks.generator.foot.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    z_BZ, y_BK = inputs()
    networks.generator(z_BZ, y_BK)
    both_BF = torch.cat([z_BZ, y_BK], dim=1)
    torch.testing.assert_close(seen[0], both_BF / both_BF.square().mean(1, keepdim=True).sqrt())


def normal(x_BCHW):
    return x_BCHW / (x_BCHW.square().mean(dim=1, keepdim=True) + 1e-8).sqrt()


def convolved(x_BCHW, layer, gain=2**0.5):
    fan_in = layer.weight[0].numel()
    weight = layer.weight * gain / fan_in**0.5
    return F.conv2d(x_BCHW, weight, layer.bias, padding=layer.weight.shape[-1] // 2)


def rectified(x):
    return torch.where(x > 0, x, 0.2 * x)


def randomised(network):
    torch.manual_seed(3)
    for name, weight in network.named_parameters():
        if "bias" in name:
            weight.normal_()
    return network


@torch.no_grad()
def test_the_generator_computes_what_is_published():
    generator = randomised(make(8).generator)  # 4 pixels doubled once
    z_BZ, y_BK = inputs()
    x_BF = normal(torch.cat([z_BZ, y_BK], dim=1))
    h = x_BF @ generator.foot.weight.t() * (2**0.5 / 4) / (6 + 2) ** 0.5
    h = normal(rectified(h.reshape(4, 8, 4, 4) + generator.foot_bias))
    h = normal(rectified(convolved(h, generator.conv)))
    h = F.interpolate(h, scale_factor=2.0, mode="nearest")
    h = normal(rectified(convolved(h, generator.blocks[0].conv1)))
    h = normal(rectified(convolved(h, generator.blocks[0].conv2)))
    expected = convolved(h, generator.to_rgb[1], gain=1.0)
    torch.testing.assert_close(generator(z_BZ, y_BK), expected, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_the_discriminator_computes_what_is_published():
    discriminator = randomised(make(8, group=4).discriminator)
    torch.manual_seed(2)
    x_BCHW = torch.randn(4, 1, 8, 8)
    h = rectified(convolved(x_BCHW, discriminator.from_rgb[1]))
    h = rectified(convolved(h, discriminator.blocks[0].conv1))
    h = rectified(F.avg_pool2d(convolved(h, discriminator.blocks[0].conv2), 2))
    deviation = (h.var(dim=0, correction=0) + 1e-8).sqrt().mean()
    h = torch.cat([h, deviation.expand(4, 1, 4, 4)], dim=1)
    h = rectified(convolved(h, discriminator.conv)).flatten(1)
    dense, head = discriminator.dense, discriminator.head
    h = rectified(h @ dense.weight.t() * (2 / (8 * 16)) ** 0.5 + dense.bias)
    expected = h @ head.weight.t() / 8**0.5 + head.bias
    found = discriminator(x_BCHW, torch.zeros(4, 2))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("images", "resolution", "faded"),
    [  # of 12 million, as published for 256 pixels: 600,000 to learn, 600,000 to fade in
        (0, 4, 1.0),
        (599_999, 4, 1.0),
        (600_000, 4, 1.0),
        (900_000, 8, 0.5),
        (1_199_999, 8, 1.0),
        (1_500_000, 8, 1.0),
        (1_799_999, 8, 1.0),
        (1_950_000, 16, 0.25),
        (6_599_999, 128, 1.0),
        (6_900_000, 256, 0.5),
        (7_200_000, 256, 1.0),
        (7_800_000, 256, 1.0),
        (12_000_000, 256, 1.0),
    ],
)
def test_the_schedule_is_the_published_one(images, resolution, faded):
    stage, alpha = growth(images / 12e6, ProgressiveConfig().grown_at, 6)
    assert 4 * 2**stage == resolution
    assert alpha == pytest.approx(faded, abs=1e-5)


@pytest.mark.parametrize("levels", [1, 2, 6])
def test_growing_never_goes_back_and_never_jumps(levels):
    grown = [growth(step / 1000, 0.5, levels) for step in range(1001)]
    assert grown[0] == (0, 1.0)
    assert grown[500] == grown[-1] == (levels, 1.0)
    depths = [stage + alpha for stage, alpha in grown]
    steps = [after - before for before, after in pairwise(depths)]
    assert min(steps) >= 0
    assert max(steps) <= 0.002 * (2 * levels + 1) + 1e-9  # 1 in a half share of the 500
    assert all(0 < alpha <= 1 for _, alpha in grown)
    assert all(stage > 0 for stage, alpha in grown if alpha < 1)


def test_nothing_grows_where_growing_takes_no_time():
    assert growth(0.0, 0.0, 3) == (3, 1.0)


def test_both_networks_grow_alike_and_start_fully_grown():
    networks = make(grown_at=0.7)
    assert (networks.generator.stage, networks.generator.alpha) == (3, 1.0)
    for progress, form in ((0.0, (0, 1.0)), (0.15, (1, 0.5)), (0.45, (2, 1.0)), (1.0, (3, 1.0))):
        for network in (networks.generator, networks.discriminator):
            network.grow(progress)
            assert network.stage == form[0]
            assert network.alpha == pytest.approx(form[1])


@pytest.mark.parametrize("stage", [1, 2, 3])
@torch.no_grad()
def test_a_new_resolution_enters_unnoticed(stage):
    networks = make()
    z_BZ, y_BK = inputs()
    generator, discriminator = at(networks, stage - 1)
    x_BCHW = generator(z_BZ, y_BK)
    scores_BD = discriminator(x_BCHW, y_BK)
    at(networks, stage, 1e-6)
    torch.testing.assert_close(generator(z_BZ, y_BK), x_BCHW, rtol=0, atol=1e-4)
    torch.testing.assert_close(discriminator(x_BCHW, y_BK), scores_BD, rtol=0, atol=1e-4)
    at(networks, stage)  # what has entered is another thing altogether
    assert float((generator(z_BZ, y_BK) - x_BCHW).abs().max()) > 0.1
    assert float((discriminator(x_BCHW, y_BK) - scores_BD).abs().max()) > 0.02


@pytest.mark.parametrize("stage", [1, 2, 3])
@torch.no_grad()
def test_real_images_enter_a_new_resolution_unnoticed(stage):
    networks = make()
    torch.manual_seed(2)
    x_BCHW, y_BK = torch.randn(4, 1, 32, 32), torch.rand(4, 2)
    scores_BD = at(networks, stage - 1)[1](x_BCHW, y_BK)
    found = at(networks, stage, 1e-6)[1](x_BCHW, y_BK)
    torch.testing.assert_close(found, scores_BD, rtol=0, atol=1e-4)


def test_a_half_faded_image_is_the_mean_of_both():
    networks = make()
    z_BZ, y_BK = inputs()
    images = [at(networks, *form)[0](z_BZ, y_BK) for form in ((1, 1.0), (2, 1.0), (2, 0.5))]
    torch.testing.assert_close(images[2], (images[0] + images[1]) / 2)


@pytest.mark.parametrize("stage", [0, 1, 2])
@torch.no_grad()
def test_a_made_image_is_as_coarse_as_its_stage(stage):
    networks = make()
    x_BCHW = at(networks, stage)[0](*inputs())
    blocks = F.avg_pool2d(x_BCHW, 2 ** (3 - stage))
    assert blocks.shape[-1] == 4 * 2**stage
    again = F.interpolate(blocks, scale_factor=2.0 ** (3 - stage), mode="nearest")
    torch.testing.assert_close(x_BCHW, again)
    assert float(blocks.std()) > 0.1


def test_reals_are_shown_as_coarse_as_the_stage():
    networks = make(16)
    torch.manual_seed(2)
    x_BCHW = torch.rand(2, 1, 16, 16)

    def coarse(factor):
        return F.interpolate(F.avg_pool2d(x_BCHW, factor), scale_factor=float(factor))

    _, discriminator = at(networks, 2)
    assert torch.equal(discriminator.show(x_BCHW), x_BCHW)
    at(networks, 2, 0.25)
    torch.testing.assert_close(discriminator.show(x_BCHW), 0.25 * x_BCHW + 0.75 * coarse(2))
    at(networks, 1, 0.25)
    torch.testing.assert_close(discriminator.show(x_BCHW), 0.25 * coarse(2) + 0.75 * coarse(4))
    at(networks, 0)
    torch.testing.assert_close(discriminator.show(x_BCHW), coarse(4))


def test_the_discriminator_sees_no_finer_than_its_stage():
    networks = make(16)
    torch.manual_seed(2)
    x_BCHW, y_BK = torch.rand(4, 1, 16, 16), torch.rand(4, 2)
    _, discriminator = at(networks, 1)
    shown = discriminator.show(x_BCHW)
    torch.testing.assert_close(discriminator(shown, y_BK), discriminator(x_BCHW, y_BK))
    at(networks, 2)
    assert not torch.allclose(discriminator(shown, y_BK), discriminator(x_BCHW, y_BK))


@pytest.mark.parametrize(
    ("stage", "alpha", "rgb", "blocks"),
    [(0, 1.0, {0}, 0), (2, 1.0, {2}, 2), (2, 0.5, {1, 2}, 2), (3, 1.0, {3}, 3)],
)
def test_only_layers_of_the_present_form_are_trained(stage, alpha, rgb, blocks):
    networks = make()
    z_BZ, y_BK = inputs()
    generator, discriminator = at(networks, stage, alpha)
    discriminator(generator(z_BZ, y_BK), y_BK).sum().backward()
    for network, ports in (
        (generator, generator.to_rgb),
        (discriminator, discriminator.from_rgb),
    ):
        for modules, used in ((ports, rgb), (network.blocks, set(range(blocks)))):
            for index, module in enumerate(modules):
                found = {weight.grad is not None for weight in module.parameters()}
                assert found == {index in used}
        others = [n for n, _ in network.named_parameters() if "rgb" not in n and "blocks" not in n]
        assert others
        for name in others:
            assert bool((network.get_parameter(name).grad != 0).any()), name


def test_only_neighbours_of_a_group_are_judged_together():
    networks = make(8, group=2)
    x_BCHW, y_BK = torch.rand(4, 1, 8, 8), torch.rand(4, 2)
    scores_BD = networks.discriminator(x_BCHW, y_BK)
    changed = torch.cat([x_BCHW[:3], torch.rand(1, 1, 8, 8)])
    now_BD = networks.discriminator(changed, y_BK)
    torch.testing.assert_close(now_BD[:2], scores_BD[:2])
    assert not torch.allclose(now_BD[2], scores_BD[2])


def test_a_batch_of_any_size_is_judged():
    networks = make(8, group=4)
    for count in (1, 3, 6):
        scores_BD = networks.discriminator(torch.rand(count, 1, 8, 8), torch.rand(count, 2))
        assert bool(torch.isfinite(scores_BD).all())


def test_the_form_travels_with_copies_and_states():
    networks = make()
    networks.generator.grow(0.3)
    form = (networks.generator.stage, networks.generator.alpha)
    assert form[1] < 1
    copied = copy.deepcopy(networks.generator)
    assert (copied.stage, copied.alpha) == form
    copied.grow(1.0)
    assert (networks.generator.stage, networks.generator.alpha) == form
    copied.load_state_dict(networks.generator.state_dict())
    assert (copied.stage, copied.alpha) == pytest.approx(form)
    torch.testing.assert_close(copied(*inputs()), networks.generator(*inputs()))


@pytest.mark.parametrize(
    ("multi_label", "option", "expected"),
    [
        (False, "auto", "softmax"),
        (True, "auto", "sigmoid"),
        (False, "sigmoid", "sigmoid"),
        (False, "softmax", "softmax"),
    ],
)
def test_the_label_loss_fits_the_labels(multi_label, option, expected):
    networks = make(8, multi_label=multi_label, label_loss=option, label_loss_on="both")
    assert (networks.label_loss, networks.label_loss_on) == (expected, "both")


@pytest.mark.parametrize(("size", "base", "work"), [(28, 4, "7 or 14"), (32, 7, "4 or 8")])
def test_a_base_that_does_not_fit_is_refused_with_those_that_do(size, base, work):
    with pytest.raises(
        ConfigError, match=f"generator.base is {base}.* {size} pixels .* {work} pix"
    ):
        make(size, base=base)


@pytest.mark.parametrize("size", [4, 9, 30, 512])
def test_an_impossible_size_is_refused_with_those_that_work(size):
    with pytest.raises(ConfigError, match=rf"progressive GAN .*{size} pixels.*8, 28, 32"):
        make(size)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"latent": 0}, "latent"),
        ({"feature_base": 8}, "feature_base is 8.* at least 16"),
        ({"feature_max": 0}, "feature_max"),
        ({"group": 0}, "group"),
        ({"grown_at": 1.5}, "grown_at"),
        ({"label_loss": "softmax", "multi_label": True}, "label_loss.*sigmoid"),
    ],
)
def test_an_impossible_option_is_refused(options, named):
    with pytest.raises(ConfigError, match=f"generator.{named}"):
        make(32, **options)


def test_four_channels_are_refused():
    with pytest.raises(ConfigError, match="1 or 3 channels"):
        make(8, channels=4)


def test_the_family_is_installed():
    assert find("generator", "progressive") is PROGRESSIVE
    assert PROGRESSIVE.load() is build
