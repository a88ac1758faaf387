import pytest
import torch

from synthtrial.synthesis.generators import PROJECTION, ProjectionConfig
from synthtrial.testing.generators import CHECKS, GeneratorCase

SMALL = ProjectionConfig(latent=8, width=8)
CASES = {
    "digits": GeneratorCase(PROJECTION, SMALL),
    "colour, several labels": GeneratorCase(
        PROJECTION, SMALL, channels=3, size=16, classes=4, multi_label=True
    ),
    "28 pixels, logistic loss": GeneratorCase(
        PROJECTION, ProjectionConfig(latent=4, width=8, max_width=8, loss="logistic"), size=28
    ),
}


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("case", CASES.values(), ids=list(CASES))
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_the_projection_gan_keeps_the_contract(check, case):
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
