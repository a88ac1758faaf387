"""Made-up studies for the tests of the report: the design of the shipped one, invented numbers."""

from __future__ import annotations

import dataclasses
import itertools
import json
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from synthtrial.data.regimens import regimen_label
from synthtrial.report.columns import (
    ACCEPTANCE_COLUMNS,
    CURVE_COLUMNS,
    FIGURES,
    GENERATOR_COLUMNS,
    LOSS_COLUMNS,
    QUALITY_COLUMNS,
    SHORTFALL_COLUMNS,
    SYNTHETIC_COLUMNS,
    TEST_ERROR_COLUMNS,
    TRIAL_COLUMNS,
    WORK_COLUMNS,
    filled,
)
from synthtrial.report.facts import ArmFacts, Design, Facts
from synthtrial.report.pictures import Picture, Sheet

CLASSES = tuple("0123456789")
GRID = {
    "learning_rate": (0.01, 0.005, 0.001),
    "batch_size": (16, 32, 64),
    "optimizer": ("momentum", "adam"),
}
# What each arm adds to minority recall at the regimens .1, .25, .5, 1.
EFFECTS = {
    "none": (0.0, 0.0, 0.0, 0.0),
    "standard": (0.02, 0.05, 0.04, 0.03),
    "gan": (0.33, 0.27, 0.17, 0.09),
    "class_weights": (0.24, 0.30, 0.21, 0.11),
    "oversample_matched": (0.22, 0.26, 0.18, 0.08),
}
BASE = (0.08, 0.35, 0.62, 0.79)


def design(**changes) -> Design:
    texts = {
        "none": "nothing is done",
        "standard": "random shifts of one pixel",
        "gan": "images of a GAN are added",
        "class_weights": "rare classes weigh more in the loss",
        "oversample_matched": "real images are repeated, as many as gan adds",
    }
    plain = Design(
        name="digits",
        description="Do made images help a small classifier see rare digits?",
        dataset="digits",
        licence="BSD-3-Clause",
        classes=CLASSES,
        minority=("8", "9"),
        multi_label=False,
        groups_known=False,
        image_shape=(1, 8, 8),
        arms=tuple(ArmFacts(name, text, name == "gan") for name, text in texts.items()),
        regimens=(0.1, 0.25, 0.5, 1.0),
        reduced=("8", "9"),
        removed_fraction=0.85,
        grid=GRID,
        configurations=18,
        epochs=10,
        protocol="grid_once",
        draws=3,
        replicates=6,
        selector="balanced_accuracy",
        baseline="none",
        overall_metric="accuracy",
        class_metric="recall",
        confidence=0.95,
        classifier="small_cnn",
        generator="a projection GAN",
        fit_on="subset",
        balance="as few as raise each minority class to 10 % of the images",
    )
    return dataclasses.replace(plain, **changes)


#: Studies of few panels: drawing takes most of a page's time.
SMALL = {"regimens": (1.0,), "epochs": 3, "arms": (design().arms[0], design().arms[2])}
MIDDLING = {"regimens": (0.1, 1.0), "epochs": 4, "arms": design().arms[:4]}


def study(
    *,
    finished: float = 1.0,
    noise: float = 0.03,
    seed: int = 0,
    folder: Path | None = None,
    **changes,
) -> Facts:
    """Invent a study; ``finished`` is the fraction of the replicate trials that are done."""
    plan = design(**changes)
    random, between = np.random.default_rng(seed), np.random.default_rng(seed + 1)
    points = [
        json.dumps(dict(zip(GRID, values, strict=True)), sort_keys=True)
        for values in itertools.product(*GRID.values())
    ]
    rows, scores, curves, chosen = [], [], [], []
    draw_effect = random.normal(0, noise, plan.draws)
    for (g, regimen), arm in itertools.product(enumerate(plan.regimens), plan.arm_names):
        effect = EFFECTS.get(arm, (0.1,) * 4)[g % 4]
        grid = (
            0.55 + 0.35 * BASE[g % 4] + 0.5 * effect - np.abs(random.normal(0, 0.08, len(points)))
        )
        best = int(np.argmax(grid))
        for point, value in zip(points, grid, strict=True):
            row = dict.fromkeys(TRIAL_COLUMNS, "") | {
                "stage": "grid",
                "replicate": -1,
                "draw": 0,
                "configuration": point,
                "status": "done",
                "validation": value,
                "overall": np.nan,
            }
            rows.append(row | {"arm": arm, "regimen": regimen})
            scores.append(np.full(len(plan.classes), np.nan))
        chosen.append(
            {
                "arm": arm,
                "regimen": regimen,
                "replicate": -1,
                "configuration": points[best],
                "target": "",
            }
        )
        for replicate in range(plan.replicates):
            draw = replicate % plan.draws
            done = (replicate + 0.2 * plan.arm_names.index(arm)) < finished * plan.replicates
            minority = BASE[g % 4] + effect + draw_effect[draw] + random.normal(0, noise)
            rare = np.array([name in plan.minority for name in plan.classes])
            level = np.where(rare, minority, 0.86 + 0.03 * g - 0.05 * effect)
            value = np.clip(level + random.normal(0, noise / 2, rare.size), 0, 1)
            row = dict.fromkeys(TRIAL_COLUMNS, "") | {
                "stage": "replicate",
                "replicate": replicate,
                "draw": draw,
                "arm": arm,
                "regimen": regimen,
                "configuration": points[best],
                "status": "done" if done else "waiting",
                "overall": value.mean() if done else np.nan,
                "validation": grid[best] - 0.02 + random.normal(0, 0.02) if done else np.nan,
            }
            row["trial_id"] = f"{arm}-{regimen}-{replicate}"
            rows.append(row)
            scores.append(value if done else np.full(rare.size, np.nan))
            if done:
                epochs = np.arange(1, plan.epochs + 1)
                train = 2.3 * np.exp(-epochs / (4 - 0.7 * g)) + 0.02
                valid = 2.2 * np.exp(-epochs / (4.4 - 0.7 * g)) + 0.12 + 0.012 * (3 - g) * epochs
                end = regimen in (min(plan.regimens), max(plan.regimens))
                wobble = (random if end else between).normal(1, 0.05, (2, plan.epochs))
                curves += [
                    {"trial_id": row["trial_id"], "epoch": e, "train_loss": t, "validation_loss": v}
                    for e, t, v in zip(epochs, train * wobble[0], valid * wobble[1], strict=True)
                ]
    trials = pd.DataFrame(rows)
    for column in ("best_epoch", "steps", "n_real", "n_added", "seconds", "threads"):
        trials[column] = 1.0
    trials["spent_seconds"] = trials.seconds.where(trials.status == "done")
    trials["device"] = "cpu"
    trials["planned_epochs"] = plan.epochs
    trials["epochs"] = np.where(trials.status == "done", plan.epochs, np.nan)
    trials["code_digest"] = np.where(trials.status == "done", "c0de", "")
    trials["trial_id"] = [name or f"grid-{place}" for place, name in enumerate(trials.trial_id)]
    trials = trials.astype(TRIAL_COLUMNS)
    return Facts(
        design=plan,
        trials=trials,
        class_scores=pd.DataFrame(scores, columns=list(plan.classes), index=trials.index),
        counts=_counts(plan),
        regimen_images={r: round(1004 * r) for r in plan.regimens},
        synthetic=_synthetic(plan),
        curves=pd.DataFrame(curves, columns=list(CURVE_COLUMNS)),
        pictures=_pictures(plan, folder) if folder else (),
        chosen=pd.DataFrame(chosen),
    )


STOPPING = "early stopping by ASHA, first rung 1 epoch, reduction factor 3, cell by cell"


def stop_early(facts: Facts, finishing: int = 2, epochs: int = 1) -> Facts:
    """Have all but the best few grid trials of each cell stopped early, with lower scores."""
    trials = facts.trials.copy()
    grid = trials[trials.stage == "grid"]
    rank = grid.groupby(["regimen", "arm"]).validation.rank(ascending=False, method="first")
    early = rank.index[rank > finishing]
    trials.loc[early, "status"] = "stopped"
    trials.loc[early, "epochs"] = epochs
    trials.loc[early, "validation"] *= 0.3
    design = dataclasses.replace(facts.design, early_stopping=STOPPING)
    return dataclasses.replace(facts, trials=trials, design=design)


def with_test_errors(
    facts: Facts, shared: float = 0.012, *, images: int = 450, method: str = "influences by image"
) -> Facts:
    """Invent how sure the test set is: of all pairs of arms, more so the more images count.

    A class of interest, 45 images in ten times as many, is ``sqrt(10)`` times less sure than all.
    """
    plan = facts.design
    unit, n = ("draw", plan.draws) if plan.draws > 1 else ("replicate", plan.replicates)
    targets = [("overall", "", 1.0), ("minority", "", 0.2)]
    targets += [("class", name, 0.1) for name in plan.classes]
    rows = []
    for regimen, (scope, name, part) in itertools.product(plan.regimens, targets):
        metric = plan.overall_metric if scope == "overall" else plan.class_metric
        count = round(images * part)
        error = shared / part**0.5 * (2 - regimen)
        for arm, other in itertools.product(plan.arm_names, ("", *plan.arm_names)):
            if arm != other:
                numbers = (1.3 * error, error, count - 1.0, count, count, n)
                rows.append((regimen, arm, other, scope, name, metric, *numbers, unit, method))
    return dataclasses.replace(facts, test_errors=filled(TEST_ERROR_COLUMNS, rows))


def _counts(plan: Design) -> pd.DataFrame:
    rows = []
    for draw in range(plan.draws):
        totals = dict.fromkeys(("train", "removed", "validation", "test"), 0)
        for place, name in enumerate(plan.classes):
            rare = name in plan.reduced
            here = {
                "train": 18 if rare else 115 + place % 4,
                "removed": 100 if rare else 0,
                "validation": 18,
                "test": 45,
            }
            for role, images in here.items():
                rows.append({"draw": draw, "role": role, "class_name": name, "images": images})
                totals[role] += images
        rows += [
            {"draw": draw, "role": role, "class_name": "", "images": images}
            for role, images in totals.items()
        ]
    counts = pd.DataFrame(rows).assign(uncertain=np.nan)
    if plan.multi_label:
        counts["uncertain"] = (0.2 * counts.images).round().where(counts.class_name != "")
    return counts


def _synthetic(plan: Design) -> pd.DataFrame:
    rows = []
    for regimen, draw, name in itertools.product(plan.regimens, range(plan.draws), plan.classes):
        rare = name in plan.minority
        real = max(1, round((18 if rare else 116) * regimen))
        added = round(100 * regimen) if rare else 0
        rows.append(
            {
                "arms": "gan, oversample_matched",
                "regimen": regimen,
                "draw": draw,
                "class_name": name,
                "chosen": rare,
                "real": real,
                "intended": added,
                "added": added,
                "expected": 0.1,
                "realised": (real + added) / (1170 * regimen),
            }
        )
    return pd.DataFrame(rows, columns=list(SYNTHETIC_COLUMNS))


def _pictures(plan: Design, folder: Path) -> tuple[Picture, ...]:
    random = np.random.default_rng(1)
    found = []
    for name in plan.minority:
        for regimen in (None, min(plan.regimens), max(plan.regimens)):
            path = folder / f"{'real' if regimen is None else f'made-{regimen:g}'}-{name}.png"
            strip = np.concatenate([_eight(random) for _ in range(8)], axis=1)
            Image.fromarray(strip).save(path)
            found.append(
                Picture(path, "real", name, tiles=8)
                if regimen is None
                else Picture(path, "synthetic", name, "gan", regimen, 8)
            )
    return tuple(found)


def _eight(random: np.random.Generator) -> np.ndarray:
    """An 8 as the digits data have it, with noise."""
    art = ["00111000", "01000100", "01000100", "00111000"] * 2
    ink = np.array([[int(pixel) for pixel in line] for line in art]) * 200
    return np.clip(ink + random.normal(0, 30, (8, 8)), 0, 255).astype(np.uint8)


JUDGED_ARMS = (
    ArmFacts("none", "nothing is done"),
    ArmFacts("gan", "images of a GAN are added", synthetic=True),
    ArmFacts("big", "images that are recognised are added", synthetic=True, filtered=True),
    ArmFacts("small", "the first of big's are added", synthetic=True, filtered=True),
)
#: Changes of a design whose images are filtered and measured.
JUDGED = {
    "arms": JUDGED_ARMS,
    "reference": "subset",
    "features": "reference",
    "thresholds": {"min_recognisability": 0.9, "min_coverage": 0.5},
}
WHY = "a kernel distance needs 2 images in each set; got 1 and 40"
SENTENCE = "class '8': the share of recognisable images over that of held-out ones is {:.2g}"


def judge(facts: Facts, folder: Path | None = None) -> Facts:
    """Invent what is known of a study's generators, filter and quality.

    At the smallest regimen, class 8 of ``gan`` is hardly recognised in draw 0, and its kernel
    distance is undefined in every draw.
    """
    design, low = facts.design, min(facts.design.regimens)
    quality, short, accepted, generators, losses = [], [], [], [], []
    places = itertools.product(enumerate(design.regimens), range(design.draws))
    for number, ((g, regimen), draw) in enumerate(places):
        for arm, name in itertools.product(design.synthetic_arms, design.minority):
            bad = (arm, name, regimen) == ("gan", design.minority[0], low)
            values = dict.fromkeys(FIGURES, 0.9 + 0.01 * draw)
            share = 0.25 if bad and draw == 0 else 0.95 + 0.02 * draw
            values |= {"recognisability_relative": share, "recognisability": 0.8 * share}
            values |= {"recognisability_heldout": 0.8, "kernel_distance_real": -0.01}
            values |= {"memorised": 0.02 * draw, "memorised_expected": 0.05}
            values["kernel_distance"] = np.nan if bad else 0.1 * (g + 1)
            reasons = json.dumps({"kernel_distance": WHY, "frechet_distance": "x"} if bad else {})
            place = (arm, regimen, draw, name)
            known = [values[figure] for figure in FIGURES]
            quality.append(
                (*place, "reference classifier, last layer", 40, 17, 18, *known, reasons)
            )
            if share < 0.9:
                text = SENTENCE.format(share)
                short.append((*place, "min_recognisability", share, text))
        for name in design.minority if design.filtered_arms else ():
            accepted.append(("big, small", regimen, draw, name, 400, 300 + 20 * draw, 100, 100, 0))
        place = regimen_label(regimen)
        generators.append((f"g{number}", place, regimen, draw, 500, 600, draw, 19_200, 4.2, 1))
        for step in range(6, 601, 6):
            losses.append((f"g{number}", step, 1 + np.sin(step / 90 + draw), 0.5 + 1 / step))
    return dataclasses.replace(
        facts,
        quality=filled(QUALITY_COLUMNS, quality),
        shortfalls=filled(SHORTFALL_COLUMNS, short),
        acceptance=filled(ACCEPTANCE_COLUMNS, accepted),
        generators=filled(GENERATOR_COLUMNS, generators),
        losses=filled(LOSS_COLUMNS, losses),
        sheets=_sheets(design, folder) if folder else (),
        planned={
            "quality": (len(design.synthetic_arms) * len(generators), 0),
            "generator": (len(generators), 0),
        },
    )


def spend(facts: Facts, generator_seconds: float = 1800.0, device: str = "cpu") -> Facts:
    """Invent what trials and generators took: a trial a minute, images as ``judge`` has them.

    ``gan`` and ``oversample_matched`` need nothing of each other; a generator is one a regimen and
    draw, with its making of images.
    """
    design = facts.design
    trials = facts.trials.assign(device=device)
    trials["seconds"] = trials.spent_seconds = (60.0 * trials.spent_seconds.notna()).replace(
        0.0, np.nan
    )
    rows = []
    places = itertools.product(design.synthetic_arms, design.regimens, range(design.draws))
    for arm, regimen, draw in places:
        for kind, seconds in (("train_gan", generator_seconds), ("synthesize", 30.0)):
            place = (f"{kind}-{regimen}-{draw}", kind, arm, regimen, draw)
            rows.append((*place, "done", seconds, 2.0 if kind == "train_gan" else 1.0, 1.0, device))
    return dataclasses.replace(facts, trials=trials, work=filled(WORK_COLUMNS, rows))


def _sheets(plan: Design, folder: Path) -> tuple[Sheet, ...]:
    """Draw sheets of eight samples of each minority class and of one more, at eight steps."""
    random = np.random.default_rng(2)
    classes = (*plan.minority, plan.classes[0])
    found = []
    for regimen in sorted({min(plan.regimens), max(plan.regimens)}):
        for step in range(75, 601, 75):
            path = folder / f"sheet-{regimen:g}-{step}.png"
            rows = [np.concatenate([_eight(random) for _ in range(8)], axis=1) for _ in classes]
            Image.fromarray(np.concatenate(rows)).save(path)
            found.append(Sheet(path, regimen_label(regimen), step, classes))
    return tuple(found)
