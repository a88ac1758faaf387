"""`synthtrial doctor`: what is found on this machine, and how answers of others are judged."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import subprocess
import time
from pathlib import Path

import pytest

from synthtrial import __version__
from synthtrial.doctor import examine
from synthtrial.doctor.cluster import limit_seconds, parse_sinfo
from synthtrial.doctor.machine import check_folder
from synthtrial.doctor.node import check_probe
from synthtrial.engines import facts
from synthtrial.engines.slurm.probe import Found
from synthtrial.engines.slurm.queue import JobInfo
from synthtrial.engines.slurm.sites import Site
from synthtrial.estimates import Estimate
from synthtrial.identity import code_digest
from synthtrial.study import load


def found_here(*overrides):
    return {check.name: check for check in examine(load("digits", overrides), 1.0, print)}


def test_a_machine_in_order_is_told_to_be_so(tiny, tmp_path, synthtrial_command):
    done = subprocess.run(
        [*synthtrial_command, "doctor", "digits", *tiny("engine.device=auto")],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "broken" not in done.stdout
    for name in ("store", "space", "file locks", "data", "cache", "processors", "torch", "GPUs"):
        assert f"\nok       {name} " in done.stdout or f"\nwarning  {name} " in done.stdout
    assert not (tmp_path / "one").exists(), "no store is made"


def test_a_read_only_store_is_broken_and_exits_with_1(
    tiny, mount, remount_read_only, synthtrial_command
):
    disk = mount("size=10m")
    remount_read_only(disk)
    arguments = [*tiny(), f"store.path={disk}/store"]
    done = subprocess.run(
        [*synthtrial_command, "doctor", "digits", *arguments], capture_output=True, text=True
    )
    assert done.returncode == 1
    assert "Read-only file system" in done.stdout
    assert "-> make it writable" in done.stdout
    assert not done.stderr


def test_a_disk_that_is_too_small_is_broken(tiny, mount):
    disk = mount("size=1m")
    found = found_here(*tiny(), f"store.path={disk}/store", "regimens=[1.0]")
    assert found["store"].state == "warning", "it is in memory"
    assert found["space"].state == "broken"
    assert "file locks" not in found, "nothing is tried there"
    assert not list(disk.iterdir())
    # A quota is not seen in what is free, but when it is met.
    (check, *_) = check_folder(disk, Estimate(0.0, 2**22, 1, 0.0))
    assert (check.name, check.state) == ("quota", "broken")
    assert "reserved" not in [path.name for path in disk.iterdir()]


def test_a_store_of_another_version_is_broken(tiny, tmp_path):
    store = tmp_path / "one" / "store"
    store.mkdir(parents=True)
    (store / "store.json").write_text('{"schema": 99}')
    found = found_here(*tiny())
    assert found["study"].state == "broken"
    assert "schema 99" in found["study"].found
    assert [path.name for path in store.iterdir()] == ["store.json"]


def test_more_workers_than_processors_are_doubtful(tiny):
    many = len(os.sched_getaffinity(0)) + 1
    assert found_here(*tiny(f"engine.workers={many}"))["processors"].state == "warning"


def test_missing_data_is_broken(tmp_path):
    places = [f"store.path={tmp_path / 'store'}", f"store.cache_path={tmp_path / 'cache'}"]
    study = load("fashion", ["dataset.path=/nowhere", *places])
    found = {check.name: check for check in examine(study, 1.0, print)}
    assert found["data"].state == "broken"
    assert "apt-get install" in found["data"].found


def test_gpus_that_torch_cannot_use_are_broken(tiny, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    if facts.use_torch().cuda:
        pytest.skip("NOT TESTED: there are GPUs here")
    found = found_here(*tiny("engine.device=auto"))
    assert found["GPUs"].state == "broken"
    assert "0 of 2" in found["GPUs"].found


def test_an_allocation_is_submitted_where_there_is_slurm(tiny, monkeypatch):
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    monkeypatch.setenv("PATH", "/nowhere")
    assert found_here(*tiny("engine.name=allocation"))["allocation"].state == "broken"


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("infinite", float("inf")),
        ("30:00", 1800),
        ("4:00:00", 14400),
        ("2-00:00:00", 172800),
        ("45", 45),
    ],
)
def test_time_limits_are_read_as_sinfo_writes_them(text, seconds):
    assert limit_seconds(text) == seconds


def test_nodes_are_read_as_sinfo_writes_them():
    # With typed GPUs, a node that is down, and numbers that differ between nodes.
    lines = """gpu|up|2-00:00:00|g01|mixed|64|515000|gpu:a100:4(S:0-1)|a100,ib
gpu|up|2-00:00:00|g02|drained*|64|515000|gpu:a100:4(S:0-1),gpu:v100:2(S:0)|a100,ib
cpu|down|infinite|c01|idle~|32+|191000+|(null)|(null)
"""
    known = parse_sinfo(lines)
    assert known.keys() == {"gpu", "cpu"}
    first, second = known["gpu"].nodes
    assert first.gpus == {"a100": 4}
    assert second.gpus == {"a100": 4, "v100": 2}
    assert (first.is_usable, second.is_usable) == (True, False)
    assert known["cpu"].nodes[0].is_usable
    assert not known["cpu"].is_up
    assert known["cpu"].nodes[0].processors == 32
    job = Site(gpus=4, gpu_type="a100", cpus=16, memory_gb=120, constraint="ib")
    assert first.lacks(job) == ""
    assert first.lacks(dataclasses.replace(job, cpus=17)) == "64 processors"
    assert first.lacks(dataclasses.replace(job, memory_gb=126)) == "502.9 GB"
    assert first.lacks(dataclasses.replace(job, gpu_type="h100")) == "0 GPUs of type h100"
    assert first.lacks(dataclasses.replace(job, constraint="amd")) == "no feature 'amd'"
    assert first.lacks(dataclasses.replace(job, constraint="ib&amd")) == "", "SLURM's to judge"


def answer(clock_ahead=0.0, **changes):
    """Return what a node in order answers, or one whose clock is ahead by so many seconds."""
    now = time.time()
    known = {
        "host": "g01",
        "start_seconds": 2.0,
        "python": "3.12.1",
        "executable": "/usr/bin/python",
        "version": __version__,
        "digest": code_digest(),
        "package": "/store/source/1",
        "lock_is_held": True,
        "processors": 2,
        "node_processors": 64,
        "visible": None,
        "nvidia": None,
        "torch": dataclasses.asdict(facts.Torch("2.9", 3.0)),
        "internet": False,
        "study": "",
        "scratch": dataclasses.asdict(facts.Storage("/tmp", "xfs", "/dev/sda", 10**12, 10**6, ""))
        | {"wanted": "/tmp/synthtrial-1"},
        "rows": 1797,
        "submits": "",
        "clock": now + clock_ahead,
    } | changes
    known = json.loads(json.dumps(known))
    return Found("7", 9.0, known, JobInfo("COMPLETED"), [], now - 9, now)


def judged(found, *overrides, **site):
    checks = check_probe(
        load("digits", overrides), Site(**{"cpus": 2, **site}), found, Path("/s/d")
    )
    return {check.name: check for check in checks}


def test_a_node_in_order_is_told_to_be_so():
    assert {check.state for check in judged(answer()).values()} == {"ok"}


@pytest.mark.parametrize(
    ("changes", "name", "state"),
    [
        ({"lock_is_held": False}, "locks, nodes", "broken"),
        ({"start_seconds": 95.0}, "Python", "warning"),
        ({"version": "0.0.9"}, "source", "broken"),
        ({"study": "unknown dataset 'mine'"}, "plug-ins", "broken"),
        ({"data_error": "/usr/share/x lacks y"}, "data, nodes", "broken"),
        ({"scratch_error": "/scratch is read-only"}, "scratch", "broken"),
        (
            {
                "scratch": dataclasses.asdict(facts.Storage("/h", "nfs4", "s:/h", 10**12, 1, ""))
                | {"wanted": "/h"}
            },
            "scratch",
            "warning",
        ),
        ({"processors": 1}, "processors", "warning"),
        ({"clock_ahead": 400}, "clock", "warning"),
        ({"clock_ahead": -4000}, "clock", "warning"),
        ({"submits": "Access/permission denied"}, "from jobs", "warning"),
        ({"torch": dataclasses.asdict(facts.Torch("", 0.1, error="no"))}, "torch", "broken"),
    ],
)
def test_what_is_wrong_with_a_node_is_named_with_what_to_mend(changes, name, state):
    check = judged(answer(**changes))[name]
    assert check.state == state
    assert check.mend


def test_gpus_on_a_node_are_those_asked_for():
    h100 = dataclasses.asdict(facts.Gpu("H100", "Default", "550.54", "81559 MiB"))
    torch = dataclasses.asdict(facts.Torch("2.9", 3.0, ["H100", "H100"]))
    both = answer(nvidia=[h100, h100], torch=torch, processors=4)
    assert judged(both, gpus=2)["GPUs"].state == "ok"
    assert judged(both, gpus=3, cpus=1)["GPUs"].state == "broken"
    assert judged(both, "engine.device=cpu", gpus=2)["GPUs"].state == "warning"
    alone = answer(nvidia=[h100 | {"compute_mode": "Exclusive_Process"}] * 2, torch=torch)
    assert "compute mode" not in judged(alone, gpus=2)
    assert judged(alone, "engine.trials_per_gpu=2", gpus=2)["compute mode"].state == "broken"


@pytest.mark.parametrize(
    ("info", "log", "state", "words"),
    [
        (JobInfo("PENDING", "Priority"), None, "warning", "the queue is long"),
        (JobInfo("PENDING", "PartitionTimeLimit"), None, "broken", "for ever"),
        (JobInfo("RUNNING", nodes="g01"), [], "broken", "has not answered"),
        (JobInfo("FAILED", nodes="g01", exit_code="0:53"), None, "broken", "does not see /s"),
        (JobInfo("FAILED", nodes="g01", exit_code="1:0"), ["no module"], "broken", "| no module"),
        (None, None, "warning", "said nothing"),
    ],
)
def test_a_probe_without_an_answer_is_explained(info, log, state, words):
    check = judged(Found("7", 300.0, None, info, log, 0.0, 300.0))["probe job"]
    assert check.state == state
    assert words in check.found
    assert check.mend


def test_the_page_about_slurm_lists_every_setting_of_a_site_with_its_default():
    page = (Path(__file__).parents[1] / "docs" / "slurm.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \| (?:`(.*?)`)? ?\|", page, re.MULTILINE)
    site = Site()
    assert [name for name, _ in rows] == [item.name for item in dataclasses.fields(Site)]
    for name, text in rows:
        default = getattr(site, name)
        assert text == ("" if default is None else str(default).replace("True", "true")), name
