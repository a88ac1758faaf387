from __future__ import annotations

import os
from pathlib import Path

import pytest

from synthtrial.engines.slurm.script import clean_environment, parameters, text
from synthtrial.engines.slurm.sites import Site

SOURCE = Path("/store/source/abc")
FOLDER = Path("/store/jobs/digits/0001/slurm")

PLAIN = """\
#!/bin/bash

# Parameters
#SBATCH --cpus-per-task=2
#SBATCH --job-name=digits-0001
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=1
#SBATCH --open-mode=append
#SBATCH --output=/store/jobs/digits/0001/slurm/%j_0_log.out
#SBATCH --requeue
#SBATCH --signal=USR2@120

# setup
export PYTHONPATH=/store/source/abc"${PYTHONPATH:+:$PYTHONPATH}"
export SRUN_CPUS_PER_TASK="${SLURM_CPUS_PER_TASK:-1}"

# command
export SUBMITIT_EXECUTOR=slurm
srun --unbuffered --output /store/jobs/digits/0001/slurm/%j_%t_log.out python -u -m \
submitit.core._submit /store/jobs/digits/0001/slurm
"""

RICH = """\
#!/bin/bash

# Parameters
#SBATCH --account=lab
#SBATCH --array=0-4%3
#SBATCH --constraint=fast
#SBATCH --cpus-per-task=16
#SBATCH --exclude=node3,node7
#SBATCH --gres=gpu:a100:2
#SBATCH --job-name=digits-0001
#SBATCH --mem=65536M
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=1
#SBATCH --open-mode=append
#SBATCH --output=/store/jobs/digits/0001/slurm/%A_%a_0_log.out
#SBATCH --partition=gpu
#SBATCH --qos=normal
#SBATCH --requeue
#SBATCH --reservation=course
#SBATCH --signal=USR2@60
#SBATCH --time=240

# setup
module load cuda
export PYTHONPATH=/store/source/abc"${PYTHONPATH:+:$PYTHONPATH}"
export SRUN_CPUS_PER_TASK="${SLURM_CPUS_PER_TASK:-1}"
export SYNTHTRIAL_CACHE="$TMPDIR/synthtrial-$USER"
export TORCH_HOME=/shared/caches/torch
export HF_HOME=/shared/caches/huggingface
export XDG_CACHE_HOME=/shared/caches/xdg
export TRITON_CACHE_DIR=/shared/caches/triton
export TORCHINDUCTOR_CACHE_DIR=/shared/caches/inductor

# command
export SUBMITIT_EXECUTOR=slurm
srun --unbuffered --output /store/jobs/digits/0001/slurm/%A_%a_%t_log.out apptainer exec --nv \
image.sif python -u -m submitit.core._submit /store/jobs/digits/0001/slurm
"""


def test_only_what_is_set_is_sent():
    site = Site(cpus=2, python="python")
    assert text(site, FOLDER, parameters(site, "digits-0001", SOURCE), 1) == PLAIN


def test_everything_that_a_profile_can_ask_for():
    site = Site(
        partition="gpu",
        account="lab",
        qos="normal",
        constraint="fast",
        time="04:00:00",
        cpus=8,
        memory_gb=32,
        gpus=2,
        gpu_type="a100",
        extra={"reservation": "course"},
        setup=["module load cuda"],
        python="apptainer exec --nv image.sif python",
        scratch="$TMPDIR",
        caches="/shared/caches",
        max_jobs=3,
        warning_seconds=60,
    )
    wanted = parameters(site, "digits-0001", SOURCE, exclude={"node7", "node3"})
    assert text(site, FOLDER, wanted, 5) == RICH


def test_gpus_are_asked_for_as_the_site_wants():
    site = Site(gpus=4, gpu_request="gpus-per-node")
    made = text(site, FOLDER, parameters(site, "digits-0001", SOURCE), 1)
    assert "#SBATCH --gpus-per-node=4" in made
    assert "--gres" not in made


def test_the_job_that_goes_on_is_small_and_waits_for_the_others():
    site = Site(cpus=8, gpus=2, memory_gb=32, time="2-00:00:00")
    wanted = parameters(site, "digits-0002", SOURCE, after=["12", "13"], small=True)
    made = text(site, FOLDER, wanted, 1)
    assert "#SBATCH --dependency=afterany:12:13" in made
    assert "#SBATCH --cpus-per-task=1\n" in made
    assert "#SBATCH --mem=32768M" in made
    assert "#SBATCH --time=30" in made
    assert "gpu" not in made


def test_what_an_allocation_exports_does_not_bind_the_next_job(monkeypatch):
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.setenv("SBATCH_PARTITION", "debug")
    monkeypatch.setenv("SRUN_CPUS_PER_TASK", "3")
    monkeypatch.setenv("SLURM_CONF", "/etc/slurm.conf")
    with clean_environment():
        assert os.environ["SLURM_CONF"] == "/etc/slurm.conf"
        assert not {"SLURM_JOB_ID", "SBATCH_PARTITION", "SRUN_CPUS_PER_TASK"} & os.environ.keys()
    assert os.environ["SLURM_JOB_ID"] == "7"
    with pytest.raises(ValueError, match="x"), clean_environment():
        raise ValueError("x")
    assert os.environ["SBATCH_PARTITION"] == "debug"
