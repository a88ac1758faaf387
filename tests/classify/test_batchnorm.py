import pytest
import torch
from torch import nn

from synthtrial.classify.batchnorm import SteadyBatchNorm2d, steady


def test_one_value_of_each_channel_is_normalised_by_running_statistics():
    layer = SteadyBatchNorm2d(3)
    layer.running_mean.fill_(1.0)
    layer.running_var.fill_(4.0)
    x = torch.tensor([3.0, 5.0, 7.0]).view(1, 3, 1, 1).requires_grad_()
    y = layer(x)
    torch.testing.assert_close(y.flatten(), torch.tensor([1.0, 2.0, 3.0]))
    y.sum().backward()
    torch.testing.assert_close(x.grad.flatten(), torch.full((3,), 0.5))
    assert layer.running_mean.tolist() == [1, 1, 1]
    assert layer.num_batches_tracked == 0
    with pytest.raises(ValueError, match="more than 1 value"):
        nn.BatchNorm2d(3)(x)


def test_two_values_that_are_nearly_equal_make_no_gradient_explode():
    x = torch.tensor([1.0, 1.0 + 1e-6]).view(2, 1, 1, 1)
    gradients = []
    for layer in (nn.BatchNorm2d(1, eps=1e-12), SteadyBatchNorm2d(1, eps=1e-12)):
        y = x.clone().requires_grad_()
        (layer(y) * torch.tensor([1.0, 3.0]).view(2, 1, 1, 1)).sum().backward()
        gradients.append(float(y.grad.abs().max()))
    assert gradients[1] < 10
    assert not gradients[0] < 1e3  # it is far larger, or NaN


@pytest.mark.parametrize("shape", [(8, 3, 1, 1), (1, 3, 2, 4), (4, 3, 5, 5)])
def test_every_other_batch_is_treated_as_by_torch(shape):
    plain = nn.BatchNorm2d(3, eps=1e-3, momentum=0.2)
    (replaced,) = steady(nn.Sequential(plain))
    x = torch.randn(shape)
    assert torch.equal(plain(x), replaced(x))
    assert all(
        torch.equal(a, b)
        for a, b in zip(plain.state_dict().values(), replaced.state_dict().values(), strict=True)
    )
    assert torch.equal(plain.eval()(x), replaced.eval()(x))


def test_replacing_keeps_names_order_values_and_settings():
    block = nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2, eps=0.5, momentum=0.3), nn.ReLU())
    network = nn.ModuleDict({"stem": block, "norm": nn.BatchNorm2d(2, affine=False)}).eval()
    nn.init.constant_(block[1].weight, 3.0)
    names = list(network.state_dict())
    assert steady(network) is network
    assert list(network.state_dict()) == names
    assert isinstance(block[1], SteadyBatchNorm2d)
    assert (block[1].eps, block[1].momentum, block[1].training) == (0.5, 0.3, False)
    assert block[1].weight.tolist() == [3, 3]
    assert network["norm"].weight is None
    assert steady(network, 0.7)["stem"][1].momentum == 0.3, "what is replaced already stays"
