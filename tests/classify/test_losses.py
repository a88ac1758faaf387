import numpy as np
import pytest
import torch

from synthtrial.classify.losses import make_labels, make_objective
from synthtrial.errors import DataError

CPU = torch.device("cpu")
SINGLE = np.eye(3, dtype=np.float32)[[0, 0, 0, 0, 1, 2, 2, 0]]
MULTI = np.array([[1, 0], [1, 1], [0, 0], [1, np.nan]], dtype=np.float32)


def test_balanced_weights_are_one_on_average_and_equal_in_sum_for_every_class():
    objective = make_objective(SINGLE, multi_label=False, balanced=True, device=CPU)
    assert objective.weights_N.mean() == pytest.approx(1)
    sums = objective.weights_N @ SINGLE
    np.testing.assert_allclose(sums, sums[0])
    z, y = torch.randn(8, 3), make_labels(SINGLE, multi_label=False, device=CPU)
    plain = make_objective(SINGLE, multi_label=False, balanced=False, device=CPU)
    np.testing.assert_allclose(
        objective.loss(z, y).numpy() / objective.weights_N, plain.loss(z, y).numpy(), rtol=1e-5
    )


def test_ignored_labels_have_no_loss_and_no_gradient():
    objective = make_objective(MULTI, multi_label=True, balanced=False, device=CPU)
    z = torch.zeros(4, 2, requires_grad=True)
    loss = objective.loss(z, make_labels(MULTI, multi_label=True, device=CPU))
    np.testing.assert_allclose(loss.detach(), np.log(2) * np.array([1, 1, 1, 0.5]), rtol=1e-6)
    torch.autograd.backward(loss.sum())
    assert z.grad[3, 1] == 0
    assert (z.grad[:3] != 0).all()


def test_balanced_multi_label_positives_weigh_as_much_as_negatives():
    objective = make_objective(MULTI, multi_label=True, balanced=True, device=CPU)
    z = torch.zeros(4, 2, requires_grad=True)
    labels = make_labels(MULTI, multi_label=True, device=CPU)
    torch.autograd.backward(objective.loss(z, labels).sum())
    np.testing.assert_allclose(z.grad.sum(0), [0, 0], atol=1e-6)


@pytest.mark.parametrize("row", [[0, 0, 0], [1, 1, 0], [1, np.nan, 0]])
def test_a_row_without_exactly_one_class_is_refused(row):
    targets = np.array([[1, 0, 0], row], dtype=np.float32)
    with pytest.raises(DataError, match="row 1"):
        make_labels(targets, multi_label=False, device=CPU)
