import numpy as np
import pytest
import torch

from synthtrial.synthesis.losses import ADVERSARIAL, LeCam, label_loss, split_scores


@pytest.mark.parametrize(
    ("name", "real", "fake", "generator"),
    [
        ("hinge", [3.0, 0.5, 0.0], [0.0, 1.5, 3.0], [2.0, -0.5, -2.0]),
        ("wgan_gp", [2.0, -0.5, -2.0], [-2.0, 0.5, 2.0], [2.0, -0.5, -2.0]),
        (
            "logistic",
            [np.log1p(np.exp(2.0)), np.log1p(np.exp(-0.5)), np.log1p(np.exp(-2.0))],
            [np.log1p(np.exp(-2.0)), np.log1p(np.exp(0.5)), np.log1p(np.exp(2.0))],
            [np.log1p(np.exp(2.0)), np.log1p(np.exp(-0.5)), np.log1p(np.exp(-2.0))],
        ),
    ],
)
def test_adversarial_losses_are_their_definitions(name, real, fake, generator):
    score_B = torch.tensor([-2.0, 0.5, 2.0])
    loss = ADVERSARIAL[name]
    np.testing.assert_allclose(loss.real(score_B), real, rtol=1e-6)
    np.testing.assert_allclose(loss.fake(score_B), fake, rtol=1e-6)
    np.testing.assert_allclose(loss.generator(score_B), generator, rtol=1e-6)


def test_scores_with_label_logits_are_split():
    score_B, none = split_scores(torch.tensor([1.0, 2.0], dtype=torch.bfloat16))
    assert none is None
    assert score_B.dtype == torch.float32
    score_B, logits_BK = split_scores(torch.tensor([[1.0, 2.0, 3.0]]))
    assert score_B.tolist() == [1.0]
    assert logits_BK.tolist() == [[2.0, 3.0]]


def test_label_losses_are_their_definitions():
    logits_BK, y_BK = torch.tensor([[0.0, 1.0]]), torch.tensor([[0.0, 1.0]])
    sigmoid = np.log(2) + np.log1p(np.exp(-1))
    assert label_loss(logits_BK, y_BK, "sigmoid").tolist() == pytest.approx([sigmoid])
    softmax = np.log1p(np.exp(-1))
    assert label_loss(logits_BK, y_BK, "softmax").tolist() == pytest.approx([softmax])


def test_lecam_pulls_each_side_to_the_mean_of_the_other():
    lecam = LeCam()
    real_B, fake_B = torch.tensor([1.0, 2.0]), torch.tensor([0.0, -1.0])
    assert lecam.penalty(real_B, fake_B).tolist() == [0.0, 0.0]
    lecam.update(real=3.0, fake=-2.0)  # after one batch, its means are the running means
    expected = [(1 + 2) ** 2 + (0 - 3) ** 2, (2 + 2) ** 2 + (-1 - 3) ** 2]
    assert lecam.penalty(real_B, fake_B).tolist() == pytest.approx(expected)


def test_lecam_remembers_a_hundred_batches():
    lecam = LeCam()
    for _ in range(1000):
        lecam.update(real=1.0, fake=0.0)
    for _ in range(100):
        lecam.update(real=0.0, fake=0.0)
    penalty = lecam.penalty(torch.zeros(1), torch.zeros(1))
    assert float(penalty) == pytest.approx(0.99**200, rel=1e-3)
