from __future__ import annotations

import pytest

from synthtrial.engine_config import EngineConfig
from synthtrial.engines.slurm.sites import Site, load_site, shipped_sites
from synthtrial.errors import ConfigError


def written(folder, text):
    path = folder / "site.yaml"
    path.write_text(text)
    return EngineConfig(site=str(path))


@pytest.mark.parametrize("name", shipped_sites())
def test_every_shipped_profile_loads(name):
    assert isinstance(load_site(EngineConfig(site=name)), Site)


def test_the_study_changes_single_settings_of_a_profile(tmp_path):
    settings = written(tmp_path, "cpus: 4\npartition: gpu\n")
    site = load_site(EngineConfig(site=settings.site, slurm={"cpus": 8}))
    assert (site.cpus, site.partition) == (8, "gpu")


@pytest.mark.parametrize(
    ("time", "minutes"), [("00:30:00", 30), ("1-02:00:00", 1560), ("00:00:01", 1), ("2:30", 150)]
)
def test_times_are_read_as_slurm_writes_them(tmp_path, time, minutes):
    assert load_site(written(tmp_path, f"time: '{time}'")).minutes == minutes


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("partitoin: gpu", "unknown setting 'partitoin': did you mean 'partition'"),
        ("cpus: 0", "cpus is 0; allowed: at least 1"),
        ("cpus: many", "setting 'cpus'"),
        ("gpu_request: please", "setting 'gpu_request'"),
        ("memory_gb: -1", "memory_gb is -1"),
        ("time: soon", "time is 'soon'; write it as HH:MM:SS"),
        ("[1, 2]", "must hold settings as 'key: value'"),
        ("a: [", "cannot be read"),
    ],
)
def test_a_mistake_in_a_profile_is_one_clear_error(tmp_path, text, message):
    with pytest.raises(ConfigError) as caught:
        load_site(written(tmp_path, text))
    assert message in str(caught.value)


def test_an_unknown_site_names_those_there_are():
    with pytest.raises(ConfigError, match=r"unknown site 'devslrum': did you mean 'devslurm'"):
        load_site(EngineConfig(site="devslrum"))
    with pytest.raises(ConfigError, match=r"there is no file nowhere\.yaml"):
        load_site(EngineConfig(site="nowhere.yaml"))


def test_workers_are_processors_or_shares_of_gpus():
    assert Site(cpus=6).workers(EngineConfig()) == 6
    assert Site(cpus=6, gpus=2).workers(EngineConfig(trials_per_gpu=3)) == 6
    assert Site(cpus=6, gpus=2).processors == 12
    assert Site(cpus=6).workers(EngineConfig(workers=2)) == 2
