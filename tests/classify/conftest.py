import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from synthtrial.classify.rows import Rows


@pytest.fixture(autouse=True, scope="session")
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def digits():
    """Rows of real digits by range: ``digits(0, 300)``."""
    data = load_digits()
    images = np.round(data.images * (255 / 16)).astype(np.uint8)[:, None]
    targets = np.eye(10, dtype=np.float32)[data.target]
    order = np.random.default_rng(0).permutation(len(images))

    def rows(start, stop):
        chosen = order[start:stop]
        return Rows([(images, chosen)], targets[chosen])

    return rows
