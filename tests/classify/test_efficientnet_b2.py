"""torchvision's EfficientNet-B2; what it shares with DenseNet-121 is tested there."""

from __future__ import annotations

import pytest
import torch
from torchvision.models import EfficientNet_B2_Weights, efficientnet_b2
from torchvision.transforms.v2 import functional as transforms

from synthtrial.classify import catalog
from synthtrial.classify.cam import class_activation_maps
from synthtrial.classify.catalog import EfficientnetB2Config
from synthtrial.classify.rows import normalise
from synthtrial.classify.torchvision_models import build_efficientnet_b2, fetch_efficientnet_b2
from synthtrial.errors import ConfigError
from synthtrial.testing.classifiers import ClassifierContract

FILE = EfficientNet_B2_Weights.IMAGENET1K_V1.url.rpartition("/")[2]
IMAGENET = EfficientnetB2Config(weights="imagenet")


class TestEfficientnetB2(ClassifierContract):
    component = catalog.EFFICIENTNET_B2
    shapes = ((1, 32), (3, 47))
    test_learns_a_plain_task_to_equal_bits = None  # half a minute; a smaller one of its kind does


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """A network, and a $TORCH_HOME that holds it under the name of the released file."""
    with torch.random.fork_rng():
        torch.manual_seed(3)
        network = efficientnet_b2()
    home = tmp_path_factory.mktemp("torch")
    path = home / "hub" / "checkpoints" / FILE
    path.parent.mkdir(parents=True)
    torch.save(network.state_dict(), path)
    return network.eval(), home


@pytest.mark.parametrize("channels", [1, 3])
def test_imagenet_features_are_those_of_torchvision_on_normalised_rgb(
    channels, published, monkeypatch
):
    theirs, home = published
    monkeypatch.setenv("TORCH_HOME", str(home))
    ours = build_efficientnet_b2(IMAGENET, channels=channels, size=64, outputs=10).eval()
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(256, (2, channels, 64, 64), generator=generator, dtype=torch.uint8)
    rgb = transforms.to_dtype(pixels.expand(-1, 3, -1, -1), torch.float32, scale=True)
    rgb = transforms.normalize(rgb, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    with torch.inference_mode():
        ours.network.classifier = torch.nn.Identity()
        theirs_body = torch.nn.Sequential(theirs.features, theirs.avgpool, torch.nn.Flatten())
        torch.testing.assert_close(ours(normalise(pixels)), theirs_body(rgb), rtol=1e-4, atol=1e-4)


def test_missing_weights_are_named_with_what_fetches_them(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(ConfigError, match=rf"{FILE}, which is not there. Run `synthtrial fetch"):
        build_efficientnet_b2(IMAGENET, channels=3, size=64, outputs=10)
    assert fetch_efficientnet_b2(EfficientnetB2Config()) == "nothing needs to be fetched"


def test_a_file_of_something_else_is_no_file_of_weights(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    path = tmp_path / "hub" / "checkpoints" / FILE
    path.parent.mkdir(parents=True)
    torch.save({"features.0.0.weight": torch.zeros(2)}, path)
    with pytest.raises(ConfigError, match=r"efficientnet_b2: .* does not hold EfficientNet_B2"):
        build_efficientnet_b2(IMAGENET, channels=3, size=64, outputs=10)


def test_its_activation_maps_are_exact():
    network = build_efficientnet_b2(EfficientnetB2Config(), channels=3, size=64, outputs=4)
    maps = class_activation_maps(network, torch.randn(2, 3, 64, 64), [0, 3])
    assert maps.shape == (2, 2, 2, 2)


def test_a_dropout_that_is_none_is_refused():
    with pytest.raises(ConfigError, match="dropout is 1"):
        build_efficientnet_b2(EfficientnetB2Config(dropout=1.0), channels=3, size=64, outputs=4)
