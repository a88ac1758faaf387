import pytest
import torch

from synthtrial.classify import catalog
from synthtrial.classify.catalog import SmallCnnConfig
from synthtrial.classify.models import _Merge, _Stem, build_small_cnn
from synthtrial.errors import ConfigError
from synthtrial.testing.classifiers import ClassifierContract


class TestSmallCnn(ClassifierContract):
    component = catalog.SMALL_CNN


class TestNarrowSmallCnn(ClassifierContract):
    component = catalog.SMALL_CNN
    options = SmallCnnConfig(width=8)
    shapes = ((1, 4), (3, 9), (1, 64))


def test_the_stem_is_the_convolution_it_says_it_is():
    stem, x = _Stem(3, 5), torch.randn(2, 3, 9, 9)
    weight = stem.linear.weight.view(5, 3, 3, 3)
    expected = torch.nn.functional.conv2d(x, weight, stem.linear.bias, stride=2, padding=1)
    torch.testing.assert_close(stem(x).permute(0, 3, 1, 2), expected)


def test_a_merge_is_the_convolution_it_says_it_is():
    merge, x = _Merge(4, 5), torch.randn(2, 6, 7, 4)
    weight = merge.linear.weight.view(5, 2, 2, 4).permute(0, 3, 1, 2)
    padded = torch.nn.functional.pad(x.permute(0, 3, 1, 2), (0, 1))
    expected = torch.nn.functional.conv2d(padded, weight, merge.linear.bias, stride=2)
    torch.testing.assert_close(merge(x).permute(0, 3, 1, 2), expected)


@pytest.mark.parametrize("arguments", [{"size": 2}, {"outputs": 0}, {"channels": 0}])
def test_impossible_shapes_are_refused(arguments):
    with pytest.raises(ConfigError, match="small_cnn"):
        build_small_cnn(SmallCnnConfig(), **{"channels": 1, "size": 8, "outputs": 2} | arguments)


def test_an_impossible_width_is_refused():
    with pytest.raises(ConfigError, match="width"):
        build_small_cnn(SmallCnnConfig(width=0), channels=1, size=8, outputs=2)
