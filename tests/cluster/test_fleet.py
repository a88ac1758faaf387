"""cluster/ray/fleet.yaml: what can be checked of it without a cloud."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path

import pytest
import yaml

from synthtrial.study import load

FOLDER = Path(__file__).parents[2] / "cluster" / "ray"
REPOSITORY = FOLDER.parents[1]
#: Files that show how a study is run on a cluster of Ray.
TEXTS = (FOLDER / "fleet.yaml", FOLDER / "README.md", REPOSITORY / "jobs" / "run_study.py")
TEXTS += (REPOSITORY / "slurm" / "ray.sbatch",)
_SETTING = re.compile(r"(?<![\w.])((?:engine|store|protocol)\.[\w.]+)=([^\s`'\",;)]+)")


@pytest.fixture(scope="module")
def fleet():
    return yaml.safe_load((FOLDER / "fleet.yaml").read_text())


def commands(fleet):
    return [line for key, lines in fleet.items() if key.endswith("_commands") for line in lines]


def test_ray_accepts_it(fleet):
    from ray.autoscaler._private.util import prepare_config, validate_config

    validate_config(prepare_config(fleet))


def test_the_head_runs_no_trials_and_the_others_come_and_go(fleet):
    kinds = dict(fleet["available_node_types"])
    head = kinds.pop(fleet["head_node_type"])
    assert head["resources"]["CPU"] == 0
    assert "GPU" not in head["resources"]
    for kind in kinds.values():
        assert kind["resources"]["GPU"] >= 1
        assert 0 == kind["min_workers"] < kind["max_workers"] <= fleet["max_workers"]
        assert kind["node_config"]["InstanceMarketOptions"]["MarketType"] == "spot"


def test_nobody_without_the_token_is_answered_and_the_dashboard_stays_where_it_is(fleet):
    starts = [line for line in commands(fleet) if re.search(r"\bray start\b", line)]
    assert len(starts) == 2
    assert all("RAY_AUTH_MODE=token" in line for line in starts)
    (head,) = [line for line in starts if "--head" in line]
    assert "--dashboard-host=127.0.0.1" in head
    assert "/home/ubuntu/.ray/auth_token" in fleet["file_mounts"]
    assert "chmod 600 /home/ubuntu/.ray/auth_token" in fleet["setup_commands"]


def test_every_command_is_one_that_a_shell_reads(fleet):
    for line in commands(fleet):
        assert shlex.split(line)
        done = subprocess.run(["bash", "-n", "-c", line], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr


def test_every_option_of_ray_start_exists(fleet):
    from ray.scripts.scripts import start

    known = {name for option in start.params for name in option.opts}
    for line in commands(fleet):
        if "ray start" in line:
            used = set(re.findall(r"--[\w-]+", line.partition("ray start")[2]))
            assert used
            assert used <= known


def test_every_setting_that_is_named_can_be_set():
    named = [found for path in TEXTS for found in _SETTING.findall(path.read_text())]
    settings = {(key, value) for key, value in named if not re.search(r"\.\.\.|[*{]", value)}
    wanted = {"store.path", "engine.device", "engine.ray.wait_seconds", "protocol.search"}
    assert wanted <= {key for key, _ in settings}
    for key, value in settings:
        load("digits", [f"{key}={value}"], "ray")


def test_what_is_to_be_changed_says_so(fleet):
    marked = re.findall(r"\S*CHANGE-ME\S*", yaml.safe_dump(fleet))
    assert len(marked) == 3  # two images and the disk
