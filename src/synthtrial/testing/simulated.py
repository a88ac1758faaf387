"""Simulated studies: scores of arms whose true differences are known.

They show whether an interval holds what it says, by judging many studies of which the truth is
known (:mod:`.simulated_inference`). A score is ``arm + draw + generator (of arms that add its
images) + seed``, all normal.
"""

from __future__ import annotations

import dataclasses
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
        effects: true mean of each arm.
        seed_deviations: spread between seeds, of each arm.
        draw_deviation: spread between draws that all arms share.
        generator_deviation: spread between generators, of the arms with made images alone.
        arms: names, the baseline ``none`` first.
        made: those with made images, each from a generator of its own.
    """

    draws: int
    replicates: int
    effects: Sequence[float] = (0.0, 0.0, 0.0, 0.0, 0.0)
    seed_deviations: Sequence[float] = field(default=(0.02,) * len(ARMS))
    draw_deviation: float = 0.03
    generator_deviation: float = 0.0
    arms: tuple[str, ...] = ARMS
    made: tuple[str, ...] = ("gan",)

    def truth(self, generator_M: NDArray[np.float64]) -> dict[str, float]:
        """Return each arm's true difference from ``none``.

        Args:
            generator_M: what the only generator of each arm with made images adds in a study with
                one draw; of no account with several, which stand for all generators.
        """
        found = {name: e - self.effects[0] for name, e in zip(self.arms, self.effects, strict=True)}
        if self.draws == 1:
            for name, generator in zip(self.made, generator_M, strict=True):
                found[name] += float(generator)
        return found

    @property
    def varying(self) -> tuple[str, ...]:
        """Arms that have a random effect of their own between blocks, as the design says."""
        return self.made if self.draws > 1 else ()

    @property
    def numbers(self) -> int:
        """Standard normal numbers that a study takes."""
        return (1 + len(self.made)) * self.draws + self.replicates * len(self.arms)

    def run(self, random: np.random.Generator) -> tuple[BlockTable, dict[str, float]]:
        """Return one study as a table of blocks, and the truth."""
        return self.of_numbers(random.standard_normal(self.numbers))

    def of_numbers(self, normal_N: NDArray[np.float64]) -> tuple[BlockTable, dict[str, float]]:
        """Return the study of these standard normal numbers, and the truth."""
        draw_R = np.arange(self.replicates) % self.draws
        level_D = self.draw_deviation * normal_N[: self.draws]
        shared = (1 + len(self.made)) * self.draws
        generator_MD = normal_N[self.draws : shared].reshape(len(self.made), self.draws)
        generator_MD = self.generator_deviation * generator_MD
        noise_RA = normal_N[shared:].reshape(self.replicates, len(self.arms))
        score_RA = np.asarray(self.effects) + level_D[draw_R][:, None]
        score_RA = score_RA + noise_RA * np.asarray(self.seed_deviations)
        for arm, generator_D in zip(self.made, generator_MD, strict=True):
            score_RA[:, self.arms.index(arm)] += generator_D[draw_R]
        table = block_table(
            score_RA.ravel(),
            list(self.arms) * self.replicates,
            np.repeat(draw_R, len(self.arms)).tolist(),
            np.repeat(np.arange(self.replicates), len(self.arms)).tolist(),
            self.arms,
        )
        return table, self.truth(generator_MD[:, 0])


@dataclass(frozen=True)
class WholeStudy:
    """A study of several regimens (training sets) and targets (classes), each with its table.

    Attributes:
        each: how the scores of one of them come about.
        arms: that it has, of those of ``each``, the baseline ``none`` first.
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
        columns = [self.each.arms.index(arm) for arm in self.arms]
        own, shared = math.sqrt(1.0 - self.correlation), math.sqrt(self.correlation)
        for regimen in range(self.regimens):
            common_N = random.standard_normal(self.each.numbers)
            added_A = np.array([self.effect * self.helps(regimen, arm) for arm in self.arms])
            for target in range(self.targets):
                alone_N = random.standard_normal(self.each.numbers)
                table, truth = self.each.of_numbers(shared * common_N + own * alone_N)
                moved_BA = table.values_BA - np.array([truth[arm] for arm in table.arms])
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

#: What the error of comparisons with the best arm without made images is shown on.
RIVAL_STUDIES = {
    name: dataclasses.replace(
        SCENARIOS[name],
        arms=("none", "gan", "standard", "class_weights", "gan2"),
        made=("gan", "gan2"),
    )
    for name in ("a generator each", "three draws, generators differ")
}
#: What the coverage of intervals of means is shown on: their arms have one spread, as these
#: suppose, and share the draws.
MEANS = {
    "20 draws": Simulation(20, 20),
    "10 draws, 2 seeds each": Simulation(10, 20),
    "3 draws, 6 seeds each": Simulation(3, 18),
}
#: What the error of the primary question, asked in each regimen, is shown on.
PRIMARY_QUESTIONS = {
    "20 draws, it does nothing": WholeStudy(SCENARIOS["a generator each"], _THREE, targets=1),
    "20 draws, it helps in half of the regimens": WholeStudy(
        SCENARIOS["a generator each"], _THREE, targets=1, helped_arms=("gan",), helped_regimens=2
    ),
    "3 draws, generators differ, it does nothing": WholeStudy(
        SCENARIOS["three draws, generators differ"], _THREE, targets=1
    ),
}
