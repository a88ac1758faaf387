"""The chest X-ray study at full size of images, through SLURM's queue."""

from __future__ import annotations

import subprocess
import sys

import pytest

from synthtrial.store.artifacts import open_store
from synthtrial.store.records import read_records
from synthtrial.testing.chexpert import NAMES, MadeFolder, write_chexpert

KEPT = ("Fracture", "Pleural Other", "Lung Lesion", "Edema")


@pytest.mark.faults
def test_a_small_grid_of_densenet_121_at_224_pixels(slurm, tmp_path):
    folder = tmp_path / "CheXpert-v1.0-small"
    write_chexpert(folder, MadeFolder(patients=24, side=240))
    exclude = ", ".join(name for name in NAMES if name not in KEPT)
    overrides = [
        "engine.site=devslurm",
        "engine.slurm.poll_seconds=1",
        "engine.device=cpu",
        f"dataset.path={folder}",
        f"dataset.exclude=[{exclude}]",
        "split={test: 0.3, validation: 0.2}",
        "regimens=[1.0]",
        "arms={none: {}, gan: {synthetic: true}}",
        "balance={target: null, count: 4}",
        "generator={name: projection, width: 8}",
        "gan_training={steps: 1, global_batch: 4, precision: fp32, channels_last: false}",
        "classifier={name: densenet121}",
        "training={epochs: 1, max_steps: 1, batch_size: 8, precision: fp32}",
        "grid={learning_rate: [0.001]}",
        "protocol={draws: 1, replicates: 1}",
        "cams.images=4",
        f"store.path={tmp_path / 'store'}",
        f"store.report_path={tmp_path / 'reports'}",
        f"store.cache_path={tmp_path / 'cache'}",
    ]
    command = [sys.executable, "-m", "synthtrial", "run", "chexpert", "--engine", "slurm"]
    done = subprocess.run([*command, *overrides], capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stdout + done.stderr
    rows = read_records(open_store(tmp_path / "store")).to_pylist()
    assert {(row["arm"], row["status"], row["engine"]) for row in rows} == {
        ("none", "done", "slurm"),
        ("gan", "done", "slurm"),
    }
    assert all(set(row["test"]["auc"]) == set(KEPT) for row in rows if row["test"])
    assert (tmp_path / "reports" / "chexpert" / "report.html").is_file()
