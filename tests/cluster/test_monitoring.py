"""The files for Prometheus and Grafana; tests/ray uses them on a running study."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from synthtrial.engines.ray.meters import COUNTERS, GAUGES

MONITORING = Path(__file__).parents[2] / "cluster" / "monitoring"


@pytest.fixture
def board():
    return json.loads((MONITORING / "grafana" / "dashboards" / "synthtrial.json").read_text())


@pytest.mark.skipif(
    not shutil.which("promtool"),
    reason="NOT TESTED: cluster/monitoring needs Prometheus: apt-get install prometheus",
)
def test_prometheus_takes_the_configuration(tmp_path):
    shutil.copy(MONITORING / "prometheus.yml", tmp_path)
    (tmp_path / "auth_token").write_text("0" * 64)
    done = subprocess.run(
        ["promtool", "check", "config", tmp_path / "prometheus.yml"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_grafana_is_told_where_things_are():
    """In the form that it documents; Grafana itself is not run here."""
    provisioning = MONITORING / "grafana" / "provisioning"
    [source] = OmegaConf.load(provisioning / "datasources" / "prometheus.yml").datasources
    assert (source.type, source.url) == ("prometheus", "http://127.0.0.1:9090")
    [provider] = OmegaConf.load(provisioning / "dashboards" / "synthtrial.yml").providers
    assert provider.type == "file"
    assert provider.options.path == "$SYNTHTRIAL_DASHBOARDS"
    assert "SYNTHTRIAL_DASHBOARDS" in (MONITORING / "README.md").read_text()


def test_panels_show_our_metrics_by_the_names_that_they_have(board):
    shown = set(re.findall(r"\bray_(synthtrial_\w+)", json.dumps(board)))
    assert shown == GAUGES.keys() | {f"{name}_total" for name in COUNTERS}


def test_panels_have_a_place_and_a_number_of_their_own(board):
    taken = set()
    for panel in board["panels"]:
        place = panel["gridPos"]
        for x in range(place["x"], place["x"] + place["w"]):
            for y in range(place["y"], place["y"] + place["h"]):
                assert x < 24
                assert (x, y) not in taken, panel["title"]
                taken.add((x, y))
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])


def test_panels_use_the_variables_that_there_are(board):
    known = {variable["name"] for variable in board["templating"]["list"]}
    used = set(re.findall(r"\$\{?(\w+)\}?", json.dumps(board["panels"])))
    assert used == known == {"datasource", "study", "window"}
