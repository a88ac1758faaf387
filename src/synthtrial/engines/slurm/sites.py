"""Site profiles: what a cluster wants to be asked for, in one YAML file a site.

Profiles are found by name in ``cluster/sites`` or by path; ``engine.slurm`` changes single
settings of one. Only what is set is sent to SLURM.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from synthtrial.engine_config import EngineConfig
from synthtrial.errors import ConfigError, suggest
from synthtrial.study import shipped_folder

_TIME = re.compile(r"(?:(\d+)-)?(\d+):(\d\d)(?::(\d\d))?")


@dataclass(frozen=True)
class Site:
    """What a job of one cluster asks for. None, the default of most, is not sent.

    Attributes:
        partition: of the jobs.
        account: that pays.
        qos: quality of service.
        constraint: features that nodes must have.
        time: of a job, as ``HH:MM:SS`` or ``D-HH:MM:SS``; by default the partition's.
        cpus: processors of a job; with GPUs, of each GPU.
        memory_gb: memory of a job; with GPUs, for each GPU.
        gpus: GPUs of a job, all on one node.
        gpu_type: such as ``a100``.
        gpu_request: how GPUs are asked for: ``gres`` is understood by every SLURM,
            ``gpus-per-node`` by newer ones.
        extra: further sbatch options by name, such as ``{reservation: course}``.
        setup: shell lines run before Python, such as ``module load cuda``.
        python: command that starts Python on a compute node; by default the interpreter that
            submits. For a container: ``apptainer exec --nv image.sif python``.
        scratch: node-local folder for decoded images; may hold variables of the job, such as
            ``$TMPDIR``.
        caches: shared folder for downloads (torch, Hugging Face), off ``$HOME``.
        max_jobs: jobs of one study that run at the same time.
        max_submit: jobs that may be queued at the same time; by default what SLURM's accounting
            allows the user.
        jobs_may_submit: whether a job may submit jobs, as ``run --detach`` needs it.
        warning_seconds: time between the signal that announces the end of a job and the end.
        start_seconds: time that a job takes to get going; a pack is given work for much longer.
        poll_seconds: time between two questions to SLURM.
        gpu_hour_price: of one GPU.
        cpu_hour_price: of one processor, where there are no GPUs.
    """

    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    constraint: str | None = None
    time: str | None = None
    cpus: int = 1
    memory_gb: float | None = None
    gpus: int = 0
    gpu_type: str | None = None
    gpu_request: Literal["gres", "gpus-per-node"] = "gres"
    extra: dict[str, Any] = field(default_factory=dict)
    setup: list[str] = field(default_factory=list)
    python: str | None = None
    scratch: str | None = None
    caches: str | None = None
    max_jobs: int = 32
    max_submit: int | None = None
    jobs_may_submit: bool = True
    warning_seconds: int = 120
    start_seconds: float = 20.0
    poll_seconds: float = 15.0
    gpu_hour_price: float | None = None
    cpu_hour_price: float | None = None

    @property
    def minutes(self) -> int | None:
        """Time of a job in minutes, if it is set."""
        return None if self.time is None else math.ceil(_seconds(self.time) / 60)

    @property
    def processors(self) -> int:
        """Processors of a job."""
        return self.cpus * max(1, self.gpus)

    def workers(self, settings: EngineConfig) -> int:
        """Return how many tasks a job runs at the same time."""
        if settings.workers is not None:
            return settings.workers
        return self.gpus * settings.trials_per_gpu if self.gpus else self.cpus


def site_folder() -> Path:
    """Return the folder of the shipped profiles: inside a wheel, or the repository's own."""
    configs = shipped_folder()
    return configs.parent / "cluster" / "sites"


def shipped_sites() -> dict[str, Path]:
    """Return the shipped profiles by name."""
    return {path.stem: path for path in sorted(site_folder().glob("*.yaml"))}


def load_site(settings: EngineConfig) -> Site:
    """Read the profile of ``engine.site`` with the changes of ``engine.slurm``.

    Raises:
        ConfigError: no such profile, unreadable YAML, an unknown setting or a wrong value.
    """
    path = _find(settings.site)
    try:
        given: Any = OmegaConf.to_container(OmegaConf.load(path), resolve=True)
    except (YAMLError, OmegaConfBaseException, UnicodeDecodeError, OSError) as error:
        raise ConfigError(f"the site profile {path} cannot be read: {error}") from None
    if not isinstance(given, dict):
        raise ConfigError(f"the site profile {path} must hold settings as 'key: value'")
    known = {item.name for item in fields(Site)}
    for key in (*given, *settings.slurm):
        if key not in known:
            raise ConfigError(
                f"the site profile {path}: unknown setting '{key}': {suggest(str(key), known)}"
            )
    try:
        schema = OmegaConf.structured(Site)
        site = OmegaConf.to_object(OmegaConf.unsafe_merge(schema, given, settings.slurm))
    except OmegaConfBaseException as error:
        text = str(error).splitlines()[0]
        key = getattr(error, "full_key", None) or "?"
        raise ConfigError(f"the site profile {path}: setting '{key}': {text}") from None
    assert isinstance(site, Site)
    _check(site, path)
    return site


def _find(name: str) -> Path:
    path = Path(name).expanduser()
    if path.suffix in {".yaml", ".yml"}:
        if path.is_file():
            return path
        raise ConfigError(f"engine.site: there is no file {path}")
    shipped = shipped_sites()
    if name in shipped:
        return shipped[name]
    raise ConfigError(
        f"engine.site: unknown site '{name}': {suggest(name, shipped)} Give one of these names or "
        "the path of a YAML file; copy default.yaml to begin one."
    )


def _check(site: Site, path: Path) -> None:
    least: Mapping[str, float] = {
        "cpus": 1,
        "gpus": 0,
        "max_jobs": 1,
        "max_submit": 1,
        "warning_seconds": 10,
        "start_seconds": 0,
        "poll_seconds": 1,
        "gpu_hour_price": 0,
        "cpu_hour_price": 0,
    }
    for name, minimum in least.items():
        value = getattr(site, name)
        if value is not None and not minimum <= value < math.inf:
            raise ConfigError(
                f"the site profile {path}: {name} is {value}; allowed: at least {minimum:g}"
            )
    if site.memory_gb is not None and not 0 < site.memory_gb < math.inf:
        raise ConfigError(
            f"the site profile {path}: memory_gb is {site.memory_gb}; allowed: above 0"
        )
    if site.time is not None and _seconds(site.time) <= 0:
        raise ConfigError(
            f"the site profile {path}: time is '{site.time}'; write it as HH:MM:SS or D-HH:MM:SS"
        )


def _seconds(time: str) -> int:
    match = _TIME.fullmatch(time)
    if match is None:
        return 0
    days, hours, minutes, seconds = (int(part or 0) for part in match.groups())
    return ((days * 24 + hours) * 60 + minutes) * 60 + seconds
