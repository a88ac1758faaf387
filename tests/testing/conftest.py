import pytest
import torch


@pytest.fixture(autouse=True)
def one_thread():
    """Small networks are trained on one thread, as studies do; two would only fight here."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
