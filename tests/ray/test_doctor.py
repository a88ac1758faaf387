"""The doctor on a real cluster."""

from __future__ import annotations

import subprocess

import pytest


@pytest.fixture
def doctor(cluster, synthtrial_command, tiny):
    def run(*overrides):
        here = f"engine.ray.address='{cluster.address}'"
        command = [*synthtrial_command, "doctor", "digits", "--engine", "ray", *tiny(here)]
        return subprocess.run([*command, *overrides], capture_output=True, text=True, timeout=120)

    return run


def test_nodes_are_asked_whether_they_see_the_store_and_run_this_code(doctor, cluster, token):
    done = doctor()
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"cluster at {cluster.address}; 1 node\n" in done.stdout
    assert "2 CPU; Python 3." in done.stdout
    assert "sees the store" in done.stdout
    assert "2 tasks at a time (1 CPU each)" in done.stdout
    assert f"{token}, readable by you alone" in done.stdout


def test_what_no_node_has_is_said_with_what_to_change(doctor):
    done = doctor("engine.device=cuda", "engine.trials_per_gpu=2")
    assert done.returncode == 1
    assert "given 1 CPU and 0.5 GPU" in done.stdout
    assert "engine.device=cpu" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr
