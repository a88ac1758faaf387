"""Simulated studies: scores of arms whose true differences are known.

They show whether an interval holds what it says, by judging many studies of which the truth is
known. A score is ``arm + draw + generator (of arms that add its images) + seed``, all normal.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from synthtrial.stats.blocks import BlockTable, block_table

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

    def run(self, random: np.random.Generator) -> tuple[BlockTable, dict[str, float]]:
        """Return one study as a table of blocks, and the truth."""
        draw_R = np.arange(self.replicates) % self.draws
        level_D = random.normal(0.0, self.draw_deviation, self.draws)
        generator_D = random.normal(0.0, self.generator_deviation, self.draws)
        noise_RA = random.standard_normal((self.replicates, len(ARMS)))
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


#: What the coverage of intervals is shown on.
SCENARIOS = {
    "one generator": Simulation(1, 20, generator_deviation=0.03),
    "several generators": Simulation(10, 20, generator_deviation=0.03),
    "a generator each": Simulation(20, 20, generator_deviation=0.03),
    "unequal variances": Simulation(20, 20, seed_deviations=(0.01, 0.04, 0.02, 0.015, 0.03)),
    "three draws, equal variances": Simulation(3, 6),
}
