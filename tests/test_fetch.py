"""`synthtrial fetch`: what studies need from outside."""

from __future__ import annotations

import dataclasses
import os
import subprocess

from synthtrial.data.digits import DIGITS
from synthtrial.fetching import downloads, fetch
from synthtrial.study import load

FETCHED = []


def bring(options):
    FETCHED.append((options, os.environ.get("HF_HOME")))
    return "2 files, 3.1 MB"


def with_hook(study, hook="bring"):
    component = dataclasses.replace(DIGITS, fetch=f"{__name__}:{hook}")
    return dataclasses.replace(
        study, dataset=dataclasses.replace(study.dataset, component=component)
    )


def test_the_digits_need_nothing_and_are_told_part_by_part(synthtrial_command, tmp_path):
    done = subprocess.run(
        [*synthtrial_command, "fetch", "digits"], capture_output=True, text=True, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "ready    dataset digits: nothing needs to be fetched; its 1,797 images are there",
        "ready    classifier small_cnn: nothing needs to be fetched",
        "ready    generator projection: nothing needs to be fetched",
    ]
    assert not list(tmp_path.iterdir())


def test_files_that_are_not_there_are_named_with_how_to_get_them(synthtrial_command, tmp_path):
    arguments = ["fetch", "fashion", f"dataset.path={tmp_path}"]
    done = subprocess.run([*synthtrial_command, *arguments], capture_output=True, text=True)
    assert done.returncode == 1
    assert f"missing  dataset fashion_mnist: {tmp_path} lacks" in done.stdout
    assert "apt-get install dataset-fashion-mnist" in done.stdout
    assert "Traceback" not in done.stderr


def test_a_component_fetches_into_the_folder_that_jobs_use(monkeypatch, tmp_path):
    monkeypatch.setenv("HF_HOME", "/elsewhere")
    study = with_hook(load("digits", ["engine.name=slurm", f"engine.slurm.caches={tmp_path}"]))
    assert downloads(study) == ["dataset digits"]
    first = next(iter(fetch(study)))
    assert (first.state, first.text) == ("ready", "2 files, 3.1 MB; its 1,797 images are there")
    assert FETCHED[-1] == (study.dataset.options, str(tmp_path / "huggingface"))
    assert os.environ["HF_HOME"] == "/elsewhere"
