from dataclasses import replace

import pytest
import torch

from synthtrial.synthesis.generators import (
    CONCAT,
    PROGRESSIVE,
    PROJECTION,
    ConcatConfig,
    ProgressiveConfig,
    ProjectionConfig,
)
from synthtrial.testing.generators import CHECKS, GeneratorCase

SMALL = ProjectionConfig(latent=8, width=8)
PLAIN = ConcatConfig(latent=8, width=8, max_width=16)
GROWING = ProgressiveConfig(latent=16, feature_base=64, feature_max=8, group=2)
COLOUR = {"channels": 3, "size": 16, "classes": 4, "multi_label": True}
CASES = {
    "projection": GeneratorCase(PROJECTION, SMALL),
    "projection, colour, several labels": GeneratorCase(PROJECTION, SMALL, **COLOUR),
    "projection, logistic, 28 pixels": GeneratorCase(
        PROJECTION, ProjectionConfig(latent=4, width=8, max_width=8, loss="logistic"), size=28
    ),
    "projection, wgan_gp": GeneratorCase(PROJECTION, replace(SMALL, loss="wgan_gp")),
    "concat": GeneratorCase(CONCAT, PLAIN),
    "concat, hinge, colour, several labels": GeneratorCase(
        CONCAT, replace(PLAIN, loss="hinge", upsampling="nearest"), **COLOUR
    ),
    "concat, wgan_gp": GeneratorCase(CONCAT, replace(PLAIN, loss="wgan_gp")),
    "progressive": GeneratorCase(PROGRESSIVE, GROWING, size=16),
    "progressive, colour, several labels": GeneratorCase(
        PROGRESSIVE, replace(GROWING, label_loss_on="both"), **COLOUR
    ),
}


@pytest.mark.parametrize("case", CASES.values(), ids=list(CASES))
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_our_families_keep_the_contract(check, case):
    check(case)


class BatchNormalised(torch.nn.Module):
    def __init__(self, generator):
        super().__init__()
        self.generator = generator
        self.norm = torch.nn.BatchNorm2d(1)

    def forward(self, z, y):
        return torch.tanh(self.norm(self.generator(z, y)))


def test_the_contract_refuses_batch_norm(monkeypatch):
    case = GeneratorCase(PROJECTION, SMALL)
    plain = GeneratorCase.build

    def build(self, draw=0):
        networks = plain(self, draw)
        return type(networks)(
            BatchNormalised(networks.generator), networks.discriminator, networks.latent
        )

    monkeypatch.setattr(GeneratorCase, "build", build)
    check = next(c for c in CHECKS if c.__name__ == "an_image_does_not_depend_on_its_batch")
    with pytest.raises(AssertionError):
        check(case)
