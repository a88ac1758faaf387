from itertools import combinations

import numpy as np
import pytest
from scipy.spatial.distance import cdist
from sklearn.neighbors import NearestNeighbors

from synthtrial.errors import DataError
from synthtrial.synthesis import neighbourhoods, pairs


@pytest.fixture(params=[7, 1024])
def block(request, monkeypatch):
    """Whole sets in one block, or in many with a remainder."""
    monkeypatch.setattr(pairs, "_BLOCK", request.param)


def draw(seed, n, width=4, *, mean=0.0, scale=1.0):
    x = np.random.default_rng(seed).normal(mean, scale, (n, width))
    return x.astype(np.float32)


def inside(real, made, k):
    """Which made image each real one reaches, by scikit-learn and scipy."""
    real, made = real.astype(float), made.astype(float)
    reach = NearestNeighbors(n_neighbors=k).fit(real).kneighbors()[0][:, -1]
    return cdist(real, made) <= reach[:, None]


@pytest.mark.parametrize("k", [1, 3, 5])
def test_figures_are_those_of_other_libraries(block, k):
    real, made = draw(0, 30), draw(1, 43, mean=0.8)
    within = inside(real, made, k)
    assert neighbourhoods.precision(real, made, k) == within.any(0).mean()
    assert neighbourhoods.coverage(real, made, k) == within.any(1).mean()
    assert neighbourhoods.density(real, made, k) == pytest.approx(within.sum() / (k * 43))
    assert neighbourhoods.precision(made, real, k) == inside(made, real, k).any(0).mean()
    assert 0 < within.any(0).mean() < 1
    assert 0 < within.any(1).mean() < 1


def test_figures_on_a_line_are_what_paper_and_pencil_give(block):
    real = np.array([[0], [1], [3], [10]], np.float32)  # reach 1, 1, 2, 7 for k = 1
    made = np.array([[0.5], [4], [100]], np.float32)  # reached by 0 and 1; by 3 and 10; by none
    assert neighbourhoods.precision(real, made, 1) == pytest.approx(2 / 3)
    assert neighbourhoods.coverage(real, made, 1) == 1
    assert neighbourhoods.density(real, made, 1) == pytest.approx(4 / 3)
    assert neighbourhoods.precision(made, real, 1) == 1  # 4 reaches 3.5, 100 reaches 96
    assert neighbourhoods.coverage(real, made[:1], 1) == 0.5


@pytest.mark.parametrize(("n", "m", "k"), [(60, 60, 5), (40, 15, 5), (25, 50, 2)])
def test_one_distribution_gives_the_published_expectations(n, m, k):
    densities, coverages = [], []
    for seed in range(120):
        x = draw(seed, n + m)
        densities.append(neighbourhoods.density(x[:n], x[n:], k))
        coverages.append(neighbourhoods.coverage(x[:n], x[n:], k))
    i = np.arange(1, k + 1)
    expected = 1 - np.prod((n - i) / (m + n - i))  # Naeem et al. 2020, lemma 2
    for values, truth in ((densities, 1), (coverages, expected)):
        assert np.mean(values) == pytest.approx(truth, abs=4 * np.std(values) / np.sqrt(120))


def test_images_far_from_real_ones_have_no_precision_density_or_coverage():
    real, made = draw(0, 30), draw(1, 30, mean=50)
    for measure in (neighbourhoods.precision, neighbourhoods.density, neighbourhoods.coverage):
        assert measure(real, made) == 0


def test_collapse_keeps_precision_and_loses_recall_and_coverage():
    real = draw(0, 200)
    made = 0.01 * draw(1, 200)
    assert neighbourhoods.precision(real, made) == 1
    assert neighbourhoods.precision(made, real) < 0.05
    assert neighbourhoods.coverage(real, made) < 0.2


def test_coverage_beside_real_is_the_mean_over_all_subsets(block):
    reference, made, other = draw(0, 15), draw(1, 7, mean=0.5), draw(2, 4)
    found = neighbourhoods.coverage_beside_real(reference, made, other, k=2)
    within = inside(reference, made, 2)
    every = [within[:, list(chosen)].any(1).mean() for chosen in combinations(range(7), 4)]
    assert found.made == pytest.approx(np.mean(every), rel=1e-12)
    assert found.real == inside(reference, other, 2).any(1).mean()
    assert (found.n, found.n_reference) == (4, 15)
    turned = neighbourhoods.coverage_beside_real(reference, other, made, k=2)
    assert (turned.made, turned.real) == (found.real, found.made)


def test_coverage_beside_real_is_plain_coverage_where_all_are_used():
    reference, made, other = draw(0, 50), draw(1, 30), draw(2, 30)
    found = neighbourhoods.coverage_beside_real(reference, made, other)
    assert found.made == pytest.approx(neighbourhoods.coverage(reference, made), rel=1e-12)
    assert found.real == pytest.approx(neighbourhoods.coverage(reference, other), rel=1e-12)


def test_coverage_beside_real_does_not_reward_making_more_images():
    reference, other = draw(0, 100), draw(1, 40)
    few, many = (
        np.mean(
            [
                neighbourhoods.coverage_beside_real(reference, draw(s, m), other).made
                for s in range(9)
            ]
        )
        for m in (40, 4000)
    )
    assert few == pytest.approx(many, abs=0.05)


@pytest.mark.parametrize(
    "measure", [neighbourhoods.precision, neighbourhoods.density, neighbourhoods.coverage]
)
def test_too_few_images_are_refused(measure):
    with pytest.raises(DataError, match="5 images have no 5 neighbours each; at least 6"):
        measure(draw(0, 5), draw(1, 5))
    measure(draw(0, 6), draw(1, 1))
    with pytest.raises(DataError, match=r"there are no .*; at least 1 is needed"):
        measure(draw(0, 6), draw(1, 0))
    with pytest.raises(DataError, match="0 nearest neighbours; allowed: 1 or more"):
        measure(draw(0, 6), draw(1, 5), 0)


def test_coverage_beside_real_needs_other_real_images():
    with pytest.raises(DataError, match="no other real images to compare with"):
        neighbourhoods.coverage_beside_real(draw(0, 6), draw(1, 5), draw(1, 0))
    with pytest.raises(DataError, match="of one extractor"):
        neighbourhoods.coverage_beside_real(draw(0, 6), draw(1, 5), draw(1, 5, 3))
