"""Which remedy lets a GAN learn rare classes? The shipped study `fashion`, once for each remedy.

    python benchmarks/gan_imbalance.py                     # about an hour on two processor cores
    python benchmarks/gan_imbalance.py --steps 300 --jobs 1    # does it run?

Every run trains the same networks for the same number of steps on the same split; runs share one
store, so what does not depend on the generator is computed once. The table is printed as Markdown:
per reduced class how recognisable the made images are and how much of the real ones they cover,
both relative to held-out real images, their kernel distance, and what they did for the recall of
the reduced classes. Samples are drawn side by side.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from PIL import Image

from synthtrial.plan import Plan, build
from synthtrial.store.artifacts import open_store, read_artifact
from synthtrial.store.records import read_records
from synthtrial.study import load
from synthtrial.work.monitor import COLUMNS

PLAIN = ("gan_training.balanced_sampling=false",)
DIFFAUGMENT = "gan_training.diffaugment=[translation,cutout]"
REMEDIES: dict[str, tuple[str, ...]] = {
    "plain": PLAIN,
    "balanced sampling": (),
    "+ DiffAugment": (DIFFAUGMENT,),
    "+ LeCam, phased-in condition": (
        DIFFAUGMENT,
        "gan_training.lecam=0.1",
        "gan_training.conditional_at=0.1",
    ),
    "plain, on the full set": (*PLAIN, "gan_training.fit_on=original"),
}
FIGURES = {
    "recognisable, relative": "recognisability_relative",
    "coverage, relative": "coverage_relative",
    "kernel distance": "kernel_distance",
    "of real ones": "kernel_distance_real",
    "precision": "precision",
    "diversity": "diversity",
    "near copies": "memorised",
}


def main() -> None:
    """Run the study for each remedy and compare the generators."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--steps", type=int, help="of each generator; by default the study's")
    parser.add_argument("--jobs", type=int, default=2, help="runs at a time, a core each")
    parser.add_argument("--store", default="synthtrial-store-fashion")
    parser.add_argument("--picture", type=Path, default=Path("gan-imbalance.png"))
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="for all runs")
    asked = parser.parse_args()
    common = [f"store.path={asked.store}", "engine.workers=1", "allow_leakage=true"]
    common += [f"gan_training.steps={asked.steps}"] if asked.steps else []
    settings = {
        remedy: [f"name=fashion-{number}", *common, *changes, *asked.overrides]
        for number, (remedy, changes) in enumerate(REMEDIES.items())
    }
    with ThreadPoolExecutor(asked.jobs) as pool:
        for remedy, code in zip(settings, pool.map(run, settings.values()), strict=True):
            if code:
                sys.exit(f"the run '{remedy}' ended with {code}")
    plans = {remedy: planned(overrides) for remedy, overrides in settings.items()}
    table(plans)
    draw(plans, asked.picture)


def run(overrides: Sequence[str]) -> int:
    """Run one study."""
    return subprocess.run(
        [sys.executable, "-m", "synthtrial", "run", "fashion", *overrides]
    ).returncode


def planned(overrides: Sequence[str]) -> Plan:
    """Return the plan of a finished run."""
    study = load("fashion", overrides)
    return build(study, open_store(study.store_path, create=False))


def table(plans: dict[str, Plan]) -> None:
    """Print what the generators reached."""
    print(f"| remedy | class | {' | '.join(FIGURES)} | recall with / without |")
    print(f"|{'---|' * (len(FIGURES) + 3)}")
    for remedy, plan in plans.items():
        for name, quality in measured(plan)["classes"].items():
            figures = " | ".join(number(quality[key]) for key in FIGURES.values())
            gan, none = (recall(plan, arm, name) for arm in ("gan", "none"))
            print(f"| {remedy} | {name} | {figures} | {number(gan)} / {number(none)} |")
    seconds = {remedy: generator(plan).info["seconds"] for remedy, plan in plans.items()}
    print("seconds of GAN training:", ", ".join(f"{k} {v:.0f}" for k, v in seconds.items()))


def number(value: float | None) -> str:
    """Write a figure, or a dash where it is undefined."""
    return "-" if value is None else f"{value:.3f}"


def measured(plan: Plan) -> dict[str, Any]:
    """Return what was measured of the images of arm gan."""
    (task,) = [task for task in plan.tasks.values() if task.kind == "assess"]
    return read_artifact(open_store(plan.study.store_path), "quality", task.id).info


def generator(plan: Plan) -> Any:
    """Return the artifact of the generator."""
    (task,) = [task for task in plan.tasks.values() if task.kind == "train_gan"]
    return read_artifact(open_store(plan.study.store_path), "generator", task.id)


def recall(plan: Plan, arm: str, name: str) -> float | None:
    """Return the mean test recall of a class over the replicates of an arm."""
    mine = {
        task.id
        for task in plan.tasks.values()
        if task.trial and task.trial.stage == "replicate" and task.trial.arm == arm
    }
    columns = ("trial_id", "test")
    rows = read_records(open_store(plan.study.store_path)).select(columns).to_pylist()
    values = [
        dict(row["test"]["recall"])[name] for row in rows if row["trial_id"] in mine and row["test"]
    ]
    return float(np.mean(values)) if values else None


def draw(plans: dict[str, Plan], path: Path) -> None:
    """Draw the last samples of the reduced classes, a row of pictures for each remedy."""
    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(len(plans), 1, figsize=(7, 1.9 * len(plans)), layout="constrained")
    for axis, (remedy, plan) in zip(axes, plans.items(), strict=True):
        artifact = generator(plan)
        sheet = max(name for name in artifact.files if name.endswith(".png"))
        pixels = np.asarray(Image.open(artifact.file(sheet)))
        rows = 2 * pixels.shape[1] // COLUMNS  # the reduced classes come first
        axis.imshow(pixels[:rows], cmap="gray", interpolation="nearest")
        axis.set_title(remedy, loc="left", fontsize=10)
        axis.axis("off")
    figure.savefig(path, dpi=110)
    print(f"samples: {path}")
    print(json.dumps({remedy: generator(plan).info["steps"] for remedy, plan in plans.items()}))


if __name__ == "__main__":
    main()
