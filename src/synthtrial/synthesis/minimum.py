"""The fewest images that bring several classes to a prevalence: a small integer program.

Over whole n_p >= 0, one for each chosen class: minimise sum n_p subject to
``c_q + sum_p n_p P(q|p) >= t (N + sum n_p)`` for every chosen class q.

Classes that never occur together have a closed solution. Otherwise HiGHS (Huangfu & Hall 2018)
solves the program once a trifle relaxed and once a trifle tightened: the one bounds the true
minimum from below, the other from above. Every solution is checked in exact arithmetic, and where
the bounds do not meet what lies between is searched exactly.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from synthtrial.errors import InfeasibleTargetError

#: Above this the floating-point solver could not be trusted, nor would anyone want the images.
MOST_IMAGES = 10**8
_MARGIN = 1e-4  # images; far above the solver's rounding, far below one image
_ROUNDING = 1e-4  # the same, of the ends of an interval
_SEARCH_LIMIT = 20_000


@dataclass(frozen=True)
class Demand:
    """What is asked for.

    Attributes:
        names: of K chosen classes.
        counts: c, positive rows of each.
        n_rows: N.
        share: ``share[q][p]`` is P(q|p), exactly.
        target: t.
    """

    names: tuple[str, ...]
    counts: tuple[int, ...]
    n_rows: int
    share: tuple[tuple[Fraction, ...], ...]
    target: Fraction

    def is_met(self, added: Sequence[int]) -> bool:
        """Say, exactly, whether these numbers of images reach the target."""
        total = self.target * (self.n_rows + sum(added))
        return all(
            count + sum(n * part for n, part in zip(added, parts, strict=True)) >= total
            for count, parts in zip(self.counts, self.share, strict=True)
        )

    @property
    def is_disjoint(self) -> bool:
        """Whether no two chosen classes occur together."""
        return all(
            part == (p == q) for q, parts in enumerate(self.share) for p, part in enumerate(parts)
        )


def exact_fraction(value: float) -> Fraction:
    """Return the decimal number that a person wrote: 0.15 is 3/20."""
    return Fraction(repr(float(value)))


def fewest(demand: Demand) -> tuple[int, ...]:
    """Return the numbers of images of least sum that meet the demand.

    Raises:
        InfeasibleTargetError: none do, or only absurdly many; the message says which prevalence
            can be reached.
    """
    if demand.is_met([0] * len(demand.names)):
        return (0,) * len(demand.names)
    return _fewest_disjoint(demand) if demand.is_disjoint else fewest_by_program(demand)


def largest_target(demand: Demand) -> float:
    """Return the largest prevalence that all chosen classes can have or come as near as one likes.

    It is the value of the game in which one side mixes "leave the rows as they are" and "add
    images of class p", and the other names the class that is judged.
    """
    from scipy.optimize import linprog

    k = len(demand.names)
    if demand.is_disjoint:
        return 1 / k
    as_is = np.array([[float(Fraction(count, demand.n_rows))] for count in demand.counts])
    game_QX = np.hstack([as_is, np.array(demand.share, dtype=float)])
    upper = np.hstack([-game_QX, np.ones((k, 1))])
    solution = linprog(
        c=[0.0] * (k + 1) + [-1.0],
        A_ub=upper,
        b_ub=np.zeros(k),
        A_eq=[[1.0] * (k + 1) + [0.0]],
        b_eq=[1.0],
        bounds=[(0, None)] * (k + 1) + [(None, None)],
    )
    return -float(solution.fun or 0.0)


def _fewest_disjoint(demand: Demand) -> tuple[int, ...]:
    """Solve for classes that exclude one another.

    Given the sum M, class q needs ``max(0, ceil(t (N + M) - c_q))``. Their sum f(M) never falls,
    so repeating ``M <- f(M)`` from a lower bound ends at the least M that suffices.
    """
    total = _real_bound(demand)
    while True:
        size = demand.target * (demand.n_rows + total)
        needed = tuple(max(0, math.ceil(size - count)) for count in demand.counts)
        if sum(needed) <= total:
            return needed
        total = sum(needed)
        if total > MOST_IMAGES:
            raise _refusal(demand)


def _real_bound(demand: Demand) -> int:
    """Return the least sum if images could be divided, rounded up."""
    short = [demand.target * demand.n_rows - count for count in demand.counts]
    total, raised = Fraction(0), 0
    while True:
        active = [value for value in short if value + demand.target * total > 0]
        if len(active) == raised:
            return math.ceil(total)
        raised = len(active)
        if raised * demand.target >= 1:
            raise _refusal(demand)
        total = sum(active, Fraction(0)) / (1 - raised * demand.target)
        if total > MOST_IMAGES:
            raise _refusal(demand)


def fewest_by_program(demand: Demand) -> tuple[int, ...]:
    """Solve the general case; see the module's text."""
    lower = _solve(demand, -_MARGIN)
    if lower is None or sum(lower) > MOST_IMAGES:
        raise _refusal(demand)
    if demand.is_met(lower):
        return lower
    upper = _solve(demand, _MARGIN)
    if upper is not None and not demand.is_met(upper):
        raise AssertionError(f"the solver broke a constraint by more than its margin: {demand}")
    last = sum(upper) if upper is not None else sum(lower) + 1000
    budget = [_SEARCH_LIMIT]
    for total in range(sum(lower), last):
        for found in _with_sum(demand, total, (), budget):
            if demand.is_met(found):
                return found
    if upper is None or budget[0] < 0:
        raise InfeasibleTargetError(_too_fine(demand))
    return upper


def _solve(demand: Demand, margin: float) -> tuple[int, ...] | None:
    """Return the least numbers that meet the demand with ``margin`` images to spare, or None."""
    from scipy.optimize import Bounds, LinearConstraint, milp

    gain_QP, short_Q = _rows(demand)
    k = len(demand.names)
    solution = milp(
        c=np.ones(k),
        integrality=np.ones(k, dtype=np.int64),
        bounds=Bounds(0, MOST_IMAGES),
        constraints=LinearConstraint(gain_QP, lb=short_Q + margin),
        options={"mip_rel_gap": 0.0},
    )
    if solution.x is None or solution.status != 0:
        return None
    return tuple(round(value) for value in solution.x)


def _rows(demand: Demand) -> tuple[np.ndarray, np.ndarray]:
    """Return the constraints ``gain_QP @ n_P >= short_Q``."""
    gain_QP = np.array([[float(part - demand.target) for part in parts] for parts in demand.share])
    short_Q = np.array([float(demand.target * demand.n_rows - count) for count in demand.counts])
    return gain_QP, short_Q


def _with_sum(
    demand: Demand, total: int, fixed: tuple[int, ...], budget: list[int]
) -> Iterator[tuple[int, ...]]:
    """Yield every point of this sum that meets the demand but for the margin.

    ``budget`` is counted down by every step and the search given up when it is spent.
    """
    from scipy.optimize import linprog

    k = len(demand.names)
    if len(fixed) == k - 1:
        if total >= sum(fixed):
            yield (*fixed, total - sum(fixed))
        return
    gain_QP, short_Q = _rows(demand)
    bounds = [(value, value) for value in fixed] + [(0, total)] * (k - len(fixed))
    ends = []
    for sign in (1.0, -1.0):
        goal = np.zeros(k)
        goal[len(fixed)] = sign
        solution = linprog(
            c=goal,
            A_ub=-gain_QP,
            b_ub=-(short_Q - _MARGIN),
            A_eq=[[1.0] * k],
            b_eq=[float(total)],
            bounds=bounds,
        )
        if solution.x is None:
            return
        ends.append(float(solution.x[len(fixed)]))
    first, last = math.ceil(ends[0] - _ROUNDING), math.floor(ends[1] + _ROUNDING)
    for value in range(max(first, 0), min(last, total) + 1):
        budget[0] -= 1
        if budget[0] < 0:
            return
        yield from _with_sum(demand, total, (*fixed, value), budget)


def _too_fine(demand: Demand) -> str:
    return (
        f"whether a prevalence of {float(demand.target):.6g} can be reached for "
        f"{', '.join(demand.names)} is too fine a question: it lies at the very edge of "
        f"{largest_target(demand):.6g}. Lower balance.target a little"
    )


def _refusal(demand: Demand) -> InfeasibleTargetError:
    largest = largest_target(demand)
    asked = float(demand.target)
    if asked >= largest - 1e-9:
        reason = "no number of added images brings"
    else:
        reason = f"it would take more than {MOST_IMAGES:,} added images to bring"
    return InfeasibleTargetError(
        f"{reason} {', '.join(demand.names)} to a prevalence of {asked:.6g} each: images of one "
        f"class dilute the others. The largest prevalence that {len(demand.names)} classes with "
        f"these labels can approach is {largest:.4g}. Lower balance.target below it, raise fewer "
        "classes, or give balance.count"
    )
