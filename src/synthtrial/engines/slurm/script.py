"""What is asked of SLURM, as submitit writes it into an sbatch file."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from synthtrial.engines.slurm.sites import Site
from synthtrial.errors import EngineError

if TYPE_CHECKING:
    from submitit.slurm.slurm import SlurmExecutor

#: Of what an allocation exports, only this says where SLURM is; the rest would bind a new job to
#: the numbers of the one that submits it.
_KEPT = ("SLURM_CONF",)
_SCRUBBED = ("SLURM_", "SBATCH_", "SRUN_", "PMI", "PMIX_", "SUBMITIT_")
_ADVANCE_MINUTES = 30
#: Where libraries keep what they download, below the folder `caches` of a site.
CACHES = {
    "TORCH_HOME": "torch",
    "HF_HOME": "huggingface",
    "XDG_CACHE_HOME": "xdg",
    "TRITON_CACHE_DIR": "triton",
    "TORCHINDUCTOR_CACHE_DIR": "inductor",
}


def parameters(
    site: Site,
    name: str,
    source: Path,
    *,
    exclude: Collection[str] = (),
    after: Sequence[str] = (),
    small: bool = False,
) -> dict[str, Any]:
    """Return submitit's parameters of a job.

    Args:
        site: profile of the cluster.
        name: of the job.
        source: folder of the package that the job imports.
        exclude: nodes to stay away from.
        after: ids of jobs that must have ended, however.
        small: for a job that only submits others: one processor, no GPU, half an hour.
    """
    wanted: dict[str, Any] = {
        "job_name": name,
        "partition": site.partition,
        "account": site.account,
        "qos": site.qos,
        "constraint": site.constraint,
        "time": site.minutes if not small else min(site.minutes or 10**9, _ADVANCE_MINUTES),
        "ntasks_per_node": 1,
        "cpus_per_task": 1 if small else site.processors,
        "mem": None if site.memory_gb is None else _memory(site, small),
        "signal_delay_s": site.warning_seconds,
        "array_parallelism": site.max_jobs,
        "wckey": None,
        "stderr_to_stdout": True,
        "exclude": ",".join(sorted(exclude)) or None,
        "dependency": f"afterany:{':'.join(after)}" if after else None,
        "setup": setup(site, source),
        "additional_parameters": {"requeue": True, **site.extra},
    }
    if site.gpus and not small:
        gpus = f"{site.gpu_type}:{site.gpus}" if site.gpu_type else str(site.gpus)
        if site.gpu_request == "gres":
            wanted["gres"] = f"gpu:{gpus}"
        else:
            wanted["gpus_per_node"] = gpus
    return {key: value for key, value in wanted.items() if value is not None or key in _NULLS}


#: submitit has a default of its own for these, which nobody asked for.
_NULLS = ("time", "wckey")


def setup(site: Site, source: Path) -> list[str]:
    """Return the shell lines that come before Python."""
    lines = list(site.setup)
    lines.append(f'export PYTHONPATH={shlex.quote(str(source))}"${{PYTHONPATH:+:$PYTHONPATH}}"')
    # Since SLURM 22.05 srun no longer inherits --cpus-per-task.
    lines.append('export SRUN_CPUS_PER_TASK="${SLURM_CPUS_PER_TASK:-1}"')
    if site.scratch:
        lines.append(f'export SYNTHTRIAL_CACHE="{site.scratch}/synthtrial-$USER"')
    if site.caches:
        lines += [
            f"export {name}={shlex.quote(f'{site.caches}/{folder}')}"
            for name, folder in CACHES.items()
        ]
    return lines


def executor(site: Site, folder: Path, wanted: dict[str, Any]) -> SlurmExecutor:
    """Return submitit's executor for one submission.

    Raises:
        EngineError: SLURM's commands are not here, or the profile asks for what submitit refuses.
    """
    from submitit.slurm.slurm import SlurmExecutor

    try:
        made = SlurmExecutor(folder, python=site.python or shlex.quote(sys.executable))
        made.update_parameters(**wanted)
    except RuntimeError:
        raise EngineError(
            "SLURM's srun is not on the PATH here: run this on a login node of the cluster, or use "
            "--engine local"
        ) from None
    return made


def text(site: Site, folder: Path, wanted: dict[str, Any], jobs: int) -> str:
    """Return the sbatch file that would be submitted for so many jobs, without SLURM."""
    from submitit.slurm.slurm import _make_sbatch_string

    python = site.python or shlex.quote(sys.executable)
    command = f"{python} -u -m submitit.core._submit {shlex.quote(str(folder))}"
    given: dict[str, Any] = {**wanted, "map_count": jobs if jobs > 1 else None}
    made: str = _make_sbatch_string(command=command, folder=folder, **given)
    return made


def submit(
    made: SlurmExecutor, function: Callable[..., object], arguments: Sequence[Sequence[Any]]
) -> str:
    """Submit one job a tuple of arguments, as one array, and return SLURM's id.

    Raises:
        EngineError: SLURM refuses; the text is its own.
    """
    from submitit.core.utils import FailedJobError, FailedSubmissionError

    with clean_environment():
        try:
            jobs = made.map_array(function, *zip(*arguments, strict=True))
        except (FailedJobError, FailedSubmissionError) as error:
            lines = [line for line in str(error).splitlines() if "error" in line.lower()]
            raise EngineError(f"sbatch: {'; '.join(lines) or error}") from None
    job_id: str = jobs[0].job_id
    return job_id.partition("_")[0]


@contextmanager
def clean_environment() -> Iterator[None]:
    """Hide the variables of the allocation that this process may run in."""
    hidden = {
        name: os.environ.pop(name)
        for name in list(os.environ)
        if name.startswith(_SCRUBBED) and name not in _KEPT
    }
    try:
        yield
    finally:
        os.environ.update(hidden)


def _memory(site: Site, small: bool) -> str:
    assert site.memory_gb is not None
    whole = site.memory_gb * (1 if small else max(1, site.gpus))
    return f"{round(1024 * whole)}M"
