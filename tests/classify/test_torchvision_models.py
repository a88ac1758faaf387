import dataclasses
import sys
import warnings
from collections import OrderedDict
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn
from torchvision.models import densenet121
from torchvision.transforms.v2 import functional as transforms

from synthtrial.classify import catalog, torchvision_models
from synthtrial.classify.catalog import Densenet121Config, TxrvDensenet121Config
from synthtrial.classify.evaluation import make_forward
from synthtrial.classify.rows import Rows, normalise
from synthtrial.classify.saving import CLASSIFIER, read_classifier, write_network
from synthtrial.classify.torchvision_models import (
    build_densenet121,
    build_txrv_densenet121,
    fetch_densenet121,
)
from synthtrial.classify.training import build_model, fit
from synthtrial.config import TrainingConfig
from synthtrial.errors import ConfigError
from synthtrial.testing.classifiers import ClassifierContract

CPU = torch.device("cpu")
IMAGENET = Densenet121Config(weights="imagenet")
FILE = "densenet121-a639ec97.pth"  # the name under which torchvision publishes and looks for it


class TestDensenet121(ClassifierContract):
    component = catalog.DENSENET121
    shapes = ((1, 32), (3, 47))
    test_learns_a_plain_task_to_equal_bits = None  # 20 s; whole studies train it, smaller ones do


class TestTxrvDensenet121(ClassifierContract):
    component = catalog.TXRV_DENSENET121
    shapes = ((1, 32), (3, 47))
    test_learns_a_plain_task_to_equal_bits = None  # the same layers: 20 s would tell nothing new


def pixels(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(256, shape, generator=generator, dtype=torch.uint8)


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """A network with random statistics, and a $TORCH_HOME that holds it as the real file does.

    That is in torch's old format, with dots in names and without counts of batches.
    """
    with torch.random.fork_rng():
        torch.manual_seed(7)
        network = densenet121()
        for layer in network.modules():
            if isinstance(layer, nn.BatchNorm2d):
                nn.init.uniform_(layer.running_mean, -0.1, 0.1)
                nn.init.uniform_(layer.running_var, 0.8, 1.2)
    state = OrderedDict()
    for name, value in network.state_dict().items():
        if not name.endswith("num_batches_tracked"):
            for kind in ("norm", "relu", "conv"):
                for number in "12":
                    if "denselayer" in name:
                        name = name.replace(f".{kind}{number}.", f".{kind}.{number}.")
            state[name] = value.clone()
    assert "features.denseblock1.denselayer1.norm.1.weight" in state
    home = tmp_path_factory.mktemp("torch")
    path = home / "hub" / "checkpoints" / FILE
    path.parent.mkdir(parents=True)
    torch.save(state, path, _use_new_zipfile_serialization=False)
    return network.eval(), home


@pytest.fixture
def home(published, monkeypatch):
    network, folder = published
    monkeypatch.setenv("TORCH_HOME", str(folder))
    return network


# --- shapes and scales ---


def test_the_input_scale_multiplies_pixels():
    model = build_densenet121(Densenet121Config(), channels=1, size=32, outputs=2).eval()
    scaled = build_densenet121(
        Densenet121Config(input_scale=1024), channels=1, size=32, outputs=2
    ).eval()
    scaled.load_state_dict(model.state_dict())
    x = normalise(pixels(2, 1, 32, 32))
    with torch.no_grad():
        torch.testing.assert_close(scaled(x), model(x * 1024))


def test_torchxrayvision_sees_its_own_scale_and_returns_logits():
    model = build_txrv_densenet121(TxrvDensenet121Config(), channels=1, size=32, outputs=5).eval()
    seen = []
    model.network.features.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    x = normalise(torch.tensor([0, 255], dtype=torch.uint8).repeat(512).view(1, 1, 32, 32))
    with torch.no_grad():
        logits = model(x)
        expected = model.network.classifier(model.network.features2(x * 1024))
    assert seen[0].unique().tolist() == [-1024, 1024]
    assert torch.equal(logits, expected)
    assert type(model.network).__module__ == "torchxrayvision.models"
    assert model.network.op_threshs is None


def test_both_are_densenet121_with_one_input_channel_and_k_outputs():
    reference = sum(p.numel() for p in densenet121(num_classes=13).parameters())
    for build, config in (
        (build_densenet121, Densenet121Config()),
        (build_txrv_densenet121, TxrvDensenet121Config()),
    ):
        model = build(config, channels=1, size=224, outputs=13)
        assert sum(p.numel() for p in model.parameters()) == reference - 2 * 64 * 49
        assert model.network.features.conv0.weight.shape == (64, 1, 7, 7)
        assert all(p.requires_grad for p in model.parameters())


def test_random_stems_of_one_channel_have_the_deviation_of_the_sum_of_three():
    models = [
        build_model(
            catalog.DENSENET121,
            Densenet121Config(),
            channels=channels,
            size=32,
            outputs=2,
            seed=0,
            replicate=0,
        )
        for channels in (1, 3)
    ]
    one, three = (model.network.features.conv0.weight for model in models)
    assert one.std().item() == pytest.approx(three.sum(1).std().item(), rel=0.05)


def test_bf16_gives_finite_float32_logits():
    for component in (catalog.DENSENET121, catalog.TXRV_DENSENET121):
        model = component.load()(component.config(), channels=1, size=32, outputs=3).eval()
        with torch.no_grad():
            logits = make_forward(model, "bf16", CPU)(normalise(pixels(2, 1, 32, 32)))
        assert logits.dtype == torch.float32
        assert logits.isfinite().all()


def test_a_pass_that_ends_in_one_image_of_one_pixel_trains():
    model = build_densenet121(Densenet121Config(), channels=1, size=32, outputs=2)
    rows = Rows(
        [(pixels(5, 1, 32, 32).numpy(), np.arange(5))], np.eye(2, dtype=np.float32)[[0, 1, 0, 1, 0]]
    )
    result = fit(
        model,
        rows,
        rows,
        TrainingConfig(epochs=1, batch_size=4),
        multi_label=False,
        classes=["a", "b"],
        metrics=["accuracy"],
        select_by="accuracy",
        seed=0,
        replicate=0,
    )
    assert (result.status, result.steps) == ("done", 2)


# --- ImageNet's weights ---


@pytest.mark.parametrize("channels", [1, 3])
def test_imagenet_features_are_those_of_torchvision_on_normalised_rgb(home, channels):
    model = build_densenet121(IMAGENET, channels=channels, size=40, outputs=4).eval()
    x = pixels(2, channels, 40, 40)
    rgb = x.expand(-1, 3, -1, -1).float() / 255
    rgb = transforms.normalize(rgb, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
    with torch.no_grad():
        expected = home.features(rgb)
        got = model.network.features(normalise(x) * model._factor + model._offset)
        torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-4)
        pooled = expected.relu().mean((2, 3))
        torch.testing.assert_close(
            model(normalise(x)), model.network.classifier(pooled), rtol=1e-4, atol=1e-4
        )
    assert model.network.classifier.weight.shape == (4, 1024)


def test_imagenet_weights_are_equal_for_all_seeds_but_for_the_last_layer(home):
    def state(seed):
        return build_model(
            catalog.DENSENET121, IMAGENET, channels=1, size=32, outputs=2, seed=seed, replicate=0
        ).state_dict()

    first, again, other = state(0), state(0), state(1)
    assert all(torch.equal(first[name], again[name]) for name in first)
    differing = {name for name in first if not torch.equal(first[name], other[name])}
    assert differing == {"network.classifier.weight"}


def test_absent_imagenet_weights_are_named_with_how_to_get_them(monkeypatch, tmp_path):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(ConfigError, match=rf"{tmp_path}/hub/checkpoints/{FILE}.*synthtrial fetch"):
        build_densenet121(IMAGENET, channels=1, size=32, outputs=2)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("text", "no dictionary"),
        ("other", "values are missing and 2 unknown"),
        ("short", "other shapes"),
    ],
)
def test_a_file_that_holds_something_else_is_refused(monkeypatch, tmp_path, content, reason):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    path = tmp_path / "hub" / "checkpoints" / FILE
    path.parent.mkdir(parents=True)
    if content == "text":
        path.write_text("<html>not found</html>")
    elif content == "other":
        torch.save(nn.Linear(2, 2).state_dict(), path)
    else:
        torch.save({"features.conv0.weight": torch.zeros(1)}, path)
    with pytest.raises(
        ConfigError, match=rf"does not hold DenseNet121_Weights.*{reason}.*Delete it"
    ):
        build_densenet121(IMAGENET, channels=1, size=32, outputs=2)


def test_a_saved_network_is_read_back_without_its_pretrained_weights(
    published, monkeypatch, tmp_path
):
    monkeypatch.setenv("TORCH_HOME", str(published[1]))
    model = build_densenet121(IMAGENET, channels=1, size=32, outputs=2).eval()
    write_network(
        tmp_path,
        CLASSIFIER,
        catalog.DENSENET121,
        IMAGENET,
        model.state_dict(),
        channels=1,
        size=32,
        classes=["a", "b"],
        multi_label=False,
    )
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "nothing"))
    again = read_classifier(SimpleNamespace(file=lambda name: tmp_path / name))
    x = normalise(pixels(2, 1, 32, 32))
    with torch.no_grad():
        assert torch.equal(again(x), model(x))
    with pytest.raises(ConfigError, match="weights=imagenet needs"):  # and only while it is read
        build_densenet121(IMAGENET, channels=1, size=32, outputs=2)


def test_fetching_does_nothing_where_nothing_is_needed_or_all_is_there(home):
    assert fetch_densenet121(Densenet121Config()) == "nothing needs to be fetched"
    assert fetch_densenet121(IMAGENET).startswith("its weights are there: ")


def test_fetching_downloads_once_and_checks_what_came(monkeypatch, tmp_path):
    source = tmp_path / "remote-ca978112.pth"  # the digest of its content begins so
    source.write_text("a")
    target = tmp_path / "home" / "checkpoints" / source.name
    released = torchvision_models.Released
    monkeypatch.setattr(released, "url", property(lambda _: source.as_uri()))
    monkeypatch.setattr(released, "path", property(lambda _: target))
    assert fetch_densenet121(IMAGENET) == f"fetched its weights: {target}"
    assert target.read_text() == "a"
    target.unlink()
    source.write_text("b")
    with pytest.raises(ConfigError, match=f"cannot be downloaded.*put it at {target}"):
        fetch_densenet121(IMAGENET)
    source.unlink()
    with pytest.raises(ConfigError, match="cannot be downloaded"):
        fetch_densenet121(IMAGENET)
    assert not list(target.parent.iterdir())


def test_the_file_is_where_torchvision_looks_for_it(home, published):
    url, path = torchvision_models.DENSENET121.url, torchvision_models.DENSENET121.path
    assert url == f"https://download.pytorch.org/models/{FILE}"
    assert path == Path(published[1], "hub", "checkpoints", FILE)
    assert path.is_file()


# --- refusals ---


@pytest.mark.parametrize("arguments", [{"size": 28}, {"outputs": 0}, {"channels": 2}])
@pytest.mark.parametrize("component", [catalog.DENSENET121, catalog.TXRV_DENSENET121])
def test_impossible_shapes_are_refused(component, arguments):
    shape = {"channels": 1, "size": 32, "outputs": 2} | arguments
    with pytest.raises(ConfigError, match=f"^{component.name}: cannot map .*small_cnn"):
        component.load()(component.config(), **shape)


@pytest.mark.parametrize("scale", [0, -1, float("nan"), float("inf")])
def test_impossible_scales_are_refused(scale):
    with pytest.raises(ConfigError, match=r"input_scale is .*a number above 0"):
        build_densenet121(Densenet121Config(input_scale=scale), channels=1, size=32, outputs=2)


def test_a_scale_of_ones_own_does_not_go_with_imagenet(home):
    config = dataclasses.replace(IMAGENET, input_scale=1024)
    with pytest.raises(ConfigError, match="input_scale is 1024; with weights=imagenet"):
        build_densenet121(config, channels=1, size=32, outputs=2)


def test_an_absent_torchxrayvision_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "torchxrayvision", None)
    with pytest.raises(ConfigError, match=r"pip install 'synthtrial\[xray\]'"):
        build_txrv_densenet121(TxrvDensenet121Config(), channels=1, size=32, outputs=2)


def test_importing_torchxrayvision_leaves_warnings_on(monkeypatch):
    for name in [n for n in sys.modules if n.partition(".")[0] == "torchxrayvision"]:
        monkeypatch.delitem(sys.modules, name)
    before = list(warnings.filters)
    build_txrv_densenet121(TxrvDensenet121Config(), channels=1, size=32, outputs=2)
    assert list(warnings.filters) == before
