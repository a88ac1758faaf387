"""Do the intervals hold what they say? Thousands of simulated studies whose truth is known.

    python benchmarks/coverage.py [--studies 2000]

For each way in which studies come about: how often the 95 % interval of a single difference, and
all simultaneous ones at once, hold the true differences, and how often at least one arm that does
nothing is called different (Dunnett). Then the rule of `replicate --until` and the naive one beside
it, which looks after each replicate and stops once the interval is narrow. With 2,000 studies the
figures themselves vary by about .005 (one standard error).
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
import time

import numpy as np

from synthtrial.stats.contrasts import with_baseline
from synthtrial.stats.power import interval_width
from synthtrial.stats.sequential import LEAST_FIRST, blocks_needed, stein_interval
from synthtrial.testing.simulated import SCENARIOS, Simulation

COVERAGE, FAMILY = (0.937, 0.962), (0.038, 0.063)


def fixed(simulation: Simulation, studies: int, seed: int) -> tuple[float, float, float]:
    """Return coverage of the arm gan's interval, joint coverage, and the family's error."""
    random = np.random.default_rng(seed)
    held = joint = alarms = 0
    for _ in range(studies):
        table, truth = simulation.run(random)
        # Moved by the truth, no arm does anything on average.
        moved = table.values_BA - np.array([truth[arm] for arm in table.arms])
        found = with_baseline(moved, table.arms, "none")
        held += sum(c.low <= 0 <= c.high for c in found if c.arm == "gan")
        joint += all(c.joint_low <= 0 <= c.joint_high for c in found)
        alarms += min(c.p_adjusted for c in found) < 0.05
    return held / studies, joint / studies, alarms / studies


def sequential(
    simulation: Simulation, studies: int, seed: int, most: int = 200
) -> dict[str, tuple[float, float]]:
    """Return coverage and mean number of blocks of Stein's rule and of the naive one."""
    random = np.random.default_rng(seed)
    draws = 1 if simulation.draws == 1 else most
    long = dataclasses.replace(simulation, draws=draws, replicates=most)
    spread = np.hypot(long.seed_deviations[0], long.seed_deviations[1])
    spread = np.hypot(spread, long.generator_deviation if draws > 1 else 0.0)
    width = 2 * 2.262 * spread / np.sqrt(25)  # takes some 25 blocks
    held = dict.fromkeys(("stein", "naive"), 0)
    blocks = dict.fromkeys(held, 0)
    for _ in range(studies):
        table, truth = long.run(random)
        columns = [table.arms.index(arm) for arm in ("gan", "none")]
        delta = table.values_BA[:, columns[0]] - table.values_BA[:, columns[1]] - truth["gan"]
        n = min(blocks_needed(delta[:LEAST_FIRST], width), most)
        found = stein_interval(delta[:n], LEAST_FIRST)
        held["stein"] += found.low <= 0 <= found.high
        blocks["stein"] += n
        n = LEAST_FIRST
        while n < most and interval_width(float(delta[:n].std(ddof=1)), n) > width:
            n += 1
        half = interval_width(float(delta[:n].std(ddof=1)), n) / 2
        held["naive"] += abs(float(delta[:n].mean())) <= half
        blocks["naive"] += n
    return {rule: (held[rule] / studies, blocks[rule] / studies) for rule in held}


def verdict(value: float, allowed: tuple[float, float]) -> str:
    """Write a share, and whether it lies where it should."""
    fine = allowed[0] <= value <= allowed[1]
    return f"{value:.4f}{' ' if fine else '!'}"


def main() -> None:
    """Print the table; the program fails where a figure of ours lies outside."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--studies", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    outside = 0
    print(f"{options.studies} studies each; allowed: coverage {COVERAGE}, family error {FAMILY}")
    print(f"{'':32}{'interval':>10}{'joint':>10}{'family error':>14}")
    for name, simulation in SCENARIOS.items():
        started = time.monotonic()
        shares = fixed(simulation, options.studies, options.seed)
        texts = [verdict(*pair) for pair in zip(shares, (COVERAGE, COVERAGE, FAMILY), strict=True)]
        outside += sum(text.endswith("!") for text in texts)
        columns = f"{texts[0]:>10}{texts[1]:>10}{texts[2]:>14}"
        print(f"{name:32}{columns}   {time.monotonic() - started:.0f} s")
    print("\nuntil the interval is narrow enough, by Stein's rule and by looking each time")
    for name in ("one generator", "a generator each", "unequal variances"):
        found = sequential(SCENARIOS[name], options.studies, options.seed)
        stein, naive = (f"{verdict(held, COVERAGE)} ({n:.1f} blocks)" for held, n in found.values())
        outside += "!" in stein
        print(f"{name:32}{stein:>24}{naive:>24}")
    if outside:
        sys.exit(f"{outside} figures lie outside")


if __name__ == "__main__":
    main()
