"""How often what the statistics say of simulated studies is true.

Each function judges many studies by the very functions that a report calls, and returns shares of
these studies: as many columns of the table that `make coverage` prints.
"""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from synthtrial.report.kept_logits import RESAMPLES
from synthtrial.stats.contrasts import Comparison, Spread, compare, with_baseline
from synthtrial.stats.equivalence import equivalence
from synthtrial.stats.group_bootstrap import bootstrap_rows, deviations, group_weights
from synthtrial.stats.held_out import combine, held_out_error
from synthtrial.stats.influence import Influence, auc_influence, grouping
from synthtrial.stats.multiplicity import holm
from synthtrial.stats.pooled import interval, pooled_variance, shared_df
from synthtrial.stats.power import interval_width
from synthtrial.stats.sequential import LEAST_FIRST, blocks_needed, stein_interval
from synthtrial.testing.simulated import Simulation, WholeStudy
from synthtrial.testing.simulated_logits import LogitSimulation

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

_ALPHA = 0.05


class Differences(NamedTuple):
    """Shares of studies in which an interval holds the truth, all do, and an idle arm is told."""

    interval: float
    joint: float
    family_error: float


class StudyError(NamedTuple):
    """Shares of studies that tell a difference where there is none: with Holm's steps, without."""

    corrected: float
    uncorrected: float


class PickedRival(NamedTuple):
    """Shares of studies that tell an arm from the best rival: by the family of all pairs, by one.

    Attributes:
        corrected: by the p value that is adjusted for all pairs of such an arm and a rival.
        uncorrected: by that of the picked pair alone, as if nothing had been picked.
    """

    corrected: float
    uncorrected: float


class MeanInterval(NamedTuple):
    """Shares of intervals of a mean that hold it.

    Attributes:
        shared: with the degrees of freedom that arms which share draws have.
        summed: with those of as many arms that share nothing.
        own: from the arm's own spread, which stands beside the pooled one where spreads are unlike.
    """

    shared: float
    summed: float
    own: float


class Equivalent(NamedTuple):
    """Shares of studies that call arms equivalent: which differ by the margin, and by nothing.

    Attributes:
        at_margin: by the two tests.
        shown_at_margin: by these and an interval of 95 % within the margin, as reports do.
        shown_at_zero: likewise, of arms that do not differ.
    """

    at_margin: float
    shown_at_margin: float
    shown_at_zero: float


class Until(NamedTuple):
    """Shares that hold the truth, and mean blocks: by Stein's rule, and stopping once narrow."""

    stein: float
    naive: float
    stein_blocks: float
    naive_blocks: float


class OtherImages(NamedTuple):
    """Shares of intervals that hold the difference on all images: of both sources, of seeds."""

    both: float
    seeds_alone: float


def differences(
    simulation: Simulation, studies: int, seed: int, spread: Spread = "auto"
) -> Differences:
    """Judge differences from ``none`` by themselves and as a family (Dunnett)."""
    random = np.random.default_rng(seed)
    held = joint = alarms = 0
    for _ in range(studies):
        table, truth = simulation.run(random)
        # Moved by the truth, no arm does anything on average.
        moved = table.values_BA - np.array([truth[arm] for arm in table.arms])
        found = with_baseline(moved, table.arms, "none", spread=spread, varying=simulation.varying)
        held += sum(c.low <= 0 <= c.high for c in found if c.arm == "gan")
        joint += all(c.joint_low <= 0 <= c.joint_high for c in found)
        alarms += min(c.p_adjusted for c in found) < _ALPHA
    return Differences(held / studies, joint / studies, alarms / studies)


def whole_study(simulation: WholeStudy, studies: int, seed: int) -> StudyError:
    """Look for differences in all regimens and targets at once (Dunnett, then Holm)."""
    random = np.random.default_rng(seed)
    alarms = uncorrected = 0
    for _ in range(studies):
        p_values, places, idle = [], [], []
        for regimen, target, values_BA in simulation.run(random):
            found = with_baseline(
                values_BA, simulation.arms, "none", varying=simulation.each.varying
            )
            p_values += [c.p_adjusted for c in found]
            places += [(regimen, target)] * len(found)
            idle += [not simulation.helps(regimen, c.arm) for c in found]
        alarms += bool(holm(p_values, places)[idle].min() < _ALPHA)
        uncorrected += bool(np.array(p_values)[idle].min() < _ALPHA)
    return StudyError(alarms / studies, uncorrected / studies)


def picked_rival(simulation: Simulation, studies: int, seed: int) -> PickedRival:
    """Tell arms with made images from the best of the others, where no arm does anything."""
    random = np.random.default_rng(seed)
    rivals = [arm for arm in simulation.arms if arm not in simulation.made]
    pairs = [(arm, rival) for arm in simulation.made for rival in rivals]
    told = np.zeros(2)
    for _ in range(studies):
        table, truth = simulation.run(random)
        moved_BA = table.values_BA - np.array([truth[arm] for arm in table.arms])
        mean = dict(zip(table.arms, moved_BA.mean(axis=0), strict=True))
        best = max(rivals, key=lambda arm: mean[arm])
        found = compare(moved_BA, table.arms, pairs, varying=simulation.varying)
        picked = [c for c in found if c.baseline == best]
        told += (
            min(c.p_adjusted for c in picked) < _ALPHA,
            min(c.p_value for c in picked) < _ALPHA,
        )
    return PickedRival(*(told / studies))


def mean_interval(
    simulation: Simulation, studies: int, seed: int, arm: str = "none"
) -> MeanInterval:
    """Estimate the mean of an arm over all draws with its pooled interval."""
    random = np.random.default_rng(seed)
    held = np.zeros(3)
    for _ in range(studies):
        table, _ = simulation.run(random)
        values_B = table.by_arm[arm]
        summed = pooled_variance(list(table.by_arm.values()))
        shared = dataclasses.replace(summed, df=shared_df(table.values_BA))
        pools = (shared, summed, pooled_variance([values_B]))
        found = [interval(float(values_B.mean()), values_B.size, pool) for pool in pools]
        truth = simulation.effects[table.arms.index(arm)]
        held += [each is not None and each.low <= truth <= each.high for each in found]
    return MeanInterval(*(held / studies))


def primary_question(simulation: WholeStudy, studies: int, seed: int) -> StudyError:
    """Ask the primary question alone, whether ``gan`` differs from ``none``, in each regimen."""
    random = np.random.default_rng(seed)
    alarms = uncorrected = 0
    for _ in range(studies):
        p_values, idle = [], []
        for regimen, _, values_BA in simulation.run(random):
            (found,) = compare(
                values_BA, simulation.arms, [("gan", "none")], varying=simulation.each.varying
            )
            p_values.append(found.p_value)
            idle.append(not simulation.helps(regimen, "gan"))
        alarms += bool(holm(p_values)[idle].min() < _ALPHA)
        uncorrected += bool(np.array(p_values)[idle].min() < _ALPHA)
    return StudyError(alarms / studies, uncorrected / studies)


def equivalent(simulation: Simulation, margin: float, studies: int, seed: int) -> Equivalent:
    """Ask whether ``gan`` differs from ``none`` by less than the margin (Schuirmann)."""
    random = np.random.default_rng(seed)
    called = np.zeros(3)
    for _ in range(studies):
        table, truth = simulation.run(random)
        moved = table.values_BA - np.array([truth[arm] for arm in table.arms])
        pair = [("gan", "none")]
        (idle,) = compare(moved, table.arms, pair, varying=simulation.varying)
        moved[:, table.arms.index("gan")] += margin
        (apart,) = compare(moved, table.arms, pair, varying=simulation.varying)
        told = [_equal(found, margin) for found in (apart, idle)]
        shown = [max(-found.low, found.high) < margin for found in (apart, idle)]
        called += (told[0], told[0] and shown[0], told[1] and shown[1])
    return Equivalent(*(called / studies))


def _equal(found: Comparison, margin: float) -> bool:
    against = equivalence(found.estimate, found.standard_error, found.df, margin)
    return against.p_value < _ALPHA


def until_narrow(simulation: Simulation, studies: int, seed: int, most: int = 200) -> Until:
    """Add blocks until the interval of ``gan`` is narrow, which takes some 25."""
    random = np.random.default_rng(seed)
    draws = 1 if simulation.draws == 1 else most
    long = dataclasses.replace(simulation, draws=draws, replicates=most)
    spread = np.hypot(long.seed_deviations[0], long.seed_deviations[1])
    spread = np.hypot(spread, long.generator_deviation if draws > 1 else 0.0)
    width = 2 * 2.262 * spread / np.sqrt(25)
    held, blocks = np.zeros(2), np.zeros(2)
    for _ in range(studies):
        table, truth = long.run(random)
        columns = [table.arms.index(arm) for arm in ("gan", "none")]
        delta = table.values_BA[:, columns[0]] - table.values_BA[:, columns[1]] - truth["gan"]
        n = min(blocks_needed(delta[:LEAST_FIRST], width), most)
        found = stein_interval(delta[:n], LEAST_FIRST)
        looked = LEAST_FIRST
        while looked < most and _width(delta[:looked]) > width:
            looked += 1
        naive = abs(float(delta[:looked].mean())) <= _width(delta[:looked]) / 2
        held += (found.low <= 0 <= found.high, naive)
        blocks += (n, looked)
    return Until(*(held / studies), *(blocks / studies))


def _width(delta_B: np.ndarray) -> float:
    return interval_width(float(delta_B.std(ddof=1)), delta_B.size)


def other_images(
    simulation: LogitSimulation, studies: int, seed: int, *, bootstrap: bool = False
) -> OtherImages:
    """Estimate the difference of two areas with its interval over seeds and test sets.

    Args:
        simulation: of the logits.
        studies: how many.
        seed: of them.
        bootstrap: whether test sets are drawn anew, as for metrics whose influences are not known.
    """
    random = np.random.default_rng(seed)
    held = np.zeros(2)
    for _ in range(studies):
        judged = simulation.run(random)
        groups = grouping(judged.groups_N)
        scores_NR = judged.logits_NRA.reshape(judged.targets_N.size, -1)
        targets_N1 = judged.targets_N[:, None]
        found = auc_influence(scores_NR, targets_N1, groups)
        if bootstrap:
            weights_BG = group_weights(groups, RESAMPLES, random)
            areas = partial(_areas, scores_NR, judged.targets_N == 1)
            drawn_BR = bootstrap_rows(areas, groups, weights_BG)
            found = Influence(found.estimates_R, deviations(drawn_BR))
        values_RA = found.estimates_R.reshape(-1, 2)
        (seeds,) = with_baseline(values_RA, ("none", "gan"), "none")
        test = held_out_error(found.sums_GR[:, 1::2] - found.sums_GR[:, ::2], len(groups))
        both = combine(seeds.estimate, seeds.standard_error, seeds.df, test.shared, test.df)
        truth = simulation.truth
        held += (both.low <= truth <= both.high, seeds.low <= truth <= seeds.high)
    return OtherImages(*(held / studies))


def _areas(scores_NR: Floats, hit_N: NDArray[np.bool_], rows_M: NDArray[np.int64]) -> Floats:
    """Return the area under the ROC curve of each column, of some rows (Mann-Whitney)."""
    hit_M, scores_MR = hit_N[rows_M], scores_NR[rows_M]
    # Copies of a row are tied with each other alone, and add up to the same in any order.
    rank_MR = scores_MR.argsort(axis=0).argsort(axis=0) + 1.0
    hits = int(hit_M.sum())
    pairs = hits * (hit_M.size - hits)
    excess_R: Floats = rank_MR[hit_M].sum(axis=0) - hits * (hits + 1) / 2.0
    return excess_R / pairs if pairs else np.full(excess_R.shape, np.nan)
