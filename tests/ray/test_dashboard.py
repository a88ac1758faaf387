"""What can be seen of a running study: in Ray's dashboard, in its metrics, by Prometheus."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # for `browser`: tests are no packages

from browser import PROGRAMS, browsing, chromium

from synthtrial.engines.ray.meters import COUNTERS, GAUGES

pytestmark = pytest.mark.faults

MONITORING = Path(__file__).parents[2] / "cluster" / "monitoring"
TRIALS = 24
GAN = "GAN on regimen 1, draw 0"
#: A GAN of minutes and trials of some seconds each: more than the tests take.
LONG = (
    "arms={none: {}, gan: {synthetic: true}}",
    "regimens=[1.0]",
    (
        "grid={learning_rate: [0.02, 0.01, 0.005, 0.002, 0.001, 0.0005], batch_size: [32, 64], "
        "optimizer: [momentum, adam]}"
    ),
    "training.epochs=200",
    "gan_training.steps=30000",
    "protocol.draws=1",
    "protocol.replicates=1",
    "engine.workers=2",
)

needs_chromium = pytest.mark.skipif(
    chromium() is None,
    reason=f"NOT TESTED: Ray's dashboard needs a browser, one of {', '.join(PROGRAMS)}: "
    "apt-get install chromium",
)
needs_prometheus = pytest.mark.skipif(
    not (shutil.which("prometheus") and shutil.which("promtool")),
    reason="NOT TESTED: cluster/monitoring needs Prometheus: apt-get install prometheus",
)


@pytest.fixture(scope="module")
def study(tmp_path_factory, synthtrial_command, token):
    """What a study that runs has announced of its cluster."""
    place = tmp_path_factory.mktemp("watched")
    command = [*synthtrial_command, "run", "digits", "--engine", "ray", *LONG, "engine.device=cpu"]
    command += [f"store.path={place / 'store'}", f"store.report_path={place / 'reports'}"]
    command += [f"store.cache_path={place / 'cache'}"]
    announced = place / "store" / "ray" / "digits.json"
    with (place / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env=os.environ)
    try:
        until(lambda: announced.exists() or process.poll() is not None, 90)
        assert process.poll() is None, (place / "log").read_text()
        yield json.loads(announced.read_text())
        assert process.poll() is None, (place / "log").read_text()  # it ran all the time
    finally:
        process.terminate()
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def until(condition, seconds, otherwise=lambda: ""):
    """Wait until a condition holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s: {otherwise()}"
        time.sleep(0.5)


def asked(url, token=None):
    """Return what an address answers."""
    headers = {"Authorization": f"Bearer {token.read_text()}"} if token else {}
    with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=30) as answer:
        return answer.read().decode()


def exported(study, token):
    """Return the names of the metrics that the cluster exports."""
    names = set()
    for group in json.loads(asked(study["metrics"], token)):
        for target in group["targets"]:
            with suppress(OSError):  # of two clusters, one lacks a port that it names all the same
                names |= set(re.findall(r"^(\w+)[{ ]", asked(f"http://{target}/metrics"), re.M))
    return names


def ours():
    """Return our metrics' names on the endpoint."""
    return {f"ray_{name}" for name in GAUGES} | {f"ray_{name}_total" for name in COUNTERS}


def queries():
    """Return what the Grafana dashboard asks Prometheus."""
    board = json.loads((MONITORING / "grafana" / "dashboards" / "synthtrial.json").read_text())
    found = [target["expr"] for panel in board["panels"] for target in panel.get("targets", ())]
    assert len(found) > 10
    return [query.replace("$study", ".*").replace("$window", "1m") for query in found]


def named_in(query):
    return set(re.findall(r"\bray_\w+", query))


@needs_chromium
def test_study_workers_and_trials_are_in_the_dashboard_by_name(study, token, tmp_path):
    with browsing(tmp_path) as page:
        log_in(page, study["dashboard"], token)

        page.open(f"{study['dashboard']}/#/jobs")
        jobs = page.until(lambda text: "RUNNING" in text)
        assert re.search(r"\tdigits\t", jobs), jobs

        page.open(f"{study['dashboard']}/#/cluster")
        page.until(lambda text: "ray::none, regimen 1, learning_rate=" in text, 60)

        page.open(f"{study['dashboard']}/#/actors")
        page.until(lambda text: re.search(r"trials of digits\t\s*ALIVE", text))
        page.evaluate(ROW + ".querySelector('a').click()")
        page.until(lambda text: "Tasks History" in text)
        page.evaluate(HEADING + ".click()")
        # Ten rows a page, in the order of ids: the running one, seen above, may be on another page.
        page.until(lambda text: re.search(r"none, regimen 1, \S+=.*\t\d+\t\s*[A-Z]+", text))


ROW = "[...document.querySelectorAll('tbody tr')].find(e => e.innerText.includes('trials of'))"
HEADING = "[...document.querySelectorAll('h4')].find(e => e.innerText.trim() == 'Tasks History')"
FIELD = "document.querySelector('input[type=password]')"
BUTTON = "[...document.querySelectorAll('button')].find(e => /submit/i.test(e.innerText))"


def log_in(page, address, token):
    """Give the token to the dialog that asks for it."""
    page.open(address)
    page.until(lambda text: page.evaluate(f"!!{FIELD}"))
    page.evaluate(f"{FIELD}.focus()")
    page.type(token.read_text())
    page.evaluate(f"{BUTTON}.click()")
    page.until(lambda text: "Overview" in text and not page.evaluate(f"!!{FIELD}"))


def test_every_metric_that_is_declared_or_shown_is_exported(study, token):
    """But for those of GPUs, which Ray says that it has, and of early stopping, which is off."""
    from ray.dashboard.modules.reporter.reporter_agent import METRICS_GAUGES

    elsewhere = {f"ray_{name}" for name in METRICS_GAUGES if "gpu" in name or "gram" in name}
    elsewhere.add("ray_synthtrial_trials_stopped_total")
    shown = set().union(*map(named_in, queries()))
    assert ours() <= shown
    wanted = shown - elsewhere
    assert len(wanted) > 10
    lacking = wanted

    def complete():
        nonlocal lacking
        lacking = wanted - exported(study, token)
        return not lacking

    until(complete, 90, lambda: f"{sorted(lacking)} are not exported")


@contextmanager
def prometheus(study, token, folder):
    """Run Prometheus as README.md says, but more often and elsewhere; yields how to ask it."""
    text = (MONITORING / "prometheus.yml").read_text()
    text = text.replace("http://127.0.0.1:8265/api/prometheus/sd", study["metrics"])
    (folder / "prometheus.yml").write_text(text.replace("10s", "1s"))
    (folder / "auth_token").symlink_to(token)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    command = ["prometheus", "--config.file=prometheus.yml", "--storage.tsdb.path=data"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [*command, f"--web.listen-address={address}"], cwd=folder, stdout=log, stderr=log
        )

    def ask(query):
        asking = urllib.parse.urlencode({"query": query})
        try:
            answer = json.loads(asked(f"http://{address}/api/v1/query?{asking}"))
        except OSError:  # it is not there yet, unless it has ended
            assert process.poll() is None, (folder / "log").read_text()
            return []
        assert answer["status"] == "success", answer
        return answer["data"]["result"]

    try:
        yield ask
    finally:
        process.terminate()
        process.wait(30)


@needs_prometheus
def test_prometheus_finds_and_counts_the_trials(study, token, tmp_path):
    with prometheus(study, token, tmp_path) as ask:
        until(lambda: ask('ray_synthtrial_trials{study="digits"}'), 90)
        wanted = list(filter(has_answer, queries()))
        lacking = wanted

        def complete():
            nonlocal lacking
            lacking = [query for query in wanted if not ask(query)]
            return not lacking

        until(complete, 60, lambda: f"no answer to {lacking}")
        counts = ask('sum by (state) (ray_synthtrial_trials{study="digits"})')
        states = {found["metric"]["state"]: float(found["value"][1]) for found in counts}
        assert states.keys() == {"done", "running", "waiting", "failed"}
        assert sum(states.values()) >= 2 * TRIALS  # and replicates, once they are chosen
        assert 1 <= states["running"] <= 2
        assert states["failed"] == 0
        losses = ask("ray_synthtrial_gan_loss")
        assert {found["metric"]["task"] for found in losses} == {GAN}
        assert {found["metric"]["network"] for found in losses} == {"generator", "discriminator"}
        until(lambda: ask("sum(rate(ray_synthtrial_images_total[1m])) > 0"), 60)


def has_answer(query):
    """Whether there is something to see without GPUs and early stopping."""
    return not re.search("gpu|gram|stopped", query)
