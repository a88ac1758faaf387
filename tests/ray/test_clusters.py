"""Runs on clusters that were there before: nodes with declared GPUs, lost nodes, wrong tokens."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # for `records`: tests are no packages

from records import finished, measured, tries

from synthtrial.driver import run
from synthtrial.engine_config import EngineConfig, RayConfig
from synthtrial.engines.ray.engine import RayEngine
from synthtrial.errors import EngineError
from synthtrial.plan import build
from synthtrial.store.artifacts import open_store
from synthtrial.study import load
from synthtrial.testing.studies import run_here


class Quiet:
    """A listener that keeps what it is told."""

    def __init__(self):
        self.outcomes = []

    def started(self, plan, engine, clock):
        self.preview = engine.preview(plan.to_do())

    def ended(self, task, outcome, plan):
        self.outcomes.append((task, outcome))

    def waiting(self, plan):
        pass


def study_at(address, overrides):
    return load("digits", [f"engine.ray.address='{address}'", *overrides], "ray")


def test_four_trials_share_each_declared_gpu(new_cluster, tiny):
    """Two nodes of a GPU each take eight at a time, and no more."""
    cluster = new_cluster({"num_cpus": 5, "num_gpus": 1}, {"num_cpus": 5, "num_gpus": 1})
    rates = ", ".join(f"0.00{number}" for number in range(1, 10))
    grid = f"grid={{learning_rate: [{rates}], batch_size: [16]}}"  # one trial more than fits
    long = ("training.epochs=2000", "regimens=[1.0]", grid, "engine.device=auto")
    study = study_at(cluster.address, tiny(*long, "engine.trials_per_gpu=4"))
    store = open_store(study.store_path, create=True)
    plan = run_here(study, store, only=lambda task: task.kind in ("prepare", "split"))
    trials = [task for task in plan.ready() if task.kind == "trial"][:9]
    assert len(trials) == 9
    seen = []
    with RayEngine(store, study) as engine:
        import ray

        assert "8 at a time (1 CPU and 0.25 GPU each)" in engine.preview(trials)
        engine.submit(trials)
        deadline = time.monotonic() + 100
        while time.monotonic() < deadline:
            engine.wait(0.2)
            seen.append(ray.available_resources().get("GPU", 0.0))
            if seen[-1] == 0.0:
                break
        assert seen[-1] == 0.0  # all of both GPUs is in use, by quarters
        assert ray.available_resources()["CPU"] == 2.0  # eight processors, not nine


@pytest.mark.faults
def test_trials_of_a_node_that_is_removed_go_on_elsewhere(new_cluster, tiny, tmp_path):
    cluster = new_cluster({"num_cpus": 1})
    node = cluster.add_node(num_cpus=1, object_store_memory=100 * 2**20)
    cluster.wait_for_nodes()
    study = study_at(cluster.address, tiny("protocol.replicates=4", "training.epochs=20"))
    store = open_store(study.store_path, create=True)
    kept = []

    def remove():
        while finished(store.root) < 4:
            time.sleep(0.05)
        kept.extend(measured(store.root))
        cluster.remove_node(node, allow_graceful=False)

    remover = threading.Thread(target=remove)
    remover.start()
    listener = Quiet()
    plan = run(study, store, listener)
    remover.join()
    assert plan.complete
    assert not plan.failures
    assert {row["status"] for row in measured(store.root).values()} == {"done"}
    assert all(tries(store.root)[id_] == 1 for id_ in kept)


def test_what_no_node_can_take_is_named_with_what_is_missing(cluster, tiny):
    study = study_at(cluster.address, tiny("engine.device=cuda", "engine.ray.wait_seconds=1"))
    began = time.monotonic()
    with pytest.raises(EngineError) as error, RayEngine(open_store(study.store_path), study):
        pass
    assert time.monotonic() - began < 20
    assert "given 1 CPU and 1 GPU" in str(error.value)
    assert "GPU (the most that a node has is 0)" in str(error.value)
    assert "engine.device=cpu" in str(error.value)


def test_a_gan_of_more_processes_than_fit_is_named_too(cluster, tiny):
    study = study_at(cluster.address, tiny("engine.ray.gan_processes=3"))
    store = open_store(study.store_path, create=True)
    kinds = ("prepare", "split", "allocate")
    plan = run_here(study, store, only=lambda task: task.kind in kinds)
    gan = next(task for task in plan.ready() if task.kind == "train_gan")
    impatient = study.replace(["engine.ray.wait_seconds=1"])
    with RayEngine(store, impatient) as engine:
        engine.submit([gan])
        with pytest.raises(EngineError, match="no room for the 3 processes") as error:
            engine.wait(60.0)
    assert "its nodes hold 2 of them" in str(error.value)
    assert "engine.ray.gan_processes=2" in str(error.value)


def test_a_wrong_token_is_one_clear_error(cluster, synthtrial_command, tiny, tmp_path):
    wrong = tmp_path / "wrong"
    wrong.write_text("0" * 64)
    command = [*synthtrial_command, "run", "digits", "--engine", "ray", *tiny()]
    done = subprocess.run(
        [*command, f"engine.ray.address='{cluster.address}'"],
        capture_output=True,
        text=True,
        env=os.environ | {"RAY_AUTH_TOKEN_PATH": str(wrong)},
        timeout=120,
    )
    assert done.returncode == 1
    assert "refuses the token from" in done.stderr
    assert str(wrong) in done.stderr
    assert "Traceback" not in done.stderr + done.stdout


def test_an_address_where_nothing_listens_is_one_clear_error(cluster, synthtrial_command, tiny):
    command = [*synthtrial_command, "run", "digits", "--engine", "ray", *tiny()]
    done = subprocess.run(
        [*command, "engine.ray.address='127.0.0.1:1'"], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 1
    assert "no Ray cluster answers at 127.0.0.1:1" in done.stderr
    assert "Traceback" not in done.stderr + done.stdout


@pytest.mark.parametrize(
    ("address", "says"), [("auto", "another user's"), ("ray://host:10001", "Ray Client")]
)
def test_addresses_that_would_mislead_are_refused(address, says, tiny):
    study = study_at(address, tiny())
    with pytest.raises(EngineError, match=says), RayEngine(open_store(study.store_path), study):
        pass


def test_a_dashboard_for_others_needs_authentication(monkeypatch, tiny):
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    study = load("digits", tiny("engine.ray.dashboard_host=0.0.0.0"), "ray")
    with (
        pytest.raises(EngineError, match="anybody could run"),
        RayEngine(open_store(study.store_path), study),
    ):
        pass


def test_settings_are_those_of_the_engine_alone():
    """No id knows of Ray."""
    plain = build(load("digits"), None)
    ray = build(load("digits", engine="ray"), None)
    assert list(plain.tasks) == list(ray.tasks)
    assert EngineConfig().ray == RayConfig()
