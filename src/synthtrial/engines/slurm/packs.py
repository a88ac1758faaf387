"""Packs: how many jobs, and what runs in which.

A job costs a place in the queue and some seconds to get going, so it is given many tasks. Tasks
are dealt out longest first to the pack with the least work, so that packs end at about the same
time.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Collection, Iterable, Sequence

from synthtrial.engine_config import EngineConfig
from synthtrial.engines.slurm.sites import Site
from synthtrial.engines.submissions import Pack
from synthtrial.plan import Plan
from synthtrial.tasks import Task, TaskKind

#: Go where the only task that they wait for runs: what they read is there, and no queue is between.
FOLLOWERS: frozenset[TaskKind] = frozenset({"synthesize", "filter", "assess"})
_LEAST_WORK = 3.0  # times the time that a job takes to get going


def followers(plan: Plan, heads: Sequence[Task], taken: Collection[str]) -> dict[str, list[Task]]:
    """Return for each task those that can run right after it in the same job.

    Args:
        plan: of the study.
        heads: tasks that are ready.
        taken: ids of tasks that are on their way already.
    """
    home = {task.id: task.id for task in heads}
    found: dict[str, list[Task]] = {task.id: [] for task in heads}
    for task in plan.tasks.values():  # topological: a follower's own followers come after it
        if task.kind not in FOLLOWERS or task.id in home or task.id in taken:
            continue
        missing = {home.get(need) for need in task.needs if need not in plan.done}
        if len(missing) == 1 and None not in missing and not plan.is_settled(task.id):
            (head,) = missing
            assert head is not None
            home[task.id] = head
            found[head].append(task)
    return found


def deal(
    units: Iterable[Sequence[Task]],
    seconds: Callable[[Task], float],
    site: Site,
    settings: EngineConfig,
    *,
    workers: int | None = None,
) -> list[Pack]:
    """Deal tasks out to packs.

    Args:
        units: tasks that stay together, in the order of their turn.
        seconds: expected time of a task.
        site: profile of the cluster.
        settings: of the engine.
        workers: how many tasks of a pack run at the same time; None for what the job allows.
    """
    costs = [({task.id: round(seconds(task), 3) for task in unit}) for unit in units]
    costs.sort(key=lambda cost: -sum(cost.values()))
    width = workers or site.workers(settings)
    packs: list[dict[str, float]] = [{} for _ in range(_count(costs, width, site, settings))]
    heap = [(0.0, number) for number in range(len(packs))]
    for cost in costs:
        load, number = heapq.heappop(heap)
        packs[number].update(cost)
        heapq.heappush(heap, (load + sum(cost.values()), number))
    return [Pack(pack, workers) for pack in packs]


def _count(
    costs: Sequence[dict[str, float]], width: int, site: Site, settings: EngineConfig
) -> int:
    """Return how many packs: enough to be done in time, and none without work that pays."""
    total = sum(sum(cost.values()) for cost in costs) / width
    by_time = math.ceil(total / (60 * settings.pack_minutes))
    worthwhile = (
        int(total / (_LEAST_WORK * site.start_seconds)) if site.start_seconds else len(costs)
    )
    return max(1, min(len(costs), max(by_time, min(site.max_jobs, worthwhile))))


def estimated_minutes(pack: Pack, width: int) -> float:
    """Return how long a pack should take with so many tasks at a time."""
    longest = max(pack.seconds.values(), default=0.0)
    return max(longest, sum(pack.seconds.values()) / width) / 60
