import numpy as np
import pytest
import scipy.linalg
import torch
from scipy.spatial.distance import cdist, pdist
from torchmetrics.image.fid import FrechetInceptionDistance
from torchmetrics.image.kid import KernelInceptionDistance

from synthtrial.errors import DataError
from synthtrial.synthesis import measures, pairs


@pytest.fixture(params=[7, 1024])
def block(request, monkeypatch):
    """Whole sets in one block, or in many with a remainder."""
    monkeypatch.setattr(pairs, "_BLOCK", request.param)


def draw(seed, n, width=6, *, mean=0.0, scale=1.0):
    x = np.random.default_rng(seed).normal(mean, scale, (n, width))
    return x.astype(np.float32)


class Identity(torch.nn.Module):
    """What torchmetrics takes for a network: the "images" are features already."""

    def __init__(self, width):
        super().__init__()
        self.num_features = width

    def forward(self, x):
        return x


def column(*values):
    return np.array(values, dtype=np.float32)[:, None]


# --- kernel distance ---


def test_the_kernel_distance_of_four_numbers_is_what_paper_and_pencil_give(block):
    # k(a, b) = (ab + 1)^3: within 1 and 343; across 1, 1, 27, 64.
    found = measures.kernel_distance(column(0, 1), column(2, 3))
    assert found.value == pytest.approx(1 + 343 - 2 * 93 / 4, rel=1e-12)
    assert (found.n_real, found.n_made) == (2, 2)


def test_the_kernel_distance_is_that_of_a_loop_over_pairs(block):
    x, y = draw(0, 19), draw(1, 23, mean=0.5)

    def k(a, b):
        return (float(np.dot(a.astype(float), b.astype(float))) / 6 + 1) ** 3

    xx = np.mean([k(a, b) for i, a in enumerate(x) for j, b in enumerate(x) if i != j])
    yy = np.mean([k(a, b) for i, a in enumerate(y) for j, b in enumerate(y) if i != j])
    xy = np.mean([k(a, b) for a in x for b in y])
    found = measures.kernel_distance(x, y)
    assert found.value == pytest.approx(xx + yy - 2 * xy, rel=1e-10)
    assert (found.n_real, found.n_made) == (19, 23)


@pytest.mark.filterwarnings("ignore:Metric `Kernel Inception Distance` will save all extracted")
def test_the_kernel_distance_agrees_with_torchmetrics_on_one_full_subset(block):
    x, y = draw(0, 40), draw(1, 40, mean=0.3)
    metric = KernelInceptionDistance(feature=Identity(6), subsets=1, subset_size=40)
    metric.set_dtype(torch.float64)
    metric.update(torch.from_numpy(x).double(), real=True)
    metric.update(torch.from_numpy(y).double(), real=False)
    value, _ = metric.compute()
    assert measures.kernel_distance(x, y).value == pytest.approx(float(value), rel=1e-5)


def test_the_kernel_distance_of_one_distribution_is_0_on_average():
    values = [
        measures.kernel_distance(draw(2 * i, 60), draw(2 * i + 1, 30)).value for i in range(80)
    ]
    error = np.std(values) / np.sqrt(len(values))
    assert abs(np.mean(values)) < 4 * error
    assert min(values) < 0  # as an unbiased estimator of 0 must be, now and then
    assert measures.kernel_distance(draw(0, 60), draw(1, 30, mean=1)).value > max(values)


def test_the_kernel_distance_needs_two_images_of_each():
    with pytest.raises(DataError, match=r"sets of 3 and 1 images; each must hold at least 2"):
        measures.kernel_distance(draw(0, 3), draw(1, 1))


# --- Frechet distance ---


def test_the_frechet_distance_of_shifted_and_scaled_sets_has_a_closed_form():
    x = draw(0, 50).astype(np.float64)
    assert measures.frechet_distance(x, x).value == pytest.approx(0, abs=1e-9)
    assert measures.frechet_distance(x, x + 2).value == pytest.approx(6 * 4, rel=1e-9)
    centred = x - x.mean(0)
    trace = np.trace(np.cov(centred, rowvar=False))
    assert measures.frechet_distance(centred, 3 * centred).value == pytest.approx(4 * trace)


def test_the_frechet_distance_of_one_feature_has_a_closed_form():
    x, y = draw(0, 9, 1).astype(float), draw(1, 12, 1, mean=2, scale=3).astype(float)
    expected = (x.mean() - y.mean()) ** 2 + (x.std(ddof=1) - y.std(ddof=1)) ** 2
    found = measures.frechet_distance(x, y)
    assert found.value == pytest.approx(expected)
    assert (found.n_real, found.n_made) == (9, 12)


def test_the_frechet_distance_agrees_with_scipy_and_torchmetrics():
    mix = np.random.default_rng(5).normal(size=(6, 6))
    x, y = draw(0, 70) @ mix.astype(np.float32), draw(1, 80, mean=0.3)
    root = scipy.linalg.sqrtm(np.cov(x.T, dtype=float) @ np.cov(y.T, dtype=float)).real
    gap = ((x.mean(0, dtype=float) - y.mean(0, dtype=float)) ** 2).sum()
    by_scipy = gap + np.trace(np.cov(x.T, dtype=float) + np.cov(y.T, dtype=float) - 2 * root)
    metric = FrechetInceptionDistance(feature=Identity(6)).set_dtype(torch.float64)
    metric.update(torch.from_numpy(x), real=True)
    metric.update(torch.from_numpy(y), real=False)
    found = measures.frechet_distance(x, y).value
    assert found == pytest.approx(by_scipy, rel=1e-9)
    assert found == pytest.approx(float(metric.compute()), rel=1e-4)


def test_the_frechet_distance_is_refused_where_covariances_would_be_singular():
    message = r"sets of 50 and 6 images with 6 features: .* more than 6 .* kernel distance"
    with pytest.raises(DataError, match=message):
        measures.frechet_distance(draw(0, 50), draw(1, 6))
    with pytest.raises(DataError, match="sets of 6 and 50"):
        measures.frechet_distance(draw(0, 6), draw(1, 50))
    measures.frechet_distance(draw(0, 7), draw(1, 7))


# --- diversity ---


def test_diversity_is_the_ratio_of_mean_distances_between_pairs(block):
    x, y = draw(0, 20), draw(1, 31, scale=2)
    expected = pdist(y.astype(float)).mean() / pdist(x.astype(float)).mean()
    assert measures.diversity(x, y) == pytest.approx(expected, rel=1e-9)
    assert measures.diversity(x, x) == 1
    assert measures.diversity(x, 3 * x + 5) == pytest.approx(3, rel=1e-5)


def test_one_image_over_and_over_has_no_diversity(block):
    assert measures.diversity(draw(0, 20), np.repeat(draw(1, 1, mean=100), 30, axis=0)) == 0


def test_the_number_of_images_does_not_bias_diversity():
    values = [measures.diversity(draw(0, 400), draw(i, 3)) for i in range(1, 200)]
    assert np.mean(values) == pytest.approx(1, abs=0.05)


def test_diversity_needs_pairs_and_real_images_that_differ():
    with pytest.raises(DataError, match="1 real and 5 made images; it takes at least 2"):
        measures.diversity(draw(0, 1), draw(1, 5))
    with pytest.raises(DataError, match="the 4 real images all have the same features"):
        measures.diversity(np.ones((4, 3), np.float32), draw(1, 5, 3))


# --- memorisation ---


def test_copies_are_memorised(block):
    training, heldout = draw(0, 100), draw(1, 99)
    copies = training[np.random.default_rng(3).integers(0, 100, 60)]
    found = measures.memorisation(training, heldout, copies)
    assert (found.share, found.median_ratio) == (1, 0)
    assert found.expected == 0.05
    assert (found.n_made, found.n_heldout, found.n_training) == (60, 99, 100)
    near = measures.memorisation(training, heldout, copies + 0.01 * draw(4, 60))
    assert near.share == 1
    assert 0 < near.median_ratio < 0.1


@pytest.mark.parametrize(("n", "expected"), [(5, 1 / 6), (8, 1 / 9), (19, 1 / 20), (99, 5 / 100)])
def test_new_images_have_the_expected_share_on_average(n, expected):
    shares = []
    for seed in range(150):
        x = draw(seed, 40 + n + 50, 3)
        found = measures.memorisation(x[:40], x[40 : 40 + n], x[40 + n :])
        assert found.expected == pytest.approx(expected)
        shares.append(found.share)
    assert np.mean(shares) == pytest.approx(expected, abs=4 * np.std(shares) / np.sqrt(150))


def test_memorisation_counts_what_is_nearer_than_the_ranked_heldout_image(block):
    training, heldout, made = draw(0, 33), draw(1, 59), draw(2, 41, scale=0.7)
    real, new = (cdist(x.astype(float), training.astype(float)).min(1) for x in (heldout, made))
    found = measures.memorisation(training, heldout, made, percentile=10)
    assert found.threshold == pytest.approx(np.sort(real)[5])  # the 6th of 59
    assert found.expected == pytest.approx(0.1)
    assert found.share == np.mean(new < np.sort(real)[5])
    assert found.median_ratio == pytest.approx(np.median(new) / np.median(real))


def test_nearest_distances_are_scipys(block):
    x, y = draw(0, 30, mean=5), draw(1, 20, mean=5)
    expected = cdist(x.astype(float), y.astype(float)).min(1)
    assert measures.nearest_distances(x, y) == pytest.approx(expected, rel=1e-6)
    assert (measures.nearest_distances(x, x[::-1]) == 0).all()


def test_a_picture_computed_in_another_batch_is_still_a_copy(block):
    training = draw(0, 100, 512, mean=3)
    again = training * (1 + 1e-6 * draw(1, 100, 512))
    assert (measures.nearest_distances(again, training) == 0).all()


@pytest.mark.parametrize(
    ("training", "heldout", "made", "percentile", "message"),
    [
        (0, 20, 20, 5, "there are no training images"),
        (20, 20, 0, 5, "there are no made images"),
        (20, 4, 20, 5, "4 held-out images cannot say .* at least 5"),
        (20, 20, 20, 0, "percentile 0 of held-out .* above 0 to 50"),
        (20, 20, 20, 51, "percentile 51"),
    ],
)
def test_memorisation_is_refused_where_it_would_mean_nothing(
    training, heldout, made, percentile, message
):
    sets = draw(0, training), draw(1, heldout), draw(2, made)
    with pytest.raises(DataError, match=message):
        measures.memorisation(*sets, percentile)


def test_heldout_images_that_are_copies_make_copies_untellable():
    training = draw(0, 30)
    heldout = np.concatenate([training[:3], draw(1, 27)])
    with pytest.raises(DataError, match="3 of 30 held-out images have the features of a training"):
        measures.memorisation(training, heldout, training)


# --- recognisability ---


def test_recognisability_of_one_class_goes_by_the_largest_logit():
    logits = np.array([[3, 1, 0], [0, 1, 3], [1, 2, -1], [-5, -4, -6]], dtype=np.float32)
    found = [measures.recognisability(logits, c, multi_label=False) for c in range(3)]
    assert found == [0.25, 0.5, 0.25]


def test_recognisability_of_many_classes_goes_by_probabilities_of_a_half():
    logits = np.array([[3, 1, -1], [0, 1, -3], [-0.1, 2, -1]], dtype=np.float32)
    found = [measures.recognisability(logits, c, multi_label=True) for c in range(3)]
    assert found == pytest.approx([2 / 3, 1, 0])
    with pytest.raises(DataError, match="no images to recognise"):
        measures.recognisability(logits[:0], 0, multi_label=True)


# --- input ---


@pytest.mark.parametrize(
    ("real", "made", "message"),
    [
        (draw(0, 5, 3), draw(0, 5, 4), r"\(5, 3\) and \(5, 4\).* of one extractor"),
        (draw(0, 5, 3)[0], draw(0, 5, 3), "each must be"),
        (np.zeros((5, 0), np.float32), np.zeros((5, 0), np.float32), "at least one feature"),
        (np.zeros((5, 3), np.int64), draw(0, 5, 3), "finite floats"),
        (draw(0, 5, 3), np.full((5, 3), np.nan, np.float32), "look for NaN"),
    ],
)
def test_features_that_are_none_are_refused(real, made, message):
    for measure in (measures.kernel_distance, measures.frechet_distance, measures.diversity):
        with pytest.raises(DataError, match=message):
            measure(real, made)
