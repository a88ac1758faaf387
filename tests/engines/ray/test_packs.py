from __future__ import annotations

import pytest

from synthtrial.engine_config import EngineConfig, RayConfig
from synthtrial.engines.ray.packs import Pace, text


def test_packs_shrink_towards_the_end():
    pace = Pace()
    assert pace.target(left=1000.0, workers=4) == 10.0
    assert pace.target(left=16.0, workers=4) == 2.0
    assert pace.target(left=0.0, workers=4) == 0.0


def test_a_workers_part_of_what_is_left_counts_what_was_measured():
    pace = Pace()
    pace.note(expected=1.0, measured=4.0)
    pace.note(expected=1.0, measured=2.0)
    assert pace.expected(2.0) == pytest.approx(6.0)
    assert pace.target(left=4.0, workers=2) == pytest.approx(3.0)


def test_nothing_measured_changes_nothing():
    assert Pace().expected(2.0) == 2.0


def test_what_is_said_before_a_run_names_cluster_and_places(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    shared = EngineConfig(name="ray", trials_per_gpu=4)
    assert "4 on each of 2 GPUs, over a private Ray cluster" in text(9, shared)
    assert "3 at a time" in text(9, EngineConfig(name="ray", device="cpu", workers=3))
    named = EngineConfig(name="ray", ray=RayConfig(address="head:6379"))
    assert text(9, named).startswith("9 tasks, trials in packs")
    assert text(9, named).endswith("over the Ray cluster at head:6379")
