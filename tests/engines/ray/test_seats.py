from __future__ import annotations

import pytest

from synthtrial.engine_config import EngineConfig, RayConfig
from synthtrial.engines.ray.seats import Request, missing, request, seats, whole

CPUS = {"CPU": 4.0}
GPUS = {"CPU": 16.0, "GPU": 2.0}


def settings(**options):
    ray = RayConfig(cpus_per_task=options.pop("cpus", 1))
    return EngineConfig(name="ray", ray=ray, **options)


@pytest.mark.parametrize(
    ("device", "nodes", "gpus"),
    [
        ("auto", [CPUS], 0.0),
        ("auto", [CPUS, GPUS], 0.25),
        ("cpu", [GPUS], 0.0),
        ("cuda", [CPUS], 0.25),
    ],
)
def test_a_gpu_is_shared_where_there_is_one_or_one_is_asked_for(device, nodes, gpus):
    assert request(settings(device=device, trials_per_gpu=4), nodes) == Request(1, gpus)


@pytest.mark.parametrize(
    ("wanted", "nodes", "count"),
    [
        (Request(1, 0), [CPUS, CPUS], 8),
        (Request(3, 0), [CPUS, CPUS], 2),
        (Request(1, 0.25), [GPUS], 8),
        (Request(4, 0.25), [GPUS], 4),
        (Request(1, 1 / 3), [GPUS], 6),
        (Request(1, 0.4), [GPUS], 4),  # no process has parts of two GPUs
        (Request(1, 1), [CPUS, GPUS], 2),
        (Request(8, 0), [CPUS], 0),
        (Request(1, 0), [], 0),
    ],
)
def test_seats_are_counted_node_by_node(wanted, nodes, count):
    assert seats(wanted, nodes) == count


def test_who_is_to_be_alone_gets_a_gpu_or_the_largest_machine():
    assert whole(Request(1, 0.25), [GPUS]) == Request(1, 1)
    assert whole(Request(1, 0), [CPUS, {"CPU": 6.0}]) == Request(6, 0)


def test_what_is_missing_is_named_with_the_most_that_there_is():
    assert missing(Request(1, 1), [CPUS]) == "GPU (the most that a node has is 0)"
    assert missing(Request(32, 1), [GPUS]) == "CPU (the most that a node has is 16)"
    assert missing(Request(8, 1), [{"CPU": 8.0}, {"CPU": 2.0, "GPU": 1.0}]) == (
        "all of it on the same node"
    )
    assert missing(Request(1, 0), [CPUS]) == ""


def test_a_request_reads_as_ray_names_things():
    assert str(Request(1, 0.25)) == "1 CPU and 0.25 GPU"
    assert Request(2, 0).resources == {"CPU": 2}
