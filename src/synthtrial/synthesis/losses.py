"""What generator and discriminator minimise: one loss an image, as pure functions.

All take and return tensors over the images of a batch, never their mean: the loop divides by the
size of the *global* batch, however many processes share it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from synthtrial.synthesis.generators import Loss

_LECAM_DECAY = 0.99


@dataclass(frozen=True)
class Adversarial:
    """An adversarial loss, from scores_B to loss_B.

    Attributes:
        real: of the discriminator, for its scores of real images.
        fake: of the discriminator, for its scores of made images.
        generator: of the generator, for the scores of what it made.
    """

    real: Callable[[Tensor], Tensor]
    fake: Callable[[Tensor], Tensor]
    generator: Callable[[Tensor], Tensor]


ADVERSARIAL: Mapping[Loss, Adversarial] = {
    # Lim & Ye, "Geometric GAN" (2017).
    "hinge": Adversarial(lambda s: F.relu(1 - s), lambda s: F.relu(1 + s), torch.neg),
    # Goodfellow et al., "Generative Adversarial Nets" (2014): non-saturating.
    "logistic": Adversarial(lambda s: F.softplus(-s), F.softplus, lambda s: F.softplus(-s)),
    # Arjovsky, Chintala & Bottou, "Wasserstein GAN" (2017).
    "wgan_gp": Adversarial(torch.neg, lambda s: s, torch.neg),
}


def split_scores(scores: Tensor) -> tuple[Tensor, Tensor | None]:
    """Return score_B, and the label logits_BK of a family that has them."""
    scores = scores.float()  # autocast leaves them in half precision
    return (scores, None) if scores.dim() == 1 else (scores[:, 0], scores[:, 1:])


def label_loss(logits_BK: Tensor, y_BK: Tensor, kind: str) -> Tensor:
    """Return the auxiliary classifier's loss_B (Odena, Olah & Shlens 2017).

    Args:
        logits_BK: of the discriminator.
        y_BK: what the images are, or were meant to be.
        kind: ``softmax`` for one class an image, ``sigmoid`` (summed over the classes) for several.
    """
    if kind == "softmax":
        return F.cross_entropy(logits_BK, y_BK, reduction="none")
    return F.binary_cross_entropy_with_logits(logits_BK, y_BK, reduction="none").sum(dim=1)


def gradient_penalty(
    discriminator: nn.Module, real_BCHW: Tensor, fake_BCHW: Tensor, y_BK: Tensor, mix_B: Tensor
) -> Tensor:
    """Return ``(|d score / d image| - 1)^2`` for each image (Gulrajani et al. 2017).

    The gradient is taken at random points between real and made images.

    Args:
        discriminator: of the images; its weights receive gradients through the penalty.
        real_BCHW: real images.
        fake_BCHW: made images.
        y_BK: label vectors of both.
        mix_B: uniform numbers in [0, 1): the share of the real image.
    """
    share = mix_B[:, None, None, None]
    between = torch.lerp(fake_BCHW.detach(), real_BCHW.detach(), share).requires_grad_(True)
    score_B, _ = split_scores(discriminator(between, y_BK))
    (slope,) = torch.autograd.grad(score_B.sum(), between, create_graph=True)
    norm_B = (slope.float().square().sum(dim=(1, 2, 3)) + 1e-12).sqrt()
    return (norm_B - 1).square()


@dataclass
class LeCam:
    """Pull scores towards running means of the other side's (Tseng et al. 2021, equation 3).

    Meant for few training images. The means are of the global batch. Unlike the published code,
    which waits for a thousand steps, they are corrected for their short memory from the start
    (as Adam's are).

    Attributes:
        real: weighted sum of the means of the scores of real images so far.
        fake: the same of made images.
        updates: batches seen.
    """

    real: float = 0.0
    fake: float = 0.0
    updates: int = 0

    def penalty(self, real_B: Tensor, fake_B: Tensor) -> Tensor:
        """Return the penalty of each pair of scores; 0 before the first :meth:`update`."""
        if not self.updates:
            return torch.zeros_like(real_B)
        memory = 1 - _LECAM_DECAY**self.updates
        return (real_B - self.fake / memory).square() + (fake_B - self.real / memory).square()

    def update(self, real: float, fake: float) -> None:
        """Take in the mean scores of a global batch."""
        self.real = _LECAM_DECAY * self.real + (1 - _LECAM_DECAY) * real
        self.fake = _LECAM_DECAY * self.fake + (1 - _LECAM_DECAY) * fake
        self.updates += 1
