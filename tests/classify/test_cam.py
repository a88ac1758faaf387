import numpy as np
import pytest
import torch
from scipy.stats import pearsonr
from torch import nn

from synthtrial.classify import catalog
from synthtrial.classify.cam import (
    class_activation_maps,
    concentration,
    mean_similarity,
    similarities,
    similarity,
)
from synthtrial.classify.catalog import EfficientnetLite0Config
from synthtrial.classify.hooks import noted_maps
from synthtrial.classify.training import build_model
from synthtrial.errors import DataError, TrainingError

COMPONENTS = {
    "densenet121": (catalog.DENSENET121, None, 96, 3),
    "txrv_densenet121": (catalog.TXRV_DENSENET121, None, 96, 3),
    "efficientnet_lite0": (
        catalog.EFFICIENTNET_LITE0,
        EfficientnetLite0Config(weights="embedded"),
        96,
        3,
    ),
    "efficientnet_lite0, enlarging": (
        catalog.EFFICIENTNET_LITE0,
        EfficientnetLite0Config(weights="embedded"),
        8,
        2,
    ),
    "small_cnn": (catalog.SMALL_CNN, None, 28, 2),
}


def images(size, n=3, channels=1):
    return torch.randn(n, channels, size, size, generator=torch.Generator().manual_seed(0)) / 2


class Pooled(nn.Module):
    """A network of the plainest kind; ``after`` is what follows its last layer."""

    def __init__(self, *, before=None, after=None, bias=True):
        super().__init__()
        self.body = nn.Conv2d(1, 4, 3)
        self.before = before or nn.Identity()
        self.last = nn.Linear(4, 2, bias=bias)
        self.after = after or nn.Identity()

    def forward(self, x):
        return self.after(self.last(self.before(self.body(x).relu().mean((2, 3)))))


@pytest.mark.parametrize("name", COMPONENTS)
def test_maps_add_up_to_the_logits(name):
    component, options, size, side = COMPONENTS[name]
    model = build_model(
        component,
        options or component.config(),
        channels=1,
        size=size,
        outputs=5,
        seed=0,
        replicate=0,
    ).eval()
    x, classes = images(size), [4, 0]
    maps = class_activation_maps(model, x, classes)
    assert maps.shape == (3, 2, side, side)
    assert maps.dtype == np.float32
    with torch.no_grad():
        logits = model(x)[:, classes].numpy()
    layer = [m for m in model.modules() if isinstance(m, nn.Linear)][-1]
    bias = layer.bias.detach().numpy()[classes]
    np.testing.assert_allclose(maps.mean((2, 3)) + bias, logits, rtol=1e-3, atol=1e-3)
    assert np.ptp(maps, axis=(2, 3)).min() > 0


def test_a_map_says_where_a_class_is_seen():
    model = Pooled(bias=False)
    with torch.no_grad():
        model.body.weight.fill_(1.0)
        model.body.bias.fill_(0.0)
        model.last.weight.copy_(torch.tensor([[1.0] * 4, [-1.0] * 4]))
    x = torch.zeros(1, 1, 9, 9)
    x[0, 0, 1, 6] = 1.0
    for_it, against = class_activation_maps(model, x, [0, 1])[0]
    expected = np.zeros((7, 7))
    expected[:2, 4:7] = 4.0
    np.testing.assert_allclose(for_it, expected)
    np.testing.assert_allclose(against, -expected)


def test_the_maps_of_small_cnn_are_its_weights_at_each_position():
    component = catalog.SMALL_CNN
    shape = {"channels": 1, "size": 8, "outputs": 3, "seed": 0, "replicate": 0}
    model = build_model(component, component.config(), **shape).eval()
    x = images(8)
    activations = model[:-2](x).detach()
    assert activations.shape[1:3] == (2, 2)
    weight = model[-1].weight.detach().view(3, *activations.shape[1:])
    expected = torch.einsum("bhwc,khwc->bkhw", activations, weight) * 4
    np.testing.assert_allclose(
        class_activation_maps(model, x, [0, 1, 2]), expected, rtol=1e-4, atol=1e-5
    )


def test_a_network_that_flattens_channels_first_has_maps_too():
    model = nn.Sequential(nn.Conv2d(1, 5, 3), nn.ReLU(), nn.Flatten(), nn.Linear(5 * 16, 2))
    maps = class_activation_maps(model, images(6), [1])
    assert maps.shape == (3, 1, 4, 4)
    weight = model[3].weight.detach()[1].view(5, 4, 4)
    expected = (model[:2](images(6)).detach() * weight).sum(1) * 16
    np.testing.assert_allclose(maps[:, 0], expected, rtol=1e-4, atol=1e-5)


def test_the_model_is_left_as_it_was():
    model = Pooled(before=nn.Dropout(0.5)).train()
    maps = class_activation_maps(model, images(9), [0])
    assert model.training
    assert np.array_equal(maps, class_activation_maps(model.eval(), images(9), [0]))
    assert not model.training
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


def test_only_the_last_few_maps_are_kept_in_memory():
    model = nn.Sequential(*(nn.Conv2d(4, 4, 1) for _ in range(50)), nn.Flatten(), nn.Linear(4, 2))
    with noted_maps(model) as seen:
        model(torch.zeros(1, 4, 1, 1))
    assert len(seen) == 8


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (Pooled(after=nn.Softmax(1)), "not exact for Pooled.*something follows"),
        (Pooled(after=nn.Flatten(0)), "not exact for Pooled.*something follows"),
        (Pooled(before=nn.Softplus()), "sees neither the mean nor all positions"),
        (nn.Sequential(nn.Conv2d(1, 2, 9), nn.Flatten()), "does not end in a linear layer"),
        (nn.Sequential(nn.Linear(9, 2)), "does not end in a linear layer"),
        (
            nn.Sequential(nn.Conv2d(1, 7, 3), nn.Flatten(), nn.Linear(7 * 49, 2)),
            "sees neither",  # of 7 channels of 7x7 positions it cannot be told which are which
        ),
    ],
)
def test_networks_without_exact_maps_are_refused(model, message):
    with pytest.raises(TrainingError, match=f"{message}.*one linear layer"):
        class_activation_maps(model, images(9), [0])


@pytest.mark.parametrize("classes", [[], [2], [-1]])
def test_classes_that_are_not_there_are_refused(classes):
    with pytest.raises(DataError, match="allowed: one or more of 0 to 1"):
        class_activation_maps(Pooled(), images(9), classes)


# --- comparing maps ---


def test_similarity_is_pearsons_correlation():
    numbers = np.random.default_rng(0)
    a, b = numbers.normal(size=(2, 7, 7))
    assert similarity(a, b) == pytest.approx(pearsonr(a.ravel(), b.ravel()).statistic)
    assert similarity(a, 3 * a + 2) == pytest.approx(1)
    assert similarity(a, -a) == pytest.approx(-1)
    assert np.isnan(similarity(a, np.full((7, 7), 0.1)))
    with pytest.raises(DataError, match=r"\(7, 7\) and \(6, 7\) cannot be compared"):
        similarity(a, b[1:])
    with pytest.raises(DataError, match="cannot be compared"):
        similarities(a[None], b[None, 1:])


def test_concentration_is_the_share_of_the_highest_tenth():
    assert concentration(np.ones((10, 10))).share == pytest.approx(0.1)
    assert concentration(np.ones((10, 10))).uniform == 0.1
    peak = np.full((7, 7), -1.0)
    peak[2, 3] = 5
    assert concentration(peak).share == 1
    assert concentration(peak).uniform == 5 / 49
    assert np.isnan(concentration(np.zeros((3, 3))).share)
    half = np.zeros((10, 10))
    half[0, :10], half[1, :10] = 3, 1
    assert concentration(half).share == pytest.approx(0.75)


def test_mean_similarity_is_that_over_all_pairs():
    numbers = np.random.default_rng(1)
    first, second = numbers.normal(size=(5, 4, 4)), numbers.normal(size=(7, 4, 4))
    got = mean_similarity(first, second, np.random.default_rng(0))
    every = [similarity(a, b) for a in first for b in second]
    assert got.mean == pytest.approx(np.mean(every))
    assert (got.pairs, got.flat) == (35, 0)
    assert got.low < got.mean < got.high
    assert got == mean_similarity(first, second, np.random.default_rng(0))
    wider = mean_similarity(first, second, np.random.default_rng(0), level=0.99)
    assert wider.low < got.low < got.high < wider.high


def test_one_set_is_compared_without_pairs_of_an_image_with_itself():
    maps = np.random.default_rng(2).normal(size=(6, 4, 4))
    got = mean_similarity(maps, None, np.random.default_rng(0))
    every = [similarity(maps[i], maps[j]) for i in range(6) for j in range(i)]
    assert got.mean == pytest.approx(np.mean(every))
    assert got.pairs == 15
    assert -1 <= got.low <= got.mean <= got.high < 0.9, "repeats in a resample are no pairs"


def test_the_interval_over_images_covers_what_it_says():
    numbers = np.random.default_rng(3)
    signal = numbers.normal(size=(4, 4))

    def maps(n):
        strengths = numbers.normal(1.0, 0.6, size=(n, 1, 1))
        return strengths * signal + numbers.normal(size=(n, 4, 4))

    truth = mean_similarity(maps(1500), maps(1500), numbers, resamples=2).mean
    covered = 0
    for _ in range(200):
        got = mean_similarity(maps(25), maps(25), numbers, resamples=200)
        covered += got.low <= truth <= got.high
    assert 0.88 <= covered / 200 <= 0.99


def test_flat_maps_are_left_out_and_counted():
    maps = np.random.default_rng(4).normal(size=(5, 3, 3))
    maps[2] = 7
    got = mean_similarity(maps, None, np.random.default_rng(0))
    rest = mean_similarity(np.delete(maps, 2, axis=0), None, np.random.default_rng(0))
    assert got.flat == 1
    assert got.mean == rest.mean
    with pytest.raises(DataError, match="each set needs two or more images"):
        mean_similarity(maps[:3], maps[2:4], np.random.default_rng(0))
