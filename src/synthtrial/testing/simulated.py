"""Simulated studies: scores of arms whose true differences are known.

They show whether an interval holds what it says, by judging many studies of which the truth is
known (:mod:`.simulated_inference`). A score is ``arm + draw + generator (of arms that add its
images) + seed``, all normal.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from synthtrial.stats.blocks import BlockTable, block_table

if TYPE_CHECKING:
    from numpy.typing import NDArray

ARMS = ("none", "gan", "standard", "class_weights", "oversample")


@dataclass(frozen=True)
class Simulation:
    """How scores come about.

    Attributes:
        draws, replicates: of the study; replicate ``r`` belongs to draw ``r mod draws``.
        effects: true mean of each arm of :data:`ARMS`.
        seed_deviations: spread between seeds, of each arm.
        draw_deviation: spread between draws that all arms share.
        generator_deviation: spread between generators, of the arm ``gan`` alone.
    """

    draws: int
    replicates: int
    effects: Sequence[float] = (0.0, 0.0, 0.0, 0.0, 0.0)
    seed_deviations: Sequence[float] = field(default=(0.02,) * len(ARMS))
    draw_deviation: float = 0.03
    generator_deviation: float = 0.0

    def truth(self, generator: float) -> dict[str, float]:
        """Return each arm's true difference from ``none``.

        Args:
            generator: what the only generator of a study with one draw adds; of no account with
                several, which stand for all generators.
        """
        found = {name: e - self.effects[0] for name, e in zip(ARMS, self.effects, strict=True)}
        if self.draws == 1:
            found["gan"] += generator
        return found

    @property
    def varying(self) -> tuple[str, ...]:
        """Arms that have a random effect of their own between blocks, as the design says."""
        return ("gan",) if self.draws > 1 else ()

    @property
    def numbers(self) -> int:
        """Standard normal numbers that a study takes."""
        return 2 * self.draws + self.replicates * len(ARMS)

    def run(self, random: np.random.Generator) -> tuple[BlockTable, dict[str, float]]:
        """Return one study as a table of blocks, and the truth."""
        return self.of_numbers(random.standard_normal(self.numbers))

    def of_numbers(self, normal_N: NDArray[np.float64]) -> tuple[BlockTable, dict[str, float]]:
        """Return the study of these standard normal numbers, and the truth."""
        draw_R = np.arange(self.replicates) % self.draws
        level_D = self.draw_deviation * normal_N[: self.draws]
        generator_D = self.generator_deviation * normal_N[self.draws : 2 * self.draws]
        noise_RA = normal_N[2 * self.draws :].reshape(self.replicates, len(ARMS))
        score_RA = np.asarray(self.effects) + level_D[draw_R][:, None]
        score_RA = score_RA + noise_RA * np.asarray(self.seed_deviations)
        score_RA[:, ARMS.index("gan")] += generator_D[draw_R]
        table = block_table(
            score_RA.ravel(),
            list(ARMS) * self.replicates,
            np.repeat(draw_R, len(ARMS)).tolist(),
            np.repeat(np.arange(self.replicates), len(ARMS)).tolist(),
            ARMS,
        )
        return table, self.truth(float(generator_D[0]))


@dataclass(frozen=True)
class WholeStudy:
    """A study of several regimens (training sets) and targets (classes), each with its table.

    Attributes:
        each: how the scores of one of them come about.
        arms: that it has, of :data:`ARMS`, the baseline ``none`` first.
        regimens: trainings of which are independent.
        targets: of the same trainings.
        correlation: of the scores of one training on two targets: of all that is random in them.
        helped_arms: arms that have a large effect, in the first ``helped_regimens``.
        helped_regimens: see there.
        effect: that these have; one of the other arms has what ``each`` says.
    """

    each: Simulation
    arms: tuple[str, ...] = ARMS
    regimens: int = 4
    targets: int = 2
    correlation: float = 0.7
    helped_arms: tuple[str, ...] = ()
    helped_regimens: int = 0
    effect: float = 0.2

    def helps(self, regimen: int, arm: str) -> bool:
        """Whether an arm has the large effect there."""
        return regimen < self.helped_regimens and arm in self.helped_arms

    def run(self, random: np.random.Generator) -> Iterator[tuple[int, int, NDArray[np.float64]]]:
        """Yield the regimen, the target and the values of blocks by arms.

        Arms that do nothing differ from ``none`` by nothing on average: with a single draw the
        generator's own effect, which is then a part of the truth, is taken out.
        """
        columns = [ARMS.index(arm) for arm in self.arms]
        own, shared = math.sqrt(1.0 - self.correlation), math.sqrt(self.correlation)
        for regimen in range(self.regimens):
            common_N = random.standard_normal(self.each.numbers)
            added_A = np.array([self.effect * self.helps(regimen, arm) for arm in self.arms])
            for target in range(self.targets):
                alone_N = random.standard_normal(self.each.numbers)
                table, truth = self.each.of_numbers(shared * common_N + own * alone_N)
                moved_BA = table.values_BA - np.array([truth[arm] for arm in ARMS])
                yield regimen, target, moved_BA[:, columns] + added_A


#: What the coverage of intervals is shown on.
SCENARIOS = {
    "one generator": Simulation(1, 20, generator_deviation=0.03),
    "several generators": Simulation(10, 20, generator_deviation=0.03),
    "a generator each": Simulation(20, 20, generator_deviation=0.03),
    "unequal variances": Simulation(20, 20, seed_deviations=(0.01, 0.04, 0.02, 0.015, 0.03)),
    "three draws, equal variances": Simulation(3, 6),
    "three draws, generators differ": Simulation(3, 6, generator_deviation=0.06),
}

_THREE = ARMS[:3]  # with two comparisons the largest |T| is drawn once for many studies
#: What the error of a study with many questions is shown on.
WHOLE_STUDIES = {
    "20 draws, no arm does anything": WholeStudy(SCENARIOS["a generator each"], _THREE),
    "20 draws, all help in half of the regimens": WholeStudy(
        SCENARIOS["a generator each"], _THREE, helped_arms=_THREE[1:], helped_regimens=2
    ),
    "20 draws, half of the arms help everywhere": WholeStudy(
        SCENARIOS["a generator each"], _THREE, helped_arms=("gan",), helped_regimens=4
    ),
    "3 draws, no arm does anything": WholeStudy(SCENARIOS["three draws, generators differ"]),
    "3 draws, all help in half of the regimens": WholeStudy(
        SCENARIOS["three draws, generators differ"], helped_arms=ARMS[1:], helped_regimens=2
    ),
}
