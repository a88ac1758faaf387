from __future__ import annotations

import dataclasses

from synthtrial.engine_config import EngineConfig
from synthtrial.engines.slurm.packs import deal, estimated_minutes, followers
from synthtrial.engines.slurm.sites import Site
from synthtrial.plan import build
from synthtrial.testing.studies import smallest

SITE = Site(cpus=2, start_seconds=10.0, max_jobs=100)


def trials(count=120):
    plan = build(smallest("digits"), None)
    one = next(task for task in plan.tasks.values() if task.kind == "trial")
    return [dataclasses.replace(one, id=f"{number:020d}") for number in range(count)]


def dealt(tasks, seconds, site=SITE, **settings):
    return deal([[t] for t in tasks], lambda _: seconds, site, EngineConfig(**settings))


def test_every_task_is_dealt_once():
    tasks = trials()
    packs = dealt(tasks, 100.0)
    assert sorted(id_ for pack in packs for id_ in pack.seconds) == sorted(t.id for t in tasks)


def test_a_pack_takes_about_the_time_that_was_asked_for():
    tasks = trials()
    site = Site(cpus=2, start_seconds=10.0, max_jobs=1)
    packs = dealt(tasks, 100.0, site, pack_minutes=10.0)
    assert len(packs) == 10  # 120 x 100 s by twos are 100 minutes
    assert {round(estimated_minutes(pack, 2)) for pack in packs} == {10}


def test_short_work_is_not_spread_thin():
    assert len(dealt(trials(), 0.1)) == 1


def test_free_places_are_used():
    site = Site(cpus=2, start_seconds=10.0, max_jobs=4)
    assert len(dealt(trials(), 100.0, site, pack_minutes=1000.0)) == 4


def test_long_and_short_tasks_are_spread_so_that_packs_end_together():
    tasks = trials()
    seconds = {task.id: 10.0 + 7 * (number % 13) for number, task in enumerate(tasks)}
    site = Site(cpus=1, start_seconds=1.0, max_jobs=6)
    settings = EngineConfig(pack_minutes=1000.0)
    packs = deal([[t] for t in tasks], lambda t: seconds[t.id], site, settings)
    loads = [sum(pack.seconds.values()) for pack in packs]
    assert max(loads) - min(loads) <= max(seconds.values())


def test_what_waits_for_a_gan_alone_goes_with_it():
    plan = build(smallest("digits"), None)
    light = ("prepare", "split", "allocate")
    plan.done |= {task.id for task in plan.tasks.values() if task.kind in light}
    heads = [task for task in plan.ready() if task.kind == "train_gan"]
    found = followers(plan, heads, ())
    assert [task.kind for task in found[heads[0].id]] == ["synthesize"]
    follower = found[heads[0].id][0]
    assert followers(plan, heads, {follower.id})[heads[0].id] == []
