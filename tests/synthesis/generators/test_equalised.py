import pytest
import torch
import torch.nn.functional as F

from synthtrial.synthesis.generators.equalised import (
    EqualConv2d,
    EqualLinear,
    doubled,
    halved,
    pixel_norm,
    with_deviation,
)


@pytest.mark.parametrize("gain", [2**0.5, 1.0])
@torch.no_grad()
def test_equalised_layers_scale_standard_normal_weights_by_hes_constant(gain):
    torch.manual_seed(0)
    conv, linear = EqualConv2d(24, 40, 3, gain=gain), EqualLinear(50, 40, gain=gain)
    for layer, fan_in in ((conv, 24 * 9), (linear, 50)):
        assert float(layer.weight.std()) == pytest.approx(1.0, abs=0.05)
        assert torch.equal(layer.bias, torch.zeros(40))
        layer.bias.normal_()
        x = torch.randn((2, 24, 5, 5) if layer is conv else (2, 50))
        weight = layer.weight * gain / fan_in**0.5
        expected = (
            F.conv2d(x, weight, layer.bias, padding=1)
            if layer is conv
            else F.linear(x, weight, layer.bias)
        )
        torch.testing.assert_close(layer(x), expected)


@torch.no_grad()
def test_an_equalised_layer_keeps_the_variance_through_its_rectifier():
    torch.manual_seed(0)
    x_BF = torch.randn(64, 500)
    for _ in range(4):
        x_BF = F.relu(EqualLinear(500, 500)(x_BF))
    assert float(x_BF.square().mean()) == pytest.approx(1.0, rel=0.2)


def test_doubling_within_a_convolution_equals_repeating_pixels_before_it():
    torch.manual_seed(0)
    fused, plain = EqualConv2d(3, 4, 3, resample="double"), EqualConv2d(3, 4, 3)
    plain.load_state_dict(fused.state_dict())
    x_BCHW = torch.randn(2, 3, 5, 5)
    torch.testing.assert_close(fused(x_BCHW), plain(doubled(x_BCHW)))


def test_halving_within_a_convolution_equals_averaging_pixels_after_it():
    torch.manual_seed(0)
    fused, plain = EqualConv2d(3, 4, 3, resample="halve"), EqualConv2d(3, 4, 3)
    plain.load_state_dict(fused.state_dict())
    x_BCHW = torch.randn(2, 3, 10, 10)
    torch.testing.assert_close(fused(x_BCHW), halved(plain(x_BCHW)))


def test_pixel_norm_makes_the_mean_square_over_channels_one():
    torch.manual_seed(0)
    x_BCHW = 7 * torch.randn(2, 6, 3, 3)
    y_BCHW = pixel_norm(x_BCHW)
    torch.testing.assert_close(y_BCHW.square().mean(dim=1), torch.ones(2, 3, 3))
    # Only the length changes.
    torch.testing.assert_close(F.cosine_similarity(x_BCHW, y_BCHW), torch.ones(2, 3, 3))


def test_pixel_norm_of_nothing_is_nothing():
    assert torch.equal(pixel_norm(torch.zeros(1, 4)), torch.zeros(1, 4))


def test_pixel_norm_is_precise_in_half_precision():
    x_BF = torch.full((1, 4096), 300.0, dtype=torch.float16)  # its square is infinite in float16
    y_BF = pixel_norm(x_BF)
    assert y_BF.dtype == torch.float16
    torch.testing.assert_close(y_BF, torch.ones_like(y_BF))


def test_the_deviation_agrees_with_a_hand_computation():
    # Two groups of two images of one channel and two pixels.
    x_B = torch.tensor([[1.0, 5.0], [3.0, 5.0], [0.0, 0.0], [8.0, 4.0]])
    appended = with_deviation(x_B.view(4, 1, 1, 2), 2)
    # Deviations 1 and 0, mean .5; deviations 4 and 2, mean 3. (1e-8 under the root is 1e-4.)
    expected = torch.tensor([0.5, 0.5, 3.0, 3.0]).view(4, 1, 1, 1).expand(4, 1, 1, 2)
    torch.testing.assert_close(appended[:, 1:], expected, atol=1e-4, rtol=0)
    assert torch.equal(appended[:, :1], x_B.view(4, 1, 1, 2))


def test_the_last_images_of_a_batch_are_a_smaller_group():
    torch.manual_seed(0)
    x_BCHW = torch.randn(7, 3, 4, 4)
    together = with_deviation(x_BCHW, 4)
    apart = torch.cat([with_deviation(x_BCHW[:4], 4), with_deviation(x_BCHW[4:], 3)])
    torch.testing.assert_close(together, apart)
    assert len({float(value) for value in together[:, -1, 0, 0]}) == 2
    lonely = with_deviation(x_BCHW[:5], 4)
    assert float(lonely[4, -1, 0, 0]) == pytest.approx(1e-4)
    assert torch.equal(lonely[:4], together[:4])


def test_the_deviation_can_be_differentiated_where_images_are_equal():
    x_BCHW = torch.ones(3, 1, 2, 2, requires_grad=True)
    with_deviation(x_BCHW, 2).sum().backward()
    assert torch.equal(x_BCHW.grad, torch.ones_like(x_BCHW))


def test_doubling_and_halving_undo_each_other():
    x_BCHW = torch.randn(1, 2, 3, 3)
    for times in (0, 1, 3):
        big = doubled(x_BCHW, times)
        assert big.shape[-1] == 3 * 2**times
        torch.testing.assert_close(halved(big, times), x_BCHW)
