"""Simulated kept logits: two arms judged on the same test images, whose true areas are known.

Images come in patients. The logit of a positive image is higher by a separation that its arm and
seed have; to this add what the patient, the image, and both with arm and seed bring, all normal, of
variance 1 together. So the logits of a positive and a negative of different patients differ by a
normal number of variance 2: the binormal model (Green & Swets, *Signal Detection Theory and
Psychophysics*, 1966), whose area under the ROC curve is ``Phi(d / sqrt(2))`` on infinitely many
test images.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

#: Share of a logit's variance that is the patient's in all arms and seeds, the patient's with the
#: arm, the image's in all, the image's with the arm, and the image's with arm and seed.
VARIANCES = (0.35, 0.10, 0.20, 0.10, 0.25)
_SICK, _SHOWN, _FALSE = 0.3, 0.8, 0.1


@dataclass(frozen=True)
class Judged:
    """A test set, and what the networks of a study say of it.

    Attributes:
        logits_NRA: of each image, replicate and arm (``none``, ``gan``).
        targets_N: 1 or 0.
        groups_N: patient of each image.
    """

    logits_NRA: Floats
    targets_N: Floats
    groups_N: NDArray[np.int64]


@dataclass(frozen=True)
class LogitSimulation:
    """How logits come about.

    Attributes:
        replicates: seeds, each of which trains both arms.
        patients: of the test set.
        images: fewest and most of a patient, all numbers between alike often.
        seed_deviation: spread of an arm's separation between its seeds.
        separations: mean separation of ``none`` and of ``gan``.
    """

    replicates: int
    patients: int = 120
    images: tuple[int, int] = (1, 5)
    seed_deviation: float = 0.1
    separations: tuple[float, float] = (1.2, 1.5)

    @property
    def truth(self) -> float:
        """Mean over seeds of the difference of the areas on infinitely many test images.

        A seed adds a normal number to the separation, so that the mean over seeds of
        ``Phi(d / sqrt(2))`` is ``Phi(d / sqrt(2 + seed_deviation^2))``.
        """
        from scipy.special import ndtr

        none, gan = ndtr(np.array(self.separations) / math.sqrt(2.0 + self.seed_deviation**2))
        return float(gan - none)

    def run(self, random: np.random.Generator) -> Judged:
        """Return one study's logits on one test set."""
        sizes_G = random.integers(self.images[0], self.images[1] + 1, self.patients)
        groups_N = np.repeat(np.arange(self.patients), sizes_G)
        sick_G = random.random(self.patients) < _SICK
        positive_N = random.random(groups_N.size) < np.where(sick_G[groups_N], _SHOWN, _FALSE)
        patients, images, seeds = self.patients, groups_N.size, self.replicates
        deviations = np.sqrt(VARIANCES)
        patient_GRA = deviations[0] * random.standard_normal((patients, 1, 1))
        patient_GRA = patient_GRA + deviations[1] * random.standard_normal((patients, 1, 2))
        logits_NRA = deviations[4] * random.standard_normal((images, seeds, 2))
        logits_NRA += deviations[3] * random.standard_normal((images, 1, 2))
        logits_NRA += deviations[2] * random.standard_normal((images, 1, 1))
        logits_NRA += patient_GRA[groups_N]
        separation_RA = random.normal(self.separations, self.seed_deviation, (seeds, 2))
        logits_NRA[positive_N] += separation_RA
        return Judged(logits_NRA, positive_N.astype(np.float64), groups_N)


#: What the coverage of intervals over seeds and test sets is shown on.
LOGIT_SCENARIOS = {
    "20 seeds, 120 patients": LogitSimulation(20),
    "6 seeds, 120 patients": LogitSimulation(6),
    "6 seeds, 360 images by themselves": LogitSimulation(6, patients=360, images=(1, 1)),
}
#: So few seeds that their spread is hardly known: intervals hold the truth at least as often as
#: they say (:func:`synthtrial.stats.held_out.combine`).
FEW_SEEDS = {
    "3 seeds, 120 patients": LogitSimulation(3),
    "3 seeds that differ much, 300 patients": LogitSimulation(3, 300, seed_deviation=0.3),
    "2 seeds that differ much, 300 patients": LogitSimulation(2, 300, seed_deviation=0.3),
}
