"""How many workers a run asks a growing cluster for; tests/cluster has one grow."""

from __future__ import annotations

import json
import subprocess
import sys

from synthtrial.engines.ray.demand import target

ASK = """
import json, sys, ray
from ray._private.ray_constants import AUTOSCALER_RESOURCE_REQUEST_CHANNEL as CHANNEL
from ray.experimental.internal_kv import _internal_kv_get
from synthtrial.engines.ray.demand import Demand
from synthtrial.engines.ray.seats import Request

ray.init(sys.argv[1], log_to_driver=False, logging_level=40)
demand, heard = Demand(), []
for workers in (2, 3, 1):  # less is said later, lest nodes come and go
    demand.ask(Request(1.0, 0.5), workers)
    heard.append(json.loads(_internal_kv_get(CHANNEL)))
demand.withdraw()
heard.append(json.loads(_internal_kv_get(CHANNEL)))
print(json.dumps(heard))
"""


def test_a_worker_more_is_worth_it_for_minutes_of_work_only():
    assert target(100, 5.0) == 1
    assert target(100, 1200.0) == 10


def test_never_more_workers_than_tasks_nor_without_end():
    assert target(3, 1e9) == 3
    assert target(10**6, 1e9) == 1000
    assert target(0, 0.0) == 0


def test_the_autoscaler_hears_what_is_wanted_and_that_nothing_more_is(cluster):
    done = subprocess.run(
        [sys.executable, "-c", ASK, cluster.address], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    heard = [len(request) for request in json.loads(done.stdout)]
    assert heard == [2, 3, 3, 0]
