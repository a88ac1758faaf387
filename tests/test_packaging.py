"""What gets into a wheel, and that it works where there is no repository."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    done = subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "-d", str(folder)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def site(wheel, tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    with zipfile.ZipFile(wheel) as file:
        file.extractall(folder)
    return folder


@pytest.fixture(scope="module")
def python(site, tmp_path_factory):
    """Run Python outside the repository, with the unpacked wheel before anything installed."""
    elsewhere = tmp_path_factory.mktemp("elsewhere")

    def run(*arguments):
        done = subprocess.run(
            [sys.executable, *arguments],
            cwd=elsewhere,
            env=os.environ | {"PYTHONPATH": str(site)},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


def test_the_wheel_holds_every_file_that_is_read_at_run_time(wheel):
    with zipfile.ZipFile(wheel) as file:
        held = set(file.namelist())
    wanted = {
        f"synthtrial/_shipped/{path.relative_to(REPOSITORY)}"
        for folder in ("configs", "jobs", "slurm")
        for path in (REPOSITORY / folder).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    package = REPOSITORY / "src" / "synthtrial"
    wanted |= {
        f"synthtrial/{path.relative_to(package)}"
        for path in package.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert "synthtrial/_shipped/configs/study/digits.yaml" in wanted
    assert "synthtrial/_shipped/slurm/ray.sbatch" in wanted
    assert wanted <= held


def test_the_wheel_holds_its_licence_and_nothing_of_the_tests(wheel):
    with zipfile.ZipFile(wheel) as file:
        names = [Path(name) for name in file.namelist()]
    assert any(path.parts[-2:] == ("licenses", "LICENSE") for path in names)
    roots = {path.parts[0] for path in names}
    assert {root for root in roots if not root.endswith(".dist-info")} == {"synthtrial"}


def test_the_unpacked_wheel_is_what_runs(python, site):
    code = (
        "import synthtrial, synthtrial.study as s; print(synthtrial.__file__, s.shipped_folder())"
    )
    places = python("-c", code).split()
    assert all(Path(place).is_relative_to(site) for place in places)


def test_a_shipped_study_is_planned_by_name_outside_the_repository(python):
    output = python("-m", "synthtrial", "plan", "digits")
    assert "5 arms x 4 regimens x 18 configurations" in output


def test_a_report_finds_its_template_in_the_wheel(python):
    code = (
        "from jinja2 import Environment, PackageLoader\n"
        "loader = PackageLoader('synthtrial.report')\n"
        "print(sorted(Environment(loader=loader, autoescape=True).list_templates()))\n"
    )
    assert "report.html.j2" in python("-c", code)
